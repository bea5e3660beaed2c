//! `dfs-generate ROOT`: writes what is made from code. `cargo xtask generate` calls it.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "only for tests and measurements: it may end where nobody takes what it says"
)]

use std::path::Path;

use anyhow::{Context, Result};

fn main() -> Result<()> {
    let root = std::env::args_os().nth(1).context("usage: dfs-generate ROOT")?;
    if !dfs_generate::write(Path::new(&root))? {
        eprintln!("manifests/ is as it was: put helm on the PATH to make it from the chart");
    }
    Ok(())
}
