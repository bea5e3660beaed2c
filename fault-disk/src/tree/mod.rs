//! The file system itself, in memory, without the kernel: every file and name as programs see it and as the disk has it.

mod content;
mod cut;
mod inode;
mod names;
mod rename;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::time::SystemTime;

use rand::SeedableRng;
use rand::rngs::SmallRng;
use rustix::io::Errno;

use content::Content;
pub(crate) use content::PAGE;
pub use cut::Lost;
pub(crate) use inode::{Access, Attributes, NewAttributes};
use inode::{Inode, Kind};
use names::{Change, Pending, Slot};
pub(crate) use rename::Taken;

/// The root directory's number, which FUSE prescribes.
pub(crate) const ROOT: u64 = 1;
/// Longest name, in bytes.
pub(crate) const MAX_NAME: usize = 255;
/// Files and directories at most.
pub(crate) const MAX_INODES: u64 = 1 << 20;
/// Unsynced changes of names at most; with one more all are written back, as a kernel does after some seconds.
const MAX_PENDING: usize = 16 << 10;
/// Pages that only the disk still has at most, likewise.
const MAX_RETAINED: u64 = (64 << 20) / PAGE as u64;

type Result<T> = std::result::Result<T, Errno>;

/// Room on the disk, in pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Room {
    pub(crate) total: u64,
    pub(crate) free: u64,
    pub(crate) inodes: u64,
}

/// Every file and name.
#[derive(Debug)]
pub(crate) struct Tree {
    inodes: HashMap<u64, Inode>,
    next: u64,
    pending: Pending,
    /// Files that may have bytes that are not synced.
    dirty: BTreeSet<u64>,
    /// Sums of [`Inode::counted`].
    used: u64,
    retained: u64,
    /// Pages, and those of them that [`Tree::fill`] took.
    capacity: u64,
    filled: u64,
    names_with_files: bool,
    /// A disk that says it synced and did not.
    pub(crate) ignores_sync: bool,
    random: SmallRng,
}

impl Tree {
    pub(crate) fn new(capacity: u64, names_with_files: bool, access: Access) -> Self {
        let mut root = Inode::new(Kind::directory(), access);
        (root.names, root.held) = (1, 1);
        Self {
            inodes: HashMap::from([(ROOT, root)]),
            next: ROOT + 1,
            pending: Pending::default(),
            dirty: BTreeSet::new(),
            used: 0,
            retained: 0,
            capacity: capacity / PAGE as u64,
            filled: 0,
            names_with_files,
            ignores_sync: false,
            random: SmallRng::seed_from_u64(capacity),
        }
    }

    fn get(&self, inode: u64) -> Result<&Inode> {
        self.inodes.get(&inode).ok_or(Errno::NOENT)
    }

    fn get_mut(&mut self, inode: u64) -> Result<&mut Inode> {
        self.inodes.get_mut(&inode).ok_or(Errno::NOENT)
    }

    fn is_directory(&self, inode: u64) -> bool {
        matches!(self.inodes.get(&inode), Some(Inode { kind: Kind::Directory { .. }, .. }))
    }

    fn find(&self, parent: u64, name: &OsStr) -> Result<Option<u64>> {
        match &self.get(parent)?.kind {
            Kind::Directory { entries, .. } => Ok(entries.get(name).copied()),
            Kind::File(_) => Err(Errno::NOTDIR),
        }
    }

    pub(crate) fn lookup(&self, parent: u64, name: &OsStr) -> Result<Attributes> {
        let found = self.find(parent, name)?.ok_or(Errno::NOENT)?;
        self.attributes(found)
    }

    pub(crate) fn attributes(&self, inode: u64) -> Result<Attributes> {
        Ok(self.get(inode)?.attributes(inode))
    }

    pub(crate) fn set_attributes(&mut self, inode: u64, new: NewAttributes) -> Result<()> {
        self.get_mut(inode)?.set(new);
        Ok(())
    }

    /// The names in a directory, with what each leads to.
    pub(crate) fn list(&self, directory: u64) -> Result<Vec<(OsString, Attributes)>> {
        match &self.get(directory)?.kind {
            Kind::Directory { entries, .. } => {
                entries.iter().map(|(name, inode)| Ok((name.clone(), self.attributes(*inode)?))).collect()
            }
            Kind::File(_) => Err(Errno::NOTDIR),
        }
    }

    pub(crate) fn make(
        &mut self,
        parent: u64,
        name: &OsStr,
        directory: bool,
        access: Access,
    ) -> Result<Attributes> {
        if name.len() > MAX_NAME {
            return Err(Errno::NAMETOOLONG);
        }
        if self.find(parent, name)?.is_some() {
            return Err(Errno::EXIST);
        }
        // A directory that was removed is held by those who have it open, and takes nothing in.
        if self.get(parent)?.names == 0 {
            return Err(Errno::NOENT);
        }
        if self.inodes.len() as u64 >= MAX_INODES {
            return Err(Errno::NOSPC);
        }
        let inode = self.next;
        self.next += 1;
        let kind = if directory { Kind::directory() } else { Kind::File(Content::default()) };
        self.inodes.insert(inode, Inode::new(kind, access));
        self.change(vec![self.slot(parent, name, Some(inode))?]);
        self.attributes(inode)
    }

