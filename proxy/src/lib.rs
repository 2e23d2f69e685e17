//! The data plane: one file per room, and [`House`], which holds them together. A request's way is in `exchange.rs`;
//! nothing here reads configuration, opens the store or knows an operator.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod agree;
mod answer;
mod body;
mod callers;
mod chunked;
mod connect;
mod dial;
mod exchange;
mod fields;
mod forward;
mod front;
mod granted;
mod head;
mod identify;
mod inject;
mod intercept;
mod interim;
mod internal;
mod last_call;
mod listen;
mod outbound;
mod pool;
mod pulse;
mod rates;
mod record;
mod relay;
mod rewound;
mod silence;
mod snapshot;
mod trust;
mod wire;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use ca::Minter;
use http::HeaderValue;
use jiff::Timestamp;
use model::{Caller, Evidence};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use vault::Broker;

pub use dial::OwnListeners;
pub use outbound::Outbound;
pub use record::{OpenSink, Recorder};
pub use snapshot::{IssuedKey, Snapshot};
pub use trust::{Trust, TrustError};

use callers::Callers;
use pool::Pool;

/// How often idle sockets to destinations are looked through.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// What the house is built from.
#[derive(Debug)]
pub struct Furnishing {
    /// The first view of the configuration.
    pub snapshot: Snapshot,
    /// Hands out credentials.
    pub vault: Arc<Broker>,
    /// Mints leaves for interception.
    pub minter: Arc<Minter>,
    /// Takes access records.
    pub recorder: Arc<Recorder>,
    /// The listeners of this process.
    pub own: Arc<OwnListeners>,
    /// The vault's way to token endpoints.
    pub outbound: Arc<Outbound>,
    /// Where connect pages live, without a trailing slash.
    pub public_url: String,
    /// The CA certificate that agents must trust, as PEM.
    pub ca_pem: String,
    /// Tells this process from others in `Via`: letters and digits.
    pub mark: String,
}

/// The data plane of one process.
#[derive(Debug)]
pub struct House {
    snapshot: ArcSwap<Snapshot>,
    vault: Arc<Broker>,
    minter: Arc<Minter>,
    recorder: Arc<Recorder>,
    own: Arc<OwnListeners>,
    outbound: Arc<Outbound>,
    public_url: String,
    ca_pem: String,
    pseudonym: String,
    via: HeaderValue,
    pool: Arc<Pool>,
    callers: Arc<Callers>,
    listeners: TaskTracker,
    sockets: TaskTracker,
    key_uses: Mutex<HashMap<String, Timestamp>>,
    draining: CancellationToken,
    cut: CancellationToken,
}

impl House {
    /// Builds the house.
    ///
    /// # Errors
    /// When the mark is not fit for a header field.
    pub fn new(furnishing: Furnishing) -> Result<Arc<Self>, http::Error> {
        let Furnishing { snapshot, vault, minter, recorder, own, outbound, public_url, ca_pem, mark } = furnishing;
        let pseudonym = format!("postern-{mark}");
        let via = HeaderValue::try_from(format!("1.1 {pseudonym}"))?;
        Ok(Arc::new(Self {
            snapshot: ArcSwap::from_pointee(snapshot),
            vault,
            minter,
            recorder,
            own,
            outbound,
            public_url,
            ca_pem,
            pseudonym,
            via,
            pool: Arc::default(),
            callers: Arc::default(),
            listeners: TaskTracker::new(),
            sockets: TaskTracker::new(),
            key_uses: Mutex::default(),
            draining: CancellationToken::new(),
            cut: CancellationToken::new(),
        }))
    }

    /// The view in force.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Puts another view in force and cuts the callers that it no longer knows.
    pub fn install(&self, snapshot: Snapshot) {
        let snapshot = Arc::new(snapshot);
        self.outbound.renew(&snapshot);
        self.snapshot.store(Arc::clone(&snapshot));
        self.callers.review(snapshot.identities());
    }

    /// When each key was last used, since the last call.
    pub fn take_key_uses(&self) -> Vec<(String, Timestamp)> {
        let mut uses = self.key_uses.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *uses).into_iter().collect()
    }

    fn note_use(&self, caller: &Caller) {
        let Evidence::Key(id) = caller.evidence() else { return };
        let mut uses = self.key_uses.lock().unwrap_or_else(PoisonError::into_inner);
        match uses.get_mut(id) {
            Some(used_at) => *used_at = Timestamp::now(),
            None => drop(uses.insert(id.clone(), Timestamp::now())),
        }
    }

    /// Sockets of agents that are open.
    pub fn sockets(&self) -> usize {
        self.sockets.len()
    }

    /// Unused sockets to destinations that are kept.
    pub fn idle_sockets(&self) -> usize {
        self.pool.idle_sockets()
    }

    /// Whether the house is draining.
    pub fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    /// Keeps house until the drain: closes sockets that have been idle for too long.
    pub async fn keep(self: Arc<Self>) {
        let mut tick = tokio::time::interval(SWEEP_EVERY);
        while self.draining.run_until_cancelled(tick.tick()).await.is_some() {
            self.pool.sweep(self.snapshot().limits().pool_idle_in);
        }
    }
}

/// The TLS a leaf is served with: HTTP/1.1, stateless tickets that all leaves share.
///
/// # Errors
/// When the TLS library refuses its own defaults.
pub fn interception() -> Result<ca::ServerConfigMaker, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let ticketer = rustls::crypto::aws_lc_rs::Ticketer::new()?;
    // A dry run, so that the closure below cannot fail for a reason of its own.
    rustls::ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    Ok(Box::new(move |leaf| {
        let resolver = Arc::new(rustls::sign::SingleCertAndKey::from(leaf));
        #[expect(clippy::expect_used, reason = "the dry run above made the same builder from the same provider")]
        let mut config = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("the provider supports the default versions")
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.ticketer = Arc::clone(&ticketer);
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        config
    }))
}
