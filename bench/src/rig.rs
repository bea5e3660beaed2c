//! The cluster under measurement and where the data lies.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use dfs_client::Dfs;
use dfs_local::{Daemon, LocalCluster, Options};
use tempfile::TempDir;

use crate::process::{self, Usage};

/// A cluster in a directory of its own, and folders for local files.
#[derive(Debug)]
pub(crate) struct Rig {
    /// The cluster.
    pub(crate) cluster: LocalCluster,
    /// Folder on the disk that the DataNodes use too.
    pub(crate) disk: PathBuf,
    /// Folder in memory, so that fetched files cost no disk.
    pub(crate) memory: TempDir,
    _root: TempDir,
}

impl Rig {
    /// Starts the cluster, with so many NameNodes and DataNodes, below `root`.
    pub(crate) async fn start(root: &Path, namenodes: u16, datanodes: u16) -> Result<Self> {
        Self::start_of(root, namenodes, datanodes, None).await
    }

    /// The same, of the programs in a folder; `None`: those beside this one.
    pub(crate) async fn start_of(
        root: &Path,
        namenodes: u16,
        datanodes: u16,
        programs: Option<&Path>,
    ) -> Result<Self> {
        let root = tempfile::tempdir_in(root)?;
        let disk = root.path().join("files");
        std::fs::create_dir(&disk)?;
        let shared_memory = Path::new("/dev/shm");
        let memory =
            if shared_memory.is_dir() { tempfile::tempdir_in(shared_memory)? } else { tempfile::tempdir()? };
        let options = Options {
            namenodes,
            datanodes,
            ready_within: Duration::from_mins(1),
            bin_dir: programs.map(Path::to_owned),
            ..Options::default()
        };
        let cluster = LocalCluster::new(&root.path().join("cluster"), &options)?;
        cluster.up(&options).await?;
        Ok(Self { cluster, disk, memory, _root: root })
    }

    /// A new client with connections of its own.
    pub(crate) async fn client(&self) -> Result<Dfs> {
        Ok(self.cluster.client().await?)
    }

    /// What every daemon has used so far.
    pub(crate) async fn usages(&self) -> Result<Vec<(Daemon, Usage)>> {
        self.cluster
            .status()
            .await?
            .into_iter()
            .map(|daemon| {
                let pid = daemon.pid.with_context(|| format!("{} does not run", daemon.daemon))?;
                Ok((daemon.daemon, process::usage(pid)?))
            })
            .collect()
    }

    /// CPU seconds of all daemons so far.
    pub(crate) async fn server_cpu(&self) -> Result<f64> {
        Ok(self.usages().await?.iter().map(|(_, usage)| usage.cpu.as_secs_f64()).sum())
    }

    /// Stops the cluster.
    pub(crate) async fn stop(self) -> Result<()> {
        self.cluster.down().await?;
        Ok(())
    }
}
