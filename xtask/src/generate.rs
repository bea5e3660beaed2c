//! Writes what is generated and committed, or compares it with what is there.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

const PROTO_FILES: [&str; 6] =
    ["values.proto", "namespace.proto", "data.proto", "cluster.proto", "admin.proto", "raft.proto"];
const PROTO_CODE: &str = "proto/src/gen/dfs.v1.rs";

/// The Rust code of the gRPC protocol, compiled from `proto/proto` without a system `protoc`.
fn proto_code(root: &Path) -> Result<String> {
    let descriptors = protox::compile(PROTO_FILES, [root.join("proto/proto")])?;
    let out = tempfile::tempdir()?;
    tonic_prost_build::configure()
        .bytes(".dfs.v1.Packet")
        .bytes(".dfs.v1.ReadReply")
        .bytes(".dfs.v1.RaftEntry")
        .out_dir(out.path())
        .compile_fds(descriptors)?;
    Ok(fs::read_to_string(out.path().join("dfs.v1.rs"))?)
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
    let path = root.join(PROTO_CODE);
    fs::write(&path, proto_code(root)?).with_context(|| format!("writing {}", path.display()))
}

/// Fails if the committed code of the protocol is not what would be generated now. Tests of `dfs-generate` check the rest.
pub(crate) fn check(root: &Path) -> Result<()> {
    let committed = fs::read_to_string(root.join(PROTO_CODE)).unwrap_or_default();
    ensure!(committed == proto_code(root)?, "{PROTO_CODE} is stale: run `cargo xtask generate`");
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn committed_files_are_current() {
        super::check(&crate::root().unwrap()).unwrap();
    }
}
