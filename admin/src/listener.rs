//! The admin listener: health for machines and connect pages for people, without a token. It answers only under its own
//! name, so that a page elsewhere cannot reach it through a name that points here.

use std::io;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use model::{Authority, ConnectionName, Host};
use tokio::net::TcpListener;

use crate::desk::Controls;
use crate::{metrics, pages};

/// What the listener needs.
#[derive(Clone)]
pub struct Listener {
    /// The running process.
    pub controls: Arc<dyn Controls>,
    /// Hosts it may be called by besides loopback and its own address, as in `--public-url`.
    pub hosts: Arc<Vec<Host>>,
}

/// Serves until `stop` ends.
///
/// # Errors
/// When the listener fails.
pub async fn serve_listener(
    listener: TcpListener,
    parts: Listener,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let own = listener.local_addr()?.ip();
    let mut hosts = parts.hosts.to_vec();
    hosts.push(Host::Ip(own));
    let guard = Arc::new(hosts);
    let routes = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/connect/{name}", get(connect))
        .with_state(parts)
        .layer(from_fn_with_state(guard, only_own_names));
    axum::serve(listener, routes).with_graceful_shutdown(stop).await
}

/// A foreign `Host` means that some page elsewhere had its name point here (DNS rebinding).
async fn only_own_names(State(hosts): State<Arc<Vec<Host>>>, request: Request, next: Next) -> Response {
    let named = request.headers().get(header::HOST).and_then(|value| value.to_str().ok());
    let named = named.and_then(|text| Authority::parse_with_default(text, 80).ok());
    if !named.is_some_and(|named| is_own(named.host(), &hosts)) {
        return (
            StatusCode::MISDIRECTED_REQUEST,
            "This is postern's admin listener; it does not answer to that name.\n",
        )
            .into_response();
    }
    let mut response = next.run(request).await;
    for (name, value) in pages::PROTECTION {
        response.headers_mut().insert(name, header::HeaderValue::from_static(value));
    }
    response
}

fn is_own(named: &Host, hosts: &[Host]) -> bool {
    match named {
        Host::Ip(ip) if ip.is_loopback() => true,
        Host::Name(name) if name.as_str() == "localhost" => true,
        other => hosts.contains(other),
    }
}

async fn readyz(State(parts): State<Listener>) -> Response {
    let status = parts.controls.status();
    if status.ready {
        return "ready\n".into_response();
    }
    let why = if status.draining { "draining\n" } else { "not ready\n" };
    (StatusCode::SERVICE_UNAVAILABLE, why).into_response()
}

async fn metrics(State(parts): State<Listener>) -> Response {
    match metrics::text(&parts.controls.status()) {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn connect(State(parts): State<Listener>, Path(name): Path<String>) -> Response {
    let status = parts.controls.status();
    let known =
        ConnectionName::parse(&name).ok().filter(|name| status.connections.iter().any(|row| row.id == name.as_str()));
    match known {
        Some(name) => Html(pages::connect(name.as_str())).into_response(),
        None => (StatusCode::NOT_FOUND, Html(pages::unknown())).into_response(),
    }
}
