//! A disk that is slow, or hangs.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::settings::Throttle;

/// Makes requests wait.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    throttle: Option<Throttle>,
    /// Nothing is answered.
    hangs: bool,
    /// When the disk has done everything that was asked of it.
    busy_until: Option<Instant>,
    /// Counts changes of the throttle: who waits because of an older one goes on.
    version: u64,
}

impl Pace {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the pace; requests that wait because it is slow go on at once.
    pub(crate) fn set(&self, throttle: Option<Throttle>) {
        let mut state = self.lock();
        (state.throttle, state.busy_until) = (throttle, None);
        state.version += 1;
        self.changed.notify_all();
    }

    /// Lets it hang, or go on.
    pub(crate) fn hang(&self, hangs: bool) {
        self.lock().hangs = hangs;
        self.changed.notify_all();
    }

    fn while_it_hangs<'a>(&'a self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let hangs = |state: &mut State| state.hangs;
        self.changed.wait_while(state, hangs).unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits as long as the disk hangs.
    pub(crate) fn answer(&self) {
        drop(self.while_it_hangs(self.lock()));
    }

    /// Waits as long as a request of so many bytes takes.
    pub(crate) fn wait(&self, bytes: usize) {
        let mut state = self.while_it_hangs(self.lock());
        let Some(Throttle { bytes_per_second, latency }) = state.throttle else { return };
        let now = Instant::now();
        let takes = match bytes_per_second {
            0 => Duration::ZERO,
            rate => Duration::from_secs_f64(bytes as f64 / rate as f64),
        };
        let done = state.busy_until.map_or(now, |until| until.max(now)) + takes;
        state.busy_until = Some(done);
        let (version, end) = (state.version, done + latency);
        while state.version == version {
            let Some(rest) = end.checked_duration_since(Instant::now()).filter(|rest| !rest.is_zero()) else {
                return;
            };
            state = self
                .changed
                .wait_timeout(state, rest)
                .map_or_else(|error| error.into_inner().0, |(state, _)| state);
        }
    }
}
