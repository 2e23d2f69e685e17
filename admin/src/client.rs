//! The subcommands' side of the admin socket. It opens one connection for each question and keeps nothing.

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use crate::socket::{LentAt, Named, Problem, Way};
use crate::wire::{Disconnected, KeyRow, NewKey, Outcome, SecretRow, Status, Ticket};

/// The longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Why a question got no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The process said no, in words for the operator.
    #[error("{0}")]
    Refused(String),
    /// The socket broke or spoke something else.
    #[error("the running postern did not answer: {0}")]
    Broken(String),
}

/// Talks to the running process.
#[derive(Debug, Clone)]
pub struct Client {
    path: std::path::PathBuf,
}

/// A private listener, lent until this is dropped.
#[derive(Debug)]
pub struct Lent {
    /// Where it listens.
    pub address: SocketAddr,
    _body: Incoming,
    _sender: http1::SendRequest<Full<Bytes>>,
}

impl Client {
    /// Connects, to see whether anything runs over this data folder; `None` when nothing does.
    ///
    /// # Errors
    /// When the socket is there but may not be used.
    pub async fn find(data: &Path) -> io::Result<Option<Self>> {
        let path = data.join("admin.sock");
        match UnixStream::connect(&path).await {
            Ok(_) => Ok(Some(Self { path })),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// How the process is.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn status(&self) -> Result<Status, ClientError> {
        self.ask(Method::GET, "/v1/status", Vec::new()).await
    }

    /// Makes a key.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn new_key(&self, deployment: &str) -> Result<NewKey, ClientError> {
        self.ask(Method::POST, "/v1/keys", json(&Named { deployment: deployment.to_owned() })?).await
    }

    /// The keys of one deployment, or of all.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn keys(&self, deployment: Option<&str>) -> Result<Vec<KeyRow>, ClientError> {
        let query = deployment.map(|name| format!("?deployment={name}")).unwrap_or_default();
        self.ask(Method::GET, &format!("/v1/keys{query}"), Vec::new()).await
    }

    /// Revokes a key.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn revoke_key(&self, deployment: &str, id: &str) -> Result<(), ClientError> {
        self.tell(Method::DELETE, &format!("/v1/keys/{deployment}/{id}"), Vec::new()).await
    }

    /// The names of all secrets.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn secrets(&self) -> Result<Vec<SecretRow>, ClientError> {
        self.ask(Method::GET, "/v1/secrets", Vec::new()).await
    }

    /// Keeps a named secret. The name must be fit for a path: the caller has checked it.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn set_secret(&self, name: &str, value: &str) -> Result<(), ClientError> {
        self.tell(Method::PUT, &format!("/v1/secrets/{name}"), value.as_bytes().to_vec()).await
    }

    /// Deletes a named secret.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn delete_secret(&self, name: &str) -> Result<(), ClientError> {
        self.tell(Method::DELETE, &format!("/v1/secrets/{name}"), Vec::new()).await
    }

    /// The CA certificate, as PEM.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn ca_pem(&self) -> Result<String, ClientError> {
        let bytes = self.exchange(Method::GET, "/v1/ca.pem", Vec::new()).await?;
        String::from_utf8(bytes.to_vec()).map_err(broken)
    }

    /// Begins to authorise an account, in a browser or on a device.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn invite(&self, connection: &str, device: bool) -> Result<Ticket, ClientError> {
        self.ask(Method::POST, &format!("/v1/connections/{connection}/tickets"), json(&Way { device })?).await
    }

    /// How the authorising stands; waits a while for an outcome.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn outcome(&self, ticket: &str) -> Result<Outcome, ClientError> {
        self.ask(Method::GET, &format!("/v1/tickets/{ticket}"), Vec::new()).await
    }

    /// Ends an account.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn disconnect(&self, connection: &str) -> Result<Disconnected, ClientError> {
        self.ask(Method::DELETE, &format!("/v1/connections/{connection}/account"), Vec::new()).await
    }

    /// Borrows a listener whose callers are this deployment.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn borrow_listener(&self, deployment: &str) -> Result<Lent, ClientError> {
        let mut sender = self.connect().await?;
        let body = json(&Named { deployment: deployment.to_owned() })?;
        let mut response = send(&mut sender, Method::POST, "/v1/listeners", body).await?;
        if response.status() != StatusCode::OK {
            return Err(problem(response).await);
        }
        let frame = response.body_mut().frame().await.ok_or_else(|| broken("an empty answer"))?.map_err(broken)?;
        let line = frame.into_data().map_err(|_| broken("no data"))?;
        let LentAt { address } = serde_json::from_slice(&line).map_err(broken)?;
        Ok(Lent { address, _body: response.into_body(), _sender: sender })
    }

    async fn ask<T: DeserializeOwned>(&self, method: Method, path: &str, body: Vec<u8>) -> Result<T, ClientError> {
        let bytes = self.exchange(method, path, body).await?;
        serde_json::from_slice(&bytes).map_err(broken)
    }

    async fn tell(&self, method: Method, path: &str, body: Vec<u8>) -> Result<(), ClientError> {
        self.exchange(method, path, body).await.map(drop)
    }

    async fn exchange(&self, method: Method, path: &str, body: Vec<u8>) -> Result<Bytes, ClientError> {
        let mut sender = self.connect().await?;
        let response = send(&mut sender, method, path, body).await?;
        if !response.status().is_success() {
            return Err(problem(response).await);
        }
        read(response).await
    }

    async fn connect(&self) -> Result<http1::SendRequest<Full<Bytes>>, ClientError> {
        let socket = UnixStream::connect(&self.path).await.map_err(broken)?;
        let (sender, connection) = http1::handshake(TokioIo::new(socket)).await.map_err(broken)?;
        tokio::spawn(connection);
        Ok(sender)
    }
}

async fn send(
    sender: &mut http1::SendRequest<Full<Bytes>>,
    method: Method,
    path: &str,
    body: Vec<u8>,
) -> Result<http::Response<Incoming>, ClientError> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "admin.sock")
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body)))
        .map_err(broken)?;
    sender.send_request(request).await.map_err(broken)
}

async fn read(response: http::Response<Incoming>) -> Result<Bytes, ClientError> {
    let limited = Limited::new(response.into_body(), ANSWER_BYTES_MAX);
    Ok(limited.collect().await.map_err(broken)?.to_bytes())
}

async fn problem(response: http::Response<Incoming>) -> ClientError {
    let status = response.status();
    match read(response).await {
        Ok(bytes) => match serde_json::from_slice::<Problem>(&bytes) {
            Ok(problem) => ClientError::Refused(problem.message),
            Err(_) => ClientError::Broken(format!("it answered {status}")),
        },
        Err(error) => error,
    }
}

fn json(value: &impl Serialize) -> Result<Vec<u8>, ClientError> {
    serde_json::to_vec(value).map_err(broken)
}

fn broken(error: impl std::fmt::Display) -> ClientError {
    ClientError::Broken(error.to_string())
}
