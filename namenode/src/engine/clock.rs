//! The time: monotonic for decisions, Unix time for what is stored.

use std::time::{SystemTime, UNIX_EPOCH};

use dfs_types::{Millis, NodeDuty};
use tokio::time::Instant;

/// The monotonic clock of all decisions: milliseconds since the engine's channel was made.
#[derive(Debug, Clone, Copy)]
pub struct Clock(Instant);

impl Clock {
    /// A clock that begins at 0.
    pub(super) fn start() -> Self {
        Self(Instant::now())
    }

    /// Now.
    pub fn now(self) -> Millis {
        Millis(self.0.elapsed().as_millis() as u64)
    }

    /// When this clock will show what the Unix time `time` is; now if that is over.
    pub fn at_unix(self, time: Millis) -> Millis {
        self.now().plus(time.since(unix_now()))
    }

    /// The Unix time when this clock will show `time`; the present one if that is over.
    pub fn to_unix(self, time: Millis) -> Millis {
        unix_now().plus(time.since(self.now()))
    }

    /// A duty with a Unix time as decisions need it.
    pub fn duty(self, stored: NodeDuty) -> NodeDuty {
        match stored {
            NodeDuty::InService => NodeDuty::InService,
            NodeDuty::Decommission => NodeDuty::Decommission,
            NodeDuty::Maintenance { until } => NodeDuty::Maintenance { until: self.at_unix(until) },
        }
    }
}

/// The present Unix time; 1970 while the machine's clock is before it.
pub(crate) fn unix_now() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis(since.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn unix_times_are_translated_there_and_back() {
        let clock = Clock::start();
        let hour = Duration::from_hours(1);
        let later = unix_now().plus(hour);
        let NodeDuty::Maintenance { until } = clock.duty(NodeDuty::Maintenance { until: later }) else {
            panic!("another duty")
        };
        // The two clocks are not read at the same moment.
        assert!(until <= clock.now().plus(hour) && until > clock.now());
        assert!(clock.to_unix(until) <= unix_now().plus(hour) && clock.to_unix(until) > unix_now());
        assert!(clock.at_unix(Millis(1)) <= clock.now(), "what is over is over now");
    }
}
