//! `dfs info`.

use dfs_client::{Dfs, FileChecksum, LocatedChunk, Locations};
use dfs_types::{ErrorCode, FileStatus, FsError, FsPath, StorageType};
use serde::Serialize;

use crate::context::Context;
use crate::exit::{Failures, Outcome};
use crate::glob::Reading;
use crate::global::Format;
use crate::output::{Out, second, table};
use crate::{remote, size};

/// How `dfs info` is typed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
For every chunk: its id and generation stamp, where it begins in the file, its length, and the DataNodes that hold a
replica, the nearest first. The checksum is put together from those that the DataNodes store.")]
pub(crate) struct Args {
    /// Files or patterns.
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<String>,
    #[command(flatten)]
    reading: Reading,
}

#[derive(Serialize)]
struct Info<'a> {
    path: &'a FsPath,
    #[serde(flatten)]
    status: &'a FileStatus,
    crc32c: Option<String>,
    chunks: Vec<Chunk<'a>>,
}

#[derive(Serialize)]
struct Chunk<'a> {
    #[serde(rename = "chunk")]
    id: u64,
    generation: u64,
    index: u64,
    offset: u64,
    length: u64,
    crc32c: Option<String>,
    state: &'static str,
    replicas: Vec<Replica<'a>>,
}

#[derive(Serialize)]
struct Replica<'a> {
    node: String,
    address: String,
    host: &'a str,
    location: &'a str,
    /// Of the volume that it is on; nothing if its DataNode has not said.
    storage_type: Option<StorageType>,
}

impl Args {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let dfs = context.dfs().await?;
        let mut failures = Failures::of("info");
        let mut out = Out::new();
        let mut shown = Vec::new();
        for (path, status) in remote::expand_all(&dfs, &self.paths, self.reading, &mut failures).await? {
            let looked = look(&dfs, &path, &status).await;
            if let Some((locations, checksum)) = failures.keep(looked)? {
                shown.push((path, locations, checksum));
            }
        }
        let infos: Vec<Info<'_>> = shown.iter().map(info).collect();
        if context.global.output == Format::Json {
            out.json(&infos)?;
        } else {
            for (index, info) in infos.iter().enumerate() {
                if index > 0 {
                    out.line("")?;
                }
                print(&mut out, info, context.global.output)?;
            }
        }
        out.flush()?;
        failures.finish()
    }
}

async fn look(dfs: &Dfs, path: &FsPath, status: &FileStatus) -> Outcome<(Locations, Option<FileChecksum>)> {
    if status.is_directory() {
        let message = format!("{path} is a directory: only files have chunks (see 'dfs stat')");
        return Err(FsError::new(ErrorCode::IsADirectory, message).into());
    }
    let locations = dfs.locate(path, 0..u64::MAX).await?;
    // The last chunk of an open file has no final checksum, and a damaged file has none at all: `fsck` tells more.
    let checksum = if locations.status.open { None } else { dfs.checksum(path).await.ok() };
    Ok((locations, checksum))
}

fn info((path, locations, checksum): &(FsPath, Locations, Option<FileChecksum>)) -> Info<'_> {
    Info {
        path,
        status: &locations.status,
        crc32c: checksum.as_ref().map(|sum| format!("{:08x}", sum.crc32c)),
        chunks: locations
            .chunks
            .iter()
            .enumerate()
            .map(|(index, located)| {
                chunk(located, checksum.as_ref().and_then(|sum| sum.chunks.get(index)).copied())
            })
            .collect(),
    }
}

fn chunk(chunk: &LocatedChunk, crc32c: Option<u32>) -> Chunk<'_> {
    let state = match (chunk.under_construction, chunk.corrupt, chunk.nodes.is_empty()) {
        (true, _, _) => "being written",
        (false, true, _) => "corrupt",
        (false, false, true) => "missing",
        (false, false, false) => "complete",
    };
    Chunk {
        id: chunk.chunk.0,
        generation: chunk.generation.0,
        index: chunk.index,
        offset: chunk.offset,
        length: chunk.length,
        crc32c: crc32c.map(|sum| format!("{sum:08x}")),
        state,
        replicas: chunk
            .nodes
            .iter()
            .map(|node| Replica {
                node: node.id.to_string(),
                address: node.address(),
                host: &node.at.host,
                location: &node.at.location,
                storage_type: node.storage,
            })
            .collect(),
    }
}

fn print(out: &mut Out, info: &Info<'_>, format: Format) -> Outcome {
    let status = info.status;
    let header = vec![
        vec!["Path:".to_owned(), info.path.to_string()],
        vec!["Size:".to_owned(), format!("{} bytes ({})", status.length, size::human(status.length))],
        vec!["Replication:".to_owned(), status.replication.to_string()],
        vec!["Chunk size:".to_owned(), size::human(status.chunk_size)],
        vec!["Modified:".to_owned(), second(status.mtime)],
        vec!["State:".to_owned(), if status.open { "open for writing" } else { "closed" }.to_owned()],
        vec!["CRC32C:".to_owned(), info.crc32c.clone().unwrap_or_else(|| "-".to_owned())],
        vec!["Chunks:".to_owned(), info.chunks.len().to_string()],
    ];
    out.line(&table(Vec::new(), header, &[]))?;
    if info.chunks.is_empty() {
        return Ok(());
    }
    let rows = info.chunks.iter().map(|chunk| {
        let replicas = chunk.replicas.iter().map(|replica| match format {
            Format::Wide => {
                let storage = replica.storage_type.map(|storage| format!(", {}", storage.name()));
                let storage = storage.unwrap_or_default();
                format!("{} ({}{}{storage})", replica.address, replica.node, replica.location)
            }
            Format::Table | Format::Json => replica.address.clone(),
        });
        vec![
            chunk.index.to_string(),
            chunk.id.to_string(),
            chunk.generation.to_string(),
            chunk.offset.to_string(),
            chunk.length.to_string(),
            chunk.crc32c.clone().unwrap_or_else(|| "-".to_owned()),
            chunk.state.to_owned(),
            format!("{}/{}", chunk.replicas.len(), status.replication),
            replicas.collect::<Vec<_>>().join(", "),
        ]
    });
    let header = vec!["#", "CHUNK", "GENERATION", "OFFSET", "LENGTH", "CRC32C", "STATE", "REPLICAS", "NODES"];
    out.line("")?;
    out.line(&table(header, rows.collect(), &[0, 1, 2, 3, 4]))
}
