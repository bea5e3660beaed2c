//! A log file that never grows beyond a limit: a full one is renamed, and the oldest goes.
//!
//! ```text
//! x.log       being written
//! x.log.1     the one before
//! x.log.2     the one before that …
//! ```

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A file of lines that is replaced when it is full. It is opened when there is something to write, and again if it could
/// not be, was removed or was cut: a disk that is away does not matter, and one that comes back is used.
#[derive(Debug)]
pub struct RotatedFile {
    path: PathBuf,
    /// Most bytes of one file.
    max_bytes: u64,
    /// Most files, the one being written included; at least 1.
    files: u32,
    open: Option<File>,
}

impl RotatedFile {
    /// Lines go to `path` and, when it has `max_bytes`, to a new one there, of which `files` are kept.
    pub fn new(path: PathBuf, max_bytes: u64, files: u32) -> Self {
        Self { path, max_bytes, files: files.max(1), open: None }
    }

    /// Opens the file now. Errors: why it can't be opened; it is tried again with every write.
    pub fn open(&mut self) -> io::Result<()> {
        self.opened().map(drop)
    }

    /// The file, opened unless it is, and its length.
    fn opened(&mut self) -> io::Result<(&mut File, u64)> {
        let known = self.open.take().and_then(|file| Some((file.metadata().ok()?, file)));
        let (meta, file) = if let Some(known) = known.filter(|(meta, _)| meta.nlink() > 0) {
            known
        } else {
            let file = OpenOptions::new().create(true).append(true).open(&self.path)?;
            (file.metadata()?, file)
        };
        Ok((self.open.insert(file), meta.len()))
    }

    /// Makes room for another file. Afterwards the file is empty, whatever becomes of the former ones.
    fn rotate(&mut self) -> io::Result<()> {
        for number in (1..self.files - 1).rev() {
            // One that is not there leaves a gap, which fills.
            let _gap = fs::rename(numbered(&self.path, number), numbered(&self.path, number + 1));
        }
        if self.files > 1 && fs::rename(&self.path, numbered(&self.path, 1)).is_ok() {
            self.open = None;
            return Ok(());
        }
        // Where nothing can be renamed the limit holds nevertheless.
        self.opened()?.0.set_len(0)
    }
}

impl Write for RotatedFile {
    /// Writes whole lines as long as they fit; a line that is longer than a file gets one of its own.
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        let (_, length) = self.opened()?;
        let mut fitting = whole_lines(lines, self.max_bytes.saturating_sub(length));
        if fitting == 0 {
            if length > 0 {
                self.rotate()?;
            }
            fitting = whole_lines(lines, self.max_bytes).max(first_line(lines));
        }
        self.opened()?.0.write(&lines[..fitting])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Bytes of the lines at the beginning that take `room` bytes at most.
fn whole_lines(lines: &[u8], room: u64) -> usize {
    let room = usize::try_from(room).unwrap_or(usize::MAX);
    if lines.len() <= room {
        return lines.len();
    }
    lines[..room].iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1)
}

fn first_line(lines: &[u8]) -> usize {
    lines.iter().position(|byte| *byte == b'\n').map_or(lines.len(), |end| end + 1)
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(format!(".{number}"));
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &Path) -> String {
        fs::read_to_string(path).unwrap_or_else(|error| format!("({:?})", error.kind()))
    }

    #[test]
    fn full_files_are_renamed_and_the_oldest_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.log");
        let mut file = RotatedFile::new(path.clone(), 10, 3);
        file.write_all(b"aaaa\nbbbb\ncccc\n").unwrap();
        assert_eq!(
            (read(&path), read(&numbered(&path, 1))),
            ("cccc\n".to_owned(), "aaaa\nbbbb\n".to_owned())
        );
        // What another run left counts.
        let mut file = RotatedFile::new(path.clone(), 10, 3);
        file.write_all(b"dddd\neeee\nffff\ngggg\nhhhh\n").unwrap();
        assert_eq!(read(&path), "gggg\nhhhh\n");
        assert_eq!(read(&numbered(&path, 1)), "eeee\nffff\n");
        assert_eq!(read(&numbered(&path, 2)), "cccc\ndddd\n");
        assert!(!numbered(&path, 3).exists());
        let longer = b"a line that is longer than a file\n";
        file.write_all(longer).unwrap();
        assert_eq!(read(&path).as_bytes(), longer);
        file.write_all(b"i\n").unwrap();
        assert_eq!((read(&path).as_str(), read(&numbered(&path, 1)).as_bytes()), ("i\n", &longer[..]));
    }

    #[test]
    fn one_file_begins_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.log");
        let mut file = RotatedFile::new(path.clone(), 10, 1);
        file.write_all(b"aaaa\nbbbb\ncccc\n").unwrap();
        assert_eq!(read(&path), "cccc\n");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_is_not_there_is_made_as_soon_as_it_can_be() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("logs/x.log");
        let mut file = RotatedFile::new(path.clone(), 100, 3);
        assert!(file.open().is_err() && file.write(b"lost\n").is_err());
        fs::create_dir(folder.path().join("logs")).unwrap();
        file.write_all(b"a\n").unwrap();
        fs::remove_file(&path).unwrap();
        file.write_all(b"b\n").unwrap();
        assert_eq!(read(&path), "b\n");
        fs::write(&path, "").unwrap();
        file.write_all(b"c\n").unwrap();
        assert_eq!(read(&path), "c\n");
    }

    #[test]
    fn the_limit_holds_where_nothing_can_be_renamed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.log");
        // A directory with something in it can't be replaced by a file.
        fs::create_dir_all(numbered(&path, 1).join("in-the-way")).unwrap();
        let mut file = RotatedFile::new(path.clone(), 10, 2);
        file.write_all(b"aaaa\nbbbb\ncccc\n").unwrap();
        assert_eq!(read(&path), "cccc\n");
    }
}
