//! Finding the NameNode, trying again.

use std::time::Duration;

use dfs_client::{CreateOptions, Dfs};
use dfs_types::ErrorCode;
use futures_util::TryStreamExt as _;
use tokio::net::TcpListener;

use crate::fake::{Cluster, path};

#[tokio::test]
async fn an_unreachable_namenode_is_a_clear_error_and_no_wait() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let refused = closed.local_addr().unwrap().to_string();
    drop(closed);
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mute = silent.local_addr().unwrap().to_string();
    let connecting = async { tokio::join!(Dfs::connect(&refused), Dfs::connect(&mute)) };
    let (one, other) = tokio::time::timeout(Duration::from_mins(1), connecting).await.expect("it gives up");
    for (address, result) in [(refused, one), (mute, other)] {
        let error = result.unwrap_err();
        assert_eq!(error.code, ErrorCode::Unavailable);
        assert!(error.message.contains(&address) && error.message.contains("check the address"), "{error}");
    }
}

#[tokio::test]
async fn a_bad_address_is_refused_at_once() {
    let error = Dfs::connect("not an address").await.unwrap_err();
    assert_eq!(error.code, ErrorCode::InvalidArgument);
    assert_eq!(Dfs::builder().connect().await.unwrap_err().code, ErrorCode::InvalidArgument);
}

#[tokio::test]
async fn the_leader_is_found_among_several() {
    let cluster = Cluster::start_group(0, 2).await;
    cluster.elect(1, false);
    let dfs = Dfs::builder()
        .namenode("127.0.0.1:1")
        .namenode(&cluster.members[0].address)
        .namenode(&cluster.members[1].address)
        .connect()
        .await
        .unwrap();
    assert!(!dfs.exists(&path("/none")).await.unwrap());
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_again_with_the_same_request_id() {
    let cluster = Cluster::start(3).await;
    let dfs = cluster.connect().await;
    cluster.names.lock().unwrap().lose_create_answers = 2;
    let writer = dfs.create(&path("/a"), CreateOptions::default()).await.unwrap();
    writer.close().await.unwrap();
    let names = cluster.names.lock().unwrap();
    assert_eq!(names.create_calls.len(), 3);
    assert!(names.create_calls.iter().all(|call| *call == names.create_calls[0]));
}

#[tokio::test]
async fn lasting_errors_are_not_tried_again() {
    let cluster = Cluster::start(3).await;
    let dfs = cluster.connect().await;
    dfs.create(&path("/a"), CreateOptions::default()).await.unwrap().close().await.unwrap();
    let again = dfs.create(&path("/a"), CreateOptions::default()).await;
    assert_eq!(again.unwrap_err().code, ErrorCode::AlreadyExists);
    assert_eq!(cluster.names.lock().unwrap().create_calls.len(), 2);
}

#[tokio::test]
async fn a_listing_goes_through_all_pages() {
    let cluster = Cluster::start(3).await;
    let dfs = cluster.connect().await;
    for name in ["/a", "/b", "/c", "/d", "/e"] {
        dfs.create(&path(name), CreateOptions::default()).await.unwrap().close().await.unwrap();
    }
    let entries: Vec<_> = dfs.list(&path("/")).try_collect().await.unwrap();
    let names: Vec<_> = entries.iter().map(|entry| entry.name.as_str()).collect();
    assert_eq!(names, ["a", "b", "c", "d", "e"]);
}
