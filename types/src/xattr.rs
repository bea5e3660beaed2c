//! Extended attributes: named values of files and directories, as HDFS and Linux have them.

use std::fmt;
use std::str::FromStr;

use crate::limits::MAX_XATTR_BYTES;
use crate::{FsError, FsResult};

/// Who may see and set an attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum XattrSpace {
    /// Who may read the file sees it, who may write it sets it.
    User,
    /// For superusers.
    Trusted,
    /// For the file system itself.
    Security,
    /// For the file system itself.
    System,
    /// For superusers, who copy what the file system keeps as it is.
    Raw,
}

impl XattrSpace {
    const ALL: [Self; 5] = [Self::User, Self::Trusted, Self::Security, Self::System, Self::Raw];

    /// What names begin with, before the dot.
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Trusted => "trusted",
            Self::Security => "security",
            Self::System => "system",
            Self::Raw => "raw",
        }
    }
}

/// Name of an extended attribute, such as `user.origin`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct XattrName {
    space: XattrSpace,
    name: String,
}

impl XattrName {
    /// Checks a name.
    pub fn new(space: XattrSpace, name: String) -> FsResult<Self> {
        if name.is_empty() || name.len() > MAX_XATTR_BYTES {
            return Err(FsError::invalid(format!(
                "the XAttr name has {} bytes after '{}.': 1 to {MAX_XATTR_BYTES} are allowed",
                name.len(),
                space.prefix()
            )));
        }
        Ok(Self { space, name })
    }

    /// Who may see and set it.
    pub const fn space(&self) -> XattrSpace {
        self.space
    }

    /// What follows the dot.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl FromStr for XattrName {
    type Err = FsError;

    /// The prefix may be in capitals, as in HDFS.
    fn from_str(text: &str) -> FsResult<Self> {
        let named = text.split_once('.').and_then(|(prefix, name)| {
            let space = XattrSpace::ALL.into_iter().find(|space| space.prefix().eq_ignore_ascii_case(prefix));
            space.map(|space| (space, name))
        });
        let Some((space, name)) = named else {
            return Err(FsError::invalid(
                "an XAttr name must be prefixed with user/trusted/security/system/raw, followed by a '.'",
            ));
        };
        Self::new(space, name.to_owned())
    }
}

impl fmt::Display for XattrName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.space.prefix(), self.name)
    }
}

/// An extended attribute with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Xattr {
    /// Its name.
    pub name: XattrName,
    /// Its value, which may be empty.
    pub value: Vec<u8>,
}

impl Xattr {
    /// Refuses one that is too large.
    pub fn check(&self) -> FsResult<()> {
        let bytes = self.name.name().len() + self.value.len();
        if bytes <= MAX_XATTR_BYTES {
            return Ok(());
        }
        Err(FsError::invalid(format!(
            "the XAttr is too big: name and value have {bytes} bytes, at most {MAX_XATTR_BYTES} are allowed"
        )))
    }
}

/// What setting an attribute does with one of that name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum XattrSetFlag {
    /// Replaces it if it is there.
    #[default]
    CreateOrReplace,
    /// Fails if it is there.
    Create,
    /// Fails if it is not there.
    Replace,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_a_prefix_and_more() {
        for (text, shown) in
            [("user.a", "user.a"), ("USER.a.b", "user.a.b"), ("trusted. ", "trusted. "), ("raw.ü", "raw.ü")]
        {
            assert_eq!(text.parse::<XattrName>().unwrap().to_string(), shown);
        }
        let long = format!("user.{}", "n".repeat(MAX_XATTR_BYTES + 1));
        for text in ["", "user", "user.", "a", ".a", "own.a", &long] {
            assert!(text.parse::<XattrName>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn name_and_value_share_their_limit() {
        let of = |value| Xattr { name: "user.1234".parse().unwrap(), value: vec![0; value] };
        assert!(of(MAX_XATTR_BYTES - 4).check().is_ok());
        assert!(of(MAX_XATTR_BYTES - 3).check().unwrap_err().message.contains("16385 bytes"));
    }
}
