//! The operator's configuration after resolution: what the program uses, not what was written. Secrets appear only as
//! the places they come from.

mod auth;
mod integration;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;

use crate::address::AddressPolicy;
use crate::authority::{Authority, Destination};
use crate::guard::Guarded;
use crate::identity::Identities;
use crate::limits::Limits;
use crate::name::{ConnectionName, DeploymentName, IntegrationName, TenantName};
use crate::pattern::HostPattern;
use crate::policy::Policy;

pub use auth::{
    ActorToken, Auth, AwsCredentials, AwsSigv4, Broker, Endpoints, Exec, GithubApp, GoogleServiceAccount,
    HeaderTemplate, Oauth, OauthGrant, RESERVED_AUTHORIZE_PARAMS, RESERVED_TOKEN_PARAMS, TokenExchange,
};
pub use integration::{
    AccountSource, ClientAuth, Integration, Lifetimes, Presentation, RefreshClock, Revocation, RevocationForm,
    Rotation, TokenRequest,
};

/// One consistent reading of the configuration. A request sees exactly one.
#[derive(Debug, Default)]
pub struct Config {
    /// Every integration of the file by name. Those of the built-in catalogue are in [`crate::catalogue`].
    pub integrations: BTreeMap<IntegrationName, Arc<Integration>>,
    /// Every connection by name, bound or not.
    pub connections: BTreeMap<ConnectionName, Arc<Connection>>,
    /// Every deployment by name.
    pub deployments: BTreeMap<DeploymentName, Arc<Deployment>>,
    /// Who may use what where.
    pub policy: Policy,
    /// How callers of the file are recognised. Issued keys join it when the program composes its snapshot.
    pub identities: Identities,
    /// How destinations are reached.
    pub upstream: Upstream,
    /// Bounds on sockets, messages and time.
    pub limits: Limits,
}

/// One authorised account: what is put on a request, and where its secret comes from.
#[derive(Debug, Clone)]
pub struct Connection {
    /// The connection's name.
    pub name: ConnectionName,
    /// The customer it belongs to, if any.
    pub tenant: Option<TenantName>,
    /// The integration it was made from, if any, with this connection's context filled in.
    pub integration: Option<Arc<Integration>>,
    /// What distinguishes this account at its provider, such as `subdomain`: every part of the integration's templates.
    pub context: BTreeMap<String, String>,
    /// Where it may be used when a binding names no hosts of its own.
    pub hosts: Vec<HostPattern>,
    /// False: every use is refused with `connection_inactive`.
    pub active: bool,
    /// How the credential is presented and where it comes from.
    pub auth: Auth,
    /// When a token is fetched anew. Without meaning where nothing is fetched.
    pub refresh: Refresh,
    /// Where no binding ever uses this connection: the provider's token endpoints and their like.
    pub guarded: Vec<Guarded>,
}

impl Connection {
    /// How a token of this connection, supplied or fetched, is put on a request to the destination: as its integration
    /// has it there. A provider that issues no tokens itself, only keys, takes a token of somebody else's as a bearer token.
    #[must_use]
    pub fn presentation(&self, destination: &Destination) -> &Presentation {
        let Some(integration) = &self.integration else { return &Presentation::Bearer };
        let at_host = integration.presentation_at.iter().find(|(host, _)| host.matches(destination));
        if let Some((_, presentation)) = at_host {
            return presentation;
        }
        let takes_keys = integration.token_url.is_none();
        if takes_keys && self.auth.is_fetched() { &Presentation::Bearer } else { &integration.presentation }
    }
}

/// When the token of a connection is fetched anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refresh {
    /// So long before it expires, but never earlier than when a tenth of its life is left.
    pub early_in: Duration,
    /// So often even while nothing uses it, because an idle refresh token may die; `None` for never.
    pub keep_alive_in: Option<Duration>,
}

impl Default for Refresh {
    fn default() -> Self {
        Self { early_in: Duration::from_secs(60), keep_alive_in: Some(Duration::from_secs(24 * 3600)) }
    }
}

/// Where a secret comes from. The value itself is not here, except for a literal, which the operator must allow.
#[derive(Debug, Clone)]
pub enum SecretSource {
    /// An environment variable of postern's own process.
    Env(String),
    /// A file, read anew when it changes; a trailing line end is not part of the secret.
    File(PathBuf),
    /// A secret of the sealed store, set with `postern secret set`.
    Sealed(String),
    /// The text itself: of a secret only under `allow_literal_secrets: true`, of what is none (a client id) always.
    Literal(SecretString),
}

/// An agent: how it is recognised is in [`Identities`], what it may use in [`Policy`].
#[derive(Debug, Clone)]
pub struct Deployment {
    /// The deployment's name.
    pub name: DeploymentName,
    /// The customer it belongs to, if any.
    pub tenant: Option<TenantName>,
    /// What happens at a host without a binding.
    pub unbound: Unbound,
    /// Hosts that are relayed untouched and never intercepted.
    pub tunnel: Vec<HostPattern>,
    /// Listeners of its own: who connects there is this deployment.
    pub listen: Vec<SocketAddr>,
}

/// What happens at a host that no binding covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unbound {
    /// `403 binding_missing`.
    #[default]
    Deny,
    /// Relayed untouched, never intercepted, no credential.
    Tunnel,
}

/// How destinations are reached.
#[derive(Debug, Clone, Default)]
pub struct Upstream {
    /// A PEM file of roots that are trusted besides the system's.
    pub ca_file: Option<PathBuf>,
    /// Which addresses may be dialled.
    pub addresses: AddressPolicy,
    /// Where to dial instead; name, SNI and certificate check stay those of the key (curl's `--connect-to`).
    pub connect_to: BTreeMap<Authority, Authority>,
}
