//! Edits of what administrators decide about the cluster as a whole.

use dfs_namenode_core::{Balancing, Event};
use dfs_types::{ClusterSetting, FsError, NodeDuty, NodeId};

use super::Step;
use crate::store::edit::{Change, Outcome};
use crate::store::schema;
use crate::store::settings::{self, BALANCER_RATE, BALANCER_THRESHOLD, DECOMMISSION, MAINTENANCE, SAFE_MODE};
use crate::store::stop::Stop;

impl Step<'_, '_> {
    pub(super) fn set_node_duty(&mut self, nodes: &[NodeId], duty: NodeDuty) -> Result<Outcome, Stop> {
        let (kind, until) = match duty {
            NodeDuty::InService => (None, 0),
            NodeDuty::Decommission => (Some(DECOMMISSION), 0),
            NodeDuty::Maintenance { until } => {
                let until = i64::try_from(until.0).map_err(|_| {
                    FsError::invalid(format!("maintenance until {until} ms of Unix time is too long"))
                })?;
                (Some(MAINTENANCE), until)
            }
        };
        for node in nodes {
            match kind {
                None => self.write("DELETE FROM duty WHERE node = ?1", [node.as_bytes()])?,
                Some(kind) => self.write(
                    "INSERT OR REPLACE INTO duty (node, kind, until) VALUES (?1, ?2, ?3)",
                    (node.as_bytes(), kind, until),
                )?,
            };
            self.emit(Change::DutySet { node: *node, duty });
        }
        Ok(Outcome::Done)
    }

    pub(super) fn set_balancer(&mut self, settings: Option<Balancing>) -> Result<Outcome, Stop> {
        let threshold = settings.map(|settings| u64::from(settings.threshold_permille));
        self.set(BALANCER_THRESHOLD, threshold)?;
        self.set(BALANCER_RATE, settings.map(|settings| settings.bytes_per_second))?;
        self.emit(Event::BalancerSet { settings });
        Ok(Outcome::Done)
    }

    pub(super) fn end_balancer(&mut self, ended: Balancing) -> Result<Outcome, Stop> {
        if settings::balancer(self.connection)? == Some(ended) {
            self.set_balancer(None)
        } else {
            Ok(Outcome::Done)
        }
    }

    /// Leaving also ends the safe mode in which a NameNode starts, of which nothing is stored.
    pub(super) fn set_safe_mode(&mut self, on: bool) -> Result<Outcome, Stop> {
        self.set(SAFE_MODE, on.then_some(1))?;
        self.emit(Event::SafeModeSet { on });
        Ok(Outcome::Done)
    }

    pub(super) fn set_setting(
        &mut self,
        setting: ClusterSetting,
        value: Option<u64>,
    ) -> Result<Outcome, Stop> {
        self.authority.check_super("changing a setting of the cluster")?;
        value.map_or(Ok(()), |value| setting.check(value))?;
        self.set(settings::key(setting), value)?;
        Ok(Outcome::Done)
    }

    /// Once it is committed, no program that does not know the level can apply what comes after.
    pub(super) fn raise_level(&mut self, to: u16) -> Result<Outcome, Stop> {
        self.authority.check_super("finalizing an upgrade")?;
        if to > *self.level {
            self.wrote = true;
            schema::migrate(self.connection, *self.level, to)?;
            *self.level = to;
        }
        Ok(Outcome::Done)
    }

    fn set(&mut self, name: &'static str, value: Option<u64>) -> Result<(), Stop> {
        match value {
            None => self.write("DELETE FROM setting WHERE name = ?1", [name])?,
            Some(value) => self.write(
                "INSERT OR REPLACE INTO setting (name, value) VALUES (?1, ?2)",
                (name, value as i64),
            )?,
        };
        Ok(())
    }
}
