//! Which groups users are in, as administrators are told it.

use std::fmt;
use std::str::FromStr;

/// What a NameNode believes about the groups of who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupSource {
    /// What each request says.
    Caller,
    /// A file in the format of `/etc/group`, by its path; whoever is not in it has no groups.
    File(String),
}

impl fmt::Display for GroupSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Caller => f.write_str("caller"),
            Self::File(path) => write!(f, "file:{path}"),
        }
    }
}

/// A text that names no source of groups.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' names no source of groups: write caller or file:PATH")]
pub struct NoSource(String);

impl FromStr for GroupSource {
    type Err = NoSource;

    fn from_str(text: &str) -> Result<Self, NoSource> {
        match text.strip_prefix("file:") {
            Some(path) if !path.is_empty() => Ok(Self::File(path.to_owned())),
            None if text == "caller" => Ok(Self::Caller),
            Some(_) | None => Err(NoSource(text.to_owned())),
        }
    }
}

/// Where groups come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupOrigin {
    /// The source.
    pub source: GroupSource,
    /// Why the file is not used as it is now; then what it said before counts.
    pub problem: Option<String>,
}

/// The groups of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserGroups {
    /// Who.
    pub user: String,
    /// The groups, the primary one first; `None` if only the user's own requests say them.
    pub groups: Option<Vec<String>>,
}

/// The groups of some users.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupReport {
    /// In the order asked for.
    pub users: Vec<UserGroups>,
    /// Where they come from.
    pub origin: GroupOrigin,
}

/// Who may do anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Superusers {
    /// The user who runs the NameNode.
    pub user: String,
    /// The group whose members may do the same.
    pub group: String,
    /// They, ordered by name; `None` if only requests say who they are.
    pub members: Option<Vec<String>>,
    /// Where groups come from.
    pub origin: GroupOrigin,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_read_as_it_is_written() {
        for source in [GroupSource::Caller, GroupSource::File("/etc/dfs/groups".into())] {
            assert_eq!(source.to_string().parse(), Ok(source));
        }
        for text in ["", "Caller", "file:", "file", "/etc/group", "ldap://x"] {
            let error = text.parse::<GroupSource>().unwrap_err().to_string();
            assert!(error.contains("file:PATH"), "{error}");
        }
    }
}
