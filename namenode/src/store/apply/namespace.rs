//! Edits that name paths.

use dfs_namenode_core::Event;
use dfs_types::attributes::check_principal;
use dfs_types::{
    ChunkId, CreateMode, ErrorCode, FileKind, FsError, FsPath, FsResult, InodeId, Layout, Millis, Mode,
};

use super::{Step, reach};
use crate::store::access::Access;
use crate::store::column::number;
use crate::store::edit::{Outcome, RECOVERY_HOLDER, check_chunk_size, check_replication};
use crate::store::inode::Inode;
use crate::store::removal::{MOST_IN_ONE_EDIT, Removal};
use crate::store::resolve::{Resolved, is_a_directory};
use crate::store::stop::Stop;
use crate::store::usage::Usage;

/// What an owner needs on a directory made on the way to something of his.
const OWNER_USES: u32 = 0o300;

/// What a new file is to be like.
#[derive(Debug)]
pub(super) struct NewFile<'a> {
    pub(super) holder: &'a str,
    pub(super) mode: CreateMode,
    pub(super) replication: u32,
    pub(super) chunk_size: u64,
    pub(super) temporary: bool,
}

impl NewFile<'_> {
    fn check(&self) -> FsResult<()> {
        check_holder(self.holder)?;
        check_replication(self.replication)?;
        check_chunk_size(self.chunk_size)
    }

    /// Mode of directories made above the file: searchable by whom the file is readable for, so that they follow
    /// the umask the client applied to the file's mode.
    fn directory_mode(&self) -> CreateMode {
        let searchable = |mode: Mode| {
            let bits = mode.bits() & 0o777;
            Mode::truncate(bits | ((bits & 0o444) >> 2) | OWNER_USES)
        };
        of_both(self.mode, searchable)
    }
}

/// The same of the bits before and after the umask.
fn of_both(CreateMode { mode, unmasked }: CreateMode, change: impl Fn(Mode) -> Mode) -> CreateMode {
    CreateMode { mode: change(mode), unmasked: unmasked.map(change) }
}

/// A move that was checked.
pub(super) struct Move<'p> {
    pub(super) source: Resolved<'p>,
    pub(super) target: Resolved<'p>,
    /// Its last part in the target.
    pub(super) name: &'p str,
    /// How far what is below it reaches.
    pub(super) below: u64,
}

/// Whether a client may call itself that.
pub(super) fn check_holder(holder: &str) -> FsResult<()> {
    check_principal("lease holder", holder)?;
    if holder == RECOVERY_HOLDER {
        return Err(FsError::invalid(format!(
            "the lease holder name {RECOVERY_HOLDER:?} is the NameNode's own: choose another"
        )));
    }
    Ok(())
}

fn exists(path: &FsPath, hint: &str) -> FsError {
    FsError::new(ErrorCode::AlreadyExists, format!("{path} exists already{hint}"))
}

impl Step<'_, '_> {
    /// Whether the caller may add an entry where the path ends so far.
    fn check_adding(&self, found: &Resolved<'_>) -> FsResult<()> {
        self.authority.check(found.deepest(), Access::Write, found.deepest_place())
    }

    /// Whether the caller may take `target` out of its directory.
    pub(super) fn check_removing(&self, found: &Resolved<'_>, target: &Inode) -> FsResult<()> {
        let directory = found.existing_parent()?;
        self.authority.check(directory, Access::Write, found.parent_place())?;
        self.authority.check_sticky(directory, target, found.place())
    }

    pub(super) fn mkdir(&mut self, path: &FsPath, mode: CreateMode, parents: bool) -> Result<Outcome, Stop> {
        let found = self.resolve(path)?;
        if let Some(target) = found.target() {
            if parents && target.is_directory() {
                return Ok(Outcome::Status(target.status()));
            }
            return Err(exists(path, "").into());
        }
        if !parents {
            found.existing_parent()?;
        }
        self.check_adding(&found)?;
        let missing: Vec<&str> = found.missing().collect();
        let made = Usage { directories: missing.len() as i64, ..Usage::default() };
        self.check_quota(found.deepest().id, made)?;
        let (above, last) = missing.split_at(missing.len() - 1);
        let between = of_both(mode, |mode| Mode::truncate(mode.bits() & 0o777 | OWNER_USES));
        self.reach_down(&found, 0)?;
        let further = last.iter().copied().map(reach::longer_by).sum();
        let directory = self.make_directories(found.deepest(), above, further, between)?;
        let made = self.make_directories(&directory, last, 0, mode)?;
        Ok(Outcome::Status(made.status()))
    }

