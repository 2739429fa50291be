//! Faults of etcd's releases that matter to services in it.

use super::finding::Severity;

/// A fault of releases.
struct Fault {
    /// The first release that has it, and the first that does not, of each minor version.
    releases: &'static [([u64; 3], [u64; 3])],
    severity: Severity,
    what: &'static str,
}

const FAULTS: &[Fault] = &[
    Fault {
        releases: &[([3, 5, 0], [3, 5, 3])],
        severity: Severity::Error,
        what: "a member that crashes under load may come back with other data than the rest (data corruption)",
    },
    Fault {
        releases: &[([3, 0, 0], [3, 4, 0])],
        severity: Severity::Error,
        what: "it is older than 3.4, which the toolkit needs",
    },
    Fault {
        releases: &[([3, 4, 0], [3, 4, 25]), ([3, 5, 0], [3, 5, 8])],
        severity: Severity::Note,
        what: "the answer to a request for progress of a watch may overtake events: the toolkit does not rely on it, other clients may",
    },
    Fault {
        releases: &[([3, 4, 0], [3, 4, 26]), ([3, 5, 0], [3, 5, 9])],
        severity: Severity::Note,
        what: "any user may read the keys of any lease, whatever his rights (CVE-2023-32082)",
    },
];

/// The faults of this release, with the release of the same minor version that has none of each.
pub(super) fn faults(version: &str) -> Vec<(Severity, String)> {
    let Some(version) = parse(version) else {
        return Vec::new();
    };
    let faults = FAULTS.iter().filter_map(|fault| {
        let mended = fault
            .releases
            .iter()
            .find(|(first, mended)| (*first..*mended).contains(&version));
        let [major, minor, patch] = mended?.1;
        Some((
            fault.severity,
            format!("{}; mended in {major}.{minor}.{patch}", fault.what),
        ))
    });
    faults.collect()
}

/// `3.4.23`, `3.6.0-rc.1`.
fn parse(version: &str) -> Option<[u64; 3]> {
    let release = version.split('-').next()?;
    let mut parts = release.split('.').map(|part| part.parse().ok());
    Some([parts.next()??, parts.next()??, parts.next()??])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_has_the_faults_that_were_mended_later() {
        let count = |version| faults(version).len();
        assert_eq!(count("3.4.23"), 2);
        assert_eq!(count("3.4.25"), 1);
        assert_eq!(count("3.4.26"), 0);
        assert_eq!(count("3.5.2"), 3);
        assert_eq!(count("3.6.0-rc.1"), 0);
        assert_eq!(count("3.3.27"), 1);
        assert_eq!(count("what"), 0);
        assert!(faults("3.5.8")[0].1.ends_with("mended in 3.5.9"));
    }
}
