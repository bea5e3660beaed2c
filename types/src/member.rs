//! The NameNodes of a group, and how far the upgrade of their cluster is.

/// What a member of the group of NameNodes is, as the one that is asked sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberRole {
    /// It leads.
    Leader,
    /// It votes.
    Follower,
    /// It gets every change and does not vote yet.
    Learner,
    /// It looks for votes: no leader is known.
    Candidate,
    /// The leader has not heard of it lately.
    Unreachable,
}

/// One NameNode of the group, as the one that is asked sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamenodeMember {
    /// Its id in the group, never given to another.
    pub id: u64,
    /// `HOST:PORT`.
    pub address: String,
    /// Its process id on its machine; `None` if not known.
    pub pid: Option<u32>,
    /// What it is at present.
    pub role: MemberRole,
    /// The term of the one that is asked.
    pub term: u64,
    /// Index of the last log entry in its database, as far as known.
    pub applied: u64,
    /// Log entries that it is behind the one that is asked.
    pub lag: u64,
    /// What is wrong with it, in a sentence.
    pub note: Option<String>,
    /// The highest feature level that its program knows, as far as known.
    pub level: Option<u32>,
    /// The release of its program, as far as known.
    pub release: Option<String>,
}

/// How far the upgrade of a cluster is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upgrade {
    /// The cluster's feature level: what is replicated is written so that programs that know it can read it.
    pub level: u32,
    /// The highest level that the leader's program knows. While it is above the cluster's, the upgrade is not finalized, and
    /// the programs of the release before can still be gone back to.
    pub highest: u32,
    /// Why it can't be finalized now, in a sentence; `None` if it can, or if it is.
    pub hindrance: Option<String>,
    /// The NameNodes, with what they know.
    pub members: Vec<NamenodeMember>,
}
