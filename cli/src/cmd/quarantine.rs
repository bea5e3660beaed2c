//! `dfs admin quarantine`: replicas of chunks that the namespace does not know.

use dfs_client::{Dfs, QuarantinedChunk};
use dfs_types::{ChunkId, ReplicaState};
use serde::Serialize;

use crate::confirm::confirm;
use crate::context::Context;
use crate::exit::Outcome;
use crate::global::Format;
use crate::output::{List, Out};

/// How `dfs admin quarantine` is typed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
After a restore from a backup DataNodes hold replicas of chunks that were made later. They belong to no file, are never
served and never deleted by themselves: a newer backup may still know them. Only 'delete' removes them, for good.")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Shows the chunks and who holds them.
    List,
    /// Deletes replicas of these chunks, or of all; there is no way back.
    Delete {
        /// Which chunks; without any, all that DataNodes have reported.
        #[arg(value_name = "CHUNK")]
        chunks: Vec<u64>,
        /// Do not ask.
        #[arg(short, long)]
        yes: bool,
    },
}

#[derive(Serialize)]
struct Shown {
    chunk: u64,
    generation: u64,
    length: u64,
    state: &'static str,
    node: String,
    node_id: String,
}

impl Args {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let dfs = context.dfs().await?;
        let format = context.global.output;
        match self.command {
            Command::List => list(&dfs, format).await,
            Command::Delete { chunks, yes } => {
                let what = match chunks.as_slice() {
                    [] => format!(
                        "all {} quarantined replicas are deleted for good",
                        dfs.report().await?.quarantined
                    ),
                    named => {
                        format!("the replicas of {} quarantined chunks are deleted for good", named.len())
                    }
                };
                confirm(what, yes).await?;
                let chunks: Vec<ChunkId> = chunks.into_iter().map(ChunkId).collect();
                let replicas = dfs.delete_quarantined(&chunks).await?;
                let mut out = Out::new();
                if format == Format::Json {
                    out.json(&serde_json::json!({ "replicas": replicas }))?;
                } else {
                    out.line(&format!("{replicas} replicas are being deleted"))?;
                }
                out.flush()
            }
        }
    }
}

async fn list(dfs: &Dfs, format: Format) -> Outcome {
    let mut list = match format {
        Format::Json => List::json(),
        Format::Table => List::table(&["CHUNK", "GENERATION", "LENGTH", "STATE", "NODE"], &[0, 1, 2]),
        Format::Wide => List::table(&["CHUNK", "GENERATION", "LENGTH", "STATE", "NODE", "ID"], &[0, 1, 2]),
    };
    let mut after = None;
    loop {
        let (chunks, more) = dfs.quarantine(after).await?;
        after = chunks.last().map(|chunk| chunk.chunk);
        for shown in chunks.iter().flat_map(shown) {
            list.push(&shown, || cells(&shown, format))?;
        }
        if !more {
            return list.finish();
        }
    }
}

fn shown(chunk: &QuarantinedChunk) -> Vec<Shown> {
    let replicas = chunk.replicas.iter().map(|(node, record)| Shown {
        chunk: chunk.chunk.0,
        generation: record.generation.0,
        length: record.length,
        state: match record.state {
            ReplicaState::Finalized => "finalized",
            ReplicaState::Rbw => "being-written",
            ReplicaState::Rwr => "interrupted",
            ReplicaState::Corrupt => "corrupt",
        },
        node: node.address(),
        node_id: node.id.to_string(),
    });
    replicas.collect()
}

fn cells(shown: &Shown, format: Format) -> Vec<String> {
    let mut cells = vec![
        shown.chunk.to_string(),
        shown.generation.to_string(),
        shown.length.to_string(),
        shown.state.to_owned(),
        shown.node.clone(),
    ];
    if format == Format::Wide {
        cells.push(shown.node_id.clone());
    }
    cells
}
