//! Paths of the cluster as people type them: one reading for all commands.
//!
//! As in POSIX, several slashes are one, `.` stays where it is, `..` goes up (from the root: nowhere), and a slash at the
//! end asks for a directory. `dfs:///path` and `hdfs:///path` mean `/path`. There is no working directory, so that a path
//! that does not begin with a slash is refused.

use dfs_types::limits::MAX_PATH_BYTES;
use dfs_types::path::PathError;
use dfs_types::{ErrorCode, FsError, FsPath};

use crate::exit::{Failure, Outcome};

/// Schemes in front of a path that mean this file system.
const SCHEMES: [&str; 2] = ["dfs:", "hdfs:"];
/// Longest text taken for a path: every byte of one may be escaped.
const MAX_TEXT_BYTES: usize = 2 * MAX_PATH_BYTES;

/// What lies between the slashes of a typed path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Typed<'a> {
    /// Names, patterns and `..`, from the root down.
    pub(crate) parts: Vec<&'a str>,
    /// Only a directory can be meant: a slash, `.` or `..` is at the end.
    pub(crate) directory: bool,
    /// `.` or `..` is at the end: the source has no name of its own.
    pub(crate) nameless: bool,
}

impl<'a> Typed<'a> {
    /// Takes a typed path to pieces.
    pub(crate) fn read(text: &'a str) -> Outcome<Self> {
        if text.len() > MAX_TEXT_BYTES {
            return Err(PathError::TooLong(text.len()).into());
        }
        let path = without_scheme(text)?;
        let Some(rest) = path.strip_prefix('/') else {
            return Err(PathError::Relative(text.to_owned()).into());
        };
        let all = || rest.split('/').filter(|part| !part.is_empty());
        let nameless = matches!(all().next_back(), Some("." | ".."));
        Ok(Self {
            parts: all().filter(|part| *part != ".").collect(),
            directory: nameless || rest.is_empty() || rest.ends_with('/'),
            nameless,
        })
    }
}

fn without_scheme(text: &str) -> Outcome<&str> {
    let Some(rest) = SCHEMES.iter().find_map(|scheme| text.strip_prefix(scheme)) else { return Ok(text) };
    if rest.starts_with("//") && !rest.starts_with("///") {
        return Err(Failure::Usage(format!(
            "'{text}' names a cluster: write the path alone, beginning with '/', and name the cluster by --namenode"
        )));
    }
    Ok(rest)
}

/// A typed path that is no pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RemotePath {
    /// What it leads to.
    pub(crate) path: FsPath,
    /// Only a directory can be meant.
    pub(crate) directory: bool,
}

impl RemotePath {
    /// Reads a path.
    pub(crate) fn parse(text: &str) -> Outcome<Self> {
        let typed = Typed::read(text)?;
        let mut path = FsPath::root();
        for part in typed.parts {
            path = if part == ".." { path.parent().unwrap_or(path) } else { path.join(part)? };
        }
        Ok(Self { path, directory: typed.directory })
    }
}

/// The error of a file that was named like a directory.
pub(crate) fn not_a_directory(path: &FsPath) -> FsError {
    let message = format!("{path} is a file, not a directory: leave out what follows its name");
    FsError::new(ErrorCode::NotADirectory, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_as_posix_does() {
        for (text, path, directory) in [
            ("/", "/", true),
            ("//", "/", true),
            ("/a", "/a", false),
            ("/a/", "/a", true),
            ("/a//b", "/a/b", false),
            ("//a/./b///", "/a/b", true),
            ("/a/.", "/a", true),
            ("/a/b/..", "/a", true),
            ("/a/../../b", "/b", false),
            ("/..", "/", true),
            ("/...", "/...", false),
            ("/a/.b", "/a/.b", false),
            ("dfs:/a", "/a", false),
            ("hdfs:///a/b/", "/a/b", true),
            ("dfs:///", "/", true),
        ] {
            let expected = RemotePath { path: FsPath::parse(path).unwrap(), directory };
            assert_eq!(RemotePath::parse(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_path_is_refused() {
        let long = format!("/{}", "n/".repeat(MAX_PATH_BYTES));
        let name = format!("/{}", "n".repeat(256));
        for (text, says) in [
            ("", "start it with '/'"),
            ("a/b", "start it with '/'"),
            (".", "start it with '/'"),
            ("..", "start it with '/'"),
            ("~/a", "start it with '/'"),
            ("dfs:a", "start it with '/'"),
            ("hdfs://nn:9000/a", "--namenode"),
            ("dfs://", "--namenode"),
            ("file:///a", "start it with '/'"),
            (long.as_str(), "bytes"),
            (name.as_str(), "256 bytes"),
        ] {
            let failure = RemotePath::parse(text).unwrap_err();
            assert_eq!(failure.status(), 2, "{text}");
            assert!(failure.message().unwrap().contains(says), "{text}: {failure:?}");
        }
    }

    #[test]
    fn a_source_that_ends_in_dots_has_no_name() {
        for (text, nameless) in
            [("/a", false), ("/a/", false), ("/a/.", true), ("/a/./", true), ("/a/..", true)]
        {
            assert_eq!(Typed::read(text).unwrap().nameless, nameless, "{text}");
        }
    }
}
