//! Several NameNodes: the leader moves, hangs, or is not asked at all.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dfs_client::{Builder, CreateOptions, Dfs, MemberRole};
use dfs_types::ErrorCode;
use futures_util::TryStreamExt as _;
use tokio::io::AsyncWriteExt as _;

use crate::fake::{CHUNK, Cluster, content, path};
use crate::group::Mode;

/// A client that is given the first `count` members.
fn builder(cluster: &Cluster, count: usize) -> Builder {
    let start = Dfs::builder().user("tester").groups(vec![]).transfer_budget(Duration::from_secs(10));
    cluster.members.iter().take(count).fold(start, |builder, member| builder.namenode(&member.address))
}

async fn touch(dfs: &Dfs, name: &str) {
    dfs.create(&path(name), CreateOptions::default()).await.unwrap().close().await.unwrap();
}

/// Waits for a condition.
async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while !condition() {
        assert!(Instant::now() < deadline, "{what} did not come about");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_hint_leads_to_the_leader_at_once_and_keeps_the_connection() {
    let cluster = Cluster::start_group(0, 3).await;
    let dfs = builder(&cluster, 3).connect().await.unwrap();
    touch(&dfs, "/a").await;
    for round in 0..6 {
        cluster.elect(if round % 2 == 0 { 2 } else { 0 }, true);
        touch(&dfs, &format!("/{round}")).await;
    }
    assert_eq!(cluster.members[1].calls("Create"), 0, "nobody pointed to the second");
    // At most once by a call and once by the list of members.
    assert!(
        *cluster.members[0].connections.lock().unwrap() <= 2,
        "a NameNode that answers keeps its connection"
    );
}

#[tokio::test]
async fn a_leader_is_found_without_hints_soon_after_its_election() {
    let cluster = Cluster::start_group(0, 3).await;
    let dfs = builder(&cluster, 3).connect().await.unwrap();
    for member in &cluster.members {
        member.set(Mode::Follows(None));
    }
    let mut asked = 0;
    tokio::join!(touch(&dfs, "/a"), async {
        // It is asked often enough to be noticed soon, without a word from the others.
        until("asking again and again", || cluster.members[1].calls("Create") >= 4).await;
        cluster.elect(1, false);
        asked = cluster.members[1].calls("Create");
    });
    let more = cluster.members[1].calls("Create") - asked;
    assert!(more <= 2, "asked {more} times after its election: a call may have been under way");
    let calls = &cluster.names.lock().unwrap().create_calls;
    assert_eq!(calls.len(), 1, "those that do not lead create nothing");
}

#[tokio::test]
async fn a_hint_to_a_dead_leader_does_not_keep_the_others_from_being_asked() {
    let cluster = Cluster::start_group(0, 3).await;
    // Less than one try may take: who waits for one that does not answer fails.
    let dfs = builder(&cluster, 3).call_budget(Duration::from_secs(15)).connect().await.unwrap();
    cluster.members[0].set(Mode::Follows(Some("127.0.0.1:1".into())));
    cluster.members[1].set(Mode::Follows(Some("127.0.0.1:1".into())));
    cluster.members[2].set(Mode::Leads);
    touch(&dfs, "/a").await;
    for member in &cluster.members[..2] {
        let asked = member.calls("Create");
        assert!(
            asked <= 1,
            "asked {asked} times: the search follows the hint instead of asking the next one"
        );
    }
}

#[tokio::test]
async fn a_namenode_that_hangs_is_left_and_the_request_stays_the_same() {
    let cluster = Cluster::start_group(0, 3).await;
    // Less than one try may take: who waits for its end fails.
    let dfs = builder(&cluster, 3).call_budget(Duration::from_secs(15)).connect().await.unwrap();
    cluster.elect(1, true);
    cluster.members[0].set(Mode::Swallows);
    let started = Instant::now();
    touch(&dfs, "/a").await;
    assert!(started.elapsed() >= Duration::from_secs(1), "a leader that answered before may take its time");
    {
        let names = cluster.names.lock().unwrap();
        assert_eq!(names.create_calls.len(), 2, "the one that hangs did it, the new leader was asked");
        assert_eq!(names.create_calls[0], names.create_calls[1]);
        assert_eq!(names.files.len(), 1);
    }
    let asked = cluster.members[0].calls("Create");
    touch(&dfs, "/b").await;
    assert_eq!(cluster.members[0].calls("Create"), asked, "the next call begins at the new leader");
}

#[tokio::test]
async fn a_leader_that_takes_its_time_is_waited_for() {
    let cluster = Cluster::start_group(0, 3).await;
    let dfs = builder(&cluster, 3).connect().await.unwrap();
    for member in &cluster.members[1..] {
        member.set(Mode::Follows(Some(cluster.members[0].address.clone())));
    }
    cluster.names.lock().unwrap().create_takes = Duration::from_secs(4);
    touch(&dfs, "/a").await;
    let calls = &cluster.names.lock().unwrap().create_calls;
    assert_eq!(calls.len(), 1, "it is asked once, the others point to it");
    assert!((1..=3).contains(&cluster.members[1].calls("Create")), "the others are asked now and then");
}

#[tokio::test]
async fn errors_that_only_need_time_are_tried_again_as_the_same_request() {
    let cluster = Cluster::start_group(0, 2).await;
    let dfs = builder(&cluster, 2).connect().await.unwrap();
    for code in [ErrorCode::TimedOut, ErrorCode::SafeMode, ErrorCode::NotLeader, ErrorCode::Busy] {
        cluster.names.lock().unwrap().create_errors = vec![code, code];
        let name = format!("/{code}");
        touch(&dfs, &name).await;
        let calls = std::mem::take(&mut cluster.names.lock().unwrap().create_calls);
        assert_eq!(calls.len(), 3, "{code}");
        assert!(calls.iter().all(|call| *call == calls[0]), "{code}");
    }
}

#[tokio::test]
async fn a_put_and_a_get_survive_a_failover() {
    let cluster = Cluster::start_group(3, 3).await;
    let dfs = builder(&cluster, 3).connect().await.unwrap();
    let data = content(6 * CHUNK as usize + 12_345);
    let mut writer = dfs.create(&path("/a"), CreateOptions::default()).await.unwrap();
    for (number, part) in data.chunks(CHUNK as usize / 2).enumerate() {
        match number {
            2 => cluster.members.iter().for_each(|member| member.set(Mode::Follows(None))),
            3 => cluster.elect(1, false),
            6 => {
                cluster.elect(2, true);
                cluster.members[1].set(Mode::Hangs);
            }
            _ => {}
        }
        let write = writer.write_all(part);
        if number == 2 {
            // The leader is missed for a moment while the writer goes on as far as it can.
            let elect = async {
                tokio::time::sleep(Duration::from_millis(300)).await;
                cluster.elect(0, false);
            };
            tokio::join!(async { write.await.unwrap() }, elect);
        } else {
            write.await.unwrap();
        }
    }
    writer.close().await.unwrap();
    cluster.assert_stored("/a", &data, 3);

    let reader = dfs.open(&path("/a")).await.unwrap();
    let mut read = Vec::new();
    let mut stream = reader.stream(0..reader.len());
    while let Some(bytes) = stream.try_next().await.unwrap() {
        if read.is_empty() {
            cluster.elect(0, false);
            cluster.members[2].set(Mode::Hangs);
            for node in &cluster.nodes[..2] {
                node.faults.lock().unwrap().dead = true;
            }
        }
        read.extend_from_slice(&bytes);
    }
    assert!(read == data);
}

#[tokio::test]
async fn addresses_are_learned_from_the_group() {
    let cluster = Cluster::start_group(0, 3).await;
    let dfs = builder(&cluster, 1).connect().await.unwrap();
    until("the list of members is asked for", || cluster.members[0].calls("List") > 0).await;
    // The answer is on its way: the next one on this connection comes after it.
    assert_eq!(dfs.namenodes().await.unwrap().members.len(), 3);
    cluster.elect(2, false);
    cluster.members[0].set(Mode::Hangs);
    touch(&dfs, "/a").await;
    assert_eq!(cluster.members[2].calls("Create"), 1);
}

#[tokio::test]
async fn a_single_namenode_is_not_asked_twice_under_two_names() {
    let cluster = Cluster::start(0).await;
    let named = cluster.address.replace("127.0.0.1", "localhost");
    let dfs = Dfs::builder().namenode(named).user("tester").groups(vec![]).connect().await.unwrap();
    until("the list of members is asked for", || cluster.members[0].calls("List") > 0).await;
    cluster.names.lock().unwrap().create_takes = Duration::from_secs(3);
    touch(&dfs, "/a").await;
    assert_eq!(cluster.members[0].calls("Create"), 1);
}

#[tokio::test]
async fn reads_go_to_followers_only_if_allowed() {
    let cluster = Cluster::start_group(0, 3).await;
    let reads = |member: usize| cluster.members[member].reads.lock().unwrap().clone();
    let dfs = builder(&cluster, 3).connect().await.unwrap();
    touch(&dfs, "/a").await;
    for _ in 0..6 {
        dfs.stat(&path("/a")).await.unwrap();
    }
    assert_eq!(reads(0), vec![None; 6]);
    assert!(reads(1).is_empty() && reads(2).is_empty());
}

#[tokio::test]
async fn a_follower_answers_a_read_if_it_is_as_new_as_what_the_client_saw() {
    let cluster = Cluster::start_group(0, 3).await;
    let reads = |member: usize| cluster.members[member].reads.lock().unwrap().clone();
    let set = |member: usize, index: u64| *cluster.members[member].applied.lock().unwrap() = index;
    let dfs = builder(&cluster, 3).follower_reads(true).connect().await.unwrap();
    set(0, 40);
    touch(&dfs, "/a").await;
    set(1, 40);
    // The third is behind: it sends its reads to the leader.
    for _ in 0..6 {
        dfs.stat(&path("/a")).await.unwrap();
    }
    assert_eq!(reads(1), [Some(40), Some(40)], "a follower that is not behind answers");
    assert_eq!(reads(2), [Some(40), Some(40)], "one that is behind was asked");
    assert_eq!(
        reads(0),
        [Some(40); 4],
        "and the leader answered instead, as new as well, besides its own turns"
    );

    // What a follower showed is never taken back by another one.
    set(1, 50);
    for _ in 0..3 {
        dfs.stat(&path("/a")).await.unwrap();
    }
    assert_eq!(dfs.stat(&path("/none")).await.unwrap_err().code, ErrorCode::NotFound);
    for _ in 0..3 {
        dfs.stat(&path("/a")).await.unwrap();
    }
    assert_eq!(reads(2).last(), Some(&Some(50)));
}

#[tokio::test]
async fn a_follower_that_hangs_delays_a_read_once() {
    let cluster = Cluster::start_group(0, 3).await;
    let dfs = builder(&cluster, 3).follower_reads(true).connect().await.unwrap();
    touch(&dfs, "/a").await;
    cluster.members[1].set(Mode::Hangs);
    for _ in 0..12 {
        dfs.stat(&path("/a")).await.unwrap();
    }
    assert_eq!(cluster.members[1].reads.lock().unwrap().len(), 0);
    assert!(cluster.members[1].calls("Stat") <= 1);
}

#[tokio::test]
async fn administrators_see_the_members_and_move_the_leader() {
    let cluster = Cluster::start_group(0, 3).await;
    // Given only a follower.
    let dfs = Dfs::builder().namenode(&cluster.members[0].address).connect().await.unwrap();
    assert_eq!(dfs.transfer_leader(Some(3)).await.unwrap(), 3);
    let group = dfs.namenodes().await.unwrap();
    assert!(group.by_leader);
    assert_eq!(group.leader().map(|leader| leader.id), Some(3));
    assert_eq!(group.leader().map(|leader| &leader.address), Some(&cluster.members[2].address));
    let roles: Vec<_> = group.members.iter().map(|member| member.role).collect();
    assert_eq!(roles, [MemberRole::Follower, MemberRole::Follower, MemberRole::Leader]);
    assert_ne!(dfs.transfer_leader(None).await.unwrap(), 3);
    assert_eq!(dfs.transfer_leader(Some(9)).await.unwrap_err().code, ErrorCode::NotFound);
    assert_eq!(dfs.remove_namenode(3).await.unwrap().len(), 2);
}

#[tokio::test]
async fn members_are_told_also_without_a_leader() {
    let cluster = Cluster::start_group(0, 3).await;
    let dfs = builder(&cluster, 3).connect().await.unwrap();
    cluster.members[0].set(Mode::Hangs);
    let group = dfs.namenodes().await.unwrap();
    assert!(!group.by_leader);
    assert_eq!((group.members.len(), group.leader()), (3, None));
    assert_eq!(group.members[0].role, MemberRole::Unreachable);
    assert_eq!(group.members[0].pid, None);
}

/// Time stands still in this test unless something waits for it, and then it goes on to the next whole millisecond.
#[tokio::test(start_paused = true)]
async fn a_call_that_has_nothing_to_wait_for_waits_for_no_timer() {
    let cluster = Cluster::start(0).await;
    let dfs = cluster.builder().connector(Arc::new(cluster.in_memory())).connect().await.unwrap();
    touch(&dfs, "/a").await;
    for _ in 0..20 {
        // A timer for a moment that is now would be rounded up, but not on a whole millisecond.
        tokio::time::advance(Duration::from_micros(500)).await;
        let before = tokio::time::Instant::now();
        dfs.stat(&path("/a")).await.unwrap();
        assert_eq!(before.elapsed(), Duration::ZERO, "a call that is answered at once took time");
    }
}

/// As above, time goes on only when everybody waits: these are no measurements.
#[tokio::test(start_paused = true)]
async fn a_new_client_asks_the_next_one_as_soon_as_the_first_is_silent() {
    let cluster = Cluster::start_group(0, 3).await;
    cluster.elect(2, true);
    cluster.members[0].set(Mode::Hangs);
    let new = || builder(&cluster, 3).connector(Arc::new(cluster.in_memory()));
    let short = Duration::from_millis(200);
    let started = tokio::time::Instant::now();
    let dfs = new().connect().await.unwrap();
    assert_eq!(cluster.members[0].calls("GetDefaults"), 1, "the first was asked");
    touch(&dfs, "/a").await;
    assert_eq!(cluster.members[0].calls("Create"), 0, "and is not any more");
    assert!(started.elapsed() < short, "{:?}", started.elapsed());

    let started = tokio::time::Instant::now();
    assert_eq!(new().namenodes().await.unwrap().members.len(), 3);
    assert!(started.elapsed() < short, "what is known of the group: {:?}", started.elapsed());

    let dfs = new().follower_reads(true).connect().await.unwrap();
    let started = tokio::time::Instant::now();
    for _ in 0..6 {
        dfs.stat(&path("/a")).await.unwrap();
    }
    assert!(started.elapsed() < short, "reads that any of them may answer: {:?}", started.elapsed());
}
