//! Traversals of whole trees, in steps so that none holds a reader or a state of the database for long.

use dfs_types::{Caller, ContentSummary, FileStatus, FsError, FsPath, InodeId, Quota};

use super::access::{Access, Place};
use super::inode::{Extras, Inode};
use super::lease;
use super::snapshot::Snapshot;
use super::stop::Stop;
use super::usage::{self, Usage};
use super::{ChunkRow, WalkedFile};

/// Entries looked at in one step.
const STEP_ENTRIES: usize = 4_096;
/// Chunks after which a page of a walk ends.
const PAGE_CHUNKS: usize = 64 << 10;

/// A directory whose entries up to and with a name are done.
#[derive(Debug)]
struct Level {
    directory: InodeId,
    path: FsPath,
    done: String,
}

impl Level {
    fn at_start(directory: InodeId, path: FsPath) -> Self {
        Self { directory, path, done: String::new() }
    }

    /// Where its entry `name` is. No edit makes a path that is too long, so an error means that the database is damaged:
    /// leaving such an entry out would hide it.
    fn path_of(&self, name: &str) -> Result<FsPath, Stop> {
        self.path.join(name).map_err(|error| {
            FsError::internal(format!(
                "an entry of {} can't be named ({error}): the namespace database is damaged, restore a backup",
                self.path
            ))
            .into()
        })
    }
}

/// A summary under way.
#[derive(Debug)]
pub(crate) struct Summing {
    levels: Vec<Level>,
    /// What was counted so far.
    pub sum: ContentSummary,
}

impl Summing {
    /// Whether everything was counted.
    pub(crate) fn is_done(&self) -> bool {
        self.levels.is_empty()
    }
}

fn add(sum: &mut ContentSummary, status: &FileStatus) {
    if status.is_directory() {
        sum.directories += 1;
    } else {
        sum.files += 1;
        sum.length += status.length;
        sum.space += status.length * u64::from(status.replication);
    }
}

/// A page of [`super::Store::walk_files`].
pub(crate) type Page = (Vec<WalkedFile>, Option<FsPath>);

