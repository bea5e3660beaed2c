//! How long a disk may take, and who waits for it how long.

use std::pin::pin;
use std::time::{Duration, Instant};

use dfs_types::VolumeHealth;
use tokio::time::timeout;

use crate::disk_pool::{DiskPool, Stopped};

/// How often somebody who waits looks how the disk is.
const LOOK: Duration = Duration::from_millis(250);

/// How long a disk may owe an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Patience {
    /// From then on it is suspect: it gets nothing new, and readers turn to other replicas.
    pub(crate) suspect_after: Duration,
    /// From then on its volume has failed.
    pub(crate) fail_after: Duration,
}

/// There is no result: the disk does not answer, or its threads have stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoAnswer {
    /// The disk takes too long. The job may still be done at any time.
    #[error("its disk does not answer")]
    Silent,
    /// The job was not done, or broke off.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

impl Patience {
    /// How a disk is whose oldest job has waited for so long.
    pub(crate) fn judge(self, age: Option<Duration>) -> VolumeHealth {
        #[cfg(feature = "seeded-bug")]
        if crate::seeded::has(crate::seeded::Bug::NoDiskLimit) {
            return VolumeHealth::Healthy;
        }
        match age {
            Some(age) if age >= self.fail_after => VolumeHealth::Failed,
            Some(age) if age >= self.suspect_after => VolumeHealth::Suspect,
            Some(_) | None => VolumeHealth::Healthy,
        }
    }

    /// Waits for something that `pool` does until its disk is as bad as `worst`, and never longer than a disk may take
    /// before it has failed.
    pub(crate) async fn wait<T>(
        self,
        pool: &DiskPool,
        worst: VolumeHealth,
        done: impl Future<Output = Result<T, Stopped>>,
    ) -> Result<T, NoAnswer> {
        self.wait_within(pool, worst, Some(self.fail_after), done).await
    }

    /// The same for work of many steps: as long as the disk answers them it may take any time.
    pub(crate) async fn wait_on<T>(
        self,
        pool: &DiskPool,
        worst: VolumeHealth,
        done: impl Future<Output = Result<T, Stopped>>,
    ) -> Result<T, NoAnswer> {
        self.wait_within(pool, worst, None, done).await
    }

    async fn wait_within<T>(
        self,
        pool: &DiskPool,
        worst: VolumeHealth,
        limit: Option<Duration>,
        done: impl Future<Output = Result<T, Stopped>>,
    ) -> Result<T, NoAnswer> {
        // By the clock that stands still while the process does.
        let begun = pool.ran(Instant::now());
        let look = LOOK.min(self.fail_after);
        let mut done = pin!(done);
        loop {
            if let Ok(done) = timeout(look, &mut done).await {
                return Ok(done?);
            }
            let now = Instant::now();
            let over = limit.is_some_and(|limit| pool.ran(now).saturating_sub(begun) >= limit);
            if over || self.judge(pool.age(now)) >= worst {
                return Err(NoAnswer::Silent);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience =
        Patience { suspect_after: Duration::from_secs(5), fail_after: Duration::from_secs(50) };

    #[test]
    fn a_disk_is_judged_by_its_oldest_job() {
        let judged = |seconds| PATIENCE.judge(Some(Duration::from_secs(seconds)));
        assert_eq!(PATIENCE.judge(None), VolumeHealth::Healthy);
        assert_eq!(judged(4), VolumeHealth::Healthy);
        assert_eq!(judged(5), VolumeHealth::Suspect);
        assert_eq!(judged(50), VolumeHealth::Failed);
    }

    #[tokio::test]
    async fn who_waits_gives_up_when_the_disk_is_as_bad_as_that() {
        let patience = Patience { suspect_after: Duration::ZERO, fail_after: Duration::from_hours(1) };
        let pool = DiskPool::start("test", 1).unwrap();
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let hangs = pool.run(move || wait.recv());
        assert_eq!(patience.wait(&pool, VolumeHealth::Suspect, hangs).await, Err(NoAnswer::Silent));
        go.send(()).unwrap();
        assert_eq!(patience.wait(&pool, VolumeHealth::Suspect, pool.run(|| 7)).await, Ok(7));
    }
}
