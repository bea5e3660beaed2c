//! Writes what is generated and committed, or compares it with what is there.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

const PROTO_FILES: [&str; 8] = [
    "values.proto",
    "namespace.proto",
    "data.proto",
    "cluster.proto",
    "admin.proto",
    "raft.proto",
    "stored.proto",
    "replica.proto",
];
const PROTO_DIRECTORY: &str = "proto/src/gen";
/// One file for each package.
const PROTO_CODE: [&str; 3] = ["dfs.v1.rs", "dfs.stored.rs", "dfs.replica.rs"];

/// The Rust code of the protocol and of what is stored, compiled from `proto/proto` without a system `protoc`: each file's
/// name and content.
fn proto_code(root: &Path) -> Result<Vec<(&'static str, String)>> {
    let descriptors = protox::compile(PROTO_FILES, [root.join("proto/proto")])?;
    let out = tempfile::tempdir()?;
    tonic_prost_build::configure()
        .bytes(".dfs.v1.Packet")
        .bytes(".dfs.v1.ReadReply")
        .bytes(".dfs.v1.RaftEntry")
        .out_dir(out.path())
        .compile_fds(descriptors)?;
    PROTO_CODE.into_iter().map(|name| Ok((name, fs::read_to_string(out.path().join(name))?))).collect()
}

/// Writes what is made from other crates' code. It is a program of its own: those crates need the protocol's code first.
pub(crate) fn write_others(root: &Path) -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["run", "--quiet", "--locked", "--package", "dfs-generate", "--"])
        .arg(root)
        .current_dir(root)
        .status()
        .context("starting cargo")?;
    ensure!(status.success(), "dfs-generate failed: {status}");
    Ok(())
}

/// Writes the code of the protocol.
pub(crate) fn write(root: &Path) -> Result<()> {
    for (name, code) in proto_code(root)? {
        let path = root.join(PROTO_DIRECTORY).join(name);
        fs::write(&path, code).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

/// Fails if the committed code of the protocol is not what would be generated now. Tests of `dfs-generate` check the rest.
pub(crate) fn check(root: &Path) -> Result<()> {
    for (name, code) in proto_code(root)? {
        let committed = fs::read_to_string(root.join(PROTO_DIRECTORY).join(name)).unwrap_or_default();
        ensure!(committed == code, "{PROTO_DIRECTORY}/{name} is stale: run `cargo xtask generate`");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn committed_files_are_current() {
        super::check(&crate::root().unwrap()).unwrap();
    }
}
