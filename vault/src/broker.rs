//! Hands out credentials, and only against a grant. It keeps each connection's prebuilt header and says why one is
//! missing; it never shows a value in a status, an error or a debug print.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use http::header::{self, HeaderName, HeaderValue};
use model::config::{Auth, Connection};
use model::{ConnectionName, Grant};
use secrecy::{ExposeSecret, SecretString};

use crate::source::Sources;

/// What is put on one upstream request.
#[derive(Clone)]
pub struct Credential {
    name: HeaderName,
    value: HeaderValue,
    generation: u64,
}

impl Credential {
    /// The field that carries it.
    #[must_use]
    pub fn name(&self) -> &HeaderName {
        &self.name
    }

    /// The field's value, marked sensitive so that no log or index of a library keeps it.
    #[must_use]
    pub fn value(&self) -> &HeaderValue {
        &self.value
    }

    /// Grows whenever the connection's secret changes; sockets that carried an older one are not reused.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credential({}: .., generation {})", self.name, self.generation)
    }
}

/// Why a connection has no credential at the moment, in words for the operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unavailable(pub String);

#[derive(Debug, Clone)]
enum Slot {
    Ready(Credential),
    Unavailable(Unavailable),
}

/// The credentials of all connections.
#[derive(Debug, Default)]
pub struct Broker {
    slots: ArcSwap<HashMap<ConnectionName, Slot>>,
}

impl Broker {
    /// The credential of the granted connection.
    ///
    /// # Errors
    /// [`Unavailable`] when its secret could not be read.
    pub fn credential(&self, grant: &Grant) -> Result<Credential, Unavailable> {
        let name = &grant.binding().connection.name;
        match self.slots.load().get(name) {
            Some(Slot::Ready(credential)) => Ok(credential.clone()),
            Some(Slot::Unavailable(reason)) => Err(reason.clone()),
            None => {
                Err(Unavailable(format!("connection \"{name}\" was not there when the credentials were last read")))
            }
        }
    }

    /// Why the connection has no credential; `None` when it has one.
    #[must_use]
    pub fn problem(&self, name: &ConnectionName) -> Option<Unavailable> {
        match self.slots.load().get(name) {
            Some(Slot::Ready(_)) => None,
            Some(Slot::Unavailable(reason)) => Some(reason.clone()),
            None => Some(Unavailable("its secret has not been read yet".into())),
        }
    }

    /// Reads every connection's secret anew. A connection whose secret did not change keeps its generation, and with it
    /// its warm sockets.
    pub fn reload<'a>(&self, connections: impl IntoIterator<Item = &'a Arc<Connection>>, sources: &Sources<'_>) {
        let old = self.slots.load();
        let slots = connections.into_iter().map(|connection| {
            let slot = match prepare(connection, sources) {
                Ok((name, value)) => Slot::Ready(renew(old.get(&connection.name), name, value)),
                Err(reason) => Slot::Unavailable(reason),
            };
            (connection.name.clone(), slot)
        });
        self.slots.store(Arc::new(slots.collect()));
    }
}

/// The same credential under the same generation, a changed one under the next.
fn renew(old: Option<&Slot>, name: HeaderName, value: HeaderValue) -> Credential {
    let generation = match old {
        Some(Slot::Ready(old)) if old.name == name && old.value == value => old.generation,
        Some(Slot::Ready(old)) => old.generation + 1,
        _ => fresh_generation(),
    };
    Credential { name, value, generation }
}

/// Never given twice in one process, so that a connection that was gone in between finds no old socket.
fn fresh_generation() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(1);
    // Room below for the steps of `renew`.
    NEXT.fetch_add(1, Ordering::Relaxed) << 32
}

fn prepare(connection: &Connection, sources: &Sources<'_>) -> Result<(HeaderName, HeaderValue), Unavailable> {
    match &connection.auth {
        Auth::Bearer { token } => {
            let token = sources.read(token).map_err(|error| Unavailable(error.to_string()))?;
            Ok((header::AUTHORIZATION, bearer(&token)?))
        }
    }
}

/// `Bearer` and the token (RFC 6750 §2.1).
fn bearer(token: &SecretString) -> Result<HeaderValue, Unavailable> {
    let text = zeroize::Zeroizing::new(format!("Bearer {}", token.expose_secret()));
    let mut value = HeaderValue::from_str(&text).map_err(|_| {
        Unavailable("the token holds a character that no header field can carry (a line end inside it?)".into())
    })?;
    value.set_sensitive(true);
    Ok(value)
}
