//! Reads what token endpoints answer, as leniently as providers are free with the RFC. It never panics, and it hands out
//! a new refresh token even where everything else about the answer is broken.
//!
//! The `oauth2` crate builds requests here (see `authorize.rs`) but does not parse answers: it takes `expires_in` only as
//! a whole number and insists on `token_type`, and rejects the whole answer otherwise, after the provider has already
//! retired the old refresh token.

use secrecy::SecretString;
use serde_json::{Map, Value};

use super::failure::{TokenFailure, failure};
use super::fields::{self, Fields, salvage_refresh_token};
use super::life::{self, LIFE_SECS_MAX, Life, OVER_GUARD_SECS};

/// The longest access token, in bytes; no upstream takes a longer field.
pub const ACCESS_TOKEN_BYTES_MAX: usize = 16 * 1024;

/// Token types whose holder must prove a key that a bearer field cannot (RFC 9449, RFC 6749 §7.1).
const BOUND_TOKEN_TYPES: [&str; 3] = ["dpop", "mac", "pop"];

/// What came back from an OAuth endpoint.
#[derive(Clone, Copy)]
pub struct Answer<'a> {
    /// The status.
    pub status: u16,
    /// The `Content-Type` field.
    pub content_type: Option<&'a str>,
    /// The `Retry-After` field.
    pub retry_after: Option<&'a str>,
    /// The whole body.
    pub body: &'a [u8],
}

/// What is known beforehand about a provider's answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AnswerHints {
    /// The life of an access token where the answer does not tell, in seconds.
    pub life_default_in: Option<i64>,
    /// `expires_in: 0` means "never", as Mailchimp has it, not "over".
    pub zero_is_forever: bool,
    /// Which of several tokens is wanted.
    pub slot: TokenSlot,
}

/// Which token of an answer that carries two (Slack's bot and user).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TokenSlot {
    /// The one at the top; where there is none, the one under `authed_user`.
    #[default]
    Top,
    /// The one under `authed_user`, and no other.
    User,
}

/// An access token and what is known of it.
#[derive(Debug, Clone)]
pub struct Token {
    /// The token; printable ASCII, at most [`ACCESS_TOKEN_BYTES_MAX`] long.
    pub access_token: SecretString,
    /// When it ends, in Unix seconds; `None`: unknown, use it until it is refused.
    pub expires_at: Option<i64>,
    /// What was granted; `None`: what was asked for (RFC 6749 §5.1).
    pub scopes: Option<Vec<String>>,
    /// When it may be refreshed at the earliest, in Unix seconds; never after `expires_at`.
    pub not_before_refresh: Option<i64>,
}

/// What an answer amounts to. The refresh token stands beside the judgement: it must be stored first, whatever becomes
/// of the rest, since the provider may have retired the old one.
#[derive(Debug, Clone)]
#[must_use = "a new refresh token that is dropped is lost for good"]
pub struct TokenOutcome {
    /// The new refresh token; `None`: the old one stays (RFC 6749 §6).
    pub refresh_token: Option<SecretString>,
    /// When the refresh token ends, in Unix seconds, where the answer tells.
    pub refresh_token_expires_at: Option<i64>,
    /// The access token, or why there is none.
    pub judged: Result<Token, TokenFailure>,
}

impl TokenOutcome {
    /// No answer, or none that carries anything.
    pub(super) fn failed(failure: TokenFailure) -> Self {
        Self { refresh_token: None, refresh_token_expires_at: None, judged: Err(failure) }
    }
}

impl<'a> Answer<'a> {
    /// Takes a whole response apart.
    #[must_use]
    pub fn of(response: &'a http::Response<Vec<u8>>) -> Self {
        let field = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        Self {
            status: response.status().as_u16(),
            content_type: field(http::header::CONTENT_TYPE),
            retry_after: field(http::header::RETRY_AFTER),
            body: response.body(),
        }
    }

