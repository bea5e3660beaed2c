//! The daemons of a local cluster: what they are called, and how many there may be.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Most DataNodes of a local cluster: more say nothing new on one machine.
pub const MAX_DATANODES: u16 = 64;
/// Most NameNodes of a local cluster. One does without a group, three survive the loss of any one of them.
pub const MAX_NAMENODES: u16 = 5;

/// One process of a local cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Daemon {
    /// A NameNode by its number, from 1.
    NameNode(u16),
    /// A DataNode by its number, from 1.
    DataNode(u16),
}

impl fmt::Display for Daemon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NameNode(number) => f.pad(&format!("namenode-{number}")),
            Self::DataNode(number) => f.pad(&format!("datanode-{number}")),
        }
    }
}

impl FromStr for Daemon {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let number = |number: &str| number.parse().ok().filter(|number| *number > 0);
        match text.split_once('-') {
            Some(("namenode", text)) => number(text).map(Self::NameNode),
            Some(("datanode", text)) => number(text).map(Self::DataNode),
            _ => None,
        }
        .ok_or_else(|| format!("'{text}' is no daemon: use namenode-1, datanode-1, datanode-2 …"))
    }
}

impl TryFrom<String> for Daemon {
    type Error = String;

    fn try_from(text: String) -> std::result::Result<Self, String> {
        text.parse()
    }
}

impl From<Daemon> for String {
    fn from(daemon: Daemon) -> Self {
        daemon.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_daemons_are_read_back() {
        for daemon in [Daemon::NameNode(1), Daemon::NameNode(3), Daemon::DataNode(1), Daemon::DataNode(17)] {
            assert_eq!(daemon.to_string().parse(), Ok(daemon));
        }
        for text in
            ["", "namenode", "namenode-0", "datanode", "datanode-", "datanode-0", "datanode--1", "NameNode"]
        {
            assert!(text.parse::<Daemon>().is_err(), "{text}");
        }
    }
}
