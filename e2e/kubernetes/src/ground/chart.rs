//! The operator, as its chart installs it.

use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use tokio::process::Command;

use super::command::run;
use super::image::PodImage;

/// Name of the release.
const RELEASE: &str = "dfs-operator";
/// Where it is installed.
pub(super) const NAMESPACE: &str = "dfs-system";
/// Label of its pods.
pub(super) const SELECTOR: &str = "app.kubernetes.io/name=dfs-operator";
/// HTTP port of its pods.
pub(super) const PORT: u16 = 8080;
/// Annotation of the operator's pods, by which the tests know their own.
const MARK: &str = "e2e";

/// What helm says of a release.
#[derive(Debug, Deserialize)]
struct Release {
    name: String,
}

/// A chart with its values.
#[derive(Debug, Clone)]
pub(crate) struct Chart {
    folder: PathBuf,
    kubeconfig: Option<PathBuf>,
    image: PodImage,
    run: String,
}

impl Chart {
    /// The chart of this folder, for this image.
    pub(crate) fn new(folder: PathBuf, kubeconfig: Option<PathBuf>, image: PodImage) -> Result<Self> {
        let run = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs().to_string();
        Ok(Self { folder, kubeconfig, image, run })
    }

    fn helm(&self, words: &[&str]) -> Command {
        let mut helm = Command::new("helm");
        if let Some(kubeconfig) = &self.kubeconfig {
            helm.env("KUBECONFIG", kubeconfig);
        }
        helm.args(words).args(["--namespace", NAMESPACE]);
        helm
    }

    /// Fails if an operator is installed that the tests did not install.
    pub(crate) async fn refuse_others(&self) -> Result<()> {
        let found = run(&mut self.helm(&["list", "--all", "--output", "json"])).await?;
        let found: Vec<Release> = serde_json::from_slice(&found).context("reading helm's list")?;
        if !found.iter().any(|release| release.name == RELEASE) {
            return Ok(());
        }
        let values = run(&mut self.helm(&["get", "values", RELEASE, "--output", "json"])).await?;
        let values: Option<serde_json::Value> =
            serde_json::from_slice(&values).context("reading helm's values")?;
        let ours = values.is_some_and(|values| values["podAnnotations"][MARK].is_string());
        ensure!(
            ours,
            "an operator is installed in {NAMESPACE} already: the tests would replace and remove it"
        );
        Ok(())
    }

    /// Installs it, or brings it to these values, and waits until it runs.
    pub(crate) async fn install(&self) -> Result<()> {
        self.upgrade(&[]).await
    }

    /// The same with further values, `KEY=VALUE`.
    pub(crate) async fn upgrade(&self, values: &[&str]) -> Result<()> {
        let mut helm = self.helm(&["upgrade", "--install", RELEASE]);
        helm.arg(&self.folder).args(["--create-namespace", "--wait", "--timeout", "3m"]);
        helm.args(["--set-string", &format!("image.repository={}", self.image.repository)]);
        helm.args(["--set-string", &format!("image.tag={}", self.image.tag)]);
        helm.args(["--set", "image.pullPolicy=IfNotPresent"]);
        // An image of the same name may be another one in each run.
        helm.args(["--set-string", &format!("podAnnotations.{MARK}={}", self.run)]);
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
        let said = run(&mut self.helm(&["test", RELEASE, "--timeout", "2m"])).await?;
        let said = String::from_utf8_lossy(&said);
        let passed = said.lines().any(|line| {
            line.split_once(':').is_some_and(|(what, how)| what == "Phase" && how.trim() == "Succeeded")
        });
        ensure!(passed, "no test of the chart succeeded: {said}");
        Ok(())
    }
}