    pub(super) fn create(
        &mut self,
        path: &FsPath,
        file: &NewFile<'_>,
        overwrite: bool,
        parents: bool,
    ) -> Result<Outcome, Stop> {
        file.check()?;
        let found = self.resolve(path)?;
        let name = path.name().ok_or_else(|| is_a_directory(path))?;
        let old = found.target();
        if let Some(old) = old {
            self.check_overwriting(&found, old, path, overwrite)?;
        } else {
            if !parents {
                found.existing_parent()?;
            }
            self.check_adding(&found)?;
            let made =
                Usage { files: 1, directories: found.missing().count() as i64 - 1, ..Usage::default() };
            self.check_quota(found.deepest().id, made)?;
        }

        self.reach_down(&found, 0)?;
        let made_above;
        let directory = match (found.parent(), old) {
            (Some(directory), Some(old)) => {
                self.remove_entry(old)?;
                self.count_entries(directory, -1)?;
                directory.as_ref()
            }
            (Some(directory), None) => directory.as_ref(),
            (None, _) => {
                let missing: Vec<&str> = found.missing().collect();
                let (above, _) = missing.split_at(missing.len() - 1);
                let (further, mode) = (reach::longer_by(name), file.directory_mode());
                made_above = self.make_directories(found.deepest(), above, further, mode)?;
                &made_above
            }
        };
        let inode = Inode {
            atime: self.now,
            replication: file.replication,
            chunk_size: file.chunk_size,
            open: true,
            ..self.draft(directory, name, FileKind::File, file.mode)
        };
        self.insert(&inode)?;
        self.count_entries(directory, 1)?;
        self.write(
            "INSERT INTO lease (inode, holder, since, temporary) VALUES (?1, ?2, ?3, ?4)",
            (inode.id.0 as i64, file.holder, self.now.0 as i64, file.temporary),
        )?;
        self.counters.open_files += 1;
        self.emit(Event::LeaseTaken { inode: inode.id, holder: file.holder.to_owned() });
        Ok(Outcome::Status(inode.status()))
    }

    fn check_overwriting(
        &self,
        found: &Resolved<'_>,
        old: &Inode,
        path: &FsPath,
        overwrite: bool,
    ) -> Result<(), Stop> {
        if old.is_directory() {
            return Err(is_a_directory(path).into());
        }
        if overwrite {
            self.authority.check(old, Access::Write, found.place())?;
            return Ok(self.check_removing(found, old)?);
        }
        let holder = if old.open { self.holder(old.id)? } else { None };
        let hint = holder.map_or_else(
            || ": ask for it to be overwritten, or choose another name".to_owned(),
            |holder| format!(" and is being written by {holder}: wait for it, or choose another name"),
        );
        Err(exists(path, &hint).into())
    }

    pub(super) fn rename(&mut self, from: &FsPath, to: &FsPath, overwrite: bool) -> Result<Outcome, Stop> {
        if let Some(planned) = self.plan_move(from, to, overwrite)? {
            let moved = planned.source.existing()?;
            self.move_entry(moved, &planned)?;
        }
        Ok(Outcome::Done)
    }

