//! The checker finds a bug that was put in on purpose: a NameNode that acknowledges before the commit.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use dfs_local::programs;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::nemesis::{Fault, Nemesis};
use super::round::Violation;
use super::{Clients, Outcome, play, seed};
use crate::stage::Stage;

/// The broken program.
const BROKEN: &str = "dfs-namenode-broken";
/// Rounds within which the bug must show. One in three or so is enough.
const ROUNDS: usize = 15;

/// Builds the broken program beside the others, in the same way.
fn build() -> Result<()> {
    let programs = programs()?;
    let target = programs.parent().context("programs lie in a target directory")?;
    let profile = match programs.file_name().and_then(|name| name.to_str()) {
        Some("debug") => "dev",
        Some(other) => other,
        None => bail!("{} is no folder of a build", programs.display()),
    };
    // Asked at run time: a target directory shared by two clones would keep the other's path.
    let here = std::env::var_os("CARGO_MANIFEST_DIR").context("cargo runs this test")?;
    let manifest = Path::new(&here).with_file_name("Cargo.toml");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--locked", "--package", "dfs-namenode", "--features", "seeded-bug", "--bin", BROKEN])
        .args(["--profile", profile, "--target-dir"])
        .arg(target)
        .arg("--manifest-path")
        .arg(manifest)
        .status()?;
    ensure!(status.success(), "building {BROKEN} failed: {status}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledgement_before_the_commit_is_found() -> Result<()> {
    tokio::task::spawn_blocking(build).await??;
    let mut random = SmallRng::seed_from_u64(seed()?);
    let stage = Stage::set_up(3, BROKEN).await?;
    let mut clients = Clients::connect(&stage, &mut random).await?;
    let clock = Instant::now();
    let mut nemesis =
        Nemesis::new(&stage, SmallRng::seed_from_u64(random.random()), clock, &[Fault::Partition]);
    for number in 0..ROUNDS {
        let Outcome { verdict, .. } = play(number, &mut clients, &mut nemesis, clock).await?;
        if let Err(Violation::Found(text)) = verdict {
            let what = text.lines().next().unwrap_or_default();
            println!("found in round {number}: {what}\n{}", nemesis.turn_page().0.join("\n"));
            return Ok(());
        }
    }
    bail!("{ROUNDS} rounds did not show the bug: the checker, or its faults, are too weak")
}
