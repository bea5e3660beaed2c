//! Waiting for a condition, never for a time.

use std::fmt::Display;
use std::future::Future;
use std::time::{Duration, Instant};

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(50);

/// Waits until `condition` answers `Ok`, and returns its value. Fails with its last reason after `limit`.
pub async fn until<T, E, F, C>(what: &str, limit: Duration, mut condition: C) -> anyhow::Result<T>
where
    E: Display,
    F: Future<Output = Result<T, E>>,
    C: FnMut() -> F,
{
    let deadline = Instant::now() + limit;
    loop {
        match condition().await {
            Ok(value) => return Ok(value),
            Err(reason) if Instant::now() >= deadline => {
                anyhow::bail!("{what}: not within {limit:?}: {reason}")
            }
            Err(_) => tokio::time::sleep(POLL).await,
        }
    }
}
