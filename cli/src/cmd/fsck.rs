//! `dfs fsck`.

use clap::ValueEnum;
use dfs_client::{Dfs, FsckChunk, FsckEntry, FsckFile, FsckSummary};
use dfs_types::{FsError, FsPath};
use futures_util::TryStreamExt;
use serde::Serialize;

use super::recover_lease::{self, ShownWait};
use crate::context::Context;
use crate::exit::{Failure, Outcome};
use crate::glob::Reading;
use crate::global::Format;
use crate::output::{self, Out};
use crate::{remote, size};

/// How `dfs fsck` is typed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Compares what the namespace says with the replicas that the DataNodes have reported. Files with a problem are listed,
or with --list those with the problems named. Exit status 0: every chunk has a good replica; 1: some have none, or a file
without a writer waits for bytes that were acknowledged.

Examples:
  dfs fsck /
  dfs fsck /data --locations           every file with its chunks and where they are
  dfs fsck / --list missing,corrupt    what can't be read, or not from everywhere
  dfs fsck / --list open               files that somebody writes, or that nobody closed")]
pub(crate) struct Args {
    /// A file or directory.
    #[arg(value_name = "PATH", default_value = "/")]
    path: String,
    /// List only files that are so, or have such chunks.
    #[arg(long, value_enum, value_name = "KIND", value_delimiter = ',', conflicts_with = "files")]
    list: Vec<Kind>,
    /// List every file.
    #[arg(long)]
    files: bool,
    /// List every file's chunks.
    #[arg(long)]
    chunks: bool,
    /// List every chunk's nodes.
    #[arg(long)]
    locations: bool,
    #[command(flatten)]
    reading: Reading,
}

/// What to list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// No replica is known.
    Missing,
    /// A replica is known to be bad.
    Corrupt,
    /// Fewer good replicas than wanted.
    Under,
    /// More good replicas than wanted.
    Over,
    /// Replicas share a host, rack or zone without need.
    Misplaced,
    /// Open for writing.
    Open,
    /// Without a writer, and no replica with everything that was acknowledged is known.
    Waiting,
}

impl Kind {
    fn is_of(self, file: &FsckFile) -> bool {
        let has = |problem| file.chunks.iter().any(|chunk| Problem::of(chunk) == Some(problem));
        match self {
            Self::Missing => has(Problem::Missing),
            Self::Corrupt => file.chunks.iter().any(|chunk| chunk.corrupt > 0),
            Self::Under => has(Problem::UnderReplicated),
            Self::Over => has(Problem::OverReplicated),
            Self::Misplaced => file.chunks.iter().any(|chunk| chunk.misplaced),
            Self::Open => file.status.open,
            Self::Waiting => has(Problem::Waiting),
        }
    }
}

/// What is wrong with a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Problem {
    Waiting,
    Missing,
    Corrupt,
    UnderReplicated,
    OverReplicated,
    Misplaced,
}

impl Problem {
    fn of(chunk: &FsckChunk) -> Option<Self> {
        let (good, wanted) = (chunk.nodes.len(), u64::from(chunk.expected));
        let counting = (good as u64).saturating_sub(u64::from(chunk.leaving));
        if chunk.wait.is_some() {
            Some(Self::Waiting)
        } else if chunk.under_construction {
            None
        } else if good == 0 && chunk.corrupt > 0 {
            Some(Self::Corrupt)
        } else if good == 0 {
            Some(Self::Missing)
        } else if counting < wanted {
            Some(Self::UnderReplicated)
        } else if counting > wanted {
            Some(Self::OverReplicated)
        } else if chunk.misplaced {
            Some(Self::Misplaced)
        } else {
            None
        }
    }

    fn describe(self, chunk: &FsckChunk) -> String {
        let good = chunk.nodes.len();
        let leaving = match chunk.leaving {
            0 => String::new(),
            leaving => format!(" ({leaving} on nodes being decommissioned)"),
        };
        match self {
            Self::Waiting => chunk.wait.as_ref().map(recover_lease::sentence).unwrap_or_default(),
            Self::Missing => "no replica is known".to_owned(),
            Self::Corrupt => format!("all {} known replicas are corrupt", chunk.corrupt),
            Self::UnderReplicated => format!("{good} of {} replicas{leaving}", chunk.expected),
            Self::OverReplicated => format!("{good} replicas{leaving}, {} are wanted", chunk.expected),
            Self::Misplaced => "replicas share a host, rack or zone".to_owned(),
        }
    }
}