    /// `unlink`, or `rmdir` if it is to be a directory.
    pub(crate) fn remove(&mut self, parent: u64, name: &OsStr, directory: bool) -> Result<()> {
        let inode = self.find(parent, name)?.ok_or(Errno::NOENT)?;
        match (&self.get(inode)?.kind, directory) {
            (Kind::File(_), false) => {}
            (Kind::Directory { entries, .. }, true) if entries.is_empty() => {}
            (Kind::Directory { .. }, true) => return Err(Errno::NOTEMPTY),
            (Kind::Directory { .. }, false) => return Err(Errno::ISDIR),
            (Kind::File(_), true) => return Err(Errno::NOTDIR),
        }
        self.change(vec![self.slot(parent, name, None)?]);
        Ok(())
    }

    fn slot(&self, directory: u64, name: &OsStr, after: Option<u64>) -> Result<Slot> {
        let before = self.find(directory, name)?;
        Ok(Slot { directory, name: name.to_owned(), before, after })
    }

    /// Changes names for programs, and notes that the disk does not know yet.
    fn change(&mut self, slots: Vec<Slot>) {
        let change = Change(slots);
        for Slot { directory, name, before, after } in &change.0 {
            if let Some(inode) = self.inodes.get_mut(directory) {
                inode.modified = SystemTime::now();
                if let Kind::Directory { entries, .. } = &mut inode.kind {
                    match after {
                        Some(after) => entries.insert(name.clone(), *after),
                        None => entries.remove(name),
                    };
                }
            }
            if let Some(inode) = before.and_then(|before| self.inodes.get_mut(&before)) {
                inode.names = inode.names.saturating_sub(1);
            }
            if let Some(inode) = after.and_then(|after| self.inodes.get_mut(&after)) {
                inode.names += 1;
            }
        }
        for inode in change.inodes() {
            if let Some(inode) = self.inodes.get_mut(&inode) {
                inode.held += 1;
            }
        }
        let inodes: Vec<u64> = change.inodes().collect();
        self.pending.push(change);
        for inode in inodes {
            self.settle(inode);
        }
        if self.pending.len() > MAX_PENDING {
            self.write_back();
        }
    }

    /// Does to the disk's names what was done to those that programs see.
    fn store(&mut self, change: &Change) {
        let mut inodes: Vec<u64> = change.inodes().collect();
        for Slot { directory, name, after, .. } in &change.0 {
            let Some(Inode { kind: Kind::Directory { stored, .. }, .. }) = self.inodes.get_mut(directory)
            else {
                continue;
            };
            let former = match after {
                Some(after) => stored.insert(name.clone(), *after),
                None => stored.remove(name),
            };
            if let Some(inode) = after.and_then(|after| self.inodes.get_mut(&after)) {
                inode.held += 1;
            }
            inodes.extend(former);
        }
        // Once for the change, once for the name the disk had.
        self.let_go(inodes);
    }

    /// Lessens what holds these by one each, and forgets those that nothing keeps any more.
    fn let_go(&mut self, inodes: Vec<u64>) {
        for inode in &inodes {
            if let Some(inode) = self.inodes.get_mut(inode) {
                inode.held = inode.held.saturating_sub(1);
            }
        }
        for inode in inodes {
            self.settle(inode);
        }
    }

    /// Corrects the totals for this inode, and forgets it if nothing keeps it any more.
    fn settle(&mut self, number: u64) {
        let Some(inode) = self.inodes.get_mut(&number) else { return };
        let now = if inode.is_kept() { inode.pages() } else { (0, 0) };
        let before = std::mem::replace(&mut inode.counted, now);
        self.used = self.used + now.0 - before.0;
        self.retained = self.retained + now.1 - before.1;
        if inode.is_kept() {
            return;
        }
        self.dirty.remove(&number);
        if let Some(Inode { kind: Kind::Directory { stored, .. }, .. }) = self.inodes.remove(&number) {
            self.let_go(stored.into_values().collect());
        }
    }

    pub(crate) fn opened(&mut self, inode: u64) -> Result<()> {
        self.get_mut(inode)?.handles += 1;
        self.settle(inode);
        Ok(())
    }

    pub(crate) fn closed(&mut self, inode: u64) {
        if let Some(inode) = self.inodes.get_mut(&inode) {
            inode.handles = inode.handles.saturating_sub(1);
        }
        self.settle(inode);
    }

    /// The inodes that programs have open.
    pub(crate) fn open(&self) -> Vec<u64> {
        self.inodes.iter().filter(|(_, inode)| inode.handles > 0).map(|(number, _)| *number).collect()
    }

