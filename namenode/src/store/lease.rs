//! The table `lease`: who writes which file.

use dfs_types::{ErrorCode, FsError, FsResult, InodeId, Millis};
use rusqlite::{Connection, OptionalExtension};

use super::column::number;
use super::edit::RECOVERY_HOLDER;

/// Who holds a file's lease.
pub(crate) fn holder(connection: &Connection, inode: InodeId) -> rusqlite::Result<Option<String>> {
    connection
        .prepare_cached("SELECT holder FROM lease WHERE inode = ?1")?
        .query_row([inode.0 as i64], |row| row.get(0))
        .optional()
}

/// Since which Unix time a file's lease is held by who holds it now.
pub(crate) fn since(connection: &Connection, inode: InodeId) -> rusqlite::Result<Option<Millis>> {
    connection
        .prepare_cached("SELECT since FROM lease WHERE inode = ?1")?
        .query_row([inode.0 as i64], |row| Ok(Millis(number(row, 0)?)))
        .optional()
}

/// Whether an open file goes away with its writer.
pub(crate) fn is_temporary(connection: &Connection, inode: InodeId) -> rusqlite::Result<bool> {
    let temporary = connection
        .prepare_cached("SELECT temporary FROM lease WHERE inode = ?1")?
        .query_row([inode.0 as i64], |row| row.get(0))
        .optional()?;
    Ok(temporary.unwrap_or(false))
}

/// The extents that an open file had when its writer began to append to it; `None` if he made it. Only at a level that
/// has appends.
pub(crate) fn inherited(connection: &Connection, inode: InodeId) -> rusqlite::Result<Option<u64>> {
    let inherited: Option<Option<i64>> = connection
        .prepare_cached("SELECT inherited FROM lease WHERE inode = ?1")?
        .query_row([inode.0 as i64], |row| row.get(0))
        .optional()?;
    Ok(inherited.flatten().map(|count| count as u64))
}

/// Every lease, by inode.
pub(crate) fn all(connection: &Connection) -> rusqlite::Result<Vec<(InodeId, String)>> {
    connection
        .prepare_cached("SELECT inode, holder FROM lease ORDER BY inode")?
        .query_map([], |row| Ok((InodeId(number(row, 0)?), row.get(1)?)))?
        .collect()
}

/// Refuses anybody but the present holder; also who calls himself like the NameNode's own recovery.
pub(crate) fn check(inode: InodeId, caller: &str, present: Option<&str>) -> FsResult<()> {
    match present {
        Some(present) if present == caller && present != RECOVERY_HOLDER => Ok(()),
        Some(present) => Err(conflict(format!(
            "file {inode} is being written by {present}, not by {caller}: its writer lost the lease"
        ))),
        None => Err(conflict(format!("file {inode} is no longer open for writing: open it again"))),
    }
}

fn conflict(message: String) -> FsError {
    FsError::new(ErrorCode::LeaseConflict, message)
}

/// The error that an inode is not in the namespace any more.
pub(crate) fn gone(inode: InodeId) -> FsError {
    FsError::new(ErrorCode::NotFound, format!("file {inode} does not exist any more: it was deleted"))
}
