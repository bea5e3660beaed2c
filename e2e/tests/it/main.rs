//! Tests over real processes on this machine. Build the daemons first: `cargo build --workspace --bins`.

mod crash;
mod faults;
mod files;
mod protocol;
