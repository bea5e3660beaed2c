//! Conversions between wire messages and the API's values.

use dfs_daemon::accept::Info;
use dfs_proto::convert;
use dfs_proto::v1;
use dfs_types::{Caller, Endpoint, ErrorCode, FsError, FsResult, NodeId, RequestId};

use crate::api::{Namenode, Origin};
use crate::store::edit::Extent;

/// Implements a generated service trait by methods of the same names that take a message and its peer, and
/// answer an [`FsResult`].
macro_rules! unary {
    (impl $trait:path { $($name:ident: $request:ident -> $reply:ident,)* } $($rest:tt)*) => {
        #[tonic::async_trait]
        impl $trait for Service {
            $(
                async fn $name(
                    &self,
                    request: tonic::Request<dfs_proto::v1::$request>,
                ) -> Result<tonic::Response<dfs_proto::v1::$reply>, tonic::Status> {
                    let peer = $crate::serve::wire::peer(&request);
                    let answer = Service::$name(self, request.into_inner(), peer).await;
                    let mut response =
                        tonic::Response::new($crate::serve::wire::admitted(&self.0, answer)?);
                    $crate::serve::wire::sign(&self.0, response.metadata_mut());
                    Ok(response)
                }
            )*
            $($rest)*
        }
    };
}
pub(super) use unary;

/// The peer's IP address as text, the way DataNodes write theirs.
pub(super) fn peer<T>(request: &tonic::Request<T>) -> Option<String> {
    let connection = request.extensions().get::<Info>();
    connection.map(|connection| connection.peer().ip().to_canonical().to_string())
}

/// Notes beside an answer whose it is, and how much this NameNode had applied.
pub(super) fn sign(namenode: &Namenode, metadata: &mut tonic::metadata::MetadataMap) {
    convert::set_applied(metadata, namenode.applied());
    convert::set_cluster(metadata, namenode.cluster());
}

/// The answer, or its error; that this NameNode does not lead comes with the leader's address.
pub(super) fn admitted<T>(namenode: &Namenode, answer: FsResult<T>) -> Result<T, tonic::Status> {
    answer.map_err(|error| {
        let leader = if error.code == ErrorCode::NotLeader { namenode.leader_address() } else { None };
        let mut status = convert::to_status(error);
        sign(namenode, status.metadata_mut());
        match leader {
            Some(leader) => convert::with_leader(status, &leader),
            None => status,
        }
    })
}

/// Who asks, as he is believed to be, and by which request.
fn identified(namenode: &Namenode, context: Option<v1::Context>) -> FsResult<(Option<RequestId>, Caller)> {
    let (request, claim) = convert::context(context)?;
    Ok((request, namenode.identify(claim)))
}

/// Who reads; only where it may be read now.
pub(super) async fn reader(namenode: &Namenode, context: Option<v1::Context>) -> FsResult<Caller> {
    let follower_read_at = context.as_ref().and_then(|context| context.follower_read_at);
    let (_, caller) = identified(namenode, context)?;
    namenode.admit(follower_read_at).await?;
    Ok(caller)
}

/// Who changes something, by which request; only at the leader.
pub(super) async fn origin(namenode: &Namenode, context: Option<v1::Context>) -> FsResult<Origin> {
    let (request, caller) = identified(namenode, context)?;
    if request.is_none() {
        return Err(FsError::invalid("the request lacks 'context.id', which changes need"));
    }
    namenode.admit(None).await?;
    Ok(Origin { request, caller })
}

/// A chunk with version and length that must be there.
pub(super) fn required_extent(wire: Option<v1::ChunkExtent>, name: &str) -> FsResult<Extent> {
    wire.map(Extent::from).ok_or_else(|| FsError::invalid(format!("the request lacks '{name}'")))
}

/// A list of node ids.
pub(super) fn node_ids(ids: &[Vec<u8>]) -> FsResult<Vec<NodeId>> {
    ids.iter().map(|id| convert::node_id(id)).collect()
}

/// The messages for nodes.
pub(super) fn wire_nodes(nodes: Vec<Endpoint>) -> Vec<v1::Node> {
    nodes.into_iter().map(v1::Node::from).collect()
}

/// Reads where a node is.
pub(super) fn node(wire: Option<v1::Node>) -> FsResult<Endpoint> {
    wire.ok_or_else(|| FsError::invalid("the request lacks 'node'"))?.try_into()
}
