//! The NameNode dies at random moments of a metadata storm: every acknowledged operation is there afterwards, none
//! is there half, and none has happened twice.
//!
//! Each client works below a directory of its own, one operation after the other, and compares every answer with
//! its model. A client's retries carry the request id of the first try, so even an operation that was under way when
//! the NameNode died has one definite answer.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use dfs_client::{CreateOptions, Dfs};
use dfs_e2e::long_form;
use dfs_e2e::model::{Entry, Model, Operation};
use dfs_local::{Daemon, Options, TestCluster};
use dfs_types::{FsPath, Mode};
use futures_util::TryStreamExt;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Clients that storm at once.
pub(super) const CLIENTS: u64 = 8;

fn pick(random: &mut SmallRng, model: &Model) -> FsPath {
    let index = random.random_range(0..model.entries.len());
    model.entries.keys().nth(index).cloned().expect("the index is below the length")
}

fn fresh(random: &mut SmallRng, model: &Model) -> Result<FsPath> {
    Ok(pick(random, model).join(&format!("n{}", random.random_range(0..40)))?)
}

fn choose(random: &mut SmallRng, root: &FsPath, model: &Model) -> Result<Operation> {
    let some = pick(random, model);
    Ok(match random.random_range(0..10) {
        0..=3 => Operation::Create(fresh(random, model)?),
        4 | 5 => Operation::Mkdir(fresh(random, model)?),
        6 | 7 if some != *root => Operation::Rename(some, fresh(random, model)?),
        8 if some != *root => Operation::Delete(some),
        _ => Operation::Delete(fresh(random, model)?),
    })
}

async fn perform(dfs: &Dfs, operation: &Operation) -> Result<bool, dfs_types::FsError> {
    match operation {
        Operation::Create(path) => {
            dfs.create(path, CreateOptions::default()).await?.close().await?;
            Ok(true)
        }
        Operation::Mkdir(path) => dfs.mkdir(path, Mode::DIRECTORY).await.map(|_| true),
        Operation::Rename(from, to) => dfs.rename(from, to, false).await.map(|()| true),
        Operation::Delete(path) => dfs.delete(path, true).await,
    }
}

/// Works until told to stop; returns what must be there.
pub(super) async fn storm(
    dfs: Dfs,
    client: u64,
    seed: u64,
    mut stop: watch::Receiver<bool>,
) -> Result<(Model, u64)> {
    let mut random = SmallRng::seed_from_u64(seed);
    let root = FsPath::parse(&format!("/storm-{client}"))?;
    dfs.mkdir(&root, Mode::DIRECTORY).await?;
    let mut model = Model::with_root(root.clone());
    let mut operations = 0;
    while !*stop.borrow_and_update() {
        let operation = choose(&mut random, &root, &model)?;
        let expected = model.apply(&operation);
        let found = perform(&dfs, &operation).await;
        match (&expected, &found) {
            (Ok(expected), Ok(found)) if expected == found => {}
            (Err(code), Err(error)) if *code == error.code => {}
            _ => bail!(
                "seed {seed}, operation {operations}: {operation:?} answered {found:?}, not {expected:?}"
            ),
        }
        operations += 1;
    }
    Ok((model, operations))
}

/// Reads a directory's whole tree back.
async fn read_back(dfs: &Dfs, root: &FsPath) -> Result<Model> {
    let mut model = Model::with_root(root.clone());
    let mut directories = vec![root.clone()];
    while let Some(directory) = directories.pop() {
        let entries: Vec<_> = dfs.list(&directory).try_collect().await?;
        let status = dfs.stat(&directory).await?;
        ensure!(
            status.children == entries.len() as u64,
            "{directory} says it has {} entries and lists {}",
            status.children,
            entries.len()
        );
        for entry in entries {
            let path = directory.join(&entry.name)?;
            if entry.status.is_directory() {
                directories.push(path.clone());
                model.entries.insert(path, Entry::Directory);
            } else {
                ensure!(!entry.status.open, "{path} was closed and is open");
                model.entries.insert(path, Entry::File);
            }
        }
    }
    Ok(model)
}

/// Waits for all storms, and compares what each of them did with what is there. Answers the number of operations.
pub(super) async fn all_is_there(dfs: &Dfs, storms: Vec<JoinHandle<Result<(Model, u64)>>>) -> Result<u64> {
    let mut operations = 0;
    for (client, task) in storms.into_iter().enumerate() {
        let (model, count) = task.await??;
        operations += count;
        let root = FsPath::parse(&format!("/storm-{client}"))?;
        let found = read_back(dfs, &root).await?;
        ensure!(found == model, "client {client}: the tree is not what was acknowledged");
    }
    Ok(operations)
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_metadata_survives_sigkill() -> Result<()> {
    let kills = if long_form() { 100 } else { 6 };
    let seed: u64 = match std::env::var("DFS_SEED") {
        Ok(seed) => seed.parse().context("DFS_SEED is a number")?,
        Err(_) => rand::rng().random(),
    };
    println!("DFS_SEED={seed}");
    let cluster = TestCluster::start(Options { datanodes: 1, ..Options::default() }).await?;
    let (stop, stopped) = watch::channel(false);
    let mut clients = Vec::new();
    for client in 0..CLIENTS {
        let dfs = cluster.client().await?;
        clients.push(tokio::spawn(storm(dfs, client, seed.wrapping_add(client), stopped.clone())));
    }

    let mut random = SmallRng::seed_from_u64(seed);
    for _ in 0..kills {
        // The moment of the kill is what is random here; the storm goes on meanwhile.
        tokio::time::sleep(Duration::from_millis(random.random_range(50..700))).await;
        cluster.kill(Daemon::NameNode(1)).await?;
        cluster.start(Daemon::NameNode(1)).await?;
    }
    stop.send(true)?;

    let operations = all_is_there(&cluster.client().await?, clients).await?;
    println!("{operations} operations over {kills} kills");
    ensure!(operations > kills * 10, "only {operations} operations: the storm was a breeze");
    Ok(())
}
