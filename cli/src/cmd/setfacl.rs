//! `dfs setfacl`.

use dfs_types::{AclChange, AclEntry, AclKey, AclScope};

use crate::context::Context;
use crate::exit::{Failure, Failures, Outcome};
use crate::glob::Reading;
use crate::remote;

/// How `dfs setfacl` is typed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
An entry is [default:]user|group|mask|other:[NAME]:PERMISSIONS, also with first letters only; entries have commas between
them. Default entries are of directories: what is made there later gets them. A mask that is not given is calculated.

Examples:
  dfs setfacl -m user:bob:r-x,group:staff:r-- /a.txt
  dfs setfacl -R -m u:bob:rwx,d:u:bob:rwx /shared   also for what is made there later
  dfs setfacl -x user:bob,mask /a.txt
  dfs setfacl --set user::rw-,group::r--,other::--- /a.txt
  dfs setfacl -b /a.txt                             back to permission bits only")]
pub(crate) struct Args {
    #[command(flatten)]
    wanted: Wanted,
    /// Files, directories or patterns.
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<String>,
    /// Directories with everything in them; default entries are only for directories.
    #[arg(short = 'R', long, short_alias = 'r')]
    recursive: bool,
    #[command(flatten)]
    reading: Reading,
}

/// What becomes of the ACL.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Wanted {
    /// Removes all entries but those of the owner, the owning group and the others.
    #[arg(short = 'b', long)]
    remove_all: bool,
    /// Removes all default entries.
    #[arg(short = 'k', long)]
    remove_default: bool,
    /// Adds entries, or changes those that are there.
    #[arg(short, long, value_name = "ENTRIES", value_parser = entries)]
    modify: Option<Entries>,
    /// Removes entries, which are given without permissions.
    #[arg(short = 'x', long, value_name = "ENTRIES", value_parser = keys)]
    remove: Option<Keys>,
    /// Puts entries in the place of all, or of all default ones if only such are given.
    #[arg(long, value_name = "ENTRIES", value_parser = entries)]
    set: Option<Entries>,
}

#[derive(Debug, Clone)]
struct Entries(Vec<AclEntry>);

#[derive(Debug, Clone)]
struct Keys(Vec<AclKey>);

fn entries(text: &str) -> Result<Entries, String> {
    AclEntry::parse_list(text).map(Entries).map_err(|error| error.message)
}

fn keys(text: &str) -> Result<Keys, String> {
    AclKey::parse_list(text).map(Keys).map_err(|error| error.message)
}

impl Wanted {
    /// What is to be done with a file, or with a directory; nothing if all entries are default ones and it is a file that is
    /// met on the way through a tree.
    fn change(&self, is_directory: bool, recursive: bool) -> Option<AclChange> {
        let counts = |key: &AclKey| is_directory || !recursive || key.scope == AclScope::Access;
        let of_entries = |entries: &Entries, change: fn(Vec<AclEntry>) -> AclChange| {
            let entries: Vec<_> = entries.0.iter().filter(|entry| counts(&entry.key)).cloned().collect();
            (!entries.is_empty()).then(|| change(entries))
        };
        match self {
            Self { modify: Some(entries), .. } => of_entries(entries, AclChange::Modify),
            Self { set: Some(entries), .. } => of_entries(entries, AclChange::Set),
            Self { remove: Some(Keys(keys)), .. } => {
                let keys: Vec<_> = keys.iter().filter(|key| counts(key)).cloned().collect();
                (!keys.is_empty()).then_some(AclChange::RemoveEntries(keys))
            }
            Self { remove_default: true, .. } => Some(AclChange::RemoveDefault),
            Self { .. } => Some(AclChange::Remove),
        }
    }
}

impl Args {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let dfs = context.dfs().await?;
        let mut failures = Failures::of("setfacl");
        for entry in remote::expand_all(&dfs, &self.paths, self.reading, &mut failures).await? {
            remote::for_each(&dfs, entry, self.recursive, &mut failures, async |path, status| {
                match self.wanted.change(status.is_directory(), self.recursive) {
                    Some(change) => dfs.change_acl(path, change).await.map_err(Failure::from),
                    None => Ok(()),
                }
            })
            .await?;
        }
        failures.finish()
    }
}
