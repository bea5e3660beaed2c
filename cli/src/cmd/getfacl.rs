//! `dfs getfacl`.

use dfs_client::Dfs;
use dfs_types::{AclStatus, FileStatus, FsPath, Mode};
use serde::Serialize;

use crate::context::Context;
use crate::exit::{Failures, Outcome};
use crate::glob::Reading;
use crate::global::Format;
use crate::output::{List, name};
use crate::remote;

/// How `dfs getfacl` is typed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Behind an entry that the mask limits stands what is left of it, as '#effective:r--'.

Examples:
  dfs getfacl /a.txt
  dfs getfacl -R /shared")]
pub(crate) struct Args {
    /// Files, directories or patterns.
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<String>,
    /// Directories with everything in them.
    #[arg(short = 'R', long, short_alias = 'r')]
    recursive: bool,
    #[command(flatten)]
    reading: Reading,
}

/// An ACL as JSON.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    path: &'a FsPath,
    owner: &'a str,
    group: &'a str,
    mode: Mode,
    entries: Vec<String>,
}

impl Args {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let dfs = context.dfs().await?;
        let mut failures = Failures::of("getfacl");
        let json = context.global.output == Format::Json;
        let mut list = if json { List::json() } else { List::table(&[], &[]) };
        for entry in remote::expand_all(&dfs, &self.paths, self.reading, &mut failures).await? {
            remote::for_each(&dfs, entry, self.recursive, &mut failures, async |path, status| {
                let acl = acl_of(&dfs, path, status).await?;
                if json { list.push(&shown(path, &acl), Vec::new) } else { print(&mut list, path, &acl) }
            })
            .await?;
        }
        list.finish()?;
        failures.finish()
    }
}

async fn acl_of(dfs: &Dfs, path: &FsPath, status: &FileStatus) -> Outcome<AclStatus> {
    if status.has_acl {
        return Ok(dfs.acl(path).await?);
    }
    Ok(AclStatus { status: status.clone(), acl: None })
}

fn shown<'a>(path: &'a FsPath, acl: &'a AclStatus) -> Shown<'a> {
    let FileStatus { owner, group, mode, .. } = &acl.status;
    let entries = acl.entries().iter().map(|(entry, _)| entry.to_string()).collect();
    Shown { path, owner, group, mode: *mode, entries }
}

/// As `hdfs dfs -getfacl` does.
fn print(list: &mut List, path: &FsPath, acl: &AclStatus) -> Outcome {
    let status = &acl.status;
    list.heading(&format!("# file: {}", name(path.as_str())))?;
    list.heading(&format!("# owner: {}", name(&status.owner)))?;
    list.heading(&format!("# group: {}", name(&status.group)))?;
    if status.mode.is_sticky() {
        let searchable = status.mode.bits() & 1 != 0;
        list.heading(if searchable { "# flags: --t" } else { "# flags: --T" })?;
    }
    for (entry, effective) in acl.entries() {
        let line = entry.to_string();
        let left = if effective == entry.perm { String::new() } else { format!("\t#effective:{effective}") };
        list.heading(&format!("{}{left}", name(&line)))?;
    }
    list.heading("")
}
