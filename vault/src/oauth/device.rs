//! The device flow, for machines without a browser (RFC 8628): its first request, that request's answer, and what each
//! poll amounts to. It does not wait between polls; the loop and its clock are its caller's.

use std::fmt;
use std::time::Duration;

use secrecy::SecretString;

use super::answer::{Answer, Token, TokenOutcome};
use super::client::OauthClient;
use super::failure::{TokenFailure, failure};
use super::fields::Fields;
use super::life::{self, Life};
use super::request::{RequestError, checked_url, client_request, parameter};

/// How much longer to wait between polls after each `slow_down` (RFC 8628 §3.5).
pub const SLOW_DOWN_BY: Duration = Duration::from_secs(5);

/// Between polls where the answer does not say (RFC 8628 §3.2), in seconds.
const INTERVAL_SECS: i64 = 5;
/// The longest time between polls that is honoured, in seconds.
const INTERVAL_SECS_MAX: i64 = 60;
/// How long a code lives where the answer does not say, in seconds.
const CODE_SECS: i64 = 15 * 60;
/// How long a code lives at most, in seconds: an hour.
const CODE_SECS_MAX: i64 = 60 * 60;
/// The longest code that a person can be asked to type, in characters.
const USER_CODE_CHARS_MAX: usize = 64;

/// What the person is shown, and what is polled with.
#[derive(Clone)]
pub struct DeviceStart {
    /// Goes into [`super::GrantRequest::DeviceCode`].
    pub device_code: SecretString,
    /// What the person types.
    pub user_code: String,
    /// Where the person types it.
    pub verification_uri: String,
    /// The same with the code filled in, where the provider has that.
    pub verification_uri_complete: Option<String>,
    /// When the code ends, in Unix seconds.
    pub expires_at: i64,
    /// Between polls.
    pub interval: Duration,
}

impl fmt::Debug for DeviceStart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The user code is as good as the device code to whoever can sign in first.
        f.debug_struct("DeviceStart").field("verification_uri", &self.verification_uri).finish_non_exhaustive()
    }
}

/// What one poll brought.
#[derive(Debug)]
pub enum PollOutcome {
    /// The person has not finished yet.
    Pending,
    /// The same, and polls must come [`SLOW_DOWN_BY`] further apart from now on.
    SlowDown,
    /// The person said no.
    Denied,
    /// The code ended before the person finished.
    Expired,
    /// Granted; the refresh token is stored before the token is used.
    Granted {
        /// The refresh token, where there is one.
        refresh_token: Option<SecretString>,
        /// When the refresh token ends, in Unix seconds, where the answer tells.
        refresh_token_expires_at: Option<i64>,
        /// The access token.
        token: Token,
    },
    /// Anything else. What passes by itself ([`TokenFailure::Unreachable`], `Outage`, `Throttled`) is worth another poll.
    Failed(TokenFailure),
}

/// The request for a code (RFC 8628 §3.1).
///
/// # Errors
/// [`RequestError`] where the URL cannot be asked.
pub fn device_start_request(
    client: &OauthClient,
    device_authorization_url: &str,
    scopes: &[String],
) -> Result<http::Request<Vec<u8>>, RequestError> {
    let mut parameters = Vec::new();
    // The extra parameters are those of the token endpoint, not of this one.
    let client = OauthClient { extra: Vec::new(), ..client.clone() };
    if !scopes.is_empty() {
        parameters.push(parameter("scope", &scopes.join(&client.scope_separator)));
    }
    client_request(&client, device_authorization_url, "device_authorization_url", parameters)
}

/// Reads the answer to [`device_start_request`]. `now` is in Unix seconds.
///
/// # Errors
/// [`TokenFailure`] where there is no code to go on with.
pub fn device_start(answer: &Answer<'_>, now: i64) -> Result<DeviceStart, TokenFailure> {
    let fields = Fields::read(answer.content_type, answer.body);
    if let Some(failure) = failure(answer, fields.as_ref().map_err(|reason| *reason), now, &[]) {
        return Err(failure);
    }
    let fields = fields.map_err(|reason| TokenFailure::Unusable(reason.into()))?;
    let missing = |name: &str| TokenFailure::Unusable(format!("carries no usable {name}"));

    let device_code = fields.text("device_code").ok_or_else(|| missing("device_code"))?;
    let user_code = fields.text("user_code").filter(|code| is_typeable(code)).ok_or_else(|| missing("user_code"))?;
    // Google and drafts before the RFC write `url`.
    let page = |names: [&str; 2]| names.iter().find_map(|name| fields.text(name)).and_then(page);
    let verification_uri = page(["verification_uri", "verification_url"]).ok_or_else(|| missing("verification_uri"))?;
    let expires_at = match life::life(fields.all(), &["expires_in"], &["expires_at"], now) {
        Life::Until(at) => at.min(now.saturating_add(CODE_SECS_MAX)),
        Life::Over { .. } | Life::Unknown => now.saturating_add(CODE_SECS),
    };
    let interval = fields.value("interval").and_then(life::seconds).map_or(INTERVAL_SECS, |seconds| seconds as i64);
    Ok(DeviceStart {
        device_code: device_code.into(),
        user_code: user_code.to_owned(),
        verification_uri,
        verification_uri_complete: page(["verification_uri_complete", "verification_url_complete"]),
        expires_at,
        interval: Duration::from_secs(interval.clamp(1, INTERVAL_SECS_MAX).unsigned_abs()),
    })
}

