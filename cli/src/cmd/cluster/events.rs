//! `dfs cluster events`.

use dfs_kubernetes::ClusterName;
use dfs_kubernetes::access::{AccessError, answer};
use futures_util::{StreamExt as _, pin_mut};
use k8s_openapi::api::core::v1::Event;
use k8s_openapi::jiff::Timestamp;
use kube::api::ListParams;
use kube::runtime::watcher;
use kube::{Api, ResourceExt as _};
use serde::Serialize;

use super::age::age;
use super::{name_of, named};
use crate::context::Context;
use crate::exit::Outcome;
use crate::global::Format;
use crate::output::{List, Out, json, table};

/// Most events of one answer of the API server.
const PAGE: u32 = 500;
/// Most events that are read of a namespace; it keeps them for an hour.
const MAX_EVENTS: usize = 20_000;

/// How `dfs cluster events` is typed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  dfs cluster events main -n prod
  dfs cluster events main --watch")]
pub(super) struct Args {
    /// The DfsCluster [default: --cluster, or the only one].
    name: Option<String>,
    /// Go on showing what happens.
    #[arg(short, long)]
    watch: bool,
}

#[derive(Debug, PartialEq, Serialize)]
struct Shown {
    time: Option<String>,
    kind: String,
    reason: String,
    object: String,
    message: String,
    count: i32,
    #[serde(skip)]
    at: Option<Timestamp>,
}

impl Args {
    pub(super) async fn run(self, context: &Context) -> Outcome {
        let access = context.global.access().await?;
        let cluster = name_of(&access.cluster(named(self.name.as_deref(), context)).await?);
        let api: Api<Event> = Api::namespaced(access.client.clone(), &cluster.namespace);
        if self.watch { follow(api, &cluster, context).await } else { once(api, &cluster, context).await }
    }
}

async fn once(api: Api<Event>, cluster: &ClusterName, context: &Context) -> Outcome {
    let mut found = Vec::new();
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let listed = answer(api.list(&page)).await?;
        found.extend(listed.items.iter().filter(|event| concerns(cluster, event)).map(shown));
        match listed.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) if found.len() < MAX_EVENTS => page = page.continue_token(&token),
            _ => break,
        }
    }
    found.sort_by_key(|event| event.at);
    let mut list = match context.global.output {
        Format::Json => List::json(),
        Format::Table | Format::Wide => {
            List::table(&["AGE", "TYPE", "REASON", "OBJECT", "TIMES", "MESSAGE"], &[4])
        }
    };
    for event in &found {
        list.push(event, || row(event))?;
    }
    list.finish()
}

/// Shows what there is, and then each event as it comes: a line each.
async fn follow(api: Api<Event>, cluster: &ClusterName, context: &Context) -> Outcome {
    let events = watcher(api, watcher::Config::default());
    pin_mut!(events);
    let mut first = Vec::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::InitApply(event)) if concerns(cluster, &event) => first.push(shown(&event)),
            Ok(watcher::Event::InitDone) => {
                first.sort_by_key(|event| event.at);
                for event in first.drain(..) {
                    tell(&event, context)?;
                }
            }
            Ok(watcher::Event::Apply(event)) if concerns(cluster, &event) => tell(&shown(&event), context)?,
            Err(watcher::Error::InitialListFailed(error)) => {
                return Err(AccessError::Unreachable(dfs_kubernetes::forward::in_words(&error)).into());
            }
            // After other errors the watch is opened again, and what was missed is listed.
            Ok(_) | Err(_) => {}
        }
    }
    Ok(())
}

fn tell(event: &Shown, context: &Context) -> Outcome {
    let mut out = Out::new();
    match context.global.output {
        Format::Json => {
            out.line(&json(event, false)?)?;
        }
        Format::Table | Format::Wide => out.line(&table(Vec::new(), vec![row(event)], &[]))?,
    }
    out.flush()
}

fn row(event: &Shown) -> Vec<String> {
    vec![
        age(event.at),
        event.kind.clone(),
        event.reason.clone(),
        event.object.clone(),
        event.count.to_string(),
        event.message.replace('\n', " "),
    ]
}

fn shown(event: &Event) -> Shown {
    let series = event.series.as_ref();
    let at = series
        .and_then(|series| series.last_observed_time.as_ref().map(|time| time.0))
        .or_else(|| event.last_timestamp.as_ref().map(|time| time.0))
        .or_else(|| event.event_time.as_ref().map(|time| time.0))
        .or_else(|| event.creation_timestamp().map(|time| time.0));
    let object = &event.involved_object;
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    Shown {
        time: at.map(|at| at.to_string()),
        kind: text(&event.type_),
        reason: text(&event.reason),
        object: format!("{}/{}", text(&object.kind), text(&object.name)),
        // One line each, whatever somebody wrote.
        message: text(&event.message).split_whitespace().collect::<Vec<_>>().join(" "),
        count: series.and_then(|series| series.count).or(event.count).unwrap_or(1),
        at,
    }
}

/// Whether an event is about the cluster or something that belongs to it: events carry no labels, names have to do.
fn concerns(cluster: &ClusterName, event: &Event) -> bool {
    let object = &event.involved_object;
    let (Some(kind), Some(name)) = (object.kind.as_deref(), object.name.as_deref()) else { return false };
    let of_a_set = |name: &str| {
        name.strip_prefix(&cluster.namenodes()).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
            || name
                .strip_prefix(&cluster.datanode_service())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    match kind {
        "DfsCluster" => name == cluster.name,
        // `VOLUME-POD`: volumes have no dash in their names.
        "PersistentVolumeClaim" => name.split_once('-').is_some_and(|(_, pod)| of_a_set(pod)),
        _ => name == cluster.client_service() || of_a_set(name),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(kind: &str, name: &str) -> Event {
        serde_json::from_value(json!({
            "metadata": { "name": "e", "creationTimestamp": "2026-01-01T00:00:00Z" },
            "involvedObject": { "kind": kind, "name": name },
            "reason": "Why", "type": "Warning", "message": "first\n second",
        }))
        .unwrap()
    }

    #[test]
    fn events_of_the_cluster_and_of_nothing_else_are_shown() {
        let cluster = ClusterName::new("prod", "main");
        for (kind, name) in [
            ("DfsCluster", "main"),
            ("Pod", "main-namenode-0"),
            ("Pod", "main-datanode-hot-3"),
            ("StatefulSet", "main-namenode"),
            ("Service", "main"),
            ("PodDisruptionBudget", "main-datanode"),
            ("PersistentVolumeClaim", "metadata-main-namenode-0"),
            ("PersistentVolumeClaim", "d0-main-datanode-hot-3"),
        ] {
            assert!(concerns(&cluster, &event(kind, name)), "{kind} {name}");
        }
        for (kind, name) in [
            ("DfsCluster", "main-namenode"),
            ("Pod", "other-namenode-0"),
            ("Pod", "main-namenodes-0"),
            ("Pod", "mainly-datanode-hot-0"),
            ("Node", "worker"),
            ("PersistentVolumeClaim", "main-namenode-0"),
            ("PersistentVolumeClaim", "d0-other-datanode-hot-0"),
        ] {
            assert!(!concerns(&cluster, &event(kind, name)), "{kind} {name}");
        }
    }

    #[test]
    fn an_event_is_one_line() {
        let shown = shown(&event("Pod", "main-namenode-0"));
        assert_eq!(shown.message, "first second");
        assert_eq!((shown.object.as_str(), shown.count), ("Pod/main-namenode-0", 1));
        assert_eq!(shown.time.as_deref(), Some("2026-01-01T00:00:00Z"));
    }
}
