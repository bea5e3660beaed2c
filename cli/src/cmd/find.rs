//! `dfs find`.

use std::str::FromStr;
use std::time::Duration;

use clap::ValueEnum;
use dfs_client::Dfs;
use dfs_types::{FileKind, FileStatus, FsPath, Millis};

use crate::context::Context;
use crate::exit::{Failure, Failures, Outcome};
use crate::glob::{NamePattern, Reading};
use crate::global::Format;
use crate::output::{self, Entry, List, kind_and_mode, minute};
use crate::remote_path::RemotePath;
use crate::{remote, size};

const DAY: Duration = Duration::from_hours(24);

/// How `dfs find` is typed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
All conditions must hold. Those that find(1) has too may be spelled as there, with one dash, and then mean the same.

Examples:
  dfs find /logs --name '*.log' --size +100MiB
  dfs find / -type d -empty
  dfs find /tmp --type f --older 30d
  dfs find /tmp -name '*.tmp' -print0 | xargs -0 -r dfs rm --literal")]
pub(crate) struct Args {
    /// Where to look; patterns are fine.
    #[arg(value_name = "PATH", default_value = "/")]
    paths: Vec<String>,
    /// Names that match this pattern.
    #[arg(long, value_name = "PATTERN", allow_hyphen_values = true)]
    name: Option<String>,
    /// Names that match this pattern in small or capital letters.
    #[arg(long, value_name = "PATTERN", allow_hyphen_values = true)]
    iname: Option<String>,
    /// Files or directories only.
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<Kind>,
    /// Files larger (+N), smaller (-N) or of just this size.
    #[arg(long, value_name = "[+-]SIZE", allow_hyphen_values = true)]
    size: Option<SizeTest>,
    /// As find's `-size`: units of a size are counted as begun.
    #[arg(long, hide = true, allow_hyphen_values = true, value_parser = SizeTest::in_units)]
    size_in_units: Option<SizeTest>,
    /// Empty files and directories.
    #[arg(long)]
    empty: bool,
    /// Modified within this time, such as 2h or 7d.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    newer: Option<Duration>,
    /// Modified longer ago than this.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    older: Option<Duration>,
    /// Modified more (+N), less (-N) or just this many whole days ago.
    #[arg(long, value_name = "[+-]DAYS", allow_hyphen_values = true)]
    mtime: Option<Compared>,
    /// Modified later than this file or directory of the cluster.
    #[arg(long, value_name = "PATH")]
    newer_than: Option<String>,
    /// Directories to go down at most.
    #[arg(long, value_name = "N")]
    maxdepth: Option<usize>,
    /// Directories to go down before anything is found.
    #[arg(long, value_name = "N")]
    mindepth: Option<usize>,
    /// End each path with NUL instead of a line's end, for `xargs -0`.
    #[arg(long)]
    print0: bool,
    #[command(flatten)]
    reading: Reading,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    #[value(name = "f", help = "files")]
    File,
    #[value(name = "d", help = "directories")]
    Directory,
}

/// More than a number (`+N`), less (`-N`), or just it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compared {
    More(u64),
    Less(u64),
    Exactly(u64),
}

impl Compared {
    fn parse(text: &str, number: impl FnOnce(&str) -> Result<u64, String>) -> Result<Self, String> {
        if let Some(text) = text.strip_prefix('+') {
            return number(text).map(Self::More);
        }
        if let Some(text) = text.strip_prefix('-') {
            return number(text).map(Self::Less);
        }
        number(text).map(Self::Exactly)
    }

    fn holds(self, value: u64) -> bool {
        match self {
            Self::More(limit) => value > limit,
            Self::Less(limit) => value < limit,
            Self::Exactly(limit) => value == limit,
        }
    }
}

impl FromStr for Compared {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(text, |number| {
            number.parse().map_err(|_| format!("'{text}' is no number, as in 7, +7 or -7"))
        })
    }
}

/// A size counted in units, of which one that is begun counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct SizeTest {
    units: Compared,
    unit: u64,
}

impl SizeTest {
    /// Reads what find's `-size` takes: `+10M` are more than ten units of 1 MiB, and a number alone counts blocks of 512.
    fn in_units(text: &str) -> Result<Self, String> {
        let number = text.trim_end_matches(|character: char| character.is_ascii_alphabetic());
        let unit = match text.get(number.len()..).unwrap_or_default() {
            "" | "b" => 512,
            "c" => 1,
            "w" => 2,
            "k" => 1 << 10,
            "M" => 1 << 20,
            "G" => 1 << 30,
            _ => {
                return Err(format!(
                    "'{text}' is no size: write a number with one of the letters c, w, b, k, M, G"
                ));
            }
        };
        Ok(Self { units: number.parse()?, unit })
    }

    fn holds(self, length: u64) -> bool {
        self.units.holds(length.div_ceil(self.unit))
    }
}

impl FromStr for SizeTest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(Self { units: Compared::parse(text, size::parse)?, unit: 1 })
    }
}

/// The conditions, all of which must hold.
#[derive(Debug, Default)]
struct Conditions {
    names: Vec<NamePattern>,
    kind: Option<FileKind>,
    sizes: Vec<SizeTest>,
    empty: bool,
    newer: Option<Duration>,
    older: Option<Duration>,
    days: Option<Compared>,
    after: Option<Millis>,
}

impl Conditions {
    fn hold(&self, path: &FsPath, status: &FileStatus, now: Millis) -> bool {
        let age = now.since(status.mtime);
        let name = path.name().unwrap_or("/");
        self.names.iter().all(|pattern| pattern.is_match(name))
            && self.kind.is_none_or(|kind| kind == status.kind)
            && self.sizes.iter().all(|size| !status.is_directory() && size.holds(status.length))
            && (!self.empty || (status.length == 0 && status.children == 0))
            && self.newer.is_none_or(|limit| age < limit)
            && self.older.is_none_or(|limit| age > limit)
            && self.days.is_none_or(|days| days.holds(age.as_secs() / DAY.as_secs()))
            && self.after.is_none_or(|after| status.mtime > after)
    }
}

