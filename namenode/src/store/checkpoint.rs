//! Copies what SQLite's log holds into the database, beside the writer instead of within its commits.
//!
//! A commit syncs nothing, so a checkpoint finds many megabytes to be synced and would hold up everybody who waits for
//! the writer. A thread with a connection of its own does it while commits go on; SQLite allows that. The log file
//! begins anew only after a moment in which all of it is copied: so the writer itself copies the little that came in
//! between. Once the log is [`STRETCH`] times as long the writer waits for the thread, or does everything itself.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::Connection;

use super::schema;

/// How many times its usual length the log may have before the writer copies all of it.
const STRETCH: i32 = 4;

/// How long the writer waits for the thread at a time.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where the work is.
#[derive(Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing is to be done.
    Idle,
    /// The thread is at work.
    Copying,
    /// The thread is done, the writer copies the rest.
    Copied,
    /// It failed: tried again it could succeed although pages that were to be synced are lost.
    Failed(String),
}

/// What the thread and the writer tell each other.
struct Desk {
    /// Pages in SQLite's log after the last commit.
    pages: AtomicI32,
    stage: Mutex<Stage>,
    /// The thread is no longer at work.
    done: Condvar,
}

impl Desk {
    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread. Dropping it waits for its end.
pub(crate) struct Checkpointer {
    desk: Arc<Desk>,
    limit: i32,
    wanted: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Checkpointer {
    /// Starts the thread for the database of the writing connection, which no longer copies by itself; `limit`: pages
    /// in the log from which they are copied.
    pub(crate) fn start(writer: &mut Connection, limit: i32) -> rusqlite::Result<Self> {
        let desk =
            Arc::new(Desk { pages: AtomicI32::new(0), stage: Mutex::new(Stage::Idle), done: Condvar::new() });
        let seen = desk.clone();
        writer.wal_hook(Some(move |_: &mut _, pages| {
            seen.pages.store(pages, Ordering::Relaxed);
            Ok(())
        }))?;
        let (wanted, wishes) = sync_channel(1);
        let database = PathBuf::from(writer.path().unwrap_or_default());
        let own = desk.clone();
        // Without the thread the writer does it all.
        let thread = std::thread::Builder::new()
            .name("meta-checkpoint".to_owned())
            .spawn(move || serve(&database, &wishes, &own))
            .inspect_err(
                |error| tracing::error!(%error, "no thread could be started: raise the limit of threads"),
            )
            .ok();
        Ok(Self { desk, limit, wanted: Some(wanted), thread })
    }

    /// From how many pages in the log on they are copied: fewer on a disk where the log should not grow.
    pub(crate) fn set_limit(&mut self, limit: i32) {
        self.limit = limit;
    }

    /// To be called by the writer after each commit. An error means that it is not known what is on the disk.
    pub(crate) fn after_commit(&self, writer: &Connection) -> Result<(), String> {
        let pages = self.desk.pages.load(Ordering::Relaxed);
        let is_long = pages >= self.limit.saturating_mul(STRETCH);
        let mut stage = self.desk.stage();
        if is_long {
            let copying = |stage: &mut Stage| *stage == Stage::Copying;
            let waited = self.desk.done.wait_timeout_while(stage, PATIENCE, copying);
            stage = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        if let Stage::Failed(failure) = &*stage {
            return Err(failure.clone());
        }
        if *stage == Stage::Copied || is_long {
            if *stage == Stage::Copied {
                *stage = Stage::Idle;
            }
            drop(stage);
            return copy_what_fits(writer).map_err(|error| error.to_string());
        }
        if *stage == Stage::Idle && pages >= self.limit {
            // The queue is empty while nothing is under way. Without a thread the log grows until the writer copies it.
            let asked = self.wanted.as_ref().is_some_and(|wanted| wanted.try_send(()).is_ok());
            *stage = if asked { Stage::Copying } else { Stage::Idle };
        }
        Ok(())
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.wanted = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the checkpoint thread had panicked");
        }
    }
}

fn serve(database: &Path, wishes: &Receiver<()>, desk: &Desk) {
    let mut connection = None;
    while wishes.recv().is_ok() {
        // The second finds only what came while the first was at work.
        let copied = open(&mut connection, database).and_then(|connection| {
            let copied = copy_what_fits(connection).and_then(|()| copy_what_fits(connection));
            copied.map_err(|error| error.to_string())
        });
        *desk.stage() = copied.map_or_else(Stage::Failed, |()| Stage::Copied);
        desk.done.notify_all();
    }
}

fn open<'a>(connection: &'a mut Option<Connection>, database: &Path) -> Result<&'a Connection, String> {
    match connection {
        Some(connection) => Ok(connection),
        none => {
            let opened =
                schema::open_checkpointer(database).map_err(|error| dfs_types::error::sentence(&error))?;
            Ok(none.insert(opened))
        }
    }
}

