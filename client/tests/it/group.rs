//! What each NameNode of a fake group does with its calls before they reach the namespace, which all of them share.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use dfs_proto::convert::{set_applied, to_status, with_leader};
use dfs_proto::v1;
use dfs_types::{ErrorCode, FsError};
use futures_util::stream::{self, BoxStream, StreamExt as _};
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::metadata::MetadataMap;
use tonic::server::NamedService;
use tonic::{Request, Response, Status};

/// How a member behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mode {
    Leads,
    /// Refuses what only a leader may answer, and perhaps knows who that is.
    Follows(Option<String>),
    /// Takes calls and never answers, as a process that is stopped.
    Hangs,
    /// Does what it is asked and never answers.
    Swallows,
}

/// One NameNode of the group.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) id: u64,
    pub(crate) address: String,
    pub(crate) mode: Mutex<Mode>,
    /// The log index it has applied; answers carry it.
    pub(crate) applied: Mutex<u64>,
    /// Calls by method.
    pub(crate) calls: Mutex<BTreeMap<String, u32>>,
    /// The index that each read asked for; `None` asks for the leader.
    pub(crate) reads: Mutex<Vec<Option<u64>>>,
    /// Connections it took.
    pub(crate) connections: Arc<Mutex<u32>>,
}

impl Member {
    pub(crate) fn set(&self, mode: Mode) {
        *self.mode.lock().unwrap() = mode;
    }

    pub(crate) fn mode(&self) -> Mode {
        self.mode.lock().unwrap().clone()
    }

    pub(crate) fn calls(&self, method: &str) -> u32 {
        self.calls.lock().unwrap().get(method).copied().unwrap_or(0)
    }

    fn not_leader(leader: Option<&str>) -> Status {
        let status = to_status(FsError::new(ErrorCode::NotLeader, "another one leads"));
        leader.map_or(status.clone(), |leader| with_leader(status, leader))
    }

    /// Whether this member may answer a read with this context.
    pub(crate) fn check_read(&self, context: Option<v1::Context>) -> Result<(), Status> {
        let at = context.unwrap().follower_read_at;
        self.reads.lock().unwrap().push(at);
        match (self.mode(), at) {
            (Mode::Follows(leader), at) if at.is_none_or(|at| at > *self.applied.lock().unwrap()) => {
                Err(Self::not_leader(leader.as_deref()))
            }
            _ => Ok(()),
        }
    }
}

/// Stands before a service of one member.
#[derive(Debug, Clone)]
pub(crate) struct Gate<S> {
    pub(crate) inner: S,
    pub(crate) member: Arc<Member>,
}

impl<S: NamedService> NamedService for Gate<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for Gate<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let mut inner = self.inner.clone();
        let member = Arc::clone(&self.member);
        Box::pin(async move {
            let method = request.uri().path().rsplit('/').next().unwrap().to_owned();
            *member.calls.lock().unwrap().entry(method.clone()).or_default() += 1;
            // Reads carry what decides in their message; the list is everybody's to tell.
            let by_leader = !matches!(method.as_str(), "Stat" | "Locate" | "List");
            let mut response = match member.mode() {
                Mode::Hangs => std::future::pending().await,
                Mode::Swallows => {
                    inner.call(request).await?;
                    std::future::pending().await
                }
                Mode::Follows(leader) if by_leader => Member::not_leader(leader.as_deref()).into_http(),
                Mode::Follows(_) | Mode::Leads => inner.call(request).await?,
            };
            let mut metadata = MetadataMap::new();
            set_applied(&mut metadata, *member.applied.lock().unwrap());
            response.headers_mut().extend(metadata.into_headers());
            Ok(response)
        })
    }
}

/// What the group's administrators see and do.
#[derive(Debug, Clone)]
pub(crate) struct Administration {
    pub(crate) member: Arc<Member>,
    pub(crate) members: Arc<Mutex<Vec<Arc<Member>>>>,
    /// What a backup sends; with an empty part it then falls silent.
    pub(crate) backup: Arc<Mutex<Vec<Result<v1::BackupPart, Status>>>>,
}

impl Administration {
    fn list(&self) -> v1::NamenodesReply {
        let role = |member: &Member| match member.mode() {
            Mode::Leads => v1::MemberRole::Leader,
            Mode::Follows(_) => v1::MemberRole::Follower,
            Mode::Hangs | Mode::Swallows => v1::MemberRole::Unreachable,
        };
        let members = self.members.lock().unwrap();
        let members = members.iter().map(|member| v1::NamenodeMember {
            id: member.id,
            address: member.address.clone(),
            pid: 0,
            role: role(member).into(),
            term: 7,
            applied: *member.applied.lock().unwrap(),
            lag: 0,
            note: String::new(),
            level: 1,
            release: "1.0.0".to_owned(),
        });
        v1::NamenodesReply { members: members.collect() }
    }
}

#[tonic::async_trait]
impl v1::namenodes_server::Namenodes for Administration {
    type BackupStream = BoxStream<'static, Result<v1::BackupPart, Status>>;

    async fn list(&self, _: Request<v1::NamenodesRequest>) -> Result<Response<v1::NamenodesReply>, Status> {
        Ok(Response::new(self.list()))
    }

    async fn transfer_leader(
        &self,
        request: Request<v1::TransferLeaderRequest>,
    ) -> Result<Response<v1::TransferLeaderReply>, Status> {
        let to = request.into_inner().to;
        let members = self.members.lock().unwrap();
        let chosen =
            members.iter().find(|member| if to == 0 { member.id != self.member.id } else { member.id == to });
        let Some(chosen) = chosen else {
            return Err(to_status(FsError::new(ErrorCode::NotFound, "no such member")));
        };
        for member in members.iter() {
            let leads = member.id == chosen.id;
            member.set(if leads { Mode::Leads } else { Mode::Follows(Some(chosen.address.clone())) });
        }
        Ok(Response::new(v1::TransferLeaderReply { leader: chosen.id }))
    }

    async fn remove(
        &self,
        request: Request<v1::RemoveNamenodeRequest>,
    ) -> Result<Response<v1::NamenodesReply>, Status> {
        let id = request.into_inner().id;
        self.members.lock().unwrap().retain(|member| member.id != id);
        Ok(Response::new(self.list()))
    }

    async fn get_upgrade(&self, _: Request<v1::GetUpgradeRequest>) -> Result<Response<v1::Upgrade>, Status> {
        Err(Status::unimplemented("not in these tests"))
    }

    async fn finalize_upgrade(
        &self,
        _: Request<v1::FinalizeUpgradeRequest>,
    ) -> Result<Response<v1::Upgrade>, Status> {
        Err(Status::unimplemented("not in these tests"))
    }

    async fn backup(&self, _: Request<v1::BackupRequest>) -> Result<Response<Self::BackupStream>, Status> {
        let parts = self.backup.lock().unwrap().clone();
        let sent = stream::iter(parts).flat_map(|part| match part {
            Ok(v1::BackupPart { kind: None }) => stream::pending().boxed(),
            part => stream::iter([part]).boxed(),
        });
        Ok(Response::new(sent.boxed()))
    }
}
