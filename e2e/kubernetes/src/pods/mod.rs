//! A cluster of pods.

mod disk;
mod network;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use async_trait::async_trait;
use dfs_client::{Builder, Dfs};
use dfs_e2e::wait;
use dfs_failure::cluster::{Cut, Daemon, Party, StoredReplica};
use dfs_failure::health::patience;
use dfs_failure::{Cluster, Shape};
use dfs_kubernetes::ClusterName;
use dfs_kubernetes::crd::DfsCluster;
use dfs_kubernetes::names::{Component, PodHost, pod_ordinal};
use dfs_types::ChunkId;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Event, Namespace, PersistentVolumeClaim, Pod};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::hold::Hold;
use crate::objects::{LABEL, delete, is_ready, logs};

use crate::ground::{Ground, Machines, Signal};

/// Name of the pool of all DataNodes.
pub(crate) const POOL: &str = "a";
/// Field manager of what the tests write.
pub(crate) const MANAGER: &str = "dfs-e2e";
/// Who may do anything: the user whom the NameNodes run as.
pub(crate) const SUPERUSER: &str = "dfs";
/// Silence after which a DataNode is dead: little more than the shortest that is allowed, so that nobody has to wait.
const DEAD_AFTER: &str = "8s";
/// How long an announced restart may take.
const RESTART_GRACE: &str = "12s";

/// A `DfsCluster` in a namespace of its own.
pub(crate) struct Pods {
    /// Where it runs.
    pub(crate) ground: Arc<Ground>,
    /// Its name.
    pub(crate) name: ClusterName,
    shape: Shape,
    hold: Hold,
    dfs: OnceCell<Dfs>,
    ready_after: OnceLock<Duration>,
}

