//! Duties of DataNodes, the balancer, announced losses and the quarantine, over the port.

use std::path::Path;

use dfs_daemon::Shutdown;
use dfs_namenode::config::RestoreArgs;
use dfs_namenode::run::{Running, restore};
use dfs_namenode_core::Command;
use dfs_proto::convert::from_status;
use dfs_proto::v1;
use dfs_proto::v1::admin_client::AdminClient;
use dfs_types::{ErrorCode, NodeId};
use tempfile::tempdir;
use tonic::transport::Channel;

use crate::group::Place;
use crate::support::{FakeNode, caller, config, fresh, get, nodes, put, start, until, writable};

const HOUR: u64 = 60 * 60 * 1_000;

#[allow(clippy::unnecessary_wraps, reason = "the field it is for is optional")]
fn context(user: &str, call: u64) -> Option<v1::Context> {
    let client = vec![user.len() as u8; 16];
    Some(v1::Context {
        follower_read_at: None,
        id: Some(v1::RequestId { client, call, lowest_unanswered: 0 }),
        caller: Some(v1::Caller { user: user.into(), groups: vec![] }),
    })
}

/// What an administrator says, each time as a new request.
pub(crate) struct Admin {
    client: AdminClient<Channel>,
    user: &'static str,
    calls: u64,
}

impl Admin {
    pub(crate) async fn of(running: &Running, user: &'static str) -> Self {
        let client = AdminClient::connect(format!("http://{}", running.addresses().rpc)).await.unwrap();
        Self { client, user, calls: 1_000 * u64::from(running.addresses().rpc.port()) }
    }

    fn context(&mut self) -> Option<v1::Context> {
        self.calls += 1;
        context(self.user, self.calls)
    }

    async fn set(
        &mut self,
        nodes: &[NodeId],
        duty: v1::NodeDuty,
        maintenance_ms: u64,
    ) -> Result<v1::SetNodeDutyReply, ErrorCode> {
        let nodes = nodes.iter().map(|node| node.as_bytes().to_vec()).collect();
        let request =
            v1::SetNodeDutyRequest { context: self.context(), nodes, duty: duty.into(), maintenance_ms };
        answer(self.client.set_node_duty(request).await)
    }

    async fn balancer(&mut self, request: v1::BalancerRequest) -> Result<v1::BalancerStatus, ErrorCode> {
        let request = v1::BalancerRequest { context: self.context(), ..request };
        answer(self.client.balancer(request).await)
    }

    pub(crate) async fn report(&mut self) -> v1::ClusterReport {
        let context = self.context();
        answer(self.client.report(v1::ReportRequest { context }).await).unwrap()
    }

    /// What a node is used for.
    async fn duty(&mut self, node: NodeId) -> v1::NodeDutyState {
        let report = self.report().await;
        let is_it = |found: &&v1::NodeReport| found.node.as_ref().unwrap().id == node.as_bytes();
        report.nodes.iter().find(is_it).unwrap().duty()
    }

    async fn lose(&mut self, node: NodeId) -> Result<(), ErrorCode> {
        let request =
            v1::AnnounceLossRequest { context: self.context(), nodes: vec![node.as_bytes().to_vec()] };
        answer(self.client.announce_loss(request).await).map(|v1::Empty {}| ())
    }

    pub(crate) async fn forget(&mut self, nodes: &[NodeId]) -> Result<(), ErrorCode> {
        let nodes = nodes.iter().map(|node| node.as_bytes().to_vec()).collect();
        let request = v1::ForgetNodesRequest { context: self.context(), nodes, accept_loss: false };
        answer(self.client.forget_nodes(request).await).map(|v1::Empty {}| ())
    }

    async fn quarantine(&mut self, after: u64) -> Result<v1::ListQuarantineReply, ErrorCode> {
        let request = v1::ListQuarantineRequest { context: self.context(), after, limit: 1 };
        answer(self.client.list_quarantine(request).await)
    }

