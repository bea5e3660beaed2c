//! Which process a local connection comes from: the kernel's table of connections names the socket's inode, and a
//! process that has it open shows it in `/proc/PID/fd`.

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};

use super::Member;
use crate::daemon::Daemon;

/// The daemon of `members` that connected `from` there `to` here; `None` if it was none of them.
pub(super) fn of(from: SocketAddr, to: SocketAddr, members: &[Member]) -> io::Result<Option<Daemon>> {
    let Some(inode) = socket_inode(&fs::read_to_string("/proc/net/tcp")?, from, to) else { return Ok(None) };
    let found = members.iter().find(|member| member.pid.is_some_and(|pid| holds(pid, &inode)));
    Ok(found.map(|member| member.daemon))
}

/// The inode of the socket that is bound to `local` and connected to `remote`.
fn socket_inode(table: &str, local: SocketAddr, remote: SocketAddr) -> Option<String> {
    let (local, remote) = (shown(local)?, shown(remote)?);
    table.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let [_, from, to, _, _, _, _, _, _, inode, ..] = fields[..] else { return None };
        (from == local && to == remote).then(|| inode.to_owned())
    })
}

/// An IPv4 address as the kernel shows it: the bytes of the address as a number of this machine, in hexadecimal digits.
fn shown(address: SocketAddr) -> Option<String> {
    let IpAddr::V4(ip) = address.ip() else { return None };
    Some(format!("{:08X}:{:04X}", u32::from_ne_bytes(ip.octets()), address.port()))
}

fn holds(pid: u32, inode: &str) -> bool {
    let socket = format!("socket:[{inode}]");
    // A process that ended meanwhile holds nothing.
    fs::read_dir(format!("/proc/{pid}/fd")).is_ok_and(|entries| {
        entries
            .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
            .any(|target| target.as_os_str() == socket.as_str())
    })
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn the_table_is_read_as_the_kernel_writes_it() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
                     0: 0100007F:2328 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 11 1 x\n   \
                     1: 0100007F:D431 0100007F:2328 01 00000000:00000000 00:00000000 00000000     0        0 4711 1 x\n";
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        if cfg!(target_endian = "little") {
            assert_eq!(socket_inode(table, address(0xd431), address(9_000)).as_deref(), Some("4711"));
        }
        assert_eq!(socket_inode(table, address(9_000), address(0xd431)), None);
    }

    #[test]
    fn a_connection_of_this_process_is_recognised() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let stream = TcpStream::connect(to).unwrap();
        let from = stream.local_addr().unwrap();
        let own = std::process::id();
        let member = |number, pid| Member { daemon: Daemon::DataNode(number), listens: None, pid };
        let all = [member(1, None), member(2, Some(1)), member(3, Some(own))];
        assert_eq!(of(from, to, &all).unwrap(), Some(Daemon::DataNode(3)));
        assert_eq!(of(from, to, &all[..1]).unwrap(), None);
    }
}
