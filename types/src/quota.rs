//! Limits of what the tree at a directory may take.

use serde::{Deserialize, Serialize};

/// What a directory may take at most, as HDFS's name and space quotas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Quota {
    /// Files and directories, the directory itself among them; `None`: as many as fit.
    pub names: Option<u64>,
    /// Bytes times the replicas wanted of them; `None`: as many as fit.
    pub space: Option<u64>,
}

/// What becomes of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LimitChange {
    /// It stays as it is.
    #[default]
    Keep,
    /// There is none any more.
    Clear,
    /// It is this from now on.
    Set(u64),
}

impl LimitChange {
    /// The limit after the change of one that was `present`.
    pub fn after(self, present: Option<u64>) -> Option<u64> {
        match self {
            Self::Keep => present,
            Self::Clear => None,
            Self::Set(limit) => Some(limit),
        }
    }
}
