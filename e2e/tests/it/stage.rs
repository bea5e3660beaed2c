//! A cluster whose network and clocks can be disturbed.

use anyhow::Result;
use dfs_client::{Builder, Dfs};
use dfs_local::{Clocks, Daemon, LocalCluster, Network, Options, Party, Programs, TestCluster, programs};
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

impl Stage {
    /// A cluster of so many NameNodes, which run the program `namenode`.
    pub(crate) async fn set_up(members: u16, namenode: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let programs = Programs { namenode: namenode.to_owned(), ..Programs::usual(programs()?) };
        let clocks = Clocks::new(folder.path(), &programs)?;
        let mut options = Options {
            namenodes: members,
            datanodes: 1,
            bin_dir: Some(clocks.bin_dir()),
            ..Options::default()
        };
        let cluster = TestCluster::prepare(&options).await?;
        let network = Network::new(LocalCluster::clone(&cluster));
        // Between one and its clients there is nothing to cut that a pause does not do.
        if members > 1 {
            for daemon in (1..=members).map(Daemon::NameNode) {
                options.advertise.insert(daemon, network.add(daemon).await?);
            }
        }
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
    Party::Daemon(Daemon::NameNode(namenode))
}
