//! Values of columns that several tables have.

use rusqlite::Row;

/// A column of non-negative numbers. SQLite's integers are signed: what does not fit comes back as it went in.
pub(crate) fn number(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    Ok(row.get::<_, i64>(column)? as u64)
}
