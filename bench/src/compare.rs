//! Metadata operations of these programs and of others, such as those of an earlier release, in turns of a fraction of a
//! second with one client: what else the machine does then slows both of them down.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use dfs_client::Dfs;
use dfs_local::Daemon;
use dfs_types::{FsPath, Mode};
use serde::Serialize;

use crate::metadata::{CLIENTS, Work, measure};
use crate::rig::Rig;

/// How long each turn lasts.
const TURN: Duration = Duration::from_millis(400);

/// What both did of one kind of work.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Comparison {
    /// Which work, and how many clients.
    pub(crate) work: String,
    /// Operations a second of the others: the median of all turns.
    pub(crate) others: f64,
    /// Operations a second of these programs: the median of all turns.
    pub(crate) these: f64,
    /// Median over the pairs of neighbouring turns of how much faster these programs are.
    pub(crate) ratio: f64,
    /// Quartiles of the same.
    pub(crate) quartiles: (f64, f64),
    /// CPU time of the leading NameNode for an operation, in microseconds: of the others and of these.
    pub(crate) cpu_us: (f64, f64),
}

/// One cluster.
struct Side {
    rig: Rig,
    clients: Vec<Dfs>,
    /// Files of each client that this round made, under the names that they have now.
    files: Vec<usize>,
}

/// One turn.
#[derive(Debug, Clone, Copy)]
struct Turn {
    rate: f64,
    operations: usize,
    cpu: Duration,
}

impl Side {
    async fn start(root: &Path, programs: Option<&Path>) -> Result<Self> {
        let rig = Rig::start_of(root, 1, 3, programs).await?;
        Ok(Self { rig, clients: Vec::new(), files: Vec::new() })
    }

    async fn prepare(&mut self, clients: usize, round: &str) -> Result<()> {
        let setup = self.rig.client().await?;
        while self.clients.len() < clients {
            self.clients.push(self.rig.client().await?);
        }
        for client in 0..clients {
            setup.mkdir_all(&FsPath::parse(&format!("/bench/{round}-{client}"))?, Mode::DIRECTORY).await?;
        }
        self.files = vec![0; clients];
        Ok(())
    }

    async fn cpu(&self) -> Result<Duration> {
        let usages = self.rig.usages().await?;
        let leader = usages.iter().find(|(daemon, _)| matches!(daemon, Daemon::NameNode(_)));
        Ok(leader.context("there is no NameNode")?.1.cpu)
    }

    async fn turn(&mut self, work: Work, round: &str) -> Result<Turn> {
        let bounded = matches!(work, Work::Rename | Work::Delete);
        let counts = if bounded { self.files.clone() } else { vec![usize::MAX; self.files.len()] };
        let before = self.cpu().await?;
        let (done, time, _) = measure(&self.clients, work, &counts, &self.files, round, TURN).await?;
        let operations: usize = done.iter().sum();
        if matches!(work, Work::Create | Work::Rename) {
            ensure!(!done.contains(&0), "a client could not {} a single file", work.name());
            self.files = done;
        }
        let cpu = self.cpu().await?.saturating_sub(before);
        Ok(Turn { rate: operations as f64 / time.as_secs_f64(), operations, cpu })
    }
}

/// Compares with the programs in a folder, with so many pairs of turns for each kind of work and number of clients.
pub(crate) async fn operations(root: &Path, others: &Path, pairs: usize) -> Result<Vec<Comparison>> {
    let mut sides = [Side::start(root, Some(others)).await?, Side::start(root, None).await?];
    let compared = all(&mut sides, pairs).await;
    for side in sides {
        side.rig.stop().await?;
    }
    compared
}

async fn all(sides: &mut [Side; 2], pairs: usize) -> Result<Vec<Comparison>> {
    let mut compared = Vec::new();
    for clients in CLIENTS {
        let works = [Work::Mkdir, Work::Create, Work::Stat, Work::Rename, Work::Delete];
        let mut turns: Vec<Vec<[Turn; 2]>> = vec![Vec::new(); works.len()];
        for pair in 0..pairs {
            let round = format!("c{clients}-{pair}");
            for side in &mut *sides {
                side.prepare(clients, &round).await?;
            }
            for (work, turns) in works.iter().zip(&mut turns) {
                let [others, these] = &mut *sides;
                let both = if pair % 2 == 0 {
                    let first = others.turn(*work, &round).await?;
                    [first, these.turn(*work, &round).await?]
                } else {
                    let first = these.turn(*work, &round).await?;
                    [others.turn(*work, &round).await?, first]
                };
                turns.push(both);
            }
        }
        for side in &mut *sides {
            side.clients.clear();
        }
        compared.extend(
            works
                .iter()
                .zip(turns)
                .map(|(work, turns)| compare(format!("{}, {clients} clients", work.name()), &turns)),
        );
    }
    Ok(compared)
}

fn compare(work: String, turns: &[[Turn; 2]]) -> Comparison {
    let rates = |side: fn(&[Turn; 2]) -> f64| quantile(turns.iter().map(side).collect(), 0.5);
    let ratios: Vec<f64> = turns.iter().map(|[others, these]| these.rate / others.rate).collect();
    let cpu = |side: fn(&[Turn; 2]) -> Turn| {
        let (cpu, operations) =
            turns.iter().map(side).fold((Duration::ZERO, 0), |(cpu, operations), turn| {
                (cpu + turn.cpu, operations + turn.operations)
            });
        cpu.as_secs_f64() * 1e6 / operations as f64
    };
    Comparison {
        work,
        others: rates(|[others, _]| others.rate),
        these: rates(|[_, these]| these.rate),
        ratio: quantile(ratios.clone(), 0.5),
        quartiles: (quantile(ratios.clone(), 0.25), quantile(ratios, 0.75)),
        cpu_us: (cpu(|[others, _]| *others), cpu(|[_, these]| *these)),
    }
}

fn quantile(mut values: Vec<f64>, share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let place = (values.len().saturating_sub(1)) as f64 * share;
    values.get(place.round() as usize).copied().unwrap_or(f64::NAN)
}

impl Comparison {
    /// The columns of [`Comparison::cells`].
    pub(crate) const TITLES: [&str; 6] =
        ["work", "others", "these", "ratio of pairs", "quartiles", "NameNode's CPU µs, others and these"];

    /// As a line of a table.
    pub(crate) fn cells(&self) -> Vec<String> {
        let ((low, high), (others, these)) = (self.quartiles, self.cpu_us);
        vec![
            self.work.clone(),
            format!("{:.0}/s", self.others),
            format!("{:.0}/s", self.these),
            format!("{:.3}", self.ratio),
            format!("{low:.2} to {high:.2}"),
            format!("{others:.0}, {these:.0}"),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_compared_and_not_the_whole() {
        let turn = |rate| Turn { rate, operations: 100, cpu: Duration::from_millis(10) };
        // The machine is slower in the middle, and the second side is always a tenth slower.
        let turns = [1_000.0, 200.0, 1_000.0].map(|rate| [turn(rate), turn(rate * 0.9)]);
        let compared = compare("work".to_owned(), &turns);
        assert!((compared.ratio - 0.9).abs() < 1e-9);
        assert_eq!(compared.cells()[3..], ["0.900", "0.90 to 0.90", "100, 100"]);
    }
}
