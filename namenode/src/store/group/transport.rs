//! How messages reach the other members.

use std::path::PathBuf;

use dfs_namenode_raft::Envelope;

/// Carries messages of this member to others. Neither method may wait.
pub trait Transport: Send + Sync {
    /// Sends a message, or loses it and says so by [`super::Group::unreachable`].
    fn send(&self, envelope: Envelope);

    /// Sends a message together with the snapshot in a file, and tells by [`super::Group::snapshot_sent`] what became
    /// of it.
    fn send_snapshot(&self, envelope: Envelope, file: PathBuf);
}

/// For a group of one: there is nobody to send anything to.
#[derive(Debug, Clone, Copy)]
pub struct Alone;

impl Transport for Alone {
    fn send(&self, _envelope: Envelope) {}

    fn send_snapshot(&self, _envelope: Envelope, _file: PathBuf) {}
}