    /// Reads the answer of a token endpoint. `now` is in Unix seconds; `sent` are the secrets of the request, which are
    /// masked where the provider repeats them in its words.
    pub fn read(&self, now: i64, hints: &AnswerHints, sent: &[&str]) -> TokenOutcome {
        let salvaged = (hints.slot == TokenSlot::Top).then(|| salvage_refresh_token(self.body)).flatten();
        let fields = match Fields::read(self.content_type, self.body) {
            Ok(fields) => fields,
            Err(reason) => {
                let judged = failure(self, Err(reason), now, sent);
                return TokenOutcome {
                    refresh_token: salvaged.map(SecretString::from),
                    refresh_token_expires_at: None,
                    judged: Err(judged.unwrap_or_else(|| TokenFailure::Unusable(reason.into()))),
                };
            }
        };
        let holder = holder(&fields, hints.slot);
        let refresh_token = holder.and_then(|holder| fields::text(holder, "refresh_token")).map(str::to_owned);
        let refresh_token = refresh_token.or(salvaged).map(SecretString::from);

        let secrets = secrets(&fields, sent);
        let judged = match (failure(self, Ok(&fields), now, &secrets), holder) {
            (Some(failure), _) => Err(failure),
            (None, Some(holder)) => token(holder, now, hints),
            (None, None) => Err(TokenFailure::Unusable("carries no token of a user (authed_user)".into())),
        };
        let refresh_token_expires_at = holder.filter(|_| refresh_token.is_some()).and_then(|h| refresh_end(h, now));
        TokenOutcome { refresh_token, refresh_token_expires_at, judged }
    }
}

/// The object that carries the wanted token. Its refresh token is taken from there too: a user's access token beside a
/// bot's refresh token would turn the one account into the other at the first refresh.
fn holder(fields: &Fields, slot: TokenSlot) -> Option<&Map<String, Value>> {
    let user = fields.object("authed_user");
    match slot {
        TokenSlot::User => user,
        TokenSlot::Top if access_token(fields.all()).is_some() => Some(fields.all()),
        TokenSlot::Top => user.filter(|user| access_token(user).is_some()).or(Some(fields.all())),
    }
}

/// GitHub calls an installation's token `token`.
fn access_token(holder: &Map<String, Value>) -> Option<&str> {
    fields::text(holder, "access_token").or_else(|| fields::text(holder, "token"))
}

fn token(holder: &Map<String, Value>, now: i64, hints: &AnswerHints) -> Result<Token, TokenFailure> {
    let unusable = |reason: &str| TokenFailure::Unusable(reason.into());
    let access_token = access_token(holder).ok_or_else(|| unusable("carries no access_token"))?;
    if access_token.len() > ACCESS_TOKEN_BYTES_MAX {
        return Err(unusable("carries an access_token longer than any upstream takes"));
    }
    if !access_token.bytes().all(|byte| (0x20..=0x7e).contains(&byte)) {
        return Err(unusable("carries an access_token with characters that no header field can hold"));
    }
    judge_type(holder)?;
    let (expires_at, guard) = end(holder, now, hints);
    let earliest = holder.get("earliest_refresh_at").and_then(life::instant);
    let earliest = earliest.map(|at| at.min(now.saturating_add(LIFE_SECS_MAX)));
    let not_before_refresh = guard.or(earliest).map(|at| expires_at.map_or(at, |end| at.min(end)));
    Ok(Token { access_token: access_token.into(), expires_at, scopes: scopes(holder), not_before_refresh })
}

/// A type that a bearer field cannot satisfy is refused. Any other is taken, missing and invented ones (`bot`, `user`)
/// too: how the token is presented follows the integration, never this field.
fn judge_type(holder: &Map<String, Value>) -> Result<(), TokenFailure> {
    let token_type = fields::text(holder, "token_type").unwrap_or_default().trim().to_ascii_lowercase();
    if BOUND_TOKEN_TYPES.contains(&token_type.as_str()) {
        return Err(TokenFailure::Unusable(format!(
            "carries a {token_type} token, which postern cannot present; have the provider issue bearer tokens"
        )));
    }
    Ok(())
}

/// When the access token ends, and until when it must not be refreshed.
fn end(holder: &Map<String, Value>, now: i64, hints: &AnswerHints) -> (Option<i64>, Option<i64>) {
    let guarded = now.saturating_add(OVER_GUARD_SECS);
    match life::life(holder, &["expires_in", "expires"], &["expires_at"], now) {
        Life::Until(at) => (Some(at), None),
        Life::Over { zero: true } if hints.zero_is_forever => (None, None),
        Life::Over { .. } => (Some(guarded), Some(guarded)),
        Life::Unknown => {
            let life = hints.life_default_in.filter(|life| *life > 0);
            (life.map(|life| now.saturating_add(life.min(LIFE_SECS_MAX))), None)
        }
    }
}

