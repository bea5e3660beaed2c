//! The list of everything that the processes export.

use std::fmt::Write as _;

use anyhow::Result;
use dfs_daemon::Described;

/// Each process, how it is reached, and what it exports.
pub fn exported() -> Result<Vec<(&'static str, &'static str, Vec<Described>)>> {
    Ok(vec![
        ("NameNode", "port 9870", dfs_namenode::metrics::describe()?),
        ("DataNode", "port 9864", dfs_datanode::metrics::describe()?),
        ("Operator", "port 8080", dfs_operator::metrics::describe()?),
    ])
}

/// The page of the manual.
pub(crate) fn manual() -> Result<String> {
    let mut page = String::from(
        "# Metrics\n\nGenerated from the code: `cargo xtask generate`. Every process exports these at `/metrics` of its HTTP \
         port, in Prometheus's text\nformat. Times are in seconds, sizes in bytes; counters begin anew when a process \
         starts.\n\nWhat NameNodes say of chunks and DataNodes is complete on the leader only: combine it with \
         `dfs_namenode_leader == 1`, as the\n[alerts](../charts/dfs-operator/files/alerts.yaml) do. In Kubernetes the chart's \
         PodMonitor adds the labels `dfs_cluster`, `dfs_pool` and\n`component`.\n",
    );
    for (process, port, metrics) in exported()? {
        write!(
            page,
            "\n## {process}, {port}\n\n| metric | type | labels | what it says |\n| --- | --- | --- | --- |\n"
        )?;
        for Described { name, kind, help, labels } in metrics {
            let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
            writeln!(page, "| `{name}` | {} | {} | {help} |", kind.name(), labels.join(", "))?;
        }
    }
    Ok(page)
}