impl Args {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let format = context.global.output;
        let mut list = match (format, self.print0) {
            (Format::Table, true) => List::nul_ended(),
            (_, true) => return Err(Failure::Usage("--print0 is for paths alone: leave out -o".to_owned())),
            (Format::Json, false) => List::json(),
            (Format::Wide, false) => List::table(&[], &[3]),
            (Format::Table, false) => List::table(&[], &[]),
        };
        let dfs = context.dfs().await?;
        let conditions = self.conditions(&dfs).await?;
        let now = output::now();
        let mut failures = Failures::of("find");
        for (root, status) in remote::expand_all(&dfs, &self.paths, self.reading, &mut failures).await? {
            let depth = root.parts().count();
            let mut walk = remote::Walk::new(&dfs, root, status);
            while let Some(next) = walk.next().await {
                let Some((path, status)) = failures.keep(next)? else { continue };
                let below = path.parts().count() - depth;
                if self.maxdepth.is_some_and(|limit| below >= limit) {
                    walk.skip();
                }
                let deep_enough = self.mindepth.is_none_or(|limit| below >= limit);
                if !deep_enough || !conditions.hold(&path, &status, now) {
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

    async fn conditions(&self, dfs: &Dfs) -> Outcome<Conditions> {
        let mut names = Vec::new();
        for (pattern, any_case) in [(&self.name, false), (&self.iname, true)] {
            if let Some(pattern) = pattern {
                names.push(NamePattern::parse(pattern, any_case)?);
            }
        }
        let after = match &self.newer_than {
            Some(path) => Some(dfs.stat(&RemotePath::parse(path)?.path).await?.mtime),
            None => None,
        };
        Ok(Conditions {
            names,
            kind: self.kind.map(|kind| match kind {
                Kind::File => FileKind::File,
                Kind::Directory => FileKind::Directory,
            }),
            sizes: self.size.into_iter().chain(self.size_in_units).collect(),
            empty: self.empty,
            newer: self.newer,
            older: self.older,
            days: self.mtime,
            after,
        })
    }
}

#[cfg(test)]
mod tests {
    use dfs_types::{InodeId, Mode};

    use super::*;

    #[test]
    fn sizes_are_compared() {
        let holds = |text: &str, length| text.parse::<SizeTest>().unwrap().holds(length);
        assert!(holds("+1K", 1_025) && !holds("+1K", 1_024));
        assert!(holds("-2MiB", (2 << 20) - 1) && !holds("-2MiB", 2 << 20));
        assert!(holds("7", 7) && !holds("7", 8));
        assert!("+".parse::<SizeTest>().is_err());
    }

    #[test]
    fn sizes_in_units_are_those_of_find() {
        let holds = |text: &str, length| SizeTest::in_units(text).unwrap().holds(length);
        // Only empty files have less than one unit, and what is begun is one.
        assert!(holds("-1M", 0) && !holds("-1M", 1));
        assert!(holds("1k", 1) && holds("1k", 1_024) && !holds("1k", 1_025));
        assert!(holds("+1k", 1_025) && !holds("+1k", 1_024));
        assert!(holds("2", 513) && !holds("2", 512));
        assert!(holds("5c", 5) && !holds("5c", 6));
        for wrong in ["", "x", "1KiB", "1T", "1.5M", "-"] {
            assert!(SizeTest::in_units(wrong).is_err(), "{wrong}");
        }
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
            has_acl: false,
        };
        let path = FsPath::parse("/a/b.log").unwrap();
        let none = Conditions::default;
        let holds = |conditions: Conditions| conditions.hold(&path, &status, Millis(70_000));
        let named = |pattern: &str| vec![NamePattern::parse(pattern, false).unwrap()];
        let size = |text: &str| vec![text.parse::<SizeTest>().unwrap()];
        let minute = Duration::from_mins(1);
        assert!(holds(none()));
        assert!(holds(Conditions { names: named("*.log"), ..none() }));
        assert!(!holds(Conditions { names: named("*.txt"), ..none() }));
        assert!(!holds(Conditions { kind: Some(FileKind::Directory), ..none() }));
        assert!(holds(Conditions { sizes: size("+99"), ..none() }));
        assert!(!holds(Conditions { sizes: size("-100"), ..none() }));
        assert!(!holds(Conditions { empty: true, ..none() }));
        assert!(holds(Conditions { newer: Some(2 * minute), ..none() }));
        assert!(!holds(Conditions { newer: Some(minute), ..none() }));
        assert!(holds(Conditions { older: Some(minute / 2), ..none() }));
        assert!(!holds(Conditions { older: Some(minute), sizes: size("100"), ..none() }));
        assert!(holds(Conditions { days: Some(Compared::Exactly(0)), ..none() }));
        assert!(!holds(Conditions { days: Some(Compared::More(0)), ..none() }));
        assert!(holds(Conditions { after: Some(Millis(9_999)), ..none() }));
        assert!(!holds(Conditions { after: Some(Millis(10_000)), ..none() }));
        let days = |count: u64| Millis(10_000 + count * 86_400_000);
        let old = |text: &str| Conditions { days: Some(text.parse().unwrap()), ..none() };
        assert!(old("+1").hold(&path, &status, days(2)));
        assert!(!old("+1").hold(&path, &status, Millis(days(2).0 - 1)));
        assert!(old("-2").hold(&path, &status, Millis(days(2).0 - 1)));
        assert!("x".parse::<Compared>().is_err());
    }
}
