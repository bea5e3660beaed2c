//! Settings of the cluster: what the umask and the precision of access times do.

use dfs_namenode::api::Namenode;
use dfs_namenode::api::writing::NewFile;
use dfs_types::{ClusterSetting, ErrorCode, Millis, Mode};
use tempfile::tempdir;

use crate::group::Place;
use crate::support::{
    HOLDER, caller, create, fresh, nodes, origin, origin_of, path, put, start, until, writable,
};

const UMASK: ClusterSetting = ClusterSetting::Umask;
const PRECISION: ClusterSetting = ClusterSetting::AccessTimePrecision;

async fn mode(namenode: &Namenode, at: &str) -> u32 {
    namenode.stat(&caller("root"), &path(at)).await.unwrap().mode.bits()
}

#[tokio::test]
async fn nothing_that_is_made_gets_bits_of_the_umask() {
    let dir = tempdir().unwrap();
    let running = fresh(&dir.path().join("nn"), &[]).await;
    let namenode = running.namenode();
    let refused = namenode.set_setting(origin_of("ann"), UMASK, Some(0o27)).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::PermissionDenied);
    assert_eq!(
        namenode.set_setting(origin(), UMASK, Some(0o1000)).await.unwrap_err().code,
        ErrorCode::InvalidArgument
    );
    let all = Mode::new(0o1777).unwrap();
    let file = |at: &str| NewFile {
        path: path(at),
        holder: HOLDER.to_owned(),
        mode: all.into(),
        replication: None,
        chunk_size: None,
        overwrite: false,
        parents: true,
        temporary: false,
    };
    namenode.mkdir(origin(), path("/before"), all, true).await.unwrap();
    let settings = namenode.set_setting(origin(), UMASK, Some(0o27)).await.unwrap();
    assert_eq!(settings.get(UMASK), Some(0o27));
    namenode.mkdir(origin(), path("/a/b"), all, true).await.unwrap();
    namenode.create(origin(), file("/c/f")).await.unwrap();
    for (at, bits) in [("/before", 0o1777), ("/a", 0o750), ("/a/b", 0o1750), ("/c", 0o750), ("/c/f", 0o1750)]
    {
        assert_eq!(mode(namenode, at).await, bits, "{at}");
    }
    namenode.set_mode(origin(), path("/a/b"), all).await.unwrap();
    assert_eq!(mode(namenode, "/a/b").await, 0o1777, "who asks for it later gets it");
    running.stop().await.unwrap();

    let running = start(&dir.path().join("nn"), &[]).await.unwrap();
    let namenode = running.namenode();
    writable(namenode).await;
    namenode.mkdir(origin(), path("/kept"), all, true).await.unwrap();
    assert_eq!(mode(namenode, "/kept").await, 0o1750);
    namenode.set_setting(origin(), UMASK, None).await.unwrap();
    namenode.mkdir(origin(), path("/reset"), all, true).await.unwrap();
    assert_eq!(mode(namenode, "/reset").await, 0o1777);
    running.stop().await.unwrap();
}

const OLD: Millis = Millis(1_000);

async fn atime(namenode: &Namenode, at: &str) -> Millis {
    namenode.stat(&caller("root"), &path(at)).await.unwrap().atime
}

/// Asks where a file is, as who reads it does.
async fn read(namenode: &Namenode, at: &str) {
    namenode.locate(&caller("root"), &path(at), 0, 1, None).await.unwrap();
}

async fn make_old(namenode: &Namenode, at: &str) {
    namenode.set_times(origin(), path(at), Some(Millis(7)), Some(OLD)).await.unwrap();
}

#[tokio::test]
async fn access_times_move_once_in_the_precision_and_never_by_default() {
    let dir = tempdir().unwrap();
    let running = fresh(&dir.path().join("nn"), &[]).await;
    let namenode = running.namenode();
    let mut datanodes = nodes(namenode, 3).await;
    for at in ["/f", "/later"] {
        put(namenode, &mut datanodes, at, 4).await;
        make_old(namenode, at).await;
    }
    read(namenode, "/f").await;
    namenode.set_setting(origin(), PRECISION, Some(3_600_000)).await.unwrap();
    // The edit for a file that is read later comes after all that were noted before.
    read(namenode, "/later").await;
    until("the access time", || async { (atime(namenode, "/later").await > OLD).then_some(()) }).await;
    assert_eq!(atime(namenode, "/f").await, OLD, "it was read while reading set nothing");

    read(namenode, "/f").await;
    until("the access time", || async { (atime(namenode, "/f").await > OLD).then_some(()) }).await;
    let status = namenode.stat(&caller("root"), &path("/f")).await.unwrap();
    assert_eq!(status.mtime, Millis(7), "nothing else changes");
    make_old(namenode, "/later").await;
    read(namenode, "/f").await;
    read(namenode, "/later").await;
    until("the access time", || async { (atime(namenode, "/later").await > OLD).then_some(()) }).await;
    assert_eq!(atime(namenode, "/f").await, status.atime, "it is not older than the precision");

    namenode.set_setting(origin(), PRECISION, Some(0)).await.unwrap();
    make_old(namenode, "/f").await;
    read(namenode, "/f").await;
    namenode.mkdir(origin(), path("/after"), Mode::DIRECTORY, false).await.unwrap();
    assert_eq!(atime(namenode, "/f").await, OLD);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_reads_without_setting_access_times_and_sets_them_when_it_leads() {
    let place = Place::new(3);
    let all = place.group().await;
    let lead = until("a leader", || async { all.iter().position(|nn| nn.namenode().term().1) }).await;
    let leader = all[lead].namenode();
    writable(leader).await;
    create(leader, "/f", HOLDER).await.unwrap();
    make_old(leader, "/f").await;
    leader.set_setting(origin(), PRECISION, Some(3_600_000)).await.unwrap();
    let applied = leader.applied();
    let follower = all[(lead + 1) % 3].namenode();
    until("the follower", || async { (follower.applied() >= applied).then_some(()) }).await;
    assert_eq!(follower.cluster_settings(), leader.cluster_settings());
    until("the follower to read", || async {
        follower.locate(&caller("root"), &path("/f"), 0, 1, None).await.ok()
    })
    .await;
    leader.mkdir(origin(), path("/after"), Mode::DIRECTORY, false).await.unwrap();
    assert_eq!(atime(leader, "/f").await, OLD);

    let to = follower.group_status().borrow().id;
    leader.transfer_leader(&caller("root"), to).await.unwrap();
    until("the other leader", || async { follower.term().1.then_some(()) }).await;
    writable(follower).await;
    // What it notes before its duties begin is forgotten: it is read again.
    until("the access time", || async {
        read(follower, "/f").await;
        (atime(follower, "/f").await > OLD).then_some(())
    })
    .await;
    for running in all {
        running.stop().await.unwrap();
    }
}
