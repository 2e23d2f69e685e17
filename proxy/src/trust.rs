//! Which roots a destination's certificate is verified against: the system's and the operator's own. Verification cannot
//! be switched off here or anywhere else.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustls::client::Resumption;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// TLS sessions remembered for one deployment, account and destination.
const SESSIONS_MAX: usize = 4;

/// Why the roots could not be read.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// `upstream.ca_file` cannot be read.
    #[error("upstream.ca_file {path} cannot be read: {problem}")]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        problem: String,
    },
    /// `upstream.ca_file` holds no certificate.
    #[error("upstream.ca_file {0} holds no PEM certificate")]
    Empty(PathBuf),
    /// The TLS library refused its own defaults.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

/// The roots that are trusted at the moment.
#[derive(Debug)]
pub struct Trust {
    config: ClientConfig,
    number: u64,
}

impl Trust {
    /// Reads the system's roots (or, where a system has none, the ones built in) and the operator's file.
    ///
    /// # Errors
    /// [`TrustError`] when the operator's file is no use; a damaged certificate of the system's is only logged.
    pub fn load(ca_file: Option<&Path>) -> Result<Self, TrustError> {
        static NUMBER: AtomicU64 = AtomicU64::new(1);
        let mut roots = RootCertStore::empty();
        let system = rustls_native_certs::load_native_certs();
        for error in &system.errors {
            tracing::warn!(%error, "a system root certificate could not be read");
        }
        roots.add_parsable_certificates(system.certs);
        if roots.is_empty() {
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        if let Some(path) = ca_file {
            add_file(&mut roots, path)?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { config, number: NUMBER.fetch_add(1, Ordering::Relaxed) })
    }

    /// Tells these roots from those of another reading.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// A configuration with a session store of its own: a session is never resumed for another account.
    pub(crate) fn client_config(&self) -> Arc<ClientConfig> {
        let mut config = self.config.clone();
        config.resumption = Resumption::in_memory_sessions(SESSIONS_MAX);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Arc::new(config)
    }
}

fn add_file(roots: &mut RootCertStore, path: &Path) -> Result<(), TrustError> {
    let unreadable = |problem: String| TrustError::Unreadable { path: path.to_owned(), problem };
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| unreadable(error.to_string()))?;
    let mut count = 0;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| unreadable(error.to_string()))?;
        roots.add(certificate).map_err(|error| unreadable(error.to_string()))?;
        count += 1;
    }
    if count == 0 { Err(TrustError::Empty(path.to_owned())) } else { Ok(()) }
}
