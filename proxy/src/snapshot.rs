//! One consistent view of configuration, identities, rates and roots. A request takes one at its start and keeps it; a
//! reload swaps the next one in and disturbs none.

use std::sync::Arc;

use model::config::Upstream;
use model::{Config, Identities, KeyDigest, Limits};

use crate::rates::Rates;
use crate::trust::Trust;

/// An issued deployment key, as far as recognising it goes.
#[derive(Debug, Clone)]
pub struct IssuedKey {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub deployment: model::DeploymentName,
    /// Its digest.
    pub digest: KeyDigest,
}

/// What one request sees of the configuration.
#[derive(Debug)]
pub struct Snapshot {
    config: Arc<Config>,
    limits: Arc<Limits>,
    identities: Identities,
    rates: Rates,
    trust: Arc<Trust>,
}

impl Snapshot {
    /// Composes a view. Keys of deployments that the configuration no longer has are not known.
    #[must_use]
    pub fn new(config: Arc<Config>, keys: &[IssuedKey], trust: Arc<Trust>, previous: Option<&Self>) -> Self {
        let mut identities = config.identities.clone();
        for key in keys.iter().filter(|key| config.deployments.contains_key(&key.deployment)) {
            identities.add_key(key.digest, key.deployment.clone(), key.id.clone());
        }
        let none = Rates::default();
        let rates = Rates::new(&config, previous.map_or(&none, |old| &old.rates));
        Self { limits: Arc::new(config.limits.clone()), identities, rates, trust, config }
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// The roots that destinations are verified against.
    #[must_use]
    pub fn trust(&self) -> &Arc<Trust> {
        &self.trust
    }

    /// Who is recognised.
    #[must_use]
    pub fn identities(&self) -> &Identities {
        &self.identities
    }

    pub(crate) fn limits(&self) -> &Arc<Limits> {
        &self.limits
    }

    pub(crate) fn upstream(&self) -> &Upstream {
        &self.config.upstream
    }

    pub(crate) fn rates(&self) -> &Rates {
        &self.rates
    }
}
