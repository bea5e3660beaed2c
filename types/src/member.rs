//! What a NameNode is in its group.

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
