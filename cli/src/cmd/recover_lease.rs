//! `dfs admin recover-lease`: closes a file whose writer is gone, or says what that waits for.

use std::time::{Duration, Instant};

use dfs_client::{LeaseRecovery, RecoveryWait, WaitingChunk};
use dfs_types::{ErrorCode, FsError, FsPath};
use serde::Serialize;

use crate::context::Context;
use crate::exit::Outcome;
use crate::glob::Reading;
use crate::global::Format;
use crate::output::{Out, name, second};
use crate::remote;

/// How often it is asked whether the file is closed.
const POLL: Duration = Duration::from_millis(300);

/// How `dfs admin recover-lease` is typed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The writer loses the file. It ends with every byte that readers count on; while no DataNode has all of them, it stays
open and waits, and so does 'dfs report'. Start the DataNodes that are away. If their disks are gone for good,
--accept-loss ends the file with the longest replica there is: what is lost stays lost, also when they come back.

Examples:
  dfs admin recover-lease /logs/today
  dfs admin recover-lease /logs/today --accept-loss")]
pub(crate) struct Args {
    /// The file.
    #[arg(value_name = "PATH")]
    path: String,
    /// Give up bytes that were acknowledged and that no DataNode has; for superusers.
    #[arg(long)]
    accept_loss: bool,
    /// How long to wait for it to be closed.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    #[command(flatten)]
    reading: Reading,
}

#[derive(Serialize)]
struct Shown<'a> {
    path: String,
    closed: bool,
    length: Option<u64>,
    waiting: Vec<ShownWait<'a>>,
}

/// What a chunk's recovery waits for, as JSON shows it.
#[derive(Debug, Serialize)]
pub(super) struct ShownWait<'a> {
    path: &'a str,
    chunk: u64,
    since_ms: u64,
    expected: u64,
    found: u64,
    node: Option<String>,
    missing: Vec<String>,
    loss_accepted: bool,
}

impl<'a> ShownWait<'a> {
    pub(super) fn new(path: &'a str, chunk: u64, wait: &RecoveryWait) -> Self {
        let RecoveryWait { since, expected, best, missing: _, loss_accepted } = wait;
        Self {
            path,
            chunk,
            since_ms: since.0,
            expected: *expected,
            found: best.as_ref().map_or(0, |(_, length)| *length),
            node: best.as_ref().map(|(node, _)| node.address()),
            missing: wait.missing_names(),
            loss_accepted: *loss_accepted,
        }
    }

    pub(super) fn all(waiting: &'a [WaitingChunk]) -> Vec<Self> {
        waiting
            .iter()
            .map(|WaitingChunk { path, chunk, wait }| Self::new(path.as_str(), chunk.0, wait))
            .collect()
    }
}

/// What a chunk's recovery waits for, in words.
pub(super) fn sentence(wait: &RecoveryWait) -> String {
    let found = match &wait.best {
        Some((node, length)) => format!("the longest known has {length} (on {})", node.address()),
        None => "none is known".to_owned(),
    };
    let accepted = if wait.loss_accepted { ", the loss of the rest is accepted" } else { "" };
    let missing = match wait.missing_names().as_slice() {
        [] => String::new(),
        missing => format!(", {} have not told all that they hold", missing.join(", ")),
    };
    format!(
        "waits since {} for a replica with {} acknowledged bytes: {found}{missing}{accepted}",
        second(wait.since),
        wait.expected
    )
}

impl Args {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let dfs = context.dfs().await?;
        let (path, _) = remote::one(&dfs, &self.path, self.reading).await?;
        let deadline = Instant::now() + self.timeout;
        let mut recovery = dfs.lease_recovery(&path, self.accept_loss).await?;
        while !recovery.closed && Instant::now() < deadline {
            tokio::time::sleep(POLL).await;
            recovery = dfs.lease_recovery(&path, self.accept_loss).await?;
        }
        let LeaseRecovery { closed, waiting } = recovery;
        let length = if closed { Some(dfs.stat(&path).await?.length) } else { None };
        let mut out = Out::new();
        if context.global.output == Format::Json {
            out.json(&Shown { path: path.to_string(), closed, length, waiting: ShownWait::all(&waiting) })?;
        } else if let Some(length) = length {
            out.line(&format!("{} is closed and has {length} bytes", name(path.as_str())))?;
        }
        out.flush()?;
        if closed { Ok(()) } else { Err(not_closed(&path, &waiting).into()) }
    }
}

fn not_closed(path: &FsPath, waiting: &[WaitingChunk]) -> FsError {
    if waiting.is_empty() {
        let message = format!("{path} is being closed: ask again shortly");
        return FsError::new(ErrorCode::RecoveryInProgress, message);
    }
    let waits: Vec<String> = waiting
        .iter()
        .map(|waiting| format!("chunk {} {}", waiting.chunk, sentence(&waiting.wait)))
        .collect();
    let then = if waiting.iter().all(|waiting| waiting.wait.loss_accepted) {
        "Once the time of a restart has passed and all live DataNodes have reported it ends with what there is: ask again"
    } else {
        "Start the DataNodes that are away, or give --accept-loss if their disks are gone for good"
    };
    let message = format!("{path} stays open: {}. {then}", waits.join("; "));
    FsError::new(ErrorCode::RecoveryInProgress, message)
}

#[cfg(test)]
mod tests {
    use dfs_client::Endpoint;
    use dfs_types::{Address, ChunkId, Millis, NodeId};

    use super::*;

    #[test]
    fn what_is_waited_for_is_told() {
        let node = Endpoint {
            id: NodeId::random(),
            at: Address {
                host: "dn-1".to_owned(),
                data_port: 9_001,
                http_port: 9_864,
                location: String::new(),
            },
            storage: None,
        };
        let wait = |best| {
            let missing = Vec::new();
            RecoveryWait { since: Millis(0), expected: 100, best, missing, loss_accepted: false }
        };
        let since = "waits since 1970-01-01 00:00:00Z for a replica with 100 acknowledged bytes";
        assert_eq!(sentence(&wait(None)), format!("{since}: none is known"));
        let strange = NodeId::random();
        let missing = vec![(node.id, Some(node.clone())), (strange, None)];
        let away = RecoveryWait { missing, ..wait(None) };
        assert_eq!(
            sentence(&away),
            format!("{since}: none is known, dn-1:9001, {strange} have not told all that they hold")
        );
        let short = wait(Some((node, 70)));
        assert_eq!(sentence(&short), format!("{since}: the longest known has 70 (on dn-1:9001)"));
        let path = FsPath::parse("/f").unwrap();
        let waiting = [WaitingChunk { path: path.clone(), chunk: ChunkId(7), wait: short }];
        let error = not_closed(&path, &waiting);
        assert_eq!(error.code, ErrorCode::RecoveryInProgress);
        assert!(error.message.starts_with("/f stays open: chunk 7 waits since "), "{}", error.message);
        let shown = serde_json::to_value(ShownWait::all(&waiting)).unwrap();
        assert_eq!((&shown[0]["expected"], &shown[0]["found"]), (&100.into(), &70.into()));
        assert!(error.message.contains("give --accept-loss"));
        let wait = RecoveryWait { loss_accepted: true, ..waiting[0].wait.clone() };
        let accepted = [WaitingChunk { wait, ..waiting[0].clone() }];
        for told in [not_closed(&path, &[]), not_closed(&path, &accepted)] {
            assert!(told.message.contains("ask again") && !told.message.contains("--accept-loss"), "{told}");
        }
    }
}
