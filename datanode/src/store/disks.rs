//! The disks under the replicas: how they are, how full they are, and what happens when one fails.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use dfs_types::{ChunkId, VolumeHealth};
use futures_util::future::join_all;
use tokio::task::yield_now;
use tokio::time::timeout;
use tracing::{error, info, warn};

use super::Store;
use crate::volume::index::TakenOut;
use crate::volume::replica::Replica;
use crate::volume::{Volume, is_process_error};

/// How often it is looked how long the disks have owed their answers.
const WATCH: Duration = Duration::from_millis(250);
/// Replicas that are looked at at once when a volume's are taken out: others wait no longer than for these.
const TAKE_OUT: usize = 4_096;

impl Store {
    /// Takes a volume out of use; its replicas follow, see [`Store::watch`].
    pub(super) fn fail_volume(&self, volume: &Volume, why: String) {
        if volume.fail(why) {
            self.failed.notify_one();
        }
    }

    /// Watches the disks without end: notes which of them answer, takes volumes out whose disk does not, and reports the
    /// replicas of failed volumes as gone.
    pub(crate) async fn watch(self: Arc<Self>) {
        let mut known = vec![VolumeHealth::Healthy; self.volumes.len()];
        loop {
            for (number, volume) in self.volumes.iter().enumerate() {
                let (before, now) = (known[number], volume.health());
                if before == now || before == VolumeHealth::Failed {
                    continue;
                }
                known[number] = now;
                self.metrics.volume_health(&volume.path, now);
                let path = volume.path.display();
                match now {
                    VolumeHealth::Healthy => info!(volume = %path, "the disk answers again"),
                    VolumeHealth::Suspect => {
                        warn!(volume = %path, "the disk does not answer: the volume is suspect");
                    }
                    VolumeHealth::Failed => {
                        volume.fail("its disk does not answer".to_owned());
                        let reason = volume.failure().unwrap_or_default();
                        error!(volume = %path, reason, "volume failed and is out of use");
                        self.take_out(number as u16).await;
                    }
                }
            }
            // An error means that nothing happened in the meantime.
            let _ = timeout(WATCH, self.failed.notified()).await;
        }
    }

    /// Reports the replicas of a volume that has failed as gone, some at a time.
    pub(super) async fn take_out(&self, number: u16) {
        self.index().duplicates.forget(number);
        let mut after = None;
        loop {
            after = self.take_out_some(number, after);
            if after.is_none() {
                return;
            }
            yield_now().await;
        }
    }

    fn take_out_some(&self, number: u16, after: Option<ChunkId>) -> Option<ChunkId> {
        let gone = |chunk: ChunkId, replica: &Replica| self.push(self.record_of(chunk, replica), true);
        let mut index = self.index();
        // Their files are as good as removed.
        for (chunk, replica) in index.forget_leaving(number) {
            gone(chunk, &replica);
        }
        let (taken, next) = index.take_out(number, after, TAKE_OUT);
        for TakenOut { chunk, replica, writer } in taken {
            if let Some(slot) = writer {
                slot.stop.cancel();
            }
            gone(chunk, &replica);
        }
        next
    }

    /// Asks every volume for its free space; one that is gone is taken out of use, one that does not answer is left alone.
    pub(crate) async fn refresh(&self) {
        let refreshed = self.volumes.iter().map(|volume| async move {
            let on = Arc::clone(volume);
            match volume.examine(move || on.refresh()).await {
                Some(Err(source)) if is_process_error(&source) => {
                    warn!(volume = %volume.path.display(), error = %source, "free space not known for now");
                }
                Some(Err(source)) => self.fail_volume(volume, source.to_string()),
                Some(Ok(())) | None => {}
            }
        });
        join_all(refreshed).await;
        for state in self.volume_states() {
            self.metrics.volume(&state);
        }
        self.metrics.unreported.set(self.reports.waiting() as i64);
        for volume in &self.volumes {
            let path = volume.path.to_string_lossy();
            self.metrics.disk_jobs.with_label_values(&[&*path]).set(volume.pool.jobs() as i64);
        }
    }

    /// State of each volume.
    pub(crate) fn volume_states(&self) -> Vec<dfs_types::Volume> {
        let storage = |path: &Path| self.storage_of(path);
        let name = |path: &Path| path.to_string_lossy().into_owned();
        let failed = |id, path: &Path| dfs_types::Volume {
            id,
            storage: storage(path),
            path: name(path),
            file_system: None,
            health: VolumeHealth::Failed,
            capacity: 0,
            used: 0,
            available: 0,
            replicas: 0,
        };
        let lost = self.lost.iter().map(|(id, path)| failed(*id, path));
        let index = self.index();
        let here = self.volumes.iter().enumerate().map(|(number, volume)| {
            let health = volume.health();
            if health == VolumeHealth::Failed {
                return failed(volume.id, &volume.path);
            }
            let (capacity, available) = volume.space(|space| (space.capacity, space.available()));
            dfs_types::Volume {
                id: volume.id,
                path: name(&volume.path),
                file_system: Some(volume.file_system),
                storage: storage(&volume.path),
                health,
                capacity,
                used: volume.used(),
                available: if health == VolumeHealth::Healthy { available } else { 0 },
                replicas: index.count(number as u16),
            }
        });
        here.chain(lost).collect()
    }

    /// Ends the volumes' threads when what was submitted is done; those whose disk does not answer are left behind.
    pub(crate) async fn close(&self) {
        let closed = self.volumes.iter().map(|volume| async move {
            if !volume.close().await && !volume.has_failed() {
                warn!(volume = %volume.path.display(), "the disk does not answer: what it was to do is left undone");
            }
        });
        join_all(closed).await;
    }
}
