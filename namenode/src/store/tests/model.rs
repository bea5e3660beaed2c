//! Random edits against a model in memory that knows nothing of SQL, caches or batches.

mod limits;
mod script;
mod trash;
mod writers;

use std::collections::BTreeMap;

use dfs_namenode_core::NodeRecord;
use dfs_types::format::{FIRST_LEVEL, LEVEL};
use dfs_types::{
    ChunkId, ErrorCode, FileKind, FileStatus, FsPath, GenStamp, InodeId, Layout, Millis, Mode, NodeDuty,
    NodeId, Quota,
};
use proptest::prelude::*;

use super::{Fixture, NOW, SUPERUSER, by, path, root};
use crate::store::edit::{
    Balancing, Edit, Extent, NodeSeen, Outcome, PIPELINES, Proposal, QUOTAS, RECOVERY_HOLDER,
};
use crate::store::{ChunkRow, KnownNode};

use ErrorCode::{
    AlreadyExists, InvalidArgument, IsADirectory, LeaseConflict, NotADirectory, NotEmpty, NotFound,
    StaleChunk,
};

use script::Target;
pub(super) use script::ops;

/// Bytes of a full chunk.
const CHUNK: u64 = 1_024;

#[derive(Debug, Clone)]
struct ModelChunk {
    id: ChunkId,
    generation: GenStamp,
    length: Option<u64>,
    readable: u64,
    /// The chunk's own length, if the file shows less of it.
    cut_from: Option<u64>,
    recovery: Option<GenStamp>,
    pipeline: Vec<NodeId>,
}

#[derive(Debug, Clone)]
struct Node {
    id: InodeId,
    kind: FileKind,
    mtime: Millis,
    atime: Millis,
    replication: u32,
    holder: Option<String>,
    /// While it is open.
    temporary: bool,
    /// While it is open: the chunks that it had when its writer began to append.
    inherited: Option<usize>,
    chunks: Vec<ModelChunk>,
    quota: Quota,
    /// How long what is removed below it is kept in its own trash.
    keep: Option<u64>,
}

impl Node {
    /// The nodes that the last chunks are written to, while the file is open.
    fn pipelines(&self) -> Vec<(ChunkId, Vec<NodeId>)> {
        let known = |chunk: &&ModelChunk| self.holder.is_some() && !chunk.pipeline.is_empty();
        let last = self.chunks.iter().rev().take(2).rev();
        last.filter(known).map(|chunk| (chunk.id, chunk.pipeline.clone())).collect()
    }

    fn length(&self) -> u64 {
        self.chunks.iter().map(|chunk| chunk.readable).sum()
    }
}

/// The namespace as a map of paths.
#[derive(Debug, Clone)]
pub(super) struct Model {
    nodes: BTreeMap<String, Node>,
    next_inode: u64,
    next_chunk: u64,
    next_generation: u64,
    duties: BTreeMap<NodeId, NodeDuty>,
    registry: BTreeMap<NodeId, Option<(NodeRecord, Millis)>>,
    balancer: Option<Balancing>,
    safe_mode: bool,
    level: u16,
}

type ModelResult<T> = Result<T, ErrorCode>;

impl Model {
    pub(super) fn new(level: u16) -> Self {
        let mut model = Self {
            nodes: BTreeMap::new(),
            next_inode: InodeId::ROOT.0,
            next_chunk: ChunkId::FIRST.0,
            next_generation: GenStamp::FIRST.0,
            duties: BTreeMap::new(),
            registry: BTreeMap::new(),
            balancer: None,
            safe_mode: false,
            level,
        };
        model.make("/", FileKind::Directory, Millis(0));
        model
    }

    fn make(&mut self, at: &str, kind: FileKind, now: Millis) -> &mut Node {
        let node = Node {
            id: InodeId(self.next_inode),
            kind,
            mtime: now,
            atime: Millis(0),
            replication: 0,
            holder: None,
            temporary: false,
            inherited: None,
            chunks: Vec::new(),
            quota: Quota::default(),
            keep: None,
        };
        self.next_inode += 1;
        self.nodes.insert(at.to_owned(), node);
        self.nodes.get_mut(at).unwrap()
    }

