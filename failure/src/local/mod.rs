//! The driver of processes on this machine: [`dfs_local`] for the processes, its network and clocks, and
//! [`dfs_fault_disk`] for disks that fail.

mod disks;
mod replicas;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use async_trait::async_trait;
use dfs_client::{Builder, Dfs};
use dfs_local::{Clocks, Lifetime, Link, LocalCluster, Network, Options, Programs, TestCluster};
use dfs_types::ChunkId;
use tokio::sync::Mutex;

use crate::cluster::{Capability, Cluster, Cut, Daemon, Party, Shape, Site, StoredReplica};
use disks::Disks;

/// How long a cluster may take to be ready.
const PATIENCE: Duration = Duration::from_mins(1);

/// This machine.
#[derive(Debug, Clone)]
pub struct LocalSite {
    programs: Programs,
}

impl LocalSite {
    /// Clusters of these programs.
    pub fn of(programs: Programs) -> Self {
        Self { programs }
    }
}

#[async_trait]
impl Site for LocalSite {
    fn name(&self) -> String {
        "processes on this machine".to_owned()
    }

    fn lacks(&self, capability: Capability) -> Option<String> {
        match capability {
            Capability::FullDisk
            | Capability::FullLogDisk
            | Capability::FailingDisk
            | Capability::SlowDisk
            | Capability::HangingDisk
            | Capability::PowerCut => Disks::lacking(),
            Capability::Clock => Clocks::available().err().map(|error| error.to_string()),
            Capability::Releases if self.programs.earlier.is_none() => Some(
                "the program of the release before is not there: the tests of this suite build one"
                    .to_owned(),
            ),
            Capability::Images => Some("processes have no image".to_owned()),
            Capability::Releases
            | Capability::Pause
            | Capability::Network
            | Capability::Disk
            | Capability::Volumes
            | Capability::Grow
            | Capability::Restore
            | Capability::Topology
            | Capability::Addresses => None,
        }
    }

    async fn build(&self, shape: &Shape) -> Result<Arc<dyn Cluster>> {
        Ok(Arc::new(Processes::build(&self.programs, shape).await?))
    }
}

/// What a shape means for the NameNodes' command lines.
fn namenode_args(shape: &Shape) -> Vec<String> {
    let times = &shape.times;
    let flags = [
        ("heartbeat-interval", times.heartbeat),
        ("stale-after", times.stale_after),
        ("dead-after", times.dead_after),
        ("restart-grace", times.restart_grace),
        ("lease-soft-limit", times.lease_soft),
        ("lease-hard-limit", times.lease_hard),
    ];
    flags.iter().map(|(flag, time)| format!("--{flag}={}ms", time.as_millis())).collect()
}

/// What it means for the DataNodes'.
fn datanode_args(shape: &Shape) -> Vec<String> {
    let (suspect, fail) = shape.disk_patience;
    vec![
        "--reserve=1m".to_owned(),
        "--scrub-interval=2s".to_owned(),
        format!("--suspect-after={}ms", suspect.as_millis()),
        format!("--fail-after={}ms", fail.as_millis()),
    ]
}

/// A cluster of processes.
struct Processes {
    cluster: TestCluster,
    network: Network,
    disks: Disks,
    clocks: Option<Clocks>,
    shape: Shape,
    /// As the cluster was started last; more DataNodes are added to them.
    options: Mutex<Options>,
    namenode: PathBuf,
    _folder: tempfile::TempDir,
}

impl Processes {
    async fn build(programs: &Programs, shape: &Shape) -> Result<Self> {
        let folder = tokio::task::spawn_blocking(tempfile::tempdir).await??;
        let usual =
            Programs { earlier: programs.earlier.clone(), ..Programs::usual(programs.folder.clone()) };
        let clocks = if shape.clocks || shape.earlier || *programs != usual {
            Some(Clocks::new(folder.path(), programs)?)
        } else {
            None
        };
        let bin_dir = clocks.as_ref().map_or_else(|| programs.folder.clone(), Clocks::bin_dir);
        let mut options = Options {
            namenodes: shape.namenodes,
            datanodes: shape.datanodes,
            volumes: shape.volumes,
            topology: shape.topology.iter().map(|place| (*place).to_owned()).collect(),
            namenode_args: namenode_args(shape),
            // On disks this small the usual reserve would leave nothing.
            datanode_args: datanode_args(shape),
            ready_within: PATIENCE,
            lifetime: Lifetime::Scoped,
            bin_dir: Some(bin_dir),
            ..Options::default()
        };
        let cluster = TestCluster::prepare(&options).await?;
        let network = Network::new(LocalCluster::clone(&cluster));
        let namenode = programs.folder.join(&programs.namenode);
        // From here on its end is in order, whatever happens.
        let this = Self {
            cluster,
            network,
            disks: Disks::default(),
            clocks,
            shape: shape.clone(),
            options: Mutex::default(),
            namenode,
            _folder: folder,
        };
        if shape.log_disk {
            this.disks.mount_logs(&this.cluster).await?;
        }
        let namenodes = (1..=shape.namenodes).map(Daemon::NameNode);
        if shape.earlier {
            for namenode in namenodes.clone() {
                this.set_release(namenode, true).await?;
            }
        }
        for daemon in namenodes.chain((1..=shape.datanodes).map(Daemon::DataNode)) {
            options.advertise.insert(daemon, this.network.add(daemon).await?);
            if shape.disks {
                this.disks.mount(&this.cluster, daemon, shape.volumes).await?;
            }
        }
        this.cluster.up(&options).await?;
        *this.options.lock().await = options;
        Ok(this)
    }
}

