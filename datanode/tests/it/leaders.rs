//! Several NameNodes, of which one leads: whose orders count, who is told what, and who is not waited for.

use std::time::{Duration, Instant};

use dfs_types::ClusterId;
use dfs_types::ReplicaState::Finalized;
use tokio::net::TcpListener;

use crate::cluster::{FakeNamenode, Node, until};
use crate::lifecycle::get;
use crate::orders::{copy, delete};
use crate::wire::{GENERATION, bytes, write};

/// This many NameNodes of one cluster; the first leads in term 5.
async fn group<const COUNT: usize>() -> [FakeNamenode; COUNT] {
    let cluster = ClusterId::random();
    let mut group = Vec::new();
    for number in 0..COUNT {
        let namenode = FakeNamenode::start_in(cluster).await;
        namenode.set(5, number == 0);
        group.push(namenode);
    }
    group.try_into().unwrap_or_else(|_| panic!("there are {COUNT}"))
}

/// A node that was told of all these NameNodes and has reported to them.
async fn node_of(group: &[FakeNamenode]) -> Node {
    let [first, others @ ..] = group else { panic!("there is at least one") };
    let others: Vec<String> = others.iter().map(|namenode| namenode.address.to_string()).collect();
    let flags: Vec<&str> = others.iter().flat_map(|address| ["--namenode", address]).collect();
    let node = Node::start_with(first, 1, &flags).await;
    for namenode in group {
        until("every NameNode has its report", || namenode.with(|known| known.reported.contains(&node.id)))
            .await;
    }
    node
}

#[tokio::test]
async fn only_the_newest_leader_is_obeyed_and_everyone_is_told() {
    let group = group::<2>().await;
    let (node, [old, new]) = (node_of(&group).await, &group);
    for chunk in 1..=4 {
        write(old.cluster, &[&node], chunk, &bytes(1_000)).await;
    }
    old.order(&node, delete(1, GENERATION));
    new.order(&node, delete(2, GENERATION));
    old.told(&node, 1, None).await;
    new.told(&node, 1, None).await;
    old.fenced(&node, 5).await;
    new.fenced(&node, 5).await;
    // What it ordered as a follower has come to the node, and is not still on its way when it leads.
    new.beats(2).await;
    // The other takes over; the first does not know yet.
    new.set(6, true);
    old.fenced(&node, 6).await;
    old.order(&node, delete(3, GENERATION));
    old.beats(2).await;
    new.with(|known| known.wants_report = true);
    until("a report with the new fence", || new.with(|known| known.fences.get(&node.id) == Some(&6))).await;
    new.order(&node, delete(4, GENERATION));
    old.told(&node, 4, None).await;
    for chunk in [2, 3] {
        let there = Some((GENERATION, 1_000, Finalized));
        assert_eq!((old.replica(&node, chunk), new.replica(&node, chunk)), (there, there), "{chunk}");
        assert_eq!(node.files(chunk).len(), 2);
    }
}

#[tokio::test]
async fn a_queued_order_of_an_older_leader_is_dropped() {
    let group = group::<2>().await;
    let (node, [old, new]) = (node_of(&group).await, &group);
    let target = Node::start_with(old, 1, &[]).await;
    // Somebody who takes connections and says nothing keeps all copying busy.
    let deaf = TcpListener::bind("127.0.0.1:0").await.unwrap();
    for chunk in 1..=6 {
        write(old.cluster, &[&node], chunk, &bytes(1_000)).await;
    }
    let mut nobody = target.endpoint();
    nobody.id = vec![9; 16];
    nobody.data_port = u32::from(deaf.local_addr().unwrap().port());
    for chunk in 1..=4 {
        let mut order = copy(chunk, GENERATION, 1_000, &[]);
        if let dfs_proto::v1::command::Kind::Copy(order) = &mut order {
            order.targets = vec![nobody.clone()];
        }
        old.order(&node, order);
    }
    let copying = || old.with(|known| known.heartbeats[&node.id].active_copies == 4);
    until("all copying is busy", copying).await;
    old.order(&node, copy(5, GENERATION, 1_000, &[&target]));
    old.beats(2).await;
    new.set(6, true);
    old.fenced(&node, 6).await;
    new.order(&node, copy(6, GENERATION, 1_000, &[&target]));
    new.beats(2).await;
    assert_eq!(old.replica(&target, 6), None, "it waits behind the others");
    drop(deaf);
    old.told(&target, 6, Some((GENERATION, 1_000, Finalized))).await;
    assert_eq!((old.replica(&target, 5), target.files(5).len()), (None, 0));
}

