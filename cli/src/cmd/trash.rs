//! `dfs trash`.

use std::time::Duration;

use dfs_client::{ContentSummary, Dfs, LimitChange, Trash, TrashContent};
use dfs_types::{FsPath, Millis};
use serde::Serialize;

use crate::confirm::confirm;
use crate::context::Context;
use crate::exit::{Failure, Failures, Outcome};
use crate::global::Format;
use crate::output::{List, Out};
use crate::remote::Walk;
use crate::remote_path::RemotePath;
use crate::size;

/// How `dfs trash` is typed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
What 'dfs rm' removes is in /user/NAME/.Trash/Current first, under the path that it had. From time to time that becomes a
checkpoint, which goes when its time is over, or before, the oldest first, when the DataNodes are nearly full.

Examples:
  dfs trash list
  dfs trash list --files       each file, with the path that it had
  dfs trash empty --yes
  dfs trash keep /tmp 0s       what is removed below /tmp is gone at once
  dfs trash keep / 7d          everything else is kept for a week
  dfs trash show /tmp")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Shows what is in the trash and how long it is still kept.
    #[command(disable_help_flag = true)]
    List {
        /// Each file, with the path that it had, instead of sums.
        #[arg(long)]
        files: bool,
        /// The trash of all users; for superusers.
        #[arg(short, long)]
        all: bool,
        /// Sizes with units.
        #[arg(short, long)]
        human: bool,
        /// Print help.
        #[arg(long, action = clap::ArgAction::Help)]
        help: Option<bool>,
    },
    /// Deletes what is in the trash for good.
    Empty {
        /// The trash of all users; for superusers.
        #[arg(short, long)]
        all: bool,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
    /// Says how long what is removed below a directory is kept. For superusers.
    Keep {
        /// The directory; / is for all that nothing else was said of.
        #[arg(value_name = "PATH")]
        path: String,
        /// How long, such as 12h or 7d; 0s: it is gone at once; 'default': as said of the directory above, or a day.
        #[arg(value_name = "TIME", value_parser = keep)]
        keep: LimitChange,
    },
    /// Shows where what is removed at a path goes, and how long it is kept.
    Show {
        /// A path, at which there need not be anything.
        #[arg(value_name = "PATH")]
        path: String,
    },
}

/// Reads how long.
fn keep(text: &str) -> Result<LimitChange, String> {
    if text == "default" {
        return Ok(LimitChange::Clear);
    }
    let time = humantime::parse_duration(text).map_err(|error| {
        format!("'{text}' is no time ({error}): write a number with s, m, h or d, or 'default'")
    })?;
    u64::try_from(time.as_millis()).map(LimitChange::Set).map_err(|_| format!("'{text}' is too long"))
}

#[derive(Serialize)]
struct Content<'a> {
    path: &'a FsPath,
    owner: &'a str,
    files: u64,
    directories: u64,
    length: u64,
    left_ms: Option<u64>,
}

#[derive(Serialize)]
struct File<'a> {
    path: &'a str,
    length: u64,
    trashed: &'a FsPath,
    left_ms: Option<u64>,
}

#[derive(Serialize)]
struct Shown {
    root: FsPath,
    keep_ms: u64,
}

impl Args {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let dfs = context.dfs().await?;
        let format = context.global.output;
        match self.command {
            Command::List { files: true, all, human, help: _ } => list_files(&dfs, format, all, human).await,
            Command::List { files: false, all, human, help: _ } => list(&dfs, format, all, human).await,
            Command::Empty { all, yes } => empty(&dfs, all, yes).await,
            Command::Keep { path, keep } => {
                let path = RemotePath::parse(&path)?.path;
                dfs.set_trash(&path, keep).await.map_err(Failure::from)
            }
            Command::Show { path } => {
                let Trash { root, keep } = dfs.trash(&RemotePath::parse(&path)?.path).await?;
                let mut out = Out::new();
                match format {
                    Format::Json => out.json(&Shown { root, keep_ms: keep.0 })?,
                    Format::Table | Format::Wide if keep.0 == 0 => out.line("nothing is kept")?,
                    Format::Table | Format::Wide => {
                        out.line(&format!("{root}, kept for {}", lasting(keep)))?;
                    }
                }
                out.flush()
            }
        }
    }
}

fn lasting(time: Millis) -> String {
    // To the second: nobody counts on more.
    humantime::format_duration(Duration::from_secs(time.0 / 1_000)).to_string()
}

fn left(content: &TrashContent) -> String {
    content.left.map_or_else(|| "for ever".to_owned(), lasting)
}

async fn list(dfs: &Dfs, format: Format, all: bool, human: bool) -> Outcome {
    let mut failures = Failures::of("trash");
    let mut list = match format {
        Format::Json => List::json(),
        Format::Table | Format::Wide => {
            List::table(&["FILES", "DIRECTORIES", "SIZE", "KEPT FOR", "PATH"], &[0, 1, 2])
        }
    };
    for content in dfs.trash_contents(all).await? {
        let summary = dfs.content_summary(&content.path).await.map_err(Failure::from);
        let Some(summary) = failures.keep(summary)? else { continue };
        let ContentSummary { files, directories, length, .. } = summary;
        let shown = Content {
            path: &content.path,
            owner: &content.owner,
            files,
            // Without the one that is shown.
            directories: directories.saturating_sub(1),
            length,
            left_ms: content.left.map(|left| left.0),
        };
        list.push(&shown, || {
            vec![
                shown.files.to_string(),
                shown.directories.to_string(),
                size::show(length, human),
                left(&content),
                content.path.to_string(),
            ]
        })?;
    }
    list.finish()?;
    failures.finish()
}

async fn list_files(dfs: &Dfs, format: Format, all: bool, human: bool) -> Outcome {
    let mut failures = Failures::of("trash");
    let mut list = match format {
        Format::Json => List::json(),
        Format::Table | Format::Wide => List::table(&["SIZE", "KEPT FOR", "PATH"], &[0]),
    };
    for content in dfs.trash_contents(all).await? {
        let status = dfs.stat(&content.path).await.map_err(Failure::from);
        let Some(status) = failures.keep(status)? else { continue };
        let mut walk = Walk::new(dfs, content.path.clone(), status);
        while let Some(entry) = walk.next().await {
            let Some((path, status)) = failures.keep(entry)? else { continue };
            if status.is_directory() {
                continue;
            }
            let was = path.as_str().strip_prefix(content.path.as_str()).unwrap_or_default();
            let file = File {
                path: was,
                length: status.length,
                trashed: &path,
                left_ms: content.left.map(|left| left.0),
            };
            list.push(&file, || vec![size::show(status.length, human), left(&content), was.to_owned()])?;
        }
    }
    list.finish()?;
    failures.finish()
}

async fn empty(dfs: &Dfs, all: bool, yes: bool) -> Outcome {
    let contents = dfs.trash_contents(all).await?;
    if contents.is_empty() {
        return Ok(());
    }
    let whose = if all { "all users" } else { "the user" };
    confirm(format!("what is in the trash of {whose} will be gone for good"), yes).await?;
    let mut failures = Failures::of("trash");
    for content in contents {
        let deleted = dfs.empty_trash(&content).await.map_err(Failure::from);
        failures.keep(deleted)?;
    }
    failures.finish()
}
