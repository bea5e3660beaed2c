//! Whose groups count: over the ports, as clients come.

use std::path::Path;

use dfs_namenode::run::Running;
use dfs_proto::convert::from_status;
use dfs_proto::v1;
use dfs_proto::v1::admin_client::AdminClient;
use dfs_proto::v1::namespace_client::NamespaceClient;
use dfs_types::ErrorCode;
use tempfile::tempdir;
use tonic::transport::Channel;

use crate::support::{fresh, get, start, until};

/// A request of a user who says that he is in every group there is.
#[allow(clippy::unnecessary_wraps, reason = "the field it is for is optional")]
fn context(user: &str, call: u64) -> Option<v1::Context> {
    let groups = vec!["supergroup".to_owned(), "staff".to_owned()];
    Some(v1::Context {
        follower_read_at: None,
        id: Some(v1::RequestId { client: vec![6; 16], call, lowest_unanswered: 0 }),
        caller: Some(v1::Caller { user: user.to_owned(), groups }),
    })
}

fn mkdir(user: &str, call: u64, path: &str) -> v1::MkdirRequest {
    v1::MkdirRequest {
        context: context(user, call),
        path: path.to_owned(),
        mode: 0o770,
        parents: false,
        unmasked: None,
    }
}

async fn connect(running: &Running) -> (NamespaceClient<Channel>, AdminClient<Channel>) {
    let url = format!("http://{}", running.addresses().rpc);
    (NamespaceClient::connect(url.clone()).await.unwrap(), AdminClient::connect(url).await.unwrap())
}

fn denied<T: std::fmt::Debug>(answer: Result<T, tonic::Status>) {
    assert_eq!(from_status(&answer.unwrap_err()).code, ErrorCode::PermissionDenied);
}

fn groups_flag(file: &Path) -> String {
    format!("--groups=file:{}", file.display())
}

#[tokio::test]
async fn a_claim_counts_only_without_a_file() {
    let dir = tempdir().unwrap();
    let file = dir.path().join("groups");
    std::fs::write(&file, "# of the cluster\nstaff:x:1:ann,bob\nsupergroup:x:2:dan\n").unwrap();
    let running = fresh(&dir.path().join("nn"), &[&groups_flag(&file)]).await;
    let (mut names, mut admin) = connect(&running).await;
    denied(names.mkdir(mkdir("eve", 1, "/eve")).await);
    denied(
        admin
            .set_safe_mode(v1::SetSafeModeRequest {
                context: context("eve", 2),
                action: v1::SafeModeAction::Enter.into(),
            })
            .await,
    );
    names.mkdir(mkdir("dan", 3, "/team")).await.unwrap();
    let chown = v1::SetOwnerRequest {
        context: context("dan", 4),
        path: "/team".to_owned(),
        owner: None,
        group: Some("staff".to_owned()),
    };
    names.set_owner(chown).await.unwrap();
    // The group's permission, for changes and for reads.
    let list = |user: &str| v1::ListRequest {
        context: context(user, 0),
        path: "/team".to_owned(),
        start_after: String::new(),
        limit: 0,
    };
    names.mkdir(mkdir("ann", 5, "/team/a")).await.unwrap();
    names.list(list("bob")).await.unwrap();
    denied(names.mkdir(mkdir("eve", 6, "/team/e")).await);
    denied(names.list(list("eve")).await);

    let asked = v1::GetGroupsRequest { context: context("eve", 0), users: vec!["ann".into(), "eve".into()] };
    let reply = admin.get_groups(asked).await.unwrap().into_inner();
    let user = |user: &str, groups: &[&str]| v1::UserGroups {
        user: user.to_owned(),
        known: true,
        groups: groups.iter().map(|&group| group.to_owned()).collect(),
    };
    assert_eq!(reply.users, [user("ann", &["staff"]), user("eve", &[])]);
    let of_himself = v1::GetGroupsRequest { context: context("dan", 0), users: vec![] };
    let reply = admin.get_groups(of_himself).await.unwrap().into_inner();
    assert_eq!(reply.users, [user("dan", &["supergroup"])]);
    let super_request = v1::GetSuperusersRequest { context: context("eve", 0) };
    let superusers = admin.get_superusers(super_request).await.unwrap().into_inner();
    assert_eq!((superusers.user.as_str(), &superusers.members[..]), ("root", &["dan".to_owned()][..]));
    for users in [vec!["a:b".to_owned()], vec!["x".to_owned(); 33]] {
        let bad = admin.get_groups(v1::GetGroupsRequest { context: context("eve", 0), users }).await;
        assert_eq!(from_status(&bad.unwrap_err()).code, ErrorCode::InvalidArgument);
    }
    running.stop().await.unwrap();

    let running = fresh(&dir.path().join("other"), &[]).await;
    let (mut names, mut admin) = connect(&running).await;
    names.mkdir(mkdir("eve", 7, "/eve")).await.unwrap();
    let asked = v1::GetGroupsRequest { context: context("eve", 0), users: vec!["ann".into(), "eve".into()] };
    let reply = admin.get_groups(asked).await.unwrap().into_inner();
    assert_eq!((reply.users[0].known, reply.users[1].groups.len()), (false, 2));
    assert_eq!(reply.origin.unwrap().source, "caller");
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_file_that_changes_is_read_and_a_wrong_one_is_told() {
    let dir = tempdir().unwrap();
    let file = dir.path().join("groups");
    let put = |text: &str| {
        let draft = dir.path().join("groups.new");
        std::fs::write(&draft, text).unwrap();
        std::fs::rename(draft, &file).unwrap();
    };
    put("staff");
    let error = start(&dir.path().join("nn"), &[&groups_flag(&file)]).await.unwrap_err().to_string();
    assert!(error.contains("line 1") && error.contains("--groups caller"), "{error}");

    put("staff:x:1:ann\n");
    let running = fresh(&dir.path().join("nn"), &[&groups_flag(&file)]).await;
    let (mut names, _) = connect(&running).await;
    denied(names.mkdir(mkdir("eve", 1, "/eve")).await);
    put("supergroup:x:1:eve\n");
    until("the new file", || async {
        names.clone().mkdir(mkdir("eve", 2, "/eve")).await.ok().map(|_made| ())
    })
    .await;
    let http = running.addresses().http;
    let stale = |value: u8| {
        let line = format!("\ndfs_namenode_groups_stale {value}\n");
        async move { get(http, "/metrics").await.contains(&line).then_some(()) }
    };
    until("the gauge", || stale(0)).await;
    put("supergroup:x:1\n");
    until("the gauge", || stale(1)).await;
    names.mkdir(mkdir("eve", 3, "/still")).await.unwrap();
    put("staff:x:1:eve\n");
    until("the gauge", || stale(0)).await;
    denied(names.mkdir(mkdir("eve", 4, "/no-more")).await);
    running.stop().await.unwrap();
}
