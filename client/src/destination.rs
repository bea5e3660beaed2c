//! Where bytes of the cluster go on this machine.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use dfs_types::{ErrorCode, FsError, FsResult};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

/// Most symbolic links that are followed, as on Linux.
const MAX_LINKS: usize = 40;

/// What may happen to what is at the target, and how a new file is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DestinationOptions {
    /// A regular file gives way. It keeps its permission bits and, if the caller may give files away, its owner.
    pub replace: bool,
    /// A device, named pipe or open descriptor (`/dev/stdout`, `/dev/fd/3`) is written to; otherwise it is refused.
    pub special: bool,
    /// Permission bits of a new file, before the umask.
    pub mode: u32,
}

/// A local target being written.
///
/// A regular file is written under a hidden name beside the target and gets its name by [`Destination::publish`]: nobody
/// sees half a file, and one that is dropped before is removed, also if its folder was moved meanwhile. A symbolic link
/// is followed and stays. Other names (hard links) of a replaced file keep the old content. Anything but a regular file
/// is never replaced: it is written through as the bytes come.
#[derive(Debug)]
pub struct Destination {
    target: PathBuf,
    file: File,
    /// `None`: written through.
    hidden: Option<Hidden>,
}

/// A file that has no name of its own yet.
#[derive(Debug)]
struct Hidden {
    folder: OwnedFd,
    name: OsString,
    /// Its name until then.
    temporary: OsString,
    replace: bool,
}

/// What is at a target, behind all symbolic links.
enum Place {
    /// Nothing.
    Vacant(PathBuf),
    /// A regular file.
    Regular(PathBuf, Metadata),
    /// A device or named pipe.
    Device(PathBuf, &'static str),
    /// A file that this process has open.
    Open(PathBuf),
}

impl Destination {
    /// Opens a target. Blocks: on a named pipe until somebody reads from it.
    ///
    /// Errors: `AlreadyExists` for a regular file that may not be replaced; `InvalidArgument` for what is special if that
    /// was not asked for; `IsADirectory`; `Io` for everything else, with the target named.
    pub fn open(target: &Path, options: DestinationOptions) -> FsResult<Self> {
        let DestinationOptions { replace, special, mode } = options;
        let target = target.to_owned();
        let failed = |error: io::Error| at(&target, &error);
        let through = |path: PathBuf, how: &mut OpenOptions, what: &str| {
            if !special {
                let text = format!("{} is {what}: it is not replaced by a file", target.display());
                return Err(FsError::invalid(text));
            }
            Ok(Self { target: target.clone(), file: how.open(path).map_err(failed)?, hidden: None })
        };
        let (path, former) = match look(&target)? {
            Place::Device(path, what) => return through(path, OpenOptions::new().write(true), what),
            // Appending loses nothing that is in the file already.
            Place::Open(path) => return through(path, OpenOptions::new().append(true), "an open file"),
            Place::Regular(..) if !replace => return Err(exists(&target)),
            Place::Regular(path, former) => (path, Some(former)),
            Place::Vacant(path) => (path, None),
        };
        let Some(name) = path.file_name() else {
            return Err(FsError::new(ErrorCode::IsADirectory, format!("{} is a folder", target.display())));
        };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let folder =
            rustix::fs::open(folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
                .map_err(|error| failed(error.into()))?;
        let temporary = hidden_name();
        let first_mode = if former.is_some() { 0o600 } else { mode };
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&folder, &temporary, flags, Mode::from_raw_mode(first_mode & 0o777))
            .map_err(|error| failed(error.into()))?;
        let this = Self {
            target: target.clone(),
            file: File::from(file),
            hidden: Some(Hidden { folder, name: name.to_owned(), temporary, replace }),
        };
        if let Some(former) = former {
            this.take_over(&former).map_err(failed)?;
        }
        Ok(this)
    }

    /// Whether the target is written through, so that there is nothing to publish or to remove.
    pub fn is_special(&self) -> bool {
        self.hidden.is_none()
    }

    /// The target, as it was named.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// The file being written.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Takes all of `bytes`. Blocks.
    pub fn write(&mut self, bytes: &[u8]) -> FsResult<()> {
        self.file.write_all(bytes).map_err(|error| at(&self.target, &error))
    }

    /// The content is complete: the file gets its name; with `sync` both are on the disk before this returns. Blocks.
    ///
    /// Errors: `AlreadyExists` if something came to the target meanwhile that may not be replaced; `Io`. Then the target
    /// is as it was.
    pub fn publish(mut self, sync: bool) -> FsResult<()> {
        let failed = |error: io::Error| at(&self.target, &error);
        let Some(hidden) = &self.hidden else {
            let synced = if sync { self.file.sync_all() } else { Ok(()) };
            // Pipes and most devices have nothing to sync, and say so. Anything else, as no room, tells of a loss.
            let nothing_to_sync =
                [Errno::INVAL, Errno::NOTSUP, Errno::ROFS, Errno::NOSYS].map(Errno::raw_os_error);
            return match synced {
                Err(error) if error.raw_os_error().is_some_and(|code| nothing_to_sync.contains(&code)) => {
                    Ok(())
                }
                synced => synced.map_err(failed),
            };
        };
        if sync {
            self.file.sync_all().map_err(failed)?;
        }
        hidden.publish().map_err(|error| match error {
            Errno::EXIST => exists(&self.target),
            error => failed(error.into()),
        })?;
        let folder = self.hidden.take().map(|hidden| hidden.folder);
        if let Some(folder) = folder.filter(|_| sync) {
            let readable = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            rustix::fs::openat(folder, ".", readable, Mode::empty())
                .and_then(rustix::fs::fsync)
                .map_err(|error| at(&self.target, &error.into()))?;
        }
        Ok(())
    }

