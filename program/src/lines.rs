//! Log lines on their way out: a bounded queue and a thread that writes.
//!
//! Whoever logs never waits and never fails. A line is dropped and counted if the queue is full, because what takes the
//! lines hangs or is too slow, or if it can't be written, because a disk is full or nobody reads any more.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use tracing::warn;
use tracing_subscriber::fmt::MakeWriter;

/// Bytes of lines that wait to be written: some thousands of lines, more than a burst makes.
const QUEUE_BYTES: usize = 1 << 20;

/// A queue of lines and the thread that writes them. Clones share both; the thread lives as long as the process.
#[derive(Debug, Clone)]
pub struct Lines {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// There is something to write.
    filled: Condvar,
    /// Everything is written, or dropped.
    emptied: Condvar,
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct Queue {
    bytes: Vec<u8>,
    /// The thread has taken lines that it did not write yet.
    writing: bool,
}

impl Lines {
    /// Starts the thread, which writes to `target`. Errors: no thread can be had.
    pub fn start(target: impl Write + Send + 'static) -> io::Result<Self> {
        Ok(Self::start_opening(target, |_| (), Duration::ZERO)?.0)
    }

    /// The same with a target that the thread must `open` first, which may take for ever. Answers also what came of it if
    /// that is known within `patience`.
    pub fn start_opening<W: Write + Send + 'static, T: Send + 'static>(
        mut target: W,
        open: impl FnOnce(&mut W) -> T + Send + 'static,
        patience: Duration,
    ) -> io::Result<(Self, Option<T>)> {
        let shared = Arc::<Shared>::default();
        let (tell, opened) = mpsc::channel();
        let of_writer = Arc::clone(&shared);
        std::thread::Builder::new().name("log-writer".to_owned()).spawn(move || {
            // Nobody may be waiting for it any more.
            let _ = tell.send(open(&mut target));
            Writer { target, torn: false, shared: of_writer }.run();
        })?;
        Ok((Self { shared }, opened.recv_timeout(patience).ok()))
    }

    /// Queues a line, or several, each with its line feed. Never waits.
    pub fn push(&self, lines: &[u8]) {
        let mut queue = self.shared.queue();
        if queue.bytes.len() + lines.len() > QUEUE_BYTES {
            drop(queue);
            self.shared.count_dropped(lines);
            return;
        }
        queue.bytes.extend_from_slice(lines);
        self.shared.filled.notify_one();
    }

