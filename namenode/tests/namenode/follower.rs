//! What the ports of a NameNode say that does not lead, and what those of the leader add.

use dfs_namenode::run::Running;
use dfs_proto::convert::{applied, from_status, leader};
use dfs_proto::v1;
use dfs_proto::v1::namenodes_client::NamenodesClient;
use dfs_proto::v1::namespace_client::NamespaceClient;
use dfs_proto::v1::raft_client::RaftClient;
use dfs_types::format::LEVEL;
use dfs_types::{ClusterId, ErrorCode};

use crate::group::Place;
use crate::support::{until, writable};

#[allow(clippy::unnecessary_wraps, reason = "the field it is for is optional")]
fn context(call: u64, follower_read_at: Option<u64>) -> Option<v1::Context> {
    Some(v1::Context {
        follower_read_at,
        id: Some(v1::RequestId { client: vec![5; 16], call, lowest_unanswered: 0 }),
        caller: Some(v1::Caller { user: "root".into(), groups: vec![] }),
    })
}

fn stat(follower_read_at: Option<u64>) -> v1::StatRequest {
    v1::StatRequest { context: context(0, follower_read_at), path: "/made".into() }
}

fn mkdir(call: u64) -> v1::MkdirRequest {
    v1::MkdirRequest {
        context: context(call, None),
        path: "/made".into(),
        mode: 0o755,
        parents: true,
        unmasked: None,
    }
}

/// Checks that a call was refused because another one leads, who is named.
fn refused<T: std::fmt::Debug>(answer: Result<T, tonic::Status>, leads: &str) {
    let status = answer.unwrap_err();
    assert_eq!(from_status(&status).code, ErrorCode::NotLeader, "{status}");
    assert_eq!(leader(&status).as_deref(), Some(leads));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_are_sent_to_the_leader_and_may_read_elsewhere() {
    let place = Place::new(3);
    let all = place.group().await;
    let lead = until("a leader", || async { all.iter().position(|nn| nn.namenode().term().1) }).await;
    let follower = (lead + 1) % 3;
    writable(all[lead].namenode()).await;
    let leads = place.addresses[lead].as_str();
    let url = |index: usize| format!("http://{}", place.addresses[index]);
    let mut at_leader = NamespaceClient::connect(url(lead)).await.unwrap();
    let mut at_follower = NamespaceClient::connect(url(follower)).await.unwrap();
    until("the follower to know the leader", || async {
        all[follower].namenode().leader_address().filter(|address| address == leads)
    })
    .await;

    refused(at_follower.mkdir(mkdir(1)).await, leads);
    refused(at_follower.stat(stat(None)).await, leads);
    let made = at_leader.mkdir(mkdir(1)).await.unwrap();
    let index = applied(made.metadata()).unwrap();
    assert!(index > 0);
    let seen = at_leader.stat(stat(None)).await.unwrap();
    assert!(applied(seen.metadata()).unwrap() >= index);

    // It waits until it is as far as the reader has seen, and gives up on what is far away.
    let read = at_follower.stat(stat(Some(index))).await.unwrap();
    assert!(applied(read.metadata()).unwrap() >= index);
    assert_eq!(read.into_inner().status, made.into_inner().status);
    refused(at_follower.stat(stat(Some(index + 1_000_000))).await, leads);
    let mut ahead = at_follower.clone();
    let waiting = tokio::spawn(async move { ahead.stat(stat(Some(index + 1))).await });
    at_leader.mkdir(v1::MkdirRequest { path: "/next".into(), ..mkdir(2) }).await.unwrap();
    assert!(applied(waiting.await.unwrap().unwrap().metadata()).unwrap() > index);

    // The group itself is shown by everybody, and changed by the leader.
    let mut admin = NamenodesClient::connect(url(follower)).await.unwrap();
    let listed = admin.list(v1::NamenodesRequest { context: context(0, None) }).await.unwrap().into_inner();
    assert_eq!(listed.members.len(), 3);
    refused(admin.backup(v1::BackupRequest { context: context(0, None) }).await, leads);
    refused(admin.remove(v1::RemoveNamenodeRequest { context: context(0, None), id: 1 }).await, leads);
    refused(
        admin.transfer_leader(v1::TransferLeaderRequest { context: context(0, None), to: 0 }).await,
        leads,
    );
    for running in all {
        running.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_belong_is_turned_away() {
    let place = Place::new(3);
    let all = place.group().await;
    let lead = until("a leader", || async { all.iter().position(|nn| nn.namenode().term().1) }).await;
    let follower = (lead + 1) % 3;
    let url = |index: usize| format!("http://{}", place.addresses[index]);
    let mut raft = RaftClient::connect(url(lead)).await.unwrap();
    let cluster = all[lead].namenode().defaults().cluster;
    let probed = raft.probe(v1::ProbeRequest {}).await.unwrap().into_inner();
    assert_eq!((probed.vacant, probed.cluster), (false, cluster.as_bytes().to_vec()));
    assert_eq!(probed.leader_address, place.addresses[lead]);

    let join = |cluster: &[u8], address: &str| v1::JoinRequest {
        cluster: cluster.to_vec(),
        address: address.to_owned(),
        level: LEVEL.into(),
    };
    let alive = &place.addresses[follower];
    for (request, code, says) in [
        (join(&[], alive), ErrorCode::AlreadyExists, "is alive"),
        (join(ClusterId::random().as_bytes(), "new:1"), ErrorCode::WrongCluster, "check --peers"),
        (join(&[], "nonsense"), ErrorCode::InvalidArgument, "HOST:PORT"),
        (join(&[1], "new:1"), ErrorCode::InvalidArgument, "cluster"),
        // As a program says it that knows nothing of levels.
        (v1::JoinRequest { level: 0, ..join(&[], "new:1") }, ErrorCode::InvalidArgument, "levels up to 1"),
    ] {
        let error = from_status(&raft.join(request).await.unwrap_err());
        assert!(error.code == code && error.message.contains(says), "{error}");
    }
    let mut elsewhere = RaftClient::connect(url(follower)).await.unwrap();
    let error = from_status(&elsewhere.join(join(&[], "new:1")).await.unwrap_err());
    assert_eq!(error.code, ErrorCode::NotLeader, "{error}");

    let message = v1::RaftMessage { kind: 8, to: 1, from: 2, term: 1_000, ..v1::RaftMessage::default() };
    let stranger = v1::RaftEnvelope {
        cluster: ClusterId::random().as_bytes().to_vec(),
        message: Some(message),
        ..v1::RaftEnvelope::default()
    };
    let error = from_status(&raft.deliver(tokio_stream::iter([stranger])).await.unwrap_err());
    assert_eq!(error.code, ErrorCode::WrongCluster, "{error}");
    let term = |running: &Running| running.namenode().term().0;
    assert!(all.iter().all(|running| term(running) < 1_000), "its term is nobody's business");
    for running in all {
        running.stop().await.unwrap();
    }
}
