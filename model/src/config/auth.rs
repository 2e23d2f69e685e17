//! How a connection authenticates: one plain struct for each documented type. It names where secrets are and never holds
//! one that the operator did not write into the file.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{ClientAuth, Revocation, SecretSource, TokenRequest};
use crate::template::Template;

/// What `authorize_params` may not set: postern sets these itself, or they would replace what it sets (RFC 6749 §4.1.1,
/// RFC 7636 §4.3, RFC 9101 §5).
pub const RESERVED_AUTHORIZE_PARAMS: &[&str] = &[
    "client_id",
    "code_challenge",
    "code_challenge_method",
    "redirect_uri",
    "request",
    "request_uri",
    "response_type",
    "scope",
    "state",
];

/// What `token_params` may not set, for the same reason (RFC 6749 §4 and §6, RFC 7521 §4, RFC 8628 §3.4, RFC 8693 §2.1).
pub const RESERVED_TOKEN_PARAMS: &[&str] = &[
    "actor_token",
    "actor_token_type",
    "assertion",
    "client_assertion",
    "client_assertion_type",
    "client_id",
    "client_secret",
    "code",
    "code_verifier",
    "device_code",
    "grant_type",
    "redirect_uri",
    "refresh_token",
    "scope",
    "subject_token",
    "subject_token_type",
    "token",
];

/// How a connection authenticates at its destination.
#[derive(Debug, Clone)]
pub enum Auth {
    /// A token that the operator supplies, as `Authorization: Bearer TOKEN` (RFC 6750 §2.1) or as the integration has it.
    Bearer {
        /// Where the token comes from.
        token: SecretSource,
    },
    /// `Authorization: Basic` (RFC 7617).
    Basic {
        /// The user name. It may be the secret, where there is no password.
        username: SecretSource,
        /// The password; without one it is empty.
        password: Option<SecretSource>,
    },
    /// Fields of the operator's own making.
    Header {
        /// The fields; each name once, whatever its case.
        headers: Vec<HeaderTemplate>,
        /// What the templates name.
        values: BTreeMap<String, SecretSource>,
    },
    /// A parameter of the query.
    Query {
        /// Its name; unreserved characters only (RFC 3986 §2.3).
        name: String,
        /// Where its value comes from.
        value: SecretSource,
    },
    /// A token that is fetched and refreshed (RFC 6749 and its companions).
    Oauth(Box<Oauth>),
    /// A token of a Google service account, by a signed assertion (RFC 7523).
    GoogleServiceAccount(Box<GoogleServiceAccount>),
    /// A token of a GitHub App's installation.
    GithubApp(Box<GithubApp>),
    /// A signature on each request (AWS Signature Version 4).
    AwsSigv4(Box<AwsSigv4>),
    /// A token that a program prints.
    Exec(Exec),
    /// A token that an HTTPS endpoint of the operator's answers.
    Broker(Broker),
}

impl Auth {
    /// The type as it stands in the file.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Bearer { .. } => "bearer",
            Self::Basic { .. } => "basic",
            Self::Header { .. } => "header",
            Self::Query { .. } => "query",
            Self::Oauth(oauth) => oauth.grant.type_name(),
            Self::GoogleServiceAccount(_) => "google_service_account",
            Self::GithubApp(_) => "github_app",
            Self::AwsSigv4(_) => "aws_sigv4",
            Self::Exec(_) => "exec",
            Self::Broker(_) => "broker",
        }
    }

    /// Every place that something of it comes from, literal texts among them.
    #[must_use]
    pub fn secret_sources(&self) -> Vec<&SecretSource> {
        match self {
            Self::Bearer { token } => vec![token],
            Self::Basic { username, password } => [username].into_iter().chain(password).collect(),
            Self::Header { values, .. } => values.values().collect(),
            Self::Query { value, .. } => vec![value],
            Self::Oauth(oauth) => oauth.secret_sources(),
            Self::GoogleServiceAccount(account) => vec![&account.key],
            Self::GithubApp(app) => vec![&app.client_id, &app.installation_id, &app.private_key],
            Self::AwsSigv4(aws) => aws.credentials.secret_sources(),
            Self::Exec(_) => Vec::new(),
            Self::Broker(broker) => broker.token.iter().collect(),
        }
    }

    /// Whether what is put on requests is fetched, and therefore expires.
    #[must_use]
    pub fn is_fetched(&self) -> bool {
        match self {
            Self::Bearer { .. } | Self::Basic { .. } | Self::Header { .. } | Self::Query { .. } => false,
            Self::AwsSigv4(_) => false,
            Self::Oauth(_) | Self::GoogleServiceAccount(_) | Self::GithubApp(_) => true,
            Self::Exec(_) | Self::Broker(_) => true,
        }
    }
}

