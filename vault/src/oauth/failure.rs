//! Why there is no token, sorted by what must happen next: ask the account's owner, ask the operator, or try again. It
//! shows a provider's words only escaped, capped and without secrets.

use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use serde_json::{Map, Value};

use super::answer::Answer;
use super::fields::{self, Fields};
use super::words;
use crate::fetch::FetchError;

/// The longest `Retry-After` that is honoured.
const RETRY_IN_MAX: Duration = Duration::from_secs(60 * 60);

/// Codes by which a provider says that the grant itself is dead (RFC 6749 §5.2), and what GitHub (`bad_…`) and Slack
/// call the same.
const DEAD_GRANT: [&str; 5] =
    ["invalid_grant", "unauthorized_client", "bad_refresh_token", "bad_verification_code", "invalid_refresh_token"];
/// Codes by which a provider asks for patience, whatever the status.
const PATIENCE: [&str; 3] = ["ratelimited", "rate_limited", "too_many_requests"];
/// Codes by which a provider says that it is at fault (RFC 6749 §4.1.2.1).
const OUTAGE: [&str; 3] = ["temporarily_unavailable", "server_error", "internal_error"];

/// Why a token endpoint gave no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenFailure {
    /// The grant is dead: expired, revoked, or used before. Only a new authorization helps.
    #[error(
        "the provider no longer accepts this authorization ({}): connect the account again",
        told(code, description)
    )]
    InvalidGrant {
        /// The provider's code.
        code: String,
        /// The provider's words, escaped and capped; may be empty.
        description: String,
    },
    /// The provider refused the request for another reason: a wrong client secret, a scope it does not know.
    #[error(
        "the provider refused to give a token ({}): check the connection's client and scopes",
        told(code, description)
    )]
    Refused {
        /// The provider's code, or `http_STATUS` where it gave none.
        code: String,
        /// The provider's words, escaped and capped; may be empty.
        description: String,
    },
    /// Too many requests (RFC 6585 §4).
    #[error("the provider asks for fewer requests; it is tried again later")]
    Throttled {
        /// How long the provider asked to wait.
        retry_in: Option<Duration>,
    },
    /// The provider is at fault (a 5xx); the grant may be as good as before.
    #[error("the provider fails (HTTP {status}); it is tried again later")]
    Outage {
        /// The answer's status.
        status: u16,
        /// How long the provider asked to wait.
        retry_in: Option<Duration>,
    },
    /// No answer, or none in time. The provider may have acted on the request all the same.
    #[error("the provider gave no answer: {0}")]
    Unreachable(FetchError),
    /// The endpoint points elsewhere; it is not followed, since the request carries secrets.
    #[error("the provider's endpoint redirects, which is not followed: check its URL")]
    Redirect,
    /// An answer that holds no token that could be used; the words follow "the answer".
    #[error("the provider's answer {0}")]
    Unusable(String),
    /// The request could not be made from what was configured.
    #[error("{0}")]
    Misconfigured(String),
}

impl TokenFailure {
    /// True where nothing but a new authorization by the account's owner helps.
    #[must_use]
    pub fn needs_reauth(&self) -> bool {
        matches!(self, Self::InvalidGrant { .. })
    }

    /// How long the provider asked to wait before the next request.
    #[must_use]
    pub fn retry_in(&self) -> Option<Duration> {
        match self {
            Self::Throttled { retry_in } | Self::Outage { retry_in, .. } => *retry_in,
            _ => None,
        }
    }
}

/// What speaks against the answer before any token is looked for.
pub(super) fn failure(
    answer: &Answer<'_>,
    fields: Result<&Fields, &'static str>,
    now: i64,
    secrets: &[&str],
) -> Option<TokenFailure> {
    let retry_in = answer.retry_after.and_then(|text| retry_in(text, now));
    let status = answer.status;
    match status {
        429 => return Some(TokenFailure::Throttled { retry_in }),
        // A provider in trouble answers anything; a grant is not declared dead on its word.
        408 | 425 | 500..=599 => return Some(TokenFailure::Outage { status, retry_in }),
        300..=399 => return Some(TokenFailure::Redirect),
        _ => {}
    }
    let complaint = fields.ok().and_then(|fields| complaint(fields, secrets));
    match complaint {
        Some(complaint) => Some(complaint.classify(status, retry_in)),
        None if (200..=299).contains(&status) => None,
        None => {
            let description = fields.ok().map(|fields| description(fields.all(), secrets)).unwrap_or_default();
            Some(TokenFailure::Refused { code: format!("http_{status}"), description })
        }
    }
}

struct Complaint {
    code: String,
    description: String,
}

impl Complaint {
    fn classify(self, status: u16, retry_in: Option<Duration>) -> TokenFailure {
        let Self { code, description } = self;
        let is = |codes: &[&str]| codes.iter().any(|known| code.eq_ignore_ascii_case(known));
        if is(&DEAD_GRANT) {
            TokenFailure::InvalidGrant { code, description }
        } else if is(&PATIENCE) {
            TokenFailure::Throttled { retry_in }
        } else if is(&OUTAGE) {
            TokenFailure::Outage { status, retry_in }
        } else {
            TokenFailure::Refused { code, description }
        }
    }
}

/// An error in the body, whatever the status: GitHub answers 200 with `error`, Slack 200 with `ok: false`, others put an
/// object under `error`.
fn complaint(fields: &Fields, secrets: &[&str]) -> Option<Complaint> {
    if let Some(code) = fields.text("error").and_then(|code| words::code(code, secrets)) {
        return Some(Complaint { code, description: description(fields.all(), secrets) });
    }
    if let Some(inner) = fields.object("error") {
        let code = ["type", "status", "code", "error"].iter().find_map(|name| fields::text(inner, name));
        let code = code.and_then(|code| words::code(code, secrets)).unwrap_or_else(|| "error".into());
        return Some(Complaint { code, description: description(inner, secrets) });
    }
    let not_ok = fields.value("ok").is_some_and(|ok| *ok == Value::Bool(false));
    not_ok.then(|| Complaint { code: "not_ok".into(), description: description(fields.all(), secrets) })
}

fn description(fields: &Map<String, Value>, secrets: &[&str]) -> String {
    let text = ["error_description", "message", "error_message"].iter().find_map(|name| fields::text(fields, name));
    text.map(|text| words::words(text, secrets)).unwrap_or_default()
}

/// Seconds or a date (RFC 9110 §10.2.3), capped.
fn retry_in(text: &str, now: i64) -> Option<Duration> {
    let text = text.trim();
    let seconds = match text.parse::<u64>() {
        Ok(seconds) => seconds,
        Err(_) => {
            let at: Timestamp = DateTimeParser::new().parse_timestamp(text).ok()?;
            u64::try_from(at.as_second().saturating_sub(now)).unwrap_or(0)
        }
    };
    Some(Duration::from_secs(seconds).min(RETRY_IN_MAX))
}

fn told(code: &str, description: &str) -> String {
    if description.is_empty() { code.to_owned() } else { format!("{code}: {description}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date_and_capped() {
        let now = 784_111_777; // Sun, 06 Nov 1994 08:49:37 GMT
        assert_eq!(retry_in("120", now), Some(Duration::from_secs(120)));
        assert_eq!(retry_in("Sun, 06 Nov 1994 08:50:37 GMT", now), Some(Duration::from_secs(60)));
        assert_eq!(retry_in("Sun, 06 Nov 1994 08:00:00 GMT", now), Some(Duration::ZERO));
        assert_eq!(retry_in("99999999", now), Some(RETRY_IN_MAX));
        assert_eq!(retry_in("soon", now), None);
    }
}
