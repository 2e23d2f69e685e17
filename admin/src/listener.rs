//! The admin listener: health for machines and connect pages for people, without a token. It answers only under its own
//! name, so that a page elsewhere cannot reach it through a name that points here.

use std::io;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use model::config::Connection;
use model::{Authority, ConnectionName, Host};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tokio::net::TcpListener;

use crate::connecting::{Arrival, Departure};
use crate::desk::{Controls, Desk};
use crate::{metrics, pages};

/// The cookie that ties a callback to the browser that began.
const SESSION: &str = "postern_connect";

/// What the listener needs.
#[derive(Clone)]
pub struct Listener {
    /// The desk, for the flows that it began.
    pub desk: Desk,
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
        .route("/connect/{name}/start", get(depart))
        .route("/oauth/callback/{integration}", get(arrive))
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

#[derive(Debug, Deserialize)]
struct WithTicket {
    ticket: Option<String>,
}

async fn connect(State(parts): State<Listener>, Path(name): Path<String>, Query(query): Query<WithTicket>) -> Response {
    let Some(connection) = known(&parts, &name) else {
        return (StatusCode::NOT_FOUND, Html(pages::unknown())).into_response();
    };
    match query.ticket.filter(|ticket| parts.desk.connecting().is_open(ticket, &connection.name)) {
        Some(ticket) => Html(pages::authorise(connection.name.as_str(), &ticket)).into_response(),
        None => Html(pages::connect(connection.name.as_str())).into_response(),
    }
}

fn known(parts: &Listener, name: &str) -> Option<Arc<Connection>> {
    parts.controls.connection(&ConnectionName::parse(name).ok()?)
}

/// The one-time link is used: off to the provider, with a cookie that only this browser has.
async fn depart(State(parts): State<Listener>, Path(name): Path<String>, Query(query): Query<WithTicket>) -> Response {
    let Some(connection) = known(&parts, &name) else {
        return (StatusCode::NOT_FOUND, Html(pages::unknown())).into_response();
    };
    let ticket = query.ticket.unwrap_or_default();
    let public_url = parts.controls.public_url();
    match parts.desk.connecting().depart(&ticket, &connection, parts.controls.broker(), public_url) {
        Ok(Departure { url, session }) => {
            let secure = if public_url.starts_with("https://") { "; Secure" } else { "" };
            let session = session.expose_secret();
            let cookie =
                format!("{SESSION}={session}; Path=/oauth/callback; Max-Age=600; HttpOnly; SameSite=Lax{secure}");
            (StatusCode::SEE_OTHER, [(header::LOCATION, url), (header::SET_COOKIE, cookie)]).into_response()
        }
        Err(error) => (StatusCode::BAD_REQUEST, Html(pages::failed(&error.to_string()))).into_response(),
    }
}

/// The browser comes back from the provider (RFC 6749 §4.1.2).
async fn arrive(
    State(parts): State<Listener>,
    Path(integration): Path<String>,
    Query(pairs): Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Response {
    let only = |name: &str| {
        let mut values = pairs.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str());
        values.next().filter(|_| values.next().is_none())
    };
    let (Some(state), code, error) = (only("state"), only("code"), only("error")) else {
        return (StatusCode::BAD_REQUEST, Html(pages::failed("The provider's answer is not complete.")))
            .into_response();
    };
    let answer = match (code, error) {
        (Some(code), None) => Ok(SecretString::from(code)),
        (None, Some(error)) => Err(format!("{error} {}", only("error_description").unwrap_or_default())),
        _ => {
            return (StatusCode::BAD_REQUEST, Html(pages::failed("The provider's answer is not complete.")))
                .into_response();
        }
    };
    let session = session(&headers);
    let arrival = Arrival { integration: &integration, state, session: session.as_deref(), answer };
    match parts.desk.connecting().arrive(arrival, parts.controls.broker()).await {
        Ok((name, account)) => Html(pages::connected(name.as_str(), account.as_deref())).into_response(),
        Err(error) => (StatusCode::BAD_REQUEST, Html(pages::failed(&error.to_string()))).into_response(),
    }
}

fn session(headers: &HeaderMap) -> Option<String> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == SESSION).map(|(_, value)| value.to_owned())
}
