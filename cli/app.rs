//! The composition root: opens the data folder, reads the configuration, builds the data plane and puts each newer
//! configuration in force. It serves nothing itself.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::SystemTime;

use admin::{
    ConfigStatus, ConnectionState, ConnectionStatus, Controls, DeploymentStatus, Desk, PrivateListener, Status,
};
use anyhow::{Context, Result, anyhow};
use ca::{Minter, Root};
use jiff::Timestamp;
use model::config::Connection;
use model::{Caller, Config, ConnectionName, DeploymentName, KeyDigest};
use proxy::{Furnishing, House, IssuedKey, Outbound, OwnListeners, Recorder, Snapshot, Trust};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use vault::{Broker, Fetch, KeyRing, MasterKeySource, RootRecord, Sources, Standing, Store, SystemClock};

use crate::config_file;
use crate::records::Sink;

/// What a process is started with.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) config: PathBuf,
    pub(crate) data: PathBuf,
    pub(crate) master_key: MasterKeySource,
    pub(crate) public_url: String,
    pub(crate) access_log: Sink,
}

/// One process over one data folder.
pub(crate) struct App {
    settings: Settings,
    store: Store,
    root: Arc<Root>,
    vault: Arc<Broker>,
    house: Arc<House>,
    own: Arc<OwnListeners>,
    recorder: Arc<Recorder>,
    current: Mutex<Current>,
    addresses: Mutex<(String, String)>,
    started_at: Timestamp,
}

/// The configuration in force. Whoever holds the lock may change it.
struct Current {
    config: Arc<Config>,
    trust: Arc<Trust>,
    trust_inputs: TrustInputs,
    loaded_at: Timestamp,
    problem: Option<String>,
    listeners: HashMap<SocketAddr, DropGuard>,
}

/// What the trusted roots and reachable addresses were made from: when it changes, warm sockets are not used again.
#[derive(PartialEq, Eq)]
struct TrustInputs {
    upstream: String,
    ca_file: Option<Vec<u8>>,
}

impl TrustInputs {
    fn of(config: &Config) -> Self {
        let ca_file = config.upstream.ca_file.as_ref().and_then(|path| std::fs::read(path).ok());
        Self { upstream: format!("{:?}", config.upstream), ca_file }
    }
}

/// Opens the store of a data folder, with its root certificate; made where there is none yet.
pub(crate) fn open_store(data: &Path, master_key: &MasterKeySource) -> Result<(Store, Root)> {
    let ring = KeyRing::load(data, master_key)?;
    let store = Store::open(data, ring)?;
    let now = SystemTime::now();
    let root = match store.root()? {
        Some(record) => Root::from_parts(&record.certificate_der, &record.key_pkcs8, now)
            .context("the certificate authority in the store cannot be used")?,
        None => {
            let root = Root::generate(now).context("a certificate authority could not be made")?;
            let record = RootRecord { certificate_der: root.certificate_der().to_vec(), key_pkcs8: root.key_pkcs8() };
            store.save_root(&record)?;
            root
        }
    };
    Ok((store, root))
}

impl App {
    /// Opens everything; nothing listens yet. The second value ends when the last access record is written.
    pub(crate) fn open(settings: Settings) -> Result<(Arc<Self>, JoinHandle<()>)> {
        let (store, root) = open_store(&settings.data, &settings.master_key)?;
        let config = load(&settings.config)?;
        let trust = Arc::new(Trust::load(config.upstream.ca_file.as_deref())?);
        let root = Arc::new(root);
        let clock: ca::Clock = Arc::new(SystemTime::now);
        let minter =
            Minter::new(Arc::clone(&root), clock, proxy::interception()?, config.limits.leaf_cache_entries_max)?;
        let run = random()?;
        let (recorder, writer) =
            Recorder::start(settings.access_log.opener(), run).context("the access log cannot be opened")?;
        let own = Arc::new(OwnListeners::default());
        let keys = issued_keys(&store)?;
        let snapshot = Snapshot::new(Arc::clone(&config), &keys, Arc::clone(&trust), None);
        let outbound = Arc::new(Outbound::new(Arc::clone(&own), &snapshot));
        let fetch = Arc::clone(&outbound) as Arc<dyn Fetch>;
        let vault = Arc::new(Broker::new(store.clone(), fetch, Arc::new(SystemClock)));
        read_secrets(&vault, &config, &store);
        let house = House::new(Furnishing {
            snapshot,
            outbound,
            vault: Arc::clone(&vault),
            minter: Arc::new(minter),
            recorder: Arc::clone(&recorder),
            own: Arc::clone(&own),
            public_url: settings.public_url.clone(),
            ca_pem: root.certificate_pem(),
            mark: format!("{:08x}", run >> 32),
        })?;
        let current = Current {
            trust_inputs: TrustInputs::of(&config),
            config,
            trust,
            loaded_at: Timestamp::now(),
            problem: None,
            listeners: HashMap::new(),
        };
        let app = Self {
            settings,
            store,
            root,
            vault,
            house,
            own,
            recorder,
            current: Mutex::new(current),
            addresses: Mutex::default(),
            started_at: Timestamp::now(),
        };
        Ok((Arc::new(app), writer))
    }

