//! The suite finds bugs that were put in on purpose, each at the step that is meant for it.

use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;

use serde_json::Value;

/// The suite's program; the daemons lie beside it.
const SUITE: &str = env!("CARGO_BIN_EXE_dfs-failure-test");
/// How long healing may take here: long enough for what heals, and what does not is waited for in vain.
const PATIENCE: &str = "25s";

/// Builds the broken programs beside the suite's, in the same way.
static BUILT: LazyLock<()> = LazyLock::new(|| {
    let folder = Path::new(SUITE).parent().unwrap();
    let profile = match folder.file_name().and_then(|name| name.to_str()).unwrap() {
        "debug" => "dev",
        other => other,
    };
    // Asked at run time: a target directory shared by two clones would keep the other's path.
    let here = std::env::var_os("CARGO_MANIFEST_DIR").unwrap();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    for package in ["dfs-namenode", "dfs-datanode"] {
        let status = Command::new(&cargo)
            .args(["build", "--locked", "--package", package, "--features", "seeded-bug"])
            .args(["--bin", &format!("{package}-broken"), "--profile", profile, "--target-dir"])
            .arg(folder.parent().unwrap())
            .arg("--manifest-path")
            .arg(Path::new(&here).with_file_name("Cargo.toml"))
            .status()
            .unwrap();
        assert!(status.success(), "building {package}-broken failed: {status}");
    }
});

/// Plays a scenario with this bug; answers with the exit status and the report.
fn played(scenario: &str, bug: &str) -> (Option<i32>, Value) {
    LazyLock::force(&BUILT);
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(SUITE)
        .args(["--run", scenario, "--seeded-bug", bug, "--patience", PATIENCE, "--report"])
        .arg(folder.path())
        .output()
        .unwrap();
    println!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let report = std::fs::read_to_string(folder.path().join("failures.json")).unwrap();
    (output.status.code(), serde_json::from_str(&report).unwrap())
}

/// Fails unless the scenario is wrong, and at this step, which says this.
fn is_found(scenario: &str, bug: &str, title: &str, says: &str) {
    let (status, report) = played(scenario, bug);
    let outcome = &report["scenarios"][0];
    if outcome["mark"] == "skipped" {
        println!("skipped: {}", outcome["reason"]);
        return;
    }
    let step = outcome["steps"].as_array().unwrap().iter().find(|step| step["mark"] == "wrong");
    let step = step.unwrap_or_else(|| panic!("{scenario} does not see the bug {bug}"));
    assert_eq!((status, step["title"].as_str().unwrap()), (Some(1), title), "{}", step["note"]);
    assert!(step["note"].as_str().unwrap().contains(says), "{}", step["note"]);
}

#[test]
fn data_without_checksums_is_found() {
    is_found("corrupt-two", "no-checksums", "whoever reads gets the right bytes", "WRONG BYTES");
}

#[test]
fn data_that_is_never_synced_is_found() {
    is_found("power-cut", "no-sync", "every file that was acknowledged is there", "");
}

#[test]
fn lost_replicas_that_nobody_makes_anew_are_found() {
    is_found(
        "automatic-recovery",
        "no-copies",
        "chunks with one replica left are copied first, then the others",
        "chunks are below target",
    );
}

#[test]
fn surplus_that_nobody_deletes_is_found() {
    is_found("automatic-recovery", "no-deletions", "surplus replicas go", "over-replicated");
}

#[test]
fn a_quarantine_that_is_deleted_is_found() {
    is_found("old-backup", "no-quarantine", "the newer chunks are still on every disk", "WERE DELETED");
}

#[test]
fn a_cluster_without_a_bug_passes_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let status =
        Command::new(SUITE).args(["--run", "one-datanode", "--report"]).arg(folder.path()).status().unwrap();
    assert!(status.success());
    let report = std::fs::read_to_string(folder.path().join("failures.json")).unwrap();
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["scenarios"][0]["mark"], "good");
    assert!(report["scenarios"][0]["measures"]["detection_seconds"].as_f64().unwrap() > 0.0);
}
