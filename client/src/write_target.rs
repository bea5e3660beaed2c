//! A file being written, and what its parts know of the chunks under way.

use std::sync::{Arc, OnceLock};

use dfs_proto::v1;
use dfs_types::{ErrorCode, Extent, FsError, FsPath, FsResult, InodeId};
use tokio::sync::watch;

use crate::handle::Inner;

/// A file being written.
#[derive(Debug)]
pub(crate) struct WriteTarget {
    pub(crate) dfs: Arc<Inner>,
    pub(crate) path: FsPath,
    pub(crate) inode: InodeId,
    pub(crate) chunk_size: u64,
    /// Chunks that the file had when it was opened, and the last of them.
    pub(crate) inherited: (u64, Option<Extent>),
    /// What its writer means to write, if that is known.
    pub(crate) expected_length: Option<u64>,
    pub(crate) replication: u32,
    /// Whether chunks are synced when finalized.
    pub(crate) sync: bool,
    /// Why the file can't be written any further.
    pub(crate) failed: OnceLock<FsError>,
}

/// What others may know of a chunk being written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Progress {
    /// The chunk and how much of it is acknowledged; `None` before it is allocated.
    pub(crate) extent: Option<Extent>,
    /// Acknowledged packets.
    pub(crate) packets: u64,
    pub(crate) phase: Phase,
}

/// What a chunk's task is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Allocating it or setting up its pipeline.
    Opening,
    /// Sending packets.
    Streaming,
    /// Its generation is about to change.
    Recovering,
    /// Finalized on every node of its pipeline.
    Finished,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self { extent: None, packets: 0, phase: Phase::Opening }
    }
}

impl WriteTarget {
    /// The error to answer when a chunk's task is gone.
    pub(crate) fn failure(&self) -> FsError {
        self.failed.get().cloned().unwrap_or_else(|| FsError::internal("the chunk's writer stopped"))
    }

    /// Bytes that a chunk of the file will most likely have: as many as fit, if nobody knows, or if there are more than
    /// was said.
    pub(crate) fn expected_length_of(&self, index: u64) -> u64 {
        let before = index.saturating_sub(self.inherited.0).saturating_mul(self.chunk_size);
        let left = self.expected_length.and_then(|length| length.checked_sub(before));
        left.filter(|left| *left > 0).unwrap_or(u64::MAX).min(self.chunk_size)
    }

    /// Waits until `done` holds of a chunk's progress, and answers with that progress.
    pub(crate) async fn wait(
        &self,
        progress: &mut watch::Receiver<Progress>,
        done: impl FnMut(&Progress) -> bool,
    ) -> FsResult<Progress> {
        match progress.wait_for(done).await {
            Ok(progress) => Ok(progress.clone()),
            Err(_) => Err(self.failure()),
        }
    }

    /// The extent of a chunk when `length` bytes of it are acknowledged and its generation is settled.
    pub(crate) async fn acknowledged(
        &self,
        progress: &mut watch::Receiver<Progress>,
        length: u64,
    ) -> FsResult<Extent> {
        let now = self
            .wait(progress, |progress| {
                matches!(progress.phase, Phase::Streaming | Phase::Finished)
                    && progress.extent.is_some_and(|extent| extent.length >= length)
            })
            .await?;
        now.extent.map(|extent| Extent { length, ..extent }).ok_or_else(|| self.failure())
    }

    /// One call of the `Namespace` service with a writer's patience.
    pub(crate) async fn call<T, F, Fut>(&self, call: F) -> FsResult<T>
    where
        F: Fn(v1::namespace_client::NamespaceClient<tonic::transport::Channel>, v1::Context) -> Fut,
        Fut: Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    {
        self.dfs.namenode.namespace(self.dfs.settings.transfer(), call).await
    }
}

/// Whether the NameNode refused `used` only because the chunk's generation changed meanwhile.
pub(crate) fn outdated(error: &FsError, progress: &watch::Receiver<Progress>, used: Extent) -> bool {
    let now = progress.borrow();
    error.code == ErrorCode::StaleChunk
        && (now.phase == Phase::Recovering
            || now.extent.is_some_and(|extent| extent.generation != used.generation))
}