    pub(crate) fn house(&self) -> &Arc<House> {
        &self.house
    }

    pub(crate) fn vault(&self) -> &Arc<Broker> {
        &self.vault
    }

    pub(crate) fn recorder(&self) -> &Arc<Recorder> {
        &self.recorder
    }

    pub(crate) fn own(&self) -> &Arc<OwnListeners> {
        &self.own
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(crate) fn config(&self) -> Arc<Config> {
        Arc::clone(&self.current().config)
    }

    /// The desk that operators come to.
    pub(crate) fn desk(self: &Arc<Self>) -> Desk {
        Desk::new(self.store.clone(), Some(Arc::clone(self) as Arc<dyn Controls>))
    }

    pub(crate) fn note_addresses(&self, proxy: SocketAddr, admin: SocketAddr) {
        *self.addresses.lock().unwrap_or_else(PoisonError::into_inner) = (proxy.to_string(), admin.to_string());
    }

    /// Opens the listeners that identify a deployment by themselves, and closes those that are gone.
    ///
    /// # Errors
    /// The first that cannot be opened; the others are open.
    pub(crate) fn open_own_listeners(self: &Arc<Self>) -> Result<()> {
        let mut current = self.current();
        let wanted: Vec<SocketAddr> = current.config.identities.listeners().map(|(address, _)| address).collect();
        current.listeners.retain(|address, _| wanted.contains(address));
        let mut failed = None;
        for address in wanted {
            if current.listeners.contains_key(&address) {
                continue;
            }
            match listen_now(address) {
                Ok(listener) => {
                    let stop = CancellationToken::new();
                    tokio::spawn(Arc::clone(&self.house).listen(listener, None, stop.clone()));
                    current.listeners.insert(address, stop.drop_guard());
                }
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Reads the configuration anew and puts it in force; a bad one leaves the last good one as it is.
    pub(crate) fn reload(self: &Arc<Self>) -> Result<()> {
        let taken = load(&self.settings.config).and_then(|config| self.put_in_force(config));
        if let Err(error) = &taken {
            tracing::error!("the configuration was not taken up, the last good one stays in force:\n{error:#}");
        }
        let opened = |()| self.open_own_listeners().inspect_err(|error| tracing::error!("{error:#}"));
        let outcome = taken.and_then(opened);
        self.current().problem = outcome.as_ref().err().map(|error| format!("{error:#}"));
        outcome
    }

    /// Reads everything anew, the system's roots too, and takes it up.
    pub(crate) fn reload_all(self: &Arc<Self>) {
        self.current().trust_inputs.upstream.clear();
        // The reason was logged and stands in the status.
        let _ = self.reload();
    }

    /// A file that the configuration uses has changed: reads secrets and extra roots anew.
    pub(crate) fn renew(&self) {
        let config = self.config();
        let outcome = self.put_in_force(config);
        if let Err(error) = &outcome {
            tracing::error!("a changed file was not taken up: {error:#}");
        }
        self.current().problem = outcome.err().map(|error| format!("{error:#}"));
    }

    fn put_in_force(&self, config: Arc<Config>) -> Result<()> {
        let mut current = self.current();
        let inputs = TrustInputs::of(&config);
        if inputs != current.trust_inputs {
            current.trust = Arc::new(Trust::load(config.upstream.ca_file.as_deref())?);
            current.trust_inputs = inputs;
        }
        let before = current.config.policy.bindings().len();
        current.config = config;
        current.loaded_at = Timestamp::now();
        self.install(&current)?;
        let after = current.config.policy.bindings().len();
        tracing::info!(bindings = after, before, "the configuration was taken up");
        Ok(())
    }

    /// Composes a view of the current configuration, keys and secrets, and puts it in force.
    fn install(&self, current: &Current) -> Result<()> {
        read_secrets(&self.vault, &current.config, &self.store);
        let keys = issued_keys(&self.store)?;
        let previous = self.house.snapshot();
        let snapshot =
            Snapshot::new(Arc::clone(&current.config), &keys, Arc::clone(&current.trust), Some(previous.as_ref()));
        self.house.install(snapshot);
        Ok(())
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Controls for App {
    fn status(&self) -> Status {
        let current = self.current();
        let (proxy, admin) = self.addresses.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let keys = self.store.keys().map(|listing| listing.found).unwrap_or_default();
        let bindings = current.config.policy.bindings();
        let connections = current.config.connections.values().map(|connection| {
            let (standing, problem) = self.vault.standing(&connection.name);
            let state = match (connection.active, standing) {
                (false, _) => ConnectionState::Inactive,
                (true, Standing::Connected) => ConnectionState::Connected,
                (true, Standing::Available) => ConnectionState::Available,
                (true, Standing::NeedsReauth) => ConnectionState::NeedsReauth,
                (true, Standing::Error) => ConnectionState::Error,
            };
            let bound = bindings.iter().filter(|binding| binding.connection.name == connection.name);
            let mut deployments: Vec<String> = bound.map(|binding| binding.deployment.to_string()).collect();
            deployments.sort();
            deployments.dedup();
            ConnectionStatus { id: connection.name.to_string(), state, problem, deployments }
        });
        let deployments = current.config.deployments.keys().map(|name| DeploymentStatus {
            id: name.to_string(),
            keys: keys.iter().filter(|key| key.deployment == name.as_str()).count(),
            bindings: bindings.iter().filter(|binding| binding.deployment == *name).count(),
        });
        Status {
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            started_at: seconds(self.started_at),
            ready: !self.house.is_draining(),
            draining: self.house.is_draining(),
            proxy,
            admin,
            config: ConfigStatus {
                // Whoever asks may stand in another folder.
                file: std::path::absolute(&self.settings.config).unwrap_or_default().display().to_string(),
                loaded_at: seconds(current.loaded_at),
                bindings: bindings.len(),
                problem: current.problem.clone(),
            },
            connections: connections.collect(),
            deployments: deployments.collect(),
            ca_fingerprint: self.root.fingerprint(),
            sockets: self.house.sockets(),
            idle_upstream_sockets: self.house.idle_sockets(),
            records_lost: self.recorder.lost(),
        }
    }

    fn refresh(&self) {
        let current = self.current();
        if let Err(error) = self.install(&current) {
            tracing::error!("changed keys or secrets could not be taken up: {error:#}");
        }
    }

    fn settle_key_uses(&self) {
        let uses: Vec<(String, i64)> =
            self.house.take_key_uses().into_iter().map(|(id, at)| (id, at.as_second())).collect();
        if uses.is_empty() {
            return;
        }
        if let Err(error) = self.store.record_use(&uses) {
            tracing::warn!("when keys were last used could not be written down: {error}");
        }
    }

    fn lend(&self, deployment: &DeploymentName) -> Result<PrivateListener, String> {
        if !self.current().config.deployments.contains_key(deployment) {
            return Err(format!("there is no deployment \"{deployment}\" in {}", self.settings.config.display()));
        }
        let listener = listen_now(SocketAddr::from(([127, 0, 0, 1], 0))).map_err(|error| format!("{error:#}"))?;
        let address = listener.local_addr().map_err(|error| error.to_string())?;
        let stop = CancellationToken::new();
        let caller = Caller::private(deployment.clone());
        tokio::spawn(Arc::clone(&self.house).listen(listener, Some(caller), stop.clone()));
        Ok(PrivateListener { address, guard: Box::new(stop.drop_guard()) })
    }

    fn ca_pem(&self) -> String {
        self.root.certificate_pem()
    }

    fn connection(&self, name: &ConnectionName) -> Option<Arc<Connection>> {
        self.current().config.connections.get(name).cloned()
    }

    fn broker(&self) -> &Arc<Broker> {
        &self.vault
    }

    fn public_url(&self) -> &str {
        &self.settings.public_url
    }
}

/// Binds without waiting, with a message that names the address and the next step.
pub(crate) fn listen_now(address: SocketAddr) -> Result<TcpListener> {
    let bound = std::net::TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener)
    });
    bound.map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            anyhow!("{address} is in use: another program (another postern?) listens there; choose another address or stop it")
        }
        _ => anyhow!("cannot listen on {address}: {error}"),
    })
}