    async fn delete(&mut self, chunks: Vec<u64>) -> Result<u64, ErrorCode> {
        let request = v1::DeleteQuarantinedRequest { context: self.context(), chunks };
        answer(self.client.delete_quarantined(request).await).map(|reply| reply.replicas)
    }
}

fn answer<T>(answer: Result<tonic::Response<T>, tonic::Status>) -> Result<T, ErrorCode> {
    answer.map(tonic::Response::into_inner).map_err(|status| from_status(&status).code)
}

fn started(threshold_permille: u32, bytes_per_second: u64) -> v1::BalancerRequest {
    v1::BalancerRequest {
        context: None,
        action: v1::BalancerAction::Start.into(),
        threshold_permille,
        bytes_per_second,
    }
}

fn asked(action: v1::BalancerAction) -> v1::BalancerRequest {
    v1::BalancerRequest { action: action.into(), ..v1::BalancerRequest::default() }
}

fn is_leaving(state: v1::NodeDutyState) -> bool {
    matches!(state, v1::NodeDutyState::Decommissioning | v1::NodeDutyState::Decommissioned)
}

fn is_in_maintenance(state: v1::NodeDutyState) -> bool {
    matches!(state, v1::NodeDutyState::EnteringMaintenance | v1::NodeDutyState::InMaintenance)
}

#[tokio::test]
async fn duties_are_set_all_or_none_and_survive_a_restart() {
    let dir = tempdir().unwrap();
    let running = fresh(dir.path(), &[]).await;
    let datanodes = nodes(running.namenode(), 4).await;
    let ids: Vec<NodeId> = datanodes.iter().map(FakeNode::id).collect();
    let mut admin = Admin::of(&running, "root").await;

    let stranger = NodeId::from_bytes(&[99; 16]).unwrap();
    let decommission = v1::NodeDuty::Decommission;
    assert_eq!(admin.set(&[ids[0], stranger], decommission, 0).await.unwrap_err(), ErrorCode::NotFound);
    assert_eq!(admin.duty(ids[0]).await, v1::NodeDutyState::InService, "none was changed");

    let reply = admin.set(&[ids[0], ids[0]], decommission, 0).await.unwrap();
    assert_eq!((reply.nodes.len(), reply.warnings), (1, vec![]));
    assert!(is_leaving(reply.nodes[0].duty()));
    let before = u64::try_from(
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis(),
    )
    .unwrap();
    let reply = admin.set(&[ids[1]], v1::NodeDuty::Maintenance, HOUR).await.unwrap();
    assert!(is_in_maintenance(reply.nodes[0].duty()));
    let until_ms = reply.nodes[0].maintenance_until_ms;
    // The clocks are read at different moments, some milliseconds apart.
    assert!(until_ms + 1_000 > before + HOUR && until_ms < before + 2 * HOUR, "{until_ms} {before}");
    assert_eq!(reply.warnings.len(), 1, "two nodes are fewer than three replicas: {:?}", reply.warnings);
    assert!(reply.warnings[0].contains("only 2 DataNodes"));

    running.stop().await.unwrap();
    let running = start(dir.path(), &[]).await.unwrap();
    running.namenode().admit(None).await.unwrap();
    let mut admin = Admin::of(&running, "root").await;
    // Known although it has not come back.
    admin.set(&[ids[1]], v1::NodeDuty::Maintenance, HOUR / 2).await.unwrap();
    for datanode in &datanodes {
        datanode.join(running.namenode()).await;
    }
    assert!(is_leaving(admin.duty(ids[0]).await));
    assert!(is_in_maintenance(admin.duty(ids[1]).await));
    assert_eq!(admin.duty(ids[2]).await, v1::NodeDutyState::InService);
    let (http, wanted) = (running.addresses().http, "dfs_namenode_datanodes_by_duty{duty=\"in_service\"} 2");
    until("the metrics to tell", || async { get(http, "/metrics").await.contains(wanted).then_some(()) })
        .await;
    let metrics = get(http, "/metrics").await;
    for name in ["recovery_queue_chunks{urgency=\"few\"} 0", "balancer_running 0", "pending_copy_bytes 0"] {
        assert!(metrics.contains(&format!("dfs_namenode_{name}")), "{name} is not in {metrics}");
    }
    admin.set(&ids[..2], v1::NodeDuty::InService, 0).await.unwrap();
    for id in &ids {
        assert_eq!(admin.duty(*id).await, v1::NodeDutyState::InService);
    }
    running.stop().await.unwrap();
}