impl Processes {
    /// Where a DataNode's volume is.
    async fn volume(&self, node: Daemon, volume: u16) -> Result<PathBuf> {
        let volumes = self.cluster.volumes(node).await?;
        let found = usize::from(volume).checked_sub(1).and_then(|index| volumes.get(index)).cloned();
        found.with_context(|| format!("{node} has no volume {volume}"))
    }
}

#[async_trait]
impl Cluster for Processes {
    fn shape(&self) -> &Shape {
        &self.shape
    }

    async fn client(&self) -> Result<Builder> {
        let addresses = self.cluster.namenode_addresses().await?;
        Ok(addresses.into_iter().fold(Dfs::builder(), Builder::namenode))
    }

    async fn address(&self, node: Daemon) -> Result<String> {
        let all = self.cluster.status().await?;
        let found = all.into_iter().find(|status| status.daemon == node).and_then(|status| status.known_as);
        found.with_context(|| format!("{node} was never started"))
    }

    async fn leader(&self) -> Result<Daemon> {
        Ok(self.cluster.leader().await?)
    }

    async fn daemons(&self) -> Result<Vec<Daemon>> {
        Ok(self.cluster.status().await?.into_iter().map(|status| status.daemon).collect())
    }

    async fn wait_ready(&self) -> Result<()> {
        Ok(self.cluster.wait_ready(PATIENCE).await?)
    }

    async fn start(&self, nodes: &[Daemon]) -> Result<()> {
        Ok(self.cluster.start_all(nodes).await?)
    }

    async fn stop(&self, node: Daemon) -> Result<()> {
        Ok(self.cluster.stop(node).await?)
    }

    async fn kill(&self, nodes: &[Daemon]) -> Result<()> {
        Ok(self.cluster.kill_all(nodes).await?)
    }

    async fn pause(&self, node: Daemon) -> Result<()> {
        Ok(self.cluster.pause(node).await?)
    }

    async fn resume(&self, node: Daemon) -> Result<()> {
        Ok(self.cluster.resume(node).await?)
    }

    async fn part(&self, ones: &[Party], others: &[Party], cut: Cut) -> Result<()> {
        for (one, other) in ones.iter().flat_map(|one| others.iter().map(move |other| (*one, *other))) {
            self.network.set(one, other, Link::Held);
            if cut == Cut::BothWays {
                self.network.set(other, one, Link::Held);
            }
        }
        Ok(())
    }

    async fn heal(&self) -> Result<()> {
        self.network.heal();
        if let Some(clocks) = &self.clocks {
            for daemon in self.daemons().await? {
                clocks.set(daemon, 0)?;
            }
        }
        self.disks.mend()
    }

    async fn replicas(&self, node: Daemon) -> Result<Vec<StoredReplica>> {
        let directory = self.cluster.directory(node);
        tokio::task::spawn_blocking(move || replicas::finalized(&directory)).await?
    }

    async fn stored(&self, node: Daemon, chunk: ChunkId) -> Result<Option<Vec<u8>>> {
        let directory = self.cluster.directory(node);
        tokio::task::spawn_blocking(move || replicas::stored(&directory, chunk)).await?
    }

    async fn corrupt(&self, node: Daemon, chunk: ChunkId) -> Result<()> {
        let directory = self.cluster.directory(node);
        tokio::task::spawn_blocking(move || replicas::corrupt(&directory, chunk))
            .await?
            .with_context(|| format!("{node} has no replica of chunk {chunk} to damage"))
    }

    async fn fill(&self, node: Daemon) -> Result<()> {
        self.disks.fill(node)
    }

    async fn fill_logs(&self) -> Result<()> {
        self.disks.fill_logs()
    }

    async fn lose_volume(&self, node: Daemon, volume: u16) -> Result<()> {
        self.disks.fail(node, volume)
    }

    async fn wipe(&self, node: Daemon) -> Result<()> {
        Ok(self.cluster.replace_disk(node).await?)
    }

