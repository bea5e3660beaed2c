//! Whether anything is lost or about to be.

use std::collections::BTreeSet;

use dfs_client::NodeState;
use dfs_kubernetes::crd::{DfsClusterStatus, condition, reason};

use super::since::WANT;
use super::{Facts, Verdict};
use crate::observe::{Files, FilesView};

/// So long a pod may take to serve before anybody is told that it is down, in seconds.
const STARTING_GRACE: i64 = 90;
/// So long chunks may have too few replicas before anybody is told, in seconds: some have while much is written.
const WANT_GRACE: i64 = 10;
/// Most pods that a message names.
const MAX_NAMED: usize = 5;

/// A reason and a message.
type Wrong = (&'static str, String);

impl Facts<'_> {
    pub(super) fn degraded(&self, old: &DfsClusterStatus) -> Verdict {
        let verdict =
            |status, reason, message: String| Verdict { kind: condition::DEGRADED, status, reason, message };
        let mut wrongs: Vec<Wrong> = Vec::new();
        if let Some(words) = self.other_file_system() {
            wrongs.push((reason::CLUSTER_ID_CHANGED, words.to_owned()));
        }
        if let Some(files) = self.observed.files.told() {
            wrongs.extend(self.chunks_in_want(files, old));
            let failed: u64 = files.serving().map(|node| node.failed_volumes).sum();
            if failed > 0 {
                let volumes = if failed == 1 { "volume" } else { "volumes" };
                let message = format!("{failed} {volumes} failed: 'dfs report -o json' names the paths");
                wrongs.push((reason::VOLUME_FAILED, message));
            }
        }
        // Before the file system was there for the first time pods are not down, they have not been up.
        if old.cluster_id.is_some() {
            wrongs.extend(self.pods_down());
        }
        match (wrongs.first().map(|(reason, _)| *reason), &self.observed.files) {
            (Some(reason), _) => {
                let messages: Vec<_> = wrongs.into_iter().map(|(_, message)| message).collect();
                verdict("True", reason, messages.join("; "))
            }
            (None, Files::Told(_)) => verdict("False", reason::HEALTHY, "nothing is in want".to_owned()),
            (None, Files::NotAsked | Files::Silent(_)) => {
                verdict("Unknown", reason::UNKNOWN, "the file system has not told".to_owned())
            }
        }
    }

    fn chunks_in_want(&self, files: &FilesView, old: &DfsClusterStatus) -> Vec<Wrong> {
        let FilesView { missing, corrupt, under_replicated, only_one_copy, .. } = files;
        let mut wrongs = Vec::new();
        if *missing > 0 {
            let message = format!("{missing} chunks have no replica: 'dfs fsck /' names their files");
            wrongs.push((reason::CHUNKS_MISSING, message));
        }
        if *corrupt > 0 {
            let message = format!("{corrupt} chunks have no good replica: 'dfs fsck /' names their files");
            wrongs.push((reason::CHUNKS_CORRUPT, message));
        }
        // An operator that began a moment ago does not know for how long, but what was told last.
        let told =
            old.condition(condition::DEGRADED).is_some_and(|told| told.reason == reason::UNDER_REPLICATED);
        let lost: BTreeSet<_> = files.lost().map(|(_, pod)| pod).collect();
        let lost: Vec<_> = lost.into_iter().collect();
        let lasts = told || !lost.is_empty() || self.since.seconds(WANT, self.now) >= WANT_GRACE;
        // These are given up now, and what they held may be copied before anybody looks again.
        let given_up = files.lost().any(|(node, _)| node.state == NodeState::Stale);
        if given_up {
            let message = format!("the volumes of {} were lost: what they held is copied", named(&lost));
            wrongs.push((reason::UNDER_REPLICATED, message));
        } else if files.in_want(self.spec) && lasts {
            let mut message =
                format!("{under_replicated} chunks have too few replicas, {only_one_copy} of them only one");
            let (asked, wanted) = (self.spec.data_nodes(), self.spec.replication);
            if asked < wanted {
                message = format!("{message}: {asked} DataNodes can't hold {wanted} replicas");
            }
            if !lost.is_empty() {
                message = format!("{message}; the volumes of {} were lost", named(&lost));
            }
            wrongs.push((reason::UNDER_REPLICATED, message));
        }
        wrongs
    }

    fn pods_down(&self) -> Vec<Wrong> {
        let namenodes = (reason::NAME_NODE_DOWN, self.name.namenodes(), self.spec.name_node.replicas);
        let pools = self.spec.data_node_pools.iter();
        let pools = pools.map(|pool| (reason::DATA_NODE_DOWN, self.name.pool(&pool.name), pool.replicas));
        let mut wrongs = Vec::new();
        for (why, set, replicas) in std::iter::once(namenodes).chain(pools) {
            let pods: Vec<_> = self.observed.pods_of(&set, replicas).collect();
            let down: Vec<_> = pods
                .iter()
                .filter(|(name, pod)| match pod {
                    Some(pod) => !pod.ready && pod.age > STARTING_GRACE,
                    None => self.since.seconds(name, self.now) > STARTING_GRACE,
                })
                .map(|(name, _)| name.as_str())
                .collect();
            if !down.is_empty() {
                wrongs.push((why, format!("{} not ready: {}", plural(down.len()), named(&down))));
            }
        }
        wrongs
    }
}

/// Some names, and how many more there are.
fn named(names: &[&str]) -> String {
    let shown = names.iter().take(MAX_NAMED).copied().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(MAX_NAMED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

fn plural(pods: usize) -> String {
    if pods == 1 { "1 pod is".to_owned() } else { format!("{pods} pods are") }
}
