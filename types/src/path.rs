//! Validated absolute paths.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::limits::{MAX_NAME_BYTES, MAX_PATH_BYTES};

/// Why a text is not a path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It does not start with `/`.
    #[error("path '{0}' is not absolute: start it with '/'")]
    Relative(String),
    /// The whole is longer than [`MAX_PATH_BYTES`].
    #[error("the path has {0} bytes: at most {MAX_PATH_BYTES} are allowed")]
    TooLong(usize),
    /// A part is longer than [`MAX_NAME_BYTES`].
    #[error("the name '{name}…' has {bytes} bytes: at most {MAX_NAME_BYTES} are allowed")]
    NameTooLong {
        /// How the name begins.
        name: String,
        /// Its length.
        bytes: usize,
    },
    /// A part is empty (`//` or a trailing `/`).
    #[error("path '{0}' has an empty part: remove the doubled or trailing '/'")]
    EmptyPart(String),
    /// A part is `.` or `..`.
    #[error("path '{path}' has the part '{part}': write the path without '.' and '..'")]
    DotPart {
        /// The path.
        path: String,
        /// The part, `.` or `..`.
        part: String,
    },
    /// A part contains NUL.
    #[error("the path contains a NUL byte: remove it")]
    Nul,
}

/// An absolute, normalised path: `/` or `/part/part…`, each part 1 to 255 bytes of UTF-8 without `/` and NUL, never
/// `.` or `..`, the whole at most 4,096 bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FsPath(String);

impl FsPath {
    /// The root directory.
    pub fn root() -> Self {
        Self("/".to_owned())
    }

    /// Checks `text` and makes it a path.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        if text.len() > MAX_PATH_BYTES {
            return Err(PathError::TooLong(text.len()));
        }
        let Some(rest) = text.strip_prefix('/') else {
            return Err(PathError::Relative(text.to_owned()));
        };
        if rest.is_empty() {
            return Ok(Self::root());
        }
        for part in rest.split('/') {
            if part.is_empty() {
                return Err(PathError::EmptyPart(text.to_owned()));
            }
            check_name(part).map_err(|error| match error {
                PathError::DotPart { part, .. } => PathError::DotPart { path: text.to_owned(), part },
                other => other,
            })?;
        }
        Ok(Self(text.to_owned()))
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is `/`.
    pub fn is_root(&self) -> bool {
        self.0.len() == 1
    }

    /// The parts from the root down; none for `/`.
    pub fn parts(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/').filter(|part| !part.is_empty())
    }

    /// The last part; `None` for `/`.
    pub fn name(&self) -> Option<&str> {
        self.parts().next_back()
    }

    /// The directory that holds this entry; `None` for `/`.
    pub fn parent(&self) -> Option<Self> {
        let (parent, _) = self.0.rsplit_once('/')?;
        match (self.is_root(), parent) {
            (true, _) => None,
            (false, "") => Some(Self::root()),
            (false, parent) => Some(Self(parent.to_owned())),
        }
    }

    /// The entry `name` of this directory.
    pub fn join(&self, name: &str) -> Result<Self, PathError> {
        let separator = if self.is_root() { "" } else { "/" };
        Self::parse(&format!("{}{separator}{name}", self.0))
    }

    /// Whether `self` is `ancestor` or lies below it.
    pub fn starts_with(&self, ancestor: &Self) -> bool {
        ancestor.is_root()
            || self.0.strip_prefix(&ancestor.0).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

/// Checks one directory entry's name.
pub fn check_name(name: &str) -> Result<(), PathError> {
    if name.is_empty() || name.contains('/') {
        return Err(PathError::EmptyPart(name.to_owned()));
    }
    if name == "." || name == ".." {
        return Err(PathError::DotPart { path: name.to_owned(), part: name.to_owned() });
    }
    if name.contains('\0') {
        return Err(PathError::Nul);
    }
    if name.len() > MAX_NAME_BYTES {
        return Err(PathError::NameTooLong { name: name.chars().take(20).collect(), bytes: name.len() });
    }
    Ok(())
}

impl fmt::Display for FsPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for FsPath {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl TryFrom<String> for FsPath {
    type Error = PathError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<FsPath> for String {
    fn from(path: FsPath) -> Self {
        path.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn accepts_what_posix_names_allow() {
        for text in ["/", "/a", "/a/b c/ü", "/...", "/a:b", "/-", "/\u{1f980}"] {
            assert_eq!(FsPath::parse(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn refuses_with_a_reason() {
        let long = format!("/{}", "n".repeat(256));
        let deep = "/abcdefg".repeat(513);
        for (text, says) in [
            ("", "not absolute"),
            ("a/b", "not absolute"),
            ("//", "empty part"),
            ("/a//b", "empty part"),
            ("/a/", "empty part"),
            ("/a/./b", "'.'"),
            ("/..", "'..'"),
            ("/a\0", "NUL"),
            (long.as_str(), "256 bytes"),
            (deep.as_str(), "4104 bytes"),
        ] {
            let message = FsPath::parse(text).unwrap_err().to_string();
            assert!(message.contains(says), "{text}: {message}");
        }
    }

    #[test]
    fn knows_parents_and_ancestors() {
        let path = FsPath::parse("/a/b").unwrap();
        assert_eq!(path.parent().unwrap().as_str(), "/a");
        assert_eq!(path.parent().unwrap().parent().unwrap(), FsPath::root());
        assert_eq!(FsPath::root().parent(), None);
        assert_eq!(path.name(), Some("b"));
        assert!(path.starts_with(&FsPath::parse("/a").unwrap()));
        assert!(path.starts_with(&path));
        assert!(!FsPath::parse("/ab").unwrap().starts_with(&FsPath::parse("/a").unwrap()));
    }

    proptest! {
        #[test]
        fn parse_never_panics_and_keeps_the_text(text in "\\PC{0,64}") {
            if let Ok(path) = FsPath::parse(&text) {
                prop_assert_eq!(path.as_str(), text);
            }
        }

        #[test]
        fn parts_rebuild_the_path(parts in proptest::collection::vec("[a-z.]{3,9}", 0..6)) {
            let mut path = FsPath::root();
            for part in &parts {
                path = path.join(part).unwrap();
            }
            prop_assert_eq!(path.parts().collect::<Vec<_>>(), parts);
        }
    }
}
