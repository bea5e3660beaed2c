//! One of several operators works, the others stand by: who holds the Lease.
//!
//! The holder renews the Lease; the others take it when it was not renewed for as long as it says. Each measures that by its
//! own clock, from the moment it saw the last renewal: clocks of different machines are never compared. The holder gives up
//! before the others may take over, and then ends, so that two never work at once unless one of them stands still
//! between two steps; and then nothing is lost, as whatever is done is applied, not added.

mod decide;

use std::time::Duration;

use dfs_daemon::Shutdown;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info, warn};

pub use decide::{Decision, Record, decide};

/// How long the others wait for a renewal.
pub const DURATION: Duration = Duration::from_secs(15);
/// How long the holder tries to renew before it gives up.
const GIVE_UP: Duration = Duration::from_secs(10);
/// Time between two renewals.
const RENEW: Duration = Duration::from_secs(5);
/// Time between two looks of those who stand by.
const LOOK: Duration = Duration::from_secs(2);
/// Longest that one request may take.
const PATIENCE: Duration = Duration::from_secs(4);

/// Who holds the Lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holder {
    /// This one.
    Own,
    /// Another one.
    Other,
    /// Nobody could tell.
    Unknown,
}

/// One operator that would work.
pub struct Candidate {
    api: Api<Lease>,
    name: String,
    identity: String,
}

impl Candidate {
    /// `identity` tells it from the others, and from itself in another life.
    pub fn new(client: Client, namespace: &str, name: &str, identity: String) -> Self {
        Self { api: Api::namespaced(client, namespace), name: name.to_owned(), identity }
    }

    /// Waits until this one holds the Lease. `false` if it is to stop first.
    pub async fn acquire(&self, shutdown: &Shutdown) -> bool {
        let mut seen: Option<(Record, Instant)> = None;
        loop {
            if self.try_once(&mut seen).await == Holder::Own {
                info!(lease = self.name, identity = self.identity, "this operator works");
                return true;
            }
            tokio::select! {
                () = sleep(LOOK) => {}
                () = shutdown.requested() => return false,
            }
        }
    }

    /// Renews the Lease until it is lost, or until this one is to stop; then it is given back.
    pub async fn hold(&self, shutdown: &Shutdown) {
        let mut seen = None;
        let mut renewed = Instant::now();
        loop {
            tokio::select! {
                () = sleep(RENEW.min(GIVE_UP.saturating_sub(renewed.elapsed()))) => {}
                () = shutdown.requested() => return,
            }
            let left = GIVE_UP.saturating_sub(renewed.elapsed());
            match timeout(left, self.try_once(&mut seen)).await.unwrap_or(Holder::Unknown) {
                Holder::Own => renewed = Instant::now(),
                Holder::Unknown if renewed.elapsed() < GIVE_UP => sleep(LOOK.min(left)).await,
                Holder::Unknown => {
                    warn!(lease = self.name, "the Lease could not be renewed: this operator ends");
                    return;
                }
                // It works already.
                Holder::Other => {
                    warn!(lease = self.name, "another operator holds the Lease: this one ends");
                    return;
                }
            }
        }
    }

    /// Lets another one work at once.
    pub async fn release(&self) {
        let released = timeout(PATIENCE, async {
            let mut lease = self.api.get(&self.name).await?;
            let spec = lease.spec.get_or_insert_default();
            if spec.holder_identity.as_deref() == Some(&self.identity) {
                spec.holder_identity = None;
                spec.renew_time = None;
                self.api.replace(&self.name, &PostParams::default(), &lease).await?;
            }
            Ok::<(), kube::Error>(())
        });
        match released.await {
            Ok(Ok(())) => debug!(lease = self.name, "the Lease is given back"),
            Ok(Err(error)) => warn!(%error, "the Lease could not be given back: others wait for its end"),
            Err(_) => warn!("the Lease was not given back in time: others wait for its end"),
        }
    }

    /// Looks at the Lease and takes or renews it if that is due. Answers who holds it now.
    async fn try_once(&self, seen: &mut Option<(Record, Instant)>) -> Holder {
        match timeout(PATIENCE, self.look_and_act(seen)).await {
            Ok(Ok(holder)) => holder,
            Ok(Err(error)) => {
                warn!(%error, lease = self.name, "the Lease could not be looked at");
                Holder::Unknown
            }
            Err(_) => {
                warn!(lease = self.name, "the API server does not answer about the Lease");
                Holder::Unknown
            }
        }
    }

    async fn look_and_act(&self, seen: &mut Option<(Record, Instant)>) -> Result<Holder, kube::Error> {
        let now = Timestamp::now();
        let Some(lease) = self.api.get_opt(&self.name).await? else {
            let lease = self.claim(None, now);
            return settled(self.api.create(&PostParams::default(), &lease).await);
        };
        let record = Record::of(&lease);
        let since = match seen {
            Some((before, since)) if *before == record => *since,
            Some(_) | None => {
                let since = Instant::now();
                *seen = Some((record.clone(), since));
                since
            }
        };
        match decide(&record, &self.identity, since.elapsed()) {
            Decision::StandBy => Ok(Holder::Other),
            Decision::Take | Decision::Renew => {
                let lease = self.claim(Some(lease), now);
                settled(self.api.replace(&self.name, &PostParams::default(), &lease).await)
            }
        }
    }

    /// The Lease as this one would have it.
    fn claim(&self, lease: Option<Lease>, now: Timestamp) -> Lease {
        let (metadata, before) = match lease {
            Some(lease) => (lease.metadata, lease.spec.unwrap_or_default()),
            None => {
                (ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() }, LeaseSpec::default())
            }
        };
        let mine = before.holder_identity.as_deref() == Some(&self.identity);
        let transitions = before.lease_transitions.unwrap_or(0) + i32::from(!mine);
        let spec = LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: Some(i32::try_from(DURATION.as_secs()).unwrap_or(i32::MAX)),
            acquire_time: if mine { before.acquire_time } else { Some(MicroTime(now)) },
            renew_time: Some(MicroTime(now)),
            lease_transitions: Some(transitions),
            ..before
        };
        Lease { metadata, spec: Some(spec) }
    }
}

/// Whether the write went through; that somebody else was faster is no error, but who it was is not known.
fn settled(result: Result<Lease, kube::Error>) -> Result<Holder, kube::Error> {
    match result {
        Ok(_) => Ok(Holder::Own),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(Holder::Unknown),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use http::{Request, Response};
    use kube::client::Body;
    use serde_json::json;
    use tower::service_fn;

    use super::*;

    /// A candidate whose API server knows this Lease only.
    fn candidate(holder: &'static str) -> Candidate {
        let serve = service_fn(move |_request: Request<Body>| async move {
            let lease = json!({
                "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": { "name": "lease" },
                "spec": { "holderIdentity": holder, "leaseDurationSeconds": 15 },
            });
            Ok::<_, std::convert::Infallible>(Response::new(Body::from(lease.to_string().into_bytes())))
        });
        Candidate::new(Client::new(serve, "default"), "default", "lease", "me".to_owned())
    }

    #[tokio::test(start_paused = true)]
    async fn who_sees_another_holder_ends_at_once() {
        let begun = Instant::now();
        candidate("other").hold(&Shutdown::new()).await;
        assert!(begun.elapsed() <= RENEW, "{:?}", begun.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn who_holds_it_goes_on() {
        let holds = timeout(Duration::from_mins(5), async { candidate("me").hold(&Shutdown::new()).await });
        assert!(holds.await.is_err(), "it is renewed");
    }
}