/// The four names that providers have for it.
fn refresh_end(holder: &Map<String, Value>, now: i64) -> Option<i64> {
    let spans = ["refresh_token_expires_in", "refresh_expires_in", "x_refresh_token_expires_in"];
    match life::life(holder, &spans, &["refresh_token_expires_at"], now) {
        Life::Until(at) => Some(at),
        // Keycloak's offline tokens say 0 and never end.
        Life::Over { .. } | Life::Unknown => None,
    }
}

/// Separated by spaces or commas, or an array; under `scope` or, at Bitbucket, `scopes`. Nothing said is `None`.
fn scopes(holder: &Map<String, Value>) -> Option<Vec<String>> {
    let said = ["scope", "scopes"].iter().find_map(|name| holder.get(*name).filter(|value| !value.is_null()))?;
    let texts: Vec<&str> = match said {
        Value::String(text) => vec![text],
        Value::Array(items) => items.iter().filter_map(Value::as_str).collect(),
        _ => return None,
    };
    let scopes = texts.into_iter().flat_map(|text| text.split([' ', ',', '\t', '\n', '\r']));
    let printable = scopes.filter(|scope| !scope.is_empty() && scope.bytes().all(|byte| byte.is_ascii_graphic()));
    Some(printable.map(str::to_owned).collect::<Vec<_>>()).filter(|scopes| !scopes.is_empty())
}