impl Pods {
    /// Makes the namespace and the `DfsCluster`, and waits for nothing.
    pub(crate) async fn create(ground: Arc<Ground>, name: &str, shape: &Shape) -> Result<Self> {
        let name = ClusterName::new(format!("dfs-{name}"), name);
        let client = ground.client();
        let namespaces: Api<Namespace> = Api::all(client.clone());
        // What the pods must do with is what the strictest namespaces allow.
        let namespace = json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": { "name": name.namespace, "labels": {
                LABEL: "yes", "pod-security.kubernetes.io/enforce": "restricted",
            } },
        });
        namespaces.patch(&name.namespace, &PatchParams::apply(MANAGER), &Patch::Apply(&namespace)).await?;
        let hold = Hold::new(client, &name.namespace);
        let this = Self {
            ground,
            name,
            shape: shape.clone(),
            hold,
            dfs: OnceCell::new(),
            ready_after: OnceLock::new(),
        };
        let mut spec = this.spec();
        if shape.earlier {
            spec["image"] = this.ground.images.before()?.spec();
        }
        this.apply(spec).await?;
        Ok(this)
    }

    /// What is asked for.
    pub(crate) fn spec(&self) -> Value {
        let volumes =
            (1..=self.shape.volumes).map(|number| json!({ "name": format!("d{number}"), "size": "1Gi" }));
        // Requests add up over all nodes of a small machine.
        let resources = json!({ "requests": { "cpu": "10m", "memory": "64Mi" } });
        json!({
            "nameNode": {
                "replicas": self.shape.namenodes, "storage": { "size": "1Gi" }, "resources": resources,
            },
            "dataNodePools": [{
                "name": POOL, "replicas": self.shape.datanodes, "volumes": volumes.collect::<Vec<_>>(),
                "reserve": "1Mi", "resources": resources,
            }],
            "repair": { "deadAfter": DEAD_AFTER, "restartGrace": RESTART_GRACE },
            "log": { "level": "Debug", "format": "Text" },
        })
    }

    /// `DfsCluster`s of the namespace.
    pub(crate) fn clusters(&self) -> Api<DfsCluster> {
        Api::namespaced(self.ground.client(), &self.name.namespace)
    }

    /// Objects of the namespace.
    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.ground.client(), &self.name.namespace)
    }

    /// Asks for this spec.
    pub(crate) async fn apply(&self, spec: Value) -> Result<()> {
        let cluster = json!({
            "apiVersion": "dfs.dev/v1alpha1", "kind": "DfsCluster",
            "metadata": { "name": self.name.name }, "spec": spec,
        });
        let params = PatchParams::apply(MANAGER).force();
        self.clusters().patch(&self.name.name, &params, &Patch::Apply(&cluster)).await?;
        Ok(())
    }

    /// Changes something of the spec.
    pub(crate) async fn change(&self, spec: Value) -> Result<DfsCluster> {
        let patch = json!({ "spec": spec });
        Ok(self.clusters().patch(&self.name.name, &PatchParams::default(), &Patch::Merge(&patch)).await?)
    }

    /// Asks for so many DataNodes.
    pub(crate) async fn scale(&self, datanodes: u32) -> Result<DfsCluster> {
        let mut pools = serde_json::to_value(self.resource().await?.spec.data_node_pools)?;
        pools[0]["replicas"] = datanodes.into();
        self.change(json!({ "dataNodePools": pools })).await
    }

    /// The `DfsCluster` as it is.
    pub(crate) async fn resource(&self) -> Result<DfsCluster> {
        Ok(self.clusters().get(&self.name.name).await?)
    }

    /// Waits until the status tells of the present spec, everything asked for is there, and nothing is missing.
    pub(crate) async fn settle(&self, limit: Duration) -> Result<()> {
        wait::until(&format!("{} is settled", self.name), limit, || async {
            let cluster = self.resource().await?;
            let status = cluster.status.unwrap_or_default();
            status.settled(cluster.metadata.generation).map_err(anyhow::Error::msg)?;
            anyhow::Ok(())
        })
        .await
    }

    /// Waits until a condition is so.
    pub(crate) async fn until_condition(
        &self,
        kind: &str,
        status: &str,
        limit: Duration,
    ) -> Result<(String, String)> {
        wait::until(&format!("{kind} is {status}"), limit, || async {
            let found = self.resource().await?.status.unwrap_or_default();
            let found = found.condition(kind).context("there is no such condition")?;
            ensure!(found.status == status, "it is {} ({}: {})", found.status, found.reason, found.message);
            anyhow::Ok((found.reason.clone(), found.message.clone()))
        })
        .await
    }

    /// Notes how long it took until it was ready for the first time.
    pub(crate) fn note_ready_after(&self, took: Duration) {
        self.ready_after.get_or_init(|| took);
    }

    /// How long it took until it was ready for the first time.
    pub(crate) fn ready_after(&self) -> Option<Duration> {
        self.ready_after.get().copied()
    }

    /// The pod of a daemon.
    pub(crate) fn pod(&self, daemon: Daemon) -> String {
        match daemon {
            Daemon::NameNode(number) => self.name.namenode_pod(u32::from(number) - 1),
            Daemon::DataNode(number) => self.name.datanode_pod(POOL, u32::from(number) - 1),
        }
    }

    /// The daemon of a pod.
    pub(crate) fn daemon(&self, pod: &str) -> Option<Daemon> {
        let number = u16::try_from(pod_ordinal(pod)?.checked_add(1)?).ok()?;
        [Daemon::NameNode(number), Daemon::DataNode(number)]
            .into_iter()
            .find(|daemon| self.pod(*daemon) == pod)
    }

    fn pods_of(&self, daemons: &[Daemon]) -> Vec<String> {
        daemons.iter().map(|daemon| self.pod(*daemon)).collect()
    }

    /// The pods of a part of the cluster, with who they are: a pod that was replaced is another one.
    pub(crate) async fn uids(&self, component: Component) -> Result<BTreeMap<String, String>> {
        let selector = self.name.component_selector(component);
        let listed = self.api::<Pod>().list(&ListParams::default().labels(&selector)).await?;
        Ok(listed.items.iter().map(|pod| (pod.name_any(), pod.uid().unwrap_or_default())).collect())
    }

    /// Deletes a daemon's pod and claims, as somebody does by mistake. Both are made anew at once, and are empty.
    pub(crate) async fn lose(&self, daemon: Daemon) -> Result<()> {
        let claims = self.api::<PersistentVolumeClaim>();
        for claim in self.claims(daemon) {
            delete(&claims, &claim, &DeleteParams::default()).await?;
        }
        delete(&self.api::<Pod>(), &self.pod(daemon), &DeleteParams::default()).await
    }

    /// Ends a daemon's process without a word and deletes its pod by force; it is made anew at once.
    pub(crate) async fn crash(&self, daemon: Daemon) -> Result<()> {
        let pod = self.pod(daemon);
        if self.ground.machines.is_some() {
            self.signal(std::slice::from_ref(&pod), Signal::Kill).await?;
        }
        let now = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
        delete(&self.api::<Pod>(), &pod, &now).await
    }

    /// Waits until the pod of a daemon is another one than this, and serves.
    pub(crate) async fn until_replaced(&self, daemon: Daemon, before: &str) -> Result<()> {
        let pod = self.pod(daemon);
        wait::until(&format!("{pod} is another one and ready"), patience(), || async {
            let found = self.api::<Pod>().get(&pod).await?;
            ensure!(found.uid().as_deref() != Some(before), "it is the same");
            ensure!(is_ready(&found), "it is {}", phase(&found));
            anyhow::Ok(())
        })
        .await
    }

    /// The claims of a daemon.
    pub(crate) fn claims(&self, daemon: Daemon) -> Vec<String> {
        let pod = self.pod(daemon);
        match daemon {
            Daemon::NameNode(_) => vec![ClusterName::claim(dfs_kubernetes::names::METADATA_VOLUME, &pod)],
            Daemon::DataNode(_) => (1..=self.shape.volumes)
                .map(|number| ClusterName::claim(&format!("d{number}"), &pod))
                .collect(),
        }
    }

    /// The machine that a pod runs on.
    pub(crate) async fn machine(&self, pod: &str) -> Result<String> {
        let found = self.api::<Pod>().get(pod).await?;
        found.spec.and_then(|spec| spec.node_name).with_context(|| format!("{pod} runs nowhere yet"))
    }

    fn machines(&self) -> Result<Machines> {
        self.ground.machines.context("the machines can't be touched")
    }

    /// Signals the processes of pods, on all machines at once.
    async fn signal(&self, pods: &[String], signal: Signal) -> Result<usize> {
        let machines = self.machines()?;
        let mut by_machine = BTreeMap::<String, Vec<String>>::new();
        for pod in pods {
            by_machine.entry(self.machine(pod).await?).or_default().push(pod.clone());
        }
        let all = by_machine.iter().map(|(machine, pods)| machines.signal(machine, pods, signal));
        Ok(futures_util::future::try_join_all(all).await?.into_iter().sum())
    }

    /// A client that stays connected.
    pub(crate) async fn dfs(&self) -> Result<&Dfs> {
        self.dfs.get_or_try_init(|| async { Ok(self.client().await?.connect().await?) }).await
    }

    /// Lets StatefulSets try at once what was refused before: after many refusals they wait for minutes.
    async fn nudge(&self) -> Result<()> {
        let api = self.api::<StatefulSet>();
        let now = k8s_openapi::jiff::Timestamp::now().to_string();
        let patch = json!({ "metadata": { "annotations": { "dfs.dev/e2e-nudge": now } } });
        for set in api.list(&ListParams::default().labels(&self.name.selector())).await? {
            api.patch(&set.name_any(), &PatchParams::default(), &Patch::Merge(&patch)).await?;
        }
        Ok(())
    }

    /// Waits until these pods are so.
    async fn until_pods(&self, pods: &[String], what: &str, is: fn(&Pod) -> bool) -> Result<()> {
        wait::until(&format!("{} {what}", pods.join(", ")), patience(), || async {
            for pod in pods {
                let found = self.api::<Pod>().get_opt(pod).await?;
                ensure!(found.as_ref().is_some_and(is), "{pod} is {}", found.as_ref().map_or("gone", phase));
            }
            anyhow::Ok(())
        })
        .await
    }

    async fn until_gone(&self, pods: &[String]) -> Result<()> {
        wait::until(&format!("{} are gone", pods.join(", ")), patience(), || async {
            for pod in pods {
                ensure!(self.api::<Pod>().get_opt(pod).await?.is_none(), "{pod} is there");
            }
            anyhow::Ok(())
        })
        .await
    }
}