    async fn throttle(&self, node: Daemon, bytes_per_second: u64) -> Result<()> {
        self.disks.throttle(node, bytes_per_second)
    }

    async fn hang_volume(&self, node: Daemon, volume: u16) -> Result<()> {
        self.disks.hang(node, volume)
    }

    async fn remove_replica(&self, node: Daemon, chunk: ChunkId) -> Result<()> {
        let directory = self.cluster.directory(node);
        tokio::task::spawn_blocking(move || replicas::remove(&directory, chunk))
            .await?
            .with_context(|| format!("{node} has no replica of chunk {chunk} to remove"))
    }

    async fn empty_volume(&self, node: Daemon, volume: u16) -> Result<()> {
        let directory = self.volume(node, volume).await?;
        tokio::task::spawn_blocking(move || replicas::empty(&directory)).await?
    }

    async fn on_volume(&self, node: Daemon, volume: u16) -> Result<Vec<String>> {
        let directory = self.volume(node, volume).await?;
        tokio::task::spawn_blocking(move || replicas::names(&directory)).await?
    }

    async fn exchange_volumes(&self, one: Daemon, other: Daemon, volume: u16) -> Result<()> {
        let (one, other) = (self.volume(one, volume).await?, self.volume(other, volume).await?);
        tokio::task::spawn_blocking(move || {
            let aside = one.with_extension("aside");
            std::fs::rename(&one, &aside)?;
            std::fs::rename(&other, &one)?;
            Ok(std::fs::rename(&aside, &other)?)
        })
        .await?
    }

    async fn skew(&self, node: Daemon, seconds: i64) -> Result<()> {
        let clocks = self.clocks.as_ref().context("this cluster was built without clocks to set")?;
        Ok(clocks.set(node, seconds)?)
    }

    async fn set_release(&self, node: Daemon, earlier: bool) -> Result<()> {
        let clocks = self.clocks.as_ref().context("this cluster was built with one release")?;
        Ok(clocks.set_release(node, earlier)?)
    }

    async fn power_cut(&self, nodes: &[Daemon]) -> Result<()> {
        self.cluster.kill_all(nodes).await?;
        self.disks.power_cut(nodes).await
    }

    async fn add_datanode(&self) -> Result<Daemon> {
        let mut options = self.options.lock().await;
        let daemon = Daemon::DataNode(options.datanodes + 1);
        options.advertise.insert(daemon, self.network.add(daemon).await?);
        if self.shape.disks {
            self.disks.mount(&self.cluster, daemon, self.shape.volumes).await?;
        }
        options.datanodes += 1;
        // Only what is missing is started.
        self.cluster.up(&options).await?;
        Ok(daemon)
    }

    async fn restore(&self, node: Daemon, backup: &Path) -> Result<()> {
        ensure!(matches!(node, Daemon::NameNode(_)), "{node} has no metadata");
        self.cluster.replace_disk(node).await?;
        let restored = tokio::process::Command::new(&self.namenode)
            .arg("restore")
            .arg("--dir")
            .arg(self.cluster.directory(node))
            .arg(backup)
            .kill_on_drop(true)
            .output()
            .await?;
        if !restored.status.success() {
            bail!("restoring {node} failed: {}", String::from_utf8_lossy(&restored.stderr).trim());
        }
        Ok(())
    }

    async fn save_logs(&self, folder: &Path) -> Result<()> {
        let logs: Vec<_> = self.cluster.status().await?.into_iter().map(|status| status.log).collect();
        let folder = folder.to_owned();
        tokio::task::spawn_blocking(move || {
            std::fs::create_dir_all(&folder)?;
            for log in logs {
                for file in [log.with_extension("out"), log.clone()] {
                    // One that never said anything has no log.
                    if let Some(name) = file.file_name().filter(|_| file.exists()) {
                        std::fs::copy(&file, folder.join(name))?;
                    }
                }
            }
            anyhow::Ok(())
        })
        .await?
    }

    async fn remove(&self) -> Result<()> {
        let (cluster, disks) = (LocalCluster::clone(&self.cluster), self.disks.clone());
        tokio::task::spawn_blocking(move || end(&cluster, &disks)).await?
    }
}

/// Ends all processes, and then the disks that they use; directories go with their owner.
fn end(cluster: &LocalCluster, disks: &Disks) -> Result<()> {
    // A disk that fails or is slow would hold its process up.
    let mended = disks.mend();
    cluster.wipe_out()?;
    disks.unmount();
    mended
}

impl Drop for Processes {
    fn drop(&mut self) {
        if let Err(error) = end(&self.cluster, &self.disks) {
            // Nothing else can be done here, and what stays must not stay unseen.
            eprintln!("a cluster could not be removed: {error:#}");
        }
    }
}