    /// Waits until all lines queued so far are written or dropped, at most `limit`. Answers whether they are.
    pub fn flush(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let mut queue = self.shared.queue();
        while queue.writing || !queue.bytes.is_empty() {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { return false };
            queue = self.shared.emptied.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Lines that were not written.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count_dropped(&self, lines: &[u8]) {
        self.dropped.fetch_add(count(lines), Ordering::Relaxed);
    }
}

fn count(lines: &[u8]) -> u64 {
    lines.split_inclusive(|byte| *byte == b'\n').count() as u64
}

/// The thread's own part.
struct Writer<W> {
    target: W,
    /// The last line that was begun has no end.
    torn: bool,
    shared: Arc<Shared>,
}

impl<W: Write> Writer<W> {
    fn run(mut self) {
        let mut told = 0;
        let mut batch = Vec::new();
        loop {
            self.take(&mut batch);
            let whole = self.write(&batch);
            let dropped = self.shared.dropped.load(Ordering::Relaxed);
            if whole && dropped > told {
                // It goes the way of all lines, as the next batch.
                warn!(lines = dropped - told, "log lines were dropped");
                told = dropped;
            }
        }
    }

    /// Waits for lines and swaps them against the empty `batch`, whose memory is used again.
    fn take(&self, batch: &mut Vec<u8>) {
        batch.clear();
        let mut queue = self.shared.queue();
        queue.writing = false;
        while queue.bytes.is_empty() {
            self.shared.emptied.notify_all();
            queue = self.shared.filled.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        queue.writing = true;
        std::mem::swap(&mut queue.bytes, batch);
    }

    /// Writes what can be written. Answers whether that is everything.
    fn write(&mut self, batch: &[u8]) -> bool {
        if self.torn && self.put(b"\n") < 1 {
            self.shared.count_dropped(batch);
            return false;
        }
        self.torn = false;
        let written = self.put(batch);
        let (gone, left) = batch.split_at(written);
        self.torn = !left.is_empty() && gone.last().is_some_and(|last| *last != b'\n');
        self.shared.count_dropped(left);
        left.is_empty()
    }

    /// Bytes written until the first failure.
    fn put(&mut self, bytes: &[u8]) -> usize {
        let mut written = 0;
        while written < bytes.len() {
            match self.target.write(&bytes[written..]) {
                Ok(0) => break,
                Ok(more) => written += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        written
    }
}

/// What a subscriber writes one event to.
#[derive(Debug)]
pub struct Line<'a>(&'a Lines);

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(self)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    /// Keeps what it is given as long as there is room.
    #[derive(Clone, Default)]
    struct Disk(Arc<Mutex<(Vec<u8>, usize)>>);

    impl Disk {
        fn with_room(room: usize) -> Self {
            Self(Arc::new(Mutex::new((Vec::new(), room))))
        }

        fn give_room(&self, room: usize) {
            self.0.lock().unwrap().1 = room;
        }

        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().0.clone()).unwrap()
        }
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let (kept, room) = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let fits = bytes.len().min(*room);
            if fits == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            kept.extend_from_slice(&bytes[..fits]);
            *room -= fits;
            Ok(fits)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_come_out_in_order() {
        let disk = Disk::with_room(usize::MAX);
        let lines = Lines::start(disk.clone()).unwrap();
        let expected = (0..1_000).map(|number| format!("line {number}\n")).collect::<Vec<_>>().concat();
        for line in expected.split_inclusive('\n') {
            lines.push(line.as_bytes());
        }
        assert!(lines.flush(SOON));
        assert_eq!((disk.text(), lines.dropped()), (expected, 0));
    }

    #[test]
    fn what_a_full_disk_does_not_take_is_counted_and_later_lines_begin_anew() {
        let disk = Disk::with_room(6);
        let lines = Lines::start(disk.clone()).unwrap();
        for line in ["one\n", "two\n", "three\n"] {
            lines.push(line.as_bytes());
            assert!(lines.flush(SOON));
        }
        assert_eq!((disk.text().as_str(), lines.dropped()), ("one\ntw", 2));
        disk.give_room(100);
        lines.push(b"four\n");
        assert!(lines.flush(SOON));
        assert_eq!((disk.text().as_str(), lines.dropped()), ("one\ntw\nfour\n", 2));
    }

    /// Waits for a word before each write, as a pipe does that nobody reads.
    struct Stuck(Receiver<()>, Disk);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.recv().map_err(io::Error::other)?;
            self.1.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn nobody_waits_for_a_target_that_hangs_and_the_queue_is_bounded() {
        let (word, heard): (Sender<()>, _) = channel();
        let disk = Disk::with_room(usize::MAX);
        let lines = Lines::start(Stuck(heard, disk.clone())).unwrap();
        let line = [&[b'x'; 1_023][..], b"\n"].concat();
        let pushed = 4 * QUEUE_BYTES / line.len();
        for _ in 0..pushed {
            lines.push(&line);
        }
        assert!(!lines.flush(Duration::from_millis(10)), "it hangs");
        let dropped = lines.dropped();
        // One queue full may be in the thread's hands.
        let fits = QUEUE_BYTES / line.len();
        assert!((pushed - 2 * fits..=pushed - fits).contains(&(dropped as usize)), "{dropped}");
        for _ in 0..2 {
            word.send(()).unwrap();
        }
        drop(word);
        assert!(lines.flush(SOON));
        assert_eq!(lines.dropped(), dropped);
        assert_eq!(disk.text().len(), (pushed - dropped as usize) * line.len());
    }

    #[test]
    fn a_target_that_cannot_be_opened_yet_delays_nobody() {
        let (word, heard) = channel::<()>();
        let disk = Disk::with_room(usize::MAX);
        let open = move |_: &mut Disk| heard.recv();
        let (lines, opened) = Lines::start_opening(disk.clone(), open, Duration::from_millis(1)).unwrap();
        assert!(opened.is_none(), "it hangs");
        lines.push(b"one\n");
        assert!(!lines.flush(Duration::from_millis(1)));
        word.send(()).unwrap();
        assert!(lines.flush(SOON));
        assert_eq!(disk.text(), "one\n");
        let (_, opened) = Lines::start_opening(disk, |_| 7, SOON).unwrap();
        assert_eq!(opened, Some(7));
    }

    #[test]
    fn lines_are_counted() {
        for (text, number) in [("", 0), ("a\n", 1), ("a", 1), ("a\nb\n", 2), ("a\nb", 2)] {
            assert_eq!(count(text.as_bytes()), number, "{text:?}");
        }
    }
}
