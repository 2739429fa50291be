//! Findings about etcd itself.

use super::{
    facts::{Alarm, Facts, MemberFacts, Status},
    finding::{Finding, Severity},
    versions,
};
use sd_core::Escaped;
use std::collections::{BTreeMap, BTreeSet};

/// From where on the quota is nearly used up, in percent.
const NEARLY_FULL: i64 = 80;
/// How far a member may be behind the others, in entries of the log. A busy cluster is always some behind.
const BEHIND: u64 = 5_000;

pub(super) fn findings(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(facts.members.iter().filter_map(unreachable));
    let answered: Vec<_> = facts
        .members
        .iter()
        .filter_map(|member| Some((&*member.endpoint, member.status.as_ref().ok()?.as_ref()?)))
        .collect();
    findings.extend(same_cluster(&answered));
    findings.extend(leaders(&answered));
    for (endpoint, status) in unique(&answered) {
        findings.extend(of_member(endpoint, status));
    }
    findings.extend(behind(&answered));
    findings.extend(versions_differ(&answered));
    findings.extend(releases(&answered));
    findings.extend(members(facts, &answered));
    findings.extend(alarms(facts));
    findings.extend(lease_test(facts));
    findings.extend(rights(facts));
    findings.extend(unlisted(facts));
    findings
}

/// Each member once, though it may have several endpoints.
fn unique<'f>(answered: &[(&'f str, &'f Status)]) -> Vec<(&'f str, &'f Status)> {
    let mut seen = BTreeSet::new();
    answered
        .iter()
        .filter(|(_, status)| seen.insert(status.id))
        .copied()
        .collect()
}

fn unreachable(member: &MemberFacts) -> Option<Finding> {
    let why = member.status.as_ref().err()?;
    let (severity, advice) = match member.is_given {
        true => (
            Severity::Error,
            "start this member, or take it out of --etcd; clients go on with the others, and with one fewer of them",
        ),
        false => (
            Severity::Warning,
            "the cluster names it (--advertise-client-urls), and it cannot be reached from here: start it, or advertise an address that clients reach",
        ),
    };
    Some(Finding::new(
        severity,
        "member",
        &*member.endpoint,
        why.clone(),
        advice,
    ))
}

fn same_cluster(answered: &[(&str, &Status)]) -> Option<Finding> {
    let clusters: BTreeSet<_> = answered.iter().map(|(_, status)| status.cluster).collect();
    let endpoints: Vec<_> = answered.iter().map(|(endpoint, _)| *endpoint).collect();
    (clusters.len() > 1).then(|| {
        Finding::new(
            Severity::Error,
            "cluster",
            endpoints.join(", "),
            format!("these endpoints are of {} clusters, not of one", clusters.len()),
            "give the endpoints of one cluster only: clients go from one to the other, and each has other services",
        )
    })
}

fn leaders(answered: &[(&str, &Status)]) -> Vec<Finding> {
    let without = answered.iter().filter(|(_, status)| status.leader == 0);
    without
        .map(|(endpoint, _)| {
            Finding::new(
                Severity::Error,
                "leader",
                *endpoint,
                "this member knows no leader: it serves no registrations",
                "a majority of the members has to run and to reach each other; look at those that do not answer",
            )
        })
        .collect()
}

fn of_member(endpoint: &str, status: &Status) -> Vec<Finding> {
    let mut findings = Vec::new();
    let errors = status.errors.iter().filter(|error| {
        // Those are findings of their own.
        !error.contains("NOSPACE") && !error.contains("CORRUPT") && !error.contains("no leader")
    });
    findings.extend(errors.map(|error| {
        let error = Escaped(error).to_string();
        Finding::new(
            Severity::Error,
            "member",
            endpoint,
            error,
            "see the log of this member",
        )
    }));
    if let Some(quota) = status.quota.filter(|quota| *quota > 0) {
        let percent = status.size * 100 / quota;
        if percent >= NEARLY_FULL {
            let (size, quota) = (mebibytes(status.size), mebibytes(quota));
            findings.push(Finding::new(
                Severity::Warning,
                "quota",
                endpoint,
                format!(
                    "{percent} % of the quota is used: {size} of {quota}, of which {} are in use",
                    mebibytes(status.in_use)
                ),
                "compact and defragment, or raise --quota-backend-bytes: a full etcd takes no registrations",
            ));
        }
    }
    if status.is_learner {
        findings.push(Finding::new(
            Severity::Warning,
            "member",
            endpoint,
            "this member is a learner, which serves no clients",
            "promote it (etcdctl member promote), or take it out of --etcd",
        ));
    }
    findings
}

