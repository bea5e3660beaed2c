//! Histories of concurrent clients over a disturbed group of NameNodes, checked for linearizability.
//!
//! The short form runs for about a minute. The long one (`DFS_LONG=1`) runs for `DFS_HISTORY_MINUTES` (default 30):
//! `DFS_LONG=1 cargo nextest run --profile long -p dfs-e2e history --no-capture`.

mod nemesis;
mod perform;
mod round;
mod seeded;

mod tally;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use dfs_client::Dfs;
use dfs_e2e::long_form;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinSet;

use crate::stage::Stage;

use self::nemesis::{Fault, Nemesis};
use self::round::{Round, Story, Violation, judge};
use self::tally::Tally;

/// Clients that work at once.
const CLIENTS: usize = 8;
/// Of these, clients that give an operation up before a failed NameNode can be replaced: its outcome is unknown then.
const IMPATIENT: usize = 2;
/// How long those wait for an answer.
const LITTLE_PATIENCE: Duration = Duration::from_millis(400);
/// Within this time the clients' last operations end: more than the most patient of them waits.
const END_LIMIT: Duration = Duration::from_mins(1);
/// How long the short form runs.
const SHORT: Duration = Duration::from_mins(1);

/// The clients of a run, with a random number generator each.
struct Clients(Vec<(Dfs, SmallRng)>);

impl Clients {
    async fn connect(stage: &Stage, random: &mut SmallRng) -> Result<Self> {
        let mut clients = Vec::new();
        for client in 0..CLIENTS {
            let builder = stage.client().await?;
            let builder = if client < IMPATIENT { builder.call_budget(LITTLE_PATIENCE) } else { builder };
            clients.push((builder.connect().await?, SmallRng::seed_from_u64(random.random())));
        }
        Ok(Self(clients))
    }

    /// One that does not give up early.
    fn patient(&self) -> &Dfs {
        &self.0[CLIENTS - 1].0
    }

    /// Lets all of them work on `round` while `disturb` runs, and until the NameNodes answer again after that.
    async fn work(&mut self, round: Arc<Round>, disturb: impl Future<Output = Result<()>>) -> Result<()> {
        let mut tasks = JoinSet::new();
        for (client, (dfs, random)) in self.0.iter_mut().enumerate() {
            let (dfs, round) = (dfs.clone(), Arc::clone(&round));
            let mut own = SmallRng::seed_from_u64(random.random());
            tasks.spawn(async move { round.work(&dfs, client, &mut own).await });
        }
        let disturbed = disturb.await;
        round.end();
        let ended = tokio::time::timeout(END_LIMIT, async {
            while let Some(done) = tasks.join_next().await {
                done??;
            }
            anyhow::Ok(())
        });
        ended.await.context("the clients' last operations did not end")??;
        disturbed
    }
}

/// What one round led to.
struct Outcome {
    stories: Vec<Story>,
    used_up: bool,
    verdict: Result<Duration, Violation>,
}

/// One round: some calm, one or two faults, some calm, and a last look at everything.
async fn play(
    number: usize,
    clients: &mut Clients,
    nemesis: &mut Nemesis<'_>,
    clock: Instant,
) -> Result<Outcome> {
    let round = Arc::new(Round::prepare(clients.patient(), number, clock).await?);
    let witness = clients.patient().clone();
    let disturb = async {
        for _ in 0..nemesis.strikes() {
            nemesis.wait(100, 600).await;
            nemesis.strike().await?;
        }
        // They serve again when one answers; then some calm.
        witness.defaults().await?;
        nemesis.wait(100, 600).await;
        Ok(())
    };
    clients.work(Arc::clone(&round), disturb).await?;
    let used_up = round.is_used_up();
    let round = Arc::into_inner(round).context("no client works any more")?;
    let stories = round.finish(clients.patient()).await?;
    let (stories, verdict) = tokio::task::spawn_blocking(move || {
        let verdict = judge(&stories);
        (stories, verdict)
    })
    .await?;
    Ok(Outcome { stories, used_up, verdict })
}

fn seed() -> Result<u64> {
    let seed = match std::env::var("DFS_SEED") {
        Ok(seed) => seed.parse().context("DFS_SEED is a number")?,
        Err(_) => rand::rng().random(),
    };
    println!("DFS_SEED={seed}");
    Ok(seed)
}

/// How long to go on.
fn length() -> Result<Duration> {
    if !long_form() {
        return Ok(SHORT);
    }
    let minutes = match std::env::var("DFS_HISTORY_MINUTES") {
        Ok(minutes) => minutes.parse().context("DFS_HISTORY_MINUTES is a number")?,
        Err(_) => 30,
    };
    Ok(Duration::from_mins(minutes))
}

/// Plays rounds with these faults for `length`; fails at the first violation.
async fn run(members: u16, faults: &[Fault], length: Duration) -> Result<Tally> {
    let mut random = SmallRng::seed_from_u64(seed()?);
    let stage = Stage::set_up(members, "dfs-namenode").await?;
    let mut clients = Clients::connect(&stage, &mut random).await?;
    let clock = Instant::now();
    let mut nemesis = Nemesis::new(&stage, SmallRng::seed_from_u64(random.random()), clock, faults);
    let mut tally = Tally::default();
    for number in 0.. {
        let Outcome { stories, used_up, verdict } = play(number, &mut clients, &mut nemesis, clock).await?;
        let (diary, done) = nemesis.turn_page();
        tally.add(&stories, used_up, &done);
        match verdict {
            Ok(time) => tally.searched(time),
            Err(Violation::Found(text) | Violation::Undecided(text)) => {
                println!("{tally}");
                bail!("round {number}: {text}\nwhat went on:\n{}", diary.join("\n"));
            }
        }
        if clock.elapsed() >= length {
            break;
        }
    }
    println!("{tally}");
    Ok(tally)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_namespace_of_one_namenode_is_linearizable() -> Result<()> {
    let tally = run(1, &[Fault::Kill, Fault::Pause, Fault::Skew], Duration::from_secs(15)).await?;
    ensure!(tally.done() > 1_000, "hardly anything was done: {tally}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_namespace_of_three_namenodes_is_linearizable() -> Result<()> {
    let all = [Fault::Kill, Fault::Pause, Fault::Partition, Fault::Partition, Fault::Delay, Fault::Skew];
    let tally = run(3, &all, length()?).await?;
    ensure!(tally.done() > 2_000, "hardly anything was done: {tally}");
    Ok(())
}
