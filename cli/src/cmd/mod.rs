//! The commands, one module each: `Args` says how it is typed, `Args::run` does it.

pub(crate) mod admin;
pub(crate) mod cat;
pub(crate) mod checksum;
pub(crate) mod chmod;
pub(crate) mod chown;
pub(crate) mod completions;
pub(crate) mod cp;
pub(crate) mod df;
pub(crate) mod du;
pub(crate) mod find;
pub(crate) mod fsck;
pub(crate) mod get;
pub(crate) mod info;
pub(crate) mod local;
pub(crate) mod ls;
pub(crate) mod mkdir;
pub(crate) mod mv;
pub(crate) mod put;
pub(crate) mod report;
pub(crate) mod rm;
pub(crate) mod safemode;
pub(crate) mod setrep;
pub(crate) mod stat;
pub(crate) mod tail;
pub(crate) mod touch;
