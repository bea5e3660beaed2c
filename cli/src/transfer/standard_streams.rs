//! Local paths that are standard streams of this process: `/dev/stdin`, `/dev/fd/1`, and links to them.

use std::fs;
use std::path::{Path, PathBuf};

use dfs_descriptors::Stream;

use crate::exit::{Failure, Outcome};

/// Most symbolic links that are followed, as on Linux.
const MAX_LINKS: usize = 40;

/// Refuses a path that is a stream which this process was started without: `/dev/null` is in its place, so that what is
/// written there would be lost, and what is read be nothing. Blocks.
pub(crate) fn check_given(path: &Path) -> Outcome {
    match stream(path) {
        Some(stream) if !stream.was_given() => Err(Failure::Other(format!(
            "{}: the command was started with this stream closed: open it, or name a file",
            path.display()
        ))),
        Some(_) | None => Ok(()),
    }
}

/// The standard stream that a path leads to. Blocks.
pub(crate) fn stream(path: &Path) -> Option<Stream> {
    let streams = fs::canonicalize("/proc/self/fd").ok()?;
    let mut path = path.to_owned();
    for _ in 0..=MAX_LINKS {
        let folder = path.parent().and_then(|folder| fs::canonicalize(folder).ok());
        if folder.as_ref() == Some(&streams) {
            return match path.file_name()?.to_str()? {
                "0" => Some(Stream::Input),
                "1" => Some(Stream::Output),
                "2" => Some(Stream::Error),
                _ => None,
            };
        }
        path = behind(&path)?;
    }
    None
}

/// What a symbolic link leads to.
fn behind(path: &Path) -> Option<PathBuf> {
    let link = fs::read_link(path).ok()?;
    Some(path.parent().map_or_else(|| link.clone(), |folder| folder.join(&link)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn streams_are_known_by_every_name() {
        let folder = tempfile::tempdir().unwrap();
        let (link, file) = (folder.path().join("link"), folder.path().join("file"));
        symlink("/dev/stdout", &link).unwrap();
        fs::write(&file, "x").unwrap();
        for (path, expected) in [
            ("/dev/stdin", Some(Stream::Input)),
            ("/dev/fd/0", Some(Stream::Input)),
            ("/dev/stdout", Some(Stream::Output)),
            ("/proc/self/fd/2", Some(Stream::Error)),
            ("/dev/./fd//1", Some(Stream::Output)),
            ("/dev/fd/3", None),
            ("/dev/fd", None),
            ("/dev/null", None),
            ("/", None),
            ("nowhere", None),
        ] {
            assert_eq!(stream(Path::new(path)), expected, "{path}");
        }
        assert_eq!(stream(&link), Some(Stream::Output));
        assert_eq!(stream(&file), None);
        check_given(&file).unwrap();
    }
}