fn mebibytes(bytes: i64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

fn behind(answered: &[(&str, &Status)]) -> Vec<Finding> {
    let newest = answered
        .iter()
        .map(|(_, status)| status.applied)
        .max()
        .unwrap_or_default();
    let late = answered
        .iter()
        .filter(|(_, status)| newest - status.applied > BEHIND);
    late.map(|(endpoint, status)| {
        Finding::new(
            Severity::Warning,
            "member",
            *endpoint,
            format!(
                "this member is {} entries behind the others",
                newest - status.applied
            ),
            "look at its disk and its network: clients that hang on it see changes late",
        )
    })
    .collect()
}

fn versions_differ(answered: &[(&str, &Status)]) -> Option<Finding> {
    let mut by_version = BTreeMap::<&str, Vec<&str>>::new();
    for (endpoint, status) in answered {
        by_version
            .entry(&status.version)
            .or_default()
            .push(endpoint);
    }
    let shown = by_version
        .iter()
        .map(|(version, at)| format!("{version} ({})", at.join(", ")));
    (by_version.len() > 1).then(|| {
        Finding::new(
            Severity::Note,
            "version",
            "cluster",
            format!(
                "the members have different versions: {}",
                shown.collect::<Vec<_>>().join(", ")
            ),
            "fine while the cluster is upgraded; finish it",
        )
    })
}

fn releases(answered: &[(&str, &Status)]) -> Vec<Finding> {
    let versions: BTreeSet<_> = answered
        .iter()
        .map(|(_, status)| &*status.version)
        .collect();
    let faults = versions.into_iter().flat_map(|version| {
        versions::faults(version)
            .into_iter()
            .map(move |(severity, what)| {
                let subject = format!("etcd {version}");
                Finding::new(
                    severity,
                    "version",
                    subject,
                    what,
                    "upgrade etcd, one minor version at a time",
                )
            })
    });
    faults.collect()
}

fn members(facts: &Facts, answered: &[(&str, &Status)]) -> Vec<Finding> {
    let Some(cluster) = &facts.cluster else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    let voters = cluster.iter().filter(|member| !member.is_learner).count();
    if voters > 1 && voters % 2 == 0 {
        findings.push(Finding::new(
            Severity::Note,
            "cluster",
            "cluster",
            format!(
                "it has {voters} members: an even number bears no more failures than one fewer"
            ),
            "have 3 or 5",
        ));
    }
    let known: BTreeSet<_> = answered.iter().map(|(_, status)| status.id).collect();
    let asked: BTreeSet<_> = facts
        .members
        .iter()
        .map(|member| &*member.endpoint)
        .collect();
    for member in cluster {
        let is_asked = member.urls.iter().any(|url| asked.contains(&**url));
        if member.urls.is_empty() && !known.contains(&member.id) {
            findings.push(Finding::new(
                Severity::Warning,
                "member",
                named(member.id, &member.name),
                "this member was added and has never been started",
                "start it, or remove it: until then it counts as one that is down",
            ));
        } else if !known.contains(&member.id) && !is_asked {
            findings.push(Finding::new(
                Severity::Warning,
                "member",
                named(member.id, &member.name),
                format!(
                    "nobody answers for this member; it advertises {}",
                    Escaped(member.urls.join(", "))
                ),
                "start it, or give its endpoint with --etcd",
            ));
        }
    }
    findings
}

fn named(id: u64, name: &str) -> String {
    match name {
        "" => format!("{id:x}"),
        name => format!("{} ({id:x})", Escaped(name)),
    }
}

fn alarms(facts: &Facts) -> Vec<Finding> {
    let names: BTreeMap<_, _> = facts
        .cluster
        .iter()
        .flatten()
        .map(|it| (it.id, &*it.name))
        .collect();
    let alarms = facts.alarms.iter().map(|(member, alarm)| {
        let subject = named(*member, names.get(member).copied().unwrap_or_default());
        let (message, advice) = match alarm {
            Alarm::NoSpace => (
                "the alarm NOSPACE is raised: etcd takes no registrations, and those that are there end with their leases only",
                "compact, defragment each member, then `etcdctl alarm disarm`; raise --quota-backend-bytes if it comes back",
            ),
            Alarm::Corrupt => (
                "the alarm CORRUPT is raised: this member has other data than the others",
                "replace the member: remove it, delete its data, add it again",
            ),
        };
        Finding::new(Severity::Error, "alarm", subject, message, advice)
    });
    alarms.collect()
}

fn lease_test(facts: &Facts) -> Option<Finding> {
    let why = facts.lease_test.as_ref()?.as_ref().err()?;
    Some(Finding::new(
        Severity::Error,
        "lease",
        "etcd",
        format!("a lease could not be granted, renewed and revoked: {why}"),
        "nobody can register; see the other findings, and the log of the leader",
    ))
}

fn rights(facts: &Facts) -> Vec<Finding> {
    let denied = facts.rights.iter().filter_map(|right| {
        let why = right.denied.as_ref()?;
        let (severity, who) = match right.what {
            "read" => (Severity::Error, "a consumer sees nothing"),
            _ => (
                Severity::Warning,
                "a provider cannot register, and sdctl cannot edit",
            ),
        };
        let what = right.what;
        Some(Finding::new(
            severity,
            "rights",
            right.below.clone(),
            format!("this user may not {what} there: {who} ({why})"),
            format!(
                "etcdctl role grant-permission ROLE --prefix=true {what} {}",
                right.below
            ),
        ))
    });
    let alarms = facts.alarms_denied.iter().map(|why| {
        Finding::new(
            Severity::Note,
            "rights",
            "alarms",
            format!("the alarms are not known: {why}"),
            "ask again as a user with the role root",
        )
    });
    let untold = facts
        .members
        .iter()
        .filter(|member| matches!(member.status, Ok(None)));
    let untold = untold.map(|member| {
        Finding::new(
            Severity::Note,
            "rights",
            &*member.endpoint,
            "version, leader and size of this member are told to administrators only",
            "ask again as a user with the role root",
        )
    });
    denied.chain(alarms).chain(untold).collect()
}

fn unlisted(facts: &Facts) -> Option<Finding> {
    let why = facts.unlisted.as_ref()?;
    Some(Finding::new(
        Severity::Error,
        "list",
        "etcd",
        format!("the services could not be listed: {why}"),
        "consumers that start now see nothing, and those that run keep what they know; see the other findings",
    ))
}

#[cfg(test)]
mod tests {
    use super::{
        super::facts::{ClusterMember, Right},
        *,
    };

    fn status(id: u64) -> Status {
        Status {
            id,
            cluster: 7,
            version: "3.6.5".into(),
            leader: 1,
            applied: 100,
            size: 1 << 20,
            in_use: 1 << 19,
            quota: Some(2 << 30),
            ..Status::default()
        }
    }

    fn cluster(statuses: [Result<Status, String>; 3]) -> Facts {
        let statuses = statuses.map(|status| status.map(Some));
        let url = |n| format!("http://10.0.0.{n}:2379");
        let members = statuses
            .into_iter()
            .zip(1..)
            .map(|(status, n)| MemberFacts {
                endpoint: url(n),
                is_given: true,
                status,
            });
        let of_cluster = (1..=3).map(|n| ClusterMember {
            id: n,
            name: format!("m{n}"),
            urls: vec![url(n)],
            is_learner: false,
        });
        Facts {
            members: members.collect(),
            cluster: Some(of_cluster.collect()),
            lease_test: Some(Ok(())),
            rights: vec![Right {
                what: "read",
                below: "/services/".into(),
                denied: None,
            }],
            ..Facts::default()
        }
    }

    fn told(facts: &Facts) -> Vec<(Severity, &'static str)> {
        findings(facts)
            .into_iter()
            .map(|finding| (finding.severity, finding.check))
            .collect()
    }

    #[test]
    fn nothing_is_said_of_a_healthy_cluster() {
        assert_eq!(told(&cluster([1, 2, 3].map(|id| Ok(status(id))))), []);
    }

    #[test]
    fn each_fault_is_found_alone() {
        let with = |change: fn(&mut Status)| {
            let mut third = status(3);
            change(&mut third);
            told(&cluster([Ok(status(1)), Ok(status(2)), Ok(third)]))
        };
        use Severity::{Error, Note, Warning};
        assert_eq!(with(|status| status.leader = 0), [(Error, "leader")]);
        assert_eq!(with(|status| status.cluster = 8), [(Error, "cluster")]);
        assert_eq!(with(|status| status.size = 2 << 30), [(Warning, "quota")]);
        assert_eq!(with(|status| status.applied = 100_000).len(), 2);
        assert_eq!(
            with(|status| status.is_learner = true),
            [(Warning, "member")]
        );
        assert_eq!(
            with(|status| status.version = "3.6.4".into()),
            [(Note, "version")]
        );
        assert_eq!(
            with(|status| status.errors = vec!["disk".into()]),
            [(Error, "member")]
        );
        let down = cluster([Ok(status(1)), Ok(status(2)), Err("refused".into())]);
        assert_eq!(told(&down), [(Error, "member")]);
    }

    #[test]
    fn alarms_rights_and_the_lease_test_are_told() {
        let mut facts = cluster([1, 2, 3].map(|id| Ok(status(id))));
        facts.alarms = vec![(2, Alarm::NoSpace)];
        facts.lease_test = Some(Err("no".into()));
        facts.rights[0].denied = Some("denied".into());
        let told = told(&facts);
        assert_eq!(
            told.iter().map(|(_, check)| *check).collect::<Vec<_>>(),
            ["alarm", "lease", "rights"]
        );
        facts.alarms.clear();
        assert!(findings(&facts)[1].advice.contains("read /services/"));
    }

    #[test]
    fn a_member_that_nobody_has_started_is_found() {
        let mut facts = cluster([1, 2, 3].map(|id| Ok(status(id))));
        let added = ClusterMember {
            id: 9,
            name: String::new(),
            urls: Vec::new(),
            is_learner: false,
        };
        facts.cluster.as_mut().unwrap().push(added);
        let findings = findings(&facts);
        assert!(
            findings
                .iter()
                .any(|it| it.message.contains("never been started")),
            "{findings:?}"
        );
    }
}
