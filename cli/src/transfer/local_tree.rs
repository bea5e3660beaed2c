//! Going through local folders.

use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use tokio::sync::mpsc;

use crate::exit::Failure;

/// Deepest folder that is gone into: beyond it no remote path could be short enough.
const MAX_DEPTH: usize = 2_048;

/// What was found.
#[derive(Debug)]
pub(crate) enum Found {
    /// A folder; comes before what is in it.
    Folder {
        /// Names from the root of the tree; empty for the root itself.
        relative: Vec<String>,
        path: PathBuf,
        metadata: Metadata,
    },
    /// A regular file.
    File { path: PathBuf, relative: Vec<String>, metadata: Metadata },
    /// Something that is left out, and why.
    Skipped(String),
    /// Something that can't be read or named.
    Failed(Failure),
}

/// Goes through the tree at `root`, following symbolic links but never in circles, and sends what it finds. Ends early
/// when nobody listens any more. Blocks.
pub(crate) fn walk(root: &Path, found: &mpsc::Sender<Found>) {
    let mut walk = Walk { found, above: Vec::new(), names: Vec::new() };
    // An error means that the receiver is gone: nobody wants to know more.
    let _ = walk.visit(root);
}

struct Walk<'a> {
    found: &'a mpsc::Sender<Found>,
    /// Device and inode of the folders between the root and here.
    above: Vec<(u64, u64)>,
    names: Vec<String>,
}

/// The receiver is gone.
struct Deaf;

impl Walk<'_> {
    fn send(&self, found: Found) -> Result<(), Deaf> {
        self.found.blocking_send(found).map_err(|_| Deaf)
    }

    fn visit(&mut self, path: &Path) -> Result<(), Deaf> {
        let metadata = match fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if is_dangling(path, &error) => {
                return self.send(Found::Skipped(format!("{}: the link leads nowhere", path.display())));
            }
            Err(error) => return self.send(Found::Failed(Failure::file(path, &error))),
        };
        let kind = metadata.file_type();
        if kind.is_file() {
            let relative = self.names.clone();
            return self.send(Found::File { path: path.to_owned(), relative, metadata });
        }
        if !kind.is_dir() {
            let what = if kind.is_fifo() {
                "a named pipe"
            } else if kind.is_socket() {
                "a socket"
            } else {
                "a device"
            };
            return self.send(Found::Skipped(format!("{}: {what} is no file", path.display())));
        }
        let identity = (metadata.dev(), metadata.ino());
        if self.above.contains(&identity) || self.above.len() >= MAX_DEPTH {
            return self.send(Found::Skipped(format!("{}: the link leads back into itself", path.display())));
        }
        let relative = self.names.clone();
        self.send(Found::Folder { path: path.to_owned(), relative, metadata })?;
        let mut entries = match fs::read_dir(path).and_then(Iterator::collect::<io::Result<Vec<_>>>) {
            Ok(entries) => entries,
            Err(error) => return self.send(Found::Failed(Failure::file(path, &error))),
        };
        entries.sort_by_key(fs::DirEntry::file_name);
        self.above.push(identity);
        for entry in entries {
            match entry.file_name().into_string() {
                Ok(name) => {
                    self.names.push(name);
                    self.visit(&entry.path())?;
                    self.names.pop();
                }
                Err(_) => self.send(Found::Failed(not_utf8(&entry.path())))?,
            }
        }
        self.above.pop();
        Ok(())
    }
}

fn is_dangling(path: &Path, error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound && fs::symlink_metadata(path).is_ok()
}

/// The name of a local path as the cluster can take it; none if it ends in `.` or `..`, or is `/`.
pub(crate) fn utf8_name(path: &Path) -> Result<Option<&str>, Failure> {
    own_name(path).map(|name| name.to_str().ok_or_else(|| not_utf8(path))).transpose()
}

fn own_name(path: &Path) -> Option<&OsStr> {
    // `Path` leaves a `.` at the end out: `dir/.` would be `dir`.
    let parts = path.as_os_str().as_bytes().split(|byte| *byte == b'/');
    let last = parts.rev().find(|part| !part.is_empty())?;
    (last != b"." && last != b"..").then(|| OsStr::from_bytes(last))
}

fn not_utf8(path: &Path) -> Failure {
    let shown = path.as_os_str().as_encoded_bytes().escape_ascii();
    Failure::Other(format!("{shown}: the name is not UTF-8, which the cluster needs: rename it"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn collect(root: &Path) -> (Vec<String>, Vec<String>, Vec<String>) {
        let (sender, mut receiver) = mpsc::channel(100);
        walk(root, &sender);
        drop(sender);
        let (mut entries, mut skipped, mut failed) = (Vec::new(), Vec::new(), Vec::new());
        while let Some(found) = receiver.blocking_recv() {
            match found {
                Found::Folder { relative, .. } => entries.push(format!("{}/", relative.join("/"))),
                Found::File { relative, .. } => entries.push(relative.join("/")),
                Found::Skipped(why) => skipped.push(why),
                Found::Failed(failure) => failed.push(failure.message().unwrap()),
            }
        }
        (entries, skipped, failed)
    }

    #[test]
    fn what_ends_in_dots_has_no_name() {
        for (path, name) in [
            ("a", Some("a")),
            ("/a/b//", Some("b")),
            ("a/.b", Some(".b")),
            (".", None),
            ("..", None),
            ("a/.", None),
            ("a/./", None),
            ("a/..", None),
            ("/", None),
        ] {
            assert_eq!(utf8_name(Path::new(path)).unwrap(), name, "{path}");
        }
        assert!(utf8_name(Path::new(OsStr::from_bytes(b"a/caf\xe9"))).is_err());
    }

    #[test]
    fn links_are_followed_but_not_in_circles() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::write(root.join("a/one"), "1").unwrap();
        symlink("one", root.join("a/two")).unwrap();
        symlink("..", root.join("a/b/up")).unwrap();
        symlink("nowhere", root.join("broken")).unwrap();
        symlink("a", root.join("again")).unwrap();
        let (entries, skipped, failed) = collect(root);
        let expected = ["/", "a/", "a/b/", "a/one", "a/two", "again/", "again/b/", "again/one", "again/two"];
        assert_eq!(entries, expected);
        assert_eq!(skipped.len(), 3, "{skipped:?}");
        assert!(failed.is_empty(), "{failed:?}");
    }

    #[test]
    fn what_is_no_file_is_skipped_and_a_strange_name_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
        fs::write(root.join(OsStr::from_bytes(b"caf\xe9")), "x").unwrap();
        fs::write(root.join("good"), "x").unwrap();
        let (entries, skipped, failed) = collect(root);
        assert_eq!(entries, ["/", "good"]);
        assert!(skipped.len() == 1 && skipped[0].contains("a socket"), "{skipped:?}");
        assert!(failed.len() == 1 && failed[0].contains("caf\\xe9"), "{failed:?}");
    }
}
