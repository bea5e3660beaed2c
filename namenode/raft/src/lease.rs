//! How long a leader may believe that nobody else leads.
//!
//! A voter that handled a message of its leader gives no vote to others for an election timeout (`check_quorum` in the
//! library, and [`crate::Member`] after a restart). The leader stamps what it sends with its own clock, voters echo the
//! latest stamp they handled; so from the stamp that a majority has echoed, no other leader can exist for an election
//! timeout, less what clocks may differ in speed. (Ongaro's dissertation, 6.4.1, with real time instead of ticks: a
//! process that was stopped finds its lease over when it goes on.)
//!
//! A handed-over leadership breaks the promise: votes for the new leader are given at once. From then on this term has no
//! lease; a read then needs an echo of a stamp that is later than its own beginning.

use std::collections::BTreeMap;
use std::time::Duration;

use raft::eraftpb::ConfState;

use crate::Nanos;

/// What a leader knows of its lease in one term.
#[derive(Debug, Default)]
pub(crate) struct Lease {
    term: u64,
    /// Latest stamp that each other member echoed.
    echoed: BTreeMap<u64, Nanos>,
    /// Whether votes may have been asked for in this leader's name.
    handed_over: bool,
}

impl Lease {
    /// Another term than before: everything begins anew.
    pub(crate) fn enter(&mut self, term: u64) {
        if self.term != term {
            *self = Self { term, ..Self::default() };
        }
    }

    /// A member echoed a stamp of this term.
    pub(crate) fn echo(&mut self, from: u64, stamp: Nanos) {
        let known = self.echoed.entry(from).or_default();
        *known = stamp.max(*known);
    }

    /// The leadership is offered to another member.
    pub(crate) fn hand_over(&mut self) {
        self.handed_over = true;
    }

    /// The latest moment at which a majority surely followed `own`; `now` if nobody else votes.
    pub(crate) fn followed_at(&self, own: u64, members: &ConfState, now: Nanos) -> Nanos {
        let latest = |voters: &[u64]| {
            let mut stamps: Vec<Nanos> = voters
                .iter()
                .map(|id| if *id == own { now } else { self.echoed.get(id).copied().unwrap_or_default() })
                .collect();
            stamps.sort_unstable();
            // As many are at or after it as make a majority.
            stamps.len().checked_sub(stamps.len() / 2 + 1).and_then(|index| stamps.get(index).copied())
        };
        let incoming = latest(&members.voters).unwrap_or_default();
        latest(&members.voters_outgoing).map_or(incoming, |outgoing| incoming.min(outgoing))
    }

    /// Until when this leader is surely the only one.
    pub(crate) fn until(&self, own: u64, members: &ConfState, length: Duration, now: Nanos) -> Nanos {
        if members.voters_outgoing.is_empty() && members.voters == [own] {
            return Nanos(u64::MAX);
        }
        let from = self.followed_at(own, members, now);
        if self.handed_over || from == Nanos::default() { from } else { from.plus(length) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: Duration = Duration::from_nanos(100);

    fn members(voters: &[u64], outgoing: &[u64]) -> ConfState {
        ConfState { voters: voters.to_vec(), voters_outgoing: outgoing.to_vec(), ..ConfState::default() }
    }

    fn lease(echoes: &[(u64, u64)]) -> Lease {
        let mut lease = Lease::default();
        lease.enter(3);
        for (from, stamp) in echoes {
            lease.echo(*from, Nanos(*stamp));
        }
        lease
    }

    #[test]
    fn a_majority_counts() {
        let three = members(&[1, 2, 3], &[]);
        for (echoes, until) in [
            (&[][..], 0),
            (&[(2, 50)][..], 150),
            (&[(2, 50), (3, 70)][..], 170),
            (&[(2, 50), (2, 40)][..], 150),
            (&[(4, 50), (5, 60)][..], 0),
        ] {
            assert_eq!(lease(echoes).until(1, &three, LENGTH, Nanos(80)), Nanos(until), "{echoes:?}");
        }
        let two = members(&[1, 2], &[]);
        assert_eq!(lease(&[(2, 50)]).until(1, &two, LENGTH, Nanos(80)), Nanos(150));
        assert_eq!(lease(&[]).until(1, &two, LENGTH, Nanos(80)), Nanos(0));
        assert_eq!(lease(&[]).until(1, &members(&[1], &[]), LENGTH, Nanos(80)), Nanos(u64::MAX));
    }

    #[test]
    fn while_members_change_both_majorities_count() {
        let changing = members(&[1, 2, 3], &[1, 4, 5]);
        let until = |echoes: &[(u64, u64)]| lease(echoes).until(1, &changing, LENGTH, Nanos(80)).0;
        assert_eq!(until(&[(2, 50), (3, 60)]), 0);
        assert_eq!(until(&[(2, 50), (4, 30)]), 130);
    }

    #[test]
    fn after_a_hand_over_there_is_no_lease_in_this_term() {
        let three = members(&[1, 2, 3], &[]);
        let mut lease = lease(&[(2, 50)]);
        lease.hand_over();
        assert_eq!(lease.until(1, &three, LENGTH, Nanos(80)), Nanos(50), "an echo still tells of its moment");
        lease.enter(4);
        assert_eq!(lease.until(1, &three, LENGTH, Nanos(80)), Nanos(0));
        lease.echo(3, Nanos(60));
        assert_eq!(lease.until(1, &three, LENGTH, Nanos(80)), Nanos(160));
    }
}
