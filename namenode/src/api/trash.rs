//! The trash: what is removed is kept for a while, and then goes by itself.

use std::time::{Duration, SystemTime};

use dfs_types::trash::CURRENT;
use dfs_types::{
    Caller, ErrorCode, FsError, FsPath, FsResult, InodeId, LimitChange, Removed, Trash, TrashContent,
};
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::{Namenode, Origin, reused_request};
use crate::store::TrashReport;
use crate::store::edit::{Edit, Outcome, TRASHES};

/// Shortest and longest time between two looks at all trash.
const LOOKS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));
/// Free share of the DataNodes' space below which trash is emptied before its time, in per cent.
const FULL_PERCENT: u64 = 5;
/// Most checkpoints in one answer.
const MOST_LISTED: usize = 10_000;
/// How long it is waited for the space of what was emptied.
const FULL_PAUSE: Duration = Duration::from_secs(30);

impl Namenode {
    /// Moves a file or directory into the caller's trash; removes it if nothing is kept there, or if it is in a trash
    /// already. A directory that has entries only if `recursive`; with `expected` only that inode.
    pub async fn move_to_trash(
        &self,
        origin: Origin,
        path: FsPath,
        recursive: bool,
        expected: Option<InodeId>,
    ) -> FsResult<Removed> {
        let caller = origin.caller.clone();
        match self.propose(origin, Edit::Trash { path: path.clone(), recursive, expected }).await {
            Ok(Outcome::Trashed(to)) => Ok(Removed::Trashed(to)),
            Ok(Outcome::Deleted(true)) => Ok(Removed::Deleted),
            Ok(Outcome::Deleted(false)) => Ok(Removed::Nothing),
            Ok(Outcome::DeleteInParts) => {
                self.delete_in_parts(&caller, path, expected).await.map(|()| Removed::Deleted)
            }
            Ok(other) => Err(reused_request(&other)),
            Err(error) if error.code == ErrorCode::NoSpace => {
                let text = format!(
                    "{path} can't be moved to the trash ({error}): delete it for good with --skip-trash"
                );
                Err(FsError::new(error.code, text))
            }
            Err(error) => Err(error),
        }
    }

    /// Where what the caller removes at a path goes, and how long it is kept.
    pub async fn trash_of(&self, caller: &Caller, path: &FsPath) -> FsResult<Trash> {
        self.store.trash_of(caller, path).await
    }

    /// What is in the caller's trash, or for a superuser in that of `all` users, the newest first.
    pub async fn trash_contents(&self, caller: &Caller, all: bool) -> FsResult<Vec<TrashContent>> {
        let now = self.store.clock();
        let mut contents = if all {
            self.check_superuser(caller)?;
            self.store.trash(now).await?.contents
        } else {
            self.store.trash_of_user(&caller.user, now).await?
        };
        contents.sort_by_key(|content| content.age);
        contents.truncate(MOST_LISTED);
        Ok(contents)
    }

    /// Says how long what is removed below a directory is kept; for superusers.
    pub async fn set_trash(&self, origin: Origin, path: FsPath, keep: LimitChange) -> FsResult<()> {
        let user = origin.caller.user.clone();
        self.propose_done(origin, Edit::SetTrash { path: path.clone(), keep }).await?;
        info!(%path, ?keep, user, "how long the trash keeps was set");
        self.trash_set.notify_one();
        Ok(())
    }

    /// Makes checkpoints of what was removed, and lets go what was kept long enough. Never ends.
    ///
    /// Time is the group's: that it has had a leader, which no wrong clock changes. What is due is found here and decided by
    /// the edit.
    pub(super) async fn keep_trash(&self) {
        let mut emptied = None;
        loop {
            let pause = match self.tend_trash(&mut emptied).await {
                Ok(pause) => pause,
                Err(error) => {
                    warn!(%error, "tending the trash failed, it is tried again");
                    LOOKS.1
                }
            };
            sleep(LOOKS.0).await;
            tokio::select! {
                () = sleep(pause) => {}
                () = self.trash_set.notified() => {}
            }
        }
    }

    /// Does what is due; answers when something may be again. `emptied`: when trash was emptied before its time.
    async fn tend_trash(&self, emptied: &mut Option<Instant>) -> FsResult<Duration> {
        if self.store.level() < TRASHES || self.store.group().is_out_of_room() || self.engine.safe_mode() {
            return Ok(LOOKS.1);
        }
        let now = self.store.clock();
        let TrashReport { due, contents, next } = self.store.trash(now).await?;
        let mut more = false;
        for root in due {
            let checkpoint = checkpoint_name(SystemTime::now());
            let edit = Edit::TendTrash { root: root.clone(), checkpoint };
            // One that is gone, or can't be tended, keeps nothing from the others.
            match self.propose_own(edit).await {
                Ok(_) => more = true,
                Err(error) => warn!(%root, %error, "a trash could not be tended, it is tried again"),
            }
        }
        let settled = emptied.is_none_or(|at| at.elapsed() >= FULL_PAUSE);
        if settled && self.is_nearly_full().await? {
            // What is kept for ever stays, and what was only just removed.
            let may_go =
                |content: &TrashContent| content.left.is_some() && content.path.name() != Some(CURRENT);
            if let Some(oldest) = contents.into_iter().filter(may_go).max_by_key(|content| content.age) {
                info!(path = %oldest.path, "the DataNodes are nearly full: trash is emptied before its time");
                let edit = Edit::Delete { path: oldest.path, recursive: true, expected: Some(oldest.inode) };
                self.propose_own(edit).await?;
                *emptied = Some(Instant::now());
                return Ok(FULL_PAUSE);
            }
        }
        if more {
            // What was done has a time from now on, or there is more than one edit does.
            return Ok(Duration::ZERO);
        }
        let wait = next.map_or(LOOKS.1, |next| Duration::from_millis(next.0.saturating_sub(now.0)));
        Ok(wait.min(LOOKS.1))
    }

    /// Whether the live DataNodes say that they have hardly any room left.
    async fn is_nearly_full(&self) -> FsResult<bool> {
        let stats = self.fs_stats().await?;
        Ok(stats.capacity > 0 && stats.remaining < stats.capacity / 100 * FULL_PERCENT)
    }
}

/// What a checkpoint is called that is made now: `yyMMddHHmmss` in UTC, as Hadoop's trash calls it.
fn checkpoint_name(now: SystemTime) -> String {
    let time = humantime::format_rfc3339_seconds(now).to_string();
    time.chars().filter(char::is_ascii_digit).skip(2).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkpoints_are_named_as_hadoop_names_them() {
        for (seconds, name) in [(0, "700101000000"), (1_764_600_039, "251201144039")] {
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!(checkpoint_name(time), name);
            assert!(dfs_types::trash::is_checkpoint(name));
        }
    }
}