    fn take_over(&self, former: &Metadata) -> io::Result<()> {
        let own = self.file.metadata()?;
        if (own.uid(), own.gid()) != (former.uid(), former.gid()) {
            // Only root may give files away; the copy is the caller's otherwise, as any new file.
            let _ = std::os::unix::fs::fchown(&self.file, Some(former.uid()), Some(former.gid()));
        }
        self.file.set_permissions(Permissions::from_mode(former.mode() & 0o777))
    }
}

impl Drop for Destination {
    fn drop(&mut self) {
        if let Some(hidden) = &self.hidden {
            // What can't be removed stays; there is nobody left to tell.
            let _ = rustix::fs::unlinkat(&hidden.folder, &hidden.temporary, AtFlags::empty());
        }
    }
}

impl Hidden {
    fn publish(&self) -> Result<(), Errno> {
        let Self { folder, name, temporary, replace } = self;
        match rustix::fs::renameat_with(folder, temporary, folder, name, RenameFlags::NOREPLACE) {
            // Not every file system can do it in one step.
            Err(Errno::INVAL | Errno::NOSYS) => {
                rustix::fs::linkat(folder, temporary, folder, name, AtFlags::empty())
                    .and_then(|()| rustix::fs::unlinkat(folder, temporary, AtFlags::empty()))
            }
            done => done,
        }
        .or_else(|error| {
            if error != Errno::EXIST || !replace {
                return Err(error);
            }
            // Whatever came there meanwhile: only a regular file gives way.
            let there = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
            if FileType::from_raw_mode(there.st_mode) != FileType::RegularFile {
                return Err(error);
            }
            rustix::fs::renameat(folder, temporary, folder, name)
        })
    }
}

/// Looks what is at `target`.
fn look(target: &Path) -> FsResult<Place> {
    let failed = |error: io::Error| at(target, &error);
    let is_folder =
        || FsError::new(ErrorCode::IsADirectory, format!("{} is a folder: name a file", target.display()));
    if target.as_os_str().as_bytes().ends_with(b"/") {
        return Err(is_folder());
    }
    let mut path = target.to_owned();
    for followed in 0..=MAX_LINKS {
        let metadata = match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && followed == 0 => {
                return Ok(Place::Vacant(path));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let text = format!(
                    "{} is a link that leads nowhere: remove it, or make its target",
                    target.display()
                );
                return Err(FsError::new(ErrorCode::Io, text));
            }
            metadata => metadata.map_err(failed)?,
        };
        let kind = metadata.file_type();
        if kind.is_dir() {
            return Err(is_folder());
        } else if kind.is_file() {
            return Ok(Place::Regular(path, metadata));
        } else if !kind.is_symlink() {
            return Ok(Place::Device(path, if kind.is_fifo() { "a named pipe" } else { "a device" }));
        } else if is_descriptor(&path) {
            // What such a link says is no path, or not the open file.
            if fs::metadata(&path).map_err(failed)?.is_dir() {
                return Err(is_folder());
            }
            return Ok(Place::Open(path));
        }
        let link = fs::read_link(&path).map_err(failed)?;
        path = path.parent().map_or_else(|| link.clone(), |folder| folder.join(&link));
    }
    Err(failed(Errno::LOOP.into()))
}

/// Whether this is one of this process's open files.
fn is_descriptor(path: &Path) -> bool {
    let folder = path.parent().and_then(|folder| fs::canonicalize(folder).ok());
    folder.is_some() && folder == fs::canonicalize("/proc/self/fd").ok()
}

fn hidden_name() -> OsString {
    OsStr::new(&format!(".dfs-{:016x}.partial", rand::random::<u64>())).to_owned()
}

fn exists(target: &Path) -> FsError {
    FsError::new(ErrorCode::AlreadyExists, format!("{} exists already", target.display()))
}

