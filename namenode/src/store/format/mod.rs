//! How values that are replicated or kept are encoded: protobuf (`proto/stored.proto`) in an [envelope].
//!
//! Which formats there are, and in which version: [`dfs_types::format`].

mod edits;
mod envelope;
mod outcomes;
#[cfg(test)]
mod tests;

use dfs_proto::stored;
use dfs_types::Acl;
use dfs_types::format::{FIRST_LEVEL, LEVEL};

use super::edit::{ATTRIBUTES, Outcome};
use super::position::Members;
use super::record::{Record, Residence};

pub(crate) use self::envelope::FormatError;
use self::envelope::{Kind, open, seal};

/// The highest feature level that this program knows.
pub(crate) fn known_level() -> u16 {
    #[cfg(feature = "seeded-bug")]
    if let Some(level) = crate::seeded::known_level() {
        return level;
    }
    LEVEL
}

impl Record {
    /// The feature level that it takes to apply it.
    fn level(&self) -> u16 {
        match self {
            Self::Edits(batch) => {
                let levels = batch.proposals.iter().map(|proposal| proposal.edit.level());
                levels.max().unwrap_or(FIRST_LEVEL)
            }
            Self::Moved(_) => FIRST_LEVEL,
        }
    }

    /// As it is in the log.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, FormatError> {
        seal(Kind::Record, self.level(), &stored::Record::from(self))
    }

    /// Reads the data of an entry.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        open::<stored::Record>(Kind::Record, bytes)?
            .try_into()
            .map_err(|why| FormatError::damaged(Kind::Record, why))
    }
}

impl Residence {
    /// As it is in the context of a change of members.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, FormatError> {
        seal(Kind::Residence, FIRST_LEVEL, &stored::Residence::from(self))
    }

    /// Reads such a context.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        Ok(open::<stored::Residence>(Kind::Residence, bytes)?.into())
    }
}

/// An ACL as it is in the table `inode`.
pub(crate) fn encode_acl(acl: &Acl) -> Result<Vec<u8>, FormatError> {
    seal(Kind::Acl, ATTRIBUTES, &stored::Acl::from(acl.entries().to_vec()))
}

/// Reads what is there.
pub(crate) fn decode_acl(bytes: &[u8]) -> Result<Option<Acl>, FormatError> {
    let entries = open::<stored::Acl>(Kind::Acl, bytes)?.try_into();
    entries.and_then(Acl::from_entries).map_err(|why| FormatError::damaged(Kind::Acl, why))
}

impl Outcome {
    /// As it is kept for retries.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, FormatError> {
        seal(Kind::Outcome, self.level(), &stored::Outcome::from(self))
    }

    /// Reads a kept one.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        open::<stored::Outcome>(Kind::Outcome, bytes)?
            .try_into()
            .map_err(|why| FormatError::damaged(Kind::Outcome, why))
    }
}

impl Members {
    /// As they are in the table `position`.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, FormatError> {
        seal(Kind::Members, FIRST_LEVEL, &stored::Members::from(self))
    }

    /// Reads what is there.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        Ok(open::<stored::Members>(Kind::Members, bytes)?.into())
    }
}