    /// What a writer says of his file: its id, his name, its last chunk.
    fn said(&self, target: &Target) -> (InodeId, String, Option<Extent>) {
        let files: Vec<&Node> = self.nodes.values().filter(|node| node.kind == FileKind::File).collect();
        let open: Vec<&Node> = files.iter().copied().filter(|node| node.holder.is_some()).collect();
        let from = if open.is_empty() { &files } else { &open };
        let Some(node) = from.get(target.file % from.len().max(1)) else {
            return (InodeId(3), "alice".to_owned(), None);
        };
        let holder = match &node.holder {
            Some(holder) if target.lie != 0 => holder.clone(),
            Some(_) | None => "mallory".to_owned(),
        };
        let back = if target.lie == 2 { 2 } else { 1 };
        let chunk = node.chunks.len().checked_sub(back).map(|at| &node.chunks[at]);
        let extent = chunk.map(|chunk| Extent {
            chunk: chunk.id,
            generation: GenStamp(chunk.generation.0 + u64::from(target.lie == 1)),
            length: chunk.length.filter(|_| target.lie > 3).unwrap_or(target.length),
        });
        (node.id, holder, extent)
    }

    /// The inode that a request means: that at the path, another one, or whatever is there.
    fn expected(&self, at: &FsPath, expects: Option<bool>) -> Option<InodeId> {
        let there = self.nodes.get(at.as_str()).map_or(InodeId(0), |node| node.id);
        expects.map(|truly| if truly { there } else { InodeId(there.0 + 1) })
    }

    /// The nodes that a chunk is written to, as far as the level has them.
    fn nodes_for(&self, target: &Target) -> Vec<NodeId> {
        let count = if self.level < PIPELINES { 0 } else { target.length % 4 };
        (0..count).map(|n| NodeId::from_bytes(&[target.lie + n as u8; 16]).unwrap()).collect()
    }

    fn node_by_id(&self, id: InodeId) -> Option<&Node> {
        self.nodes.values().find(|node| node.id == id)
    }

    fn place_of(&self, id: InodeId) -> FsPath {
        path(self.nodes.iter().find(|(_, node)| node.id == id).map(|(at, _)| at).unwrap())
    }

    fn entries(&self, at: &str) -> impl Iterator<Item = &String> {
        let prefix = if at == "/" { "/".to_owned() } else { format!("{at}/") };
        self.nodes.keys().filter(move |key| {
            key.strip_prefix(&prefix).is_some_and(|rest| !rest.is_empty() && !rest.contains('/'))
        })
    }

    /// Checks that nothing above `at` is a file.
    fn check_above(&self, at: &FsPath) -> ModelResult<()> {
        let mut above = at.parent();
        while let Some(directory) = above {
            if self.nodes.get(directory.as_str()).is_some_and(|node| node.kind == FileKind::File) {
                return Err(NotADirectory);
            }
            above = directory.parent();
        }
        Ok(())
    }

    fn get(&self, at: &FsPath) -> ModelResult<&Node> {
        self.check_above(at)?;
        self.nodes.get(at.as_str()).ok_or(NotFound)
    }

    fn check_parent(&self, at: &FsPath) -> ModelResult<()> {
        self.check_above(at)?;
        at.parent().map_or(Ok(()), |parent| self.get(&parent).map(|_| ()))
    }

    fn touch_parent(&mut self, at: &FsPath, now: Millis) {
        if let Some(parent) = at.parent() {
            self.nodes.get_mut(parent.as_str()).unwrap().mtime = now;
        }
    }

    fn make_missing(&mut self, at: &FsPath, now: Millis) {
        if !self.nodes.contains_key(at.as_str()) {
            self.make_missing(&at.parent().unwrap(), now);
            self.make(at.as_str(), FileKind::Directory, now);
            self.touch_parent(at, now);
        }
    }

    fn remove(&mut self, at: &FsPath, now: Millis) {
        self.nodes.retain(|key, _| !path(key).starts_with(at));
        self.touch_parent(at, now);
    }

    fn status(&self, at: &str) -> FileStatus {
        let node = &self.nodes[at];
        let file = node.kind == FileKind::File;
        FileStatus {
            inode: node.id,
            kind: node.kind,
            owner: SUPERUSER.to_owned(),
            group: "supergroup".to_owned(),
            mode: if file { Mode::FILE } else { Mode::DIRECTORY },
            mtime: node.mtime,
            atime: node.atime,
            length: node.length(),
            replication: node.replication,
            chunk_size: if file { 1_024 } else { 0 },
            children: self.entries(at).count() as u64,
            open: node.holder.is_some(),
            has_acl: false,
        }
    }