#[derive(Serialize)]
struct ShownFile<'a> {
    path: &'a str,
    length: u64,
    open: bool,
    chunks: Vec<ShownChunk<'a>>,
}

#[derive(Serialize)]
struct ShownChunk<'a> {
    chunk: u64,
    generation: u64,
    length: u64,
    expected: u32,
    corrupt: u32,
    leaving: u32,
    being_written: bool,
    problem: Option<Problem>,
    wait: Option<ShownWait<'a>>,
    nodes: Vec<String>,
}

#[derive(Serialize)]
struct ShownSummary {
    healthy: bool,
    files: u64,
    directories: u64,
    chunks: u64,
    bytes: u64,
    replicas: u64,
    under_replicated: u64,
    over_replicated: u64,
    missing: u64,
    corrupt: u64,
    misplaced: u64,
    open_files: u64,
    waiting: u64,
}

impl Args {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let dfs = context.dfs().await?;
        let (path, _) = remote::one(&dfs, &self.path, self.reading).await?;
        let mut entries = dfs.fsck(&path).await?;
        let mut out = Out::new();
        let json = context.global.output == Format::Json;
        if json {
            out.line("{\"files\": [")?;
        }
        let mut first = true;
        let mut summary = None;
        while let Some(entry) = entries.try_next().await? {
            match entry {
                FsckEntry::File(file) => {
                    if !self.wants(&file) {
                        continue;
                    }
                    if json {
                        let text = output::json(&shown(&file), false)?;
                        out.line(&format!("{}{text}", if first { "" } else { "," }))?;
                        first = false;
                    } else {
                        self.print(&mut out, &file)?;
                    }
                }
                FsckEntry::Summary(sums) => summary = Some(sums),
            }
        }
        let summary = summary.ok_or_else(no_summary)?;
        if json {
            out.line("],\n\"summary\":")?;
            out.json(&shown_summary(&summary))?;
            out.line("}")?;
        } else {
            print_summary(&mut out, &path, &summary)?;
        }
        out.flush()?;
        if summary.healthy { Ok(()) } else { Err(Failure::Reported(1)) }
    }

    fn wants(&self, file: &FsckFile) -> bool {
        if !self.list.is_empty() {
            return self.list.iter().any(|kind| kind.is_of(file));
        }
        self.files
            || self.chunks
            || self.locations
            || file.chunks.iter().any(|chunk| Problem::of(chunk).is_some() || chunk.corrupt > 0)
    }

    fn print(&self, out: &mut Out, file: &FsckFile) -> Outcome {
        let open = if file.status.open { ", open for writing" } else { "" };
        out.line(&format!(
            "{}  {}, {} chunks{open}",
            output::name(file.path.as_str()),
            size::human(file.status.length),
            file.chunks.len()
        ))?;
        for (index, chunk) in file.chunks.iter().enumerate() {
            let problem = Problem::of(chunk);
            if problem.is_none() && chunk.corrupt == 0 && !self.chunks && !self.locations {
                continue;
            }
            let state = match problem {
                Some(Problem::Waiting) => Problem::Waiting.describe(chunk),
                Some(problem) => problem.describe(chunk).to_uppercase(),
                None if chunk.under_construction => "being written".to_owned(),
                None => format!("{} replicas", chunk.nodes.len()),
            };
            let corrupt = match chunk.corrupt {
                0 => String::new(),
                count => format!(", {count} corrupt"),
            };
            out.line(&format!(
                "  {index}. chunk {} generation {}, {} bytes: {state}{corrupt}",
                chunk.chunk, chunk.generation, chunk.length
            ))?;
            if self.locations {
                for node in &chunk.nodes {
                    out.line(&format!("       {} {}{}", node.address(), node.id, node.at.location))?;
                }
            }
        }
        Ok(())
    }
}

/// The sums for a path, without looking at the files.
pub(super) async fn summary(dfs: &Dfs, path: &FsPath) -> Outcome<FsckSummary> {
    let mut entries = dfs.fsck(path).await?;
    while let Some(entry) = entries.try_next().await? {
        if let FsckEntry::Summary(summary) = entry {
            return Ok(summary);
        }
    }
    Err(no_summary())
}

fn no_summary() -> Failure {
    FsError::internal("the NameNode's answer ended before the summary: try again").into()
}

