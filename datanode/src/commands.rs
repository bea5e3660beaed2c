//! What the NameNode orders: copies, deletions, recoveries. Each kind has its own bounded queue and its own pace.

use std::sync::Arc;

use dfs_proto::convert::Endpoint;
use dfs_types::{ChunkId, ErrorCode, FsError, FsResult, GenStamp};
use futures_util::stream::StreamExt;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tracing::{debug, info, warn};

use crate::metrics::result_label;
use crate::namenode::Namenode;
use crate::peer::{self, Sending};
use crate::recovery;
use crate::session::Stage;
use crate::session::write::Context;

/// Orders of one kind that may wait. The NameNode orders again what was not done in time.
const MAX_WAITING: usize = 1_024;
/// Copies sent at once: some disks and the network are busy, clients still get most of both.
const COPIES: usize = 4;
/// Recoveries led at once; they mostly wait for other nodes.
const RECOVERIES: usize = 8;

/// Something to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Order {
    /// Send a finalized replica to other nodes.
    Copy {
        /// The chunk.
        chunk: ChunkId,
        /// Its generation.
        generation: GenStamp,
        /// Whereto.
        targets: Vec<Endpoint>,
    },
    /// Delete exactly these replicas.
    Delete(Vec<(ChunkId, GenStamp)>),
    /// Lead the recovery of a chunk.
    Recover {
        /// The chunk.
        chunk: ChunkId,
        /// Its new generation.
        new_generation: GenStamp,
        /// Who has replicas.
        holders: Vec<Endpoint>,
    },
}

#[derive(Debug)]
struct Copy {
    chunk: ChunkId,
    generation: GenStamp,
    targets: Vec<Endpoint>,
}

#[derive(Debug)]
struct Recovery {
    chunk: ChunkId,
    new_generation: GenStamp,
    holders: Vec<Endpoint>,
    namenode: Arc<Namenode>,
}

/// Takes orders in.
#[derive(Debug, Clone)]
pub(crate) struct Inbox {
    copies: mpsc::Sender<Copy>,
    deletions: mpsc::Sender<Vec<(ChunkId, GenStamp)>>,
    recoveries: mpsc::Sender<Recovery>,
}

/// Performs orders.
#[derive(Debug)]
pub(crate) struct Worker {
    copies: mpsc::Receiver<Copy>,
    deletions: mpsc::Receiver<Vec<(ChunkId, GenStamp)>>,
    recoveries: mpsc::Receiver<Recovery>,
}

/// A new pair.
pub(crate) fn queues() -> (Inbox, Worker) {
    let (copies, copy_queue) = mpsc::channel(MAX_WAITING);
    let (deletions, deletion_queue) = mpsc::channel(MAX_WAITING);
    let (recoveries, recovery_queue) = mpsc::channel(MAX_WAITING);
    let worker = Worker { copies: copy_queue, deletions: deletion_queue, recoveries: recovery_queue };
    (Inbox { copies, deletions, recoveries }, worker)
}

impl Inbox {
    /// Takes an order of `namenode`; one that finds its queue full is dropped.
    pub(crate) fn take(&self, namenode: &Arc<Namenode>, order: Order) {
        let taken = match order {
            Order::Copy { chunk, generation, targets } => {
                self.copies.try_send(Copy { chunk, generation, targets }).is_ok()
            }
            Order::Delete(replicas) => self.deletions.try_send(replicas).is_ok(),
            Order::Recover { chunk, new_generation, holders } => {
                let namenode = Arc::clone(namenode);
                self.recoveries.try_send(Recovery { chunk, new_generation, holders, namenode }).is_ok()
            }
        };
        if !taken {
            warn!(%namenode, "an order is dropped: too many are waiting");
        }
    }
}

impl Worker {
    /// Performs orders as long as there is somebody to give them.
    pub(crate) async fn run(self, context: Context) {
        let copies =
            ReceiverStream::new(self.copies).for_each_concurrent(COPIES, |copy| send(context.clone(), copy));
        let deletions =
            ReceiverStream::new(self.deletions).for_each(|replicas| delete(context.clone(), replicas));
        let recoveries = ReceiverStream::new(self.recoveries)
            .for_each_concurrent(RECOVERIES, |recovery| recover(context.clone(), recovery));
        tokio::join!(copies, deletions, recoveries);
    }
}

async fn send(context: Context, copy: Copy) {
    let Copy { chunk, generation, targets } = copy;
    let stage = Stage::Copy;
    let sending = Sending { chunk, generation, new_generation: generation, stage, targets };
    let sent = peer::send(&context, sending).await;
    context.metrics.copies.with_label_values(&[result_label(&sent)]).inc();
    match sent {
        Ok(length) => debug!(%chunk, %generation, length, "copy sent"),
        // An earlier copy of the same order got there first.
        Err(FsError { code: ErrorCode::AlreadyExists, message }) => debug!(%chunk, message, "copy is there"),
        Err(error) => warn!(%chunk, %generation, %error, "copy failed"),
    }
}

async fn delete(context: Context, replicas: Vec<(ChunkId, GenStamp)>) {
    for (chunk, generation) in replicas {
        match context.store.delete(chunk, generation).await {
            Ok(()) => debug!(%chunk, %generation, "replica deleted"),
            Err(error) => warn!(%chunk, %generation, %error, "replica could not be deleted"),
        }
    }
}

async fn recover(context: Context, recovery: Recovery) {
    let Recovery { chunk, new_generation, holders, namenode } = recovery;
    let result: FsResult<()> = async {
        let agreement = recovery::recover(&context, chunk, new_generation, &holders).await?;
        namenode.commit_recovery(chunk, new_generation, &agreement).await
    }
    .await;
    match result {
        Ok(()) => info!(%chunk, %new_generation, "recovery committed"),
        Err(error) => warn!(%chunk, %new_generation, %error, "recovery failed"),
    }
}