    fn chunk_rows(&self, at: &str) -> Vec<ChunkRow> {
        let mut offset = 0;
        let mut rows = Vec::new();
        for (index, chunk) in self.nodes[at].chunks.iter().enumerate() {
            rows.push(ChunkRow {
                chunk: chunk.id,
                generation: chunk.generation,
                index: index as u64,
                offset,
                chunk_offset: 0,
                length: chunk.length,
                readable: chunk.readable,
                layout: Layout::Replicated { replicas: self.nodes[at].replication },
            });
            offset += chunk.readable;
        }
        rows
    }

    fn file_of(&mut self, inode: InodeId) -> ModelResult<&mut Node> {
        self.nodes.values_mut().find(|node| node.id == inode).ok_or(NotFound)
    }

    fn held(&mut self, inode: InodeId, holder: &str) -> ModelResult<&mut Node> {
        let node = self.file_of(inode)?;
        if holder != RECOVERY_HOLDER && node.holder.as_deref() == Some(holder) {
            Ok(node)
        } else {
            Err(LeaseConflict)
        }
    }

    fn recent(&mut self, inode: InodeId, holder: &str, chunk: ChunkId) -> ModelResult<&mut ModelChunk> {
        let node = self.held(inode, holder)?;
        let inherited = node.inherited.unwrap_or(0);
        node.chunks.iter_mut().skip(inherited).rev().take(2).find(|known| known.id == chunk).ok_or(StaleChunk)
    }

    fn take_generation(&mut self) -> GenStamp {
        self.next_generation += 1;
        GenStamp(self.next_generation - 1)
    }

    /// Applies an edit; `None` for an outcome the model does not know.
    pub(super) fn apply(&mut self, edit: &Edit, now: Millis) -> ModelResult<Option<Outcome>> {
        match edit {
            Edit::Mkdir { path, parents, .. } => {
                self.check_above(path)?;
                match self.nodes.get(path.as_str()) {
                    Some(node) if *parents && node.kind == FileKind::Directory => {}
                    Some(_) => return Err(AlreadyExists),
                    None => {
                        if !parents {
                            self.check_parent(path)?;
                        }
                        self.check_quota(path, self.missing(path), 0, None)?;
                        self.make_missing(path, now);
                    }
                }
                Ok(Some(Outcome::Status(self.status(path.as_str()))))
            }
            Edit::Create { path, holder, replication, overwrite, parents, temporary, .. } => {
                self.check_above(path)?;
                match self.nodes.get(path.as_str()) {
                    Some(node) if node.kind == FileKind::Directory => return Err(IsADirectory),
                    Some(_) if *overwrite => self.remove(path, now),
                    Some(_) => return Err(AlreadyExists),
                    None => {
                        if !parents {
                            self.check_parent(path)?;
                        }
                        self.check_quota(path, self.missing(path), 0, None)?;
                        self.make_missing(&path.parent().unwrap(), now);
                    }
                }
                let node = self.make(path.as_str(), FileKind::File, now);
                node.atime = now;
                node.replication = *replication;
                node.holder = Some(holder.clone());
                node.temporary = *temporary;
                self.touch_parent(path, now);
                Ok(Some(Outcome::Status(self.status(path.as_str()))))
            }
            Edit::Rename { from, to, overwrite } => self.rename(from, to, *overwrite, now),
            Edit::Delete { path, recursive, expected } => self.delete(path, *recursive, *expected, now),
            Edit::SetReplication { path, replication } => {
                if *replication == 0 {
                    return Err(InvalidArgument);
                }
                if self.get(path)?.kind == FileKind::Directory {
                    return Err(IsADirectory);
                }
                let node = &self.nodes[path.as_str()];
                let dearer = Node { replication: *replication, ..node.clone() }.space() as i64;
                self.check_quota(path, 0, dearer - node.space() as i64, None)?;
                self.nodes.get_mut(path.as_str()).unwrap().replication = *replication;
                Ok(Some(Outcome::Done))
            }
            Edit::Trash { path, recursive, expected } => self.trash(path, *recursive, *expected, now),
            Edit::SetTrash { path, keep } => self.set_trash(path, *keep, now),
            // Nothing is due as fast as that.
            Edit::TendTrash { root, .. } => {
                let found = self.get(root)?;
                if found.kind == FileKind::File { Err(NotADirectory) } else { Ok(Some(Outcome::Done)) }
            }
            Edit::SetQuota { path, names, space } => self.set_quota(path, *names, *space),
            Edit::SetTimes { path, mtime, .. } => {
                self.get(path)?;
                self.nodes.get_mut(path.as_str()).unwrap().mtime = mtime.unwrap();
                Ok(Some(Outcome::Done))
            }
            Edit::Touch { path } => {
                let file = self.get(path)?.kind == FileKind::File;
                let node = self.nodes.get_mut(path.as_str()).unwrap();
                node.mtime = now;
                node.atime = if file { now } else { node.atime };
                Ok(Some(Outcome::Done))
            }
            Edit::Reap { .. } => Ok(None),
            Edit::PurgeOutcomes { .. } => Ok(Some(Outcome::Done)),
            Edit::SetNodeDuty { nodes, duty } => {
                if let NodeDuty::Maintenance { until } = duty
                    && until.0 > i64::MAX as u64
                {
                    return Err(InvalidArgument);
                }
                self.duties.extend(nodes.iter().map(|node| (*node, *duty)));
                self.duties.retain(|_, duty| *duty != NodeDuty::InService);
                Ok(Some(Outcome::Done))
            }
            Edit::SetBalancer { settings } => {
                self.balancer = *settings;
                Ok(Some(Outcome::Done))
            }
            Edit::EndBalancer { settings } => {
                self.balancer = self.balancer.filter(|present| present != settings);
                Ok(Some(Outcome::Done))
            }
            Edit::SetSafeMode { on } => {
                self.safe_mode = *on;
                Ok(Some(Outcome::Done))
            }
            Edit::RecordNodes { nodes } => {
                for node in nodes {
                    self.record(node);
                }
                Ok(Some(Outcome::Done))
            }
            Edit::ForgetNodes { nodes } => {
                for id in nodes {
                    self.registry.insert(*id, None);
                    self.duties.remove(id);
                }
                Ok(Some(Outcome::Done))
            }
            Edit::RaiseLevel { to } => {
                self.level = self.level.max(*to);
                Ok(Some(Outcome::Done))
            }
            Edit::SetMode { .. }
            | Edit::SetOwner { .. }
            | Edit::ChangeAcl { .. }
            | Edit::SetXattr { .. }
            | Edit::RemoveXattr { .. }
            | Edit::SetSetting { .. } => panic!("no script has {edit:?}"),
            Edit::Append { .. }
            | Edit::Truncate { .. }
            | Edit::Concat { .. }
            | Edit::AddChunk { .. }
            | Edit::AbandonChunk { .. }
            | Edit::CommitLength { .. }
            | Edit::CommitChunk { .. }
            | Edit::Complete { .. }
            | Edit::Discard { .. }
            | Edit::NewGeneration { .. }
            | Edit::UpdatePipeline { .. }
            | Edit::BeginRecovery { .. }
            | Edit::CommitRecovery { .. } => self.write(edit, now),
        }
    }

