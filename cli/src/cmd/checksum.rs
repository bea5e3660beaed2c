//! `dfs checksum`.

use dfs_types::{ErrorCode, FsError, FsPath};
use serde::Serialize;

use crate::context::Context;
use crate::exit::{Failure, Failures, Outcome};
use crate::glob::Reading;
use crate::global::Format;
use crate::output::List;
use crate::remote;

/// How `dfs checksum` is typed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The value is the CRC32C of the file's bytes, put together from the checksums the DataNodes store (as
COMPOSITE_CRC of HDFS): it does not depend on the chunk size and no data is moved.")]
pub(crate) struct Args {
    /// Files or patterns.
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<String>,
    #[command(flatten)]
    reading: Reading,
}

const ALGORITHM: &str = "COMPOSITE-CRC32C";

#[derive(Serialize)]
struct Checksum<'a> {
    path: &'a FsPath,
    algorithm: &'static str,
    value: String,
}

impl Args {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let dfs = context.dfs().await?;
        let mut failures = Failures::of("checksum");
        let mut list =
            if context.global.output == Format::Json { List::json() } else { List::table(&[], &[]) };
        for (path, status) in remote::expand_all(&dfs, &self.paths, self.reading, &mut failures).await? {
            let sum = if status.is_directory() {
                let message = format!("{path} is a directory: only files have a checksum");
                Err(FsError::new(ErrorCode::IsADirectory, message).into())
            } else {
                dfs.checksum(&path).await.map_err(Failure::from)
            };
            if let Some(sum) = failures.keep(sum)? {
                let line =
                    Checksum { path: &path, algorithm: ALGORITHM, value: format!("{:08x}", sum.crc32c) };
                list.push(&line, || vec![path.to_string(), line.algorithm.to_owned(), line.value.clone()])?;
            }
        }
        list.finish()?;
        failures.finish()
    }
}
