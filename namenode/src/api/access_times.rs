//! Access times: a leader notes which files are read whose access time is old, and sets it in the background. Reading waits
//! for none of it, and nothing is owed: what is not noted now is noted at a later read.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use dfs_types::{FileStatus, FsResult, InodeId};
use futures_util::stream::{StreamExt as _, iter};
use tokio::sync::Notify;
use tracing::debug;

use super::Namenode;
use crate::engine::unix_now;
use crate::store::edit::Edit;

/// Most files that are noted at once.
const MAX_NOTED: usize = 1_024;
/// Edits under way at once: they share commits.
const CONCURRENT: usize = 32;

/// The files whose access times are to be set.
#[derive(Debug, Default)]
pub(super) struct Accesses {
    noted: Mutex<Noted>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Noted {
    /// Those that nothing was done about yet.
    waiting: Vec<InodeId>,
    /// They, and those whose edit is under way: a file that is read all the time has one edit.
    all: HashSet<InodeId>,
}

impl Accesses {
    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, file: InodeId) {
        let mut noted = self.noted();
        if noted.all.len() < MAX_NOTED && noted.all.insert(file) {
            noted.waiting.push(file);
            drop(noted);
            self.changed.notify_one();
        }
    }

    fn done(&self, file: InodeId) {
        self.noted().all.remove(&file);
    }

    /// Forgets what an earlier leadership noted.
    fn forget(&self) {
        *self.noted() = Noted::default();
    }

    /// All that wait, as soon as some do.
    async fn next(&self) -> Vec<InodeId> {
        self.changed.notified().await;
        std::mem::take(&mut self.noted().waiting)
    }
}

impl Namenode {
    /// A file was located to be read. A follower, which can propose nothing, notes nothing.
    pub(super) fn note_access(&self, file: &FileStatus) {
        let Some(precision) = self.cluster_settings().access_time_precision() else { return };
        let is_old = unix_now().since(file.atime) > precision;
        if is_old && self.term().1 && self.check_writable().is_ok() && self.check_room().is_ok() {
            self.accesses.note(file.inode);
        }
    }

    /// Sets the access times of what is noted. Never ends.
    pub(super) async fn set_access_times(&self) {
        self.accesses.forget();
        loop {
            let set = |file| async move {
                if let Err(error) = self.set_access_time(file).await {
                    debug!(inode = %file, %error, "setting an access time failed");
                }
                self.accesses.done(file);
            };
            iter(self.accesses.next().await).for_each_concurrent(CONCURRENT, set).await;
        }
    }

    /// Of the file wherever it is by now; one that is gone has none.
    async fn set_access_time(&self, file: InodeId) -> FsResult<()> {
        if let Some(path) = self.store.path_of(file).await? {
            let edit = Edit::SetTimes { path, mtime: None, atime: Some(unix_now()) };
            self.propose_own(edit).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_is_noted_once_and_few_are() {
        let accesses = Accesses::default();
        accesses.note(InodeId(1));
        accesses.note(InodeId(1));
        assert_eq!(accesses.next().await, [InodeId(1)]);
        accesses.note(InodeId(1));
        assert!(accesses.noted().waiting.is_empty(), "its edit is under way");
        accesses.done(InodeId(1));
        (0..2 * MAX_NOTED as u64).for_each(|file| accesses.note(InodeId(file)));
        assert_eq!(accesses.next().await.len(), MAX_NOTED);
        accesses.forget();
        accesses.note(InodeId(1));
        assert_eq!(accesses.next().await.len(), 1);
    }
}
