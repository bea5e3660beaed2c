//! Connections to other processes: as many streams on each as it has room for, and another connection when it is full.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use dfs_types::limits::{DATA_SESSIONS, STREAMS_PER_CONNECTION};
use dfs_types::{ErrorCode, FsError, FsResult};

/// Addresses whose connections are kept; beyond that all are forgotten. A cluster has fewer nodes than this.
const MAX_ADDRESSES: usize = 4_096;
/// Connections to one address: with them it gets as many streams as a DataNode has sessions.
const MAX_CONNECTIONS: usize = DATA_SESSIONS / STREAMS_PER_CONNECTION;

/// Connections by address. Does no I/O: `C` is an open connection, or what becomes one.
#[derive(Debug)]
pub struct Pool<C>(Mutex<HashMap<String, Vec<Slot<C>>>>);

#[derive(Debug)]
struct Slot<C> {
    connection: C,
    /// Has one more owner for each stream.
    streams: Arc<()>,
}

/// A stream's place on a connection, given back when dropped.
#[derive(Debug)]
pub struct Lease<C> {
    connection: C,
    _stream: Arc<()>,
}

impl<C> Slot<C> {
    fn streams(&self) -> usize {
        Arc::strong_count(&self.streams) - 1
    }
}

impl<C> Lease<C> {
    /// The connection.
    pub fn connection(&self) -> &C {
        &self.connection
    }
}

impl<C> Default for Pool<C> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<C: Clone> Pool<C> {
    /// A place for a stream to `address`, on a connection from `open` if those that are there are full.
    ///
    /// Errors: `Busy` if there are as many streams as may be, and whatever `open` fails with.
    pub fn lease(&self, address: &str, open: impl FnOnce() -> FsResult<C>) -> FsResult<Lease<C>> {
        let mut addresses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if addresses.len() >= MAX_ADDRESSES && !addresses.contains_key(address) {
            addresses.clear();
        }
        let slots = addresses.entry(address.to_owned()).or_default();
        let index = match slots.iter().position(|slot| slot.streams() < STREAMS_PER_CONNECTION) {
            Some(index) => index,
            None if slots.len() < MAX_CONNECTIONS => {
                slots.push(Slot { connection: open()?, streams: Arc::default() });
                slots.len() - 1
            }
            None => {
                let why = format!(
                    "this process has {DATA_SESSIONS} streams to {address} under way already: let some of them end first"
                );
                return Err(FsError::new(ErrorCode::Busy, why));
            }
        };
        let slot = &slots[index];
        let lease = Lease { connection: slot.connection.clone(), _stream: Arc::clone(&slot.streams) };
        // Streams fill the first connections; of those that are left empty one is kept for the next rush.
        let mut spare = true;
        slots.retain(|slot| slot.streams() > 0 || std::mem::take(&mut spare));
        Ok(lease)
    }

    /// Forgets the connections to `address`; streams on them go on.
    pub fn forget(&self, address: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(address);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn connections_are_opened_as_streams_need_them_and_there_is_an_end() {
        let (pool, opened) = (Pool::default(), Cell::new(0));
        let lease = || {
            pool.lease("a:1", || {
                opened.set(opened.get() + 1);
                Ok(opened.get())
            })
        };
        let mut leases: Vec<_> = (0..STREAMS_PER_CONNECTION).map(|_| lease().unwrap()).collect();
        assert_eq!((opened.get(), *leases[0].connection()), (1, 1));
        leases.push(lease().unwrap());
        assert_eq!(*leases[STREAMS_PER_CONNECTION].connection(), 2);
        leases.remove(3);
        assert_eq!(*lease().unwrap().connection(), 1, "there is room on the first again");
        while leases.len() < DATA_SESSIONS {
            leases.push(lease().unwrap());
        }
        assert_eq!(opened.get(), MAX_CONNECTIONS);
        let refused = lease().unwrap_err();
        assert!(refused.code == ErrorCode::Busy && refused.message.contains("this process"), "{refused}");
        leases.clear();
        assert_eq!(*lease().unwrap().connection(), 1);
        let kept = pool.0.lock().unwrap()["a:1"].len();
        assert_eq!(kept, 2, "one in use and one spare");
        pool.forget("a:1");
        assert_eq!(*lease().unwrap().connection(), MAX_CONNECTIONS + 1);
    }

    #[test]
    fn a_connection_that_cannot_be_opened_takes_no_place() {
        let pool = Pool::default();
        let failed: FsResult<Lease<i32>> = pool.lease("a:1", || Err(FsError::invalid("no address")));
        assert!(failed.is_err() && pool.0.lock().unwrap()["a:1"].is_empty());
    }
}