impl From<TokenOutcome> for PollOutcome {
    /// What an exchange of [`super::GrantRequest::DeviceCode`] means (RFC 8628 §3.5).
    fn from(outcome: TokenOutcome) -> Self {
        let TokenOutcome { refresh_token, refresh_token_expires_at, judged } = outcome;
        let failure = match judged {
            Ok(token) => return Self::Granted { refresh_token, refresh_token_expires_at, token },
            Err(failure) => failure,
        };
        let TokenFailure::Refused { code, .. } = &failure else { return Self::Failed(failure) };
        match code.as_str() {
            "authorization_pending" => Self::Pending,
            "slow_down" => Self::SlowDown,
            "access_denied" | "authorization_declined" => Self::Denied,
            "expired_token" => Self::Expired,
            _ => Self::Failed(failure),
        }
    }
}

/// It is printed in a terminal and on a page.
fn is_typeable(code: &str) -> bool {
    code.chars().count() <= USER_CODE_CHARS_MAX && code.chars().all(|c| c.is_alphanumeric() || "- ._".contains(c))
}

/// A page that a browser can be sent to, in the URL's normal spelling.
fn page(url: &str) -> Option<String> {
    checked_url(url, "verification_uri").ok().map(String::from)
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::super::scripted::{Scripted, client, form, run, secret};
    use super::super::{ClientAuth, GrantRequest, exchange};
    use super::*;

    fn start(status: u16, body: &str) -> Result<DeviceStart, TokenFailure> {
        device_start(&Answer { status, content_type: None, retry_after: None, body: body.as_bytes() }, 1000)
    }

    fn poll(status: u16, body: &'static str) -> PollOutcome {
        let grant = GrantRequest::DeviceCode { device_code: secret("dc") };
        run(exchange(&Scripted::new([Ok((status, body))]), &client(), &grant, 0)).into()
    }

    #[test]
    fn the_request_names_client_and_scopes() {
        let public = OauthClient { auth: ClientAuth::None, ..client() };
        let url = "https://login.acme.test/device";
        let request = device_start_request(&public, url, &["a".into(), "b".into()]).unwrap();
        let expected = [("scope", "a b"), ("client_id", "acme-id")];
        assert_eq!(form(&request), expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn an_answer_is_read_as_the_rfc_has_it_and_as_google_and_github_have_it() {
        let rfc = r#"{"device_code":"canary","user_code":"WDJB-MJHT","verification_uri":"https://a.test/device",
            "verification_uri_complete":"https://a.test/device?c=1","expires_in":1800,"interval":7}"#;
        let started = start(200, rfc).unwrap();
        assert_eq!(started.device_code.expose_secret(), "canary");
        assert_eq!(started.user_code, "WDJB-MJHT");
        assert_eq!(started.verification_uri, "https://a.test/device");
        assert_eq!(started.verification_uri_complete.as_deref(), Some("https://a.test/device?c=1"));
        assert_eq!((started.expires_at, started.interval.as_secs()), (2800, 7));
        assert!(!format!("{started:?}").contains("canary"));

        let google =
            r#"{"device_code":"d","user_code":"A B","verification_url":"https://a.test/device","expires_in":"60"}"#;
        let started = start(200, google).unwrap();
        assert_eq!((started.expires_at, started.interval.as_secs()), (1060, 5));

        let github = "device_code=d&user_code=AB12&verification_uri=https%3A%2F%2Fa.test%2Fd&interval=-1";
        let started = start(200, github).unwrap();
        assert_eq!((started.expires_at, started.interval.as_secs()), (1900, 1));
    }

    #[test]
    fn an_answer_that_nobody_could_go_on_with_is_refused() {
        for body in [
            r#"{"user_code":"A","verification_uri":"https://a.test/"}"#,
            r#"{"device_code":"d","user_code":"\u001b[2J","verification_uri":"https://a.test/"}"#,
            r#"{"device_code":"d","user_code":"A","verification_uri":"javascript:alert(1)"}"#,
            "<html>",
        ] {
            assert!(matches!(start(200, body), Err(TokenFailure::Unusable(_))), "{body}");
        }
        assert!(matches!(start(400, r#"{"error":"invalid_client"}"#), Err(TokenFailure::Refused { .. })));
    }

    #[test]
    fn each_poll_means_one_thing() {
        assert!(matches!(poll(400, r#"{"error":"authorization_pending"}"#), PollOutcome::Pending));
        assert!(matches!(poll(200, r#"{"error":"authorization_pending"}"#), PollOutcome::Pending)); // GitHub
        assert!(matches!(poll(428, r#"{"error":"authorization_pending"}"#), PollOutcome::Pending)); // Google
        assert!(matches!(poll(400, r#"{"error":"slow_down"}"#), PollOutcome::SlowDown));
        assert!(matches!(poll(403, r#"{"error":"access_denied"}"#), PollOutcome::Denied));
        assert!(matches!(poll(400, r#"{"error":"expired_token"}"#), PollOutcome::Expired));
        assert!(matches!(poll(503, ""), PollOutcome::Failed(TokenFailure::Outage { .. })));
        assert!(matches!(
            poll(200, r#"{"access_token":"at","refresh_token":"rt"}"#),
            PollOutcome::Granted { refresh_token: Some(_), .. }
        ));
    }
}
