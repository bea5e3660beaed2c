//! What is told as events: the changes of conditions and the things done that a person would want to know. Pure, but for the
//! publishing.

use dfs_kubernetes::DfsCluster;
use dfs_kubernetes::crd::{DfsClusterStatus, condition, reason};
use kube::runtime::events::{Event, EventType, Recorder};
use kube::{Resource as _, ResourceExt as _};
use tracing::{info, warn};

use crate::plan::Step;

/// Longest note that API servers take.
const MAX_NOTE: usize = 1_024;

/// What to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    /// Whether somebody should look.
    pub warning: bool,
    /// In CamelCase, for machines.
    pub reason: String,
    /// In words.
    pub note: String,
}

/// What is new in a status.
pub fn changes(old: &DfsClusterStatus, new: &DfsClusterStatus) -> Vec<News> {
    let mut news = Vec::new();
    for kind in [condition::AVAILABLE, condition::PROGRESSING, condition::DEGRADED] {
        let (before, Some(now)) = (old.condition(kind), new.condition(kind)) else { continue };
        let same = before.is_some_and(|before| before.status == now.status && before.reason == now.reason);
        if same {
            continue;
        }
        let warning = match kind {
            // At first nothing is available, of course.
            condition::AVAILABLE => now.status == "False" && now.reason != reason::STARTING,
            condition::DEGRADED => now.status == "True",
            _ => now.status == "False" && ![reason::COMPLETE, reason::PAUSED].contains(&now.reason.as_str()),
        };
        let worth_telling = match kind {
            condition::PROGRESSING => now.reason != reason::PODS_STARTING,
            condition::DEGRADED => {
                now.status == "True"
                    || (now.status == "False" && before.is_some_and(|before| before.status == "True"))
            }
            _ => now.status == "True" || warning,
        };
        if worth_telling {
            let reason = if now.reason == reason::SERVING { condition::AVAILABLE } else { &now.reason };
            news.push(News { warning, reason: reason.to_owned(), note: now.message.clone() });
        }
    }
    let leader =
        |status: &DfsClusterStatus| status.name_nodes.as_ref().and_then(|nodes| nodes.leader.clone());
    if let (Some(before), Some(now)) = (leader(old), leader(new))
        && before != now
    {
        let note = format!("{now} leads the NameNodes after {before}");
        news.push(News { warning: false, reason: "LeaderChanged".to_owned(), note });
    }
    news
}

/// What is told of a thing done.
pub fn done(step: &Step) -> News {
    let (warning, reason, note) = match step {
        Step::ReplacePod { pod, .. } => {
            (false, "PodReplaced", format!("pod {pod} is replaced by one of the present template"))
        }
        Step::MoveLeader { from } => (
            false,
            "LeaderMoved",
            format!("{from} handed the leadership over, so that its pod can be replaced"),
        ),
        Step::AnnounceLoss { nodes } => {
            let pods: Vec<_> = nodes.iter().map(|(_, pod)| pod.as_str()).collect();
            let note = format!(
                "the volumes of {} were lost and begun anew: their chunks are copied from other DataNodes",
                pods.join(", ")
            );
            (true, "DataNodeLost", note)
        }
        Step::ForgetNodes { nodes } => {
            let pods: Vec<_> = nodes.iter().map(|(_, pod)| pod.as_str()).collect();
            let note = format!("what {} were before they lost their volumes is forgotten", pods.join(", "));
            (false, "DataNodeForgotten", note)
        }
        Step::GrowClaim { claim, size, set: _ } => {
            (false, "ClaimGrows", format!("claim {claim} is to have {size}"))
        }
        Step::RemakeSet { set, .. } => (
            false,
            "StatefulSetRemade",
            format!("StatefulSet {set} is made anew around its pods, as its volumes grew"),
        ),
    };
    News { warning, reason: reason.to_owned(), note }
}

/// Tells `news` of `cluster`. That it can't be told is logged, and no reason to stop.
pub async fn publish(recorder: &Recorder, cluster: &DfsCluster, news: News) {
    let News { warning, reason, note } = news;
    info!(cluster = cluster.name_any(), reason, note, "event");
    let event = Event {
        type_: if warning { EventType::Warning } else { EventType::Normal },
        action: reason.clone(),
        reason,
        note: Some(note.chars().take(MAX_NOTE).collect()),
        secondary: None,
    };
    if let Err(error) = recorder.publish(&event, &cluster.object_ref(&())).await {
        warn!(%error, "an event could not be published");
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
    use k8s_openapi::jiff::Timestamp;

    use super::*;

    fn status(conditions: &[(&str, &str, &str)]) -> DfsClusterStatus {
        let conditions = conditions
            .iter()
            .map(|(kind, status, reason)| Condition {
                type_: (*kind).to_owned(),
                status: (*status).to_owned(),
                reason: (*reason).to_owned(),
                message: "words".to_owned(),
                observed_generation: None,
                last_transition_time: Time(Timestamp::UNIX_EPOCH),
            })
            .collect();
        DfsClusterStatus { conditions, ..DfsClusterStatus::default() }
    }

    #[test]
    fn only_what_changes_is_told() {
        type Conditions<'a> = &'a [(&'a str, &'a str, &'a str)];
        type Case<'a> = (Conditions<'a>, Conditions<'a>, &'a [(bool, &'a str)]);
        let cases: &[Case<'_>] = &[
            (&[], &[("Available", "False", "Starting"), ("Degraded", "Unknown", "Unknown")], &[]),
            (
                &[("Available", "False", "Starting")],
                &[("Available", "True", "Serving")],
                &[(false, "Available")],
            ),
            (
                &[("Available", "True", "Serving")],
                &[("Available", "False", "NoLeader")],
                &[(true, "NoLeader")],
            ),
            (&[("Available", "True", "Serving")], &[("Available", "True", "Serving")], &[]),
            (
                &[("Degraded", "False", "Healthy")],
                &[("Degraded", "True", "UnderReplicated")],
                &[(true, "UnderReplicated")],
            ),
            (
                &[("Degraded", "True", "UnderReplicated")],
                &[("Degraded", "False", "Healthy")],
                &[(false, "Healthy")],
            ),
            (
                &[("Progressing", "False", "Complete")],
                &[("Progressing", "True", "Rolling")],
                &[(false, "Rolling")],
            ),
            (
                &[("Progressing", "False", "Complete")],
                &[("Progressing", "False", "ScaleDownRefused")],
                &[(true, "ScaleDownRefused")],
            ),
        ];
        for (old, new, told) in cases {
            let news = changes(&status(old), &status(new));
            let news: Vec<_> = news.iter().map(|news| (news.warning, news.reason.as_str())).collect();
            assert_eq!(news, *told, "{old:?} to {new:?}");
        }
    }
}
