//! Why an edit or a query ended early.

use dfs_types::FsError;
use dfs_types::path::PathError;

use super::schema;

/// The caller's fault, or the database's.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stop {
    /// The request can't be served; nothing was changed.
    #[error("refused")]
    Refused(#[from] FsError),
    /// SQLite failed, or what it holds makes no sense.
    #[error("the namespace database failed")]
    Broken(#[from] rusqlite::Error),
}

impl Stop {
    /// As the caller of a query is told.
    pub(crate) fn into_answer(self) -> FsError {
        match self {
            Self::Refused(error) => error,
            Self::Broken(error) if schema::is_damage(&error) => FsError::internal(format!(
                "the namespace database is damaged ({error}): replace this NameNode (docs/operations/namenodes.md) or \
                 restore a backup"
            )),
            Self::Broken(error) => FsError::internal(format!(
                "reading the namespace database failed ({error}): look at the NameNode's log and disk"
            )),
        }
    }
}

impl From<PathError> for Stop {
    fn from(error: PathError) -> Self {
        Self::Refused(error.into())
    }
}
