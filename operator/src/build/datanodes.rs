//! A pool's StatefulSet.

use dfs_kubernetes::crd::{DataNodePool, size_in_bytes};
use dfs_kubernetes::names::{Component, DATANODE_CONTAINER, TOPOLOGY_DIR, TOPOLOGY_KEY};
use dfs_types::names::{DATANODE_HTTP_PORT, DATANODE_PORT};
use k8s_openapi::api::apps::v1::StatefulSet;

use super::pods::{Role, config_map, mount, mount_read_only};
use super::{Builder, datanode_ports, flag, volume_dir};

/// A clean stop lets writers finish, syncs what they wrote and reports it: 20 s at most by itself, and more on slow disks.
const STOP_SECONDS: i64 = 60;
/// Name of the volume with the topology; no claim has a dash in its name.
const TOPOLOGY_VOLUME: &str = "cluster-topology";

impl Builder<'_> {
    /// With `topology` the DataNodes find out where they are, by the machine they run on.
    pub(super) fn pool(&self, pool: &DataNodePool, topology: bool) -> StatefulSet {
        let DataNodePool { name, replicas, volumes, reserve, resources, template } = pool;
        let mut args = vec!["run".to_owned()];
        args.extend(volumes.iter().map(|volume| flag("volume", volume_dir(&volume.name))));
        args.extend([
            flag("namenode", self.namenode_addresses()),
            flag("listen", format_args!("0.0.0.0:{DATANODE_PORT}")),
            flag("http", format_args!("0.0.0.0:{DATANODE_HTTP_PORT}")),
            flag("advertise-host", self.name.datanode_host("$(POD_NAME)")),
            flag("host", "$(NODE_NAME)"),
        ]);
        if topology {
            args.push(flag("topology-file", format_args!("{TOPOLOGY_DIR}/{TOPOLOGY_KEY}")));
        }
        args.extend(reserve.as_deref().and_then(size_in_bytes).map(|bytes| flag("reserve", bytes)));
        args.extend(self.log_flags());
        let mut container =
            self.container(DATANODE_CONTAINER, "dfs-datanode", args, &datanode_ports(), resources.as_ref());
        let mut mounts: Vec<_> =
            volumes.iter().map(|volume| mount(&volume.name, &volume_dir(&volume.name))).collect();
        if topology {
            mounts.push(mount_read_only(TOPOLOGY_VOLUME, TOPOLOGY_DIR));
        }
        container.volume_mounts = Some(mounts);
        self.stateful_set(Role {
            component: Component::DataNode,
            pool: Some(name),
            name: self.name.pool(name),
            service: self.name.datanode_service(),
            replicas: *replicas,
            template,
            stop_seconds: STOP_SECONDS,
            container,
            volumes: topology
                .then(|| config_map(TOPOLOGY_VOLUME, self.name.topology()))
                .into_iter()
                .collect(),
            claims: volumes
                .iter()
                .map(|volume| {
                    self.claim(
                        Component::DataNode,
                        Some(name),
                        &volume.name,
                        &volume.size,
                        volume.storage_class_name.as_deref(),
                    )
                })
                .collect(),
        })
    }
}
