//! Where the tests run: an API server, the image there, machines that can be touched if kind made them, and the operator.

mod chart;
mod command;
mod image;
mod kind;
mod machines;

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use dfs_e2e::wait;
use dfs_failure::health::patience;
use dfs_kubernetes::access::Access;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;

pub(crate) use chart::Chart;
pub(crate) use command::run;
pub(crate) use image::{Images, PodImage};
pub(crate) use kind::Kind;
pub(crate) use machines::{Machines, Signal};

use crate::hold::Hold;
use crate::objects::{self, LABEL, is_ready};

/// Label of machines with the zone that a scenario says they are in; nobody else's, so that it works everywhere.
pub(crate) const ZONE_LABEL: &str = "dfs.dev.e2e/zone";
/// Value of the annotation [`LABEL`] of a machine that the tests let take no more pods.
const CORDONED: &str = "cordoned";

/// What was asked for on the command line.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// Image of all pods, `NAME:TAG`.
    pub(crate) image: String,
    /// Image of the release before, `NAME:TAG`.
    pub(crate) earlier_image: Option<String>,
    /// Image of kind's nodes; none: kind's own choice.
    pub(crate) kind_image: Option<String>,
    /// Workers of kind's cluster.
    pub(crate) workers: u16,
    /// Leave kind's cluster as it is in the end.
    pub(crate) keep: bool,
    /// Folder of the chart.
    pub(crate) chart: PathBuf,
    /// The program `dfs`; none: the one beside this program.
    pub(crate) program: Option<PathBuf>,
}

/// A Kubernetes cluster, with the operator installed.
pub(crate) struct Ground {
    /// The API server.
    pub(crate) access: Access,
    /// The nodes, if they can be touched.
    pub(crate) machines: Option<Machines>,
    /// The operator.
    pub(crate) chart: Chart,
    /// The images of pods.
    pub(crate) images: Images,
    /// The program `dfs`.
    pub(crate) program: PathBuf,
    kind: Kind,
    keep: bool,
}

impl std::fmt::Debug for Ground {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ground").field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// Removes the cluster if it was made here; answers with the error that made it useless.
async fn give_up(kind: &Kind, keep: bool, error: anyhow::Error) -> anyhow::Error {
    if !kind.is_own() || keep {
        return error;
    }
    match kind.remove().await {
        Ok(()) => error,
        Err(left) => error.context(format!("kind's cluster is left as it is: {left:#}")),
    }
}

impl Ground {
    /// Finds or makes a Kubernetes cluster, brings the image there and installs the operator.
    pub(crate) async fn prepare(wanted: &Wanted) -> Result<Self> {
        let kind = Kind::find_or_make(wanted.kind_image.as_deref(), wanted.workers).await?;
        let ground = match Self::prepare_on(&kind, wanted).await {
            Ok((access, machines, chart, images, program)) => {
                Self { access, machines, chart, images, program, kind, keep: wanted.keep }
            }
            Err(error) => return Err(give_up(&kind, wanted.keep, error).await),
        };
        match ground.operator_ready().await {
            Ok(()) => Ok(ground),
            Err(error) => Err(give_up(&ground.kind, wanted.keep, error).await),
        }
    }

    async fn prepare_on(
        kind: &Kind,
        wanted: &Wanted,
    ) -> Result<(Access, Option<Machines>, Chart, Images, PathBuf)> {
        let machines = kind.machines();
        let images = Images::parse(wanted)?;
        if let Some(name) = kind.name() {
            for image in std::iter::once(&images.present).chain(&images.earlier) {
                kind::load(name, &image.to_string()).await?;
            }
        }
        let access = kind.access().await?;
        let chart = Chart::new(wanted.chart.clone(), kind.kubeconfig(), images.present.clone())?;
        chart.refuse_others().await?;
        chart.install().await?;
        let program = match &wanted.program {
            // The plugin of kubectl is a link to it.
            Some(program) => std::path::absolute(program)?,
            None => std::env::current_exe()?.with_file_name("dfs"),
        };
        ensure!(program.exists(), "{} is missing: build it first ('make e2e' does)", program.display());
        Ok((access, machines, chart, images, program))
    }

    /// Speaks to the API server.
    pub(crate) fn client(&self) -> Client {
        self.access.client.clone()
    }

    /// For people: where this is.
    pub(crate) fn name(&self) -> String {
        match self.kind.name() {
            Some(name) => format!("Kubernetes (kind cluster '{name}')"),
            None => "Kubernetes (of the kubeconfig)".to_owned(),
        }
    }

    /// A command that finds the same API server.
    pub(crate) fn command(&self, program: &std::path::Path) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(program);
        if let Some(kubeconfig) = self.kind.kubeconfig() {
            command.env("KUBECONFIG", kubeconfig);
        }
        command
    }

    fn operator_pods(&self) -> Api<Pod> {
        Api::namespaced(self.client(), chart::NAMESPACE)
    }

    /// Waits until the operator runs.
    pub(crate) async fn operator_ready(&self) -> Result<()> {
        wait::until("the operator is ready", patience(), || async {
            let pods = self.operator_pods().list(&ListParams::default().labels(chart::SELECTOR)).await?;
            ensure!(pods.items.iter().any(is_ready), "{} pods, none is ready", pods.items.len());
            anyhow::Ok(())
        })
        .await
    }

