//! This NameNode as one of a group.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dfs_types::backup::Header;
use dfs_types::{Caller, ClusterId, ErrorCode, FsError, FsResult, MemberRole, NamenodeMember};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::task::spawn_blocking;
use tracing::{info, warn};

use super::Namenode;
use crate::store::group::{Request, Status};
use crate::store::{Disk, DiskState, PartFile, backup, known_level};
use dfs_namenode_raft::Role;

/// Longest that a leader hands over for before it stops.
const HAND_OVER_LIMIT: Duration = Duration::from_secs(2);

/// A member of the group as this one sees it, with what others are not told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MemberView {
    /// What others are told of it.
    pub(super) told: NamenodeMember,
    /// How its disk is, as far as known.
    pub(super) disk: DiskState,
    /// How long ago it told of itself.
    pub(super) heard: Option<Duration>,
}

/// Entries that a member may be behind to be offered the leadership: it has to have all of them within an election
/// timeout, and until then nothing can be proposed.
const MAX_LAG: u64 = 1_000;
/// How long a member that did not take the leadership over is not offered it again because of a disk: each try costs the
/// group an election timeout.
const LEFT_OUT: Duration = Duration::from_mins(3);

/// Who should lead instead of a leader whose disk is like this: of those whose disk is better and who could at once, the
/// one that is least behind.
fn better_leader(own: DiskState, members: &[MemberView], is_left_out: impl Fn(u64) -> bool) -> Option<u64> {
    let could = |member: &&MemberView| {
        let told = &member.told;
        told.role == MemberRole::Follower && told.lag < MAX_LAG && !is_left_out(told.id)
    };
    let better = members.iter().filter(could).filter(|member| member.disk < own);
    better.min_by_key(|member| (member.disk, member.told.lag)).map(|member| member.told.id)
}

/// Members that were offered the leadership in vain, and when.
#[derive(Debug, Default)]
pub(super) struct LeftOut(Mutex<BTreeMap<u64, Instant>>);

impl LeftOut {
    fn add(&self, id: u64) {
        self.all().insert(id, Instant::now());
    }

    fn has(&self, id: u64) -> bool {
        self.all().get(&id).is_some_and(|since| since.elapsed() < LEFT_OUT)
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<u64, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What this NameNode tells one that looks for its group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The cluster.
    pub cluster: ClusterId,
    /// This member.
    pub id: u64,
    /// Where the leader is; empty if none is known.
    pub leader: String,
}

/// A copy of the metadata in a file of its own, which goes with this value. While it is there, no other is made.
#[derive(Debug)]
pub struct Backup {
    file: PartFile,
    header: Header,
    _only: OwnedSemaphorePermit,
}

impl Backup {
    /// What it is of.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Reads it, packed as [`dfs_types::backup`] says; `tell` answers whether to go on. Answers the CRC32C of all that was
    /// told, or nothing if `tell` did not want to go on. Blocks.
    pub fn read(&self, tell: impl FnMut(Vec<u8>) -> bool) -> std::io::Result<Option<u32>> {
        backup::read_packed(self.file.path(), &self.header, tell)
    }
}

impl Namenode {
    /// Waits until what this NameNode answers is good enough for a client: the latest, which only the leader has; or, if
    /// the client said so, at least what was applied at an index. Fails with `NotLeader` otherwise.
    pub async fn admit(&self, follower_read_at: Option<u64>) -> FsResult<()> {
        match follower_read_at {
            // The leader's database may be a moment behind what is committed and a follower has applied. A member that
            // was just started, or got a snapshot, knows no replicas yet.
            Some(index) => {
                if self.term().1 || self.engine.safe_mode() {
                    self.store.group().lead().await?;
                }
                self.store.group().catch_up(index).await
            }
            None => self.store.group().lead().await,
        }
    }

    /// What this member knows of its group, and its changes.
    pub fn group_status(&self) -> watch::Receiver<Status> {
        self.store.group().status()
    }

    /// Index of the entry applied last.
    pub fn applied(&self) -> u64 {
        self.store.group().applied_now()
    }

    /// The term, and whether this member leads in it.
    pub fn term(&self) -> (u64, bool) {
        let group = self.store.group().status();
        let status = group.borrow();
        (status.term, status.leads)
    }

    /// `HOST:PORT` of the leader, if one is known.
    pub fn leader_address(&self) -> Option<String> {
        let group = self.store.group();
        let leader = group.status().borrow().leader?;
        group.residences().addresses.get(&leader).cloned()
    }

    /// The cluster whose metadata these are.
    pub fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// `HOST:PORT` of every NameNode of the group.
    pub fn namenode_addresses(&self) -> Vec<String> {
        self.store.group().residences().addresses.into_values().collect()
    }