    /// Checks a move; `None` if there is nothing to move, because both paths are the same.
    pub(super) fn plan_move<'p>(
        &mut self,
        from: &'p FsPath,
        to: &'p FsPath,
        overwrite: bool,
    ) -> Result<Option<Move<'p>>, Stop> {
        let Some(name) = to.name().filter(|_| !from.is_root()) else {
            return Err(FsError::invalid("the root directory can't be moved or replaced").into());
        };
        let source = self.resolve(from)?;
        let moved = source.existing()?;
        if from == to {
            return Ok(None);
        }
        if to.starts_with(from) {
            return Err(FsError::invalid(format!("{from} can't be moved below itself, to {to}")).into());
        }
        let target = self.resolve(to)?;
        let new_directory = target.existing_parent()?;
        self.check_removing(&source, moved)?;
        self.authority.check(new_directory, Access::Write, target.parent_place())?;
        if let Some(replaced) = target.target() {
            check_replacing(moved, replaced, to, overwrite)?;
            self.authority.check_sticky(new_directory, replaced, target.place())?;
        }
        self.check_quota_of_move(moved, &target, &source)?;
        let below = self.reach_when_moved(moved, from, to)?;
        Ok(Some(Move { source, target, name, below }))
    }

    /// Moves what [`Step::plan_move`] lets move, whose row is now `moved`; answers the row as it is then.
    pub(super) fn move_entry(&mut self, moved: &Inode, planned: &Move<'_>) -> Result<Inode, Stop> {
        let Move { source, target, name, below } = planned;
        let (old_directory, new_directory) = (source.existing_parent()?, target.existing_parent()?);
        self.reach_down(target, *below)?;
        if let Some(replaced) = target.target() {
            self.remove_entry(replaced)?;
            self.count_entries(new_directory, -1)?;
        }
        let weight = self.weight(moved)?;
        self.charge(moved.parent, weight.negative())?;
        let there =
            Inode { parent: new_directory.id, name: (*name).to_owned(), below: *below, ..moved.clone() };
        self.view.forget(moved);
        self.view.put(there.clone());
        self.write(
            "UPDATE inode SET parent = ?3, name = ?4, below = ?5 WHERE parent = ?1 AND name = ?2",
            (moved.parent.0 as i64, &moved.name, new_directory.id.0 as i64, name, *below as i64),
        )?;
        self.note_parent(&there, new_directory.id);
        self.charge(new_directory.id, weight)?;
        self.count_entries(old_directory, -1)?;
        self.count_entries(new_directory, 1)?;
        Ok(there)
    }

    pub(super) fn delete(
        &mut self,
        path: &FsPath,
        recursive: bool,
        expected: Option<InodeId>,
    ) -> Result<Outcome, Stop> {
        if path.is_root() {
            return Err(FsError::invalid("the root directory can't be deleted").into());
        }
        let found = self.resolve(path)?;
        let is_meant = |target: &Inode| expected.is_none_or(|expected| expected == target.id);
        let Some(target) = found.target().filter(|target| is_meant(target)) else {
            return Ok(Outcome::Deleted(false));
        };
        self.check_removing(&found, target)?;
        if target.children > 0 {
            if !recursive {
                return Err(not_empty(path).into());
            }
            if !self.authority.is_super() {
                let mut removal = Removal::of(target, path);
                removal.go_on(self.connection, self.authority, MOST_IN_ONE_EDIT)?;
                if !removal.is_done() {
                    return Ok(Outcome::DeleteInParts);
                }
            }
        }
        self.remove_entry(target)?;
        self.count_entries(found.existing_parent()?, -1)?;
        Ok(Outcome::Deleted(true))
    }

    /// A file's chunks, and whether other extents are of them too.
    fn chunks_by_sharing(&self, file: InodeId) -> Result<Vec<(ChunkId, bool)>, Stop> {
        let query = "SELECT c.id, c.refs > 1 FROM extent e CROSS JOIN chunk c ON c.id = e.chunk \
                     WHERE e.inode = ?1 ORDER BY e.idx";
        let mut statement = self.connection.prepare_cached(query)?;
        let rows = statement.query_map([file.0 as i64], |row| Ok((ChunkId(number(row, 0)?), row.get(1)?)))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    pub(super) fn set_replication(&mut self, path: &FsPath, replication: u32) -> Result<Outcome, Stop> {
        check_replication(replication)?;
        let found = self.resolve(path)?;
        let file = found.existing_file()?;
        self.authority.check(file, Access::Write, found.place())?;
        if file.replication == replication {
            return Ok(Outcome::Done);
        }
        let weight = self.weight(&Inode { replication, ..file.as_ref().clone() })?;
        let change = weight.plus(self.weight(file)?.negative());
        self.check_quota(file.parent, change)?;
        self.charge(file.parent, change)?;
        self.view.forget(file);
        self.write(
            "UPDATE inode SET replication = ?3 WHERE parent = ?1 AND name = ?2",
            (file.parent.0 as i64, &file.name, replication),
        )?;
        self.replicate_chunks(file.id, replication)?;
        Ok(Outcome::Done)
    }

    /// The file's chunks are to have so many replicas, or more where they are other files' too that want more.
    pub(super) fn replicate_chunks(&mut self, file: InodeId, replication: u32) -> Result<(), Stop> {
        // Of most files all chunks are theirs alone: one statement for all of them.
        let (inode, chunks) = (file.0 as i64, self.chunks_by_sharing(file)?);
        self.write(
            "UPDATE chunk SET replicas = ?2 WHERE refs = 1 AND id IN (SELECT chunk FROM extent WHERE inode = ?1)",
            (inode, replication),
        )?;
        for (chunk, is_shared) in chunks {
            if is_shared {
                self.fit_replicas(chunk)?;
            } else {
                self.emit(Event::LayoutChanged {
                    chunk,
                    layout: Layout::Replicated { replicas: replication },
                });
            }
        }
        Ok(())
    }

    pub(super) fn set_mode(&mut self, path: &FsPath, mode: Mode) -> Result<Outcome, Stop> {
        let found = self.resolve(path)?;
        let inode = found.existing()?;
        self.authority.check_owner(inode, found.place())?;
        self.view.forget(inode);
        self.write(
            "UPDATE inode SET mode = ?3 WHERE parent = ?1 AND name = ?2",
            (inode.parent.0 as i64, &inode.name, mode.bits()),
        )?;
        Ok(Outcome::Done)
    }

    pub(super) fn set_owner(
        &mut self,
        path: &FsPath,
        owner: Option<&str>,
        group: Option<&str>,
    ) -> Result<Outcome, Stop> {
        owner.map_or(Ok(()), |owner| check_principal("user", owner))?;
        group.map_or(Ok(()), |group| check_principal("group", group))?;
        let found = self.resolve(path)?;
        let inode = found.existing()?;
        self.authority.check_giving(inode, owner, group, found.place())?;
        self.view.forget(inode);
        self.write(
            "UPDATE inode SET owner = ?3, grp = ?4 WHERE parent = ?1 AND name = ?2",
            (
                inode.parent.0 as i64,
                &inode.name,
                owner.unwrap_or(&inode.owner),
                group.unwrap_or(&inode.group),
            ),
        )?;
        Ok(Outcome::Done)
    }

    pub(super) fn set_times(
        &mut self,
        path: &FsPath,
        mtime: Option<Millis>,
        atime: Option<Millis>,
    ) -> Result<Outcome, Stop> {
        let found = self.resolve(path)?;
        let inode = found.existing()?;
        self.authority.check_owner(inode, found.place())?;
        self.write_times(inode, mtime.unwrap_or(inode.mtime), atime.unwrap_or(inode.atime))
    }

    /// As POSIX's `utimensat` without times: who may write may say that he just did, but not make up when.
    pub(super) fn touch(&mut self, path: &FsPath) -> Result<Outcome, Stop> {
        let found = self.resolve(path)?;
        let inode = found.existing()?;
        let owns = self.authority.check_owner(inode, found.place()).is_ok();
        if !owns {
            self.authority.check(inode, Access::Write, found.place())?;
        }
        self.write_times(inode, self.now, self.now)
    }

    pub(super) fn write_times(
        &mut self,
        inode: &Inode,
        mtime: Millis,
        atime: Millis,
    ) -> Result<Outcome, Stop> {
        let atime = match inode.kind {
            FileKind::File => atime,
            FileKind::Directory => inode.atime,
        };
        self.view.forget(inode);
        self.write(
            "UPDATE inode SET mtime = ?3, atime = ?4 WHERE parent = ?1 AND name = ?2",
            (inode.parent.0 as i64, &inode.name, mtime.0 as i64, atime.0 as i64),
        )?;
        Ok(Outcome::Done)
    }
}

pub(super) fn not_empty(path: &FsPath) -> FsError {
    FsError::new(
        ErrorCode::NotEmpty,
        format!(
            "directory {path} is not empty: delete its entries first, or ask for all of it to be deleted"
        ),
    )
}

/// Whether `moved` may take the place of `replaced`, which is at `to`.
fn check_replacing(moved: &Inode, replaced: &Inode, to: &FsPath, overwrite: bool) -> FsResult<()> {
    if !overwrite {
        return Err(exists(to, ": ask for it to be overwritten, or choose another name"));
    }
    match (moved.kind, replaced.kind) {
        (FileKind::File, FileKind::Directory) => Err(is_a_directory(to)),
        (FileKind::Directory, FileKind::File) => Err(FsError::new(
            ErrorCode::NotADirectory,
            format!("{to} is a file: a directory can't take its place"),
        )),
        (FileKind::Directory, FileKind::Directory) if replaced.children > 0 => Err(not_empty(to)),
        (FileKind::File, FileKind::File) | (FileKind::Directory, FileKind::Directory) => Ok(()),
    }
}
