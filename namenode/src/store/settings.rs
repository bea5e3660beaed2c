//! The tables `duty` and `setting`: what administrators decided about the cluster as a whole.

use dfs_types::{ClusterSetting, ClusterSettings, Millis, NodeDuty, NodeId};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row};

use super::column::number;
use super::edit::Balancing;

/// `kind` of a node that is being decommissioned.
pub(crate) const DECOMMISSION: i64 = 1;
/// `kind` of a node in maintenance.
pub(crate) const MAINTENANCE: i64 = 2;
/// Setting: 1 while safe mode is on by command.
pub(crate) const SAFE_MODE: &str = "safe_mode";
/// Setting: how far a node's use may lie from the average, in thousandths, while the balancer is on.
pub(crate) const BALANCER_THRESHOLD: &str = "balancer_threshold_permille";
/// Setting: bytes a second that a node may send or receive for balancing, while the balancer is on.
pub(crate) const BALANCER_RATE: &str = "balancer_bytes_per_second";

/// The name of a cluster's setting in the table.
pub(crate) const fn key(setting: ClusterSetting) -> &'static str {
    match setting {
        ClusterSetting::Umask => "umask",
        ClusterSetting::AccessTimePrecision => "access_time_precision_ms",
    }
}

/// The settings of the cluster as a whole.
pub(crate) fn cluster(connection: &Connection) -> rusqlite::Result<ClusterSettings> {
    ClusterSetting::ALL.into_iter().try_fold(ClusterSettings::default(), |settings, setting| {
        Ok(settings.with(setting, value(connection, key(setting))?))
    })
}

/// Every node that is not simply in service, and what it is to be used for; times are Unix times.
pub(crate) fn duties(connection: &Connection) -> rusqlite::Result<Vec<(NodeId, NodeDuty)>> {
    connection
        .prepare_cached("SELECT node, kind, until FROM duty ORDER BY node")?
        .query_map([], |row| Ok((node(row)?, duty(row)?)))?
        .collect()
}

fn node(row: &Row<'_>) -> rusqlite::Result<NodeId> {
    let bytes = row.get_ref(0)?.as_blob()?;
    NodeId::from_bytes(bytes)
        .ok_or_else(|| rusqlite::Error::FromSqlConversionFailure(0, Type::Blob, "not a node's id".into()))
}

fn duty(row: &Row<'_>) -> rusqlite::Result<NodeDuty> {
    match row.get(1)? {
        DECOMMISSION => Ok(NodeDuty::Decommission),
        MAINTENANCE => Ok(NodeDuty::Maintenance { until: Millis(number(row, 2)?) }),
        other => Err(rusqlite::Error::IntegralValueOutOfRange(1, other)),
    }
}

/// What the balancer is to do; `None` while it is off.
pub(crate) fn balancer(connection: &Connection) -> rusqlite::Result<Option<Balancing>> {
    let (threshold, rate) = (value(connection, BALANCER_THRESHOLD)?, value(connection, BALANCER_RATE)?);
    let settings = threshold.zip(rate).map(|(threshold, rate)| Balancing {
        threshold_permille: u32::try_from(threshold).unwrap_or(u32::MAX),
        bytes_per_second: rate,
    });
    Ok(settings)
}

/// Whether safe mode is on by command.
pub(crate) fn safe_mode(connection: &Connection) -> rusqlite::Result<bool> {
    Ok(value(connection, SAFE_MODE)?.is_some())
}

fn value(connection: &Connection, name: &str) -> rusqlite::Result<Option<u64>> {
    connection
        .prepare_cached("SELECT value FROM setting WHERE name = ?1")?
        .query_row([name], |row| number(row, 0))
        .optional()
}