/// A field whose value is made from a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderTemplate {
    /// The field's name, a token (RFC 9110 §5.1), as the operator wrote it.
    pub name: String,
    /// Its value.
    pub template: Template,
}

/// A token that is fetched from a token endpoint.
#[derive(Debug, Clone)]
pub struct Oauth {
    /// How the first token is had.
    pub grant: OauthGrant,
    /// The client's id. Always there, except for a token exchange without a client.
    pub client_id: Option<SecretSource>,
    /// The client's secret; a public client has none.
    pub client_secret: Option<SecretSource>,
    /// Where tokens come from and end.
    pub endpoints: Endpoints,
    /// How id and secret are presented; [`ClientAuth::None`] exactly where there is no secret.
    pub client_auth: ClientAuth,
    /// The format of requests to the token endpoint.
    pub token_request: TokenRequest,
    /// The scopes that are asked for.
    pub scopes: Vec<String>,
    /// What stands between them.
    pub scope_separator: char,
    /// Further parameters of the authorization request; none of [`RESERVED_AUTHORIZE_PARAMS`].
    pub authorize_params: BTreeMap<String, String>,
    /// Further parameters of every token request; none of [`RESERVED_TOKEN_PARAMS`].
    pub token_params: BTreeMap<String, String>,
    /// What the provider calls `client_id`, where it has a name of its own for it.
    pub client_id_param: Option<String>,
}

impl Oauth {
    fn secret_sources(&self) -> Vec<&SecretSource> {
        let mut sources: Vec<_> = self.client_id.iter().chain(&self.client_secret).collect();
        match &self.grant {
            OauthGrant::AuthorizationCode { .. } | OauthGrant::ClientCredentials | OauthGrant::DeviceCode { .. } => {}
            OauthGrant::RefreshToken { first } => sources.push(first),
            OauthGrant::TokenExchange(exchange) => {
                sources.push(&exchange.subject_token);
                sources.extend(exchange.actor.iter().map(|actor| &actor.token));
            }
        }
        sources
    }
}

/// How the first token is had.
#[derive(Debug, Clone)]
pub enum OauthGrant {
    /// A browser, a code and PKCE with S256 (RFC 6749 §4.1, RFC 7636).
    AuthorizationCode {
        /// Where the browser is sent.
        authorization_url: String,
    },
    /// A refresh token that the operator supplies (RFC 6749 §6). After the first rotation the store's is used.
    RefreshToken {
        /// Where the first one comes from.
        first: SecretSource,
    },
    /// The client's own authority (RFC 6749 §4.4).
    ClientCredentials,
    /// A code that somebody types elsewhere (RFC 8628).
    DeviceCode {
        /// Where it begins.
        device_authorization_url: String,
    },
    /// A token for a token (RFC 8693).
    TokenExchange(TokenExchange),
}

impl OauthGrant {
    /// The type as it stands in the file.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::AuthorizationCode { .. } => "authorization_code",
            Self::RefreshToken { .. } => "refresh_token",
            Self::ClientCredentials => "client_credentials",
            Self::DeviceCode { .. } => "device_code",
            Self::TokenExchange(_) => "token_exchange",
        }
    }
}

