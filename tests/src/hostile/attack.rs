//! What a hostile writer does: the rows of `docs/hostile.md` that take no more than the right to write.

use super::names::{HOSTILE_NETWORK, MOVING, SERVICES, prefix};
use etcd_client::{PutOptions, Txn, TxnOp};
use fastrand::Rng;
use std::{fmt, time::Duration};

const LARGE: usize = 1_400_000;
/// Keys of a list of instances that a flood puts: more than any consumer keeps.
const FLOOD: usize = 3_000;
const JUNK: [&str; 4] = ["", "{\"x\":1}", "?", "{\"address\":[]}"];
const ADDRESSES: [&str; 12] = [
    "169.254.169.254:80",
    "http://169.254.169.254/latest",
    "unix:///run/docker.sock",
    "file:///etc/passwd",
    "gopher://10.1.0.1:80",
    "http://root:secret@10.1.0.1:80",
    "http:///",
    "10.1.0.1:0",
    "0.0.0.0:80",
    "[fe80::1]:80",
    "10.1.0.1\u{202e}:80",
    "10.1.0.1:80%0d%0aHost:evil",
];
const FORGED: &str = "no\n2026-01-01T00:00:00Z ERROR all is lost\u{1b}[2J\u{202e}\u{2028}";

/// An attack, named by its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Attack {
    /// Row 1: keys of 1.4 MB on a provider's lease.
    LargeLeaseKeys,
    /// Row 2: keys on a provider's lease that come again and again.
    LeaseKeys,
    /// Row 3: values of 1.4 MB among the others.
    LargeValues,
    /// Row 4: more instances than a consumer keeps.
    Flood,
    /// Row 4: one key that is overwritten with large values.
    Overwrite,
    /// Row 4: small values that become large instances.
    Amplify,
    /// Row 5: keys that are put and deleted in a loop.
    Loop,
    /// Row 6: keys and values with newlines and escapes.
    Forge,
    /// Row 7: junk that alternates, comes and goes, and has long keys.
    Junk,
    /// Row 8: addresses that nobody may call.
    Addresses,
    /// Row 9: a key whose address changes all the time.
    Moving,
    /// Row 9: many keys with one address.
    Crowd,
    /// Row 12: keys beside the prefix of a service.
    Neighbour,
}

impl Attack {
    /// All.
    pub const ALL: [Self; 13] = [
        Self::LargeLeaseKeys,
        Self::LeaseKeys,
        Self::LargeValues,
        Self::Flood,
        Self::Overwrite,
        Self::Amplify,
        Self::Loop,
        Self::Forge,
        Self::Junk,
        Self::Addresses,
        Self::Moving,
        Self::Crowd,
        Self::Neighbour,
    ];

    /// The row of `docs/hostile.md`.
    pub fn row(self) -> u32 {
        match self {
            Self::LargeLeaseKeys => 1,
            Self::LeaseKeys => 2,
            Self::LargeValues => 3,
            Self::Flood | Self::Overwrite | Self::Amplify => 4,
            Self::Loop => 5,
            Self::Forge => 6,
            Self::Junk => 7,
            Self::Addresses => 8,
            Self::Moving | Self::Crowd => 9,
            Self::Neighbour => 12,
        }
    }

    /// How long a writer waits after each step. What is large is written more rarely, so that etcd has
    /// time for the rest.
    pub(super) fn pause(self) -> Duration {
        Duration::from_millis(match self {
            Self::LargeLeaseKeys | Self::LargeValues => 1_000,
            Self::Overwrite | Self::Flood | Self::Loop | Self::Amplify => 100,
            Self::LeaseKeys | Self::Crowd => 50,
            Self::Forge | Self::Junk | Self::Addresses | Self::Neighbour => 20,
            Self::Moving => 5,
        })
    }

