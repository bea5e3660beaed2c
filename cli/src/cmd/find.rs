//! `dfs find`.

use std::str::FromStr;
use std::time::Duration;

use clap::ValueEnum;
use dfs_types::{FileKind, FileStatus, FsPath, Millis};
use globset::GlobMatcher;

use crate::args::{Context, Format};
use crate::exit::{Failures, Outcome};
use crate::glob::name_matcher;
use crate::output::{self, Entry, List, kind_and_mode, minute};
use crate::{remote, size};

/// How `dfs find` is typed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  dfs find /logs --name '*.log' --size +100MiB
  dfs find / --type d
  dfs find /tmp --type f --older 30d")]
pub(crate) struct Args {
    /// Where to look; patterns are fine.
    #[arg(value_name = "PATH", default_value = "/")]
    paths: Vec<String>,
    /// Names that match this pattern.
    #[arg(long, value_name = "PATTERN")]
    name: Option<String>,
    /// Files or directories only.
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<Kind>,
    /// Files larger (+N), smaller (-N) or of just this size.
    #[arg(long, value_name = "[+-]SIZE", allow_hyphen_values = true)]
    size: Option<SizeTest>,
    /// Modified within this time, such as 2h or 7d.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    newer: Option<Duration>,
    /// Modified longer ago than this.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    older: Option<Duration>,
    /// Directories to go down at most.
    #[arg(long, value_name = "N")]
    maxdepth: Option<usize>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    #[value(name = "f", help = "files")]
    File,
    #[value(name = "d", help = "directories")]
    Directory,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SizeTest {
    Larger(u64),
    Smaller(u64),
    Exactly(u64),
}

impl FromStr for SizeTest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(size) = text.strip_prefix('+') {
            return size::parse(size).map(Self::Larger);
        }
        if let Some(size) = text.strip_prefix('-') {
            return size::parse(size).map(Self::Smaller);
        }
        size::parse(text).map(Self::Exactly)
    }
}

/// The conditions, all of which must hold.
struct Conditions {
    name: Option<GlobMatcher>,
    kind: Option<FileKind>,
    size: Option<SizeTest>,
    newer: Option<Duration>,
    older: Option<Duration>,
}

impl Conditions {
    fn hold(&self, path: &FsPath, status: &FileStatus, now: Millis) -> bool {
        let age = now.since(status.mtime);
        self.name.as_ref().is_none_or(|name| name.is_match(path.name().unwrap_or("/")))
            && self.kind.is_none_or(|kind| kind == status.kind)
            && self.newer.is_none_or(|limit| age < limit)
            && self.older.is_none_or(|limit| age > limit)
            && self.size.is_none_or(|size| {
                !status.is_directory()
                    && match size {
                        SizeTest::Larger(limit) => status.length > limit,
                        SizeTest::Smaller(limit) => status.length < limit,
                        SizeTest::Exactly(size) => status.length == size,
                    }
            })
    }
}

impl Args {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let dfs = context.dfs().await?;
        let conditions = Conditions {
            name: self.name.as_deref().map(name_matcher).transpose()?,
            kind: self.kind.map(|kind| match kind {
                Kind::File => FileKind::File,
                Kind::Directory => FileKind::Directory,
            }),
            size: self.size,
            newer: self.newer,
            older: self.older,
        };
        let now = output::now();
        let format = context.global.output;
        let mut list = match format {
            Format::Json => List::json(),
            Format::Wide => List::table(&[], &[3]),
            Format::Table => List::table(&[], &[]),
        };
        let mut failures = Failures::of("find");
        for (root, status) in remote::expand_all(&dfs, &self.paths, &mut failures).await? {
            let depth = root.parts().count();
            let mut walk = remote::Walk::new(&dfs, root, status);
            while let Some(next) = walk.next().await {
                let Some((path, status)) = failures.keep(next)? else { continue };
                let below = path.parts().count() - depth;
                if self.maxdepth.is_some_and(|limit| below >= limit) {
                    walk.skip();
                }
                if !conditions.hold(&path, &status, now) {
                    continue;
                }
                list.push(&Entry { path: &path, status: &status }, || match format {
                    Format::Table | Format::Json => vec![path.to_string()],
                    Format::Wide => vec![
                        kind_and_mode(&status),
                        status.owner.clone(),
                        status.group.clone(),
                        status.length.to_string(),
                        minute(status.mtime),
                        path.to_string(),
                    ],
                })?;
            }
        }
        list.finish()?;
        failures.finish()
    }
}

#[cfg(test)]
mod tests {
    use dfs_types::{InodeId, Mode};

    use super::*;

    #[test]
    fn sizes_are_compared() {
        assert_eq!("+1K".parse(), Ok(SizeTest::Larger(1_024)));
        assert_eq!("-2MiB".parse(), Ok(SizeTest::Smaller(2 << 20)));
        assert_eq!("7".parse(), Ok(SizeTest::Exactly(7)));
        assert!("+".parse::<SizeTest>().is_err());
    }

    #[test]
    fn all_conditions_must_hold() {
        let status = FileStatus {
            inode: InodeId(1),
            kind: FileKind::File,
            owner: String::new(),
            group: String::new(),
            mode: Mode::FILE,
            mtime: Millis(10_000),
            atime: Millis(0),
            length: 100,
            replication: 1,
            chunk_size: 1,
            children: 0,
            open: false,
        };
        let path = FsPath::parse("/a/b.log").unwrap();
        let none = || Conditions { name: None, kind: None, size: None, newer: None, older: None };
        let holds = |conditions: Conditions| conditions.hold(&path, &status, Millis(70_000));
        let minute = Duration::from_mins(1);
        assert!(holds(none()));
        assert!(holds(Conditions { name: Some(name_matcher("*.log").unwrap()), ..none() }));
        assert!(!holds(Conditions { name: Some(name_matcher("*.txt").unwrap()), ..none() }));
        assert!(!holds(Conditions { kind: Some(FileKind::Directory), ..none() }));
        assert!(holds(Conditions { size: Some(SizeTest::Larger(99)), ..none() }));
        assert!(!holds(Conditions { size: Some(SizeTest::Smaller(100)), ..none() }));
        assert!(holds(Conditions { newer: Some(2 * minute), ..none() }));
        assert!(!holds(Conditions { newer: Some(minute), ..none() }));
        assert!(holds(Conditions { older: Some(minute / 2), ..none() }));
        assert!(!holds(Conditions { older: Some(minute), size: Some(SizeTest::Exactly(100)), ..none() }));
    }
}
