//! The NameNodes a client knows: their addresses, its connections to them, and which one leads.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dfs_types::address;
use tokio::time::Instant;
use tonic::transport::Channel;

/// Most NameNode addresses, given and learned together.
pub(crate) const MAX_NAMENODES: usize = 16;
/// How long a NameNode that did not answer is passed over when any of them would do.
const SHUNNED: Duration = Duration::from_secs(5);

/// `HOST:PORT` of a NameNode.
pub(crate) type Address = Arc<str>;

/// The NameNodes of one cluster as far as they are known.
#[derive(Debug)]
pub(crate) struct Peers(Mutex<State>);

#[derive(Debug)]
struct State {
    /// Those that were given, then those that were learned.
    peers: Vec<Peer>,
    given: usize,
    /// Where the leader is asked for first; one of the peers.
    leader: Address,
    /// Counts the reads that any of them may answer.
    turn: usize,
}

#[derive(Debug)]
struct Peer {
    address: Address,
    channel: Option<Channel>,
    /// Whether it answered lately: since it was found not to, if ever.
    answered: bool,
    shunned_until: Option<Instant>,
}

impl Peer {
    fn at(address: Address) -> Self {
        Self { address, channel: None, answered: false, shunned_until: None }
    }
}

impl State {
    fn position(&self, address: &str) -> Option<usize> {
        self.peers.iter().position(|peer| *peer.address == *address)
    }

    fn peer(&mut self, address: &str) -> Option<&mut Peer> {
        self.peers.iter_mut().find(|peer| *peer.address == *address)
    }

    /// Every address, beginning with the leader's.
    fn leader_first(&self) -> impl Iterator<Item = &Address> {
        let first = self.position(&self.leader).unwrap_or(0);
        self.peers.iter().cycle().skip(first).take(self.peers.len()).map(|peer| &peer.address)
    }
}

