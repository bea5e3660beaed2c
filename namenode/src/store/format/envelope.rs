//! What stands before every stored value.
//!
//! ```text
//! CRC32C u32 of all that follows, kind u8, version of the envelope u8, level u16, length of the body u32, body
//! ```
//!
//! Numbers are little-endian. `level` is the feature level of the cluster that a program must know to read the value: one
//! that does not refuses, instead of passing over what it does not understand.

use dfs_types::checksum::crc32c;
use dfs_types::format::STORED_VALUE;
use prost::Message;

use super::known_level;

/// Bytes before the body.
const HEADER: usize = 12;
/// Version of the envelope.
const VERSION: u8 = STORED_VALUE.version as u8;
/// Bytes of the checksum, which stands first.
const CHECKSUM: usize = 4;

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// An entry of the log.
    Record = 1,
    /// A member's address, beside the change that takes it in.
    Residence = 2,
    /// What an edit answered.
    Outcome = 3,
    /// Who belongs to the group.
    Members = 4,
    /// An ACL.
    Acl = 5,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Record => "log entry",
            Self::Residence => "member's address",
            Self::Outcome => "kept outcome",
            Self::Members => "list of members",
            Self::Acl => "ACL",
        }
    }
}

/// Why a stored value can't be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FormatError {
    /// It was written by a program of a later release.
    #[error(
        "a {what} needs feature level {needed}, and this program (release {release}) knows levels up to {known}: start a \
         release that knows level {needed}",
        release = env!("CARGO_PKG_VERSION")
    )]
    TooNew {
        /// What it is.
        what: &'static str,
        /// The level.
        needed: u16,
        /// The highest that this program knows.
        known: u16,
    },
    /// It is not what was written.
    #[error("a {what} is damaged ({why}): check the disk")]
    Damaged {
        /// What it should be.
        what: &'static str,
        /// How that shows.
        why: String,
    },
    /// It has more bytes than an envelope takes.
    #[error("a {what} of {bytes} bytes is too large to be stored")]
    TooLarge {
        /// What it is.
        what: &'static str,
        /// Its bytes.
        bytes: usize,
    },
}

impl FormatError {
    pub(super) fn damaged(kind: Kind, why: impl ToString) -> Self {
        Self::Damaged { what: kind.name(), why: why.to_string() }
    }
}

/// Puts a value of a cluster with this feature level in an envelope.
pub(super) fn seal(kind: Kind, level: u16, value: &impl Message) -> Result<Vec<u8>, FormatError> {
    let bytes = value.encoded_len();
    let length = u32::try_from(bytes).map_err(|_| FormatError::TooLarge { what: kind.name(), bytes })?;
    let mut sealed = Vec::with_capacity(HEADER + bytes);
    sealed.extend_from_slice(&[0; CHECKSUM]);
    sealed.extend_from_slice(&[kind as u8, VERSION]);
    sealed.extend_from_slice(&level.to_le_bytes());
    sealed.extend_from_slice(&length.to_le_bytes());
    value.encode_raw(&mut sealed);
    if let Some((checksum, rest)) = sealed.split_first_chunk_mut::<CHECKSUM>() {
        *checksum = crc32c(rest).to_le_bytes();
    }
    Ok(sealed)
}

/// Reads the value in an envelope that must be of this kind.
pub(super) fn open<M: Message + Default>(kind: Kind, bytes: &[u8]) -> Result<M, FormatError> {
    let damaged = |why: &str| FormatError::damaged(kind, why);
    let (checksum, rest) = bytes.split_first_chunk::<CHECKSUM>().ok_or_else(|| damaged("it is too short"))?;
    if u32::from_le_bytes(*checksum) != crc32c(rest) {
        return Err(damaged("its checksum does not match"));
    }
    let (header, body) =
        rest.split_first_chunk::<{ HEADER - CHECKSUM }>().ok_or_else(|| damaged("it is too short"))?;
    let [found, version, l0, l1, n0, n1, n2, n3] = *header;
    if (found, version) != (kind as u8, VERSION)
        || u32::from_le_bytes([n0, n1, n2, n3]) as usize != body.len()
    {
        return Err(damaged("it is something else"));
    }
    let needed = u16::from_le_bytes([l0, l1]);
    let known = known_level();
    if needed > known {
        return Err(FormatError::TooNew { what: kind.name(), needed, known });
    }
    M::decode(body).map_err(|error| damaged(&error.to_string()))
}
