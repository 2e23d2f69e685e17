//! What the tests of this crate share: a fixed present, a clock to push, and a client that trusts
//! one root. It refuses to read the real time.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use rustls::client::WebPkiServerVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ResolvesServerCert;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};

use crate::{Clock, Leaf, Root};

/// 2027-01-15 08:00:00 UTC.
pub(crate) const NOW_SECONDS: i64 = 1_800_000_000;

pub(crate) fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(NOW_SECONDS.unsigned_abs())
}

pub(crate) fn root() -> Root {
    Root::generate(now()).unwrap()
}

pub(crate) fn server_name(name: &str) -> ServerName<'static> {
    ServerName::try_from(name.to_owned()).unwrap()
}

pub(crate) fn server_config(certified: Arc<CertifiedKey>) -> ServerConfig {
    let resolver: Arc<dyn ResolvesServerCert> = Arc::new(SingleCertAndKey::from(certified));
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    config
}

/// A clock that moves only when told to.
pub(crate) struct PushedClock(Arc<Mutex<SystemTime>>);

impl PushedClock {
    pub(crate) fn starting_at(at: SystemTime) -> Self {
        Self(Arc::new(Mutex::new(at)))
    }

    pub(crate) fn reader(&self) -> Clock {
        let at = Arc::clone(&self.0);
        Arc::new(move || *at.lock().unwrap())
    }

    pub(crate) fn push(&self, by: Duration) {
        *self.0.lock().unwrap() += by;
    }

    pub(crate) fn set(&self, at: SystemTime) {
        *self.0.lock().unwrap() = at;
    }
}

/// Lets a client that trusts only `root` meet `leaf` under `name`, in memory and at the fixed
/// present. Returns how many certificates the server sent.
pub(crate) fn handshake(root: &Root, leaf: &Leaf, name: &str) -> Result<usize, rustls::Error> {
    let mut trusted = RootCertStore::empty();
    trusted.add(CertificateDer::from(root.certificate_der())).unwrap();
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(trusted), provider()).build().unwrap();
    let config = ClientConfig::builder_with_details(provider(), Arc::new(FixedPresent))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_webpki_verifier(verifier)
        .with_no_client_auth();

    let mut client = ClientConnection::new(Arc::new(config), server_name(name))?;
    let mut server = ServerConnection::new(Arc::clone(leaf.server_config()))?;
    while client.is_handshaking() || server.is_handshaking() {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut wire.as_slice()).unwrap();
        server.process_new_packets()?;

        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        client.read_tls(&mut wire.as_slice()).unwrap();
        client.process_new_packets()?;
    }
    Ok(client.peer_certificates().map_or(0, <[_]>::len))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

#[derive(Debug)]
struct FixedPresent;

impl TimeProvider for FixedPresent {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(NOW_SECONDS.unsigned_abs())))
    }
}
