//! One connection to one member: a queue, and a task that empties it.

use std::sync::Arc;
use std::time::Duration;

use dfs_proto::v1;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_stream::wrappers::ReceiverStream;
use tracing::{debug, info};

use super::Peers;

/// Messages that wait for the connection; further ones are lost.
const QUEUE: usize = 1_024;
/// Messages that wait in the connection.
const IN_FLIGHT: usize = 64;
/// Pauses between tries to connect.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(300));

/// The way to one member. Dropping it ends its task.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) address: String,
    pub(super) queue: mpsc::Sender<v1::RaftEnvelope>,
}

impl Link {
    /// Starts the task.
    pub(super) fn start(id: u64, address: String, peers: Arc<Peers>) -> Self {
        let (queue, messages) = mpsc::channel(QUEUE);
        let (to, shutdown) = (address.clone(), peers.shutdown.clone());
        shutdown.spawn(async move {
            tokio::select! {
                () = carry(id, &to, messages, &peers) => {}
                () = peers.shutdown.requested() => {}
            }
        });
        Self { address, queue }
    }
}

/// Sends what is queued, over one connection after another, until the queue is closed.
async fn carry(id: u64, address: &str, mut messages: mpsc::Receiver<v1::RaftEnvelope>, peers: &Peers) {
    let mut pause = PAUSES.0;
    while let Some(first) = messages.recv().await {
        match over_one_connection(address, first, &mut messages).await {
            Ok(sent) if sent > 0 => pause = PAUSES.0,
            Ok(_) | Err(_) if messages.is_closed() => return,
            outcome => {
                debug!(id, address, ?outcome, "no connection to a NameNode");
                pause = (pause * 2).min(PAUSES.1);
            }
        }
        peers.lost(id);
        sleep(pause).await;
        // What is old by now would only be in the way.
        while messages.try_recv().is_ok() {}
    }
    info!(id, address, "no messages go to this NameNode any more");
}

/// Answers how many messages went out before the connection broke.
async fn over_one_connection(
    address: &str,
    first: v1::RaftEnvelope,
    messages: &mut mpsc::Receiver<v1::RaftEnvelope>,
) -> Result<u64, Box<dyn std::error::Error + Send + Sync>> {
    let mut client = super::client(address)?;
    let (connection, stream) = mpsc::channel(IN_FLIGHT);
    connection.send(first).await?;
    let delivering = client.deliver(ReceiverStream::new(stream));
    tokio::pin!(delivering);
    let mut sent = 0;
    loop {
        tokio::select! {
            ended = &mut delivering => {
                debug!(address, ?ended, "connection to a NameNode ended");
                return Ok(sent);
            }
            message = messages.recv() => {
                let Some(message) = message else { return Ok(sent) };
                // A peer that reads nothing makes the queue run over, which is what the sender notices.
                if connection.try_send(message).is_ok() {
                    sent += 1;
                }
            }
        }
    }
}
