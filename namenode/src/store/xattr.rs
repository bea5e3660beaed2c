//! The table `xattr`: extended attributes of files and directories.

use dfs_proto::convert::xattr_name;
use dfs_proto::stored;
use dfs_types::{ErrorCode, FsError, FsPath, Xattr, XattrName, XattrSpace};
use rusqlite::types::Type;
use rusqlite::{Connection, Error, Row};

use super::inode::{Extras, Inode};

/// How the database stores a space: the numbers are those of `stored.proto`.
pub(crate) fn space_number(space: XattrSpace) -> i32 {
    stored::XattrSpace::from(space).into()
}

/// The error that an attribute is not there.
pub(crate) fn absent(path: &FsPath, name: &XattrName) -> FsError {
    FsError::new(ErrorCode::NotFound, format!("{path} has no XAttr {name}"))
}

/// The names of an inode's attributes, in their order.
pub(crate) fn names(connection: &Connection, inode: &Inode) -> rusqlite::Result<Vec<XattrName>> {
    read(connection, inode, "SELECT space, name FROM xattr WHERE inode = ?1 ORDER BY space, name", name)
}

/// An inode's attributes, in the order of their names.
pub(crate) fn all(connection: &Connection, inode: &Inode) -> rusqlite::Result<Vec<Xattr>> {
    read(
        connection,
        inode,
        "SELECT space, name, value FROM xattr WHERE inode = ?1 ORDER BY space, name",
        |row| Ok(Xattr { name: name(row)?, value: row.get(2)? }),
    )
}

fn read<T>(
    connection: &Connection,
    inode: &Inode,
    query: &str,
    from_row: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    // Also where there is no such table yet.
    if !inode.extras.has(Extras::XATTRS) {
        return Ok(Vec::new());
    }
    connection.prepare_cached(query)?.query_map([inode.id.0 as i64], from_row)?.collect()
}

fn name(row: &Row<'_>) -> rusqlite::Result<XattrName> {
    let number = row.get::<_, i32>(0)?;
    let space = stored::XattrSpace::try_from(number)
        .map_err(|_| Error::IntegralValueOutOfRange(0, i64::from(number)))?;
    xattr_name(space, row.get(1)?)
        .map_err(|error| Error::FromSqlConversionFailure(1, Type::Text, Box::new(error)))
}
