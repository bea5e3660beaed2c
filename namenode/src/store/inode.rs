//! One row of the table `inode`, and how it is found.

use std::sync::Arc;

use dfs_types::{Acl, FileKind, FileStatus, FsPath, InodeId, Millis, Mode};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row};

use super::column::number;
use super::format::decode_acl;

/// The parent of the root directory's row.
pub(crate) const ABOVE_ROOT: InodeId = InodeId(0);
/// The parent of deleted trees that wait to be reaped. It has no row of its own.
pub(crate) const GARBAGE: InodeId = InodeId(1);
/// The first id given to a new inode; the root has the one before.
pub(crate) const FIRST_INODE: InodeId = InodeId(InodeId::ROOT.0 + 1);

/// More steps up than any tree has: a longer way up means a damaged database.
const MAX_DEPTH: usize = 1 << 20;

/// A file or directory as the database has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Inode {
    /// Its directory.
    pub parent: InodeId,
    /// Its name there.
    pub name: String,
    /// Its id.
    pub id: InodeId,
    /// File or directory.
    pub kind: FileKind,
    /// Owner.
    pub owner: String,
    /// Group.
    pub group: String,
    /// Permission bits.
    pub mode: Mode,
    /// Last modification.
    pub mtime: Millis,
    /// Last access.
    pub atime: Millis,
    /// Replicas wanted; 0 for directories.
    pub replication: u32,
    /// Bytes of a full chunk; 0 for directories.
    pub chunk_size: u64,
    /// Bytes readers may count on; 0 for directories.
    pub length: u64,
    /// Entries; 0 for files.
    pub children: u64,
    /// Whether it is being written.
    pub open: bool,
    /// Bytes by which a path below it may be longer than its own: at least what is there; 0 for files.
    pub below: u64,
    /// What else there is of it; nothing below the level that has such things.
    pub extras: Extras,
    /// What its ACL has beside the mode; none below that level.
    pub acl: Option<Arc<Acl>>,
}

/// Number of columns of `inode` at the first level. Rows are read with all columns that there are, in the order in which the levels
/// added them: so one statement is for every level.
const FIRST_COLUMNS: usize = 15;

/// What else there is of an inode, so that most edits need not look for it: bits of the column `extras`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Extras(u32);

impl Extras {
    /// It has a row in `quota`.
    pub(crate) const QUOTA: Self = Self(1);
    /// It has a row in `trash`.
    pub(crate) const TRASH: Self = Self(2);
    /// It has a row in `checkpoint`.
    pub(crate) const CHECKPOINT: Self = Self(8);
    /// It has rows in `xattr`.
    pub(crate) const XATTRS: Self = Self(4);

    /// Whether it has all of these.
    pub(crate) fn has(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }

    /// With these, or without them.
    pub(crate) fn with(self, others: Self, set: bool) -> Self {
        if set { Self(self.0 | others.0) } else { Self(self.0 & !others.0) }
    }

    /// As the database stores it.
    pub(crate) fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// How the database stores it.
    pub(crate) fn bits(self) -> u32 {
        self.0
    }
}

/// `kind` of a file in the database.
const FILE: i64 = 0;
/// `kind` of a directory in the database.
const DIRECTORY: i64 = 1;

/// How the database stores a kind.
pub(crate) fn kind_number(kind: FileKind) -> i64 {
    match kind {
        FileKind::File => FILE,
        FileKind::Directory => DIRECTORY,
    }
}

fn acl(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Arc<Acl>>> {
    let Some(bytes) = row.get_ref(column)?.as_blob_or_null()? else { return Ok(None) };
    let acl = decode_acl(bytes)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(column, Type::Blob, Box::new(error)))?;
    Ok(acl.map(Arc::new))
}