/// What must not be repeated in words: what was sent, and what came.
fn secrets<'s>(fields: &'s Fields, sent: &[&'s str]) -> Vec<&'s str> {
    let holders = [Some(fields.all()), fields.object("authed_user")];
    let came = holders.into_iter().flatten().flat_map(|holder| {
        ["access_token", "token", "refresh_token", "id_token"].into_iter().filter_map(|name| fields::text(holder, name))
    });
    sent.iter().copied().chain(came).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use secrecy::ExposeSecret;
    use serde_json::json;

    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn read_as(status: u16, kind: &str, body: &[u8], hints: AnswerHints) -> TokenOutcome {
        let answer = Answer { status, content_type: Some(kind), retry_after: Some("7"), body };
        answer.read(NOW, &hints, &["canary-secret-sent"])
    }

    fn read(status: u16, body: impl AsRef<[u8]>) -> TokenOutcome {
        read_as(status, "application/json", body.as_ref(), AnswerHints::default())
    }

    fn token(body: impl AsRef<[u8]>) -> Token {
        read(200, body).judged.unwrap()
    }

    fn refresh_token(outcome: &TokenOutcome) -> Option<&str> {
        outcome.refresh_token.as_ref().map(|token| token.expose_secret())
    }

    /// One row per provider whose answers differ from the RFC's example: what it sends, and the seconds that its
    /// access token `at` lives, the refresh token and the scopes that are read from it.
    #[test]
    fn providers_tokens_are_read_as_they_come() {
        type Row<'a> = (&'a str, &'a str, Option<i64>, Option<&'a str>, Option<&'a [&'a str]>);
        let json = "application/json; charset=utf-8";
        let form = "application/x-www-form-urlencoded; charset=utf-8";
        #[rustfmt::skip]
        let rows: [Row<'_>; 15] = [
            // RFC 6749 §5.1
            (json, r#"{"access_token":"at","token_type":"Bearer","expires_in":3600,"refresh_token":"rt","scope":"a b"}"#,
                Some(3600), Some("rt"), Some(&["a", "b"])),
            // GitHub OAuth app: a form, scopes with commas, no expiry
            (form, "access_token=at&scope=repo%2Cgist&token_type=bearer", None, None, Some(&["repo", "gist"])),
            // GitHub App user: strings in a form, an empty scope
            (form, "access_token=at&expires_in=28800&refresh_token=rt&refresh_token_expires_in=15897600&scope=&token_type=bearer",
                Some(28800), Some("rt"), None),
            // GitHub App installation
            (json, r#"{"token":"at","expires_at":"2027-01-15T09:00:00Z","permissions":{"issues":"read"}}"#,
                Some(3600), None, None),
            // Slack bot with a user beside it
            (json, r#"{"ok":true,"access_token":"at","token_type":"bot","scope":"chat:write,users:read","expires_in":43200,
                "refresh_token":"rt","authed_user":{"id":"U1","access_token":"xoxp","refresh_token":"user-rt"}}"#,
                Some(43200), Some("rt"), Some(&["chat:write", "users:read"])),
            // Slack user alone
            (json, r#"{"ok":true,"authed_user":{"id":"U1","access_token":"at","token_type":"user","scope":"search:read",
                "refresh_token":"rt","expires_in":43200}}"#, Some(43200), Some("rt"), Some(&["search:read"])),
            // Figma: a refresh without a refresh token
            (json, r#"{"access_token":"at","expires_in":7776000}"#, Some(7_776_000), None, None),
            // Salesforce: no expires_in, issued_at in milliseconds as a string
            (json, r#"{"access_token":"at","instance_url":"https://x.test","issued_at":"1800000000000","scope":"api"}"#,
                None, None, Some(&["api"])),
            // Twitch: scope is an array
            (json, r#"{"access_token":"at","expires_in":"14400","scope":["a","b"],"token_type":"bearer"}"#,
                Some(14400), None, Some(&["a", "b"])),
            // Bitbucket: scopes in the plural
            (json, r#"{"access_token":"at","scopes":"account repository","expires_in":7200}"#,
                Some(7200), None, Some(&["account", "repository"])),
            // Airtable, QuickBooks, TikTok: their own names for the refresh token's life
            (json, r#"{"access_token":"at","x_refresh_token_expires_in":8726400,"refresh_token":"rt","expires_in":3600.0}"#,
                Some(3600), Some("rt"), None),
            // Old Graph API: plain text
            ("text/plain", "access_token=at&expires=5183999", Some(5_183_999), None, None),
            // JSON called a page
            ("text/html", r#"{"access_token":"at","expires_in":60}"#, Some(60), None, None),
            // With a byte order mark
            (json, "\u{feff}{\"access_token\":\"at\",\"error\":null,\"expires_in\":60}", Some(60), None, None),
            // Nulls everywhere
            (json, r#"{"access_token":"at","token_type":null,"expires_in":null,"refresh_token":null,"scope":null,"error":""}"#,
                None, None, None),
        ];
        for (kind, body, life, refresh, scopes) in rows {
            let outcome = read_as(200, kind, body.as_bytes(), AnswerHints::default());
            assert_eq!(refresh_token(&outcome), refresh, "{body}");
            let token = outcome.judged.unwrap_or_else(|failure| panic!("{failure}: {body}"));
            assert_eq!(token.access_token.expose_secret(), "at", "{body}");
            assert_eq!(token.expires_at, life.map(|life| NOW + life), "{body}");
            let scopes = scopes.map(|scopes| scopes.iter().map(|scope| (*scope).to_owned()).collect::<Vec<_>>());
            assert_eq!(token.scopes, scopes, "{body}");
        }
    }

    /// One row per way to say no.
    #[test]
    fn providers_refusals_are_sorted_by_what_helps() {
        #[rustfmt::skip]
        let rows = [
            (400, r#"{"error":"invalid_grant","error_description":"expired"}"#, "reauth"),
            (401, r#"{"error":"invalid_grant"}"#, "reauth"),
            (403, r#"{"error":"invalid_grant","error_description":"Unknown or invalid refresh token."}"#, "reauth"), // Atlassian
            (200, r#"{"error":"invalid_grant"}"#, "reauth"),
            (400, r#"{"error":"unauthorized_client"}"#, "reauth"),
            (200, r#"{"error":"bad_refresh_token"}"#, "reauth"), // GitHub
            (200, "error=bad_verification_code&error_description=x", "reauth"),
            (200, r#"{"ok":false,"error":"invalid_refresh_token"}"#, "reauth"), // Slack
            (400, r#"{"status":"BAD_REFRESH_TOKEN","error":"invalid_grant"}"#, "reauth"), // HubSpot
            (401, r#"{"error":"invalid_client"}"#, "refused"),
            (200, r#"{"ok":false}"#, "refused"),
            (400, r#"{"error":{"message":"bad","type":"OAuthException","code":190}}"#, "refused"),
            (404, r#"{"message":"Not Found"}"#, "refused"),
            (401, "<html>", "refused"),
            (429, r#"{"error":"invalid_grant"}"#, "throttled"),
            (200, r#"{"ok":false,"error":"ratelimited"}"#, "throttled"),
            (500, r#"{"error":"invalid_grant"}"#, "outage"),
            (503, "", "outage"),
            (400, r#"{"error":"temporarily_unavailable"}"#, "outage"),
            (302, "", "redirect"),
            (200, "<html>login</html>", "unusable"),
            (200, "", "unusable"),
            (200, "[]", "unusable"),
            (200, "{}", "unusable"),
            (200, r#"{"access_token":""}"#, "unusable"),
            (200, r#"{"access_token":null}"#, "unusable"),
            (200, r#"{"access_token":["a"]}"#, "unusable"),
            (200, r#"{"access_token":"a\nb"}"#, "unusable"),
            (200, r#"{"access_token":"a","token_type":"DPoP"}"#, "unusable"),
            (200, r#"{"access_token":"a","token_type":"mac"}"#, "unusable"),
        ];
        for (status, body, class) in rows {
            let failure = read(status, body).judged.unwrap_err();
            let found = match &failure {
                TokenFailure::InvalidGrant { .. } => "reauth",
                TokenFailure::Refused { .. } => "refused",
                TokenFailure::Throttled { .. } => "throttled",
                TokenFailure::Outage { .. } => "outage",
                TokenFailure::Redirect => "redirect",
                TokenFailure::Unusable(_) => "unusable",
                TokenFailure::Unreachable(_) | TokenFailure::Misconfigured(_) => "other",
            };
            assert_eq!(found, class, "{status} {body}");
            assert_eq!(failure.needs_reauth(), class == "reauth", "{status} {body}");
            let waits = matches!(class, "throttled" | "outage");
            assert_eq!(failure.retry_in().map(|span| span.as_secs()), waits.then_some(7), "{status} {body}");
        }
    }

    #[test]
    fn a_created_token_is_a_token() {
        assert!(read(201, r#"{"access_token":"at"}"#).judged.is_ok());
    }

    #[test]
    fn a_refresh_token_survives_an_answer_without_an_access_token() {
        for body in [
            r#"{"refresh_token":"rt"}"#,
            r#"{"refresh_token":"rt","access_token":"at","token_type":"DPoP"}"#,
            r#"{"refresh_token":"rt","access_token":[]}"#,
            r#"{"refresh_token":"rt","access_token":"at","expires_in":1e999}"#,
            r#"{"refresh_token":"rt","access_tok"#,
        ] {
            let outcome = read(200, body);
            assert_eq!(refresh_token(&outcome), Some("rt"), "{body}");
            assert!(outcome.judged.is_err(), "{body}");
        }
    }

    #[test]
    fn a_refresh_token_at_the_top_is_kept_beside_a_users_access_token() {
        let outcome = read(200, r#"{"refresh_token":"rt","authed_user":{"access_token":"at"}}"#);
        assert_eq!(refresh_token(&outcome), Some("rt"));
        assert!(outcome.judged.is_ok());
    }

    #[test]
    fn a_token_that_is_over_as_it_comes_is_guarded_against_a_loop() {
        for life in [json!(0), json!(-1), json!("0"), json!(-1e30)] {
            let token = token(json!({"access_token": "at", "expires_in": life}).to_string());
            assert_eq!(token.expires_at, Some(NOW + 30));
            assert_eq!(token.not_before_refresh, Some(NOW + 30));
        }
    }

    #[test]
    fn a_zero_may_mean_never() {
        let hints = AnswerHints { zero_is_forever: true, ..AnswerHints::default() };
        let outcome = read_as(200, "application/json", br#"{"access_token":"at","expires_in":0}"#, hints);
        assert_eq!(outcome.judged.unwrap().expires_at, None);
    }

    #[test]
    fn an_answer_that_does_not_tell_its_life_lives_as_long_as_the_provider_says_elsewhere() {
        let hints = AnswerHints { life_default_in: Some(7200), ..AnswerHints::default() };
        let outcome = read_as(200, "application/json", br#"{"access_token":"at"}"#, hints);
        assert_eq!(outcome.judged.unwrap().expires_at, Some(NOW + 7200));
    }

    #[test]
    fn the_user_slot_never_takes_the_bots_refresh_token() {
        let hints = AnswerHints { slot: TokenSlot::User, ..AnswerHints::default() };
        let both = br#"{"access_token":"bot","refresh_token":"bot-rt","authed_user":{"access_token":"user"}}"#;
        let outcome = read_as(200, "application/json", both, hints);
        assert_eq!(refresh_token(&outcome), None);
        assert_eq!(outcome.judged.unwrap().access_token.expose_secret(), "user");
        let bot = read_as(200, "application/json", br#"{"access_token":"bot","refresh_token":"bot-rt"}"#, hints);
        assert_eq!(refresh_token(&bot), None);
        assert!(bot.judged.is_err());
    }

    #[test]
    fn the_earliest_refresh_is_kept_but_never_after_the_end() {
        let early = json!({"access_token": "at", "expires_in": 600, "earliest_refresh_at": NOW + 300});
        assert_eq!(token(early.to_string()).not_before_refresh, Some(NOW + 300));
        let late = json!({"access_token": "at", "expires_in": 600, "earliest_refresh_at": NOW + 9000});
        assert_eq!(token(late.to_string()).not_before_refresh, Some(NOW + 600));
    }

    #[test]
    fn the_end_of_a_refresh_token_is_read_under_each_of_its_names() {
        for name in ["refresh_token_expires_in", "refresh_expires_in", "x_refresh_token_expires_in"] {
            let body = json!({"access_token": "at", "refresh_token": "rt", name: 60}).to_string();
            assert_eq!(read(200, body).refresh_token_expires_at, Some(NOW + 60), "{name}");
        }
    }

    #[test]
    fn no_secret_shows_in_any_print() {
        let spoken = json!({
            "error": "invalid_client", "access_token": "canary-access", "refresh_token": "canary-refresh",
            "error_description": "you sent canary-secret-sent, here are canary-access and canary-refresh",
        });
        let outcome = read(400, spoken.to_string());
        let printed =
            format!("{outcome:?} {} {:?}", outcome.judged.as_ref().unwrap_err(), token(r#"{"token":"canary"}"#));
        assert!(!printed.contains("canary"), "{printed}");
        assert!(printed.contains("you sent …"), "{printed}");
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,20}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::hash_map(field_name(), inner, 0..4)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    fn field_name() -> impl Strategy<Value = String> {
        let known = ["access_token", "expires_in", "expires_at", "token_type", "scope", "error", "ok", "token"];
        prop_oneof![3 => prop::sample::select(known.to_vec()).prop_map(str::to_owned), 1 => "[a-z]{1,8}"]
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(status in 0u16..1000, kind in ".{0,40}", now: i64, body: Vec<u8>) {
            let answer = Answer { status, content_type: Some(&kind), retry_after: Some(&kind), body: &body };
            let _ = answer.read(now, &AnswerHints::default(), &[]);
        }

        #[test]
        fn no_object_makes_the_reader_panic(status in 0u16..1000, now: i64, body in any_json()) {
            let body = body.to_string();
            let answer = Answer { status, content_type: None, retry_after: None, body: body.as_bytes() };
            let _ = answer.read(now, &AnswerHints::default(), &[]);
        }

        #[test]
        fn a_refresh_token_at_the_top_is_kept_whatever_stands_beside_it(
            status in 100u16..600,
            refresh in ".{1,40}",
            before in prop::collection::vec((field_name(), any_json()), 0..4),
            after in prop::collection::vec((field_name(), any_json()), 0..4),
            cut in 0usize..40,
        ) {
            let pair = |name: &str, value: &Value| format!("{}:{value}", json!(name));
            let mut pairs: Vec<String> = before.iter().map(|(name, value)| pair(name, value)).collect();
            pairs.push(pair("refresh_token", &json!(refresh)));
            let sure = pairs.join(",").len() + 2;
            pairs.extend(after.iter().map(|(name, value)| pair(name, value)));
            let whole = format!("{{{}}}", pairs.join(","));
            let body = &whole.as_bytes()[..whole.len().saturating_sub(cut).max(sure)];
            let outcome = read(status, body);
            prop_assert_eq!(refresh_token(&outcome), Some(refresh.as_str()));
        }
    }
}
