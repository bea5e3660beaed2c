//! The HTTP port: `/metrics`, `/livez`, `/readyz`, and whatever the process adds.

use std::sync::{Arc, Mutex, PoisonError};

use crate::Shutdown;
use crate::accept::Incoming;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus::{Encoder, Registry, TextEncoder};

/// Whether the process serves, and if not, what it waits for. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<Mutex<Waiting>>);

#[derive(Debug)]
enum Waiting {
    For(String),
    /// Nothing; what people should know nevertheless.
    Ready(Option<String>),
}

impl Default for Waiting {
    fn default() -> Self {
        Self::For("starting".to_owned())
    }
}

impl Readiness {
    /// The process serves.
    pub fn ready(&self) {
        self.serves(None);
    }

    /// The process serves, and people should know something nevertheless.
    pub fn ready_but(&self, note: impl Into<String>) {
        self.serves(Some(note.into()));
    }

    fn serves(&self, note: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Waiting::Ready(note);
    }

    /// The process does not serve because of `reason`.
    pub fn waiting(&self, reason: impl Into<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Waiting::For(reason.into());
    }

    /// What the process waits for; `None` when it serves.
    pub fn reason(&self) -> Option<String> {
        match &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Waiting::For(reason) => Some(reason.clone()),
            Waiting::Ready(_) => None,
        }
    }

    /// What people should know of a process that serves.
    pub fn note(&self) -> Option<String> {
        match &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Waiting::For(_) => None,
            Waiting::Ready(note) => note.clone(),
        }
    }
}

/// The server of the HTTP port.
#[derive(Debug)]
pub struct Admin {
    routes: Router,
}

#[derive(Clone)]
struct Context {
    registry: Registry,
    readiness: Readiness,
}

impl Admin {
    /// The three standard pages.
    pub fn new(registry: Registry, readiness: Readiness) -> Self {
        let routes = Router::new()
            .route("/metrics", get(metrics))
            .route("/livez", get(|| async { "ok\n" }))
            .route("/readyz", get(ready))
            .with_state(Context { registry, readiness });
        Self { routes }
    }

    /// Adds the process's own pages.
    #[must_use]
    pub fn with_routes(self, routes: Router) -> Self {
        Self { routes: self.routes.merge(routes) }
    }

    /// Serves until a stop is requested.
    pub async fn serve(self, incoming: Incoming, shutdown: Shutdown) -> std::io::Result<()> {
        axum::serve(incoming, self.routes)
            .with_graceful_shutdown(async move { shutdown.requested().await })
            .await
    }
}

async fn ready(State(context): State<Context>) -> impl IntoResponse {
    match context.readiness.reason() {
        None => match context.readiness.note() {
            None => (StatusCode::OK, "ok\n".to_owned()),
            Some(note) => (StatusCode::OK, format!("ok, but {note}\n")),
        },
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}

async fn metrics(State(context): State<Context>) -> impl IntoResponse {
    let mut text = Vec::new();
    match TextEncoder::new().encode(&context.registry.gather(), &mut text) {
        Ok(()) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}
