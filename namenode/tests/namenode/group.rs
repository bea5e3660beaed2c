//! Several NameNodes that form a group over their ports.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dfs_daemon::Shutdown;
use dfs_namenode::api::Namenode;
use dfs_namenode::config::Config;
use dfs_namenode::run::{Error, Running};
use dfs_types::{ErrorCode, MemberRole, Mode, NamenodeMember};
use futures_util::future::join_all;
use tempfile::{TempDir, tempdir};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::support::{caller, config, get, nodes, origin, path, put, until, writable};

/// A place for a group, whose NameNodes run in this process.
pub(crate) struct Place {
    home: TempDir,
    /// `HOST:PORT` of each.
    pub(crate) addresses: Vec<String>,
    http: Vec<String>,
}

impl Place {
    pub(crate) fn new(count: usize) -> Self {
        // All at once, so that they are different ones.
        let listeners: Vec<_> = (0..2 * count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let mut addresses: Vec<String> =
            listeners.iter().map(|listener| listener.local_addr().unwrap().to_string()).collect();
        let http = addresses.split_off(count);
        Self { home: tempdir().unwrap(), addresses, http }
    }

    pub(crate) fn dir(&self, index: usize) -> PathBuf {
        self.home.path().join(format!("nn-{index}"))
    }

    fn config(&self, index: usize) -> Config {
        let (own, peers) = (&self.addresses[index], self.addresses.join(","));
        let mut config = config(&self.dir(index), &["--advertise", own, "--peers", &peers]);
        (config.listen, config.http) = (own.clone(), self.http[index].clone());
        config
    }

    pub(crate) async fn start(&self, index: usize) -> Running {
        Running::start(self.config(index), Shutdown::new()).await.unwrap()
    }

    /// Begins to start one that has to wait for something.
    fn begin(&self, index: usize) -> JoinHandle<Result<Running, Error>> {
        tokio::spawn(Running::start(self.config(index), Shutdown::new()))
    }

    /// What one that does not serve yet waits for.
    async fn waits_for(&self, index: usize, what: &str) {
        let address: SocketAddr = self.http[index].parse().unwrap();
        until("its HTTP port", || async { TcpStream::connect(address).await.ok() }).await;
        until(what, || async { get(address, "/readyz").await.contains(what).then_some(()) }).await;
    }

    /// All of them, as a group that is complete.
    pub(crate) async fn group(&self) -> Vec<Running> {
        let all = join_all((0..self.addresses.len()).map(|index| self.start(index))).await;
        let members: Vec<&Arc<Namenode>> = all.iter().map(Running::namenode).collect();
        complete(&members, self.addresses.len()).await;
        all
    }
}

/// Waits until all know that `count` vote, and somebody leads; answers who.
async fn complete(members: &[&Arc<Namenode>], count: usize) -> usize {
    until("a complete group", || async {
        let knows = |namenode: &Arc<Namenode>| {
            let view = namenode.members();
            let votes = |member: &&NamenodeMember| {
                matches!(member.role, MemberRole::Leader | MemberRole::Follower) && !member.address.is_empty()
            };
            view.len() == count && view.iter().filter(votes).count() == count
        };
        members.iter().all(|namenode| knows(namenode)).then_some(())
    })
    .await;
    leader(members).await
}

/// Index of the one that leads.
async fn leader(members: &[&Arc<Namenode>]) -> usize {
    until("a leader", || async { members.iter().position(|namenode| namenode.term().1) }).await
}

async fn mkdir(namenode: &Namenode, at: &str) -> dfs_types::FsResult<dfs_types::FileStatus> {
    namenode.mkdir(origin(), path(at), Mode::DIRECTORY, true).await
}

/// As a client: asks one after the other until somebody answers. Answers the longest that one directory took.
fn keep_busy(members: Vec<Arc<Namenode>>, stop: Arc<AtomicBool>) -> JoinHandle<(usize, Duration)> {
    tokio::spawn(async move {
        let (mut number, mut longest) = (0, Duration::ZERO);
        while !stop.load(Ordering::SeqCst) {
            number += 1;
            let (begun, origin) = (Instant::now(), origin());
            for namenode in members.iter().cycle() {
                let at = path(&format!("/busy/{number}"));
                match namenode.mkdir(origin.clone(), at, Mode::DIRECTORY, true).await {
                    Ok(_) => break,
                    Err(error) => {
                        let passing = [ErrorCode::NotLeader, ErrorCode::Unavailable, ErrorCode::SafeMode];
                        assert!(passing.contains(&error.code), "{error}");
                    }
                }
                sleep(Duration::from_millis(5)).await;
            }
            longest = longest.max(begun.elapsed());
        }
        (number, longest)
    })
}

async fn stop_all(all: Vec<Running>) {
    for running in all {
        running.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_empty_ones_wait_for_each_other_and_form_one_group_for_good() {
    let place = Place::new(3);
    let early = [place.begin(0), place.begin(1)];
    let silent = format!("waiting for an answer of the NameNodes at {}", place.addresses[2]);
    place.waits_for(0, &silent).await;
    place.waits_for(1, &silent).await;
    assert!(!place.dir(0).exists() && !place.dir(1).exists(), "nothing is formatted yet");
    let last = place.start(2).await;
    let mut all = Vec::new();
    for starting in early {
        all.push(starting.await.unwrap().unwrap());
    }
    all.push(last);
    let members: Vec<_> = all.iter().map(Running::namenode).collect();
    let first = complete(&members, 3).await;
    let cluster = members[first].defaults().cluster;
    assert!(members.iter().all(|namenode| namenode.defaults().cluster == cluster));
    writable(members[first]).await;
    mkdir(members[first], "/kept").await.unwrap();
    let own: Vec<u64> = members.iter().map(|namenode| namenode.identity().id).collect();
    until("everybody's process and position", || async {
        let view = members[first].members();
        let known = |member: &NamenodeMember| member.pid == Some(std::process::id()) && member.lag == 0;
        view.iter().all(known).then_some(())
    })
    .await;

    // The first of the list loses its directory, and never begins a second group.
    all.remove(0).stop().await.unwrap();
    std::fs::remove_dir_all(place.dir(0)).unwrap();
    let again = place.start(0).await;
    assert_eq!(again.namenode().defaults().cluster, cluster);
    let id = again.namenode().identity().id;
    assert!(!own.contains(&id), "an id is never used again");
    all.insert(0, again);
    let members: Vec<_> = all.iter().map(Running::namenode).collect();
    let leads = complete(&members, 3).await;
    assert!(members[leads].members().iter().all(|member| member.id != own[0]));
    let applied = members[leads].applied();
    until("it to have everything", || async { members[0].admit(Some(applied)).await.ok() }).await;
    assert!(members[0].stat(&caller("root"), &path("/kept")).await.is_ok());
    stop_all(all).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_that_lost_everything_never_begin_without_the_third() {
    let place = Place::new(3);
    let mut all = place.group().await;
    let third = all.pop().unwrap();
    for (index, running) in all.into_iter().enumerate() {
        running.stop().await.unwrap();
        std::fs::remove_dir_all(place.dir(index)).unwrap();
    }
    let waiting = [place.begin(0), place.begin(1)];
    for index in 0..2 {
        place.waits_for(index, "waiting for the NameNodes' group to take this one in").await;
    }
    until("the third to see that it is alone", || async { (!third.namenode().term().1).then_some(()) }).await;
    assert!(!place.dir(0).exists() && !place.dir(1).exists());
    assert!(waiting.iter().all(|starting| !starting.is_finished()));
    for starting in waiting {
        starting.abort();
    }
    third.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_becomes_three_while_it_serves_and_any_of_them_can_lead() {
    let place = Place::new(3);
    let mut alone = place.config(0);
    alone.peers.clear();
    let first = Running::start(alone, Shutdown::new()).await.unwrap();
    writable(first.namenode()).await;
    let mut datanodes = nodes(first.namenode(), 3).await;
    let chunk = put(first.namenode(), &mut datanodes, "/file", 1_000).await;
    let stop = Arc::new(AtomicBool::new(false));
    let busy = keep_busy(vec![Arc::clone(first.namenode())], Arc::clone(&stop));
    let all = vec![first, place.start(1).await, place.start(2).await];
    let members: Vec<_> = all.iter().map(Running::namenode).collect();
    assert_eq!(complete(&members, 3).await, 0, "nobody was disturbed");
    stop.store(true, Ordering::SeqCst);
    let (made, _) = busy.await.unwrap();
    assert!(made > 5);

    // DataNodes report to all, so that whoever leads next knows the replicas already.
    for namenode in &members[1..] {
        for datanode in &datanodes {
            datanode.join(namenode).await;
        }
    }
    for to in [2, 1] {
        let from = leader(&members).await;
        let id = members[to].identity().id;
        assert_eq!(members[from].transfer_leader(&caller("root"), id).await.unwrap(), id);
        assert_eq!(leader(&members).await, to);
        writable(members[to]).await;
        members[to].admit(None).await.unwrap();
        let (_, located) = members[to].locate(&caller("root"), &path("/file"), 0, 1_000, None).await.unwrap();
        assert_eq!((located[0].chunk, located[0].nodes.len()), (chunk.chunk, 3));
        assert!(members[to].stat(&caller("root"), &path(&format!("/busy/{made}"))).await.is_ok());
        mkdir(members[to], &format!("/by-{to}")).await.unwrap();
    }
    let denied = members[1].transfer_leader(&caller("eve"), 0).await.unwrap_err();
    assert_eq!(denied.code, ErrorCode::PermissionDenied);
    let unknown = members[1].transfer_leader(&caller("root"), 77).await.unwrap_err();
    assert!(unknown.message.contains("no NameNode 77"), "{unknown}");
    stop_all(all).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_stops_hands_over_first() {
    let place = Place::new(3);
    let mut all = place.group().await;
    let members: Vec<_> = all.iter().map(|running| Arc::clone(running.namenode())).collect();
    let old = leader(&members.iter().collect::<Vec<_>>()).await;
    writable(&members[old]).await;
    let term = members[old].term().0;
    let stop = Arc::new(AtomicBool::new(false));
    // The one that stops lives on in nobody's hands, or its store would not end.
    let rest: Vec<_> =
        (0..3).filter(|index| *index != old).map(|index| Arc::clone(&members[index])).collect();
    let busy = keep_busy(rest.clone(), Arc::clone(&stop));
    drop(members);
    all.remove(old).stop().await.unwrap();
    let new = leader(&rest.iter().collect::<Vec<_>>()).await;
    until("edits by the new leader", || async { mkdir(&rest[new], "/new").await.ok() }).await;
    stop.store(true, Ordering::SeqCst);
    let (made, longest) = busy.await.unwrap();
    println!("{made} edits, the slowest took {longest:?}");
    assert_eq!(rest[new].term().0, term + 1, "one election, for which nobody waited");
    drop(rest);
    stop_all(all).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namenode_that_is_removed_ends_with_a_sentence() {
    let place = Place::new(3);
    let mut all = place.group().await;
    let lead = leader(&all.iter().map(Running::namenode).collect::<Vec<_>>()).await;
    let victim = (lead + 1) % 3;
    let id = all[victim].namenode().identity().id;
    let denied = all[lead].namenode().remove_namenode(&caller("eve"), id).await.unwrap_err();
    assert_eq!(denied.code, ErrorCode::PermissionDenied);
    let left = all[lead].namenode().remove_namenode(&caller("root"), id).await.unwrap();
    assert!(left.iter().all(|member| member.id != id));
    until("it to know", || async { all[victim].namenode().health().err() }).await;
    let ended = all.remove(victim).stop().await;
    let said = dfs_types::error::sentence(&ended.unwrap_err());
    assert!(said.contains("removed from its group"), "{said}");
    stop_all(all).await;
}

/// What a NameNode that can't serve says.
async fn refusal(place: &Place, index: usize) -> String {
    match Running::start(place.config(index), Shutdown::new()).await {
        Err(error) => dfs_types::error::sentence(&error),
        Ok(running) => {
            let stopped = running.stop().await;
            panic!("it serves, and stopped with {stopped:?}");
        }
    }
}

/// Overwrites a part of a file.
fn overwrite(file: &Path, at: u64, bytes: &[u8]) {
    use std::os::unix::fs::FileExt;
    std::fs::File::options().write(true).open(file).unwrap().write_all_at(bytes, at).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_one_does_not_start_and_is_replaced_at_its_address() {
    let place = Place::new(3);
    let mut all = place.group().await;
    let lead = leader(&all.iter().map(Running::namenode).collect::<Vec<_>>()).await;
    writable(all[lead].namenode()).await;
    let made = (0..300).map(|number| {
        let namenode = all[lead].namenode();
        async move { mkdir(namenode, &format!("/dir/{number}")).await.unwrap() }
    });
    join_all(made).await;
    let victim = (lead + 1) % 3;
    let id = all[victim].namenode().identity().id;
    all.remove(victim).stop().await.unwrap();
    let log = std::fs::read_dir(place.dir(victim).join("log")).unwrap();
    let segment = log
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "seg"))
        .max()
        .unwrap();
    overwrite(&segment, 700, b"\xff\xff");
    let said = refusal(&place, victim).await;
    assert!(said.contains("is damaged at byte") && said.contains("namenodes.md"), "{said}");
    let database = place.dir(victim).join("namespace.db");
    let length = std::fs::metadata(&database).unwrap().len();
    overwrite(&database, length / 4, &vec![0x5a; length as usize / 2]);
    let said = refusal(&place, victim).await;
    // Which page is hit decides whether it can be opened at all.
    assert!(said.contains("namespace database") && said.contains("namenodes.md"), "{said}");

    std::fs::remove_dir_all(place.dir(victim)).unwrap();
    let replaced = place.start(victim).await;
    assert_ne!(replaced.namenode().identity().id, id);
    all.insert(victim, replaced);
    complete(&all.iter().map(Running::namenode).collect::<Vec<_>>(), 3).await;
    stop_all(all).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_moved_is_found_at_its_new_address() {
    let mut place = Place::new(3);
    let mut all = place.group().await;
    let leads = leader(&all.iter().map(Running::namenode).collect::<Vec<_>>()).await;
    let moves = (leads + 1) % 3;
    let id = all[moves].namenode().identity().id;
    all.remove(moves).stop().await.unwrap();
    let elsewhere = Place::new(1);
    place.addresses[moves] = elsewhere.addresses[0].clone();
    all.push(place.start(moves).await);
    let address_of = |namenode: &Namenode| {
        let members = namenode.members();
        members.into_iter().find(|member| member.id == id).map(|member| member.address)
    };
    for running in &all {
        let namenode = running.namenode();
        until("the new address", || async {
            let listed = namenode.namenode_addresses().contains(&place.addresses[moves]);
            (address_of(namenode).as_ref() == Some(&place.addresses[moves]) && listed).then_some(())
        })
        .await;
    }
    stop_all(all).await;
}
