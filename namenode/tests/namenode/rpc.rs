//! The gRPC port: bad requests get a clear error, and nothing stops the server.

use std::net::SocketAddr;

use dfs_proto::convert::from_status;
use dfs_proto::v1;
use dfs_proto::v1::admin_client::AdminClient;
use dfs_proto::v1::cluster_client::ClusterClient;
use dfs_proto::v1::namespace_client::NamespaceClient;
use dfs_types::{ClusterId, ErrorCode};
use tempfile::tempdir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Duration, timeout};
use tonic::transport::{Channel, Endpoint};

use crate::support::{fresh, get};

async fn channel(address: SocketAddr) -> Channel {
    Endpoint::try_from(format!("http://{address}")).unwrap().connect().await.unwrap()
}

#[allow(clippy::unnecessary_wraps, reason = "the field it is for is optional")]
fn context(call: u64) -> Option<v1::Context> {
    Some(v1::Context {
        follower_read_at: None,
        id: Some(v1::RequestId { client: vec![3; 16], call, lowest_unanswered: 0 }),
        caller: Some(v1::Caller { user: "root".into(), groups: vec![] }),
    })
}

fn node(number: u8) -> v1::Node {
    v1::Node {
        id: vec![number; 16],
        host: "127.0.0.1".into(),
        data_port: 9_001,
        http_port: 9_864,
        location: String::new(),
        storage_type: None,
    }
}

fn code<T: std::fmt::Debug>(answer: Result<T, tonic::Status>) -> ErrorCode {
    from_status(&answer.unwrap_err()).code
}

#[tokio::test]
async fn the_namespace_is_served() {
    let dir = tempdir().unwrap();
    let running = fresh(&dir.path().join("nn"), &[]).await;
    let mut client = NamespaceClient::new(channel(running.addresses().rpc).await);
    let defaults = client.get_defaults(v1::GetDefaultsRequest {}).await.unwrap().into_inner();
    assert_eq!((defaults.cluster.len(), defaults.min_replicas, defaults.safe_mode), (16, 2, false));

    let mkdir = v1::MkdirRequest {
        context: context(1),
        path: "/a/b".into(),
        mode: 0o755,
        parents: true,
        unmasked: None,
    };
    let made = client.mkdir(mkdir.clone()).await.unwrap().into_inner().status.unwrap();
    assert_eq!(client.mkdir(mkdir).await.unwrap().into_inner().status.unwrap(), made, "a retry");
    let list =
        v1::ListRequest { context: context(0), path: "/a".into(), start_after: String::new(), limit: 0 };
    let page = client.list(list).await.unwrap().into_inner();
    assert_eq!((page.entries[0].name.as_str(), page.more), ("b", false));
    let stat = |path: &str| v1::StatRequest { context: context(0), path: path.into() };
    assert_eq!(client.stat(stat("/a/b")).await.unwrap().into_inner().status.unwrap().inode, made.inode);
    assert_eq!(code(client.stat(stat("/none")).await), ErrorCode::NotFound);
    let delete =
        v1::DeleteRequest { context: context(2), path: "/a".into(), recursive: false, expected_inode: 0 };
    assert_eq!(code(client.delete(delete).await), ErrorCode::NotEmpty);

    let metrics = get(running.addresses().http, "/metrics").await;
    for line in [
        "dfs_namenode_rpc_requests_total{code=\"ok\",method=\"Mkdir\"} 2",
        "dfs_namenode_rpc_requests_total{code=\"not_found\",method=\"Stat\"} 1",
        "dfs_namenode_rpc_requests_total{code=\"not_empty\",method=\"Delete\"} 1",
        "dfs_namenode_rpc_seconds_count{method=\"List\"} 1",
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }

    let mut admin = AdminClient::new(channel(running.addresses().rpc).await);
    let report = admin.report(v1::ReportRequest { context: context(0) }).await.unwrap().into_inner();
    assert_eq!((report.directories, report.files, report.nodes.len()), (3, 0, 0));
    let request = v1::FsckRequest { context: context(0), path: "/".into() };
    let mut findings = admin.fsck(request).await.unwrap().into_inner();
    let only = findings.message().await.unwrap().unwrap();
    assert!(
        matches!(only.kind, Some(v1::fsck_reply::Kind::Summary(sum)) if sum.healthy && sum.directories == 3)
    );
    assert!(findings.message().await.unwrap().is_none());
    running.stop().await.unwrap();
}

