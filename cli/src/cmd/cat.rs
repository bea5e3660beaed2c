//! `dfs cat`.

use std::ops::Range;

use dfs_client::{Dfs, FileReader};
use dfs_program::streams;
use dfs_types::{ErrorCode, FileStatus, FsError, FsPath};
use futures_util::StreamExt;
use tokio::io::{AsyncWriteExt, Stdout};

use crate::context::Context;
use crate::exit::{Failure, Failures, Outcome};
use crate::glob::Reading;
use crate::remote;

/// How `dfs cat` is typed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Files or patterns.
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<String>,
    #[command(flatten)]
    reading: Reading,
}

impl Args {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let dfs = context.dfs().await?;
        let mut failures = Failures::of("cat");
        let found = remote::expand_all(&dfs, &self.paths, self.reading, &mut failures).await?;
        write_all(&dfs, found.into_iter(), &mut failures).await?;
        failures.finish()
    }
}

/// Standard output, unless it is closed.
pub(super) fn standard_output() -> Outcome<Stdout> {
    streams::check_output().map_err(Failure::output)?;
    Ok(tokio::io::stdout())
}

/// Writes files to standard output, one after the other.
pub(super) async fn write_all(
    dfs: &Dfs,
    files: impl Iterator<Item = (FsPath, FileStatus)>,
    failures: &mut Failures,
) -> Outcome {
    let mut stdout = standard_output()?;
    for (path, status) in files {
        let outcome = if status.is_directory() {
            Err(FsError::new(
                ErrorCode::IsADirectory,
                format!("{path} is a directory: only files can be shown"),
            )
            .into())
        } else {
            write_file(dfs, &path, &mut stdout).await
        };
        failures.keep(outcome)?;
    }
    stdout.flush().await.map_err(Failure::output)
}

async fn write_file(dfs: &Dfs, path: &FsPath, stdout: &mut Stdout) -> Outcome {
    let reader = dfs.open(path).await?;
    write_range(&reader, 0..reader.len(), stdout).await
}

/// Writes a part of a file.
pub(super) async fn write_range(reader: &FileReader, range: Range<u64>, stdout: &mut Stdout) -> Outcome {
    let mut stream = reader.stream(range);
    while let Some(bytes) = stream.next().await {
        let bytes = bytes?;
        stdout.write_all(&bytes).await.map_err(Failure::output)?;
    }
    stdout.flush().await.map_err(Failure::output)
}