impl Snapshot<'_> {
    fn may_list(&self, caller: &Caller, inode: &Inode, path: &FsPath) -> Result<(), Stop> {
        let place = Place { path, depth: path.parts().count() };
        Ok(self.authority(caller).check(inode, Access::ReadExecute, place)?)
    }

    /// Begins a summary. `counted`: the cluster's level has the sums of all directories, and it is done.
    pub(crate) fn begin_summary(
        &self,
        caller: &Caller,
        path: &FsPath,
        counted: bool,
    ) -> Result<Summing, Stop> {
        let found = self.resolve(caller, path)?;
        let inode = found.existing()?;
        if counted {
            if inode.is_directory() {
                self.may_list(caller, inode, path)?;
            }
            return Ok(Summing { levels: Vec::new(), sum: self.counted(inode)? });
        }
        let mut summing = Summing { levels: Vec::new(), sum: ContentSummary::default() };
        add(&mut summing.sum, &inode.status());
        if inode.is_directory() {
            self.may_list(caller, inode, path)?;
            summing.levels.push(Level::at_start(inode.id, path.clone()));
        }
        Ok(summing)
    }

    /// What a file or the tree at a directory takes, as it is counted.
    fn counted(&self, inode: &Inode) -> Result<ContentSummary, Stop> {
        let usage = if inode.is_directory() {
            usage::of(self.connection, inode.id)?.plus(Usage::DIRECTORY)
        } else {
            usage::of_file(self.connection, inode)?
        };
        let Usage { files, directories, length, space } = usage;
        let [files, directories, length, space] = [files, directories, length, space].map(|sum| sum as u64);
        let quota = if inode.extras.has(Extras::QUOTA) {
            usage::quota(self.connection, inode.id)?
        } else {
            Quota::default()
        };
        Ok(ContentSummary { files, directories, length, space, quota })
    }

    /// Goes on with a summary for one step.
    pub(crate) fn go_on_summing(&self, caller: &Caller, mut summing: Summing) -> Result<Summing, Stop> {
        let mut left = STEP_ENTRIES;
        while left > 0 {
            let Some(mut level) = summing.levels.pop() else {
                break;
            };
            let entries = self.entries(level.directory, &level.done, left)?;
            let full = entries.len() == left;
            left -= entries.len();
            let mut below = Vec::new();
            for entry in entries {
                add(&mut summing.sum, &entry.status());
                if entry.is_directory() {
                    let path = level.path_of(&entry.name)?;
                    self.may_list(caller, &entry, &path)?;
                    below.push(Level::at_start(entry.id, path));
                }
                level.done = entry.name;
            }
            if full {
                summing.levels.push(level);
            }
            summing.levels.append(&mut below);
        }
        Ok(summing)
    }

    /// A page of files below a path; see [`super::Store::walk_files`].
    pub(crate) fn walk(
        &self,
        caller: &Caller,
        base: &FsPath,
        after: Option<&FsPath>,
        limit: usize,
    ) -> Result<Page, Stop> {
        let found = self.resolve(caller, base)?;
        let inode = found.existing()?;
        let mut page = Vec::new();
        if !inode.is_directory() {
            if after.is_none() {
                page.push(self.walked(inode, base.clone())?);
            }
            return Ok((page, None));
        }
        self.may_list(caller, inode, base)?;
        let mut levels = self.levels_after(inode.id, base, after)?;
        let (mut looked_at, mut chunks_listed) = (0, 0);
        while let Some(level) = levels.last_mut() {
            let Some(entry) = self.entries(level.directory, &level.done, 1)?.pop() else {
                levels.pop();
                continue;
            };
            level.done.clone_from(&entry.name);
            looked_at += 1;
            let path = level.path_of(&entry.name)?;
            if entry.is_directory() {
                self.may_list(caller, &entry, &path)?;
                levels.push(Level::at_start(entry.id, path.clone()));
            } else {
                let file = self.walked(&entry, path.clone())?;
                chunks_listed += file.chunks.len();
                page.push(file);
            }
            if page.len() >= limit.max(1) || chunks_listed >= PAGE_CHUNKS || looked_at >= STEP_ENTRIES {
                return Ok((page, Some(path)));
            }
        }
        Ok((page, None))
    }

    fn walked(&self, file: &Inode, path: FsPath) -> Result<WalkedFile, Stop> {
        let held_since = if file.open { lease::since(self.connection, file.id)? } else { None };
        Ok(WalkedFile { path, status: file.status(), chunks: self.chunks(file.id)?, held_since })
    }

    /// Where a walk goes on after the entry at `after`: in that directory if it is one, then after its name in the
    /// directories above it. What does not exist any more is passed over.
    fn levels_after(
        &self,
        base: InodeId,
        base_path: &FsPath,
        after: Option<&FsPath>,
    ) -> Result<Vec<Level>, Stop> {
        let mut levels = vec![Level::at_start(base, base_path.clone())];
        let Some(after) = after.filter(|after| after.starts_with(base_path)) else {
            return Ok(levels);
        };
        for part in after.parts().skip(base_path.parts().count()) {
            let Some(level) = levels.last_mut() else { break };
            part.clone_into(&mut level.done);
            let Some(entry) = Inode::by_name(self.connection, level.directory, part)? else {
                break;
            };
            let path = level.path_of(part)?;
            if !entry.is_directory() {
                break;
            }
            levels.push(Level::at_start(entry.id, path));
        }
        Ok(levels)
    }
}

impl From<super::chunk::Chunk> for ChunkRow {
    fn from(chunk: super::chunk::Chunk) -> Self {
        Self {
            chunk: chunk.id,
            generation: chunk.generation,
            index: chunk.index,
            offset: chunk.start,
            chunk_offset: chunk.at,
            length: chunk.length,
            readable: chunk.readable,
            layout: chunk.layout,
        }
    }
}
