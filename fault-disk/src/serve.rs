//! What the kernel asks, answered from the [`Tree`].

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use fuser::{
    BsdFileFlags, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, InitFlags,
    KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use rustix::fs::{FallocateFlags, OFlags};
use rustix::io::Errno;

use crate::pace::Pace;
use crate::tree::{Access, Attributes, MAX_INODES, MAX_NAME, NewAttributes, PAGE, Taken, Tree};

/// The kernel asks again each time: a disk that fails from now on fails at once.
const NO_CACHE: Duration = Duration::ZERO;
/// Largest request, in bytes.
const MAX_WRITE: u32 = 1 << 20;
/// Permissions, with set-user-id and the like.
const PERMISSIONS: u32 = 0o7777;

/// What the disk and those who serve it share.
#[derive(Debug)]
pub(crate) struct Core {
    tree: Mutex<Tree>,
    pub(crate) pace: Pace,
    /// Everything fails with `EIO`.
    pub(crate) fails: AtomicBool,
}

impl Core {
    pub(crate) fn new(tree: Tree) -> Self {
        Self { tree: Mutex::new(tree), pace: Pace::default(), fails: AtomicBool::new(false) }
    }

    /// The tree, whatever happens to the disk.
    pub(crate) fn tree(&self) -> MutexGuard<'_, Tree> {
        self.tree.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Listing = Arc<Vec<(OsString, Attributes)>>;

/// One mount's answers.
#[derive(Debug)]
pub(crate) struct Serving {
    core: Arc<Core>,
    /// What the directories that are open contained when they were opened.
    listings: Mutex<HashMap<u64, Listing>>,
    next_listing: AtomicU64,
}

impl Serving {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self { core, listings: Mutex::default(), next_listing: AtomicU64::new(0) }
    }

    fn tree(&self) -> Result<MutexGuard<'_, Tree>, Errno> {
        if self.core.fails.load(Ordering::Relaxed) { Err(Errno::IO) } else { Ok(self.core.tree()) }
    }

    /// The tree, to change names in it: as soon as the disk answers.
    fn tree_to_change(&self) -> Result<MutexGuard<'_, Tree>, Errno> {
        self.core.pace.answer();
        self.tree()
    }

    /// The tree after the time that moving so many bytes takes.
    fn tree_after(&self, bytes: usize) -> Result<MutexGuard<'_, Tree>, Errno> {
        self.core.pace.wait(bytes);
        self.tree()
    }

    fn listings(&self) -> MutexGuard<'_, HashMap<u64, Listing>> {
        self.listings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn make(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        directory: bool,
    ) -> Result<FileAttr, Errno> {
        let perm = (mode & PERMISSIONS) as u16;
        let access = Access { perm, uid: request.uid(), gid: request.gid() };
        self.tree_to_change()?.make(parent.0, name, directory, access).map(attributes)
    }

    fn sync(&self, inode: INodeNo) -> Result<(), Errno> {
        self.tree_after(0)?.sync(inode.0)
    }

    fn list(&self, directory: INodeNo) -> Result<u64, Errno> {
        let listing = self.tree()?.list(directory.0)?;
        let handle = self.next_listing.fetch_add(1, Ordering::Relaxed);
        self.listings().insert(handle, Arc::new(listing));
        Ok(handle)
    }
}

fn code(errno: Errno) -> fuser::Errno {
    fuser::Errno::from_i32(errno.raw_os_error())
}

fn done(result: Result<(), Errno>, reply: ReplyEmpty) {
    match result {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(code(error)),
    }
}

fn entry(result: Result<FileAttr, Errno>, reply: ReplyEntry) {
    match result {
        Ok(found) => reply.entry(&NO_CACHE, &found, Generation(0)),
        Err(error) => reply.error(code(error)),
    }
}

fn attributes(from: Attributes) -> FileAttr {
    let Attributes { inode, is_directory, size, blocks, names, access, read, modified } = from;
    let Access { perm, uid, gid } = access;
    FileAttr {
        ino: INodeNo(inode),
        size,
        blocks,
        atime: read,
        mtime: modified,
        ctime: modified,
        crtime: modified,
        kind: if is_directory { FileType::Directory } else { FileType::RegularFile },
        perm,
        nlink: names,
        uid,
        gid,
        rdev: 0,
        blksize: PAGE as u32,
        flags: 0,
    }
}

fn time(given: Option<TimeOrNow>) -> Option<SystemTime> {
    given.map(|time| match time {
        TimeOrNow::SpecificTime(time) => time,
        TimeOrNow::Now => SystemTime::now(),
    })
}

fn taken(flags: RenameFlags) -> Result<Taken, Errno> {
    if flags.is_empty() {
        Ok(Taken::Replace)
    } else if flags == RenameFlags::RENAME_NOREPLACE {
        Ok(Taken::Refuse)
    } else if flags == RenameFlags::RENAME_EXCHANGE {
        Ok(Taken::Exchange)
    } else {
        Err(Errno::INVAL)
    }
}

