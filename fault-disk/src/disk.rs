//! The disk as a test holds it.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fuser::{BackgroundSession, Config, INodeNo, Notifier, Session, SessionACL};

use crate::error::Error;
use crate::mount;
use crate::serve::{Core, Serving};
use crate::settings::{Settings, Throttle};
use crate::tree::{Access, Lost, PAGE, ROOT, Tree};

/// What is on a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Bytes that files can hold.
    pub capacity: u64,
    /// Bytes of them that are free.
    pub free: u64,
    /// Files and directories, with the root.
    pub inodes: u64,
}

/// A file system in memory that is mounted as long as this exists, and fails as it is told to.
///
/// Everything may be called from any thread, while programs use the disk. Nothing here is a request to the mounted file
/// system, so nothing waits for a disk that is slow.
#[derive(Debug)]
pub struct FaultDisk {
    at: PathBuf,
    threads: usize,
    core: Arc<Core>,
    /// Those who answer the kernel; `None`: no power.
    session: Mutex<Option<BackgroundSession>>,
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Mount { action, path, source }
}

impl FaultDisk {
    /// Whether a disk can be mounted here.
    ///
    /// # Errors
    /// [`Error::Unavailable`], with the reason in words for a test that is skipped.
    pub fn available() -> Result<(), Error> {
        mount::available()
    }

    /// Mounts an empty disk at `at`, which is made if it does not exist.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if nothing can be mounted here, [`Error::Mount`] if this can't.
    pub fn mount(at: &Path, settings: Settings) -> Result<Self, Error> {
        fs::create_dir_all(at).map_err(failed("making", at))?;
        let at = at.canonicalize().map_err(failed("finding", at))?;
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let Settings { capacity, names_with_files, threads } = settings;
        let tree = Tree::new(capacity, names_with_files, Access { perm: 0o755, uid, gid });
        let disk =
            Self { at, threads: threads.max(1), core: Arc::new(Core::new(tree)), session: Mutex::default() };
        *disk.session() = Some(disk.serve()?);
        Ok(disk)
    }

    /// Where it is mounted, absolute.
    pub fn path(&self) -> &Path {
        &self.at
    }

