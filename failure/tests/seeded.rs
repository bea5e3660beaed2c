//! The suite finds bugs that were put in on purpose, each at the step that is meant for it.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "only for tests and measurements: it may end where nobody takes what it says"
)]

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// The suite's program; the daemons lie beside it.
const SUITE: &str = env!("CARGO_BIN_EXE_dfs-failure-test");
/// How long healing may take here: long enough for what heals, and what does not is waited for in vain.
const PATIENCE: &str = "25s";

/// Builds the broken programs beside the suite's, in the same way.
fn build() -> Result<()> {
    let folder = Path::new(SUITE).parent().context("a program lies in a folder")?;
    let target = folder.parent().context("programs lie in a target directory")?;
    let profile = match folder.file_name().and_then(|name| name.to_str()).context("the folder has a name")? {
        "debug" => "dev",
        other => other,
    };
    // Asked at run time: a target directory shared by two clones would keep the other's path.
    let here = std::env::var_os("CARGO_MANIFEST_DIR").context("cargo runs this test")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    for package in ["dfs-namenode", "dfs-datanode"] {
        let status = Command::new(&cargo)
            .args(["build", "--locked", "--package", package, "--features", "seeded-bug"])
            .args(["--bin", &format!("{package}-broken"), "--profile", profile, "--target-dir"])
            .arg(target)
            .arg("--manifest-path")
            .arg(Path::new(&here).with_file_name("Cargo.toml"))
            .status()?;
        ensure!(status.success(), "building {package}-broken failed: {status}");
    }
    Ok(())
}

/// Runs the suite; answers with the exit status and what came of its only scenario.
fn played(arguments: &[&str]) -> Result<(Option<i32>, Value)> {
    let folder = tempfile::tempdir()?;
    let output = Command::new(SUITE).args(arguments).arg("--report").arg(folder.path()).output()?;
    println!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let report = std::fs::read_to_string(folder.path().join("failures.json"))?;
    let mut report: Value = serde_json::from_str(&report)?;
    Ok((output.status.code(), report["scenarios"][0].take()))
}

/// Fails unless the scenario is wrong with this bug, and at this step, which says this.
fn is_found(scenario: &str, bug: &str, title: &str, says: &str) -> Result<()> {
    build()?;
    let (status, outcome) = played(&["--run", scenario, "--seeded-bug", bug, "--patience", PATIENCE])?;
    if outcome["mark"] == "skipped" {
        println!("skipped: {}", outcome["reason"]);
        return Ok(());
    }
    let steps = outcome["steps"].as_array().context("steps were done")?;
    let step = steps.iter().find(|step| step["mark"] == "wrong");
    let step = step.with_context(|| format!("{scenario} does not see the bug {bug}"))?;
    ensure!(status == Some(1), "the exit status is {status:?}");
    ensure!(step["title"] == title, "another step is wrong: {step}");
    ensure!(step["note"].as_str().is_some_and(|note| note.contains(says)), "it says something else: {step}");
    Ok(())
}

#[test]
fn data_without_checksums_is_found() -> Result<()> {
    is_found("corrupt-two", "no-checksums", "whoever reads gets the right bytes", "WRONG BYTES")
}

#[test]
fn bytes_of_a_chunk_without_any_good_replica_are_found() -> Result<()> {
    is_found(
        "corrupt-all",
        "no-checksums",
        "whoever reads gets an error in words, and never wrong bytes",
        "every replica is damaged",
    )
}

#[test]
fn a_datanode_that_nobody_makes_up_for_is_found() -> Result<()> {
    is_found(
        "one-datanode",
        "no-copies",
        "its replicas are made anew on the others",
        "chunks are below target",
    )
}

#[test]
fn data_that_is_never_synced_is_found() -> Result<()> {
    is_found("power-cut", "no-sync", "every file that was acknowledged is there", "")
}

#[test]
fn lost_replicas_that_nobody_makes_anew_are_found() -> Result<()> {
    is_found(
        "automatic-recovery",
        "no-copies",
        "chunks with one replica left are copied first, then the others",
        "others too few",
    )
}

#[test]
fn surplus_that_nobody_deletes_is_found() -> Result<()> {
    is_found("automatic-recovery", "no-deletions", "surplus replicas go", "deletions are under way")
}

#[test]
fn a_namenode_that_forgets_what_was_synced_is_found() -> Result<()> {
    is_found(
        "synced-tail-away",
        "forgets-synced",
        "the other waits, and the cluster says for what",
        "it is closed with 0 bytes",
    )
}

#[test]
fn a_quarantine_that_is_deleted_is_found() -> Result<()> {
    is_found("old-backup", "no-quarantine", "the newer chunks are still on every disk", "WERE DELETED")
}

#[test]
fn a_disk_that_is_waited_for_without_end_is_found() -> Result<()> {
    is_found(
        "hung-volume",
        "no-disk-limit",
        "a disk that hangs is suspect, and healthy again by itself when it goes on",
        "told as suspect",
    )
}

#[test]
fn an_emptied_volume_that_is_formatted_is_found() -> Result<()> {
    is_found(
        "volume-emptied",
        "formats-anything",
        "after a restart it is still out of use, and nothing was written there",
        "it has dfs now",
    )
}

#[test]
fn a_volume_in_anothers_place_that_nobody_notices_is_found() -> Result<()> {
    is_found("volumes-exchanged", "trusts-place", "both tell them as failed", "told as failed")
}

#[test]
fn a_cluster_without_a_bug_passes_and_says_so() -> Result<()> {
    let (status, outcome) = played(&["--run", "one-datanode"])?;
    ensure!(status == Some(0) && outcome["mark"] == "good", "{outcome}");
    let detection = outcome["measures"]["detection_seconds"].as_f64();
    ensure!(detection.is_some_and(|seconds| seconds > 0.0), "{outcome}");
    Ok(())
}