impl Peers {
    /// The NameNodes at `addresses`, the first of which is asked first.
    pub(crate) fn new(addresses: Vec<String>) -> Self {
        let mut peers: Vec<Peer> = Vec::new();
        for address in addresses {
            if peers.iter().all(|peer| *peer.address != *address) {
                peers.push(Peer::at(address.into()));
            }
        }
        let leader = peers.first().map_or_else(|| Address::from(""), |peer| Arc::clone(&peer.address));
        Self(Mutex::new(State { given: peers.len(), peers, leader, turn: 0 }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every address, beginning with the leader's.
    pub(crate) fn all(&self) -> Vec<Address> {
        self.lock().leader_first().cloned().collect()
    }

    /// The addresses that were given, not learned.
    pub(crate) fn given(&self) -> Vec<Address> {
        let state = self.lock();
        state.peers.iter().take(state.given).map(|peer| Arc::clone(&peer.address)).collect()
    }

    /// Whether this one did not answer just now.
    pub(crate) fn is_shunned(&self, address: &str) -> bool {
        let now = Instant::now();
        self.lock().peer(address).and_then(|peer| peer.shunned_until).is_some_and(|until| until > now)
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.lock().peers.len()
    }

    /// Whom to ask for the leader next, if not these.
    pub(crate) fn next(&self, not: &[Address]) -> Option<Address> {
        self.lock().leader_first().find(|address| !not.contains(address)).cloned()
    }

    /// Notes that this one leads.
    pub(crate) fn leads(&self, address: &Address) {
        let mut state = self.lock();
        if state.position(address).is_some() {
            state.leader = Arc::clone(address);
        }
    }

    /// Follows another NameNode's word on who leads; `false` if there is no room for yet another address.
    pub(crate) fn follow(&self, leader: &str) -> bool {
        let mut state = self.lock();
        if state.position(leader).is_none() {
            if state.peers.len() >= MAX_NAMENODES {
                return false;
            }
            state.peers.push(Peer::at(leader.into()));
        }
        state.leader = leader.into();
        true
    }

    /// Turns from this one, which does not lead, to the next, unless another call did so already.
    pub(crate) fn leave(&self, address: &Address) {
        let mut state = self.lock();
        if state.leader == *address {
            let next = state.leader_first().nth(1).cloned();
            state.leader = next.unwrap_or_else(|| Arc::clone(address));
        }
    }

    /// Takes over the group's addresses: those learned before that belong to no member any more make room.
    pub(crate) fn learn(&self, members: &[String]) {
        let mut state = self.lock();
        let given = state.given;
        let leader = Arc::clone(&state.leader);
        let mut index = 0;
        state.peers.retain(|peer| {
            index += 1;
            index <= given || peer.address == leader || members.iter().any(|member| **member == *peer.address)
        });
        for member in members {
            if state.peers.len() < MAX_NAMENODES
                && address::check(member).is_ok()
                && state.position(member).is_none()
            {
                state.peers.push(Peer::at(Address::from(member.as_str())));
            }
        }
    }

    /// One that may answer a read that need not come from the leader: each in turn, but not one that was silent
    /// lately.
    pub(crate) fn turn(&self) -> Option<Address> {
        let mut state = self.lock();
        state.turn = state.turn.wrapping_add(1);
        let (now, turn) = (Instant::now(), state.turn);
        let well: Vec<&Peer> =
            state.peers.iter().filter(|peer| peer.shunned_until.is_none_or(|until| until <= now)).collect();
        let chosen = well.get(turn.checked_rem(well.len())?)?;
        Some(Arc::clone(&chosen.address))
    }

    /// The open connection to this one.
    pub(crate) fn channel(&self, address: &Address) -> Option<Channel> {
        self.lock().peer(address).and_then(|peer| peer.channel.clone())
    }

    /// Keeps a connection for further calls.
    pub(crate) fn keep(&self, address: &Address, channel: Channel) {
        if let Some(peer) = self.lock().peer(address) {
            peer.channel = Some(channel);
            peer.shunned_until = None;
        }
    }

    /// Notes that this one answered, whatever it said.
    pub(crate) fn answered(&self, address: &Address) {
        if let Some(peer) = self.lock().peer(address) {
            peer.answered = true;
        }
    }

    /// Whether this one answered when it was last asked.
    pub(crate) fn has_answered(&self, address: &Address) -> bool {
        self.lock().peer(address).is_some_and(|peer| peer.answered)
    }

    /// Forgets the connection to one that did not answer.
    pub(crate) fn lost(&self, address: &Address) {
        if let Some(peer) = self.lock().peer(address) {
            peer.channel = None;
            peer.answered = false;
            peer.shunned_until = Some(Instant::now() + SHUNNED);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peers(addresses: &[&str]) -> Peers {
        Peers::new(addresses.iter().map(ToString::to_string).collect())
    }

    fn shown(peers: &Peers) -> Vec<String> {
        peers.all().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_leader_comes_first_and_leaving_it_turns_to_the_next() {
        let peers = peers(&["a:1", "b:1", "a:1", "c:1"]);
        assert_eq!(shown(&peers), ["a:1", "b:1", "c:1"]);
        peers.leave(&"b:1".into());
        assert_eq!(shown(&peers), ["a:1", "b:1", "c:1"], "only the leader is left");
        peers.leave(&"a:1".into());
        assert_eq!(shown(&peers), ["b:1", "c:1", "a:1"]);
        assert_eq!(peers.next(&["b:1".into()]).as_deref(), Some("c:1"));
        assert_eq!(peers.next(&["b:1".into(), "c:1".into(), "a:1".into()]), None);
        peers.leads(&"stranger:1".into());
        assert_eq!(shown(&peers), ["b:1", "c:1", "a:1"]);
    }

    #[test]
    fn addresses_are_learned_and_forgotten_within_bounds() {
        let peers = peers(&["a:1"]);
        assert!(peers.follow("b:1"));
        assert_eq!(shown(&peers), ["b:1", "a:1"]);
        peers.learn(&["c:1".into(), "a:1".into(), "no address".into()]);
        assert_eq!(shown(&peers), ["b:1", "c:1", "a:1"], "the leader stays, whatever the list says");
        peers.leads(&"a:1".into());
        peers.learn(&["d:1".into()]);
        assert_eq!(shown(&peers), ["a:1", "d:1"], "the given one stays");

        let many: Vec<String> = (0..40).map(|number| format!("n{number}:1")).collect();
        peers.learn(&many);
        assert_eq!(peers.count(), MAX_NAMENODES);
        assert!(!peers.follow("one-more:1"));
        assert!(peers.follow("n3:1"));
        assert_eq!(peers.all()[0].as_ref(), "n3:1");
    }

    #[tokio::test(start_paused = true)]
    async fn reads_go_round_and_pass_over_the_silent() {
        let peers = peers(&["a:1", "b:1", "c:1"]);
        let mut seen: Vec<Address> = (0..3).filter_map(|_| peers.turn()).collect();
        seen.sort();
        assert_eq!(seen, ["a:1".into(), "b:1".into(), "c:1".into()]);
        peers.lost(&"b:1".into());
        assert!((0..6).all(|_| peers.turn() != Some("b:1".into())));
        assert!(peers.is_shunned("b:1") && !peers.is_shunned("a:1") && !peers.is_shunned("stranger:1"));
        tokio::time::advance(SHUNNED).await;
        assert!(!peers.is_shunned("b:1"));
        assert!((0..3).any(|_| peers.turn() == Some("b:1".into())));
        for address in ["a:1", "b:1", "c:1"] {
            peers.lost(&address.into());
        }
        assert_eq!(peers.turn(), None);
    }
}
