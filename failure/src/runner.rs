//! Runs scenarios, one after the other.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::cluster::{Cluster, Shape, Site};
use crate::outcome::{Mark, Measures, Outcome, Step};
use crate::scenarios::Scenario;
use crate::show::{Screen, in_words};
use crate::stage::Stage;

/// What is to be run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Scenarios, in this order.
    pub scenarios: Vec<&'static Scenario>,
    /// How often all of them.
    pub rounds: u32,
    /// Where to put the logs of a cluster that failed.
    pub folder: PathBuf,
}

/// A cluster that one scenario left whole, for the next one.
type Spare = Option<Arc<dyn Cluster>>;

/// Runs a plan and answers with what came of it, in order.
pub async fn run(site: &dyn Site, screen: &Arc<Screen>, plan: &Plan) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    let mut spare: Spare = None;
    for round in 1..=plan.rounds {
        for scenario in &plan.scenarios {
            let of =
                if plan.rounds > 1 { format!(" (round {round} of {})", plan.rounds) } else { String::new() };
            screen.headline(&format!("{}{of}: {}", scenario.name, scenario.title));
            let outcome = play(site, screen, scenario, (plan, round), &mut spare).await;
            if let Some(reason) = &outcome.reason {
                screen.say(&format!("  {} {}", Mark::Skipped.symbol(), screen.marked(Mark::Skipped, reason)));
            }
            outcomes.push(outcome);
        }
    }
    if let Some(cluster) = spare {
        remove(cluster.as_ref(), screen).await;
    }
    outcomes
}

async fn play(
    site: &dyn Site,
    screen: &Arc<Screen>,
    scenario: &'static Scenario,
    (plan, round): (&Plan, u32),
    spare: &mut Spare,
) -> Outcome {
    let began = Instant::now();
    let outcome = |mark, reason, steps, measures| Outcome {
        name: scenario.name,
        title: scenario.title,
        round,
        mark,
        reason,
        steps,
        measures,
        took: began.elapsed(),
    };
    if let Some(reason) = scenario.needs.iter().find_map(|need| site.lacks(*need)) {
        return outcome(Mark::Skipped, Some(reason), Vec::new(), Measures::default());
    }
    let (steps, measures) = match on_stage(site, screen, scenario, (plan, round), spare).await {
        Ok(record) => record,
        Err(error) => {
            let (title, note) = ("a cluster is there to be broken".to_owned(), format!("{error:#}"));
            let step = Step { title, mark: Mark::Wrong, note, took: began.elapsed() };
            screen.step(&step);
            (vec![step], Measures::default())
        }
    };
    outcome(Outcome::sum(&steps), None, steps, measures)
}

/// Removes a cluster. What came of its scenario is known, and the next one gets another: that it can't be removed is told.
async fn remove(cluster: &dyn Cluster, screen: &Screen) {
    if let Err(error) = cluster.remove().await {
        screen.say(&format!("     the cluster can't be removed: {error:#}"));
    }
}

/// The former scenario's cluster, if it will do, or a new one.
async fn cluster(
    site: &dyn Site,
    screen: &Screen,
    shape: &Shape,
    spare: &mut Spare,
) -> Result<Arc<dyn Cluster>> {
    match spare.take() {
        Some(cluster) if cluster.shape() == shape => return Ok(cluster),
        Some(other) => remove(other.as_ref(), screen).await,
        None => {}
    }
    site.build(shape).await.context("building a cluster")
}

async fn on_stage(
    site: &dyn Site,
    screen: &Arc<Screen>,
    scenario: &'static Scenario,
    (plan, round): (&Plan, u32),
    spare: &mut Spare,
) -> Result<(Vec<Step>, Measures)> {
    let cluster = cluster(site, screen, &scenario.shape, spare).await?;
    let folder = tokio::task::spawn_blocking(tempfile::tempdir).await??;
    let stage =
        Stage::new(Arc::clone(&cluster), Arc::clone(screen), scenario.name, folder.path().to_owned()).await;
    let stage = match stage {
        Ok(stage) => stage,
        Err(error) => {
            remove(cluster.as_ref(), screen).await;
            return Err(error);
        }
    };
    let all = async {
        (scenario.play)(&stage).await?;
        stage.finish().await
    };
    let played = tokio::time::timeout(site.limit(), all).await;
    let whole = match played {
        Ok(Ok(())) => scenario.leaves_whole && stage.clear().await.is_ok(),
        Ok(Err(_)) => false,
        Err(_) => {
            let gave_up = async { anyhow::bail!("given up after {}", in_words(site.limit())) };
            // The line is what counts here.
            let _ = stage.step::<()>("the scenario ends", gave_up).await;
            false
        }
    };
    let (steps, measures) = stage.take_record();
    if Outcome::sum(&steps) == Mark::Wrong {
        let logs = plan.folder.join(format!("logs-{}-{round}", scenario.name));
        match cluster.save_logs(&logs).await {
            Ok(()) => screen.say(&format!("     the daemons' logs are in {}", logs.display())),
            Err(error) => screen.say(&format!("     the daemons' logs can't be kept: {error:#}")),
        }
    }
    drop(stage);
    if whole {
        *spare = Some(cluster);
    } else {
        remove(cluster.as_ref(), screen).await;
    }
    Ok((steps, measures))
}