#[tokio::test]
async fn namenodes_are_learned_and_forgotten() {
    let [leader, follower] = &group::<2>().await;
    let addresses = [leader, follower].map(|namenode| namenode.address.to_string());
    let node = Node::start(leader).await;
    write(leader.cluster, &[&node], 1, &bytes(10)).await;
    let nonsense = ["nowhere".to_owned(), "a b:1".to_owned(), ":7".to_owned()];
    leader.with(|known| known.namenodes = [&nonsense[..], &addresses[..]].concat());
    follower.told(&node, 1, Some((GENERATION, 10, Finalized))).await;
    assert!(follower.with(|known| known.reported.contains(&node.id)));
    write(leader.cluster, &[&node], 2, &bytes(10)).await;
    follower.told(&node, 2, Some((GENERATION, 10, Finalized))).await;
    follower.fenced(&node, 5).await;
    // Who does not lead cannot say who is in.
    follower.with(|known| known.namenodes = vec!["127.0.0.1:1".to_owned(), addresses[1].clone()]);
    follower.beats(2).await;
    leader.beats(2).await;

    leader.with(|known| known.namenodes = vec!["127.0.0.1:1".to_owned()]);
    leader.beats(3).await;
    let (beats, ours) = (follower.with(|known| known.beats), leader.with(|known| known.beats));
    leader.beats(5).await;
    assert_eq!(follower.with(|known| known.beats), beats, "it is no longer in the list");
    assert!(leader.with(|known| known.beats) > ours, "given by a flag, the leader itself stays");
    write(leader.cluster, &[&node], 3, &bytes(10)).await;
    assert_eq!(follower.replica(&node, 3), None);
}

#[tokio::test]
async fn one_namenode_under_two_addresses_is_one() {
    let namenode = FakeNamenode::start().await;
    let (address, port) = (namenode.address.to_string(), namenode.address.port());
    namenode.with(|known| (known.name, known.namenodes) = (address.clone(), vec![address.clone()]));
    let node = Node::start_with(&namenode, 1, &["--namenode", &format!("localhost:{port}")]).await;
    // The two may both introduce themselves once before they find out.
    namenode.beats(5).await;
    let registrations = namenode.with(|known| known.registrations);
    assert!(registrations <= 3, "joining, and each of the two addresses once: {registrations}");
    write(namenode.cluster, &[&node], 1, &bytes(10)).await;
    let (begun, before) = (Instant::now(), namenode.with(|known| known.beats));
    namenode.beats(10).await;
    let beats = namenode.with(|known| known.beats) - before;
    let most = begun.elapsed().as_millis() / 50 + 3;
    assert!((beats as u128) < most, "{beats} heartbeats, one reporter sends fewer than {most}");
    assert_eq!(namenode.with(|known| known.registrations), registrations);
}

#[tokio::test]
async fn a_namenode_that_does_not_answer_delays_no_writer() {
    let group = group::<3>().await;
    let node = node_of(&group).await;
    for hanging in [1, 2] {
        group[hanging].with(|known| known.hangs = true);
        for chunk in 1..=10 {
            write(group[0].cluster, &[&node], 20 * hanging as u64 + chunk, &bytes(10_000)).await;
        }
        // One that waited for it every time would have seen more calls to it fail.
        let calls = group[hanging].with(|known| std::mem::take(&mut known.hanging_beats));
        assert!(calls <= 2, "{calls} calls");
        group[hanging].with(|known| known.hangs = false);
        group[hanging].told(&node, 20 * hanging as u64 + 10, Some((GENERATION, 10_000, Finalized))).await;
    }
}

#[tokio::test]
async fn ready_means_that_the_leader_knows_all_replicas() {
    let [leader, follower] = &group::<2>().await;
    leader.with(|known| known.hangs_on_reports = true);
    let address = leader.address.to_string();
    let node = Node::start_with(follower, 1, &["--namenode", &address]).await;
    leader.fenced(&node, 5).await;
    let page = get(&node, "/readyz").await;
    assert!(page.starts_with("HTTP/1.1 503") && page.contains("leading NameNode"), "{page}");
    leader.with(|known| known.hangs_on_reports = false);
    until("the leader knows all", || leader.with(|known| known.reported.contains(&node.id))).await;
    let deadline = Instant::now() + Duration::from_mins(1);
    while !get(&node, "/readyz").await.starts_with("HTTP/1.1 200") {
        assert!(Instant::now() < deadline, "not ready in time");
    }
    // Another one takes over, who knows all replicas too.
    follower.set(6, true);
    leader.fenced(&node, 6).await;
    assert!(get(&node, "/readyz").await.starts_with("HTTP/1.1 200"));
}
