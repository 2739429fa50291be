//! Free ports, reserved while nothing listens on them.

use std::{
    collections::VecDeque,
    net::{Ipv4Addr, TcpListener, UdpSocket},
    sync::{
        LazyLock, Mutex, PoisonError,
        atomic::{AtomicU16, Ordering},
    },
};

/// The first port. The ports are below the range for outgoing connections: while an etcd is down,
/// the system must not use its port for one. (A connection to the port from the same port even
/// connects to itself.)
const FIRST: u16 = 10_000;
const COUNT: u16 = 20_000;

/// How many of the newest ports are claimed. Each claim takes a file descriptor.
const CLAIMS: usize = 256;

/// `N` ports on 127.0.0.1 that are free at the moment. This process returns each port only once.
pub(crate) fn free_ports<const N: usize>() -> [u16; N] {
    // A random start, since other processes count too.
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

/// Claims a port on which nothing listens yet, so that other test processes do not use it: binds
/// the UDP port of the same number. Returns `false` if another process has claimed it. (Two etcds
/// on one port would go unnoticed, since the second would seem ready as soon as the first answers.)
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
