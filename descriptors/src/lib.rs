//! Which standard streams a process was given.
//!
//! Before `main` Rust opens `/dev/null` in place of those that are closed, so that no file gets their numbers. Later a
//! closed stream can't be told from one that somebody opened like this on purpose (Python's `DEVNULL` is the same), and a
//! listing that went nowhere would be a success. So it is looked at before.

use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU8, Ordering};

/// Bits of the descriptors that were closed.
static CLOSED: AtomicU8 = AtomicU8::new(0);

/// Runs before `main`: it does nothing but three system calls.
#[ctor::ctor(unsafe)]
fn look() {
    CLOSED.store(
        closed(io::stdin(), Stream::Input)
            | closed(io::stdout(), Stream::Output)
            | closed(io::stderr(), Stream::Error),
        Ordering::Relaxed,
    );
}

fn closed(stream: impl AsFd, which: Stream) -> u8 {
    if rustix::io::fcntl_getfd(stream).is_err() { which.bit() } else { 0 }
}

/// A standard stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Descriptor 0.
    Input,
    /// Descriptor 1.
    Output,
    /// Descriptor 2.
    Error,
}

impl Stream {
    fn bit(self) -> u8 {
        match self {
            Self::Input => 1,
            Self::Output => 2,
            Self::Error => 4,
        }
    }

    /// Whether the process was started with it.
    pub fn was_given(self) -> bool {
        CLOSED.load(Ordering::Relaxed) & self.bit() == 0
    }
}
