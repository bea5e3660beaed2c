//! The data port: wire on one side, sessions on the other.

pub(crate) mod data;
