//! Reports, checks, safe mode, and the HTTP port.

use std::sync::Arc;

use dfs_namenode::api::Namenode;
use dfs_types::{ErrorCode, FsPath, FsckEntry, FsckFile, FsckSummary, SafeModeAction};
use futures_util::StreamExt;
use tempfile::tempdir;

use crate::support::{Writer, caller, create, fresh, get, nodes, origin, origin_of, path, put, until};

async fn fsck(namenode: &Arc<Namenode>, at: &FsPath) -> (Vec<FsckFile>, FsckSummary) {
    let entries: Vec<_> = Arc::clone(namenode).fsck(caller("root"), at.clone()).collect().await;
    let mut files = Vec::new();
    let mut summary = None;
    for entry in entries {
        assert!(summary.is_none(), "the summary comes last");
        match entry.unwrap() {
            FsckEntry::File(file) => files.push(file),
            FsckEntry::Summary(sum) => summary = Some(sum),
        }
    }
    (files, summary.unwrap())
}

#[tokio::test]
async fn a_check_finds_every_file_and_what_is_wrong() {
    let dir = tempdir().unwrap();
    let running = fresh(&dir.path().join("nn"), &[]).await;
    let namenode = running.namenode();
    let mut datanodes = nodes(namenode, 3).await;
    for index in 0..7 {
        put(namenode, &mut datanodes, &format!("/d{index}/f"), 4).await;
    }
    create(namenode, "/open", "h").await.unwrap();
    let (files, summary) = fsck(namenode, &FsPath::root()).await;
    assert_eq!(files.len(), 8);
    let wanted = FsckSummary {
        files: 8,
        directories: 8,
        chunks: 7,
        bytes: 28,
        open_files: 1,
        replicas: 21,
        healthy: true,
        ..FsckSummary::default()
    };
    assert_eq!(summary, wanted);

    // A node that comes back empty leaves the chunks with two replicas each.
    let mut empty = crate::support::FakeNode::new(1);
    empty.restart();
    empty.join(namenode).await;
    let (files, summary) = fsck(namenode, &path("/d3")).await;
    assert_eq!((files[0].chunks[0].nodes.len(), summary.under_replicated, summary.files), (2, 1, 1));
    let missing = Arc::clone(namenode).fsck(caller("root"), path("/nowhere")).next().await;
    assert_eq!(missing.unwrap().unwrap_err().code, ErrorCode::NotFound);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn only_a_superuser_switches_safe_mode() {
    let dir = tempdir().unwrap();
    let running = fresh(&dir.path().join("nn"), &[]).await;
    let namenode = running.namenode();
    let refused = namenode.safe_mode(origin_of("alice"), SafeModeAction::Enter).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::PermissionDenied);
    assert!(namenode.safe_mode(origin_of("root"), SafeModeAction::Enter).await.unwrap().manual);
    assert!(namenode.safe_mode(origin_of("alice"), SafeModeAction::Get).await.unwrap().on);
    assert_eq!(create(namenode, "/f", "h").await.unwrap_err().code, ErrorCode::SafeMode);
    assert!(!namenode.safe_mode(origin_of("root"), SafeModeAction::Leave).await.unwrap().on);
    create(namenode, "/f", "h").await.unwrap();
    running.stop().await.unwrap();
}

#[tokio::test]
async fn the_http_port_tells_health_metrics_and_status() {
    let dir = tempdir().unwrap();
    let running = fresh(&dir.path().join("nn"), &[]).await;
    let namenode = running.namenode();
    let http = running.addresses().http;
    let mut datanodes = nodes(namenode, 3).await;
    put(namenode, &mut datanodes, "/f", 4).await;
    let _open = Writer::create(namenode, "/open").await;
    assert!(get(http, "/livez").await.starts_with("HTTP/1.1 200"));
    until("readiness", || async { get(http, "/readyz").await.starts_with("HTTP/1.1 200").then_some(()) })
        .await;

    let status = get(http, "/api/v1/status").await;
    let body = status.split("\r\n\r\n").nth(1).unwrap();
    let json: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(json["namespace"]["files"], 2);
    assert_eq!(json["chunks"]["all"], 1);
    assert_eq!(json["nodes"].as_array().unwrap().len(), 3);
    assert_eq!(json["nodes"][0]["state"], "live");

    until("the gauges", || async {
        let metrics = get(http, "/metrics").await;
        let wanted = [
            "dfs_namenode_files 2",
            "dfs_namenode_open_files 1",
            "dfs_namenode_chunks 1",
            "dfs_namenode_datanodes{state=\"live\"} 3",
            "dfs_namenode_safe_mode 0",
        ];
        wanted.iter().all(|line| metrics.contains(line)).then_some(())
    })
    .await;
    let metrics = get(http, "/metrics").await;
    assert!(!metrics.contains("dfs_namenode_edits_total 0"), "edits are counted: {metrics}");
    let deleted = namenode.delete(origin(), path("/f"), false, None).await.unwrap();
    assert!(deleted);
    running.stop().await.unwrap();
}
