//! What the operating system lets the process use.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{info, warn};

/// Raises the soft limit of open files to the hard one: the usual soft limit of 1024 is meant for programs that use
/// `select`, and is too low for a server. A refusal costs only room, so it is logged and not an error.
pub fn raise_open_files() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => info!(before = ?current, now = ?maximum, "limit of open files raised"),
        Err(error) => warn!(%error, ?current, ?maximum, "limit of open files cannot be raised"),
    }
}

/// Files, sockets among them, that the process may have open.
pub fn open_files() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Memory that an open connection without a stream takes, about, with its buffers in the kernel.
const CONNECTION_BYTES: u64 = 32 << 10;
/// Most connections, whatever there is.
const MAX_CONNECTIONS: u64 = 16 << 10;
/// Connections that are always possible: with fewer a process is of no use.
const MIN_CONNECTIONS: u64 = 32;

/// How many connections others may have to all ports together: three eighths of the descriptors, so that disks and this
/// process's own connections keep most of them, and no more than an eighth of the memory can hold.
pub fn connections(open_files: u64, memory: u64) -> usize {
    let by_files = open_files / 8 * 3;
    let by_memory = memory / 8 / CONNECTION_BYTES;
    by_files.min(by_memory).clamp(MIN_CONNECTIONS, MAX_CONNECTIONS) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
        let lower = maximum.map_or(1 << 16, |files| files - 1);
        setrlimit(Resource::Nofile, Rlimit { current: Some(lower), maximum }).unwrap();
        raise_open_files();
        assert_eq!(getrlimit(Resource::Nofile), Rlimit { current: maximum, maximum });
    }

    #[test]
    fn connections_leave_room_for_everything_else() {
        assert_eq!(connections(256, 1 << 40), 96);
        assert_eq!(connections(1 << 20, 64 << 20), 256);
        assert_eq!((connections(0, 0), connections(u64::MAX, u64::MAX)), (32, 16 << 10));
    }
}