fn at(target: &Path, error: &io::Error) -> FsError {
    FsError::new(ErrorCode::Io, format!("{}: {error}", target.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const NEW: DestinationOptions = DestinationOptions { replace: false, special: false, mode: 0o644 };
    const REPLACE: DestinationOptions = DestinationOptions { replace: true, ..NEW };
    const THROUGH: DestinationOptions = DestinationOptions { special: true, ..REPLACE };

    fn put(target: &Path, options: DestinationOptions, bytes: &[u8]) -> FsResult<()> {
        let mut destination = Destination::open(target, options)?;
        destination.write(bytes)?;
        destination.publish(true)
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn fifo(path: &Path) {
        rustix::fs::mknodat(rustix::fs::CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    }

    #[test]
    fn a_file_gets_its_name_when_it_is_complete() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("new");
        let mut destination = Destination::open(&target, NEW).unwrap();
        destination.write(b"bytes").unwrap();
        assert!(!target.exists() && names(folder.path()).len() == 1);
        destination.publish(false).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"bytes");
        assert_eq!(names(folder.path()), ["new"]);
    }

    #[test]
    fn one_that_is_not_published_is_removed_wherever_its_folder_is() {
        let folder = tempfile::tempdir().unwrap();
        let (before, after) = (folder.path().join("before"), folder.path().join("after"));
        fs::create_dir(&before).unwrap();
        let given_up = Destination::open(&before.join("a"), NEW).unwrap();
        let published = Destination::open(&before.join("b"), NEW).unwrap();
        fs::rename(&before, &after).unwrap();
        drop(given_up);
        published.publish(true).unwrap();
        assert_eq!(names(&after), ["b"]);
    }

    #[test]
    fn an_existing_file_gives_way_only_if_told_so_and_its_mode_stays() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("file");
        fs::write(&target, "old").unwrap();
        fs::set_permissions(&target, Permissions::from_mode(0o640)).unwrap();
        fs::hard_link(&target, folder.path().join("other")).unwrap();
        assert_eq!(put(&target, NEW, b"new").unwrap_err().code, ErrorCode::AlreadyExists);
        put(&target, REPLACE, b"new").unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"new");
        assert_eq!(fs::metadata(&target).unwrap().mode() & 0o7777, 0o640);
        assert_eq!(fs::read(folder.path().join("other")).unwrap(), b"old");
    }

    #[test]
    fn what_comes_meanwhile_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        for options in [NEW, REPLACE] {
            let target = folder.path().join("pipe");
            let destination = Destination::open(&target, options).unwrap();
            fifo(&target);
            assert_eq!(destination.publish(false).unwrap_err().code, ErrorCode::AlreadyExists);
            assert_eq!(names(folder.path()), ["pipe"]);
            assert!(fs::symlink_metadata(&target).unwrap().file_type().is_fifo());
            fs::remove_file(target).unwrap();
        }
    }

    #[test]
    fn links_are_followed_and_stay() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("sub")).unwrap();
        fs::write(path("sub/file"), "old").unwrap();
        symlink("sub/second", path("first")).unwrap();
        symlink("file", path("sub/second")).unwrap();
        symlink("nowhere", path("dangling")).unwrap();
        symlink("loop", path("loop")).unwrap();
        assert_eq!(put(&path("first"), NEW, b"new").unwrap_err().code, ErrorCode::AlreadyExists);
        put(&path("first"), REPLACE, b"new").unwrap();
        assert_eq!(fs::read(path("sub/file")).unwrap(), b"new");
        assert!(fs::symlink_metadata(path("first")).unwrap().is_symlink());
        assert_eq!(names(&path("sub")), ["file", "second"]);
        for name in ["dangling", "loop"] {
            assert_eq!(put(&path(name), THROUGH, b"new").unwrap_err().code, ErrorCode::Io, "{name}");
            assert!(fs::symlink_metadata(path(name)).unwrap().is_symlink());
        }
    }

    #[test]
    fn what_is_no_regular_file_is_written_through_or_refused_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fifo(&path("pipe"));
        symlink("/dev/null", path("null")).unwrap();
        for name in ["pipe", "null"] {
            assert_eq!(
                put(&path(name), REPLACE, b"x").unwrap_err().code,
                ErrorCode::InvalidArgument,
                "{name}"
            );
        }
        put(&path("null"), THROUGH, b"x").unwrap();
        assert!(fs::symlink_metadata(path("null")).unwrap().is_symlink());
        let pipe = path("pipe");
        let reader = std::thread::spawn(move || fs::read(pipe).unwrap());
        put(&path("pipe"), THROUGH, b"through").unwrap();
        assert_eq!(reader.join().unwrap(), b"through");
        assert_eq!(names(folder.path()), ["null", "pipe"]);
    }

    #[test]
    fn an_open_file_is_appended_to() {
        use std::os::fd::AsRawFd as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        fs::write(&path, "first\n").unwrap();
        let open = OpenOptions::new().write(true).open(&path).unwrap();
        put(Path::new(&format!("/dev/fd/{}", open.as_raw_fd())), THROUGH, b"second\n").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"first\nsecond\n");
        assert_eq!(names(folder.path()), ["log"]);
    }

    #[test]
    fn a_folder_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        for target in [folder.path().to_owned(), folder.path().join("new/"), PathBuf::from("/")] {
            assert_eq!(put(&target, THROUGH, b"x").unwrap_err().code, ErrorCode::IsADirectory, "{target:?}");
        }
        assert_eq!(put(&folder.path().join("none/x"), NEW, b"x").unwrap_err().code, ErrorCode::Io);
        assert_eq!(names(folder.path()), Vec::<String>::new());
    }
}
