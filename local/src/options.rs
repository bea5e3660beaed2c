//! How a local cluster is to be.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use dfs_types::names::{DATANODE_HTTP_PORT, DATANODE_PORT, NAMENODE_HTTP_PORT, NAMENODE_PORT};
use serde::{Deserialize, Serialize};

use crate::daemon::Daemon;
pub use crate::daemon::{MAX_DATANODES, MAX_NAMENODES};
use crate::error::{LocalError, Result};
use crate::ports::{free_port, is_free};

/// Distance between the ports of one NameNode and the next, downwards: above lie those of the DataNodes.
const NAMENODE_STEP: u16 = 10;

/// Which ports the daemons listen on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ports {
    /// Whatever is free. A NameNode that comes back takes its former port again: others know it by that.
    Free,
    /// The well-known ones, all moved by the same distance so that the first NameNode's is this one.
    ///
    /// | daemon | gRPC | HTTP |
    /// | --- | --- | --- |
    /// | first NameNode, further ones | 9000, 8990, 8980 … | 9870, 9860, 9850 … |
    /// | DataNodes | 9001, 9002 … | 9864, 9865 … without 9870 |
    From(u16),
}

/// gRPC and HTTP port of one daemon; zero: any free one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct PortPair {
    pub(crate) rpc: u16,
    pub(crate) http: u16,
}

impl Ports {
    /// The ports of the NameNode with this number, counted from 1, other than those `taken`, to which they are added.
    pub(crate) fn namenode(self, number: u16, taken: &mut BTreeSet<u16>) -> Result<PortPair> {
        match self {
            Self::Free => Ok(PortPair { rpc: port_of_free(taken)?, http: port_of_free(taken)? }),
            Self::From(first) => {
                let below = u32::from(NAMENODE_STEP * number.saturating_sub(1));
                let port = |port: u16| moved(u32::from(port) - below, first, Daemon::NameNode(number));
                Ok(PortPair { rpc: port(NAMENODE_PORT)?, http: port(NAMENODE_HTTP_PORT)? })
            }
        }
    }

    /// The ports of the DataNode with this number, counted from 1.
    pub(crate) fn datanode(self, number: u16) -> Result<PortPair> {
        let Self::From(first) = self else { return Ok(PortPair::default()) };
        let index = u32::from(number.saturating_sub(1));
        // The row of HTTP ports runs into the NameNode's after six DataNodes: step over it.
        let mut http = u32::from(DATANODE_HTTP_PORT) + index;
        if http >= u32::from(NAMENODE_HTTP_PORT) {
            http += 1;
        }
        Ok(PortPair {
            rpc: moved(u32::from(DATANODE_PORT) + index, first, Daemon::DataNode(number))?,
            http: moved(http, first, Daemon::DataNode(number))?,
        })
    }
}

fn port_of_free(taken: &mut BTreeSet<u16>) -> Result<u16> {
    free_port(|port| is_free(Ipv4Addr::LOCALHOST, port) && taken.insert(port))
}

fn moved(port: u32, first: u16, daemon: Daemon) -> Result<u16> {
    (port + u32::from(first))
        .checked_sub(NAMENODE_PORT.into())
        .and_then(|port| u16::try_from(port).ok())
        .filter(|port| *port > 0)
        .ok_or(LocalError::Ports(daemon, first))
}

/// How long the daemons live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// They outlive this process and its terminal: each has a process group of its own.
    Detached,
    /// They belong to this process's group and get what a terminal or test runner sends to it.
    Scoped,
}

