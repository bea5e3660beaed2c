//! `dfs append`.

use std::path::PathBuf;

use dfs_client::{AppendOptions, CreateOptions, Dfs, Durability, FileWriter};
use dfs_types::{ErrorCode, FsError, FsPath};
use futures_util::StreamExt as _;

use crate::context::Context;
use crate::exit::{Failure, Outcome};
use crate::remote_path::RemotePath;
use crate::transfer::attributes::{NEW_FILE, less_umask};
use crate::transfer::upload::{file_bytes, stdin_bytes};

/// How `dfs append` is typed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A file that is not there is made. If it is cut off, the file may have a part of what was appended.

Examples:
  dfs append today.log /logs/all.log
  date | dfs append - /logs/times")]
pub(crate) struct Args {
    /// Local files, in order; '-' is standard input.
    #[arg(value_name = "LOCAL", required = true)]
    sources: Vec<PathBuf>,
    /// The file that gets longer.
    #[arg(value_name = "REMOTE")]
    target: String,
    /// Do not wait until the data is on the disks: a power failure of all nodes may lose it.
    #[arg(long)]
    no_sync: bool,
}

impl Args {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let target = RemotePath::parse(&self.target)?;
        if target.directory {
            return Err(Failure::Usage(format!("'{}' is a directory: name a file", self.target)));
        }
        let dfs = context.until_stop(context.dfs()).await?;
        let mut writer = self.open(&dfs, &target.path).await?;
        let written = context.until_stop(self.write(&mut writer)).await;
        match written {
            Ok(()) => writer.close().await.map(drop).map_err(Failure::from),
            Err(failure) => {
                // What stopped it is the failure to tell.
                let _gone = writer.abort().await;
                Err(failure)
            }
        }
    }

    async fn open(&self, dfs: &Dfs, path: &FsPath) -> Outcome<FileWriter> {
        let durability = if self.no_sync { Durability::Buffered } else { Durability::Fsync };
        let append = AppendOptions { durability, expected_length: None };
        match dfs.append(path, append).await {
            Err(error) if error.code == ErrorCode::NotFound => {}
            opened => return Ok(opened?),
        }
        let mode = less_umask(NEW_FILE);
        match dfs.create(path, CreateOptions { mode, durability, ..CreateOptions::default() }).await {
            // Somebody else made it meanwhile.
            Err(error) if error.code == ErrorCode::AlreadyExists => Ok(dfs.append(path, append).await?),
            Err(error) if error.code == ErrorCode::NotFound => {
                let message = format!("{path}: there is no such directory: make it with 'dfs mkdir -p'");
                Err(FsError::new(ErrorCode::NotFound, message).into())
            }
            made => Ok(made?),
        }
    }

    async fn write(&self, writer: &mut FileWriter) -> Outcome {
        for source in &self.sources {
            let mut bytes =
                if source.as_os_str() == "-" { stdin_bytes() } else { file_bytes(source.clone()) };
            while let Some(piece) = bytes.next().await {
                writer.write_bytes(piece?).await?;
            }
        }
        Ok(())
    }
}
