//! What is not urgent: copies of the database for members that are far behind, and a log that does not grow forever.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dfs_namenode_raft::{EntryLog, Snapshot};

use super::super::Input;
use super::{Offered, Thread};
use crate::store::position::{Members, Position};
use crate::store::{PartFile, backup};

/// How often what is not urgent is looked at.
const HOUSEKEEPING: Duration = Duration::from_millis(200);
/// How long a snapshot is kept for further members.
const SNAPSHOT_KEPT: Duration = Duration::from_mins(1);
/// Pause after a snapshot could not be made: most likely the disk is nearly full.
const COPY_RETRY: Duration = Duration::from_secs(30);
/// How many times its usual size the log may have before members that are behind need a snapshot.
const LOG_STRETCH: u64 = 8;
/// Share of the log's entries that stay when it is trimmed, for members that are a little behind.
const KEPT_SHARE: u64 = 4;
/// Share of the log's usual size that it has on a disk with little room.
const LOW_SHARE: u64 = 8;

impl Thread {
    /// What is not urgent.
    pub(super) fn keep_house(&mut self) {
        if !self.copying && self.copy_after <= Instant::now() && self.member.wants_snapshot() {
            self.copy();
        }
        if self.housekept.elapsed() < HOUSEKEEPING {
            return;
        }
        self.housekept = Instant::now();
        if self.offered.as_ref().is_some_and(|offered| offered.since.elapsed() > SNAPSHOT_KEPT) {
            self.member.offer_snapshot(None);
            self.offered = None;
        }
        if self.member.log().bytes() > self.log_limit() && !self.syncing {
            self.sync();
        }
        if self.status.borrow().leads {
            self.look_after_members();
        }
        self.tell_who_is_silent();
    }

    /// Bytes of entries from which the log is trimmed: the less, the less room there is.
    fn log_limit(&self) -> u64 {
        let usual = self.options.log_bytes;
        match self.member.log().condition().full {
            true => 0,
            false if self.room.is_low() => usual / LOW_SHARE,
            false => usual,
        }
    }

    /// Who of the members was not heard of lately, as far as a leader can tell.
    fn tell_who_is_silent(&mut self) {
        let mut silent = BTreeSet::new();
        if self.member.term_led().is_some() {
            let members = Members::from(self.member.status(self.shared.now()).members);
            silent.extend(members.all().into_iter().filter(|id| !self.is_active(*id)));
        }
        self.status.send_if_modified(|status| {
            let changed = status.silent != silent;
            status.silent = silent;
            changed
        });
    }

    /// Copies the database in a thread of its own.
    fn copy(&mut self) {
        let file = PartFile::new(&self.directory, "snapshot");
        let (database, inputs, room) =
            (self.database.clone(), self.own_inputs.clone(), Arc::clone(&self.room));
        self.copying = spawn_aside(move || {
            let copied = backup::size(&database)
                .map_err(|error| error.to_string())
                .and_then(|bytes| room.check(bytes))
                .and_then(|()| {
                    backup::copy(&database, file.path()).map_err(|error| dfs_types::error::sentence(&error))
                });
            if let Err(error) = &copied {
                tracing::error!(
                    error,
                    "no copy of the database could be made for a NameNode that is far behind"
                );
            }
            // Fails when the NameNode is stopping.
            let _stopping = inputs.blocking_send(Input::Copied(copied.map(|position| (position, file))));
        });
    }

    pub(super) fn offer(&mut self, copied: Result<(Position, PartFile), String>) {
        self.copying = false;
        let no_copy = copied.as_ref().err().cloned();
        self.status.send_if_modified(|status| {
            let changed = status.no_copy != no_copy;
            status.no_copy = no_copy;
            changed
        });
        let Ok((position, file)) = copied else {
            self.copy_after = Instant::now() + COPY_RETRY;
            return;
        };
        let mut snapshot = Snapshot::default();
        let metadata = snapshot.mut_metadata();
        (metadata.index, metadata.term) = (position.applied, position.term);
        metadata.set_conf_state(position.members.into());
        self.member.offer_snapshot(Some(snapshot));
        // A transfer under way has the former one's file open and keeps what it reads.
        self.offered = Some(Offered { file, index: position.applied, since: Instant::now() });
    }

    /// Lets people see why a member stays behind.
    pub(super) fn note_refusal(&mut self, id: u64, refusal: Option<String>) {
        self.status.send_if_modified(|status| match refusal {
            Some(why) => status.refusals.insert(id, why.clone()) != Some(why),
            None => status.refusals.remove(&id).is_some(),
        });
    }

    /// Syncs the database in a thread of its own, so that the log need not keep what it holds.
    fn sync(&mut self) {
        let stored = self.progress.stored();
        let (database, inputs) = (self.database.clone(), self.own_inputs.clone());
        self.syncing = spawn_aside(move || {
            // Fails when the NameNode is stopping.
            let _stopping = inputs.blocking_send(Input::Synced(backup::sync(&database).map(|()| stored)));
        });
    }

    pub(super) fn trim(&mut self, synced: std::io::Result<u64>) {
        self.syncing = false;
        let synced = match synced {
            Ok(synced) => synced,
            // Tried again it would succeed, whatever was lost: the system tells such an error once.
            Err(error) => {
                return self
                    .fail(&format!("syncing the namespace database failed ({error}): check the disk"));
            }
        };
        let (first, last) = (self.member.log().start().0, self.member.log().last_index());
        let mut index = synced.min(last - (last - first) / KEPT_SHARE);
        if self.member.log().bytes() < self.options.log_bytes.saturating_mul(LOG_STRETCH) {
            index = index.min(self.needed_by_others());
        }
        if index > first
            && let Err(error) = self.member.trim(index)
        {
            self.fail(&dfs_types::error::sentence(&error));
        }
    }

    /// Index up to which no other member that is alive needs the log, with or without the snapshot that is offered.
    fn needed_by_others(&self) -> u64 {
        let snapshot = self.offered.as_ref().map_or(u64::MAX, |offered| offered.index);
        let members = Members::from(self.member.status(self.shared.now()).members);
        let others = members.all().into_iter().filter(|id| *id != self.id && self.is_active(*id));
        let behind = others.filter_map(|id| self.member.matched(id));
        // One that has nothing yet waits for the snapshot.
        behind.filter(|matched| *matched > 0).min().unwrap_or(u64::MAX).min(snapshot)
    }
}

/// Runs what blocks for long in a thread that nobody waits for; answers whether it was started.
fn spawn_aside(work: impl FnOnce() + Send + 'static) -> bool {
    let started = std::thread::Builder::new().name("meta-aside".to_owned()).spawn(work);
    if let Err(error) = &started {
        tracing::error!(%error, "no thread could be started: raise the limit of threads");
    }
    started.is_ok()
}
