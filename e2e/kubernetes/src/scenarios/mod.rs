//! What only Kubernetes can do to a cluster. After these come the failure suite's own, as far as pods can play them.

mod chart;
mod cost;
mod life;
mod machines;
mod operator;
mod pods;
mod program;
mod specs;
mod upgrade;

use std::any::Any;
use std::sync::LazyLock;

use anyhow::{Context, Result};
use dfs_failure::cluster::Shape;
use dfs_failure::{Scenario, Stage};

use crate::pods::Pods;

/// All of them.
pub(crate) fn all() -> &'static [Scenario] {
    static ALL: LazyLock<Vec<Scenario>> = LazyLock::new(|| {
        let groups = [
            life::list(),
            pods::list(),
            machines::list(),
            operator::list(),
            specs::list(),
            upgrade::list(),
            cost::list(),
            chart::list(),
        ];
        groups.into_iter().flatten().chain(dfs_failure::scenarios::all().iter().cloned()).collect()
    });
    &ALL
}

/// One NameNode and as many DataNodes as there are replicas.
const SMALL: Shape = Shape::new(1, 3);
/// A group of NameNodes, and a DataNode more than there are replicas.
const GROUP: Shape = Shape::new(3, 4);

/// The cluster as what it is here.
fn cluster(stage: &Stage) -> Result<&Pods> {
    let any: &dyn Any = stage.cluster.as_ref();
    any.downcast_ref().context("this scenario needs a cluster of pods")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_scenarios_have_the_same_name() {
        let names: BTreeSet<_> = all().iter().map(|scenario| scenario.name).collect();
        assert_eq!(names.len(), all().len());
    }
}
