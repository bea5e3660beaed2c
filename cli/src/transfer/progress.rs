//! The progress bar: on a terminal only, on standard error.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::output::stderr_is_terminal;

/// How far a transfer has come. Cheap to clone; does nothing if nobody looks.
#[derive(Debug, Clone)]
pub(crate) struct Progress {
    bar: ProgressBar,
    files: Arc<AtomicU64>,
    expected: Arc<AtomicU64>,
}

impl Progress {
    /// A bar if a person looks at standard error and `wanted`.
    pub(crate) fn new(wanted: bool) -> Self {
        let bar = if wanted && stderr_is_terminal() { ProgressBar::new(0) } else { ProgressBar::hidden() };
        // Fits 80 columns; what does not is cut off.
        let template =
            "{bar:20} {bytes:>10} of {total_bytes:<10} {binary_bytes_per_sec:>12} ETA {eta:<3} {wide_msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        if !bar.is_hidden() {
            bar.enable_steady_tick(Duration::from_millis(200));
        }
        Self { bar, files: Arc::default(), expected: Arc::default() }
    }

    /// A file of this length will be transferred.
    pub(crate) fn expect(&self, length: u64) {
        self.expected.fetch_add(1, Ordering::Relaxed);
        self.bar.inc_length(length);
        self.show_files();
    }

    /// Bytes have been transferred.
    pub(crate) fn bytes(&self, count: usize) {
        self.bar.inc(count as u64);
    }

    /// A file is complete.
    pub(crate) fn file(&self) {
        self.files.fetch_add(1, Ordering::Relaxed);
        self.show_files();
    }

    /// Prints without tearing the bar.
    pub(crate) fn around<T>(&self, print: impl FnOnce() -> T) -> T {
        self.bar.suspend(print)
    }

    /// Takes the bar away.
    pub(crate) fn clear(&self) {
        self.bar.finish_and_clear();
    }

    fn show_files(&self) {
        let expected = self.expected.load(Ordering::Relaxed);
        if expected > 1 {
            self.bar.set_message(format!("{} of {expected} files", self.files.load(Ordering::Relaxed)));
        }
    }
}
