//! `dfs du`.

use clap::ArgAction;
use dfs_types::FsPath;
use serde::Serialize;

use crate::context::Context;
use crate::exit::{Failure, Failures, Outcome};
use crate::glob::Reading;
use crate::global::Format;
use crate::output::List;
use crate::{remote, size};

/// How `dfs du` is typed.
#[derive(Debug, clap::Args)]
#[command(
    disable_help_flag = true,
    after_help = "\
Columns: bytes of the files, bytes on all DataNodes together (bytes times replication), path.

Examples:
  dfs du -h /home              each entry of /home
  dfs du -sh /home             /home as a whole"
)]
pub(crate) struct Args {
    /// Files, directories or patterns.
    #[arg(value_name = "PATH", default_value = "/")]
    paths: Vec<String>,
    /// One line for each path instead of one for each entry in it.
    #[arg(short, long)]
    summary: bool,
    /// Sizes with units.
    #[arg(short, long)]
    human: bool,
    #[command(flatten)]
    reading: Reading,
    /// Print help.
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
}

#[derive(Serialize)]
struct Usage<'a> {
    path: &'a FsPath,
    length: u64,
    space: u64,
    files: u64,
    directories: u64,
}

impl Args {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let dfs = context.dfs().await?;
        let mut failures = Failures::of("du");
        let format = context.global.output;
        let mut list = match format {
            Format::Json => List::json(),
            Format::Wide => List::table(&["LENGTH", "SPACE", "FILES", "DIRECTORIES", "PATH"], &[0, 1, 2, 3]),
            Format::Table => List::table(&[], &[0, 1]),
        };
        for (path, status) in remote::expand_all(&dfs, &self.paths, self.reading, &mut failures).await? {
            let mut shown = Vec::new();
            if self.summary || !status.is_directory() {
                shown.push(path);
            } else {
                for (name, _) in failures.keep(remote::entries(&dfs, &path).await)?.unwrap_or_default() {
                    shown.push(path.join(&name)?);
                }
            }
            for path in shown {
                let summary = dfs.content_summary(&path).await.map_err(Failure::from);
                let Some(summary) = failures.keep(summary)? else { continue };
                let usage = Usage {
                    path: &path,
                    length: summary.length,
                    space: summary.space,
                    files: summary.files,
                    directories: summary.directories,
                };
                list.push(&usage, || {
                    let mut cells =
                        vec![size::show(usage.length, self.human), size::show(usage.space, self.human)];
                    if format == Format::Wide {
                        cells.extend([usage.files.to_string(), usage.directories.to_string()]);
                    }
                    cells.push(path.to_string());
                    cells
                })?;
            }
        }
        list.finish()?;
        failures.finish()
    }
}
