//! What a member does when the disk of its log is ill.

use std::time::{Duration, Instant};

use dfs_namenode_raft::{Envelope, MessageType};
use tokio::sync::mpsc;

use super::super::{MAX_WAIT, Waiting};
use super::Thread;
use crate::store::disk::{full_note, no_room, waits_for_room};
use crate::store::position::Members;

/// Bytes that may wait for the disk before a follower takes no more of them.
const MAX_BACKLOG: u64 = 64 << 20;
/// A write that takes longer is not waited for when this NameNode stops.
const STOP_LIMIT: Duration = Duration::from_secs(3);
/// Longest that a leader whose disk failed tries to hand over before it ends.
const LEAVE_LIMIT: Duration = Duration::from_secs(1);

impl Thread {
    /// Whether what the log was given will not be durable soon.
    pub(super) fn is_disk_sick(&self) -> bool {
        let condition = self.member.log().condition();
        condition.full || condition.failure.is_some() || condition.busy.is_some_and(|busy| busy >= STOP_LIMIT)
    }

    /// Whether what is proposed now will not be done soon.
    pub(super) fn is_stuck(&self) -> bool {
        self.is_disk_sick() || self.progress.task().1
    }

    /// How long the log or the database have waited for room.
    pub(super) fn waits_for_room(&self) -> Option<Duration> {
        waits_for_room(&self.member.log().condition(), self.progress.task())
    }

    /// Refuses what waits for a place in the log once the disk has been full for long: it would be done at a time when
    /// nobody wants it any more.
    pub(super) fn refuse_without_room(&self, waiting: &mut mpsc::Receiver<Waiting>) {
        if self.waits_for_room().is_none_or(|since| since < MAX_WAIT) {
            return;
        }
        let error = no_room(self.id, &full_note(self.room.space().0, &self.directory));
        while let Ok(Waiting { proposal: _, answer }) = waiting.try_recv() {
            // The proposer may have stopped waiting.
            let _gone = answer.send(Err(error.clone()));
        }
    }

    /// Whether a message brings entries that would only fill memory.
    pub(super) fn has_too_much_to_write(&self, envelope: &Envelope) -> bool {
        envelope.message.get_msg_type() == MessageType::MsgAppend
            && (self.member.log().condition().backlog > MAX_BACKLOG || self.backlog.is_large())
    }

    /// Whether this member must end because its log or its database failed. Before that a leader hands over to one that
    /// has everything: nobody has to find out by its silence.
    pub(super) fn must_leave(&mut self) -> bool {
        let failure =
            self.member.log().condition().failure.map(|failure| dfs_types::error::sentence(&failure));
        let Some(failure) = failure.or_else(|| self.progress.health().err()) else { return false };
        let noticed = *self.leaving.get_or_insert_with(|| {
            tracing::error!(error = failure, "the log or the database failed");
            Instant::now()
        });
        if self.member.term_led().is_some()
            && noticed.elapsed() < LEAVE_LIMIT
            && let Some(successor) = self.successor()
        {
            self.member.hand_over(successor);
            return false;
        }
        self.fail(&failure);
        true
    }

    /// The voter that is there and has most of the log.
    fn successor(&self) -> Option<u64> {
        let members = Members::from(self.member.status(self.shared.now()).members);
        let others = members.voters.into_iter().filter(|id| *id != self.id && self.is_active(*id));
        others.max_by_key(|id| self.member.matched(*id))
    }
}