fn load(path: &Path) -> Result<Arc<Config>> {
    let loaded = config_file::load(path)?;
    if !loaded.warnings.is_empty() {
        tracing::warn!("{}", loaded.warnings);
    }
    Ok(Arc::new(loaded.config))
}

fn read_secrets(vault: &Broker, config: &Config, store: &Store) {
    let sources = Sources {
        environment: &|name| std::env::var(name).ok(),
        sealed: &|name| store.secret(name).map_err(|error| error.to_string()),
    };
    vault.reload(config.connections.values(), &sources);
    for connection in config.connections.values().filter(|connection| connection.active) {
        if let (Standing::Error, Some(problem)) = vault.standing(&connection.name) {
            tracing::warn!(connection = %connection.name, %problem, "no credential");
        }
    }
}

fn issued_keys(store: &Store) -> Result<Vec<IssuedKey>> {
    let listing = store.keys()?;
    for damaged in &listing.damaged {
        tracing::error!("a deployment key cannot be read: {damaged}");
    }
    let keys = listing.found.into_iter().filter_map(|key| {
        let deployment = DeploymentName::parse(&key.deployment).ok()?;
        Some(IssuedKey { id: key.id, deployment, digest: KeyDigest::from_bytes(key.digest) })
    });
    Ok(keys.collect())
}

fn seconds(at: Timestamp) -> String {
    Timestamp::from_second(at.as_second()).unwrap_or(at).to_string()
}

fn random() -> Result<u64> {
    let mut bytes = [0; 8];
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.secure_random.fill(&mut bytes).map_err(|_| anyhow!("the system gives no random bytes"))?;
    Ok(u64::from_ne_bytes(bytes))
}
