//! Memory and CPU time of other processes, from `/proc`.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;

/// What one process has used so far.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Usage {
    /// Most bytes of memory it ever had resident.
    pub(crate) peak_memory: u64,
    /// Bytes resident now.
    pub(crate) memory: u64,
    /// CPU time, user and system.
    pub(crate) cpu: Duration,
}

/// What the process `pid` has used; an error if it is gone.
pub(crate) fn usage(pid: u32) -> Result<Usage> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kib = |key: &str| -> u64 {
        status
            .lines()
            .find_map(|line| line.strip_prefix(key))
            .and_then(|rest| rest.split_whitespace().next())
            .and_then(|number| number.parse::<u64>().ok())
            .unwrap_or_default()
    };
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in parentheses may hold anything; the numbers start after its end.
    let (_, numbers) = stat.rsplit_once(") ").context("a /proc stat line has a name")?;
    let ticks: u64 =
        numbers.split_whitespace().skip(11).take(2).filter_map(|number| number.parse::<u64>().ok()).sum();
    let per_second = rustix::param::clock_ticks_per_second();
    Ok(Usage {
        peak_memory: kib("VmHWM:") * 1_024,
        memory: kib("VmRSS:") * 1_024,
        cpu: Duration::from_millis(ticks * 1_000 / per_second.max(1)),
    })
}
