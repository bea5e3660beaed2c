//! What is committed but made from code, so that chart, manifests and manual cannot say anything else than the programs.
//!
//! `cargo xtask generate` writes it; tests fail when a committed file differs. The manifests are what `helm template` makes
//! of the chart: they are written and compared where helm is on the PATH.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "only for tests and measurements: it may end where nobody takes what it says"
)]

mod definition;
mod formats;
mod manifests;
mod metrics;
mod roles;
mod tool;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

pub use manifests::render;
pub use metrics::exported;
pub use tool::{run, tool};

/// The Lease's name as the chart's templates write it; in backticks, which YAML leaves alone.
const LEASE_NAME: &str = "{{ include `dfs-operator.name` . }}";

/// A file below the repository's root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generated {
    /// Where it is.
    pub path: &'static str,
    /// What it must hold.
    pub text: String,
}

/// Everything that is made from code alone.
pub fn from_code() -> Result<Vec<Generated>> {
    let generated = |path, text| Generated { path, text };
    Ok(vec![
        generated("charts/dfs-operator/files/crd.yaml", definition::yaml()?),
        generated(
            "charts/dfs-operator/files/rules-namespace.yaml",
            roles::yaml(&dfs_operator::rbac::namespace_rules())?,
        ),
        generated(
            "charts/dfs-operator/files/rules-cluster.yaml",
            roles::yaml(&dfs_operator::rbac::cluster_rules())?,
        ),
        generated(
            "charts/dfs-operator/files/rules-lease.yaml",
            roles::yaml(&dfs_operator::rbac::lease_rules(LEASE_NAME))?,
        ),
        generated("charts/dfs-cluster/values.schema.json", definition::values_schema()?),
        generated("docs/metrics.md", metrics::manual()?),
        generated("docs/reference/formats.md", formats::manual()?),
    ])
}

/// Everything that is made from the chart, if helm is there.
pub fn from_chart(root: &Path) -> Result<Option<Vec<Generated>>> {
    tool("helm").map(|helm| manifests::all(&helm, root)).transpose()
}

/// Writes everything. Answers whether the manifests were among it.
pub fn write(root: &Path) -> Result<bool> {
    let put = |files: Vec<Generated>| -> Result<()> {
        for Generated { path, text } in files {
            let path = root.join(path);
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
            }
            fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        }
        Ok(())
    };
    put(from_code()?)?;
    // Only now the chart has the new definition and rules.
    let manifests = from_chart(root)?;
    let complete = manifests.is_some();
    put(manifests.unwrap_or_default())?;
    Ok(complete)
}

/// Fails with every committed file that is not what would be made now.
pub fn check(root: &Path, files: Vec<Generated>) -> Result<()> {
    let committed = |path| fs::read_to_string(root.join(path)).unwrap_or_default();
    let stale: Vec<&str> =
        files.iter().filter(|file| committed(file.path) != file.text).map(|file| file.path).collect();
    ensure!(stale.is_empty(), "stale: {}: run `cargo xtask generate`", stale.join(", "));
    Ok(())
}