/// What [`LocalCluster::up`](crate::LocalCluster::up) is to start.
#[derive(Debug, Clone)]
pub struct Options {
    /// Ports of daemons that are started; those that run keep theirs.
    pub ports: Ports,
    /// NameNodes, 1 to [`MAX_NAMENODES`]; usual are 1 and 3. A cluster that has more already keeps them.
    pub namenodes: u16,
    /// `HOST:PORT` under which daemons are known to each other and to clients, as [`Network`](crate::Network) gives it;
    /// those that are not named here are known by where they listen. Something must lead from there to the daemon. A
    /// DataNode then listens on the same port of 127.0.0.1, whatever `ports` says.
    pub advertise: BTreeMap<Daemon, String>,
    /// DataNodes, at most [`MAX_DATANODES`].
    pub datanodes: u16,
    /// `/ZONE/RACK` of each DataNode, by number; further ones have none.
    pub topology: Vec<String>,
    /// Volumes of each DataNode, at least 1.
    pub volumes: u16,
    /// Further arguments for every NameNode, such as `--dead-after 5s`.
    pub namenode_args: Vec<String>,
    /// Further arguments for every DataNode.
    pub datanode_args: Vec<String>,
    /// How long to wait until every DataNode is live and safe mode is off.
    pub ready_within: Duration,
    /// How long the daemons live.
    pub lifetime: Lifetime,
    /// Folder of the daemons' programs; `None`: beside this program, or in the folder above it (test programs).
    pub bin_dir: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            ports: Ports::Free,
            namenodes: 1,
            advertise: BTreeMap::new(),
            topology: Vec::new(),
            datanodes: 3,
            volumes: 1,
            namenode_args: Vec::new(),
            datanode_args: Vec::new(),
            ready_within: Duration::from_mins(1),
            lifetime: Lifetime::Detached,
            bin_dir: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::FREE_PORTS;

    #[test]
    fn default_ports_are_the_documented_ones() {
        let (ports, mut taken) = (Ports::From(NAMENODE_PORT), BTreeSet::new());
        assert_eq!(ports.namenode(1, &mut taken).unwrap(), PortPair { rpc: 9_000, http: 9_870 });
        assert_eq!(ports.namenode(2, &mut taken).unwrap(), PortPair { rpc: 8_990, http: 9_860 });
        assert_eq!(ports.namenode(3, &mut taken).unwrap(), PortPair { rpc: 8_980, http: 9_850 });
        assert_eq!(ports.datanode(1).unwrap(), PortPair { rpc: 9_001, http: 9_864 });
        assert_eq!(ports.datanode(3).unwrap(), PortPair { rpc: 9_003, http: 9_866 });
    }

    #[test]
    fn no_two_daemons_share_a_port() {
        for first in [NAMENODE_PORT, 20_000] {
            let (ports, mut taken, mut seen) = (Ports::From(first), BTreeSet::new(), BTreeSet::new());
            let namenodes = (1..=MAX_NAMENODES).map(|number| ports.namenode(number, &mut taken));
            for pair in namenodes.chain((1..=MAX_DATANODES).map(|number| ports.datanode(number))) {
                let pair = pair.unwrap();
                assert!(seen.insert(pair.rpc) && seen.insert(pair.http), "{pair:?} is taken");
            }
        }
    }

    #[test]
    fn free_ports_differ() {
        let mut taken = BTreeSet::new();
        for number in 1..=MAX_NAMENODES {
            let pair = Ports::Free.namenode(number, &mut taken).unwrap();
            assert!(FREE_PORTS.contains(&pair.rpc) && FREE_PORTS.contains(&pair.http), "{pair:?}");
        }
        assert_eq!(taken.len(), 2 * usize::from(MAX_NAMENODES));
    }

    #[test]
    fn ports_out_of_range_are_refused() {
        let mut taken = BTreeSet::new();
        assert!(Ports::From(65_000).namenode(1, &mut taken).is_err());
        assert!(Ports::From(65_535).datanode(1).is_err());
        assert!(Ports::From(0).namenode(1, &mut taken).is_err());
        assert!(Ports::From(10).namenode(1, &mut taken).is_ok());
        let error = Ports::From(10).namenode(2, &mut taken).unwrap_err().to_string();
        assert!(error.contains("namenode-2") && error.contains("10"), "{error}");
    }
}
