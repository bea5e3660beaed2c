//! `dfs quota`.

use dfs_client::{ContentSummary, Dfs, LimitChange};
use dfs_types::FsPath;
use serde::Serialize;

use crate::context::Context;
use crate::exit::{Failure, Failures, Outcome};
use crate::glob::Reading;
use crate::global::Format;
use crate::output::List;
use crate::{remote, size};

/// How `dfs quota` is typed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A quota limits what the tree at a directory takes: files and directories, the directory itself among them, and bytes with
all replicas, where a chunk that is being written counts as a full one. What is there already stays.

Examples:
  dfs quota set --names 1000000 --space 10TiB /data
  dfs quota show -h /data
  dfs quota clear --names /data      the limit of space stays")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Sets limits; the other one stays as it is. For superusers.
    Set {
        #[command(flatten)]
        limits: Limits,
        #[command(flatten)]
        of: Paths,
    },
    /// Clears limits: both, unless one is named. For superusers.
    Clear {
        /// The limit of files and directories.
        #[arg(long)]
        names: bool,
        /// The limit of bytes.
        #[arg(long)]
        space: bool,
        #[command(flatten)]
        of: Paths,
    },
    /// Shows what is used, and the limits.
    #[command(disable_help_flag = true)]
    Show {
        /// Sizes with units.
        #[arg(short, long)]
        human: bool,
        #[command(flatten)]
        of: Paths,
        /// Print help.
        #[arg(long, action = clap::ArgAction::Help)]
        help: Option<bool>,
    },
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
struct Limits {
    /// Most files and directories, the directory itself among them: 1 or more.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    names: Option<u64>,
    /// Most bytes with all replicas, such as 10TiB.
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    space: Option<u64>,
}

#[derive(Debug, clap::Args)]
struct Paths {
    /// Directories or patterns.
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<String>,
    #[command(flatten)]
    reading: Reading,
}

#[derive(Serialize)]
struct Shown<'a> {
    path: &'a FsPath,
    names: u64,
    names_quota: Option<u64>,
    space: u64,
    space_quota: Option<u64>,
}

impl Args {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let dfs = context.dfs().await?;
        match self.command {
            Command::Set { limits, of } => {
                let change = |limit: Option<u64>| limit.map_or(LimitChange::Keep, LimitChange::Set);
                of.change(&dfs, change(limits.names), change(limits.space)).await
            }
            Command::Clear { names, space, of } => {
                let change = |named: bool| {
                    if named || names == space { LimitChange::Clear } else { LimitChange::Keep }
                };
                of.change(&dfs, change(names), change(space)).await
            }
            Command::Show { human, of, help: _ } => of.show(&dfs, context.global.output, human).await,
        }
    }
}

impl Paths {
    async fn change(&self, dfs: &Dfs, names: LimitChange, space: LimitChange) -> Outcome {
        let mut failures = Failures::of("quota");
        for (path, _) in remote::expand_all(dfs, &self.paths, self.reading, &mut failures).await? {
            let changed = dfs.set_quota(&path, names, space).await.map_err(Failure::from);
            failures.keep(changed)?;
        }
        failures.finish()
    }

    async fn show(&self, dfs: &Dfs, format: Format, human: bool) -> Outcome {
        let mut failures = Failures::of("quota");
        let mut list = match format {
            Format::Json => List::json(),
            Format::Table | Format::Wide => {
                List::table(&["NAMES", "QUOTA", "SPACE", "QUOTA", "PATH"], &[0, 1, 2, 3])
            }
        };
        for (path, _) in remote::expand_all(dfs, &self.paths, self.reading, &mut failures).await? {
            let summary = dfs.content_summary(&path).await.map_err(Failure::from);
            let Some(summary) = failures.keep(summary)? else { continue };
            let ContentSummary { files, directories, space, quota, .. } = summary;
            let shown = Shown {
                path: &path,
                names: files + directories,
                names_quota: quota.names,
                space,
                space_quota: quota.space,
            };
            list.push(&shown, || {
                let limit = |limit: Option<u64>, human| {
                    limit.map_or_else(|| "none".to_owned(), |limit| size::show(limit, human))
                };
                vec![
                    shown.names.to_string(),
                    limit(shown.names_quota, false),
                    size::show(shown.space, human),
                    limit(shown.space_quota, human),
                    path.to_string(),
                ]
            })?;
        }
        list.finish()?;
        failures.finish()
    }
}
