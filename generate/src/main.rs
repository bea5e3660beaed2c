//! `dfs-generate ROOT`: writes what is made from code. `cargo xtask generate` calls it.

use std::path::Path;

use anyhow::{Context, Result};

fn main() -> Result<()> {
    let root = std::env::args_os().nth(1).context("usage: dfs-generate ROOT")?;
    if !dfs_generate::write(Path::new(&root))? {
        eprintln!("manifests/ is as it was: put helm on the PATH to make it from the chart");
    }
    Ok(())
}
