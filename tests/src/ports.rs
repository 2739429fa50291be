//! Ports that stay ours while nobody listens on them.

use std::{
    net::{Ipv4Addr, TcpListener},
    sync::{
        LazyLock,
        atomic::{AtomicU16, Ordering},
    },
};

/// Below the range that systems give to outgoing connections: while an etcd is down, its port must
/// not be handed to somebody's connect (not even to one that tries to reach this very port, which
/// then talks to itself).
const FIRST: u16 = 10_000;
const COUNT: u16 = 20_000;

/// `N` ports on 127.0.0.1 that are free at the moment, and that this process gives out only once.
pub(crate) fn free_ports<const N: usize>() -> [u16; N] {
    // Another process counts from elsewhere.
    static NEXT: LazyLock<AtomicU16> = LazyLock::new(|| AtomicU16::new(fastrand::u16(..COUNT)));
    std::array::from_fn(|_| {
        for _ in 0..COUNT {
            let port = FIRST + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT;
            if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
                return port;
            }
        }
        panic!("no free port on 127.0.0.1")
    })
}