#[tokio::test]
async fn wrong_requests_of_administrators_are_refused() {
    let dir = tempdir().unwrap();
    let running = fresh(dir.path(), &[]).await;
    let datanodes = nodes(running.namenode(), 3).await;
    let id = datanodes[0].id();
    let mut admin = Admin::of(&running, "root").await;
    let invalid = Err(ErrorCode::InvalidArgument);
    let set = |answer: Result<v1::SetNodeDutyReply, ErrorCode>| answer.map(|_| ());
    assert_eq!(set(admin.set(&[], v1::NodeDuty::Decommission, 0).await), invalid);
    assert_eq!(set(admin.set(&[id], v1::NodeDuty::Unspecified, 0).await), invalid);
    assert_eq!(set(admin.set(&[id], v1::NodeDuty::Maintenance, 0).await), invalid);
    assert_eq!(set(admin.set(&[id], v1::NodeDuty::Maintenance, u64::MAX).await), invalid);
    let many: Vec<NodeId> =
        (0..5_000_u32).map(|n| NodeId::from_bytes(&u128::from(n).to_be_bytes()).unwrap()).collect();
    assert_eq!(set(admin.set(&many, v1::NodeDuty::Decommission, 0).await), invalid);
    let short = v1::SetNodeDutyRequest {
        context: context("root", 1),
        nodes: vec![vec![1; 15]],
        duty: v1::NodeDuty::Decommission.into(),
        maintenance_ms: 0,
    };
    assert_eq!(set(answer(admin.client.set_node_duty(short).await)), invalid);
    let anonymous = v1::SetNodeDutyRequest { context: None, ..v1::SetNodeDutyRequest::default() };
    assert_eq!(set(answer(admin.client.set_node_duty(anonymous).await)), invalid);

    for request in [started(1_001, 0), started(0, 1), asked(v1::BalancerAction::Unspecified)] {
        assert_eq!(admin.balancer(request).await.map(|_| ()), invalid);
    }
    assert_eq!(admin.delete(vec![1; 100_001]).await, Err(ErrorCode::InvalidArgument));
    assert_eq!(admin.delete(vec![7]).await, Err(ErrorCode::NotFound));
    assert_eq!(admin.delete(vec![]).await, Ok(0));
    assert_eq!(admin.lose(NodeId::from_bytes(&[99; 16]).unwrap()).await, Err(ErrorCode::NotFound));

    let mut eve = Admin::of(&running, "eve").await;
    let denied = Err(ErrorCode::PermissionDenied);
    assert_eq!(set(eve.set(&[id], v1::NodeDuty::Decommission, 0).await), denied);
    assert_eq!(eve.balancer(started(0, 0)).await.map(|_| ()), denied);
    assert_eq!(eve.balancer(asked(v1::BalancerAction::Stop)).await.map(|_| ()), denied);
    assert_eq!(eve.lose(id).await, denied);
    assert_eq!(eve.quarantine(0).await.map(|_| ()), denied);
    assert_eq!(eve.delete(vec![]).await.map(|_| ()), denied);
    assert!(!eve.balancer(asked(v1::BalancerAction::Status)).await.unwrap().running, "all may look");
    assert_eq!(admin.duty(id).await, v1::NodeDutyState::InService);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn only_the_loss_of_a_silent_node_can_be_announced() {
    let dir = tempdir().unwrap();
    let flags = ["--heartbeat-interval", "50ms", "--stale-after", "300ms", "--dead-after", "1h"];
    let running = fresh(dir.path(), &flags).await;
    let mut datanodes = nodes(running.namenode(), 4).await;
    put(running.namenode(), &mut datanodes, "/f", 500).await;
    let (lost, others) = datanodes.split_first().unwrap();
    let mut admin = Admin::of(&running, "root").await;
    lost.heartbeat(running.namenode()).await;
    assert_eq!(admin.lose(lost.id()).await, Err(ErrorCode::Busy));
    let state = |report: &v1::ClusterReport| {
        let is_it = |found: &&v1::NodeReport| found.node.as_ref().unwrap().id == lost.id().as_bytes();
        report.nodes.iter().find(is_it).map(v1::NodeReport::state)
    };
    let beat = || async {
        for node in others {
            node.heartbeat(running.namenode()).await;
        }
    };
    until("the node to be silent", || async {
        beat().await;
        let mut admin = Admin::of(&running, "root").await;
        (state(&admin.report().await) == Some(v1::NodeState::Stale)).then_some(())
    })
    .await;
    admin.lose(lost.id()).await.unwrap();
    until("the node to be dead long before its time", || async {
        beat().await;
        let mut admin = Admin::of(&running, "root").await;
        (state(&admin.report().await) == Some(v1::NodeState::Dead)).then_some(())
    })
    .await;
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_leader_goes_on_with_what_was_decided() {
    let place = Place::new(3);
    let mut all = place.group().await;
    let lead = until("a leader", || async { all.iter().position(|nn| nn.namenode().term().1) }).await;
    let leader = all.remove(lead);
    writable(leader.namenode()).await;
    let mut datanodes = nodes(leader.namenode(), 4).await;
    // Full and empty nodes, so that the balancer has something to do.
    for (datanode, used) in datanodes.iter_mut().zip([0, 10 << 30, 80 << 30, 90 << 30]) {
        datanode.stats.volumes[0].used = used;
        datanode.stats.volumes[0].available = (90 << 30) - used;
        datanode.heartbeat(leader.namenode()).await;
    }
    let (leaving, resting) = (datanodes[0].id(), datanodes[1].id());
    let mut admin = Admin::of(&leader, "root").await;
    admin.set(&[leaving], v1::NodeDuty::Decommission, 0).await.unwrap();
    admin.set(&[resting], v1::NodeDuty::Maintenance, HOUR).await.unwrap();
    let safe =
        v1::SetSafeModeRequest { context: context("root", 7), action: v1::SafeModeAction::Enter.into() };
    assert!(answer(admin.client.set_safe_mode(safe).await).unwrap().manual);
    let status = admin.balancer(started(20, 1 << 20)).await.unwrap();
    assert!(status.running, "{status:?}");

    let mut follower = Admin::of(&all[0], "root").await;
    let refused = follower.set(&[leaving], v1::NodeDuty::InService, 0).await.map(|_| ());
    assert_eq!(refused, Err(ErrorCode::NotLeader));
    assert_eq!(
        follower.balancer(asked(v1::BalancerAction::Stop)).await.map(|_| ()),
        Err(ErrorCode::NotLeader)
    );
    assert_eq!(follower.lose(leaving).await, Err(ErrorCode::NotLeader));
    assert_eq!(follower.quarantine(0).await.map(|_| ()), Err(ErrorCode::NotLeader));

    leader.stop().await.unwrap();
    let next = until("another leader", || async { all.iter().position(|nn| nn.namenode().term().1) }).await;
    let next = &all[next];
    next.namenode().admit(None).await.unwrap();
    for datanode in &datanodes {
        datanode.join(next.namenode()).await;
    }
    let mut admin = Admin::of(next, "root").await;
    assert!(is_leaving(admin.duty(leaving).await));
    assert!(is_in_maintenance(admin.duty(resting).await));
    let report = admin.report().await;
    assert!(report.safe_mode.unwrap().manual);
    let balancer = admin.balancer(asked(v1::BalancerAction::Status)).await.unwrap();
    assert!(balancer.running, "{balancer:?}");
    assert_eq!((balancer.threshold_permille, balancer.bytes_per_second), (20, 1 << 20));
    assert!(!admin.balancer(asked(v1::BalancerAction::Stop)).await.unwrap().running);
    let leave =
        v1::SetSafeModeRequest { context: context("root", 8), action: v1::SafeModeAction::Leave.into() };
    assert!(!answer(admin.client.set_safe_mode(leave).await).unwrap().on);
    for running in all {
        running.stop().await.unwrap();
    }
}

async fn restored(dir: &Path, backup: &Path, datanodes: &[FakeNode]) -> Running {
    restore(&RestoreArgs { dir: dir.to_owned(), backup: backup.to_owned() }).unwrap();
    let running = Running::start(config(dir, &[]), Shutdown::new()).await.unwrap();
    running.namenode().admit(None).await.unwrap();
    for datanode in datanodes {
        datanode.join(running.namenode()).await;
    }
    writable(running.namenode()).await;
    running
}

#[tokio::test]
async fn a_backup_brings_duties_back_and_a_person_ends_the_quarantine() {
    let dir = tempdir().unwrap();
    let running = fresh(&dir.path().join("nn"), &[]).await;
    let mut datanodes = nodes(running.namenode(), 3).await;
    let leaving = datanodes[2].id();
    let kept = put(running.namenode(), &mut datanodes, "/kept", 500).await;
    let mut admin = Admin::of(&running, "root").await;
    admin.set(&[leaving], v1::NodeDuty::Decommission, 0).await.unwrap();
    let backup = running.namenode().back_up(&caller("root")).await.unwrap();
    let copy = dir.path().join("backup");
    let mut packed = Vec::new();
    let whole = backup.read(|piece| {
        packed.extend(piece);
        true
    });
    assert!(whole.unwrap().is_some());
    std::fs::write(&copy, packed).unwrap();
    drop(backup);
    admin.set(&[leaving], v1::NodeDuty::InService, 0).await.unwrap();
    let mut lost = Vec::new();
    for at in ["/lost-1", "/lost-2"] {
        lost.push(put(running.namenode(), &mut datanodes, at, 600).await.chunk.0);
    }
    running.stop().await.unwrap();

    let running = restored(&dir.path().join("restored"), &copy, &datanodes).await;
    let mut admin = Admin::of(&running, "root").await;
    assert!(is_leaving(admin.duty(leaving).await), "as it was when the backup was made");
    assert_eq!(admin.report().await.quarantined, 6);
    let first = admin.quarantine(0).await.unwrap();
    assert_eq!((first.chunks.len(), first.chunks[0].chunk, first.more), (1, lost[0], true));
    assert_eq!(first.chunks[0].replicas.len(), 3);
    let second = admin.quarantine(lost[0]).await.unwrap();
    assert_eq!((second.chunks[0].chunk, second.more), (lost[1], false));
    assert_eq!(admin.delete(vec![kept.chunk.0]).await, Err(ErrorCode::NotFound), "it is known");
    assert_eq!(admin.delete(vec![lost[1]]).await, Ok(3));
    assert_eq!(admin.report().await.quarantined, 3);
    let deleted = std::cell::RefCell::new(Vec::new());
    until("the commands to delete", || async {
        for datanode in &datanodes {
            for order in datanode.heartbeat(running.namenode()).await.commands {
                if let Command::Delete { replicas } = order {
                    deleted.borrow_mut().extend(replicas.into_iter().map(|(chunk, _)| chunk.0));
                }
            }
        }
        (deleted.borrow().len() >= 3).then_some(())
    })
    .await;
    assert_eq!(deleted.into_inner(), vec![lost[1]; 3], "nothing else is deleted");
    assert_eq!(admin.delete(vec![]).await, Ok(3), "all that is left");
    assert_eq!(admin.report().await.quarantined, 0);
    running.stop().await.unwrap();
}