    /// `HOST:PORT` by which the group knows this member; empty if it does not yet.
    pub fn own_address(&self) -> String {
        let group = self.store.group();
        group.residences().addresses.remove(&group.id()).unwrap_or_default()
    }

    /// The members of the group.
    pub fn members(&self) -> Vec<NamenodeMember> {
        self.views().into_iter().map(|view| view.told).collect()
    }

    /// The members of the group, with what only this NameNode needs.
    pub(super) fn views(&self) -> Vec<MemberView> {
        let group = self.store.group();
        let status = group.status().borrow().clone();
        let (residences, seen) = (group.residences(), self.peers.seen());
        let (own_applied, own_disk) = (self.applied(), self.disk());
        let view = |id: u64| {
            let other = seen.get(&id).filter(|_| id != status.id);
            let applied = if id == status.id { own_applied } else { other.map_or(0, |seen| seen.applied) };
            let role = if status.leader == Some(id) {
                MemberRole::Leader
            } else if id == status.id && status.role == Role::Candidate {
                MemberRole::Candidate
            } else if status.silent.contains(&id) {
                MemberRole::Unreachable
            } else if residences.members.learners.contains(&id) {
                MemberRole::Learner
            } else {
                MemberRole::Follower
            };
            let disk = if id == status.id {
                own_disk.state
            } else {
                other.map_or(DiskState::Good, |seen| seen.disk)
            };
            let note = if id == status.id {
                own_disk.note.clone()
            } else {
                // What it said before it fell silent may be over.
                let said = other.filter(|_| role != MemberRole::Unreachable).map(|seen| seen.note.clone());
                let is_behind = role != MemberRole::Unreachable && own_applied > applied;
                let refused =
                    status.refusals.get(&id).map(|why| format!("it gets no copy of the namespace: {why}"));
                let waits = || {
                    let why = status.no_copy.as_ref()?;
                    Some(format!("NameNode {} can't copy the namespace for it: {why}", status.id))
                };
                said.filter(|note| !note.is_empty()).or(refused.or_else(waits).filter(|_| is_behind))
            };
            let pid = if id == status.id { Some(std::process::id()) } else { other.map(|seen| seen.pid) };
            let level = if id == status.id { Some(known_level()) } else { other.map(|seen| seen.level) };
            let release = match other {
                None if id == status.id => Some(env!("CARGO_PKG_VERSION").to_owned()),
                other => other.map(|seen| seen.release.clone()),
            };
            let heard =
                if id == status.id { Some(Duration::ZERO) } else { other.map(|seen| seen.heard.elapsed()) };
            let told = NamenodeMember {
                id,
                address: residences.addresses.get(&id).cloned().unwrap_or_default(),
                pid: pid.filter(|pid| *pid > 0),
                role,
                term: status.term,
                applied,
                lag: own_applied.saturating_sub(applied),
                note,
                level: level.filter(|level| *level > 0).map(u32::from),
                release: release.filter(|release| !release.is_empty()),
            };
            MemberView { told, disk, heard }
        };
        residences.members.all().into_iter().map(view).collect()
    }

    /// How the disk of this NameNode is.
    pub fn disk(&self) -> Disk {
        self.store.group().disk()
    }

    /// The member that should lead instead of this one, if this one leads and another one's disk is better.
    pub fn better_leader(&self) -> Option<u64> {
        let own = self.disk().state;
        // Also one that was just elected: it can't begin to serve if its disk does nothing.
        let is_leader = self.store.group().status().borrow().role == Role::Leader;
        if own == DiskState::Good || !is_leader {
            return None;
        }
        better_leader(own, &self.views(), |id| self.left_out.has(id))
    }

    /// Hands the leadership over while another member's disk is better; answers whether there was anything to do.
    pub async fn yield_lead(&self) -> bool {
        let Some(to) = self.better_leader() else { return false };
        let disk = self.disk();
        warn!(to, note = disk.note, "handing the leadership over because of the disk");
        if let Err(error) = self.store.group().hand_over(to).await {
            warn!(to, %error, "the leadership was not taken over: this namenode is not asked again for a while");
            self.left_out.add(to);
        }
        true
    }

    /// What one that looks for its group is told.
    pub fn identity(&self) -> Identity {
        let leader = self.leader_address().unwrap_or_default();
        Identity { cluster: self.cluster, id: self.store.group().id(), leader }
    }

    /// Hands the leadership to a member, or with 0 to the one that is least behind; answers who leads now.
    pub async fn transfer_leader(&self, caller: &Caller, to: u64) -> FsResult<u64> {
        self.check_superuser(caller)?;
        let to = self.successor(to)?;
        let leads = |member: &NamenodeMember| member.id == to && member.role == MemberRole::Leader;
        if to == self.store.group().id() && self.members().iter().any(leads) {
            // Raft says nothing to a leader that is to follow itself.
            return Ok(to);
        }
        info!(to, "handing the leadership over");
        self.store.group().hand_over(to).await
    }