    /// Ends the operator's processes without a word; its Deployment starts others.
    pub(crate) async fn kill_operator(&self) -> Result<()> {
        let api = self.operator_pods();
        let now = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
        for pod in api.list(&ListParams::default().labels(chart::SELECTOR)).await? {
            objects::delete(&api, &pod.name_any(), &now).await?;
        }
        Ok(())
    }

    /// What the operator logged.
    pub(crate) async fn operator_logs(&self) -> Result<Vec<(String, String)>> {
        objects::logs(&self.operator_pods(), chart::SELECTOR).await
    }

    /// What the operator that leads exports.
    pub(crate) async fn operator_metrics(&self) -> Result<String> {
        let pods = self.operator_pods().list(&ListParams::default().labels(chart::SELECTOR)).await?;
        for pod in pods.items.iter().filter(|pod| is_ready(pod)) {
            // Through the API server: pods have no address here.
            let path = format!(
                "/api/v1/namespaces/{}/pods/{}:{}/proxy/metrics",
                chart::NAMESPACE,
                pod.name_any(),
                chart::PORT
            );
            let told = self.client().request_text(http::Request::get(path).body(Vec::new())?).await?;
            if told.lines().any(|line| line == "dfs_operator_leading 1") {
                return Ok(told);
            }
        }
        bail!("no operator leads")
    }

    /// The machines that the operator runs on.
    pub(crate) async fn operator_machines(&self) -> Result<Vec<String>> {
        let found = self.operator_pods().list(&ListParams::default().labels(chart::SELECTOR)).await?;
        Ok(found.items.into_iter().filter_map(|pod| pod.spec?.node_name).collect())
    }

    /// Fails unless every node is ready.
    pub(crate) async fn nodes_ready(&self) -> Result<()> {
        for node in self.nodes().list(&ListParams::default()).await? {
            let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
            let ready = conditions
                .into_iter()
                .any(|condition| condition.type_ == "Ready" && condition.status == "True");
            ensure!(ready, "node {} is not ready", node.name_any());
        }
        Ok(())
    }

    /// Names of the nodes that take pods.
    pub(crate) async fn workers(&self) -> Result<Vec<String>> {
        let all = self.nodes().list(&ListParams::default()).await.context("listing nodes")?;
        let takes_pods = |node: &Node| {
            let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
            !taints.into_iter().flatten().any(|taint| taint.effect.starts_with("No"))
        };
        Ok(all.items.iter().filter(|node| takes_pods(node)).map(Node::name_any).collect())
    }

    fn nodes(&self) -> Api<Node> {
        Api::all(self.client())
    }

    /// Lets a machine take no more pods.
    pub(crate) async fn cordon(&self, machine: &str) -> Result<()> {
        self.set_cordon(machine, true).await
    }

    /// Lets it take pods again.
    pub(crate) async fn uncordon(&self, machine: &str) -> Result<()> {
        self.set_cordon(machine, false).await
    }

    async fn set_cordon(&self, machine: &str, cordoned: bool) -> Result<()> {
        let mark = cordoned.then_some(CORDONED);
        let patch = json!({
            "metadata": { "annotations": { LABEL: mark } }, "spec": { "unschedulable": cordoned },
        });
        self.nodes().patch(machine, &PatchParams::default(), &Patch::Merge(&patch)).await?;
        Ok(())
    }

    /// Says in which zone of the tests' own a machine is; `None`: in none.
    pub(crate) async fn set_zone(&self, machine: &str, zone: Option<&str>) -> Result<()> {
        let patch = json!({ "metadata": { "labels": { ZONE_LABEL: zone } } });
        self.nodes().patch(machine, &PatchParams::default(), &Patch::Merge(&patch)).await?;
        Ok(())
    }

    /// Ends what a scenario, or a run that was killed, did to machines and operator and did not undo.
    pub(crate) async fn restore(&self) -> Result<()> {
        for node in self.nodes().list(&ListParams::default()).await? {
            let name = node.name_any();
            if node.annotations().get(LABEL).is_some_and(|mark| mark == CORDONED) {
                self.uncordon(&name).await?;
            }
            if node.labels().contains_key(ZONE_LABEL) {
                self.set_zone(&name, None).await?;
            }
            if let Some(machines) = self.machines
                && !machines.runs(&name).await?
            {
                machines.start(&name).await?;
            }
        }
        wait::until("every machine is ready", patience(), || self.nodes_ready()).await?;
        let operators = self.operator_pods().list(&ListParams::default().labels(chart::SELECTOR)).await?;
        if operators.items.is_empty() {
            self.chart.install().await?;
        }
        self.operator_ready().await
    }

    /// Removes what was made here, unless it is to be kept: then it tells where it is.
    pub(crate) async fn leave(self) -> Result<Option<PathBuf>> {
        if self.keep {
            return Ok(self.kind.keep());
        }
        if self.kind.is_own() {
            return self.kind.remove().await.map(|()| None);
        }
        Hold::uninstall(self.client()).await?;
        self.chart.uninstall().await.map(|()| None)
    }
}
