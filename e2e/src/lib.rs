//! What the tests over a real local cluster share: waiting for conditions, content that can be told apart, models of the
//! namespace, and a linearizability checker.

pub mod cell;
pub mod content;
pub mod linearizability;
pub mod model;
pub mod wait;

/// Whether the long form of a test was asked for (`DFS_LONG=1`).
pub fn long_form() -> bool {
    std::env::var_os("DFS_LONG").is_some_and(|value| value != "0")
}
