//! The NameNodes' StatefulSet.

use dfs_kubernetes::crd::size_in_bytes;
use dfs_kubernetes::names::{
    Component, GROUPS_DIR, GROUPS_KEY, METADATA_DIR, METADATA_VOLUME, NAMENODE_CONTAINER, SUPERUSER,
};
use dfs_types::names::{NAMENODE_HTTP_PORT, NAMENODE_PORT};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Lifecycle, LifecycleHandler, SleepAction};

use super::pods::{Role, config_map, mount, mount_read_only};
use super::{Builder, flag, namenode_ports};

/// A clean stop hands the leadership over, answers what is under way and closes the store: 16 s at most by itself.
const STOP_SECONDS: i64 = 30;
/// So long a NameNode serves on after its end was decided: until Services lead nobody to it any more.
const LINGER_SECONDS: i64 = 2;
/// Name of the volume with the groups of users.
const GROUPS_VOLUME: &str = "groups";

impl Builder<'_> {
    pub(super) fn namenodes(&self) -> StatefulSet {
        let namenode = &self.spec.name_node;
        let service = self.name.namenode_service();
        let own = format!("{}:{NAMENODE_PORT}", self.name.namenode_host("$(POD_NAME)"));
        let mut args = vec![
            "run".to_owned(),
            // Below the volume's root: a new file system has a `lost+found` there, and formatting ends with a rename.
            flag("dir", format_args!("{METADATA_DIR}/namenode")),
            "--format-if-empty".to_owned(),
            flag("listen", format_args!("0.0.0.0:{NAMENODE_PORT}")),
            flag("http", format_args!("0.0.0.0:{NAMENODE_HTTP_PORT}")),
            flag("advertise", own),
            flag("peers", self.namenode_addresses()),
            flag("default-replication", self.spec.replication),
            flag("min-replicas", self.spec.effective_min_replicas()),
            flag("election-timeout", &namenode.election_timeout),
            flag("dead-after", &self.spec.repair.dead_after),
            flag("restart-grace", &self.spec.repair.restart_grace),
            flag("superuser", SUPERUSER),
        ];
        let heartbeats = namenode.heartbeat_interval.as_ref();
        args.extend(heartbeats.map(|interval| flag("leader-heartbeat-interval", interval)));
        let min_free = namenode.min_free.as_deref().and_then(size_in_bytes);
        args.extend(min_free.map(|bytes| flag("min-free", bytes)));
        let groups = namenode.groups_config_map.as_ref();
        args.extend(groups.map(|_| flag("groups", format_args!("file:{GROUPS_DIR}/{GROUPS_KEY}"))));
        args.extend(self.log_flags());
        let mut container = self.container(
            NAMENODE_CONTAINER,
            "dfs-namenode",
            args,
            &namenode_ports(),
            namenode.resources.as_ref(),
        );
        let mut mounts = vec![mount(METADATA_VOLUME, METADATA_DIR)];
        mounts.extend(groups.map(|_| mount_read_only(GROUPS_VOLUME, GROUPS_DIR)));
        container.volume_mounts = Some(mounts);
        container.lifecycle = Some(Lifecycle {
            pre_stop: Some(LifecycleHandler {
                sleep: Some(SleepAction { seconds: LINGER_SECONDS }),
                ..LifecycleHandler::default()
            }),
            ..Lifecycle::default()
        });
        let storage = &namenode.storage;
        self.stateful_set(Role {
            component: Component::NameNode,
            pool: None,
            name: self.name.namenodes(),
            service,
            replicas: namenode.replicas,
            template: &namenode.template,
            stop_seconds: STOP_SECONDS,
            container,
            volumes: groups.map(|map| config_map(GROUPS_VOLUME, map.clone())).into_iter().collect(),
            claims: vec![self.claim(
                Component::NameNode,
                None,
                METADATA_VOLUME,
                &storage.size,
                storage.storage_class_name.as_deref(),
            )],
        })
    }
}
