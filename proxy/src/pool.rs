//! Keeps sockets to destinations warm, each for one deployment, account, credential and destination. A socket is lent,
//! never shared; one that saw anything odd is not taken back.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hyper::client::conn::http1::SendRequest;
use model::{ConnectionName, DeploymentName, Destination, Grant};
use rustls::ClientConfig;
use vault::Credential;

use crate::body::Upload;

/// Taken off the time a destination says it keeps a socket, so that we stop using it first.
const KEEP_ALIVE_MARGIN: Duration = Duration::from_secs(1);

/// Whose socket to where. Two requests that differ in any of these never share one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    deployment: DeploymentName,
    account: Option<(ConnectionName, u64)>,
    destination: Destination,
    trust: u64,
}

impl Key {
    /// The key of a granted request.
    pub(crate) fn granted(grant: &Grant, credential: &Credential) -> Self {
        let binding = grant.binding();
        Self {
            deployment: binding.deployment.clone(),
            account: Some((binding.connection.name.clone(), credential.generation())),
            destination: grant.destination().clone(),
            trust: 0,
        }
    }

    /// The key of a request that passes without a credential.
    pub(crate) fn passing(deployment: &DeploymentName, destination: &Destination) -> Self {
        Self { deployment: deployment.clone(), account: None, destination: destination.clone(), trust: 0 }
    }

    /// The same key under the roots that are trusted now: a socket verified under others is not used.
    pub(crate) fn under(mut self, trust: u64) -> Self {
        self.trust = trust;
        self
    }

    pub(crate) fn destination(&self) -> &Destination {
        &self.destination
    }
}

/// The sockets that nobody uses at the moment.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    shelves: Mutex<HashMap<Key, Shelf>>,
}

/// One key's sockets, and the TLS sessions that only they may resume.
#[derive(Debug)]
struct Shelf {
    idle: Vec<Idle>,
    tls: Option<Arc<ClientConfig>>,
    used_at: Instant,
}

#[derive(Debug)]
struct Idle {
    sender: SendRequest<Upload>,
    expires_at: Instant,
}

/// A socket on loan. Dropped, it is closed; given back, it is kept.
#[derive(Debug)]
pub(crate) struct Lease {
    key: Key,
    sender: SendRequest<Upload>,
    pool: Arc<Pool>,
    idle_in: Duration,
    idle_max: usize,
}

impl Pool {
    /// A warm socket, the most recently used first.
    pub(crate) fn take(self: &Arc<Self>, key: &Key, idle_in: Duration, idle_max: usize) -> Option<Lease> {
        let now = Instant::now();
        let mut shelves = self.shelves();
        let shelf = shelves.get_mut(key)?;
        shelf.used_at = now;
        while let Some(idle) = shelf.idle.pop() {
            if idle.expires_at > now && !idle.sender.is_closed() {
                let pool = Arc::clone(self);
                return Some(Lease { key: key.clone(), sender: idle.sender, pool, idle_in, idle_max });
            }
        }
        None
    }

    /// A fresh socket on loan.
    pub(crate) fn lend(
        self: &Arc<Self>,
        key: Key,
        sender: SendRequest<Upload>,
        idle_in: Duration,
        idle_max: usize,
    ) -> Lease {
        Lease { key, sender, pool: Arc::clone(self), idle_in, idle_max }
    }

    /// The TLS configuration of one key, whose session store no other key sees.
    pub(crate) fn tls(&self, key: &Key, make: impl FnOnce() -> Arc<ClientConfig>) -> Arc<ClientConfig> {
        let mut shelves = self.shelves();
        let shelf = shelves.entry(key.clone()).or_insert_with(Shelf::new);
        Arc::clone(shelf.tls.get_or_insert_with(make))
    }

    /// Closes what has been idle for too long, and forgets shelves that nobody has used for ten times as long.
    pub(crate) fn sweep(&self, idle_in: Duration) {
        let now = Instant::now();
        self.shelves().retain(|_, shelf| {
            shelf.idle.retain(|idle| idle.expires_at > now && !idle.sender.is_closed());
            !shelf.idle.is_empty() || now.duration_since(shelf.used_at) < idle_in * 10
        });
    }

    /// Sockets that are kept at the moment.
    pub(crate) fn idle_sockets(&self) -> usize {
        self.shelves().values().map(|shelf| shelf.idle.len()).sum()
    }

    fn shelves(&self) -> MutexGuard<'_, HashMap<Key, Shelf>> {
        self.shelves.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shelf {
    fn new() -> Self {
        Self { idle: Vec::new(), tls: None, used_at: Instant::now() }
    }
}

impl Lease {
    pub(crate) fn sender(&mut self) -> &mut SendRequest<Upload> {
        &mut self.sender
    }

    /// The destination keeps its sockets for so long (`Keep-Alive: timeout=…`).
    pub(crate) fn keeps_for(&mut self, told: Duration) {
        self.idle_in = self.idle_in.min(told.saturating_sub(KEEP_ALIVE_MARGIN));
    }

    /// Keeps the socket for the next request of the same key.
    pub(crate) fn give_back(self) {
        let Self { key, sender, pool, idle_in, idle_max } = self;
        if sender.is_closed() || idle_in.is_zero() {
            return;
        }
        let now = Instant::now();
        let mut shelves = pool.shelves();
        let shelf = shelves.entry(key).or_insert_with(Shelf::new);
        shelf.used_at = now;
        if shelf.idle.len() < idle_max {
            shelf.idle.push(Idle { sender, expires_at: now + idle_in });
        }
    }
}