    fn record(&mut self, NodeSeen { id, record, seen }: &NodeSeen) {
        let known = self.registry.get(id);
        if known.is_some_and(Option::is_none) {
            return;
        }
        let mut record = record.clone();
        let before = known.and_then(Option::as_ref).map(|(record, _)| record.volumes.clone());
        for volume in record.volumes.iter_mut().filter(|volume| volume.capacity == 0) {
            let old = before.iter().flatten().find(|old| old.id == volume.id);
            volume.capacity = old.map_or(0, |old| old.capacity);
        }
        self.registry.insert(*id, Some((record, *seen)));
    }

    fn rename(
        &mut self,
        from: &FsPath,
        to: &FsPath,
        overwrite: bool,
        now: Millis,
    ) -> ModelResult<Option<Outcome>> {
        if from.is_root() || to.is_root() {
            return Err(InvalidArgument);
        }
        let kind = self.get(from)?.kind;
        if from == to {
            return Ok(Some(Outcome::Done));
        }
        if to.starts_with(from) {
            return Err(InvalidArgument);
        }
        self.check_parent(to)?;
        let old = self.nodes.get(to.as_str()).map(|_| self.summary(to)).unwrap_or_default();
        if let Some(old) = self.nodes.get(to.as_str()) {
            match (kind, old.kind) {
                _ if !overwrite => return Err(AlreadyExists),
                (FileKind::File, FileKind::Directory) => return Err(IsADirectory),
                (FileKind::Directory, FileKind::File) => return Err(NotADirectory),
                _ if self.entries(to.as_str()).next().is_some() => return Err(NotEmpty),
                _ => {}
            }
        }
        if from.parent() != to.parent() {
            let sum = self.summary(from);
            let names = (sum.files + sum.directories) as i64 - (old.files + old.directories) as i64;
            self.check_quota(&to.parent().unwrap(), names, sum.space as i64 - old.space as i64, Some(from))?;
        }
        if self.nodes.contains_key(to.as_str()) {
            self.remove(to, now);
        }
        let moved: Vec<String> =
            self.nodes.keys().filter(|key| path(key).starts_with(from)).cloned().collect();
        for key in moved {
            let node = self.nodes.remove(&key).unwrap();
            self.nodes.insert(format!("{to}{}", &key[from.as_str().len()..]), node);
        }
        self.touch_parent(from, now);
        self.touch_parent(to, now);
        Ok(Some(Outcome::Done))
    }
}

