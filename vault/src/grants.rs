//! The ways to a token: one [`Obtain`] for each grant type, made from a connection's settings and secrets. Each asks once
//! and judges nothing; when to ask, and what a failure means, is the account's to know.

use std::fmt;
use std::sync::Arc;

use http::{Request, header};
use model::config::{
    Auth, Broker as BrokerSettings, ClientAuth as ClientAuthSetting, Connection, Exec, GithubApp, GoogleServiceAccount,
    Oauth, OauthGrant, SecretSource, TokenRequest,
};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use crate::account::{Obtain, Obtaining};
use crate::broker::Unavailable;
use crate::fetch::Fetch;
use crate::oauth::{
    Answer, AnswerHints, BodyFormat, ClientAuth, GrantRequest, OauthClient, ServiceAccount, SigningKey, TokenFailure,
    TokenOutcome, exchange, github_app_assertion,
};
use crate::program;
use crate::records::AccountRecord;
use crate::source::Sources;

/// The first refresh token, where the configuration gives one.
#[derive(Default)]
pub(crate) struct Seed(Option<SecretString>);

impl Seed {
    #[cfg(test)]
    pub(crate) fn of(first: &str) -> Self {
        Self(Some(first.into()))
    }

    /// The record to begin with. What the store has counts, unless the configuration gives another first token than the one
    /// it began with. Under other settings than those of `origin` an access token no longer counts, and a refresh token
    /// only where somebody's authorisation stands behind it.
    pub(crate) fn seeded(
        self,
        mut record: AccountRecord,
        origin: [u8; 32],
        keeps_refresh_token: bool,
        now: i64,
    ) -> AccountRecord {
        if let Some(first) = self.0 {
            let seed: [u8; 32] = Sha256::digest(first.expose_secret().as_bytes()).into();
            if record.seed != Some(seed) {
                let begun = AccountRecord { refresh_token: Some(first), seed: Some(seed), ..AccountRecord::default() };
                return AccountRecord { origin: Some(origin), obtained_at: now, ..begun };
            }
        }
        if record.origin.replace(origin) != Some(origin) {
            record.access_token = None;
            record.expires_at = None;
            // A corrected client may be what it needed: it is tried again, once.
            record.needs_reauth = None;
            record.refresh_token = record.refresh_token.filter(|_| keeps_refresh_token);
        }
        record
    }
}

/// The way to this connection's token, and the first refresh token where the configuration gives one.
pub(crate) fn obtain(
    connection: &Connection,
    sources: &Sources<'_>,
    fetch: &Arc<dyn Fetch>,
) -> Result<(Box<dyn Obtain>, Seed), Unavailable> {
    let read = |source: &SecretSource| sources.read(source).map_err(|error| Unavailable::broken(&error.to_string()));
    let way = match &connection.auth {
        Auth::Oauth(oauth) => return by_oauth(connection, oauth, &read, fetch),
        Auth::GoogleServiceAccount(account) => by_service_account(account, &read)?,
        Auth::GithubApp(app) => by_github_app(app, &read)?,
        Auth::Exec(exec) => Way::Exec(exec.clone()),
        Auth::Broker(broker) => by_broker(broker, &read)?,
        _ => return Err(Unavailable::broken("its token is not fetched")),
    };
    Ok((Box::new(Grantor { fetch: Arc::clone(fetch), way }), Seed::default()))
}

type Read<'r> = dyn Fn(&SecretSource) -> Result<SecretString, Unavailable> + 'r;

/// One connection's way to a token.
struct Grantor {
    fetch: Arc<dyn Fetch>,
    way: Way,
}

enum Way {
    Refresh(OauthClient),
    ClientCredentials { client: OauthClient, scopes: Vec<String> },
    TokenExchange { client: OauthClient, request: Box<GrantRequest> },
    ServiceAccount { client: OauthClient, account: Box<ServiceAccount>, subject: Option<String>, scopes: Vec<String> },
    GithubApp { client: OauthClient, key: Box<SigningKey>, issuer: String },
    Exec(Exec),
    Broker { url: String, token: Option<SecretString> },
}

