//! What the leader does with the trash by itself.

use dfs_types::trash::CURRENT;
use dfs_types::{LimitChange, Mode, Removed};
use tempfile::tempdir;

use crate::support::{caller, fresh, nodes, origin, path, until};

const DAY: LimitChange = LimitChange::Set(24 * 60 * 60 * 1_000);

#[tokio::test]
async fn nearly_full_datanodes_cost_checkpoints_and_nothing_else() {
    let dir = tempdir().unwrap();
    let running = fresh(&dir.path().join("nn"), &[]).await;
    let namenode = running.namenode();
    let mut nodes = nodes(namenode, 3).await;
    for at in ["/old", "/new"] {
        namenode.mkdir(origin(), path(at), Mode::DIRECTORY, false).await.unwrap();
    }
    let Removed::Trashed(old) = namenode.move_to_trash(origin(), path("/old"), true, None).await.unwrap()
    else {
        panic!("it is not in the trash")
    };
    let current = old.parent().unwrap();
    let root = current.parent().unwrap();
    // As Hadoop's shell does it, which need not wait for the leader.
    namenode.rename(origin(), current, root.join("251201144039").unwrap(), false).await.unwrap();
    namenode.move_to_trash(origin(), path("/new"), true, None).await.unwrap();
    let names = || async {
        let (entries, _) = namenode.list(&caller("root"), &root, None, 0).await.unwrap();
        entries.into_iter().map(|(name, _)| name).collect::<Vec<_>>()
    };
    assert_eq!(names().await, ["251201144039", CURRENT]);

    for node in &mut nodes {
        node.stats.volumes[0].available = 1 << 30;
        node.heartbeat(namenode).await;
    }
    // Lets the leader look at once.
    namenode.set_trash(origin(), path("/"), DAY).await.unwrap();
    until("the checkpoint is emptied", || async { (names().await == [CURRENT]).then_some(()) }).await;
    // What was only just removed stays, and comes back.
    namenode.set_trash(origin(), path("/"), DAY).await.unwrap();
    namenode
        .rename(origin(), root.join(CURRENT).unwrap().join("new").unwrap(), path("/new"), false)
        .await
        .unwrap();
    running.stop().await.unwrap();
}
