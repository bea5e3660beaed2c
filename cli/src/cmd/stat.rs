//! `dfs stat`.

use dfs_types::FileKind;

use crate::context::Context;
use crate::exit::{Failures, Outcome};
use crate::glob::Reading;
use crate::global::Format;
use crate::output::{Entry, List, mode, second};
use crate::{remote, size};

/// How `dfs stat` is typed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Files, directories or patterns.
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<String>,
    #[command(flatten)]
    reading: Reading,
}

impl Args {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let dfs = context.dfs().await?;
        let mut failures = Failures::of("stat");
        let json = context.global.output == Format::Json;
        let mut list = if json { List::json() } else { List::table(&[], &[]) };
        let found = remote::expand_all(&dfs, &self.paths, self.reading, &mut failures).await?;
        for (index, (path, status)) in found.iter().enumerate() {
            if json {
                list.push(&Entry { path, status }, Vec::new)?;
                continue;
            }
            if index > 0 {
                list.heading("")?;
            }
            let mut rows = vec![
                ("Path:", path.to_string()),
                ("Inode:", status.inode.to_string()),
                ("Mode:", format!("{:04o} ({})", status.mode.bits(), mode(status))),
                ("Owner:", format!("{}:{}", status.owner, status.group)),
                ("Modified:", second(status.mtime)),
            ];
            match status.kind {
                FileKind::Directory => {
                    rows.insert(1, ("Type:", "directory".to_owned()));
                    rows.push(("Entries:", status.children.to_string()));
                }
                FileKind::File => {
                    let open = if status.open { "file, open for writing" } else { "file" };
                    rows.insert(1, ("Type:", open.to_owned()));
                    rows.extend([
                        ("Accessed:", second(status.atime)),
                        ("Size:", format!("{} bytes ({})", status.length, size::human(status.length))),
                        ("Replication:", status.replication.to_string()),
                        ("Chunk size:", size::human(status.chunk_size)),
                    ]);
                }
            }
            for (name, value) in rows {
                list.push(&(), || vec![name.to_owned(), value])?;
            }
        }
        list.finish()?;
        failures.finish()
    }
}
