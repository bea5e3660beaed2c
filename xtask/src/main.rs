//! `cargo xtask generate | check-generated | tidy`

mod arrows;
mod circles;
mod generate;
mod source;
mod tidy;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The workspace's root. Asked at run time: a target directory shared by two clones would keep the other's path.
fn root() -> Result<PathBuf> {
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR").context("run it as `cargo xtask`")?;
    Ok(Path::new(&manifest).parent().context("xtask lies in the workspace")?.to_owned())
}

fn main() -> Result<()> {
    let command = std::env::args().nth(1);
    match command.as_deref() {
        Some("generate") => generate::write(&root()?).and_then(|()| generate::write_others(&root()?)),
        Some("check-generated") => generate::check(&root()?),
        Some("tidy") => tidy::check(&root()?),
        _ => bail!("usage: cargo xtask generate | check-generated | tidy"),
    }
}