/// Every path a script may name.
fn all_paths() -> Vec<FsPath> {
    let mut paths = vec![FsPath::root()];
    let mut last = paths.clone();
    for _ in 0..3 {
        last = last.iter().flat_map(|above| ["a", "b", "c"].map(|name| above.join(name).unwrap())).collect();
        paths.extend(last.clone());
    }
    paths
}

fn compare(fixture: &Fixture, model: &Model) -> Result<(), TestCaseError> {
    for at in all_paths() {
        let expected = model.get(&at).map(|_| model.status(at.as_str()));
        let found = fixture.wait(fixture.store().stat(&root(), &at)).map_err(|error| error.code);
        prop_assert_eq!(found, expected, "{}", at);
    }
    let contents = fixture.store().contents();
    let duties: Vec<(NodeId, NodeDuty)> = model.duties.iter().map(|(node, duty)| (*node, *duty)).collect();
    prop_assert_eq!(contents.duties(), Ok(duties));
    let nodes = model.registry.iter().map(|(id, record)| KnownNode { id: *id, record: record.clone() });
    prop_assert_eq!(contents.nodes(), Ok(nodes.collect()));
    prop_assert_eq!(contents.balancer(), Ok(model.balancer));
    prop_assert_eq!(contents.safe_mode(), Ok(model.safe_mode));
    prop_assert_eq!(fixture.store().level(), model.level);
    for (at, node) in &model.nodes {
        let found = fixture.wait(fixture.store().content_summary(&root(), &path(at)));
        let mut expected = model.summary(&path(at));
        if model.level < QUOTAS {
            // Counted by walking, which does not know how much is being written.
            expected.space = found.as_ref().map_or(0, |found| found.space);
        }
        prop_assert_eq!(found, Ok(expected), "{}", at);
        let found = fixture.wait(fixture.store().pipelines(node.id));
        prop_assert_eq!(found, Ok(node.pipelines()), "inode {}", node.id);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn edits_do_what_the_model_does(script in ops(80), level in FIRST_LEVEL..=LEVEL) {
        let fixture = Fixture::at_level(level);
        let mut model = Model::new(level);
        for (step, op) in script.iter().enumerate() {
            let edit = op.edit(&model);
            let now = Millis(NOW.0 + step as u64);
            let expected = model.apply(&edit, now);
            let found = fixture.propose(Proposal { now, ..by(None, edit.clone()) });
            match (expected, found) {
                (Ok(None), Ok(_)) => {}
                (Ok(Some(expected)), Ok(found)) => prop_assert_eq!(found, expected, "step {}: {:?}", step, edit),
                (expected, found) => {
                    let found = found.map(Some).map_err(|error| error.code);
                    prop_assert_eq!(found, expected, "step {}: {:?}", step, edit);
                }
            }
            compare(&fixture, &model)?;
        }
        for (at, node) in &model.nodes {
            if node.kind == FileKind::Directory {
                let expected: Vec<&str> = model.entries(at).map(|key| key.rsplit('/').next().unwrap()).collect();
                prop_assert_eq!(fixture.names(at), expected);
            } else {
                let (_, chunks) = fixture.wait(fixture.store().file(&root(), &path(at), 0, u64::MAX)).unwrap();
                prop_assert_eq!(chunks, model.chunk_rows(at));
            }
            prop_assert_eq!(fixture.wait(fixture.store().path_of(node.id)).unwrap(), Some(path(at)));
        }
        fixture.check_invariants();
        while fixture.ok(Edit::Reap { limit: 3 }) != (Outcome::Reaped { inodes: 0, more: false }) {
            fixture.check_invariants();
        }
        let counts = fixture.store().counts();
        prop_assert_eq!((counts.files + counts.directories) as usize, model.nodes.len());
        compare(&fixture, &model)?;
    }
}
