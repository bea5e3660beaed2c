//! Changes of quotas.

use dfs_types::{FsError, FsResult, LimitChange};

use crate::v1;
use crate::v1::limit_change::Change;

/// What becomes of a limit.
pub fn limit_change(change: Option<v1::LimitChange>) -> FsResult<LimitChange> {
    match change.map(|change| change.change) {
        None => Ok(LimitChange::Keep),
        Some(Some(Change::Clear(true))) => Ok(LimitChange::Clear),
        Some(Some(Change::Set(limit))) => Ok(LimitChange::Set(limit)),
        Some(Some(Change::Clear(false)) | None) => {
            Err(FsError::invalid("the request does not say what becomes of a limit: clear or set it"))
        }
    }
}

/// How it travels.
pub fn wire_limit_change(change: LimitChange) -> Option<v1::LimitChange> {
    let change = match change {
        LimitChange::Keep => return None,
        LimitChange::Clear => Change::Clear(true),
        LimitChange::Set(limit) => Change::Set(limit),
    };
    Some(v1::LimitChange { change: Some(change) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_come_as_they_were_sent() {
        for change in [LimitChange::Keep, LimitChange::Clear, LimitChange::Set(0), LimitChange::Set(u64::MAX)]
        {
            assert_eq!(limit_change(wire_limit_change(change)), Ok(change));
        }
        assert!(limit_change(Some(v1::LimitChange { change: None })).is_err());
    }
}
