//! Mounting and unmounting, by the system calls themselves: what is mounted here is unmounted by force, so that whoever
//! still has something open gets errors at once.

use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags};

use crate::error::Error;

const DEVICE: &str = "/dev/fuse";
/// What `/proc/self/mountinfo` shows as the source; the pid of the process that serves it follows.
const SOURCE: &str = "dfs-fault-disk:";

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Mount { action, path, source }
}

/// Why no disk can be mounted here, if none can.
pub(crate) fn available() -> Result<(), Error> {
    if !rustix::process::geteuid().is_root() {
        return Err(Error::Unavailable("it needs root".to_owned()));
    }
    match File::options().read(true).write(true).open(DEVICE) {
        Ok(_) => Ok(()),
        Err(error) => Err(Error::Unavailable(format!("{DEVICE}: {error}"))),
    }
}

/// Mounts a FUSE file system; the kernel's requests are read from the descriptor that is answered.
pub(crate) fn mount(at: &Path) -> Result<OwnedFd, Error> {
    available()?;
    clear_leftovers()?;
    let device = Path::new(DEVICE);
    let file = File::options().read(true).write(true).open(device).map_err(failed("opening", device))?;
    let owner = fs::metadata("/proc/self").map_err(failed("reading", Path::new("/proc/self")))?;
    let options = format!(
        "fd={},rootmode=40000,user_id={},group_id={},allow_other,default_permissions",
        file.as_raw_fd(),
        owner.uid(),
        owner.gid()
    );
    let options = CString::new(options).map_err(|error| failed("mounting", at)(error.into()))?;
    let source = format!("{SOURCE}{}", std::process::id());
    let flags = MountFlags::NODEV | MountFlags::NOSUID | MountFlags::NOATIME;
    match rustix::mount::mount(source, at, "fuse", flags, options.as_c_str()) {
        Ok(()) => Ok(file.into()),
        Err(error @ (rustix::io::Errno::PERM | rustix::io::Errno::NODEV)) => {
            Err(Error::Unavailable(format!("mounting: {error}")))
        }
        Err(error) => Err(failed("mounting", at)(error.into())),
    }
}

/// Unmounts it, whoever uses it: what is open fails from now on.
pub(crate) fn unmount(at: &Path) -> Result<(), Error> {
    rustix::mount::unmount(at, UnmountFlags::FORCE | UnmountFlags::DETACH)
        .map_err(|error| failed("unmounting", at)(error.into()))
}

/// Unmounts what processes that were killed left: nobody answers the kernel there any more.
fn clear_leftovers() -> Result<(), Error> {
    let table = Path::new("/proc/self/mountinfo");
    let text = fs::read_to_string(table).map_err(failed("reading", table))?;
    for at in text.lines().filter_map(leftover) {
        // Another test may be faster.
        let _ = unmount(&at);
    }
    Ok(())
}

/// The mount point of a line of `mountinfo`, if it is one of ours and its process is gone.
fn leftover(line: &str) -> Option<PathBuf> {
    let (mount, of_kind) = line.split_once(" - ")?;
    let pid: u32 = of_kind.split(' ').nth(1)?.strip_prefix(SOURCE)?.parse().ok()?;
    let is_gone = !Path::new(&format!("/proc/{pid}")).exists();
    is_gone.then(|| PathBuf::from(mount.split(' ').nth(4).unwrap_or_default().replace("\\040", " ")))
}
