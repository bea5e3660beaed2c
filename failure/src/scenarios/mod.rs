//! Every scenario. Each knows only the stage: the trait [`Cluster`](crate::Cluster) and the public client.

mod corruption;
mod crash;
mod datanodes;
mod disks;
mod ends;
mod logs;
mod namenode_disks;
mod namenodes;
mod partitions;
mod people;
mod pipeline;
mod racks;
mod slow;
mod stale;
mod upgrade;
mod volumes;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::LazyLock;

use anyhow::{Context, Result};
use dfs_client::Dfs;
use dfs_types::{FileStatus, FsPath, Millis};
use futures_util::TryStreamExt as _;
use futures_util::future::BoxFuture;

use crate::cluster::{Capability, Daemon, Shape};
use crate::health::{self, Fsck};
use crate::stage::{Played, Stage};

/// Something that can happen to a cluster, and what must come of it.
#[derive(Clone)]
pub struct Scenario {
    /// Short name.
    pub name: &'static str,
    /// What it is about, in a word or two: scenarios of a group stand together.
    pub group: &'static str,
    /// What happens, in a sentence.
    pub title: &'static str,
    /// What the driver must be able to do.
    pub needs: &'static [Capability],
    /// The cluster it needs.
    pub shape: Shape,
    /// Whether the cluster is as good as new afterwards.
    pub leaves_whole: bool,
    /// Does it.
    pub play: for<'a> fn(&'a Stage) -> BoxFuture<'a, Played>,
}

impl fmt::Debug for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// All of them, those with the same cluster next to each other where groups allow.
pub fn all() -> &'static [Scenario] {
    static ALL: LazyLock<Vec<Scenario>> = LazyLock::new(|| {
        let groups = [
            datanodes::list(),
            namenodes::list(),
            namenode_disks::list(),
            pipeline::list(),
            slow::list(),
            racks::list(),
            corruption::list(),
            disks::list(),
            volumes::list(),
            logs::list(),
            crash::list(),
            ends::list(),
            stale::list(),
            partitions::list(),
            people::list(),
            upgrade::list(),
        ];
        groups.into_iter().flatten().collect()
    });
    &ALL
}

/// One NameNode and more DataNodes than replicas: what most scenarios need.
const USUAL: Shape = Shape::new(1, 5);
/// A group of NameNodes.
const GROUP: Shape = Shape::new(3, 4);

/// The DataNode with most replicas.
pub async fn busiest(stage: &Stage, fsck: &Fsck) -> Result<Daemon> {
    let mut counts = BTreeMap::<String, usize>::new();
    for node in fsck.chunks.iter().flat_map(|(_, chunk)| &chunk.nodes) {
        *counts.entry(node.address()).or_default() += 1;
    }
    let (address, _) =
        counts.into_iter().max_by_key(|(_, count)| *count).context("no node holds anything")?;
    health::daemon_at(stage.cluster.as_ref(), &address).await
}

/// Small disks of the suite's own, two for each DataNode.
const DISKS: Shape = Shape { volumes: 2, disks: true, ..Shape::new(1, 5) };

/// All of the namespace, without times of access, which reading changes.
async fn tree(dfs: &Dfs, root: &FsPath) -> Result<BTreeMap<FsPath, FileStatus>> {
    let (mut found, mut folders) = (BTreeMap::new(), vec![root.clone()]);
    while let Some(folder) = folders.pop() {
        let entries: Vec<_> = dfs.list(&folder).try_collect().await?;
        for entry in entries {
            let path = folder.join(&entry.name)?;
            if entry.status.is_directory() {
                folders.push(path.clone());
            }
            found.insert(path, FileStatus { atime: Millis(0), ..entry.status });
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_words_and_no_two_are_the_same() {
        let names: BTreeSet<_> = all().iter().map(|scenario| scenario.name).collect();
        assert_eq!(names.len(), all().len());
        for name in names {
            assert!(name.chars().all(|letter| letter.is_ascii_lowercase() || letter == '-'), "{name}");
            assert!(name != "all", "it means all of them");
        }
    }
}
