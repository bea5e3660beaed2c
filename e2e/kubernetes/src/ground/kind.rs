//! kind: a cluster of its own, or the one that the kubeconfig leads to.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use dfs_kubernetes::access::Access;
use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig};
use tempfile::TempDir;
use tokio::process::Command;

use super::command::run;
use super::machines::Machines;

/// Name of the cluster that is made if there is none.
const NAME: &str = "dfs-e2e";
/// File with the way to the cluster that is made.
const KUBECONFIG: &str = "kubeconfig";
/// How kind calls its contexts.
const CONTEXT_PREFIX: &str = "kind-";

/// Which Kubernetes cluster it is.
#[derive(Debug)]
pub(crate) enum Kind {
    /// One that was made here and is removed in the end.
    Own {
        /// Where its kubeconfig lies.
        folder: TempDir,
    },
    /// kind's, but somebody else's.
    Found(String),
    /// Of another kind: its machines can't be touched.
    Other,
}

impl Kind {
    /// The cluster of `KUBECONFIG`, or a new one.
    pub(crate) async fn find_or_make(image: Option<&str>, workers: u16) -> Result<Self> {
        if std::env::var_os("KUBECONFIG").is_some_and(|value| !value.is_empty()) {
            let context =
                Kubeconfig::read().context("reading KUBECONFIG")?.current_context.unwrap_or_default();
            return Ok(match context.strip_prefix(CONTEXT_PREFIX) {
                Some(name) if exists(name).await? => Self::Found(name.to_owned()),
                Some(_) | None => Self::Other,
            });
        }
        let folder = tempfile::tempdir()?;
        if exists(NAME).await? {
            // Left by a run that was killed.
            delete(&folder).await?;
        }
        Self::make(folder, image, workers).await
    }

    async fn make(folder: TempDir, image: Option<&str>, workers: u16) -> Result<Self> {
        let mut config =
            "kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\nnodes:\n- role: control-plane\n".to_owned();
        config.extend((0..workers).map(|_| "- role: worker\n"));
        let file = folder.path().join("kind.yaml");
        tokio::fs::write(&file, config).await?;
        let mut create = Command::new("kind");
        create.args(["create", "cluster", "--name", NAME, "--wait", "3m", "--config"]).arg(&file);
        create.arg("--kubeconfig").arg(kubeconfig(&folder));
        if let Some(image) = image {
            create.args(["--image", image]);
        }
        run(&mut create).await.context("making a cluster: set KUBECONFIG to use one that is there")?;
        Ok(Self::Own { folder })
    }

    /// Its name, if kind made it.
    pub(crate) fn name(&self) -> Option<&str> {
        match self {
            Self::Own { .. } => Some(NAME),
            Self::Found(name) => Some(name),
            Self::Other => None,
        }
    }

    /// Whether it was made here.
    pub(crate) fn is_own(&self) -> bool {
        matches!(self, Self::Own { .. })
    }

    /// Its kubeconfig, if that is not the environment's.
    pub(crate) fn kubeconfig(&self) -> Option<PathBuf> {
        match self {
            Self::Own { folder } => Some(kubeconfig(folder)),
            Self::Found(_) | Self::Other => None,
        }
    }

    /// Its machines, if they can be touched.
    pub(crate) fn machines(&self) -> Option<Machines> {
        self.name().map(|_| Machines)
    }

    /// Its API server.
    pub(crate) async fn access(&self) -> Result<Access> {
        let mut config = match self.kubeconfig() {
            None => Config::infer().await?,
            Some(file) => {
                let kubeconfig = Kubeconfig::read_from(file)?;
                Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?
            }
        };
        // That a budget allows no eviction now is an answer.
        config.default_retry = false;
        Ok(Access::of(config, None)?)
    }

    /// Leaves it as it is; answers with its kubeconfig, if it has one of its own.
    pub(crate) fn keep(self) -> Option<PathBuf> {
        match self {
            Self::Own { folder } => Some(folder.keep().join(KUBECONFIG)),
            Self::Found(_) | Self::Other => None,
        }
    }

    /// Removes it.
    pub(crate) async fn remove(&self) -> Result<()> {
        match self {
            Self::Own { folder } => delete(folder).await,
            Self::Found(_) | Self::Other => Ok(()),
        }
    }
}

async fn delete(folder: &TempDir) -> Result<()> {
    let mut delete = Command::new("kind");
    delete.args(["delete", "cluster", "--name", NAME, "--kubeconfig"]).arg(kubeconfig(folder));
    run(&mut delete).await.map(drop)
}

fn kubeconfig(folder: &TempDir) -> PathBuf {
    Path::new(folder.path()).join(KUBECONFIG)
}

async fn exists(name: &str) -> Result<bool> {
    let listed = run(Command::new("kind").args(["get", "clusters"])).await;
    let listed = listed.context("asking kind for its clusters: put it on PATH, and set DOCKER_HOST")?;
    Ok(String::from_utf8_lossy(&listed).lines().any(|line| line == name))
}

/// Brings an image to all nodes.
pub(crate) async fn load(cluster: &str, image: &str) -> Result<()> {
    let mut load = Command::new("kind");
    load.args(["load", "docker-image", "--name", cluster, image]);
    run(&mut load).await.map(drop).with_context(|| format!("loading {image}: 'make image' builds it"))
}
