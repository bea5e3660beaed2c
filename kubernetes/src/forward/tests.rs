use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use http::{Request, Response, StatusCode};
use kube::client::Body;

use super::*;

fn cluster() -> ClusterName {
    ClusterName::new("prod", "main")
}

/// An API server that answers every request like this.
fn server(status: StatusCode, message: &'static str) -> Client {
    let answer = service_fn(move |_: Request<Body>| async move {
        let said = serde_json::json!({
            "kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": status.as_u16(),
        });
        let mut response = Response::new(Body::from(said.to_string().into_bytes()));
        *response.status_mut() = status;
        Ok::<_, Infallible>(response)
    });
    Client::new(answer, "prod")
}

#[test]
fn addresses_of_the_clusters_own_pods_are_taken_apart() {
    let name = cluster();
    for address in name.namenode_addresses(3) {
        let (pod, port) = target(&name, &address).unwrap();
        assert!(pod.starts_with("main-namenode-"), "{pod}");
        assert_eq!(port, 9000);
    }
    let pod = name.datanode_pod("hot", 12);
    assert_eq!(target(&name, &name.datanode_address(&pod)).unwrap(), (pod.clone(), 9001));
    let absolute = format!("{}.cluster.local:9864", name.datanode_host(&pod));
    assert_eq!(target(&name, &absolute).unwrap(), (pod, 9864));
}

#[test]
fn nothing_else_is_reached() {
    let name = cluster();
    for address in [
        "",
        "localhost:9000",
        "10.0.0.1:9000",
        "main.prod.svc:9000",
        "main-namenode-0.main-namenode.prod.svc",
        "main-namenode-0.main-namenode.prod.svc:0",
        "main-namenode-0.main-namenode.prod.svc:65536",
        "main-namenode-0.main-namenode.prod.svc:http",
        // Another namespace, another cluster, another Service.
        "main-namenode-0.main-namenode.test.svc:9000",
        "mine-namenode-0.mine-namenode.prod.svc:9000",
        "main-namenode-0-namenode-0.main-namenode.prod.svc:9000",
        "main-namenode-0.main-datanode.prod.svc:9000",
        "main-datanode-hot-0.main-namenode.prod.svc:9001",
        "main-datanode-hot-0.other.prod.svc:9001",
        "main-datanode-0.main-datanode.prod.svc:9001",
        "main-namenode-x.main-namenode.prod.svc:9000",
        "vault-0.main-datanode.prod.svc:8200",
    ] {
        let error = target(&name, address).unwrap_err();
        assert_eq!(error, ForwardError::Foreign { address: address.to_owned(), cluster: name.clone() });
        assert!(error.to_string().contains("prod/main"), "{error}");
    }
}

#[tokio::test]
async fn what_the_api_server_refuses_is_said_in_words() {
    let address = &cluster().namenode_addresses(1)[0];
    for (status, message, expected) in [
        (StatusCode::NOT_FOUND, "pods not found", "there is no pod 'main-namenode-0' at present"),
        (
            StatusCode::FORBIDDEN,
            "user may not",
            "forwarding to pod 'main-namenode-0' is forbidden (user may not): ask for the verb 'create' on \
             'pods/portforward'",
        ),
        (
            StatusCode::BAD_REQUEST,
            "pod has no host",
            "forwarding to pod 'main-namenode-0' failed: pod has no host",
        ),
    ] {
        let forward = Forward::new(server(status, message), cluster());
        assert_eq!(forward.open(address).await.unwrap_err().to_string(), expected);
    }
}

#[tokio::test]
async fn a_client_says_why_it_cannot_connect() {
    let forward = Forward::builder(server(StatusCode::FORBIDDEN, "user may not"), &cluster(), 1, None);
    let error =
        forward.user("ann").call_budget(std::time::Duration::from_millis(100)).connect().await.unwrap_err();
    assert_eq!(error.code, dfs_types::ErrorCode::Unavailable);
    assert!(error.message.contains("pods/portforward"), "{error}");
}

#[tokio::test]
async fn the_pod_that_is_known_to_lead_is_asked_first() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    let answer = service_fn(move |request: Request<Body>| {
        seen.lock().unwrap().push(request.uri().path().to_owned());
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        async move { Ok::<_, Infallible>(response) }
    });
    let (client, name) = (Client::new(answer, "prod"), cluster());
    for (leader, first) in [(Some("main-namenode-2"), 2), (Some("stranger"), 0), (None, 0)] {
        asked.lock().unwrap().clear();
        let builder = Forward::builder(client.clone(), &name, 3, leader).user("ann");
        builder.call_budget(std::time::Duration::from_millis(300)).connect().await.unwrap_err();
        let asked = asked.lock().unwrap();
        assert!(asked[0].contains(&format!("/main-namenode-{first}/")), "{leader:?}: {asked:?}");
    }
}
