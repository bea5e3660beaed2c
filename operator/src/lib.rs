//! The operator: makes a `DfsCluster` real and keeps it so.
//!
//! Looking, deciding and acting are apart: [`observe`] reduces what is there to plain values, [`build`], [`plan`] and [`status`]
//! decide and do no I/O, [`controller`] feeds them and obeys.

pub mod apply;
pub mod build;
pub mod config;
pub mod controller;
pub mod events;
pub mod filesystem;
pub mod lease;
pub mod metrics;
pub mod observe;
pub mod plan;
pub mod rbac;
pub mod run;
pub mod status;
pub mod watch;
