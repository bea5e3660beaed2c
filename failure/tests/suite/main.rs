//! The suite's program, with daemons that are not the usual ones.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "only for tests and measurements: it may end where nobody takes what it says"
)]

mod seeded;
mod upgrade;

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// The suite's program; the daemons lie beside it.
const SUITE: &str = env!("CARGO_BIN_EXE_dfs-failure-test");

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
