//! `cargo xtask generate | check-generated | tidy`

mod generate;
mod tidy;

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

/// The workspace's root.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace").to_owned()
}

fn main() -> Result<()> {
    let command = std::env::args().nth(1);
    match command.as_deref() {
        Some("generate") => generate::write(&root()),
        Some("check-generated") => generate::check(&root()),
        Some("tidy") => tidy::check(&root()),
        _ => bail!("usage: cargo xtask generate | check-generated | tidy"),
    }
}
