//! A cluster whose network and clocks can be disturbed.

use anyhow::Result;
use dfs_client::{Builder, Dfs};
use dfs_e2e::clocks::{Clocks, programs};
use dfs_e2e::network::{Member, Network, Party, Roster};
use dfs_local::{Daemon, LocalCluster, Options, TestCluster};
use tempfile::TempDir;

/// A cluster whose network and clocks can be disturbed.
#[derive(Debug)]
pub(crate) struct Stage {
    /// The cluster.
    pub(crate) cluster: TestCluster,
    /// What lies between its NameNodes, and between them and all others, if there are several.
    pub(crate) network: Network,
    /// The NameNodes' clocks.
    pub(crate) clocks: Clocks,
    /// How many NameNodes there are.
    pub(crate) members: u16,
    _folder: TempDir,
}

struct NameNodes(LocalCluster);

impl Roster for NameNodes {
    async fn members(&self) -> Vec<Member> {
        // A cluster that can't be read has no members: the connection is closed.
        let daemons = self.0.status().await.unwrap_or_default();
        let namenodes = daemons.into_iter().filter(|status| matches!(status.daemon, Daemon::NameNode(_)));
        namenodes.map(|status| Member { listens: status.address, pid: status.pid }).collect()
    }
}

impl Stage {
    /// A cluster of so many NameNodes, which run the program `namenode`.
    pub(crate) async fn set_up(members: u16, namenode: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let clocks = Clocks::new(folder.path(), &programs()?, namenode)?;
        // Between one and its clients there is nothing to cut that a pause does not do.
        let mut network = Network::bind(if members > 1 { members.into() } else { 0 }).await?;
        let options = Options {
            namenodes: members,
            datanodes: 1,
            advertise: network.addresses().to_vec(),
            bin_dir: Some(clocks.bin_dir()),
            ..Options::default()
        };
        let cluster = TestCluster::prepare(&options).await?;
        network.serve(NameNodes(LocalCluster::clone(&cluster)));
        cluster.up(&options).await?;
        Ok(Self { cluster, network, clocks, members, _folder: folder })
    }

    /// How a client with connections of its own is made.
    pub(crate) async fn client(&self) -> Result<Builder> {
        let addresses = self.cluster.namenode_addresses().await?;
        Ok(addresses.into_iter().fold(Dfs::builder(), Builder::namenode))
    }
}

/// The NameNode with this number, as a party of the network.
pub(crate) fn party(namenode: u16) -> Party {
    Party::Member(usize::from(namenode) - 1)
}
