//! Other people's programs, where they are.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Set to make a test fail that would be skipped because a program is missing: continuous integration has them all.
const REQUIRE: &str = "DFS_REQUIRE_TOOLS";

/// The program of this name, if it is on the PATH.
///
/// # Panics
/// If it is not, and must be.
pub fn tool(name: &str) -> Option<PathBuf> {
    let found = std::env::var_os("PATH").and_then(|path| {
        std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
    });
    if found.is_none() {
        assert!(std::env::var_os(REQUIRE).is_none(), "{name} is not on the PATH although {REQUIRE} is set");
        eprintln!("skipped: {name} is not on the PATH");
    }
    found
}

/// What the program prints; an error with all it says if it fails.
pub fn run(program: &Path, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .with_context(|| format!("starting {}", program.display()))?;
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{} {} failed:\n{out}{err}", program.display(), arguments.join(" "));
    Ok(out.into_owned())
}