    fn content(&self, inode: u64) -> Result<&Content> {
        match &self.get(inode)?.kind {
            Kind::File(content) => Ok(content),
            Kind::Directory { .. } => Err(Errno::ISDIR),
        }
    }

    pub(crate) fn read(&self, inode: u64, offset: u64, length: usize) -> Result<Vec<u8>> {
        Ok(self.content(inode)?.read(offset, length))
    }

    /// Changes a file's bytes, for which it needs so many more pages.
    fn modify(
        &mut self,
        number: u64,
        added: u64,
        work: impl FnOnce(&mut Content, &mut SmallRng),
    ) -> Result<()> {
        if added > self.room().free {
            return Err(Errno::NOSPC);
        }
        let inode = self.inodes.get_mut(&number).ok_or(Errno::NOENT)?;
        let Kind::File(content) = &mut inode.kind else { return Err(Errno::ISDIR) };
        work(content, &mut self.random);
        inode.modified = SystemTime::now();
        self.dirty.insert(number);
        self.settle(number);
        if self.retained > MAX_RETAINED {
            self.write_back();
        }
        Ok(())
    }

    pub(crate) fn write(&mut self, inode: u64, offset: u64, data: &[u8]) -> Result<()> {
        if offset.checked_add(data.len() as u64).is_none_or(|end| end > i64::MAX as u64) {
            return Err(Errno::FBIG);
        }
        let added = self.content(inode)?.would_add(offset, data.len() as u64);
        self.modify(inode, added, |content, random| content.write(offset, data, random))
    }

    pub(crate) fn resize(&mut self, inode: u64, size: u64) -> Result<()> {
        self.content(inode)?;
        self.modify(inode, 0, |content, random| content.resize(size, random))
    }

    /// `fallocate` without flags or with `FALLOC_FL_KEEP_SIZE`.
    pub(crate) fn reserve(&mut self, inode: u64, offset: u64, length: u64, keep_size: bool) -> Result<()> {
        let end = offset.checked_add(length).filter(|end| i64::try_from(*end).is_ok()).ok_or(Errno::FBIG)?;
        let content = self.content(inode)?;
        let (added, size) = (content.would_add(offset, length), content.size());
        self.modify(inode, added, |content, random| {
            content.reserve(offset, length, random);
            if !keep_size {
                content.resize(size.max(end), random);
            }
        })
    }

    /// `fallocate` with `FALLOC_FL_PUNCH_HOLE`.
    pub(crate) fn punch(&mut self, inode: u64, offset: u64, length: u64) -> Result<()> {
        offset.checked_add(length).ok_or(Errno::FBIG)?;
        self.modify(inode, 0, |content, random| content.zero(offset, length, random))
    }

    /// Flips the lowest bit of a byte, on the disk too.
    pub(crate) fn flip(&mut self, inode: u64, offset: u64) -> Result<()> {
        let file = self.inodes.get_mut(&inode).ok_or(Errno::NOENT)?;
        let Kind::File(content) = &mut file.kind else { return Err(Errno::ISDIR) };
        let found = content.flip(offset);
        self.settle(inode);
        found.then_some(()).ok_or(Errno::RANGE)
    }

    /// `fsync` of a file or a directory.
    pub(crate) fn sync(&mut self, inode: u64) -> Result<()> {
        let is_file = !self.is_directory(inode);
        self.get(inode)?;
        if self.ignores_sync {
            return Ok(());
        }
        if is_file {
            self.sync_content(inode);
        }
        let changes = match (is_file, self.names_with_files) {
            (_, true) => self.pending.take(),
            (false, false) => self.pending.take_of(inode),
            (true, false) => Vec::new(),
        };
        for change in changes {
            self.store(&change);
        }
        Ok(())
    }

    fn sync_content(&mut self, number: u64) {
        self.dirty.remove(&number);
        if let Some(Inode { kind: Kind::File(content), .. }) = self.inodes.get_mut(&number) {
            content.sync();
        }
        self.settle(number);
    }

    /// Everything reaches the disk, as it does some time after it was written.
    fn write_back(&mut self) {
        for inode in std::mem::take(&mut self.dirty) {
            self.sync_content(inode);
        }
        for change in self.pending.take() {
            self.store(&change);
        }
    }

    pub(crate) fn room(&self) -> Room {
        Room {
            total: self.capacity,
            free: self.capacity.saturating_sub(self.used + self.filled),
            inodes: self.inodes.len() as u64,
        }
    }

    pub(crate) fn set_capacity(&mut self, bytes: u64) {
        self.capacity = bytes / PAGE as u64;
    }

    /// Something else takes what is free.
    pub(crate) fn fill(&mut self) {
        self.filled = self.capacity.saturating_sub(self.used);
    }

    pub(crate) fn free(&mut self) {
        self.filled = 0;
    }
}
