//! Ports that stay ours while nobody listens on them.

use std::{
    collections::VecDeque,
    net::{Ipv4Addr, TcpListener, UdpSocket},
    sync::{
        LazyLock, Mutex, PoisonError,
        atomic::{AtomicU16, Ordering},
    },
};

/// Below the range that systems give to outgoing connections: while an etcd is down, its port must
/// not be handed to somebody's connect (not even to one that tries to reach this very port, which
/// then talks to itself).
const FIRST: u16 = 10_000;
const COUNT: u16 = 20_000;

/// So many of the newest ports are claimed; a claim is a file descriptor.
const CLAIMS: usize = 256;

/// `N` ports on 127.0.0.1 that are free at the moment, and that this process gives out only once.
pub(crate) fn free_ports<const N: usize>() -> [u16; N] {
    // Another process counts from elsewhere.
    static NEXT: LazyLock<AtomicU16> = LazyLock::new(|| AtomicU16::new(fastrand::u16(..COUNT)));
    std::array::from_fn(|_| {
        for _ in 0..COUNT {
            let port = FIRST + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT;
            if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() && claim(port) {
                return port;
            }
        }
        panic!("no free port on 127.0.0.1")
    })
}

/// Keeps other test processes from giving out the same port, on which nobody listens yet: whoever
/// comes first has the UDP port of that number, which nobody else wants. Two etcds on one port do
/// not show: the second is taken to be ready as soon as the first answers.
fn claim(port: u16) -> bool {
    static CLAIMED: Mutex<VecDeque<UdpSocket>> = Mutex::new(VecDeque::new());
    let Ok(claim) = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)) else {
        return false;
    };
    let mut claimed = CLAIMED.lock().unwrap_or_else(PoisonError::into_inner);
    if claimed.len() == CLAIMS {
        claimed.pop_front();
    }
    claimed.push_back(claim);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_given_out_is_claimed() {
        let [port] = free_ports();

        let other = UdpSocket::bind((Ipv4Addr::LOCALHOST, port));

        other.expect_err("another process would take it too");
        assert!(!claim(port));
    }
}