#[tokio::test]
async fn acls_and_extended_attributes_are_served() {
    let dir = tempdir().unwrap();
    let running = fresh(&dir.path().join("nn"), &[]).await;
    let mut client = NamespaceClient::new(channel(running.addresses().rpc).await);
    let path = || "/".to_owned();
    let bob = v1::AclEntry {
        scope: v1::AclScope::Access.into(),
        kind: v1::AclKind::User.into(),
        name: "bob".into(),
        perm: 5,
    };
    let change = |call, entry: &v1::AclEntry| v1::ChangeAclRequest {
        context: context(call),
        path: path(),
        change: Some(v1::change_acl_request::Change::Modify(v1::AclEntries { entries: vec![entry.clone()] })),
    };
    client.change_acl(change(1, &bob)).await.unwrap();
    let acl = v1::GetAclRequest { context: context(0), path: path() };
    let acl = client.get_acl(acl).await.unwrap().into_inner();
    assert!(acl.status.unwrap().has_acl);
    let shown: Vec<_> = acl.entries.iter().map(|entry| (entry.name.as_str(), entry.perm)).collect();
    assert_eq!(shown, [("bob", 5), ("", 5)], "the group's own entry is beside the mode, too");
    for wrong in [
        v1::ChangeAclRequest { change: None, ..change(2, &bob) },
        change(3, &v1::AclEntry { perm: 8, ..bob.clone() }),
        change(4, &v1::AclEntry { kind: 9, ..bob.clone() }),
        change(5, &v1::AclEntry { name: "b:b".into(), ..bob.clone() }),
        change(6, &v1::AclEntry { kind: v1::AclKind::Mask.into(), ..bob }),
    ] {
        assert_eq!(code(client.change_acl(wrong.clone()).await), ErrorCode::InvalidArgument, "{wrong:?}");
    }

    let xattr = |name: &str| Some(v1::Xattr { name: name.into(), value: vec![0, 255] });
    let set = |call, xattr| v1::SetXattrRequest {
        context: context(call),
        path: path(),
        xattr,
        flag: v1::XattrSetFlag::Create.into(),
    };
    let get = |names: Vec<String>| v1::GetXattrsRequest { context: context(0), path: path(), names };
    for _retry in 0..2 {
        client.set_xattr(set(7, xattr("user.a"))).await.unwrap();
    }
    assert_eq!(code(client.set_xattr(set(8, xattr("user.a"))).await), ErrorCode::AlreadyExists);
    let found = client.get_xattrs(get(vec![])).await.unwrap().into_inner().xattrs;
    assert_eq!(found, [xattr("user.a").unwrap()]);
    for wrong in [set(9, None), set(10, xattr("a")), set(11, xattr("user."))] {
        assert_eq!(code(client.set_xattr(wrong.clone()).await), ErrorCode::InvalidArgument, "{wrong:?}");
    }
    for wrong in [vec!["a".to_owned()], vec!["user.a".to_owned(); 33]] {
        assert_eq!(code(client.get_xattrs(get(wrong)).await), ErrorCode::InvalidArgument);
    }
    let remove =
        |call| v1::RemoveXattrRequest { context: context(call), path: path(), name: "user.a".into() };
    for _retry in 0..2 {
        client.remove_xattr(remove(12)).await.unwrap();
    }
    assert_eq!(code(client.remove_xattr(remove(13)).await), ErrorCode::NotFound);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn bad_requests_are_invalid_and_harmless() {
    let dir = tempdir().unwrap();
    let running = fresh(&dir.path().join("nn"), &[]).await;
    let mut client = NamespaceClient::new(channel(running.addresses().rpc).await);
    let with = |context, path: &str| v1::MkdirRequest {
        context,
        path: path.into(),
        mode: 0o755,
        parents: true,
        unmasked: None,
    };
    let nobody = Some(v1::Context { follower_read_at: None, id: context(1).unwrap().id, caller: None });
    let odd = Some(v1::Context {
        follower_read_at: None,
        id: context(1).unwrap().id,
        caller: Some(v1::Caller { user: "a\nb".into(), groups: vec![] }),
    });
    let no_id = Some(v1::Context { follower_read_at: None, id: None, ..context(1).unwrap() });
    let short_id = Some(v1::Context {
        follower_read_at: None,
        id: Some(v1::RequestId { client: vec![3; 15], call: 1, lowest_unanswered: 1 }),
        ..context(1).unwrap()
    });
    for request in [
        with(None, "/x"),
        with(nobody, "/x"),
        with(odd, "/x"),
        with(no_id, "/x"),
        with(short_id, "/x"),
        with(context(5), "x"),
        with(context(6), "/x/../y"),
        with(context(7), "/x\0"),
        with(context(8), &"/long".repeat(2_000)),
        v1::MkdirRequest { mode: 0o7777, ..with(context(9), "/x") },
        v1::MkdirRequest { unmasked: Some(0o7777), ..with(context(9), "/x") },
    ] {
        assert_eq!(code(client.mkdir(request.clone()).await), ErrorCode::InvalidArgument, "{request:?}");
    }
    let add = v1::AddChunkRequest {
        context: context(10),
        inode: u64::MAX,
        holder: "h".into(),
        previous: None,
        exclude: vec![vec![1; 3]],
        writer_host: String::new(),
        expected_length: 0,
    };
    assert_eq!(code(client.add_chunk(add.clone()).await), ErrorCode::InvalidArgument);
    let unknown = v1::AddChunkRequest { exclude: vec![], ..add };
    assert_eq!(code(client.add_chunk(unknown).await), ErrorCode::NotFound);
    let page = client
        .list(v1::ListRequest { context: context(0), path: "/".into(), ..v1::ListRequest::default() })
        .await
        .unwrap()
        .into_inner();
    assert!(page.entries.is_empty(), "nothing was made");
    running.stop().await.unwrap();
}

#[tokio::test]
async fn strange_datanodes_are_told_what_to_do() {
    let dir = tempdir().unwrap();
    let running = fresh(&dir.path().join("nn"), &[]).await;
    let mut client = ClusterClient::new(channel(running.addresses().rpc).await);
    let register = v1::RegisterRequest {
        cluster: ClusterId::random().as_bytes().to_vec(),
        node: Some(node(1)),
        incarnation: vec![9; 16],
        version: "test".into(),
        volumes: vec![],
        machine: String::new(),
    };
    assert_eq!(code(client.register(register.clone()).await), ErrorCode::WrongCluster);
    let heartbeat = v1::HeartbeatRequest {
        node: Some(node(1)),
        incarnation: vec![9; 16],
        ..v1::HeartbeatRequest::default()
    };
    assert!(client.heartbeat(heartbeat.clone()).await.unwrap().into_inner().register);
    let slice = |first, last| v1::ReplicaReport {
        node: vec![1; 16],
        incarnation: vec![9; 16],
        after: 0,
        changes: vec![],
        slice: Some(v1::ReportSlice { first, last, replicas: vec![], fence: 0 }),
        volumes: vec![],
    };
    assert!(client.report_replicas(slice(0, u64::MAX)).await.unwrap().into_inner().register);

    for bad in [
        v1::RegisterRequest { incarnation: vec![9; 5], ..register.clone() },
        v1::RegisterRequest { node: None, ..register.clone() },
        v1::RegisterRequest { cluster: vec![1], ..register.clone() },
        v1::RegisterRequest { machine: "m".repeat(256), ..register.clone() },
        v1::RegisterRequest { volumes: vec![v1::VolumeStatus::default()], ..register.clone() },
    ] {
        assert_eq!(code(client.register(bad).await), ErrorCode::InvalidArgument);
    }
    for bad in [
        v1::ReplicaReport { incarnation: vec![9; 5], ..slice(0, 1) },
        v1::ReplicaReport { changes: vec![v1::ReplicaEvent::default()], ..slice(0, 1) },
        v1::ReplicaReport { volumes: vec![vec![7; 15]], ..slice(0, 1) },
        slice(1, 0),
    ] {
        assert_eq!(code(client.report_replicas(bad).await), ErrorCode::InvalidArgument);
    }

    let joined =
        client.register(v1::RegisterRequest { cluster: vec![], ..register }).await.unwrap().into_inner();
    assert_eq!((joined.cluster.len(), joined.heartbeat_interval_ms), (16, 1_000));
    let reply = client.heartbeat(heartbeat.clone()).await.unwrap().into_inner();
    assert!(!reply.register && reply.report_from == Some(0));
    assert_eq!(client.report_replicas(slice(0, 9)).await.unwrap().into_inner().report_from, Some(10));
    assert_eq!(client.report_replicas(slice(10, u64::MAX)).await.unwrap().into_inner().report_from, None);
    assert_eq!(client.heartbeat(heartbeat).await.unwrap().into_inner().report_from, None);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn garbage_and_giants_do_not_stop_the_server() {
    let dir = tempdir().unwrap();
    let running = fresh(&dir.path().join("nn"), &[]).await;
    let address = running.addresses().rpc;
    for garbage in
        [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 4_096], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x7f\xff\xff\xff"]
    {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // The server may hang up before all is written.
        let _written = stream.write_all(garbage).await;
        let mut answer = Vec::new();
        let ended = timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await;
        assert!(ended.is_ok(), "the connection stays open after {:?}", &garbage[..8]);
    }

    let mut client = NamespaceClient::new(channel(address).await);
    let giant = v1::StatRequest { context: context(0), path: "/x".repeat(9 << 20) };
    let refused = client.stat(giant).await.unwrap_err();
    assert!(
        matches!(refused.code(), tonic::Code::OutOfRange | tonic::Code::ResourceExhausted),
        "{refused:?}"
    );
    let fine = client.stat(v1::StatRequest { context: context(0), path: "/".into() }).await;
    assert!(fine.is_ok(), "{fine:?}");
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_stop_ends_idle_connections() {
    let dir = tempdir().unwrap();
    let running = fresh(&dir.path().join("nn"), &[]).await;
    let mut client = NamespaceClient::new(channel(running.addresses().rpc).await);
    client.get_defaults(v1::GetDefaultsRequest {}).await.unwrap();
    let stopped = timeout(Duration::from_secs(8), running.stop()).await;
    assert!(stopped.is_ok_and(|result| result.is_ok()), "an idle client holds the stop up");
    assert!(client.get_defaults(v1::GetDefaultsRequest {}).await.is_err());
}
