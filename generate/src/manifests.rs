//! The operator without helm: what `helm template` makes of the chart, as it is.

use std::path::Path;

use anyhow::{Context, Result};

use crate::Generated;
use crate::tool::run;

/// Name of the release and of the namespace that the manifests are for.
const RELEASE: &str = "dfs-operator";
const NAMESPACE: &str = "dfs-system";

const HEADER: &str = "# Generated from charts/dfs-operator: `cargo xtask generate`.\n";

/// The namespace comes first, with the strictest Pod Security Standard, which everything here keeps.
const NAMESPACE_OBJECT: &str = "---
apiVersion: v1
kind: Namespace
metadata:
  name: dfs-system
  labels:
    pod-security.kubernetes.io/enforce: restricted
";

/// `manifests/crd.yaml` and `manifests/operator.yaml`.
pub(crate) fn all(helm: &Path, root: &Path) -> Result<Vec<Generated>> {
    let only = |template: &'static str| {
        let chart = render(
            helm,
            root,
            "dfs-operator",
            RELEASE,
            NAMESPACE,
            &["--skip-tests", "--show-only", template],
        );
        chart.map(|text| without_helm(&text))
    };
    let everything = render(
        helm,
        root,
        "dfs-operator",
        RELEASE,
        NAMESPACE,
        &["--skip-tests", "--set", "crds.create=false"],
    )?;
    Ok(vec![
        Generated { path: "manifests/crd.yaml", text: format!("{HEADER}{}", only("templates/crd.yaml")?) },
        Generated {
            path: "manifests/operator.yaml",
            text: format!("{HEADER}{NAMESPACE_OBJECT}{}", without_helm(&everything)),
        },
    ])
}

/// The objects that a chart of this repository makes.
pub fn render(
    helm: &Path,
    root: &Path,
    chart: &str,
    release: &str,
    namespace: &str,
    flags: &[&str],
) -> Result<String> {
    let folder = root.join("charts").join(chart);
    let folder = folder.to_str().context("the repository's path is text")?;
    let command = ["template", release, folder, "--namespace", namespace, "--kube-version", "1.34.0"];
    run(helm, &[&command, flags].concat())
}

/// Takes away what only helm says of itself.
fn without_helm(text: &str) -> String {
    let ours = |line: &&str| {
        let line = line.trim_start();
        !line.starts_with("helm.sh/chart:")
            && line != "app.kubernetes.io/managed-by: Helm"
            && !line.starts_with("# Source: ")
    };
    text.lines().filter(ours).fold(String::new(), |text, line| text + line + "\n")
}
