//! The suite finds bugs that were put in on purpose, each at the step that is meant for it.

use anyhow::{Context, Result, ensure};

use super::{build, played};

/// How long healing may take here: long enough for what heals, and what does not is waited for in vain.
const PATIENCE: &str = "25s";

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