impl Filesystem for Serving {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // What the kernel does not know, or wants otherwise, is no reason to refuse it.
        let _ = config.set_max_write(MAX_WRITE);
        let _ = config.add_capabilities(InitFlags::FUSE_PARALLEL_DIROPS);
        let _ = config.add_capabilities(InitFlags::FUSE_ASYNC_DIO);
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        entry(self.tree().and_then(|tree| tree.lookup(parent.0, name)).map(attributes), reply);
    }

    fn forget(&self, _: &Request, _: INodeNo, _: u64) {}

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.tree().and_then(|tree| tree.attributes(inode.0)) {
            Ok(found) => reply.attr(&NO_CACHE, &attributes(found)),
            Err(error) => reply.error(code(error)),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        inode: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        read: Option<TimeOrNow>,
        modified: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let perm = mode.map(|mode| (mode & PERMISSIONS) as u16);
        let new = NewAttributes { perm, uid, gid, read: time(read), modified: time(modified) };
        let result = self.tree_to_change().and_then(|mut tree| {
            if let Some(size) = size {
                tree.resize(inode.0, size)?;
            }
            tree.set_attributes(inode.0, new)?;
            tree.attributes(inode.0)
        });
        match result {
            Ok(found) => reply.attr(&NO_CACHE, &attributes(found)),
            Err(error) => reply.error(code(error)),
        }
    }

    fn mkdir(&self, request: &Request, parent: INodeNo, name: &OsStr, mode: u32, _: u32, reply: ReplyEntry) {
        entry(self.make(request, parent, name, mode, true), reply);
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        done(self.tree_to_change().and_then(|mut tree| tree.remove(parent.0, name, false)), reply);
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        done(self.tree_to_change().and_then(|mut tree| tree.remove(parent.0, name, true)), reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let (from, to) = ((parent.0, name), (new_parent.0, new_name));
        let result = taken(flags).and_then(|taken| self.tree_to_change()?.rename(from, to, taken));
        done(result, reply);
    }

    fn open(&self, _: &Request, inode: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.tree().and_then(|mut tree| tree.opened(inode.0)) {
            Ok(()) => reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE),
            Err(error) => reply.error(code(error)),
        }
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        let result = self.make(request, parent, name, mode, false).and_then(|made| {
            self.tree()?.opened(made.ino.0)?;
            Ok(made)
        });
        match result {
            Ok(made) => {
                reply.created(&NO_CACHE, &made, Generation(0), FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE);
            }
            Err(error) => reply.error(code(error)),
        }
    }

    fn read(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let size = size as usize;
        // The tree is free again before the bytes go to the kernel.
        let result = self.tree_after(size).and_then(|tree| tree.read(inode.0, offset, size));
        match result {
            Ok(bytes) => reply.data(&bytes),
            Err(error) => reply.error(code(error)),
        }
    }

    fn write(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        flags: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        // O_SYNC has the bit of O_DSYNC too.
        let synced = OFlags::from_bits_retain(flags.0 as u32).contains(OFlags::DSYNC);
        let result = self.tree_after(data.len()).and_then(|mut tree| {
            tree.write(inode.0, offset, data)?;
            if synced { tree.sync(inode.0) } else { Ok(()) }
        });
        match result {
            Ok(()) => reply.written(data.len() as u32),
            Err(error) => reply.error(code(error)),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn release(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.core.tree().closed(inode.0);
        reply.ok();
    }

    fn fsync(&self, _: &Request, inode: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        done(self.sync(inode), reply);
    }

    fn opendir(&self, _: &Request, inode: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let opened = self.list(inode).and_then(|handle| {
            self.tree()?.opened(inode.0)?;
            Ok(handle)
        });
        match opened {
            Ok(handle) => reply.opened(FileHandle(handle), FopenFlags::empty()),
            Err(error) => reply.error(code(error)),
        }
    }

    fn readdir(
        &self,
        _: &Request,
        inode: INodeNo,
        handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let listing = match self.tree().and_then(|tree| {
            // Read from its beginning again, it shows what is there now.
            let fresh = if offset == 0 { Some(Arc::new(tree.list(inode.0)?)) } else { None };
            Ok(fresh)
        }) {
            Ok(Some(fresh)) => {
                self.listings().insert(handle.0, Arc::clone(&fresh));
                fresh
            }
            Ok(None) => self.listings().get(&handle.0).cloned().unwrap_or_default(),
            Err(error) => return reply.error(code(error)),
        };
        for (number, (name, found)) in listing.iter().enumerate().skip(offset as usize) {
            let kind = if found.is_directory { FileType::Directory } else { FileType::RegularFile };
            if reply.add(INodeNo(found.inode), number as u64 + 1, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn releasedir(&self, _: &Request, inode: INodeNo, handle: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        self.listings().remove(&handle.0);
        self.core.tree().closed(inode.0);
        reply.ok();
    }

    fn fsyncdir(&self, _: &Request, inode: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        done(self.sync(inode), reply);
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        match self.tree().map(|tree| tree.room()) {
            Ok(room) => {
                let left = MAX_INODES.saturating_sub(room.inodes);
                let (page, name) = (PAGE as u32, MAX_NAME as u32);
                reply.statfs(room.total, room.free, room.free, MAX_INODES, left, page, name, page);
            }
            Err(error) => reply.error(code(error)),
        }
    }

    fn fallocate(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let flags = FallocateFlags::from_bits_retain(mode as u32);
        let result = self.tree_after(0).and_then(|mut tree| {
            if flags.is_empty() || flags == FallocateFlags::KEEP_SIZE {
                tree.reserve(inode.0, offset, length, !flags.is_empty())
            } else if flags == FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE {
                tree.punch(inode.0, offset, length)
            } else {
                Err(Errno::OPNOTSUPP)
            }
        });
        done(result, reply);
    }
}