impl Inode {
    /// Reads a row with all columns.
    pub(crate) fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        let kind = match row.get(3)? {
            FILE => FileKind::File,
            DIRECTORY => FileKind::Directory,
            other => return Err(rusqlite::Error::IntegralValueOutOfRange(3, other)),
        };
        let mode = Mode::new(number(row, 6)? as u32)
            .map_err(|error| rusqlite::Error::FromSqlConversionFailure(6, Type::Integer, Box::new(error)))?;
        let (extras, acl) = if row.as_ref().column_count() > FIRST_COLUMNS {
            (Extras::from_bits(row.get(FIRST_COLUMNS)?), acl(row, FIRST_COLUMNS + 1)?)
        } else {
            (Extras::default(), None)
        };
        Ok(Self {
            parent: InodeId(number(row, 0)?),
            name: row.get(1)?,
            id: InodeId(number(row, 2)?),
            kind,
            owner: row.get(4)?,
            group: row.get(5)?,
            mode,
            mtime: Millis(number(row, 7)?),
            atime: Millis(number(row, 8)?),
            replication: row.get(9)?,
            chunk_size: number(row, 10)?,
            length: number(row, 11)?,
            children: number(row, 12)?,
            open: row.get(13)?,
            below: number(row, 14)?,
            extras,
            acl,
        })
    }

    /// The entry `name` of a directory.
    pub(crate) fn by_name(
        connection: &Connection,
        parent: InodeId,
        name: &str,
    ) -> rusqlite::Result<Option<Self>> {
        connection
            .prepare_cached("SELECT * FROM inode WHERE parent = ?1 AND name = ?2")?
            .query_row((parent.0 as i64, name), Self::from_row)
            .optional()
    }

    /// The inode of an id, deleted trees included.
    pub(crate) fn by_id(connection: &Connection, id: InodeId) -> rusqlite::Result<Option<Self>> {
        connection
            .prepare_cached("SELECT * FROM inode WHERE id = ?1")?
            .query_row([id.0 as i64], Self::from_row)
            .optional()
    }

    /// Whether it is a directory.
    pub(crate) fn is_directory(&self) -> bool {
        self.kind == FileKind::Directory
    }

    /// What the world is told of it.
    pub(crate) fn status(&self) -> FileStatus {
        FileStatus {
            inode: self.id,
            kind: self.kind,
            owner: self.owner.clone(),
            group: self.group.clone(),
            mode: self.mode,
            mtime: self.mtime,
            atime: self.atime,
            length: self.length,
            replication: self.replication,
            chunk_size: self.chunk_size,
            children: self.children,
            open: self.open,
            has_acl: self.acl.is_some(),
        }
    }
}

/// At most `limit` entries of a directory after a name, in the order of their names' bytes.
pub(crate) fn entries(
    connection: &Connection,
    directory: InodeId,
    after: &str,
    limit: usize,
) -> rusqlite::Result<Vec<Inode>> {
    connection
        .prepare_cached("SELECT * FROM inode WHERE parent = ?1 AND name > ?2 ORDER BY name")?
        .query_map((directory.0 as i64, after), Inode::from_row)?
        .take(limit)
        .collect()
}

/// Names from the root down to an inode that is `name` in `parent`; `None` if it is in a deleted tree.
fn names_down_to(
    connection: &Connection,
    parent: InodeId,
    name: String,
) -> rusqlite::Result<Option<Vec<String>>> {
    let mut statement = connection.prepare_cached("SELECT parent, name FROM inode WHERE id = ?1")?;
    let mut names = vec![name];
    let mut at = parent;
    for _ in 0..MAX_DEPTH {
        match at {
            InodeId::ROOT => {
                names.reverse();
                return Ok(Some(names));
            }
            ABOVE_ROOT => return Ok(Some(Vec::new())),
            GARBAGE => return Ok(None),
            _ => {}
        }
        let (above, name) =
            statement.query_row([at.0 as i64], |row| Ok((InodeId(number(row, 0)?), row.get(1)?)))?;
        names.push(name);
        at = above;
    }
    Err(rusqlite::Error::QueryReturnedMoreThanOneRow)
}

/// Whether an inode is in the namespace, and not in a deleted tree.
pub(crate) fn is_attached(connection: &Connection, inode: &Inode) -> rusqlite::Result<bool> {
    Ok(names_down_to(connection, inode.parent, inode.name.clone())?.is_some())
}

/// Where an inode is; `None` if it is in a deleted tree, or so deep that no path may name it, as no edit makes it.
pub(crate) fn path_of(connection: &Connection, inode: &Inode) -> rusqlite::Result<Option<FsPath>> {
    let names = names_down_to(connection, inode.parent, inode.name.clone())?;
    Ok(names.and_then(|names| FsPath::parse(&format!("/{}", names.join("/"))).ok()))
}

#[cfg(test)]
impl Inode {
    /// The root of a namespace without anything, for tests to make others of.
    pub(crate) fn bare() -> Self {
        Self {
            parent: ABOVE_ROOT,
            name: String::new(),
            id: InodeId::ROOT,
            kind: FileKind::Directory,
            owner: String::new(),
            group: String::new(),
            mode: Mode::DIRECTORY,
            mtime: Millis(0),
            atime: Millis(0),
            replication: 0,
            chunk_size: 0,
            length: 0,
            children: 0,
            open: false,
            below: 0,
            extras: Extras::default(),
            acl: None,
        }
    }
}
