//! Random scripts of several users on a cluster of ours and on real HDFS: both must answer the same to every step, and be the
//! same after it.
//!
//! It needs an HDFS whose address is in `DFS_HDFS` (`http://HOST:PORT` of its NameNode's web server), with the settings that
//! `.ci/run` starts one with. `DFS_SEED` repeats what a failure says; `DFS_LONG=1` plays more scripts.
//!
//! What is meant to be different is in `docs/reference/hdfs-differences.md`, and here in `known`.

mod answer;
mod http;
mod known;
mod operation;
mod ours;
mod webhdfs;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context as _, Result, ensure};
use dfs_e2e::long_form;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::faults::path;
use answer::{agree, differences};
use known::{QUOTA, SMALL_BLOCK, is_held_by_sticky, is_known};
use operation::{Generator, Operation, USERS};
use ours::Ours;
use webhdfs::WebHdfs;

/// Steps of one script.
const STEPS: u32 = 60;
/// Steps after which all is compared.
const COMPARED_EACH: u32 = 5;
/// Scripts of the short and of the long form.
const SCRIPTS: (u64, u64) = (5, 100);

/// What came of scripts.
#[derive(Debug, Default)]
struct Tally {
    /// Steps that both did, by what was done.
    done: BTreeMap<&'static str, u32>,
    /// Steps that both refused for the same reason.
    refused: u32,
    /// Steps with answers that are meant to be different.
    known: u32,
    /// Steps that neither did, as they are meant to do different things.
    left_out: u32,
    /// Comparisons of the whole state.
    compared: u32,
}

/// Plays the script of a seed on both clusters, in a directory of its own.
async fn play(seed: u64, ours: &Ours, hdfs: &WebHdfs, tally: &mut Tally) -> Result<()> {
    let base = path(&format!("/differential-{seed}"));
    ours.make_base(&base).await?;
    hdfs.make_base(&base).await?;
    let mut random = SmallRng::seed_from_u64(seed);
    let mut generator = Generator::new(&mut random, base.clone());
    let mut script = String::new();
    for step in 1..=STEPS {
        let (user, operation) = (generator.user(), generator.next());
        let name = user.map_or(hdfs.superuser.as_str(), |user| USERS[user].name);
        let _ = writeln!(script, "{step}: {name}: {operation:?}");
        one_step(user, name, &operation, ours, hdfs, tally)
            .await
            .with_context(|| format!("DFS_SEED={seed} differs after\n{script}"))?;
        if step % COMPARED_EACH == 0 || step == STEPS {
            let differences = differences(&ours.state(&base).await?, &hdfs.state(&base).await?);
            ensure!(differences.is_empty(), "DFS_SEED={seed} differs after\n{script}in\n{differences}");
            tally.compared += 1;
        }
    }
    ours.remove(&base).await?;
    hdfs.remove(&base).await?;
    Ok(())
}

/// One step of one user on both clusters.
async fn one_step(
    user: Option<usize>,
    name: &str,
    operation: &Operation,
    ours: &Ours,
    hdfs: &WebHdfs,
    tally: &mut Tally,
) -> Result<()> {
    if ours.is_left_out(user, operation).await? {
        tally.left_out += 1;
        return Ok(());
    }
    let our_answer = ours.perform(user, operation).await;
    let their_answer = hdfs.perform(name, operation).await?;
    if is_known(operation, &our_answer, &their_answer) {
        tally.known += 1;
    } else {
        ensure!(agree(&our_answer, &their_answer), "ours: {our_answer:?}\nHDFS: {their_answer:?}");
        match &our_answer {
            Ok(_) => *tally.done.entry(operation.kind()).or_default() += 1,
            Err(_) => tally.refused += 1,
        }
    }
    // What a writer leaves behind that failed is open here, and closed there; what HDFS could not overwrite is
    // gone there, and what only HDFS overwrites is another file there.
    let held = our_answer.as_ref().is_err_and(|ours| is_held_by_sticky(operation, ours));
    let broken = their_answer
        .as_ref()
        .is_err_and(|theirs| QUOTA.contains(&theirs.class.as_str()) || theirs.message.contains(SMALL_BLOCK));
    if let Operation::Create { path, .. } | Operation::Append { path, .. } = operation
        && (broken || held && their_answer.is_ok())
    {
        ours.remove(path).await?;
        hdfs.remove(path).await?;
    }
    Ok(())
}

/// The seeds of the scripts.
fn seeds() -> Result<Vec<u64>> {
    if let Ok(seed) = std::env::var("DFS_SEED") {
        return Ok(vec![seed.parse().context("DFS_SEED is a number")?]);
    }
    let (short, long) = SCRIPTS;
    Ok((0..if long_form() { long } else { short }).map(|_| rand::rng().random()).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn hdfs_answers_the_same() -> Result<()> {
    let Ok(address) = std::env::var("DFS_HDFS") else {
        println!("NOT RUN: DFS_HDFS does not name an HDFS to compare with");
        return Ok(());
    };
    let hdfs = WebHdfs::connect(&address).await?;
    let ours = Ours::start(&hdfs.superuser).await?;
    let (seeds, mut tally, mut failures) = (seeds()?, Tally::default(), Vec::new());
    let scripts = seeds.len();
    for seed in seeds {
        if let Err(failure) = play(seed, &ours, &hdfs, &mut tally).await {
            failures.push(format!("{failure:#}"));
        }
    }
    println!("{scripts} scripts: {tally:?}");
    ensure!(failures.is_empty(), "{} scripts differ:\n{}", failures.len(), failures.join("\n\n"));
    Ok(())
}