    /// One step of the writer with the number `writer`.
    pub(super) fn step(self, writer: usize, target: &Target, rng: &mut Rng) -> Txn {
        let prefix = &target.prefix;
        let mine = |name: &dyn fmt::Display| format!("{prefix}evil-{writer:02}-{name}");
        let lease = rng.choice(&target.leases).copied().unwrap_or_default();
        let leased = |key: String, value: &str| {
            let put = TxnOp::put(key, value, Some(PutOptions::new().with_lease(lease)));
            Txn::new().and_then([put])
        };
        match self {
            Self::LargeLeaseKeys => {
                let n = rng.usize(..2);
                leased(format!("/other/{writer}/{n}/{}", "k".repeat(LARGE)), "")
            }
            Self::LeaseKeys => leased(format!("/other/{writer}/{}", rng.usize(..64)), "mine"),
            Self::LargeValues => {
                let n = rng.usize(..3);
                all([put(mine(&n), "x".repeat(LARGE))])
            }
            Self::Flood => {
                let padding = "p".repeat(rng.usize(..8_000));
                all((0..50).map(|_| {
                    let n = rng.usize(..FLOOD);
                    let address = address(writer, n);
                    let value =
                        format!(r#"{{"address":"{address}","metadata":{{"m":"{padding}"}}}}"#);
                    put(format!("{prefix}evil-flood-{n:04}"), value)
                }))
            }
            Self::Overwrite => all([put(mine(&"same"), "x".repeat(rng.usize(50_000..120_000)))]),
            Self::Amplify => {
                let pieces = (0..rng.usize(100..5_000)).map(|n| format!("\"{n}\":\"\""));
                let pieces: Vec<_> = pieces.collect();
                let address = address(writer, 1);
                let value = format!(
                    r#"{{"address":"{address}","metadata":{{{}}}}}"#,
                    pieces.join(",")
                );
                all([put(mine(&rng.usize(..20)), value)])
            }
            Self::Loop => {
                let keys = (0..100).map(|n| mine(&format_args!("loop-{n}")));
                match rng.bool() {
                    true => all(keys.map(|key| put(key, address(writer, 2)))),
                    false => all(keys.map(|key| TxnOp::delete(key, None))),
                }
            }
            Self::Forge => {
                let key = mine(&format_args!("{}{FORGED}", rng.usize(..10)));
                let values = [FORGED, "10.1.0.1:80\n", "{\"address\":\"\\n\\u001b\"}"];
                all([put(key, values[rng.usize(..values.len())])])
            }
            Self::Junk => match rng.usize(..100) {
                0 => all([put(mine(&"k".repeat(1_000_000)), "?")]),
                1..40 => all([TxnOp::delete(mine(&rng.usize(..500)), None)]),
                n => all([put(mine(&rng.usize(..500)), JUNK[n % JUNK.len()])]),
            },
            Self::Addresses => {
                let n = rng.usize(..ADDRESSES.len());
                let value = match rng.bool() {
                    true => ADDRESSES[n].to_owned(),
                    false => format!(r#"{{"address":"{}"}}"#, ADDRESSES[n]),
                };
                all([put(mine(&n), value)])
            }
            Self::Moving => {
                let to = address(writer, rng.usize(..60_000));
                all([put(mine(&MOVING.trim_start_matches('-')), to)])
            }
            Self::Crowd => {
                let key = mine(&format_args!("crowd-{}", rng.usize(..99)));
                all([put(key, address(0, 3))])
            }
            Self::Neighbour => {
                let beside = prefix.trim_end_matches('/');
                let keys = [beside.to_owned(), format!("{beside}x/{}", rng.usize(..9))];
                all(keys.map(|key| put(key, address(writer, 4))))
            }
        }
    }
}

/// Whom a writer attacks: a service, and the leases of its providers.
#[derive(Debug, Clone)]
pub(super) struct Target {
    prefix: String,
    leases: Vec<i64>,
}

impl Target {
    /// All services.
    pub(super) fn all(leases: impl Iterator<Item = i64>) -> Vec<Self> {
        let mut leases: Vec<_> = leases.collect();
        leases.sort_unstable();
        leases.dedup();
        let target = |service| Self {
            prefix: prefix(service),
            leases: leases.clone(),
        };
        (0..SERVICES).map(target).collect()
    }
}

/// An address that may be called.
fn address(writer: usize, n: usize) -> String {
    format!("{HOSTILE_NETWORK}{writer}.{}:{}", n % 250, 1000 + n)
}

fn put(key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> TxnOp {
    TxnOp::put(key, value, None)
}

/// A key may come up only once.
fn all(operations: impl IntoIterator<Item = TxnOp>) -> Txn {
    Txn::new().and_then(operations.into_iter().collect::<Vec<_>>())
}
