//! Authorising an account: what a browser or a device needs to begin, what its answer brings, and how an account ends. It
//! knows no page and no session; whoever calls it has checked that the answer belongs to the question.

use model::config::{Auth, Connection, OauthGrant, RevocationForm};
use secrecy::{ExposeSecret, SecretString};

use crate::broker::Broker;
use crate::fetch::Fetch;
use crate::oauth::{
    Answer, AuthorizationAsk, AuthorizationRequest, DeviceStart, GrantRequest, OauthClient, PollOutcome, Revocation,
    TokenFailure, TokenKind, TokenOutcome, device_start, device_start_request, exchange, revoke,
};
use crate::records::AccountRecord;

/// The longest account label that is kept, in characters.
const LABEL_CHARACTERS_MAX: usize = 120;

/// Why an account was not authorised.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The connection has no such way.
    #[error("connection \"{0}\" is not authorised in this way: {1}")]
    NotThisWay(String, &'static str),
    /// Its settings or secrets are no use.
    #[error("connection \"{0}\" cannot be authorised: {1}")]
    Unprepared(String, String),
    /// The provider said no, or nothing.
    #[error("{0}")]
    Provider(#[from] TokenFailure),
    /// The tokens came and could not be written down; they are lost.
    #[error("the tokens could not be written down: {0}")]
    Store(String),
}

/// An account that was authorised.
#[derive(Debug, Clone)]
pub struct Authorised {
    /// Its label at the provider, such as an e-mail address, where the provider tells.
    pub account: Option<String>,
    /// The scopes that were granted, where the provider tells.
    pub scopes: Option<Vec<String>>,
}

impl Broker {
    /// The URL that a browser must visit to authorise the account, and what must be kept until it comes back.
    ///
    /// # Errors
    /// [`ConnectError`] where the connection is not authorised by a browser.
    pub fn begin(&self, connection: &Connection, redirect_uri: &str) -> Result<AuthorizationRequest, ConnectError> {
        let name = connection.name.to_string();
        let Auth::Oauth(oauth) = &connection.auth else {
            return Err(ConnectError::NotThisWay(name, "it holds no OAuth account"));
        };
        let OauthGrant::AuthorizationCode { authorization_url } = &oauth.grant else {
            return Err(ConnectError::NotThisWay(name, "its type is not authorization_code"));
        };
        let client = self.client(connection)?;
        let extra: Vec<(String, String)> = oauth.authorize_params.clone().into_iter().collect();
        let ask = AuthorizationAsk {
            authorization_url,
            client_id: &client.client_id,
            redirect_uri,
            scopes: &oauth.scopes,
            scope_separator: &client.scope_separator,
            extra: &extra,
        };
        AuthorizationRequest::new(&ask).map_err(|error| ConnectError::Unprepared(name, error.to_string()))
    }

    /// Exchanges the code that the browser brought back, and puts the account in force.
    ///
    /// # Errors
    /// [`ConnectError`]; nothing that was there before is lost then.
    pub async fn finish(
        &self,
        connection: &Connection,
        code: SecretString,
        redirect_uri: String,
        verifier: SecretString,
    ) -> Result<Authorised, ConnectError> {
        let client = self.client(connection)?;
        let request = GrantRequest::AuthorizationCode { code, redirect_uri, verifier: Some(verifier) };
        let outcome = exchange(self.fetch(), &client, &request, self.now()).await;
        self.take_up(connection, outcome).await
    }

    /// Asks for a code that somebody types elsewhere (RFC 8628).
    ///
    /// # Errors
    /// [`ConnectError`] where the connection is not authorised by a device.
    pub async fn begin_device(&self, connection: &Connection) -> Result<DeviceStart, ConnectError> {
        let name = connection.name.to_string();
        let Auth::Oauth(oauth) = &connection.auth else {
            return Err(ConnectError::NotThisWay(name, "it holds no OAuth account"));
        };
        let of_integration = || connection.integration.as_ref().and_then(|it| it.device_authorization_url.clone());
        let url = match &oauth.grant {
            OauthGrant::DeviceCode { device_authorization_url } => Some(device_authorization_url.clone()),
            OauthGrant::AuthorizationCode { .. } => of_integration(),
            _ => None,
        };
        let url = url.ok_or(ConnectError::NotThisWay(name.clone(), "its provider has no device_authorization_url"))?;
        let client = self.client(connection)?;
        let request = device_start_request(&client, &url, &oauth.scopes)
            .map_err(|error| ConnectError::Unprepared(name, error.to_string()))?;
        let response = self.fetch().fetch(request).await.map_err(TokenFailure::Unreachable)?;
        Ok(device_start(&Answer::of(&response), self.now())?)
    }

    /// Asks once whether somebody has typed the code. `None`: not yet; ask again after the interval, which may have grown.
    ///
    /// # Errors
    /// [`ConnectError`] when it was refused or has ended.
    pub async fn poll_device(
        &self,
        connection: &Connection,
        start: &mut DeviceStart,
    ) -> Result<Option<Authorised>, ConnectError> {
        let client = self.client(connection)?;
        let request = GrantRequest::DeviceCode { device_code: start.device_code.clone() };
        let outcome = exchange(self.fetch(), &client, &request, self.now()).await;
        match PollOutcome::from(outcome) {
            PollOutcome::Pending => Ok(None),
            PollOutcome::SlowDown => {
                start.interval += crate::oauth::SLOW_DOWN_BY;
                Ok(None)
            }
            PollOutcome::Denied => Err(TokenFailure::Misconfigured("somebody said no".into()).into()),
            PollOutcome::Expired => Err(TokenFailure::Misconfigured("the code has ended; begin again".into()).into()),
            PollOutcome::Granted { refresh_token, refresh_token_expires_at, token } => {
                let outcome = TokenOutcome { refresh_token, refresh_token_expires_at, judged: Ok(token) };
                self.take_up(connection, outcome).await.map(Some)
            }
            PollOutcome::Failed(
                TokenFailure::Unreachable(_) | TokenFailure::Outage { .. } | TokenFailure::Throttled { .. },
            ) => Ok(None),
            PollOutcome::Failed(failure) => Err(failure.into()),
        }
    }

    /// Ends the account: revokes its tokens at the provider where that is possible, and deletes them here in any case.
    /// Returns what the provider answered, in words.
    ///
    /// # Errors
    /// [`ConnectError::Store`] when they could not be deleted.
    pub async fn disconnect(&self, connection: &Connection) -> Result<String, ConnectError> {
        let record = self.record(&connection.name).unwrap_or_default();
        let told = self.revoke(connection, &record).await;
        self.replace(&connection.name, None).await.map_err(ConnectError::Store)?;
        Ok(told)
    }

    async fn revoke(&self, connection: &Connection, record: &AccountRecord) -> String {
        let Auth::Oauth(oauth) = &connection.auth else { return "there was nothing to revoke".into() };
        let Some(revocation) = &oauth.endpoints.revocation else { return "the provider offers no revocation".into() };
        if revocation.form != RevocationForm::Rfc7009 {
            return "the provider's revocation is not supported by this version yet".into();
        }
        let (token, kind) = match (&record.refresh_token, &record.access_token) {
            (Some(token), _) => (token, TokenKind::RefreshToken),
            (None, Some(token)) => (token, TokenKind::AccessToken),
            (None, None) => return "there was nothing to revoke".into(),
        };
        match self.client(connection) {
            Ok(client) => {
                let outcome: Revocation = revoke(self.fetch(), &client, &revocation.url, token, kind, self.now()).await;
                outcome.to_string()
            }
            Err(error) => error.to_string(),
        }
    }

    /// Writes the tokens down, finds out whose they are, and puts them in force.
    async fn take_up(&self, connection: &Connection, outcome: TokenOutcome) -> Result<Authorised, ConnectError> {
        let TokenOutcome { refresh_token, judged, .. } = outcome;
        let token = judged?;
        let now = self.now();
        let before = self.record(&connection.name).unwrap_or_default();
        let account = self.label(connection, &token.access_token).await;
        let record = AccountRecord {
            access_token: Some(token.access_token),
            expires_at: token.expires_at,
            obtained_at: now,
            // Some providers give a refresh token only the first time (Google): a missing one must not cost the old.
            refresh_token: refresh_token.or(before.refresh_token),
            scopes: token.scopes,
            seed: before.seed,
            origin: before.origin,
            needs_reauth: None,
            authorized_at: Some(now),
            account: account.clone(),
        };
        let scopes = record.scopes.clone();
        self.replace(&connection.name, Some(record)).await.map_err(ConnectError::Store)?;
        Ok(Authorised { account, scopes })
    }

    /// The account's label, where the provider tells; failing to learn it costs nothing.
    async fn label(&self, connection: &Connection, token: &SecretString) -> Option<String> {
        let source = connection.integration.as_ref()?.account.as_ref()?;
        let scheme = source.scheme.as_deref().unwrap_or("Bearer");
        let mut request = match &source.body {
            Some(_) => http::Request::post(&source.url).header(http::header::CONTENT_TYPE, "application/json"),
            None => http::Request::get(&source.url),
        };
        request = request
            .header(http::header::AUTHORIZATION, format!("{scheme} {}", token.expose_secret()))
            .header(http::header::ACCEPT, "application/json")
            .header(http::header::USER_AGENT, concat!("postern/", env!("CARGO_PKG_VERSION")));
        let request = request.body(source.body.clone().unwrap_or_default().into_bytes()).ok()?;
        let response = self.fetch().fetch(request).await.ok()?;
        let answer: serde_json::Value = serde_json::from_slice(response.body()).ok()?;
        let found =
            if source.field.starts_with('/') { answer.pointer(&source.field) } else { answer.get(&source.field) };
        let text = match found? {
            serde_json::Value::String(text) => text.clone(),
            serde_json::Value::Number(number) => number.to_string(),
            _ => return None,
        };
        Some(text.chars().filter(|letter| !letter.is_control()).take(LABEL_CHARACTERS_MAX).collect())
    }

    fn client(&self, connection: &Connection) -> Result<OauthClient, ConnectError> {
        self.client_of(&connection.name).ok_or_else(|| {
            let (_, problem) = self.standing(&connection.name);
            let problem = problem.unwrap_or_else(|| "it has no OAuth client".into());
            ConnectError::Unprepared(connection.name.to_string(), problem)
        })
    }

    fn fetch(&self) -> &dyn Fetch {
        self.way_out().as_ref()
    }
}
