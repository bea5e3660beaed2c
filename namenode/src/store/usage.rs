//! Rows of the tables `usage` and `quota`: what the tree below each directory takes, and what it may take at most.

use std::collections::BTreeMap;

use dfs_types::{FileKind, InodeId, Quota};
use rusqlite::{Connection, OptionalExtension};

use super::chunk::Chunk;
use super::column::number;
use super::inode::{Inode, kind_number};

/// What is below a directory, or what of it comes and goes; numbers that go are negative.
///
/// Sums wrap around, so that they are right again when what was too much is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Usage {
    /// Files.
    pub files: i64,
    /// Directories.
    pub directories: i64,
    /// Bytes that readers may count on.
    pub length: i64,
    /// Bytes times the replicas wanted; a chunk that is being written counts as a full one, as in HDFS.
    pub space: i64,
}

impl Usage {
    /// An empty directory in the one above it.
    pub(crate) const DIRECTORY: Self = Self { files: 0, directories: 1, length: 0, space: 0 };

    /// A file of so many bytes in chunks that can have `charged`.
    pub(crate) fn of_file(length: u64, charged: u64, replication: u32) -> Self {
        let space = charged.wrapping_mul(u64::from(replication));
        Self { files: 1, directories: 0, length: length as i64, space: space as i64 }
    }

    /// Both together.
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            files: self.files.wrapping_add(other.files),
            directories: self.directories.wrapping_add(other.directories),
            length: self.length.wrapping_add(other.length),
            space: self.space.wrapping_add(other.space),
        }
    }

    /// What undoes it.
    pub(crate) fn negative(self) -> Self {
        Self {
            files: self.files.wrapping_neg(),
            directories: self.directories.wrapping_neg(),
            length: self.length.wrapping_neg(),
            space: self.space.wrapping_neg(),
        }
    }

    /// Files and directories.
    pub(crate) fn names(self) -> i64 {
        self.files.wrapping_add(self.directories)
    }
}

/// What is below a directory.
pub(crate) fn of(connection: &Connection, directory: InodeId) -> rusqlite::Result<Usage> {
    connection
        .prepare_cached("SELECT files, directories, length, space FROM usage WHERE inode = ?1")?
        .query_row([directory.0 as i64], |row| {
            Ok(Usage {
                files: row.get(0)?,
                directories: row.get(1)?,
                length: row.get(2)?,
                space: row.get(3)?,
            })
        })
}

/// Notes what is below a directory.
pub(crate) fn set(connection: &Connection, directory: InodeId, usage: Usage) -> rusqlite::Result<()> {
    let Usage { files, directories, length, space } = usage;
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO usage (inode, files, directories, length, space) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute((directory.0 as i64, files, directories, length, space))?;
    Ok(())
}

/// What a directory may take at most.
pub(crate) fn quota(connection: &Connection, directory: InodeId) -> rusqlite::Result<Quota> {
    let limit = |value: Option<i64>| value.map(|value| value as u64);
    let found = connection
        .prepare_cached("SELECT names, space FROM quota WHERE inode = ?1")?
        .query_row([directory.0 as i64], |row| {
            Ok(Quota { names: limit(row.get(0)?), space: limit(row.get(1)?) })
        })
        .optional()?;
    Ok(found.unwrap_or_default())
}

/// Fills `usage` for a namespace that had none: one pass through all inodes. What is being written has a chunk without a
/// length, which counts as a full one.
pub(crate) fn count_all(connection: &Connection) -> rusqlite::Result<()> {
    let mut tree = Tree::default();
    let mut statement =
        connection.prepare("SELECT parent, id, kind, length, replication, open, chunk_size FROM inode")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (parent, id) = (InodeId(number(row, 0)?), InodeId(number(row, 1)?));
        if row.get::<_, i64>(2)? == kind_number(FileKind::Directory) {
            tree.directories.entry(id).or_default().parent = Some(parent);
            continue;
        }
        let (length, open) = (number(row, 3)?, row.get::<_, bool>(5)?);
        let charged = if open { charged_of_open(connection, id, number(row, 6)?)? } else { length };
        let file = Usage::of_file(length, charged, row.get(4)?);
        let above = tree.directories.entry(parent).or_default();
        above.usage = above.usage.plus(file);
    }
    tree.store(connection)
}

/// Bytes that the chunks of an open file can have: a full chunk for the one that is being written.
fn charged_of_open(connection: &Connection, file: InodeId, chunk_size: u64) -> rusqlite::Result<u64> {
    let last = Chunk::last(connection, file)?;
    Ok(last.map_or(0, |last| last.start + last.length.unwrap_or(chunk_size)))
}

/// What a file takes.
pub(crate) fn of_file(connection: &Connection, file: &Inode) -> rusqlite::Result<Usage> {
    let charged =
        if file.open { charged_of_open(connection, file.id, file.chunk_size)? } else { file.length };
    Ok(Usage::of_file(file.length, charged, file.replication))
}

/// Directories while they are counted.
#[derive(Debug, Default)]
struct Tree {
    directories: BTreeMap<InodeId, Counted>,
}

#[derive(Debug, Default)]
struct Counted {
    /// `None` until its own row was met.
    parent: Option<InodeId>,
    usage: Usage,
    /// Directories in it that are not added to it yet.
    left: u64,
}

impl Tree {
    /// Adds each directory to the one above it, the deepest first, and stores them.
    fn store(mut self, connection: &Connection) -> rusqlite::Result<()> {
        // The parent of deleted files has no row.
        self.directories.retain(|_, counted| counted.parent.is_some());
        let parents: Vec<InodeId> = self.directories.values().filter_map(|counted| counted.parent).collect();
        for parent in parents {
            if let Some(above) = self.directories.get_mut(&parent) {
                above.left += 1;
            }
        }
        let leaves = self.directories.iter().filter(|(_, counted)| counted.left == 0);
        let mut done: Vec<InodeId> = leaves.map(|(id, _)| *id).collect();
        while let Some(id) = done.pop() {
            let Some(&Counted { parent, usage, .. }) = self.directories.get(&id) else { continue };
            set(connection, id, usage)?;
            if let Some((parent, above)) =
                parent.and_then(|parent| Some((parent, self.directories.get_mut(&parent)?)))
            {
                above.usage = above.usage.plus(usage).plus(Usage::DIRECTORY);
                above.left -= 1;
                if above.left == 0 {
                    done.push(parent);
                }
            }
        }
        Ok(())
    }
}
