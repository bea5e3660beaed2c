//! What the leading NameNode orders: copies, deletions, recoveries. Each kind has its own bounded queue and its own
//! pace, and deletions one for each volume: a disk that hangs holds up no other's. An order that is still queued when another NameNode leads is dropped: that one has its own.

use std::sync::Arc;

use dfs_types::{ChunkId, Command, Endpoint, ErrorCode, FsError, FsResult, GenStamp};
use futures_util::future::join_all;
use futures_util::stream::StreamExt;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tracing::{debug, info, warn};

use crate::fence::Fence;
use crate::metrics::{Active, Metrics, result_label};
use crate::namenode::Namenode;
use crate::recovery;
use crate::sending::{self, Sending};
use crate::session::Stage;
use crate::session::write::Context;
use crate::store::Store;
use crate::volume::index::DeletionOrder;

/// Orders of one kind that may wait. The NameNode orders again what was not done in time.
const MAX_WAITING: usize = 1_024;
/// Copies sent at once: some disks and the network are busy, clients still get most of both.
const COPIES: usize = 4;
/// Recoveries led at once; they mostly wait for other nodes.
const RECOVERIES: usize = 8;

#[derive(Debug)]
struct Copy {
    term: u64,
    chunk: ChunkId,
    generation: GenStamp,
    targets: Vec<Endpoint>,
    bytes_per_second: u64,
    unfinished: Unfinished,
    counted: Active,
}

/// One copy that waits or is being sent. When there are none left, whoever watches is told.
#[derive(Debug)]
struct Unfinished(Arc<watch::Sender<usize>>);

