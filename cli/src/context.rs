//! What a command works with: the options of all commands, the client, and whether it is to stop.

use std::sync::OnceLock;

use dfs_client::{Builder, Dfs};
use dfs_daemon::Memory;
use tokio_util::sync::CancellationToken;

use crate::exit::{Failure, Outcome};
use crate::global::Global;
use crate::reach::Reach;

/// What every command gets.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) global: Global,
    /// Cancelled when the user wants no more.
    pub(crate) stop: CancellationToken,
    /// Permission bits that are given to nothing new on this machine.
    pub(crate) umask: u32,
    client: OnceLock<Dfs>,
}

impl Context {
    pub(crate) fn new(global: Global, umask: u32) -> Self {
        Self { global, stop: CancellationToken::new(), umask, client: OnceLock::new() }
    }

    /// The client; connects the first time.
    pub(crate) async fn dfs(&self) -> Outcome<Dfs> {
        if let Some(client) = self.client.get() {
            return Ok(client.clone());
        }
        let reach = self.global.reach();
        let client = self.builder().await?.connect().await.map_err(|error| reach.explained(error))?;
        Ok(self.client.get_or_init(|| client).clone())
    }

    /// A client yet to be connected.
    pub(crate) async fn builder(&self) -> Outcome<Builder> {
        let builder = match self.global.reach() {
            Reach::Addresses(addresses) => addresses.iter().fold(Dfs::builder(), Builder::namenode),
            Reach::Kubernetes { cluster, .. } => {
                let access = self.global.access().await?;
                access.builder(&access.cluster(cluster.as_deref()).await?)
            }
        };
        let builder =
            builder.follower_reads(self.global.follower_reads).memory(Memory::of_process().for_data());
        Ok(match &self.global.user {
            Some(user) => builder.user(user),
            None => builder,
        })
    }

    /// Runs `work`, or gives up when the user wants no more.
    pub(crate) async fn until_stop<T>(&self, work: impl Future<Output = Outcome<T>>) -> Outcome<T> {
        tokio::select! {
            outcome = work => outcome,
            () = self.stop.cancelled() => Err(Failure::Interrupted),
        }
    }
}
