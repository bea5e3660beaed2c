//! `dfs ls`.

use std::pin::pin;

use clap::ArgAction;
use dfs_client::Dfs;
use dfs_types::{FileStatus, FsPath};
use futures_util::StreamExt;

use crate::context::Context;
use crate::exit::{Failure, Failures, Outcome};
use crate::glob::Reading;
use crate::global::Format;
use crate::output::{self, Entry, List, kind_and_mode, minute};
use crate::{remote, size};

/// How `dfs ls` is typed.
#[derive(Debug, clap::Args)]
#[command(
    disable_help_flag = true,
    after_help = "\
Examples:
  dfs ls /                     names; directories end with a slash
  dfs ls -lh '/home/*'         with mode, replication, owner, size and time
  dfs ls -R -o json /home      a whole tree, for programs"
)]
pub(crate) struct Args {
    /// Files, directories or patterns.
    #[arg(value_name = "PATH", default_value = "/")]
    paths: Vec<String>,
    /// One line with everything important for each entry.
    #[arg(short, long)]
    long: bool,
    /// Go into directories.
    #[arg(short = 'R', long, short_alias = 'r')]
    recursive: bool,
    /// Sizes with units.
    #[arg(short, long)]
    human: bool,
    /// Show directories themselves, not what is in them.
    #[arg(short, long)]
    directory: bool,
    #[command(flatten)]
    reading: Reading,
    /// Print help.
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
}

impl Args {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let dfs = context.dfs().await?;
        let mut failures = Failures::of("ls");
        let found = remote::expand_all(&dfs, &self.paths, self.reading, &mut failures).await?;
        let format = context.global.output;
        let mut list = match (format, self.long) {
            (Format::Json, _) => List::json(),
            (Format::Wide, _) => List::table(&[], &[1, 4, 5, 6, 9]),
            (Format::Table, true) => List::table(&[], &[1, 4]),
            (Format::Table, false) => List::table(&[], &[]),
        };
        let headings = found.len() > 1 && !self.recursive;
        for (index, (path, status)) in found.into_iter().enumerate() {
            let inside = status.is_directory() && !self.directory;
            if inside && headings {
                if index > 0 {
                    list.heading("")?;
                }
                list.heading(&format!("{}:", output::name(path.as_str())))?;
            }
            if !inside {
                self.print(&mut list, format, path.as_str(), &path, &status)?;
            } else if self.recursive {
                self.tree(&dfs, &mut list, format, (path, status), &mut failures).await?;
            } else {
                let mut entries = pin!(dfs.list(&path));
                while let Some(entry) = entries.next().await {
                    if let Some(entry) = failures.keep(entry.map_err(Failure::from))? {
                        let below = path.join(&entry.name)?;
                        self.print(&mut list, format, &entry.name, &below, &entry.status)?;
                    }
                }
            }
        }
        list.finish()?;
        failures.finish()
    }

    async fn tree(
        &self,
        dfs: &Dfs,
        list: &mut List,
        format: Format,
        (root, status): (FsPath, FileStatus),
        failures: &mut Failures,
    ) -> Outcome {
        let mut walk = remote::Walk::new(dfs, root.clone(), status);
        while let Some(next) = walk.next().await {
            if let Some((path, status)) = failures.keep(next)?
                && path != root
            {
                self.print(list, format, path.as_str(), &path, &status)?;
            }
        }
        Ok(())
    }

    fn print(
        &self,
        list: &mut List,
        format: Format,
        shown: &str,
        path: &FsPath,
        status: &FileStatus,
    ) -> Outcome {
        list.push(&Entry { path, status }, || {
            let slash = if status.is_directory() && shown != "/" { "/" } else { "" };
            let name = format!("{shown}{slash}");
            if format == Format::Table && !self.long {
                return vec![name];
            }
            let replication =
                if status.is_directory() { "-".to_owned() } else { status.replication.to_string() };
            let mut cells = vec![
                kind_and_mode(status),
                replication,
                status.owner.clone(),
                status.group.clone(),
                size::show(status.length, self.human),
            ];
            if format == Format::Wide {
                cells.push(size::show(status.chunk_size, self.human));
                cells.push(status.inode.to_string());
                cells.push(if status.open { "open" } else { "closed" }.to_owned());
                cells.push(minute(status.atime));
            }
            cells.extend([minute(status.mtime), name]);
            cells
        })
    }
}
