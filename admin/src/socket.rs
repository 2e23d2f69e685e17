//! The admin socket `DATA/admin.sock`: only who may read the data folder can connect. It speaks JSON over HTTP/1.1 and
//! does nothing but pass requests to the desk.

use std::convert::Infallible;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use axum::{Json, Router};
use http_body::Frame;
use model::{ConnectionName, DeploymentName};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use tokio::net::UnixListener;

use crate::desk::{Desk, DeskError, PrivateListener};
use crate::wire::{Disconnected, KeyRow, NewKey, Outcome, SecretRow, Status, Ticket};

/// Makes the socket. A file that a dead process left behind is replaced; the store's lock tells that none is alive.
///
/// # Errors
/// When the socket cannot be made.
pub fn bind_socket(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    Ok(listener)
}

/// Serves the socket until `stop` ends.
///
/// # Errors
/// When the listener fails.
pub async fn serve_socket(
    listener: UnixListener,
    desk: Desk,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    axum::serve(listener, routes(desk)).with_graceful_shutdown(stop).await
}

fn routes(desk: Desk) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/keys", get(keys).post(new_key))
        .route("/v1/keys/{deployment}/{id}", delete(revoke_key))
        .route("/v1/secrets", get(secrets))
        .route("/v1/secrets/{name}", put(set_secret).delete(delete_secret))
        .route("/v1/ca.pem", get(ca_pem))
        .route("/v1/listeners", post(lend))
        .route("/v1/connections/{name}/tickets", post(invite))
        .route("/v1/connections/{name}/account", delete(disconnect))
        .route("/v1/tickets/{id}", get(outcome))
        .with_state(desk)
}

/// An error as the client reads it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Problem {
    pub(crate) message: String,
}

impl IntoResponse for DeskError {
    fn into_response(self) -> Response {
        let status = match &self {
            Self::Refused(_) => StatusCode::BAD_REQUEST,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Store(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (status, Json(Problem { message: self.to_string() })).into_response()
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Named {
    pub(crate) deployment: String,
}

#[derive(Debug, Deserialize)]
struct Wanted {
    deployment: Option<String>,
}

/// A lent listener's address; the body stays open for as long as the listener is lent.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LentAt {
    pub(crate) address: std::net::SocketAddr,
}

fn name(text: &str) -> Result<DeploymentName, DeskError> {
    DeploymentName::parse(text).map_err(|error| DeskError::Refused(error.to_string()))
}

/// The store waits for the disk: never on a worker that serves others.
async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, DeskError> + Send + 'static,
) -> Result<T, DeskError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| DeskError::Store(error.to_string()))?
}

async fn status(State(desk): State<Desk>) -> Result<Json<Status>, DeskError> {
    let controls = desk.controls().ok_or_else(|| DeskError::NotFound("nothing is running".into()))?;
    Ok(Json(controls.status()))
}

async fn keys(State(desk): State<Desk>, Query(wanted): Query<Wanted>) -> Result<Json<Vec<KeyRow>>, DeskError> {
    let deployment = wanted.deployment.as_deref().map(name).transpose()?;
    aside(move || desk.keys(deployment.as_ref())).await.map(Json)
}

async fn new_key(State(desk): State<Desk>, Json(named): Json<Named>) -> Result<Json<NewKey>, DeskError> {
    let deployment = name(&named.deployment)?;
    aside(move || desk.new_key(&deployment)).await.map(Json)
}

async fn revoke_key(
    State(desk): State<Desk>,
    axum::extract::Path((deployment, id)): axum::extract::Path<(String, String)>,
) -> Result<StatusCode, DeskError> {
    let deployment = name(&deployment)?;
    aside(move || desk.revoke_key(&deployment, &id)).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn secrets(State(desk): State<Desk>) -> Result<Json<Vec<SecretRow>>, DeskError> {
    aside(move || desk.secrets()).await.map(Json)
}

async fn set_secret(
    State(desk): State<Desk>,
    axum::extract::Path(name): axum::extract::Path<String>,
    value: Bytes,
) -> Result<StatusCode, DeskError> {
    let value =
        String::from_utf8(value.to_vec()).map_err(|_| DeskError::Refused("the secret is not UTF-8 text".into()))?;
    aside(move || desk.set_secret(&name, &SecretString::from(value))).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn delete_secret(
    State(desk): State<Desk>,
    axum::extract::Path(name): axum::extract::Path<String>,
) -> Result<StatusCode, DeskError> {
    aside(move || desk.delete_secret(&name)).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn ca_pem(State(desk): State<Desk>) -> Result<String, DeskError> {
    let controls = desk.controls().ok_or_else(|| DeskError::NotFound("nothing is running".into()))?;
    Ok(controls.ca_pem())
}

/// How long a question after an outcome is held open.
const OUTCOME_IN: Duration = Duration::from_secs(25);

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Way {
    pub(crate) device: bool,
}

fn connection(text: &str) -> Result<ConnectionName, DeskError> {
    ConnectionName::parse(text).map_err(|error| DeskError::Refused(error.to_string()))
}

async fn invite(
    State(desk): State<Desk>,
    axum::extract::Path(name): axum::extract::Path<String>,
    Json(way): Json<Way>,
) -> Result<Json<Ticket>, DeskError> {
    desk.invite(&connection(&name)?, way.device).await.map(Json)
}

async fn disconnect(
    State(desk): State<Desk>,
    axum::extract::Path(name): axum::extract::Path<String>,
) -> Result<Json<Disconnected>, DeskError> {
    desk.disconnect(&connection(&name)?).await.map(Json)
}

async fn outcome(
    State(desk): State<Desk>,
    axum::extract::Path(id): axum::extract::Path<String>,
) -> Result<Json<Outcome>, DeskError> {
    let outcome = desk.connecting().outcome(&id, OUTCOME_IN).await;
    outcome.map(Json).ok_or_else(|| DeskError::NotFound("this link is too old".into()))
}

async fn lend(State(desk): State<Desk>, Json(named): Json<Named>) -> Result<Response, DeskError> {
    let deployment = name(&named.deployment)?;
    let controls = desk.controls().ok_or_else(|| DeskError::NotFound("nothing is running".into()))?;
    let listener = controls.lend(&deployment).map_err(DeskError::Refused)?;
    let line = serde_json::to_vec(&LentAt { address: listener.address })
        .map_err(|error| DeskError::Store(error.to_string()))?;
    Ok(Response::new(Body::new(Held { line: Some(line.into()), _listener: listener })))
}

/// A body of one line that then stays open: when the client goes away it is dropped, and the listener with it.
struct Held {
    line: Option<Bytes>,
    _listener: PrivateListener,
}

impl http_body::Body for Held {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.line.take() {
            Some(line) => Poll::Ready(Some(Ok(Frame::data(line)))),
            None => Poll::Pending,
        }
    }
}