impl fmt::Debug for Grantor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Grantor(..)")
    }
}

impl Obtain for Grantor {
    fn obtain<'a>(&'a self, refresh_token: Option<&'a SecretString>, now: i64) -> Obtaining<'a> {
        Box::pin(self.ask(refresh_token, now))
    }

    fn client(&self) -> Option<OauthClient> {
        match &self.way {
            Way::Refresh(client) => Some(client.clone()),
            _ => None,
        }
    }

    fn needs_refresh_token(&self) -> bool {
        matches!(self.way, Way::Refresh(_))
    }
}

impl Grantor {
    async fn ask(&self, refresh_token: Option<&SecretString>, now: i64) -> TokenOutcome {
        let fetch = self.fetch.as_ref();
        let (client, request) = match &self.way {
            Way::Refresh(client) => match refresh_token.cloned() {
                Some(refresh_token) => (client, GrantRequest::RefreshToken { refresh_token, scopes: Vec::new() }),
                None => return failed(TokenFailure::Misconfigured("there is no refresh token".into())),
            },
            Way::ClientCredentials { client, scopes } => {
                (client, GrantRequest::ClientCredentials { scopes: scopes.clone() })
            }
            Way::TokenExchange { client, request } => (client, GrantRequest::clone(request)),
            Way::ServiceAccount { client, account, subject, scopes } => {
                match account.assertion(subject.as_deref(), scopes, now) {
                    Ok(assertion) => (client, GrantRequest::JwtBearer { assertion, scopes: Vec::new() }),
                    Err(error) => return failed(TokenFailure::Misconfigured(error.to_string())),
                }
            }
            Way::GithubApp { client, key, issuer } => match github_app_assertion(key, issuer, now) {
                Ok(assertion) => (client, GrantRequest::AppInstallation { assertion }),
                Err(error) => return failed(TokenFailure::Misconfigured(error.to_string())),
            },
            Way::Exec(exec) => return program::ask(exec, now).await,
            Way::Broker { url, token } => return ask_broker(fetch, url, token.as_ref(), now).await,
        };
        exchange(fetch, client, &request, now).await
    }
}

pub(crate) fn failed(failure: TokenFailure) -> TokenOutcome {
    TokenOutcome { refresh_token: None, refresh_token_expires_at: None, judged: Err(failure) }
}

fn by_oauth(
    connection: &Connection,
    oauth: &Oauth,
    read: &Read<'_>,
    fetch: &Arc<dyn Fetch>,
) -> Result<(Box<dyn Obtain>, Seed), Unavailable> {
    let client = client(connection, oauth, read)?;
    let mut seed = Seed::default();
    let way = match &oauth.grant {
        OauthGrant::AuthorizationCode { .. } | OauthGrant::DeviceCode { .. } => Way::Refresh(client),
        OauthGrant::RefreshToken { first } => {
            seed = Seed(Some(read(first)?));
            Way::Refresh(client)
        }
        OauthGrant::ClientCredentials => Way::ClientCredentials { client, scopes: oauth.scopes.clone() },
        OauthGrant::TokenExchange(exchange) => Way::TokenExchange {
            client,
            request: Box::new(GrantRequest::TokenExchange {
                subject_token: read(&exchange.subject_token)?,
                subject_token_type: exchange.subject_token_type.clone(),
                requested_token_type: None,
                audience: exchange.audience.clone(),
                resource: exchange.resource.clone(),
                actor: match &exchange.actor {
                    Some(actor) => Some((read(&actor.token)?, actor.token_type.clone())),
                    None => None,
                },
                scopes: oauth.scopes.clone(),
            }),
        },
    };
    Ok((Box::new(Grantor { fetch: Arc::clone(fetch), way }), seed))
}

