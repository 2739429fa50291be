//! Connections as the system sees them: etcd has no metric for them.

use std::{collections::HashSet, fs, net::SocketAddr};

const ESTABLISHED: &str = "01";

/// How many established connections lead to `server`; see [`ports_to`].
pub(crate) fn connections_to(server: SocketAddr, pid: u32, own_ports: &HashSet<u16>) -> usize {
    ports_to(server, pid, own_ports).len()
}

/// The ports from which established connections lead to `server`, those from `own_ports` aside and those of
/// the process `pid` (etcd's JSON gateway is a client of its own server). Linux only.
pub(crate) fn ports_to(server: SocketAddr, pid: u32, own_ports: &HashSet<u16>) -> HashSet<u16> {
    let server_own = socket_inodes(pid);
    let table = fs::read_to_string("/proc/net/tcp")
        .unwrap_or_else(|error| panic!("connections are counted from /proc/net/tcp: {error}"));
    table
        .lines()
        .skip(1)
        .filter_map(Row::parse)
        .filter(|row| row.state == ESTABLISHED && row.remote_port == server.port())
        .filter(|row| row.remote_is_loopback && !own_ports.contains(&row.local_port))
        .filter(|row| !server_own.contains(row.inode))
        .map(|row| row.local_port)
        .collect()
}

/// The sockets that `pid` has open.
fn socket_inodes(pid: u32) -> HashSet<String> {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return HashSet::new();
    };
    descriptors
        .filter_map(|descriptor| fs::read_link(descriptor.ok()?.path()).ok())
        .filter_map(|target| {
            let target = target.to_str()?;
            let inode = target.strip_prefix("socket:[")?.strip_suffix(']')?;
            Some(inode.to_owned())
        })
        .collect()
}

/// A line such as
/// `0: 0100007F:AF2E 0100007F:84D0 01 00000000:00000000 00:00000000 00000000 0 0 2107`.
struct Row<'a> {
    local_port: u16,
    remote_is_loopback: bool,
    remote_port: u16,
    state: &'a str,
    inode: &'a str,
}

impl<'a> Row<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let columns: Vec<&str> = line.split_ascii_whitespace().collect();
        let (_, local_port) = columns.get(1)?.split_once(':')?;
        let (address, port) = columns.get(2)?.split_once(':')?;
        Some(Self {
            local_port: u16::from_str_radix(local_port, 16).ok()?,
            // The address is a number of the machine's byte order.
            remote_is_loopback: u32::from_str_radix(address, 16).ok()?
                == u32::from_ne_bytes([127, 0, 0, 1]),
            remote_port: u16::from_str_radix(port, 16).ok()?,
            state: columns.get(3)?,
            inode: columns.get(9)?,
        })
    }
}