/// As [`copy`], but that there is no room is no error: SQLite's log still has everything, and is copied later.
pub(crate) fn copy_what_fits(connection: &Connection) -> rusqlite::Result<()> {
    match copy(connection) {
        Err(error) if schema::is_full(&error) => {
            tracing::debug!(%error, "there is no room to copy SQLite's log into the database");
            Ok(())
        }
        done => done,
    }
}

/// Copies as much as possible without waiting for anybody.
fn copy(connection: &Connection) -> rusqlite::Result<()> {
    connection.prepare_cached("PRAGMA wal_checkpoint(PASSIVE)")?.query_row([], |_| Ok(()))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    const LIMIT: i32 = 40;

    struct World {
        checkpointer: Checkpointer,
        writer: Connection,
        folder: tempfile::TempDir,
    }

    fn world() -> World {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = Connection::open(folder.path().join("a.db")).unwrap();
        writer.pragma_update(None, "journal_mode", "WAL").unwrap();
        writer.pragma_update(None, "synchronous", "NORMAL").unwrap();
        let checkpointer = Checkpointer::start(&mut writer, LIMIT).unwrap();
        writer.execute_batch("CREATE TABLE page (number INTEGER PRIMARY KEY, data BLOB)").unwrap();
        World { checkpointer, writer, folder }
    }

    impl World {
        /// Commits one row, and answers the pages that the log has.
        fn commit(&self, number: i32) -> Result<i32, String> {
            self.writer
                .execute("INSERT OR REPLACE INTO page VALUES (?1, zeroblob(3000))", [number % 64])
                .map_err(|error| error.to_string())?;
            let pages = self.checkpointer.desk.pages.load(Ordering::Relaxed);
            self.checkpointer.after_commit(&self.writer).map(|()| pages)
        }

        /// Commits until the log began anew `times` times; answers how long it ever was.
        fn until_begun_anew(&self, times: usize) -> i32 {
            let deadline = Instant::now() + Duration::from_mins(1);
            let (mut last, mut longest, mut begun) = (0, 0, 0);
            for number in 0.. {
                let pages = self.commit(number).unwrap();
                begun += usize::from(pages < last);
                (last, longest) = (pages, longest.max(pages));
                if begun == times {
                    break;
                }
                assert!(Instant::now() < deadline, "the log grows and grows: {pages} pages");
            }
            longest
        }
    }

    #[test]
    fn the_log_begins_anew_while_commits_go_on() {
        let world = world();
        let longest = world.until_begun_anew(20);
        assert!((LIMIT..=LIMIT * STRETCH + 8).contains(&longest), "{longest}");
        let World { checkpointer, writer, folder } = world;
        drop(checkpointer);
        drop(writer);
        let again = Connection::open(folder.path().join("a.db")).unwrap();
        let sound: String = again.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(sound, "ok");
    }

    #[test]
    fn without_its_thread_the_writer_copies() {
        let mut world = world();
        world.checkpointer.wanted = None;
        let longest = world.until_begun_anew(3);
        assert!((LIMIT * STRETCH..=LIMIT * STRETCH + 8).contains(&longest), "{longest}");
    }

    #[test]
    fn a_failed_copy_ends_the_writing() {
        let world = world();
        std::fs::remove_file(world.folder.path().join("a.db")).unwrap();
        let deadline = Instant::now() + Duration::from_mins(1);
        let failure = (0..).find_map(|number| {
            assert!(Instant::now() < deadline, "nobody noticed");
            world.commit(number).err()
        });
        assert!(failure.unwrap().contains("open"), "it says what failed");
    }
}
