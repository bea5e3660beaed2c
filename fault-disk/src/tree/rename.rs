//! Renaming.

use std::ffi::OsStr;

use rustix::io::Errno;

use super::inode::Kind;
use super::{MAX_NAME, Result, Tree};

/// What a rename does about a name that is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// What it led to is removed.
    Replace,
    /// The rename fails.
    Refuse,
    /// The two names change places.
    Exchange,
}

impl Tree {
    pub(crate) fn rename(
        &mut self,
        (parent, name): (u64, &OsStr),
        (new_parent, new_name): (u64, &OsStr),
        taken: Taken,
    ) -> Result<()> {
        if new_name.len() > MAX_NAME {
            return Err(Errno::NAMETOOLONG);
        }
        let moved = self.find(parent, name)?.ok_or(Errno::NOENT)?;
        let former = self.find(new_parent, new_name)?;
        if self.get(new_parent)?.names == 0 {
            return Err(Errno::NOENT);
        }
        match (former, taken) {
            (Some(former), Taken::Replace | Taken::Exchange) if former == moved => return Ok(()),
            (Some(_), Taken::Refuse) => return Err(Errno::EXIST),
            (None, Taken::Exchange) => return Err(Errno::NOENT),
            (Some(former), Taken::Replace) => self.check_replaceable(moved, former)?,
            (Some(_), Taken::Exchange) | (None, Taken::Replace | Taken::Refuse) => {}
        }
        let left = if taken == Taken::Exchange { former } else { None };
        let slots = vec![self.slot(parent, name, left)?, self.slot(new_parent, new_name, Some(moved))?];
        self.change(slots);
        Ok(())
    }

    fn check_replaceable(&self, moved: u64, former: u64) -> Result<()> {
        match (&self.get(former)?.kind, self.is_directory(moved)) {
            (Kind::File(_), false) => Ok(()),
            (Kind::File(_), true) => Err(Errno::NOTDIR),
            (Kind::Directory { .. }, false) => Err(Errno::ISDIR),
            (Kind::Directory { entries, .. }, true) if entries.is_empty() => Ok(()),
            (Kind::Directory { .. }, true) => Err(Errno::NOTEMPTY),
        }
    }
}
