//! One round: clients work on many short-lived cells, a few at a time, and everything they ask and are told is kept.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use dfs_client::Dfs;
use dfs_e2e::cell::{Answer, Cell, Identities, Mark, NAMES, Name, Operation, State};
use dfs_e2e::linearizability::{Failure, Record, check};
use dfs_types::{FsPath, Mode};
use rand::RngExt;
use rand::rngs::SmallRng;
use tokio::task::JoinSet;

use super::CLIENTS;
use super::perform::{Outcome, Sighting, close, perform};

/// Cells that are worked on at the same time.
const AT_ONCE: usize = 3;
/// Operations after which the next cells are taken, on the average of a cell.
const OPERATIONS: usize = 40;
/// Cells of a round: more than fast machines use up.
const CELLS: usize = 450;
/// Steps of the search of one cell's history; thousands are usual.
const BUDGET: u64 = 20_000_000;

/// What happened on one cell.
#[derive(Debug, Default)]
pub(super) struct Story {
    /// Its history.
    pub(super) records: Vec<Record<Operation, Answer>>,
    sightings: Vec<Sighting>,
    marks: u16,
}

/// The cells of one round.
#[derive(Debug)]
pub(super) struct Round {
    root: FsPath,
    clock: Instant,
    stories: Vec<Mutex<Story>>,
    begun: AtomicUsize,
    over: AtomicBool,
}

impl Round {
    /// Makes the cells of the round with this number. Times are counted from `clock`.
    pub(super) async fn prepare(dfs: &Dfs, number: usize, clock: Instant) -> Result<Self> {
        let root = FsPath::parse(&format!("/history-{number}"))?;
        let this = Self {
            root,
            clock,
            stories: (0..CELLS).map(|_| Mutex::default()).collect(),
            begun: AtomicUsize::new(0),
            over: AtomicBool::new(false),
        };
        dfs.mkdir_all(&this.root, Mode::DIRECTORY).await?;
        let mut tasks = JoinSet::new();
        for worker in 0..8 {
            let (dfs, root) = (dfs.clone(), this.root.clone());
            tasks.spawn(async move {
                for cell in (worker..CELLS).step_by(8) {
                    dfs.mkdir_all(&directory(&root, cell)?, Mode::DIRECTORY).await?;
                }
                anyhow::Ok(())
            });
        }
        while let Some(done) = tasks.join_next().await {
            done??;
        }
        Ok(this)
    }

    /// Lets clients finish what they do and begin nothing more.
    pub(super) fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    /// Whether every cell was used up before the round ended.
    pub(super) fn is_used_up(&self) -> bool {
        self.begun.load(Ordering::Relaxed) >= CELLS / AT_ONCE * AT_ONCE * OPERATIONS
    }

    fn story(&self, cell: usize) -> MutexGuard<'_, Story> {
        self.stories[cell].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The cell to work on next; `None` at the end of the round.
    fn turn(&self, random: &mut SmallRng) -> Option<usize> {
        let group = self.begun.fetch_add(1, Ordering::Relaxed) / (AT_ONCE * OPERATIONS);
        let cell = group * AT_ONCE + random.random_range(0..AT_ONCE);
        (cell < CELLS && !self.over.load(Ordering::Relaxed)).then_some(cell)
    }

    /// One client's work until the round ends.
    pub(super) async fn work(&self, dfs: &Dfs, client: usize, random: &mut SmallRng) -> Result<()> {
        while let Some(cell) = self.turn(random) {
            let operation = choose(random, &mut self.story(cell));
            self.ask(dfs, client, cell, operation).await?;
        }
        Ok(())
    }

    async fn ask(&self, dfs: &Dfs, client: usize, cell: usize, operation: Operation) -> Result<()> {
        let index = self.called(client, cell, operation);
        match perform(dfs, &directory(&self.root, cell)?, operation).await? {
            Outcome::Answered(answer, sightings) => self.answered(cell, index, answer, &sightings),
            Outcome::Unknown => {}
            Outcome::Opened(writer) => {
                self.answered(cell, index, Answer::Done, &[]);
                let called = self.clock.elapsed();
                let closed = close(*writer).await?;
                let mut story = self.story(cell);
                match (closed, operation) {
                    (Some(sighting), _) => story.sightings.push(sighting),
                    (None, Operation::Create(name, mark)) => {
                        let operation = Operation::Abandon(name, mark);
                        story.records.push(Record { client, operation, called, answered: None });
                    }
                    (None, _) => bail!("{operation:?} opened a file"),
                }
            }
        }
        Ok(())
    }

    fn called(&self, client: usize, cell: usize, operation: Operation) -> usize {
        let mut story = self.story(cell);
        story.records.push(Record { client, operation, called: self.clock.elapsed(), answered: None });
        story.records.len() - 1
    }

    fn answered(&self, cell: usize, index: usize, answer: Answer, sightings: &[Sighting]) {
        let now = self.clock.elapsed();
        let mut story = self.story(cell);
        story.records[index].answered = Some((now, answer));
        story.sightings.extend_from_slice(sightings);
    }

    /// Looks at every cell that was used once more, and returns what happened on each.
    pub(super) async fn finish(self, dfs: &Dfs) -> Result<Vec<Story>> {
        for cell in 0..CELLS {
            if !self.story(cell).records.is_empty() {
                self.ask(dfs, CLIENTS, cell, Operation::List).await?;
            }
        }
        dfs.delete(&self.root, true).await.context("removing a round's cells")?;
        let stories = self.stories.into_iter();
        let stories = stories.map(|story| story.into_inner().unwrap_or_else(PoisonError::into_inner));
        Ok(stories.filter(|story| !story.records.is_empty()).collect())
    }
}

fn directory(root: &FsPath, cell: usize) -> Result<FsPath> {
    Ok(root.join(&format!("cell-{cell}"))?)
}

fn choose(random: &mut SmallRng, story: &mut Story) -> Operation {
    let name = Name(random.random_range(0..NAMES));
    let mut mark = || {
        story.marks += 1;
        Mark::new(story.marks)
    };
    match random.random_range(0..20) {
        0..=5 => mark().map_or(Operation::Stat(name), |mark| Operation::Create(name, mark)),
        6 | 7 => mark().map_or(Operation::Stat(name), |mark| Operation::Mkdir(name, mark)),
        8..=10 => Operation::Delete(name),
        11..=14 => {
            let to = Name(random.random_range(0..NAMES));
            Operation::Rename { from: name, to, overwrite: random.random() }
        }
        15..=17 => Operation::Stat(name),
        _ => Operation::List,
    }
}

/// Checks the stories of one round; answers how long the longest search took.
pub(super) fn judge(stories: &[Story]) -> Result<Duration, Violation> {
    let mut identities = Identities::default();
    let mut longest = Duration::ZERO;
    for (cell, story) in stories.iter().enumerate() {
        let begun = Instant::now();
        check::<Cell>(&State::default(), &story.records, BUDGET).map_err(|failure| match failure {
            Failure::Violation { explanation } => Violation::Found(explanation),
            Failure::Undecided { .. } => Violation::Undecided(failure.to_string()),
        })?;
        longest = longest.max(begun.elapsed());
        for (mark, inode) in &story.sightings {
            identities.note(cell, *mark, *inode).map_err(Violation::Found)?;
        }
    }
    Ok(longest)
}

/// What is wrong with a history.
#[derive(Debug)]
pub(super) enum Violation {
    /// It is not that of a linearizable namespace.
    Found(String),
    /// The search took too long.
    Undecided(String),
}
