//! The operator's configuration after resolution: what the program uses, not what was written. Secrets appear only as
//! the places they come from.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use secrecy::SecretString;

use crate::address::AddressPolicy;
use crate::authority::Authority;
use crate::identity::Identities;
use crate::limits::Limits;
use crate::name::{ConnectionName, DeploymentName, IntegrationName, TenantName};
use crate::pattern::HostPattern;
use crate::policy::Policy;

/// One consistent reading of the configuration. A request sees exactly one.
#[derive(Debug, Default)]
pub struct Config {
    /// Every integration of the file by name.
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

/// A provider's definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Integration {
    /// The integration's name.
    pub name: IntegrationName,
    /// The hosts of its API.
    pub hosts: Vec<HostPattern>,
    /// Where a browser is sent to authorise an account (RFC 6749 §3.1); always `https://`, like the other endpoints.
    pub authorization_url: Option<String>,
    /// Where tokens are issued and refreshed (RFC 6749 §3.2).
    pub token_url: Option<String>,
    /// Where tokens are revoked (RFC 7009).
    pub revocation_url: Option<String>,
    /// Where the name of an authorised account is found.
    pub account: Option<AccountSource>,
    /// How the client presents its own id and secret at the token endpoint.
    pub client_auth: ClientAuth,
    /// The format of requests to the token endpoint.
    pub token_request: TokenRequest,
    /// The scopes that are asked for where a connection names none.
    pub scopes: Vec<String>,
}

/// Where the name of an authorised account is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountSource {
    /// The URL that describes the account.
    pub url: String,
    /// The field of its JSON answer, or a JSON pointer (RFC 6901).
    pub field: String,
}

/// How a client presents its id and secret (RFC 6749 §2.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientAuth {
    /// In the `Authorization` field.
    #[default]
    Basic,
    /// In the body.
    Post,
}

/// The format of requests to a token endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TokenRequest {
    /// `application/x-www-form-urlencoded`, as RFC 6749 has it.
    #[default]
    Form,
    /// `application/json`, as some providers have it.
    Json,
}

/// One authorised account: what is put on a request, and where its secret comes from.
#[derive(Debug, Clone)]
pub struct Connection {
    /// The connection's name.
    pub name: ConnectionName,
    /// The customer it belongs to, if any.
    pub tenant: Option<TenantName>,
    /// The integration it was made from, if any.
    pub integration: Option<IntegrationName>,
    /// Where it may be used when a binding names no hosts of its own.
    pub hosts: Vec<HostPattern>,
    /// False: every use is refused with `connection_inactive`.
    pub active: bool,
    /// How the credential is presented and where it comes from.
    pub auth: Auth,
}

/// How a connection authenticates at its destination.
#[derive(Debug, Clone)]
pub enum Auth {
    /// `Authorization: Bearer TOKEN` (RFC 6750 §2.1) with a token that the operator supplies.
    Bearer {
        /// Where the token comes from.
        token: SecretSource,
    },
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
    /// The secret itself, accepted only under `allow_literal_secrets: true`.
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
