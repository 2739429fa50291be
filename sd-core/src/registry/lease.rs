//! Leases: their ids, and how long they live without a keep-alive.

use super::error::Invalid;
use std::{cmp::Ordering, fmt, sync::Arc, time::Duration};

/// The id of a lease, as its backend writes it (etcd: a decimal number; Consul: a UUID). Opaque to
/// the layers above. Cheap to clone: an id of up to 22 bytes, such as etcd's, has no allocation, and
/// clones of a longer one share theirs.
///
/// ```
/// use sd_core::LeaseId;
///
/// let session = String::from("adf4238a-882b-9ddc-4a9d-5b6758e4159e");
/// assert_eq!(LeaseId::from(session.clone()).as_str(), session);
/// assert_eq!(LeaseId::from(7), LeaseId::from("7"));
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct LeaseId(Text);

/// As many bytes as fit without making the id larger. The ids of etcd have 19.
const SHORT: usize = 22;

/// Each text has one form only.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Text {
    /// The first `len` of these bytes; the others are 0.
    Short { len: u8, bytes: [u8; SHORT] },
    /// More than [`SHORT`] bytes.
    Long(Arc<str>),
}

impl LeaseId {
    /// The lease with this id.
    pub fn new(id: impl AsRef<str>) -> Self {
        let id = id.as_ref();
        let mut bytes = [0; SHORT];
        Self(match (bytes.get_mut(..id.len()), u8::try_from(id.len())) {
            (Some(short), Ok(len)) => {
                short.copy_from_slice(id.as_bytes());
                Text::Short { len, bytes }
            }
            _ => Text::Long(id.into()),
        })
    }

    /// The id's text.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Text::Short { len, bytes } => {
                let text = bytes.get(..usize::from(*len)).unwrap_or_default();
                std::str::from_utf8(text).unwrap_or_default()
            }
            Text::Long(text) => text,
        }
    }
}

impl Ord for LeaseId {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl PartialOrd for LeaseId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Debug for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LeaseId({})", self.as_str())
    }
}

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl AsRef<str> for LeaseId {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl From<&str> for LeaseId {
    fn from(id: &str) -> Self {
        Self::new(id)
    }
}

impl From<String> for LeaseId {
    fn from(id: String) -> Self {
        Self::new(id)
    }
}

impl From<i64> for LeaseId {
    fn from(id: i64) -> Self {
        let mut bytes = [0; SHORT];
        let mut rest = bytes.as_mut_slice();
        // Fits: the longest has a sign and 19 digits.
        let written = serde_json::to_writer(&mut rest, &id);
        debug_assert!(written.is_ok());
        let len = (SHORT - rest.len()) as u8;
        Self(Text::Short { len, bytes })
    }
}

/// The time to live of a lease: how long its entries stay after the last keep-alive. Whole seconds,
/// from 2 s to 24 h.
///
/// With a short TTL, consumers notice crashes sooner, but providers send more keep-alives (one
/// every third of the TTL) and lose the lease in a shorter outage.
///
/// ```
/// use sd_core::Ttl;
/// use std::time::Duration;
///
/// assert_eq!(Ttl::from_secs(10)?.as_secs(), 10);
/// assert_eq!(Ttl::new(Duration::from_millis(2500))?.as_secs(), 3); // rounded up
/// assert!(Ttl::from_secs(1).is_err());
/// # Ok::<(), sd_core::Invalid>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ttl(u32);

impl Ttl {
    /// The shortest, 2 s. With its default election timeout, etcd grants no shorter one.
    pub const MIN: Self = Self(2);
    /// The longest, 24 h.
    pub const MAX: Self = Self(24 * 60 * 60);
    /// The default: 15 s.
    pub const DEFAULT: Self = Self(15);

    /// A time to live of `given`, rounded up to whole seconds.
    ///
    /// # Errors
    /// [`Invalid::Ttl`] if `given` is under 2 s or over 24 h.
    pub fn new(given: Duration) -> Result<Self, Invalid> {
        if !(Self::MIN.duration()..=Self::MAX.duration()).contains(&given) {
            return Err(Invalid::Ttl { given });
        }
        let secs = given.as_secs() + u64::from(given.subsec_nanos() > 0);
        u32::try_from(secs)
            .map(Self)
            .map_err(|_| Invalid::Ttl { given })
    }

    /// A time to live of `secs` seconds.
    ///
    /// # Errors
    /// [`Invalid::Ttl`] if `secs` is under 2 or over 86,400.
    pub fn from_secs(secs: u64) -> Result<Self, Invalid> {
        Self::new(Duration::from_secs(secs))
    }

    /// The seconds.
    pub const fn as_secs(self) -> u32 {
        self.0
    }

    /// The same as a [`Duration`].
    pub const fn duration(self) -> Duration {
        Duration::from_secs(self.0 as u64)
    }

    /// The time between two keep-alives: a third of the TTL.
    pub const fn keep_alive_interval(self) -> Duration {
        Duration::from_millis(self.0 as u64 * 1000 / 3)
    }
}

impl Default for Ttl {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl TryFrom<Duration> for Ttl {
    type Error = Invalid;
    fn try_from(given: Duration) -> Result<Self, Invalid> {
        Self::new(given)
    }
}

impl fmt::Display for Ttl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} s", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::cases;
    use proptest::prelude::*;

    #[test]
    fn a_ttl_is_between_two_seconds_and_a_day() {
        for (millis, expected) in [
            (0, None),
            (1_999, None),
            (2_000, Some(2)),
            (2_001, Some(3)),
            (86_400_000, Some(86_400)),
            (86_400_001, None),
        ] {
            let ttl = Ttl::new(Duration::from_millis(millis));
            assert_eq!(ttl.ok().map(Ttl::as_secs), expected, "{millis} ms");
        }
        assert!(Ttl::new(Duration::MAX).is_err());
    }

    #[test]
    fn an_instance_grows_by_no_more_than_the_id() {
        assert_eq!(size_of::<Option<LeaseId>>(), 24);
    }

    proptest! {
        #![proptest_config(cases(1))]

        #[test]
        fn an_id_is_its_text(ids in prop::array::uniform2("[0-9a-fé]{0,24}")) {
            let [one, other] = ids.each_ref().map(LeaseId::new);
            prop_assert_eq!(one.as_str(), &ids[0]);
            prop_assert_eq!(one.clone(), LeaseId::from(ids[0].clone()));
            prop_assert_eq!(one == other, ids[0] == ids[1]);
            prop_assert_eq!(one.cmp(&other), ids[0].cmp(&ids[1]));
        }

        #[test]
        fn a_ttl_is_never_shorter_than_asked_for(secs in 0..100_000_u64, nanos in 0..2_000_000_000_u32) {
            let given = Duration::new(secs, nanos);
            match Ttl::new(given) {
                Ok(ttl) => {
                    prop_assert!(given <= ttl.duration() && ttl.duration() - given < Duration::from_secs(1));
                    prop_assert!((Ttl::MIN..=Ttl::MAX).contains(&ttl));
                    prop_assert!(3 * ttl.keep_alive_interval() <= ttl.duration());
                }
                Err(error) => {
                    prop_assert_eq!(error, Invalid::Ttl { given });
                    prop_assert!(given < Ttl::MIN.duration() || given > Ttl::MAX.duration());
                }
            }
        }
    }
}
