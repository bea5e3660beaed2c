//! Disks that can be full, fail, be slow and lose power: one for each NameNode and each volume.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use dfs_fault_disk::{FaultDisk, Settings, Throttle};
use dfs_local::LocalCluster;

use crate::cluster::{DISK_BYTES, Daemon};

/// Bytes of a NameNode's disk: its log is as large as it likes to be.
const NAMENODE_DISK_BYTES: u64 = 1 << 30;

/// All disks of a cluster, by whose they are and which volume (from 1) it is. None: the machine's own are used.
#[derive(Debug, Default, Clone)]
pub(super) struct Disks(Arc<Mutex<Mounted>>);

#[derive(Debug, Default)]
struct Mounted {
    data: BTreeMap<(Daemon, u16), Arc<FaultDisk>>,
    logs: Option<Arc<FaultDisk>>,
}

impl Disks {
    /// Why there can be none here.
    pub(super) fn lacking() -> Option<String> {
        FaultDisk::available().err().map(|error| error.to_string())
    }

    fn lock(&self) -> MutexGuard<'_, Mounted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Mounts a daemon's disks, before it is started.
    pub(super) async fn mount(&self, cluster: &LocalCluster, daemon: Daemon, volumes: u16) -> Result<()> {
        let (count, capacity) = match daemon {
            Daemon::NameNode(_) => (1, NAMENODE_DISK_BYTES),
            Daemon::DataNode(_) => (volumes, DISK_BYTES),
        };
        for volume in 1..=count {
            let at = cluster.disk(daemon);
            let at = if count > 1 { at.join(format!("volume-{volume}")) } else { at };
            let settings = Settings { capacity, ..Settings::default() };
            let disk = tokio::task::spawn_blocking(move || FaultDisk::mount(&at, settings)).await??;
            self.lock().data.insert((daemon, volume), Arc::new(disk));
        }
        Ok(())
    }

    /// Mounts the disk for all daemons' logs, before any is started.
    pub(super) async fn mount_logs(&self, cluster: &LocalCluster) -> Result<()> {
        let at = cluster.logs();
        let settings = Settings { capacity: DISK_BYTES, ..Settings::default() };
        let disk = tokio::task::spawn_blocking(move || FaultDisk::mount(&at, settings)).await??;
        self.lock().logs = Some(Arc::new(disk));
        Ok(())
    }

    /// Nothing more fits on it.
    pub(super) fn fill_logs(&self) -> Result<()> {
        let all = self.lock();
        let disk = all
            .logs
            .as_ref()
            .context("logs have no disk of their own: the scenario's shape must ask for it")?;
        disk.fill();
        Ok(())
    }

    fn of(&self, daemon: Daemon) -> Result<Vec<Arc<FaultDisk>>> {
        let all = self.lock();
        let disks = all.data.range((daemon, 0)..=(daemon, u16::MAX)).map(|(_, disk)| Arc::clone(disk));
        let disks: Vec<_> = disks.collect();
        disks.first().with_context(|| {
            format!("{daemon} has no disk of its own: the scenario's shape must ask for disks")
        })?;
        Ok(disks)
    }

    /// Nothing more fits on a daemon's disks.
    pub(super) fn fill(&self, daemon: Daemon) -> Result<()> {
        self.of(daemon)?.iter().for_each(|disk| disk.fill());
        Ok(())
    }

    fn volume(&self, daemon: Daemon, volume: u16) -> Result<Arc<FaultDisk>> {
        let disk = self.of(daemon)?.get(usize::from(volume) - 1).cloned();
        disk.with_context(|| format!("{daemon} has no volume {volume}"))
    }

    /// A volume fails every request.
    pub(super) fn fail(&self, daemon: Daemon, volume: u16) -> Result<()> {
        Ok(self.volume(daemon, volume)?.fail_io(true)?)
    }

    /// A volume answers nothing.
    pub(super) fn hang(&self, daemon: Daemon, volume: u16) -> Result<()> {
        self.volume(daemon, volume)?.hang(true);
        Ok(())
    }

    /// A daemon's disks are slow.
    pub(super) fn throttle(&self, daemon: Daemon, bytes_per_second: u64) -> Result<()> {
        let throttle = Throttle { bytes_per_second, latency: Duration::ZERO };
        self.of(daemon)?.iter().for_each(|disk| disk.throttle(Some(throttle)));
        Ok(())
    }

    /// Disks of daemons that ended lose what was not synced, and have power again.
    pub(super) async fn power_cut(&self, daemons: &[Daemon]) -> Result<()> {
        let mut all = Vec::new();
        for daemon in daemons {
            all.extend(self.of(*daemon)?);
        }
        tokio::task::spawn_blocking(move || {
            for disk in all {
                let seed = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), disk.path());
                disk.power_cut(seed)?;
                disk.restore()?;
            }
            anyhow::Ok(())
        })
        .await?
    }

    /// Ends all disks; no process uses them any more.
    pub(super) fn unmount(&self) {
        let mut all = self.lock();
        all.data.clear();
        all.logs = None;
    }

    /// Every disk works as it should.
    pub(super) fn mend(&self) -> Result<()> {
        let all = self.lock();
        for disk in all.data.values().chain(&all.logs) {
            disk.hang(false);
            disk.free();
            disk.fail_io(false)?;
            disk.throttle(None);
        }
        Ok(())
    }
}