/// What a token exchange says besides the client (RFC 8693 §2.1).
#[derive(Debug, Clone)]
pub struct TokenExchange {
    /// Where the token that is exchanged comes from.
    pub subject_token: SecretSource,
    /// What kind of token it is, as a URI (RFC 8693 §3).
    pub subject_token_type: String,
    /// The party that acts, if another.
    pub actor: Option<ActorToken>,
    /// The logical name of where the token will be used.
    pub audience: Option<String>,
    /// The URI of where the token will be used (RFC 8707 §2).
    pub resource: Option<String>,
}

/// The token of the party that acts.
#[derive(Debug, Clone)]
pub struct ActorToken {
    /// Where it comes from.
    pub token: SecretSource,
    /// What kind of token it is, as a URI (RFC 8693 §3).
    pub token_type: String,
}

/// Where tokens come from and end: the integration's endpoints, or the connection's own. What only one grant needs is in
/// [`OauthGrant`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoints {
    /// Where tokens are issued and refreshed.
    pub token_url: String,
    /// How they are revoked.
    pub revocation: Option<Revocation>,
}

/// A Google service account.
#[derive(Debug, Clone)]
pub struct GoogleServiceAccount {
    /// Where its JSON key file comes from.
    pub key: SecretSource,
    /// The scopes that are asked for; at least one.
    pub scopes: Vec<String>,
    /// The user on whose behalf it acts (domain-wide delegation).
    pub subject: Option<String>,
    /// Where assertions are exchanged for tokens.
    pub token_url: String,
}

/// A GitHub App's installation.
#[derive(Debug, Clone)]
pub struct GithubApp {
    /// The app's client id, or its older numeric id.
    pub client_id: SecretSource,
    /// The installation's id.
    pub installation_id: SecretSource,
    /// Where the app's private key (PEM) comes from.
    pub private_key: SecretSource,
    /// The API's beginning, without a slash at its end.
    pub api_url: String,
}

/// Signatures of AWS.
#[derive(Debug, Clone)]
pub struct AwsSigv4 {
    /// The keys.
    pub credentials: AwsCredentials,
    /// The region; from the host if not given.
    pub region: Option<String>,
    /// The service; from the host if not given.
    pub service: Option<String>,
}

/// The keys of an AWS identity.
#[derive(Debug, Clone)]
pub enum AwsCredentials {
    /// Each from a place of its own.
    Keys {
        /// The access key's id.
        access_key_id: SecretSource,
        /// The access key itself.
        secret_access_key: SecretSource,
        /// The token of a temporary identity.
        session_token: Option<SecretSource>,
    },
    /// All from one section of a credentials file.
    Profile {
        /// The section.
        profile: String,
        /// The file; always [`SecretSource::File`].
        file: SecretSource,
    },
}

impl AwsCredentials {
    fn secret_sources(&self) -> Vec<&SecretSource> {
        match self {
            Self::Keys { access_key_id, secret_access_key, session_token } => {
                [access_key_id, secret_access_key].into_iter().chain(session_token).collect()
            }
            Self::Profile { file, .. } => vec![file],
        }
    }
}

/// A program that prints `{"access_token": …, "expires_in": …}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exec {
    /// The program, by its absolute path, and its arguments. No shell is involved.
    pub command: Vec<String>,
    /// How long it may take.
    pub answer_in: Duration,
    /// The variables of postern's own environment that it gets, and no others.
    pub environment: Vec<String>,
}

/// An HTTPS endpoint that answers `{"access_token": …, "expires_in": …}`.
#[derive(Debug, Clone)]
pub struct Broker {
    /// The endpoint.
    pub url: String,
    /// The bearer token that it is asked with, if it wants one.
    pub token: Option<SecretSource>,
}