/// Whether a pod's process listens: its start is over, whether or not it serves.
fn is_started(pod: &Pod) -> bool {
    let containers = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    pod.metadata.deletion_timestamp.is_none()
        && containers.into_iter().any(|container| container.started == Some(true))
}

fn phase(pod: &Pod) -> &str {
    if pod.metadata.deletion_timestamp.is_some() {
        return "leaving";
    }
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("new")
}

#[async_trait]
impl Cluster for Pods {
    fn shape(&self) -> &Shape {
        &self.shape
    }

    async fn client(&self) -> Result<Builder> {
        Ok(self.ground.access.builder(&self.resource().await?).user(SUPERUSER))
    }

    async fn address(&self, node: Daemon) -> Result<String> {
        let pod = self.pod(node);
        Ok(match node {
            Daemon::NameNode(number) => {
                let all = self.name.namenode_addresses(u32::from(number));
                all.into_iter().next_back().context("NameNodes are counted from 1")?
            }
            Daemon::DataNode(_) => self.name.datanode_address(&pod),
        })
    }

    async fn leader(&self) -> Result<Daemon> {
        let group = self.dfs().await?.namenodes().await?;
        let leader = group.leader().context("no NameNode leads")?;
        let (host, _) = leader.address.rsplit_once(':').context("a NameNode without a port")?;
        let pod = PodHost::parse(host).with_context(|| format!("{host} is no pod"))?.pod;
        self.daemon(pod).with_context(|| format!("{pod} is no pod of this cluster"))
    }

