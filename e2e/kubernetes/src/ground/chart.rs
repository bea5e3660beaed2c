//! The operator, as its chart installs it.

use std::path::PathBuf;

use anyhow::{Context, Result};
use tokio::process::Command;

use super::command::run;

/// Name of the release.
const RELEASE: &str = "dfs-operator";
/// Where it is installed.
pub(super) const NAMESPACE: &str = "dfs-system";
/// Label of its pods.
pub(super) const SELECTOR: &str = "app.kubernetes.io/name=dfs-operator";

/// A chart with its values.
#[derive(Debug, Clone)]
pub(crate) struct Chart {
    folder: PathBuf,
    kubeconfig: Option<PathBuf>,
    repository: String,
    tag: String,
}

impl Chart {
    /// The chart of this folder, for this image.
    pub(crate) fn new(folder: PathBuf, kubeconfig: Option<PathBuf>, image: &str) -> Result<Self> {
        let (repository, tag) = image
            .rsplit_once(':')
            .filter(|(_, tag)| !tag.contains('/'))
            .context("write the image as NAME:TAG")?;
        Ok(Self { folder, kubeconfig, repository: repository.to_owned(), tag: tag.to_owned() })
    }

    fn helm(&self, words: &[&str]) -> Command {
        let mut helm = Command::new("helm");
        if let Some(kubeconfig) = &self.kubeconfig {
            helm.env("KUBECONFIG", kubeconfig);
        }
        helm.args(words).args(["--namespace", NAMESPACE]);
        helm
    }

    /// Installs it, or brings it to these values, and waits until it runs.
    pub(crate) async fn install(&self) -> Result<()> {
        self.upgrade(&[]).await
    }

    /// The same with further values, `KEY=VALUE`.
    pub(crate) async fn upgrade(&self, values: &[&str]) -> Result<()> {
        let mut helm = self.helm(&["upgrade", "--install", RELEASE]);
        helm.arg(&self.folder).args(["--create-namespace", "--wait", "--timeout", "3m"]);
        helm.args(["--set-string", &format!("image.repository={}", self.repository)]);
        helm.args(["--set-string", &format!("image.tag={}", self.tag)]);
        helm.args(["--set", "image.pullPolicy=IfNotPresent"]);
        for value in values {
            helm.args(["--set", value]);
        }
        run(&mut helm).await.map(drop)
    }

    /// Removes it.
    pub(crate) async fn uninstall(&self) -> Result<()> {
        run(&mut self.helm(&["uninstall", RELEASE, "--wait", "--ignore-not-found"])).await.map(drop)
    }

    /// Runs the tests of the chart.
    pub(crate) async fn test(&self) -> Result<()> {
        run(&mut self.helm(&["test", RELEASE, "--timeout", "2m"])).await.map(drop)
    }
}
