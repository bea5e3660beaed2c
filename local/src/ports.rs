//! Ports that nobody listens on, and that nobody else is given before their daemon does.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::Range;
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with, sockopt};

use crate::error::{LocalError, Result};

/// Where free ports are looked for: below Linux's range for outgoing connections (`ip_local_port_range`, from 32768).
pub(crate) const FREE_PORTS: Range<u16> = 12_000..32_000;

/// A port that `fits`, outside the range the kernel takes for outgoing connections: while a daemon is down, one of its
/// clients that tries to connect again and again could otherwise be given the daemon's own port and keep it.
pub(crate) fn free_port(mut fits: impl FnMut(u16) -> bool) -> Result<u16> {
    let length = u64::from(FREE_PORTS.end - FREE_PORTS.start);
    let first = RandomState::new().build_hasher().finish();
    (0..length)
        .map(|step| FREE_PORTS.start + (first.wrapping_add(step) % length) as u16)
        .find(|port| fits(*port))
        .ok_or(LocalError::NoFreePort)
}

/// A port that is kept for a daemon that does not listen yet: the daemon can bind it, and [`is_free`] says no to all others,
/// of other processes too.
#[derive(Debug)]
pub(crate) struct Reserved {
    _socket: OwnedFd,
}

impl Reserved {
    /// Keeps a port, if it is free.
    pub(crate) fn port(host: Ipv4Addr, port: u16) -> Option<Self> {
        if !is_free(host, port) {
            return None;
        }
        // Both this one and the daemon's allow others beside them, and only the daemon's listens.
        Some(Self { _socket: bound(host, port, true).ok()? })
    }
}

/// Whether nobody listens on a port, has kept it, or has just left it.
pub(crate) fn is_free(host: Ipv4Addr, port: u16) -> bool {
    bound(host, port, false).is_ok()
}

fn bound(host: Ipv4Addr, port: u16, shares: bool) -> rustix::io::Result<OwnedFd> {
    // Not for the daemons that are started meanwhile.
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_reuseaddr(&socket, shares)?;
    bind(&socket, &SocketAddrV4::new(host, port))?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_port_that_is_kept_is_given_to_nobody_but_its_daemon() {
        let host = Ipv4Addr::LOCALHOST;
        let mut kept = None;
        let port = free_port(|port| {
            kept = Reserved::port(host, port);
            kept.is_some()
        })
        .unwrap();
        assert!(!is_free(host, port), "nobody listens, and yet it is given away");
        assert!(Reserved::port(host, port).is_none());
        let daemon = TcpListener::bind((host, port)).unwrap();
        TcpStream::connect((host, port)).unwrap();
        drop(daemon);
        drop(TcpListener::bind((host, port)).unwrap());
        assert!(!is_free(host, port), "while it is down, too");
    }
}
