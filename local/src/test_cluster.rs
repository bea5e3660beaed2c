//! A cluster that ends with its owner.

use std::ops::Deref;

use dfs_program::streams;

use crate::cluster::LocalCluster;
use crate::error::{LocalError, Result};
use crate::options::{Lifetime, Options, Ports};

/// A [`LocalCluster`] in a temporary directory on free ports. Dropping it kills exactly its processes and removes the
/// directory.
#[derive(Debug)]
pub struct TestCluster {
    // Fields are dropped after `drop` ran: the processes are gone before the directory goes.
    cluster: LocalCluster,
    _folder: tempfile::TempDir,
}

impl TestCluster {
    /// Starts a cluster and waits until it is ready. Ports and lifetime of `options` are not looked at.
    pub async fn start(options: Options) -> Result<Self> {
        let this = Self::prepare(&options).await?;
        this.up(&Options { ports: Ports::Free, ..options }).await?;
        Ok(this)
    }

    /// A cluster of which nothing runs yet: [`LocalCluster::up`], with the same `options`, starts it.
    pub async fn prepare(options: &Options) -> Result<Self> {
        let folder = tokio::task::spawn_blocking(tempfile::tempdir).await?.map_err(|source| {
            LocalError::File { action: "create a directory in", path: std::env::temp_dir(), source }
        })?;
        let options = Options { lifetime: Lifetime::Scoped, ..options.clone() };
        Ok(Self { cluster: LocalCluster::new(folder.path(), &options)?, _folder: folder })
    }
}

impl Deref for TestCluster {
    type Target = LocalCluster;

    fn deref(&self) -> &LocalCluster {
        &self.cluster
    }
}

impl Drop for TestCluster {
    fn drop(&mut self) {
        if let Err(error) = self.cluster.wipe_out() {
            // Nothing else can be done here, and a process that stays must not stay unseen.
            streams::tell(&format!("the local cluster's processes could not be stopped: {error}"));
        }
    }
}
