//! A cluster on machines that can lose their power.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result};
use dfs_fault_disk::{FaultDisk, Settings};
use dfs_local::{Daemon, LocalCluster, Options, TestCluster};

/// DataNodes, as many as a file has replicas.
const DATANODES: u16 = 3;

/// A cluster of which every process has a machine with a disk of its own.
pub(super) struct Machines {
    // The processes are killed first, then the disks go, then the folder that they were mounted in.
    disks: BTreeMap<Daemon, Arc<FaultDisk>>,
    cluster: TestCluster,
    options: Options,
}

impl Drop for Machines {
    fn drop(&mut self) {
        if let Err(error) = self.cluster.wipe_out() {
            eprintln!("the machines' processes could not be killed: {error}");
        }
    }
}

impl Machines {
    /// A cluster that is ready; `None`, and the reason printed, where disks can't be mounted.
    pub(super) async fn set_up(namenodes: u16) -> Result<Option<Self>> {
        if let Err(reason) = FaultDisk::available() {
            println!("skipped: {reason}");
            return Ok(None);
        }
        // What was flushed and never synced may be lost everywhere; that it is takes the time of a restart to be certain.
        let namenode_args = [
            ["--heartbeat-interval", "200ms"],
            ["--stale-after", "1s"],
            ["--dead-after", "5s"],
            ["--restart-grace", "6s"],
        ];
        let options = Options {
            namenodes,
            datanodes: DATANODES,
            namenode_args: namenode_args.concat().into_iter().map(str::to_owned).collect(),
            ..Options::default()
        };
        let cluster = TestCluster::prepare(&options).await?;
        let mut disks = BTreeMap::new();
        for daemon in (1..=namenodes).map(Daemon::NameNode).chain((1..=DATANODES).map(Daemon::DataNode)) {
            let at = cluster.disk(daemon);
            let mounted = tokio::task::spawn_blocking(move || FaultDisk::mount(&at, Settings::default()));
            match mounted.await? {
                Err(reason @ dfs_fault_disk::Error::Unavailable(_)) => {
                    println!("skipped: {reason}");
                    return Ok(None);
                }
                disk => disks.insert(daemon, Arc::new(disk?)),
            };
        }
        let this = Self { disks, cluster, options };
        this.ready().await?;
        Ok(Some(this))
    }

    /// The cluster.
    pub(super) fn cluster(&self) -> &LocalCluster {
        &self.cluster
    }

    /// Every machine.
    pub(super) fn all(&self) -> Vec<Daemon> {
        self.disks.keys().copied().collect()
    }

    /// A machine's disk.
    pub(super) fn disk(&self, daemon: Daemon) -> Result<Arc<FaultDisk>> {
        self.disks.get(&daemon).cloned().with_context(|| format!("{daemon} has no disk"))
    }

    /// These machines lose their power at the same moment, and get it back: their processes are dead, and their disks
    /// have what was synced, and of the rest what chance keeps.
    pub(super) async fn cut(&self, machines: &[Daemon], seed: u64) -> Result<()> {
        self.cluster.kill_all(machines).await?;
        for (machine, seed) in machines.iter().zip(seed..) {
            let disk = self.disk(*machine)?;
            tokio::task::spawn_blocking(move || {
                let lost = disk.power_cut(seed)?;
                println!("  {}: {lost:?}", disk.path().display());
                disk.restore()
            })
            .await??;
        }
        Ok(())
    }

    /// Starts what does not run, and waits until all of it is ready.
    pub(super) async fn ready(&self) -> Result<()> {
        self.cluster.up(&self.options).await?;
        Ok(())
    }
}
