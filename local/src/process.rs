//! Processes by identity: a pid alone may belong to something else by now.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, pidfd_open, pidfd_send_signal, waitpid};
use serde::{Deserialize, Serialize};

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProcessState {
    /// It runs.
    Running,
    /// SIGSTOP holds it.
    Paused,
    /// It is not there (any more).
    Stopped,
}

/// A process that can't be mistaken for another: the pid, when the kernel started it, and in which boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The process id.
    pub pid: u32,
    /// Clock ticks from boot to the start of the process (field 22 of `/proc/PID/stat`).
    start: u64,
    /// Random id of the boot.
    boot: String,
}

impl Identity {
    /// The identity of the process that has this pid now.
    pub fn of(pid: u32) -> io::Result<Self> {
        Ok(Self { pid, start: Stat::read(pid)?.start, boot: boot_id()? })
    }

    /// What the process does now.
    pub fn state(&self) -> ProcessState {
        match self.stat() {
            None => ProcessState::Stopped,
            Some(Stat { state: 'T' | 't', .. }) => ProcessState::Paused,
            Some(_) => ProcessState::Running,
        }
    }

    /// Whether the process exists and is not a corpse.
    pub fn is_alive(&self) -> bool {
        self.stat().is_some()
    }

    /// Sends a signal; `false` if the process is gone.
    pub fn signal(&self, signal: Signal) -> io::Result<bool> {
        let Some(handle) = self.handle()? else { return Ok(false) };
        match pidfd_send_signal(&handle, signal) {
            Ok(()) => Ok(true),
            Err(Errno::SRCH) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until the process has ended; `false` if it has not when the time is over.
    pub fn wait_end(&self, within: Duration) -> io::Result<bool> {
        let Some(handle) = self.handle()? else { return Ok(true) };
        let deadline = Instant::now() + within;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
            match poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&timeout)) {
                Ok(0) => return Ok(false),
                Ok(_) => {
                    self.reap();
                    return Ok(true);
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// A handle of exactly this process, or `None` if it is gone.
    ///
    /// The handle is taken first and the start time compared afterwards: if it fits, the process had the pid before
    /// and after, so the handle is its. A corpse counts: the first thread of a killed process may be one while others
    /// still hold its ports and locks, and only the handle tells when all are gone.
    fn handle(&self) -> io::Result<Option<OwnedFd>> {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else { return Ok(None) };
        let handle = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(handle) => handle,
            Err(Errno::SRCH) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        Ok(self.identified().map(|_| handle))
    }

    /// The stat of the process that has the pid if it is this one, be it a corpse.
    fn identified(&self) -> Option<Stat> {
        let stat = Stat::read(self.pid).ok()?;
        (stat.start == self.start && boot_id().ok()? == self.boot).then_some(stat)
    }

    /// The process's stat if it is this one and not a corpse; a corpse of a child of ours is buried.
    fn stat(&self) -> Option<Stat> {
        let stat = self.identified()?;
        if matches!(stat.state, 'Z' | 'X') {
            self.reap();
            return None;
        }
        Some(stat)
    }

    /// Takes the exit status if the process is a child of this one, so that no zombie stays; others are not touched.
    fn reap(&self) {
        if let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) {
            // ECHILD: not a child of this process, or taken already. Both are fine.
            let _ = waitpid(Some(pid), WaitOptions::NOHANG);
        }
    }
}

/// The parts of `/proc/PID/stat` that matter here.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    state: char,
    start: u64,
}

impl Stat {
    fn read(pid: u32) -> io::Result<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        Self::parse(&text)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "unknown form of /proc/PID/stat"))
    }

    /// The second field is the program's name in parentheses and may itself hold spaces and parentheses: the fields
    /// after it begin behind the last `)`.
    fn parse(text: &str) -> Option<Self> {
        let (_, fields) = text.rsplit_once(')')?;
        let mut fields = fields.split_ascii_whitespace();
        let state = fields.next()?.chars().next()?;
        // `state` is field 3 and the start time field 22; 18 lie between.
        let start = fields.nth(18)?.parse().ok()?;
        Some(Self { state, start })
    }
}

fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    fn sleeper() -> (std::process::Child, Identity) {
        let child = Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().unwrap();
        let identity = Identity::of(child.id()).unwrap();
        (child, identity)
    }

    #[test]
    fn stat_survives_a_name_with_parentheses() {
        let text = "42 (a) b (c) S 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 0 0";
        assert_eq!(Stat::parse(text), Some(Stat { state: 'S', start: 987_654 }));
        assert_eq!(Stat::parse("42 (a"), None);
        assert_eq!(Stat::parse("42 (a) S 1"), None);
    }

    #[test]
    fn a_process_is_paused_resumed_and_killed() {
        let (_child, identity) = sleeper();
        assert_eq!(identity.state(), ProcessState::Running);
        assert!(identity.signal(Signal::STOP).unwrap());
        let deadline = Instant::now() + Duration::from_secs(5);
        while identity.state() != ProcessState::Paused {
            assert!(Instant::now() < deadline, "SIGSTOP had no effect");
            std::thread::yield_now();
        }
        assert!(!identity.wait_end(Duration::from_millis(10)).unwrap());
        assert!(identity.signal(Signal::CONT).unwrap());
        assert!(identity.signal(Signal::KILL).unwrap());
        assert!(identity.wait_end(Duration::from_secs(5)).unwrap());
        assert_eq!(identity.state(), ProcessState::Stopped);
        assert!(!identity.signal(Signal::KILL).unwrap());
    }

    #[test]
    fn a_recycled_pid_is_never_signalled() {
        let (mut child, identity) = sleeper();
        let before = Identity { start: identity.start - 1, ..identity.clone() };
        let other_boot = Identity { boot: "another boot".to_owned(), ..identity.clone() };
        for stranger in [before, other_boot] {
            assert!(!stranger.signal(Signal::KILL).unwrap());
            assert!(stranger.wait_end(Duration::ZERO).unwrap());
            assert_eq!(stranger.state(), ProcessState::Stopped);
        }
        assert!(identity.is_alive());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!identity.is_alive());
    }
}