impl Unfinished {
    fn count(copies: &Arc<watch::Sender<usize>>) -> Self {
        copies.send_modify(|count| *count += 1);
        Self(Arc::clone(copies))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

#[derive(Debug)]
struct Recovery {
    term: u64,
    chunk: ChunkId,
    new_generation: GenStamp,
    acknowledged: u64,
    holders: Vec<Endpoint>,
    namenode: Arc<Namenode>,
    counted: Active,
}

#[derive(Debug)]
struct Deletions {
    chunks: Vec<ChunkId>,
    counted: Active,
}

/// Takes orders in.
#[derive(Debug)]
pub(crate) struct Inbox {
    copies: mpsc::Sender<Copy>,
    /// By the volumes' numbers.
    deletions: Vec<mpsc::Sender<Deletions>>,
    recoveries: mpsc::Sender<Recovery>,
    store: Arc<Store>,
    unfinished: Arc<watch::Sender<usize>>,
    metrics: Arc<Metrics>,
}

/// Performs orders.
#[derive(Debug)]
pub(crate) struct Worker {
    copies: mpsc::Receiver<Copy>,
    deletions: Vec<mpsc::Receiver<Deletions>>,
    recoveries: mpsc::Receiver<Recovery>,
    fence: Arc<Fence>,
}

/// A new pair. Orders concern the replicas of `store`, and are carried out as long as `fence` allows it.
pub(crate) fn queues(store: Arc<Store>, fence: Arc<Fence>, metrics: Arc<Metrics>) -> (Inbox, Worker) {
    let (copies, copy_queue) = mpsc::channel(MAX_WAITING);
    let (deletions, deletion_queues) = (0..store.volume_count()).map(|_| mpsc::channel(MAX_WAITING)).unzip();
    let (recoveries, recovery_queue) = mpsc::channel(MAX_WAITING);
    let worker = Worker { copies: copy_queue, deletions: deletion_queues, recoveries: recovery_queue, fence };
    let unfinished = Arc::new(watch::Sender::new(0));
    (Inbox { copies, deletions, recoveries, store, unfinished, metrics }, worker)
}

impl Inbox {
    /// The number of copies that wait or are being sent, to be watched.
    pub(crate) fn unfinished_copies(&self) -> watch::Receiver<usize> {
        self.unfinished.subscribe()
    }

    /// Takes an order of `namenode`, who leads in `term` and knows of the first `births` replicas; one that finds its queue
    /// full is dropped.
    pub(crate) fn take(&self, namenode: &Arc<Namenode>, term: u64, births: u64, order: Command<Endpoint>) {
        let taken = match order {
            Command::Copy { chunk, generation, length: _, targets, bytes_per_second } => {
                let unfinished = Unfinished::count(&self.unfinished);
                let counted = Active::order(&self.metrics, "copy");
                let copy = Copy { term, chunk, generation, targets, bytes_per_second, unfinished, counted };
                self.copies.try_send(copy).is_ok()
            }
            Command::Delete { replicas } => self.take_deletions(&replicas, DeletionOrder { term, births }),
            Command::Recover { chunk, new_generation, acknowledged, holders } => {
                let namenode = Arc::clone(namenode);
                let counted = Active::order(&self.metrics, "recover");
                let recovery =
                    Recovery { term, chunk, new_generation, acknowledged, holders, namenode, counted };
                self.recoveries.try_send(recovery).is_ok()
            }
        };
        if !taken {
            warn!(%namenode, "an order is dropped: too many are waiting");
        }
    }

    fn take_deletions(&self, replicas: &[(ChunkId, GenStamp)], order: DeletionOrder) -> bool {
        let mut all_taken = true;
        let by_volume = self.store.order_deletions(replicas, order);
        for (queue, chunks) in self.deletions.iter().zip(by_volume) {
            if chunks.is_empty() {
                continue;
            }
            let counted = Active::order(&self.metrics, "delete");
            match queue.try_send(Deletions { chunks, counted }) {
                Ok(()) => {}
                Err(TrySendError::Full(deletions) | TrySendError::Closed(deletions)) => {
                    self.store.drop_deletions(&deletions.chunks);
                    all_taken = false;
                }
            }
        }
        all_taken
    }
}

impl Worker {
    /// Performs orders as long as there is somebody to give them.
    pub(crate) async fn run(self, context: Context) {
        let Self { copies, deletions, recoveries, fence } = self;
        let copies = ReceiverStream::new(copies)
            .for_each_concurrent(COPIES, |copy| send(context.clone(), Arc::clone(&fence), copy));
        let deletions = join_all(deletions.into_iter().map(|queue| {
            ReceiverStream::new(queue)
                .for_each(|deletions| delete(context.clone(), Arc::clone(&fence), deletions))
        }));
        let recoveries = ReceiverStream::new(recoveries).for_each_concurrent(RECOVERIES, |recovery| {
            recover(context.clone(), Arc::clone(&fence), recovery)
        });
        tokio::join!(copies, deletions, recoveries);
    }
}

async fn send(context: Context, fence: Arc<Fence>, copy: Copy) {
    let Copy {
        term,
        chunk,
        generation,
        targets,
        bytes_per_second,
        unfinished: _until_sent,
        counted: _counted,
    } = copy;
    if !fence.allows(term) {
        debug!(%chunk, %generation, term, "the copy's order is of an earlier leader");
        return;
    }
    let stage = Stage::Copy;
    let sending = Sending { chunk, generation, new_generation: generation, stage, targets, bytes_per_second };
    let sent = sending::send(&context, sending).await;
    context.metrics.copies.with_label_values(&[result_label(&sent)]).inc();
    match sent {
        Ok(length) => debug!(%chunk, %generation, length, "copy sent"),
        // An earlier copy of the same order got there first.
        Err(FsError { code: ErrorCode::AlreadyExists, message }) => debug!(%chunk, message, "copy is there"),
        Err(error) => warn!(%chunk, %generation, %error, "copy failed"),
    }
}

async fn delete(context: Context, fence: Arc<Fence>, deletions: Deletions) {
    let Deletions { chunks, counted: _until_deleted } = deletions;
    for chunk in chunks {
        match context.store.delete_ordered(chunk, &fence).await {
            Ok(true) => debug!(%chunk, "replica deleted"),
            Ok(false) => debug!(%chunk, "replica not deleted: it is gone, or another NameNode leads"),
            Err(error) => warn!(%chunk, %error, "replica could not be deleted"),
        }
    }
}

async fn recover(context: Context, fence: Arc<Fence>, recovery: Recovery) {
    let Recovery { term, chunk, new_generation, acknowledged, holders, namenode, counted: _until_over } =
        recovery;
    if !fence.allows(term) {
        debug!(%chunk, %new_generation, term, "the recovery's order is of an earlier leader");
        return;
    }
    let result: FsResult<()> = async {
        let agreement = recovery::recover(&context, chunk, new_generation, acknowledged, &holders).await?;
        namenode.commit_recovery(chunk, new_generation, &agreement).await
    }
    .await;
    match result {
        Ok(()) => info!(%chunk, %new_generation, "recovery committed"),
        Err(error) => warn!(%chunk, %new_generation, %error, "recovery failed"),
    }
}