    fn successor(&self, to: u64) -> FsResult<u64> {
        let others: Vec<MemberView> =
            self.views().into_iter().filter(|member| member.told.role == MemberRole::Follower).collect();
        if to == 0 {
            // A good disk is of no use to one that can't take over.
            let best =
                others.iter().min_by_key(|member| (member.told.lag >= MAX_LAG, member.disk, member.told.lag));
            return best.map(|member| member.told.id).ok_or_else(|| {
                FsError::new(
                    ErrorCode::NotEnoughNodes,
                    "no other NameNode could lead: see `dfs admin namenodes`",
                )
            });
        }
        if to == self.store.group().id() || others.iter().any(|member| member.told.id == to) {
            return Ok(to);
        }
        Err(FsError::new(
            ErrorCode::NotFound,
            format!("no NameNode {to} could lead: see `dfs admin namenodes` for those that can"),
        ))
    }

    /// Takes a member out of the group for good.
    pub async fn remove_namenode(&self, caller: &Caller, id: u64) -> FsResult<Vec<NamenodeMember>> {
        self.check_superuser(caller)?;
        self.store.group().request(Request::Remove(id)).await?;
        info!(id, "a namenode was removed");
        Ok(self.members())
    }

    /// Takes a NameNode with an empty directory, which knows feature levels up to `known`, into the group; answers its id.
    pub async fn join(&self, cluster: Option<ClusterId>, address: String, known: u16) -> FsResult<u64> {
        if let Some(theirs) = cluster
            && theirs != self.cluster
        {
            return Err(FsError::new(
                ErrorCode::WrongCluster,
                format!("this is cluster {} and not {theirs}: check --peers", self.cluster),
            ));
        }
        if dfs_types::address::check(&address).is_err() {
            return Err(FsError::invalid(format!("'{address}' is no NameNode's address: write HOST:PORT")));
        }
        self.check_level_of(&address, known)?;
        info!(address, "a namenode asks to join");
        self.store.group().request(Request::Join(address)).await
    }

    /// Copies the metadata as of one moment after the call. One at a time, and only if there is room for it besides what
    /// the NameNode itself needs.
    pub async fn back_up(&self, caller: &Caller) -> FsResult<Backup> {
        self.check_superuser(caller)?;
        let only = Arc::clone(&self.backups).try_acquire_owned().map_err(|_| {
            FsError::new(ErrorCode::Busy, "another backup is being made: try again when it is finished")
        })?;
        let (store, cluster) = (self.store.clone(), self.cluster);
        let copied = spawn_blocking(move || {
            let file = PartFile::new(store.directory(), "backup");
            let applied = store.back_up(file.path())?;
            let header = backup::header(file.path(), cluster, applied).map_err(|error| {
                FsError::new(ErrorCode::Io, format!("reading the backup failed ({error}): check the disk"))
            })?;
            Ok(Backup { file, header, _only: only })
        });
        copied.await.map_err(|error| FsError::internal(format!("the backup failed ({error})")))?
    }

    /// Hands the leadership over before this NameNode stops, if it leads and somebody can take it.
    pub async fn resign(&self) {
        if !self.term().1 {
            return;
        }
        if let Ok(to) = self.successor(0) {
            let handed = tokio::time::timeout(HAND_OVER_LIMIT, self.store.group().hand_over(to)).await;
            info!(
                to,
                ok = handed.is_ok_and(|handed| handed.is_ok()),
                "leadership handed over before stopping"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: u64, disk: DiskState, lag: u64) -> MemberView {
        let told = NamenodeMember {
            id,
            address: String::new(),
            pid: None,
            role: MemberRole::Follower,
            term: 1,
            applied: 0,
            lag,
            note: None,
            level: Some(1),
            release: None,
        };
        MemberView { told, disk, heard: None }
    }

    #[test]
    fn only_a_member_that_could_take_over_at_once_is_a_better_leader() {
        use DiskState::{Full, Good, Low};
        let better = |members: &[MemberView]| better_leader(Full, members, |id| id == 9);
        assert_eq!(better(&[member(2, Low, 0), member(3, Good, 5)]), Some(3));
        assert_eq!(better(&[member(2, Low, 0), member(3, Good, MAX_LAG)]), Some(2), "it is too far behind");
        assert_eq!(better(&[member(2, Full, 0), member(3, Good, MAX_LAG)]), None);
        assert_eq!(better(&[member(9, Good, 0)]), None, "it did not take it a moment ago");
        let mut gone = member(2, Good, 0);
        gone.told.role = MemberRole::Unreachable;
        assert_eq!(better(&[gone]), None);
    }

    #[test]
    fn who_did_not_take_the_leadership_is_left_out() {
        let left_out = LeftOut::default();
        left_out.add(2);
        assert!(left_out.has(2) && !left_out.has(3));
    }
}
