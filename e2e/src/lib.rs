//! What the tests over a real local cluster share: waiting for conditions, content that can be told apart, models of the
//! namespace, a linearizability checker, and a network and clocks that can be disturbed.

pub mod cell;
pub mod clocks;
pub mod content;
pub mod linearizability;
pub mod model;
pub mod network;
pub mod wait;

/// Whether the long form of a test was asked for (`DFS_LONG=1`).
pub fn long_form() -> bool {
    std::env::var_os("DFS_LONG").is_some_and(|value| value != "0")
}
