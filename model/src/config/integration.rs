//! A provider's definition: its hosts, its endpoints, and how it wants to be spoken to. It holds no secret and knows no
//! account.

use std::collections::BTreeMap;
use std::time::Duration;

use super::HeaderTemplate;
use crate::guard::Guarded;
use crate::name::IntegrationName;
use crate::pattern::HostPattern;

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
    /// Where a machine without a browser begins (RFC 8628 §3.1).
    pub device_authorization_url: Option<String>,
    /// How tokens are revoked.
    pub revocation: Option<Revocation>,
    /// Where the name of an authorised account is found.
    pub account: Option<AccountSource>,
    /// How the client presents its own id and secret at the token endpoint.
    pub client_auth: ClientAuth,
    /// The format of requests to the token endpoint.
    pub token_request: TokenRequest,
    /// The scopes that are asked for where a connection names none.
    pub scopes: Vec<String>,
    /// What stands between scopes: a space (RFC 6749 §3.3), or what the provider has instead.
    pub scope_separator: char,
    /// Further parameters of the authorization request.
    pub authorize_params: BTreeMap<String, String>,
    /// Further parameters of every token request.
    pub token_params: BTreeMap<String, String>,
    /// What the provider calls `client_id`, where it has a name of its own for it.
    pub client_id_param: Option<String>,
    /// How a token is put on a request.
    pub presentation: Presentation,
    /// The same, at hosts that differ.
    pub presentation_at: Vec<(HostPattern, Presentation)>,
    /// Fields that are added where the agent sent none. Their templates name parts of the connection's context, or
    /// `client_id`.
    pub headers: Vec<HeaderTemplate>,
    /// What is known of the life of its tokens, for answers that do not say it.
    pub lifetimes: Lifetimes,
    /// Paths besides the endpoints where no binding ever uses a connection.
    pub guarded: Vec<Guarded>,
    /// What an agent is given in place of a token, so that its SDK accepts it.
    pub placeholder: Option<String>,
    /// The environment variables in which its SDKs look for a token, the usual one first.
    pub token_variables: Vec<String>,
}

impl Integration {
    /// An integration of which nothing is known but its name.
    #[must_use]
    pub fn new(name: IntegrationName) -> Self {
        Self {
            name,
            hosts: Vec::new(),
            authorization_url: None,
            token_url: None,
            device_authorization_url: None,
            revocation: None,
            account: None,
            client_auth: ClientAuth::default(),
            token_request: TokenRequest::default(),
            scopes: Vec::new(),
            scope_separator: ' ',
            authorize_params: BTreeMap::new(),
            token_params: BTreeMap::new(),
            client_id_param: None,
            presentation: Presentation::default(),
            presentation_at: Vec::new(),
            headers: Vec::new(),
            lifetimes: Lifetimes::default(),
            guarded: Vec::new(),
            placeholder: None,
            token_variables: Vec::new(),
        }
    }
}

/// How tokens are revoked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    /// Where.
    pub url: String,
    /// In which form.
    pub form: RevocationForm,
    /// How the client presents itself there, if not as at the token endpoint.
    pub client_auth: Option<ClientAuth>,
}

/// The form of a revocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RevocationForm {
    /// A form with `token` (RFC 7009 §2.1).
    #[default]
    Rfc7009,
    /// The same as a JSON object.
    Json,
    /// A `POST` without a body, authenticated with the token that is to die.
    PostAsBearer,
    /// A `DELETE`, authenticated with the token that is to die.
    DeleteAsBearer,
}

/// Where the name of an authorised account is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountSource {
    /// The URL that describes the account, asked with the account's own token.
    pub url: String,
    /// The field of its JSON answer that names the account to people, or a JSON pointer (RFC 6901).
    pub field: String,
    /// The same, for the provider's own unchanging identifier.
    pub id: Option<String>,
    /// The JSON that is posted there; `None` for a `GET`.
    pub body: Option<String>,
    /// The scheme of the `Authorization` field there, if not how a token is presented elsewhere.
    pub scheme: Option<String>,
}

/// How a client presents its id and secret (RFC 6749 §2.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientAuth {
    /// In the `Authorization` field.
    #[default]
    Basic,
    /// In the body.
    Post,
    /// Only its id, in the body: a public client (RFC 6749 §2.1).
    None,
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

/// How a token is put on a request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Presentation {
    /// `Authorization: Bearer TOKEN` (RFC 6750 §2.1).
    #[default]
    Bearer,
    /// In a field of the provider's own, behind a scheme or alone.
    Header {
        /// The field's name.
        name: String,
        /// What stands before the token, with a space between.
        scheme: Option<String>,
    },
    /// As the password of `Authorization: Basic` (RFC 7617).
    Basic {
        /// The user name.
        username: String,
    },
}

/// What is known of the life of a provider's tokens. What an answer says itself always goes before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lifetimes {
    /// The life of an access token.
    pub access_in: Option<Duration>,
    /// The life of a refresh token.
    pub refresh_in: Option<Duration>,
    /// How long a refresh token lives unused.
    pub refresh_idle_in: Option<Duration>,
    /// From when the life of a refresh token counts.
    pub refresh_clock: RefreshClock,
    /// Whether a refresh brings a new refresh token.
    pub rotation: Rotation,
}

/// From when the life of a refresh token counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RefreshClock {
    /// From its own issue: each refresh prolongs it.
    #[default]
    Issue,
    /// From the operator's consent: refreshing prolongs nothing, and the account must be authorised again in time.
    Consent,
}

/// Whether a refresh brings a new refresh token and ends the old one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rotation {
    /// Every time.
    Always,
    /// Now and then, or unknown: each answer says it.
    #[default]
    Sometimes,
    /// The first one stays.
    Never,
}
