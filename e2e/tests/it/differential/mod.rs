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

use std::fmt::Write as _;

use anyhow::{Context as _, Result, bail, ensure};
use dfs_e2e::long_form;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::faults::path;
use answer::{agree, differences};
use known::{QUOTA, is_known};
use operation::{Generator, Operation, USERS};
use ours::Ours;
use webhdfs::WebHdfs;

/// Steps of one script.
const STEPS: u32 = 60;
/// Steps after which all is compared.
const COMPARED_EACH: u32 = 5;
/// Scripts of the short and of the long form.
const SCRIPTS: (u64, u64) = (5, 100);

/// What came of a script.
#[derive(Debug, Default)]
struct Tally {
    /// Steps that both did.
    done: u32,
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
async fn play(seed: u64, ours: &Ours, hdfs: &WebHdfs) -> Result<Tally> {
    let base = path(&format!("/differential-{seed}"));
    ours.make_base(&base).await?;
    hdfs.make_base(&base).await?;
    let mut random = SmallRng::seed_from_u64(seed);
    let mut generator = Generator::new(&mut random, base.clone());
    let (mut tally, mut script) = (Tally::default(), String::new());
    for step in 1..=STEPS {
        let (user, operation) = (generator.user(), generator.next());
        let name = user.map_or(hdfs.superuser.as_str(), |user| USERS[user].name);
        let _ = writeln!(script, "{step}: {name}: {operation:?}");
        one_step(user, name, &operation, ours, hdfs, &mut tally)
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
    Ok(tally)
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
    let count = match &our_answer {
        _ if is_known(operation, &our_answer, &their_answer) => &mut tally.known,
        _ if !agree(&our_answer, &their_answer) => {
            bail!("ours: {our_answer:?}\nHDFS: {their_answer:?}")
        }
        Ok(_) => &mut tally.done,
        Err(_) => &mut tally.refused,
    };
    *count += 1;
    // What a writer leaves behind that got no room for a chunk is open here, and closed there; and what HDFS could not overwrite
    // is gone there.
    if let (Operation::Create { path, .. } | Operation::Append { path, .. }, Err(theirs)) =
        (operation, &their_answer)
        && QUOTA.contains(&theirs.class.as_str())
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
    let mut failures = Vec::new();
    for seed in seeds()? {
        match play(seed, &ours, &hdfs).await {
            Ok(tally) => println!("DFS_SEED={seed}: {tally:?}"),
            Err(failure) => failures.push(format!("{failure:#}")),
        }
    }
    ensure!(failures.is_empty(), "{} scripts differ:\n{}", failures.len(), failures.join("\n\n"));
    Ok(())
}