    fn session(&self) -> MutexGuard<'_, Option<BackgroundSession>> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self) -> Result<BackgroundSession, Error> {
        let device = mount::mount(&self.at)?;
        let mut config = Config::default();
        config.acl = SessionACL::All;
        config.n_threads = Some(self.threads);
        let serving = Serving::new(Arc::clone(&self.core));
        let served = Session::from_fd(serving, device, SessionACL::All, config).and_then(Session::spawn);
        served.map_err(|source| {
            // What can't be served must not stay; the first error is the one to tell.
            let _ = mount::unmount(&self.at);
            failed("serving", &self.at)(source)
        })
    }

    fn end(&self, session: BackgroundSession) -> Result<(), Error> {
        // Who waits because the disk is slow, or hangs, waits no longer.
        self.core.pace.set(None);
        self.core.pace.hang(false);
        mount::unmount(&self.at)?;
        match session.join() {
            // A request that was being handed over.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => Ok(()),
            ended => ended.map_err(failed("ending", &self.at)),
        }
    }

    /// Cuts the power: everything that is open fails from now on, the mount is gone, and of what was not synced an
    /// arbitrary part is lost, which `seed` chooses. What was synced is kept. The disk is as fast as it can be, works
    /// and does not lie when it comes back. Kill the processes of the machine first: they have no power either.
    ///
    /// # Errors
    /// [`Error::NoPower`] if it was cut already, [`Error::Mount`] if it can't be unmounted.
    pub fn power_cut(&self, seed: u64) -> Result<Lost, Error> {
        let mut running = self.session();
        let session = running.take().ok_or_else(|| Error::NoPower(self.at.clone()))?;
        self.end(session)?;
        self.core.fails.store(false, Ordering::Relaxed);
        let mut tree = self.core.tree();
        tree.ignores_sync = false;
        Ok(tree.cut(seed))
    }

    /// Gives the power back: the disk is mounted again with what it had.
    ///
    /// # Errors
    /// [`Error::HasPower`] if it was not cut, [`Error::Mount`] if it can't be mounted.
    pub fn restore(&self) -> Result<(), Error> {
        let mut running = self.session();
        if running.is_some() {
            return Err(Error::HasPower(self.at.clone()));
        }
        *running = Some(self.serve()?);
        Ok(())
    }

    /// Something else takes all that is free: whoever needs more gets `ENOSPC`. What is removed is free again.
    pub fn fill(&self) {
        self.core.tree().fill();
    }

    /// What [`FaultDisk::fill`] took is free again.
    pub fn free(&self) {
        self.core.tree().free();
    }

    /// Changes how many bytes files can hold. With less than they have nothing more can be written.
    pub fn set_capacity(&self, bytes: u64) {
        self.core.tree().set_capacity(bytes);
    }

    /// What is on it.
    pub fn usage(&self) -> Usage {
        let room = self.core.tree().room();
        let page = PAGE as u64;
        Usage { capacity: room.total * page, free: room.free * page, inodes: room.inodes }
    }

    /// Makes every request fail with `EIO`, or work again. What the kernel had cached of open files is not read either.
    ///
    /// # Errors
    /// [`Error::Mount`] if the kernel can't be told to forget what it cached.
    pub fn fail_io(&self, fails: bool) -> Result<(), Error> {
        self.core.fails.store(fails, Ordering::Relaxed);
        if !fails {
            return Ok(());
        }
        let open = self.core.tree().open();
        open.into_iter().try_for_each(|inode| self.forget(inode))
    }

    /// Makes it slow, or as fast as it can be. What waits because it is slow does so no longer.
    pub fn throttle(&self, throttle: Option<Throttle>) {
        self.core.pace.set(throttle);
    }

    /// Makes it hang: what is asked of it is not answered until it is told to go on, or loses its power. Whoever asks can't be
    /// killed before. Names and attributes are still looked up, as long as a thread is left for it.
    pub fn hang(&self, hangs: bool) {
        self.core.pace.hang(hangs);
    }

    /// Makes it lie: syncing answers that it worked and does nothing; or makes it tell the truth again.
    pub fn ignore_sync(&self, ignores: bool) {
        self.core.tree().ignores_sync = ignores;
    }

    /// Flips the lowest bit of the byte at `offset` of `file`, as rot does: what is read has it at once, and no sync or
    /// power cut brings the former byte back. `file` is a path below the mount point or from the disk's root.
    ///
    /// # Errors
    /// [`Error::NoByte`] if there is no such byte, [`Error::Mount`] if the kernel can't be told.
    pub fn flip_bit(&self, file: &Path, offset: u64) -> Result<(), Error> {
        let no_byte = || Error::NoByte { path: file.to_owned(), offset };
        let inode = self.find(file).ok_or_else(no_byte)?;
        self.core.tree().flip(inode, offset).map_err(|_| no_byte())?;
        self.forget(inode)
    }

    fn find(&self, file: &Path) -> Option<u64> {
        let within = file.strip_prefix(&self.at).unwrap_or(file);
        let tree = self.core.tree();
        within.components().filter(|part| *part != Component::RootDir).try_fold(ROOT, |inode, part| {
            let name: &OsStr = part.as_os_str();
            Some(tree.lookup(inode, name).ok()?.inode)
        })
    }

    /// Has the kernel forget what it cached of a file.
    fn forget(&self, inode: u64) -> Result<(), Error> {
        let Some(notifier) = self.session().as_ref().map(BackgroundSession::notifier) else { return Ok(()) };
        let told = |notifier: Notifier| notifier.inval_inode(INodeNo(inode), 0, 0);
        told(notifier).map_err(failed("having the kernel forget a file of", &self.at))
    }
}

impl Drop for FaultDisk {
    fn drop(&mut self) {
        let running = self.session().take();
        if let Some(session) = running
            && let Err(error) = self.end(session)
        {
            // Nothing else can be done here, and a mount that stays must not stay unseen.
            eprintln!("the test's disk stays: {error}");
        }
    }
}
