//! A place where clusters are built: a Kubernetes with the operator.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use async_trait::async_trait;
use dfs_failure::{Capability, Cluster, Shape, Site};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, ResourceExt as _};

use crate::ground::Ground;
use crate::hold::Hold;
use crate::objects::{LABEL, delete};
use crate::pods::Pods;

/// Longest that a cluster may take to be ready.
const PATIENCE: Duration = Duration::from_mins(3);

/// Longest that one scenario may take: two rolls of all pods, or a machine that is noticed only after a minute.
const LIMIT: Duration = Duration::from_mins(20);

/// A Kubernetes.
pub(crate) struct Kubernetes {
    ground: Arc<Ground>,
    built: AtomicU32,
}

impl Kubernetes {
    /// Clusters on this ground.
    pub(crate) fn new(ground: Arc<Ground>) -> Self {
        Self { ground, built: AtomicU32::new(0) }
    }

    /// Removes what a former run left, and prepares what clusters here have in common.
    pub(crate) async fn clean(&self) -> Result<()> {
        let api: Api<Namespace> = Api::all(self.ground.client());
        let left = api.list(&ListParams::default().labels(LABEL)).await.context("listing namespaces")?;
        for namespace in left {
            delete(&api, &namespace.name_any(), &DeleteParams::default()).await?;
        }
        self.ground.restore().await?;
        Hold::install(self.ground.client()).await
    }
}

#[async_trait]
impl Site for Kubernetes {
    fn name(&self) -> String {
        self.ground.name()
    }

    fn lacks(&self, capability: Capability) -> Option<String> {
        let machines = self.ground.machines.is_some();
        let because = |why: &str| Some(why.to_owned());
        match capability {
            Capability::Pause | Capability::Network | Capability::Disk if !machines => {
                because("the machines can't be touched: only those of kind can")
            }
            Capability::Images if self.ground.images.earlier.is_none() => {
                because("there is no image of the release before: --earlier-image")
            }
            Capability::Pause
            | Capability::Network
            | Capability::Disk
            | Capability::Images
            | Capability::Grow => None,
            Capability::FullDisk | Capability::FailingDisk | Capability::SlowDisk | Capability::PowerCut => {
                because("claims are directories of machines here: their disks can't be made to fail")
            }
            Capability::FullLogDisk => because("logs lie on the disk of the machines themselves"),
            Capability::Clock => because("all machines have the clock of this one"),
            Capability::Releases => because("all pods of a cluster have one image"),
            Capability::Restore => because("a NameNode's volume can't be filled from outside"),
            Capability::Topology => because("where a DataNode is follows from its machine"),
            Capability::HangingDisk => because("disks can't be made to hang here"),
            Capability::Volumes => because("volumes are left alone here"),
            Capability::Addresses => because("pods are reached through the API server only"),
        }
    }

    fn limit(&self) -> Duration {
        LIMIT
    }

    async fn build(&self, shape: &Shape) -> Result<Arc<dyn Cluster>> {
        self.ground.restore().await.context("mending what an earlier scenario left")?;
        let number = self.built.fetch_add(1, Ordering::Relaxed) + 1;
        // Names must be new in each run: a namespace may still be on its way out.
        let seconds = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs() % 1_000_000;
        let name = format!("e2e{number}x{seconds}");
        let began = Instant::now();
        let cluster = Pods::create(Arc::clone(&self.ground), &name, shape).await?;
        match cluster.settle(PATIENCE).await {
            Ok(()) => {
                cluster.note_ready_after(began.elapsed());
                Ok(Arc::new(cluster))
            }
            Err(error) => {
                let logs = std::env::temp_dir().join(format!("dfs-{name}"));
                let kept = cluster.save_logs(&logs).await;
                // Why it was not built is what counts.
                let removed = cluster.remove().await;
                let further: Vec<_> = [kept, removed]
                    .into_iter()
                    .filter_map(Result::err)
                    .map(|error| format!("; {error:#}"))
                    .collect();
                Err(error.context(format!("its logs are in {}{}", logs.display(), further.concat())))
            }
        }
    }
}