fn shown(file: &FsckFile) -> ShownFile<'_> {
    ShownFile {
        path: file.path.as_str(),
        length: file.status.length,
        open: file.status.open,
        chunks: file
            .chunks
            .iter()
            .map(|chunk| ShownChunk {
                chunk: chunk.chunk.0,
                generation: chunk.generation.0,
                length: chunk.length,
                expected: chunk.expected,
                corrupt: chunk.corrupt,
                leaving: chunk.leaving,
                being_written: chunk.under_construction,
                problem: Problem::of(chunk),
                wait: chunk.wait.as_ref().map(|wait| ShownWait::new(file.path.as_str(), chunk.chunk.0, wait)),
                nodes: chunk.nodes.iter().map(dfs_client::Endpoint::address).collect(),
            })
            .collect(),
    }
}

fn shown_summary(summary: &FsckSummary) -> ShownSummary {
    let FsckSummary {
        files,
        directories,
        chunks,
        bytes,
        under_replicated,
        over_replicated,
        missing,
        corrupt,
        open_files,
        replicas,
        healthy,
        misplaced,
        waiting,
    } = *summary;
    ShownSummary {
        healthy,
        files,
        directories,
        chunks,
        bytes,
        replicas,
        under_replicated,
        over_replicated,
        missing,
        corrupt,
        misplaced,
        open_files,
        waiting,
    }
}

fn print_summary(out: &mut Out, path: &FsPath, summary: &FsckSummary) -> Outcome {
    let rows = [
        ("Files:", summary.files.to_string()),
        ("Directories:", summary.directories.to_string()),
        ("Bytes:", format!("{} ({})", summary.bytes, size::human(summary.bytes))),
        ("Chunks:", summary.chunks.to_string()),
        ("Replicas:", summary.replicas.to_string()),
        ("Under-replicated:", summary.under_replicated.to_string()),
        ("Over-replicated:", summary.over_replicated.to_string()),
        ("Missing:", summary.missing.to_string()),
        ("Corrupt:", summary.corrupt.to_string()),
        ("Misplaced:", summary.misplaced.to_string()),
        ("Open files:", summary.open_files.to_string()),
        ("Waiting:", summary.waiting.to_string()),
    ];
    let rows = rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect();
    out.line(&output::table(Vec::new(), rows, &[]))?;
    let verdict = if summary.healthy {
        "HEALTHY"
    } else if summary.missing == 0 && summary.corrupt == 0 {
        "WAITING: files without a writer lack bytes that were acknowledged"
    } else {
        "DAMAGED: some chunks have no good replica"
    };
    out.line(&format!("{} is {verdict}", output::name(path.as_str())))
}

#[cfg(test)]
mod tests {
    use dfs_client::{Endpoint, RecoveryWait};
    use dfs_types::{Address, ChunkId, GenStamp, Millis, NodeId};

    use super::*;

    #[test]
    fn problems_are_named() {
        let node = || Endpoint {
            id: NodeId::random(),
            at: Address { host: "a".to_owned(), data_port: 1, http_port: 2, location: String::new() },
            storage: None,
        };
        let chunk_with = |good: usize, leaving, corrupt, under_construction, misplaced| FsckChunk {
            chunk: ChunkId::FIRST,
            generation: GenStamp::FIRST,
            length: 1,
            expected: 2,
            nodes: (0..good).map(|_| node()).collect(),
            leaving,
            corrupt,
            under_construction,
            misplaced,
            wait: None,
        };
        let missing = vec![(NodeId::random(), None)];
        let wait = RecoveryWait { since: Millis(0), expected: 2, best: None, missing, loss_accepted: false };
        let chunk = |good, corrupt, open| chunk_with(good, 0, corrupt, open, false);
        for (chunk, problem) in [
            (chunk(2, 0, false), None),
            (chunk(0, 0, true), None),
            (chunk(0, 0, false), Some(Problem::Missing)),
            (chunk(0, 2, false), Some(Problem::Corrupt)),
            (chunk(1, 1, false), Some(Problem::UnderReplicated)),
            (chunk(3, 0, false), Some(Problem::OverReplicated)),
            (chunk_with(2, 1, 0, false, false), Some(Problem::UnderReplicated)),
            (chunk_with(2, 2, 0, false, false), Some(Problem::UnderReplicated)),
            (chunk_with(3, 1, 0, false, false), None),
            (chunk_with(2, 0, 0, false, true), Some(Problem::Misplaced)),
            (chunk_with(1, 0, 0, false, true), Some(Problem::UnderReplicated)),
            (FsckChunk { wait: Some(wait.clone()), ..chunk(0, 0, true) }, Some(Problem::Waiting)),
            (FsckChunk { wait: Some(wait), ..chunk(0, 1, false) }, Some(Problem::Waiting)),
        ] {
            assert_eq!(Problem::of(&chunk), problem, "{chunk:?}");
        }
    }
}