    async fn daemons(&self) -> Result<Vec<Daemon>> {
        let spec = self.resource().await?.spec;
        let count = |number: u32| u16::try_from(number).context("too many pods");
        let (namenodes, datanodes) = (count(spec.name_node.replicas)?, count(spec.data_nodes())?);
        let namenodes = (1..=namenodes).map(Daemon::NameNode);
        Ok(namenodes.chain((1..=datanodes).map(Daemon::DataNode)).collect())
    }

    async fn wait_ready(&self) -> Result<()> {
        let held = self.hold.held().await?;
        let all = self.daemons().await?;
        let pods: Vec<_> = self.pods_of(&all).into_iter().filter(|pod| !held.contains(pod)).collect();
        self.until_pods(&pods, "are ready", is_ready).await
    }

    async fn start(&self, nodes: &[Daemon]) -> Result<()> {
        let pods = self.pods_of(nodes);
        let held = self.hold.held().await?;
        if pods.iter().any(|pod| held.contains(pod)) {
            self.hold.let_come(&pods).await?;
            self.nudge().await?;
        }
        self.until_pods(&pods, "are started", is_started).await
    }

    async fn stop(&self, node: Daemon) -> Result<()> {
        let pods = [self.pod(node)];
        self.hold.keep_away(&pods).await?;
        delete(&self.api::<Pod>(), &pods[0], &DeleteParams::default()).await?;
        self.until_gone(&pods).await
    }

    async fn kill(&self, nodes: &[Daemon]) -> Result<()> {
        let pods = self.pods_of(nodes);
        self.hold.keep_away(&pods).await?;
        if self.ground.machines.is_some() {
            self.signal(&pods, Signal::Kill).await?;
        }
        // Before the kubelet notices and starts the container again.
        let now = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
        let api = self.api::<Pod>();
        futures_util::future::try_join_all(pods.iter().map(|pod| delete(&api, pod, &now))).await?;
        self.until_gone(&pods).await
    }

    async fn pause(&self, node: Daemon) -> Result<()> {
        let pod = self.pod(node);
        let count = self.signal(std::slice::from_ref(&pod), Signal::Stop).await?;
        ensure!(count > 0, "{pod} has no process");
        Ok(())
    }

    async fn resume(&self, node: Daemon) -> Result<()> {
        let pod = self.pod(node);
        let count = self.signal(std::slice::from_ref(&pod), Signal::Continue).await?;
        ensure!(count > 0, "{pod} has no process");
        Ok(())
    }

    async fn part(&self, ones: &[Party], others: &[Party], cut: Cut) -> Result<()> {
        self.cut(ones, others, cut).await
    }

    async fn heal(&self) -> Result<()> {
        self.join().await
    }

    async fn replicas(&self, node: Daemon) -> Result<Vec<StoredReplica>> {
        self.replicas_of(node).await
    }

    async fn stored(&self, node: Daemon, chunk: ChunkId) -> Result<Option<Vec<u8>>> {
        self.bytes_of(node, chunk).await
    }

    async fn corrupt(&self, node: Daemon, chunk: ChunkId) -> Result<()> {
        self.damage(node, chunk).await
    }

    async fn fill(&self, _node: Daemon) -> Result<()> {
        bail!("claims have no limit here")
    }

    async fn fill_logs(&self) -> Result<()> {
        bail!("logs lie on the disk of the machines themselves")
    }

    async fn lose_volume(&self, _node: Daemon, _volume: u16) -> Result<()> {
        bail!("disks can't be made to fail here")
    }