fn client(connection: &Connection, oauth: &Oauth, read: &Read<'_>) -> Result<OauthClient, Unavailable> {
    let client_id = oauth.client_id.as_ref().map(read).transpose()?;
    let seconds = |span: std::time::Duration| i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
    let lifetimes = connection.integration.as_ref().map(|integration| integration.lifetimes).unwrap_or_default();
    Ok(OauthClient {
        token_url: oauth.endpoints.token_url.clone(),
        client_id: client_id.map(|id| id.expose_secret().to_owned()).unwrap_or_default(),
        client_secret: oauth.client_secret.as_ref().map(read).transpose()?,
        auth: match oauth.client_auth {
            ClientAuthSetting::Basic => ClientAuth::Basic,
            ClientAuthSetting::Post => ClientAuth::Post,
            ClientAuthSetting::None => ClientAuth::None,
        },
        body: match oauth.token_request {
            TokenRequest::Form => BodyFormat::Form,
            TokenRequest::Json => BodyFormat::Json,
        },
        scope_separator: oauth.scope_separator.to_string(),
        extra: oauth.token_params.clone().into_iter().collect(),
        answers: AnswerHints { life_default_in: lifetimes.access_in.map(seconds), ..AnswerHints::default() },
    })
}

/// A client without id or secret: the assertion alone says who asks.
fn nameless(token_url: String, body: BodyFormat) -> OauthClient {
    OauthClient {
        token_url,
        client_id: String::new(),
        client_secret: None,
        auth: ClientAuth::None,
        body,
        scope_separator: " ".into(),
        extra: Vec::new(),
        answers: AnswerHints::default(),
    }
}

fn by_service_account(settings: &GoogleServiceAccount, read: &Read<'_>) -> Result<Way, Unavailable> {
    let account = ServiceAccount::from_key_file(&read(&settings.key)?)
        .map_err(|error| Unavailable::broken(&error.to_string()))?;
    Ok(Way::ServiceAccount {
        client: nameless(settings.token_url.clone(), BodyFormat::Form),
        account: Box::new(account),
        subject: settings.subject.clone(),
        scopes: settings.scopes.clone(),
    })
}

fn by_github_app(settings: &GithubApp, read: &Read<'_>) -> Result<Way, Unavailable> {
    let installation = read(&settings.installation_id)?;
    let installation = installation.expose_secret();
    if installation.is_empty() || !installation.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Unavailable::broken("its installation_id is not a number"));
    }
    let url = format!("{}/app/installations/{installation}/access_tokens", settings.api_url);
    let key =
        SigningKey::from_pem(&read(&settings.private_key)?).map_err(|error| Unavailable::broken(&error.to_string()))?;
    let issuer = read(&settings.client_id)?.expose_secret().to_owned();
    Ok(Way::GithubApp { client: nameless(url, BodyFormat::Json), key: Box::new(key), issuer })
}

fn by_broker(settings: &BrokerSettings, read: &Read<'_>) -> Result<Way, Unavailable> {
    Ok(Way::Broker { url: settings.url.clone(), token: settings.token.as_ref().map(read).transpose()? })
}

async fn ask_broker(fetch: &dyn Fetch, url: &str, token: Option<&SecretString>, now: i64) -> TokenOutcome {
    let mut request = Request::get(url).header(header::ACCEPT, "application/json");
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {}", token.expose_secret()));
    }
    let Ok(request) = request.body(Vec::new()) else {
        return failed(TokenFailure::Misconfigured("its url or token cannot be sent".into()));
    };
    match fetch.fetch(request).await {
        Ok(response) => {
            let sent: Vec<&str> = token.iter().map(|token| token.expose_secret()).collect();
            Answer::of(&response).read(now, &AnswerHints::default(), &sent)
        }
        Err(error) => failed(TokenFailure::Unreachable(error)),
    }
}

#[cfg(test)]
mod tests;
