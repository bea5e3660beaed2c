//! Tests over real processes on this machine. Build the daemons first: `cargo build --workspace --bins`.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "only for tests and measurements: it may end where nobody takes what it says"
)]

mod command_line;
mod crash;
mod crowds;
mod differential;
mod duty;
mod ends;
mod failover;
mod faults;
mod faults_pipeline;
mod files;
mod followers;
mod golden;
mod habits;
mod history;
mod identity;
mod killed_puts;
mod origins;
mod power;
mod protocol;
mod small_files;
mod stage;
mod streams;
mod writers;
