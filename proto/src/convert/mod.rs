//! Conversions between wire messages and domain values. Everything that comes from the wire is checked here: a
//! missing part, an unknown enum value or an id of the wrong length is an `InvalidArgument`; what only answers of servers have
//! and one of them lacks is an `Internal`.

mod admin;
mod attributes;
mod cluster;
mod command;
mod error;
mod fsck;
mod group;
mod origin;
mod quarantine;
mod quota;
mod recovery;
mod settings;
mod trash;
mod users;
mod values;

pub use attributes::xattr_name;
pub use error::{from_detail, from_status, incomplete, to_detail, to_status};
pub use group::{applied, cluster, leader, set_applied, set_cluster, with_leader};
pub use origin::{chunk_origin, wire_chunk_origin};
pub use quota::{limit_change, wire_limit_change};
pub use settings::{setting, wire_setting};
pub use trash::{removed, trash, trash_content};
pub use values::{
    caller, client_id, cluster_id, context, empty_as_none, file_status, known_storage, layout, missing,
    node_id, node_state, path, pipeline, replica_record, report_volumes, request_id, volume,
    volume_file_system, volume_health, volume_id, wire_file_status, wire_file_system, wire_layout,
    wire_node_state, wire_replica_alone, wire_replica_record, wire_volume, wire_volume_health,
};
