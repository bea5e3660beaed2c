//! The power goes, of all machines, of one or of some, at any moment, and comes back: nothing that was acknowledged is
//! lost. Unlike a killed process's, a machine's writes are gone unless they were synced.
//!
//! `DFS_SEED` repeats what clients do and which machines lose power when; what the machines had not synced at that
//! moment differs from run to run.

mod liars;
mod machines;
mod tails;
mod work;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use dfs_e2e::long_form;
use dfs_local::Daemon;
use futures_util::future::try_join_all;
use rand::rngs::SmallRng;
use rand::seq::IteratorRandom;
use rand::{RngExt, SeedableRng};
use tokio::sync::watch;

use crate::crash::{all_is_there, storm};
use machines::Machines;
use work::work;

/// Clients that write files, and clients that only change names.
const WRITERS: u64 = 3;
const STORMS: u64 = 2;
/// Time for what only needs everything to run: lease recovery waits for the DataNodes' reports.
const PATIENCE: Duration = Duration::from_mins(1);

fn seed() -> Result<u64> {
    let seed = match std::env::var("DFS_SEED") {
        Ok(seed) => seed.parse().context("DFS_SEED is a number")?,
        Err(_) => rand::rng().random(),
    };
    println!("DFS_SEED={seed}");
    Ok(seed)
}

/// All machines, one, or any number of them.
fn victims(random: &mut SmallRng, all: &[Daemon]) -> Vec<Daemon> {
    let count = match random.random_range(0..3) {
        0 => all.len(),
        1 => 1,
        _ => random.random_range(1..=all.len()),
    };
    all.iter().copied().sample(random, count)
}

async fn power_cuts(namenodes: u16, cuts: u64) -> Result<()> {
    let seed = seed()?;
    let Some(machines) = Machines::set_up(namenodes).await? else { return Ok(()) };
    let cluster = machines.cluster();
    let (stop, stopped) = watch::channel(false);
    let (mut writers, mut storms) = (Vec::new(), Vec::new());
    for client in 0..WRITERS {
        let (dfs, stopped) = (cluster.client().await?, stopped.clone());
        writers.push(tokio::spawn(async move {
            work(dfs, &format!("/power-{client}"), seed.wrapping_add(client), stopped).await
        }));
    }
    for client in 0..STORMS {
        let dfs = cluster.client().await?;
        storms.push(tokio::spawn(storm(dfs, client, !seed.wrapping_add(client), stopped.clone())));
    }

    let (mut random, all) = (SmallRng::seed_from_u64(seed), machines.all());
    for cut in 0..cuts {
        // The moment is what is random here; the clients go on meanwhile.
        tokio::time::sleep(Duration::from_millis(random.random_range(300..2_000))).await;
        // The first one takes all: nothing that runs on covers for what is lost.
        let victims = if cut == 0 { all.clone() } else { victims(&mut random, &all) };
        println!("cut {cut}: {}", victims.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "));
        machines.cut(&victims, random.random()).await?;
        cluster.start_all(&victims).await?;
    }
    machines.ready().await?;
    stop.send(true)?;

    let dfs = cluster.client().await?;
    let (mut done, mut failed, mut accounts) = (0, 0, Vec::new());
    for writer in writers {
        let account = writer.await??;
        (done, failed) = (done + account.done, failed + account.failed);
        accounts.push(account);
    }
    try_join_all(accounts.iter().map(|account| account.check(&dfs))).await?;
    let names = all_is_there(&dfs, storms).await?;
    println!(
        "{done} operations on files, {failed} without an answer, {names} on names over {cuts} power cuts"
    );
    ensure!(done > cuts && names > 10 * cuts, "the clients hardly worked");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_namenode_and_its_datanodes_lose_power() -> Result<()> {
    power_cuts(1, if long_form() { 60 } else { 4 }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn three_namenodes_and_their_datanodes_lose_power() -> Result<()> {
    power_cuts(3, if long_form() { 60 } else { 4 }).await
}