    async fn wipe(&self, node: Daemon) -> Result<()> {
        ensure!(self.hold.held().await?.contains(&self.pod(node)), "{node} is not stopped");
        let api = self.api::<PersistentVolumeClaim>();
        for claim in self.claims(node) {
            delete(&api, &claim, &DeleteParams::default()).await?;
            wait::until(&format!("claim {claim} is gone"), patience(), || async {
                ensure!(api.get_opt(&claim).await?.is_none(), "it is there");
                anyhow::Ok(())
            })
            .await?;
        }
        Ok(())
    }

    async fn throttle(&self, _node: Daemon, _bytes_per_second: u64) -> Result<()> {
        bail!("disks can't be made slow here")
    }

    async fn hang_volume(&self, _node: Daemon, _volume: u16) -> Result<()> {
        bail!("disks can't be made to hang here")
    }

    async fn remove_replica(&self, _node: Daemon, _chunk: ChunkId) -> Result<()> {
        bail!("volumes are left alone here")
    }

    async fn empty_volume(&self, _node: Daemon, _volume: u16) -> Result<()> {
        bail!("volumes are left alone here")
    }

    async fn on_volume(&self, _node: Daemon, _volume: u16) -> Result<Vec<String>> {
        bail!("volumes are left alone here")
    }

    async fn exchange_volumes(&self, _one: Daemon, _other: Daemon, _volume: u16) -> Result<()> {
        bail!("volumes are left alone here")
    }

    async fn skew(&self, _node: Daemon, _seconds: i64) -> Result<()> {
        bail!("clocks can't be set here")
    }

    async fn set_release(&self, _node: Daemon, _earlier: bool) -> Result<()> {
        bail!("all pods of a cluster have one image here")
    }

    async fn power_cut(&self, _nodes: &[Daemon]) -> Result<()> {
        bail!("disks don't forget here")
    }

    async fn add_datanode(&self) -> Result<Daemon> {
        let number = self.resource().await?.spec.data_nodes() + 1;
        self.scale(number).await?;
        let daemon = Daemon::DataNode(u16::try_from(number)?);
        self.until_pods(&[self.pod(daemon)], "is ready", is_ready).await?;
        Ok(daemon)
    }

    async fn restore(&self, _node: Daemon, _backup: &Path) -> Result<()> {
        bail!("a NameNode's volume can't be filled from outside")
    }

    async fn save_logs(&self, folder: &Path) -> Result<()> {
        let mut files = logs(&self.api::<Pod>(), &self.name.selector()).await?;
        files.extend(self.ground.operator_logs().await?);
        if let Some(cluster) = self.clusters().get_opt(&self.name.name).await? {
            files.push(("dfscluster.json".to_owned(), serde_json::to_string_pretty(&cluster)?));
        }
        let pods = self.api::<Pod>().list(&ListParams::default()).await?;
        files.push(("pods.json".to_owned(), serde_json::to_string_pretty(&pods.items)?));
        let mut events = String::new();
        for event in self.api::<Event>().list(&ListParams::default()).await? {
            let object = event.involved_object.name.unwrap_or_default();
            let [reason, message] = [event.reason, event.message].map(Option::unwrap_or_default);
            let at = event.last_timestamp.map(|time| time.0).or(event.event_time.map(|time| time.0));
            let at = at.map(|at| at.to_string()).unwrap_or_default();
            writeln!(events, "{at} {object} {reason}: {message}")?;
        }
        files.push(("events.txt".to_owned(), events));
        let folder = folder.to_owned();
        tokio::task::spawn_blocking(move || {
            std::fs::create_dir_all(&folder)?;
            for (name, text) in files {
                std::fs::write(folder.join(name), text)?;
            }
            anyhow::Ok(())
        })
        .await?
    }

    async fn remove(&self) -> Result<()> {
        // What is cut off or held, or on a machine without power, could not end in order. Whatever is wrong with it, it is
        // removed.
        let _ = self.ground.restore().await;
        let _ = self.join().await;
        for daemon in self.daemons().await.unwrap_or_default() {
            let _ = self.resume(daemon).await;
        }
        let namespaces: Api<Namespace> = Api::all(self.ground.client());
        delete(&namespaces, &self.name.namespace, &DeleteParams::default()).await?;
        wait::until("the pods are gone", patience(), || async {
            let left = self.api::<Pod>().list(&ListParams::default()).await?.items.len();
            ensure!(left == 0, "{left} are left");
            anyhow::Ok(())
        })
        .await
    }
}
