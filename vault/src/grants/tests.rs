//! Each way to a token, from a connection's settings to what a provider or a program is asked.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use model::config::TokenExchange;
use serde_json::{Value, json};

use super::*;
use crate::broker::tests::support::{Line, Scripted, connection, named, oauth, with_secrets};
use crate::fetch::FetchError;

const NOW: i64 = 1_800_000_000;
const TOKEN: Line = Ok((200, r#"{"access_token":"at","expires_in":60,"refresh_token":"rt-new"}"#));

/// Asks once, with these secrets.
async fn asked(auth: Auth, secrets: &[(&str, &str)], provider: &Scripted, refresh: Option<&str>) -> TokenOutcome {
    let connection = connection(auth);
    let (obtain, _) = with_secrets(secrets, |sources| super::obtain(&connection, sources, &provider.shared())).unwrap();
    let refresh = refresh.map(SecretString::from);
    obtain.obtain(refresh.as_ref(), NOW).await
}

fn access(outcome: TokenOutcome) -> String {
    outcome.judged.unwrap().access_token.expose_secret().to_owned()
}

fn form(body: &str) -> BTreeMap<String, String> {
    oauth2::url::form_urlencoded::parse(body.as_bytes()).into_owned().collect()
}

fn exec(script: &str) -> Auth {
    let command = ["/bin/sh", "-c", script].map(str::to_owned).into();
    Auth::Exec(Exec { command, answer_in: Duration::from_secs(20), environment: vec!["CARGO_PKG_NAME".into()] })
}

#[tokio::test]
async fn a_refresh_token_is_sent_with_the_client_and_the_new_one_comes_back() {
    let provider = Scripted::new([TOKEN]);
    let grant = OauthGrant::RefreshToken { first: named("FIRST") };
    let outcome = asked(oauth(grant), &[], &provider, Some("rt-1")).await;
    assert_eq!(outcome.refresh_token.as_ref().unwrap().expose_secret(), "rt-new");
    assert_eq!(outcome.judged.unwrap().expires_at, Some(NOW + 60));
    let sent = form(&provider.sent(0).1);
    let text = |name: &str| sent.get(name).map(String::as_str);
    assert_eq!(text("grant_type"), Some("refresh_token"));
    assert_eq!(text("refresh_token"), Some("rt-1"));
    assert_eq!((text("client_id"), text("client_secret")), (Some("id"), Some("secret")));
}

#[test]
fn only_what_lives_on_a_refresh_token_needs_one() {
    let needs = |auth: Auth| {
        let connection = connection(auth);
        let fetch = Scripted::new([]).shared();
        let (obtain, _) = with_secrets(&[], |sources| super::obtain(&connection, sources, &fetch)).unwrap();
        obtain.needs_refresh_token()
    };
    assert!(needs(oauth(OauthGrant::RefreshToken { first: named("FIRST") })));
    assert!(needs(oauth(OauthGrant::AuthorizationCode { authorization_url: "https://login.acme.test/".into() })));
    assert!(!needs(oauth(OauthGrant::ClientCredentials)));
    assert!(!needs(exec("true")));
}

#[tokio::test]
async fn a_client_asks_for_its_scopes() {
    let provider = Scripted::new([TOKEN]);
    assert_eq!(access(asked(oauth(OauthGrant::ClientCredentials), &[], &provider, None).await), "at");
    let sent = form(&provider.sent(0).1);
    assert_eq!(sent["grant_type"], "client_credentials");
    assert_eq!(sent["scope"], "read write");
}

#[tokio::test]
async fn a_token_is_exchanged_for_another() {
    let provider = Scripted::new([TOKEN]);
    let exchange = TokenExchange {
        subject_token: named("SUBJECT"),
        subject_token_type: "urn:ietf:params:oauth:token-type:jwt".into(),
        actor: None,
        audience: Some("acme".into()),
        resource: None,
    };
    let outcome = asked(oauth(OauthGrant::TokenExchange(exchange)), &[], &provider, None).await;
    assert_eq!(access(outcome), "at");
    let sent = form(&provider.sent(0).1);
    assert_eq!((sent["subject_token"].as_str(), sent["audience"].as_str()), ("subject", "acme"));
}

#[tokio::test]
async fn a_service_account_sends_an_assertion_for_its_user_and_its_scopes() {
    let key = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let der: Pkcs8V1Der<'_> = key.as_der().unwrap();
    let body = BASE64_STANDARD.encode(der.as_ref());
    let file = json!({
        "type": "service_account",
        "client_email": "bot@acme.test",
        "private_key": format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n"),
        "token_uri": "https://google.test/token",
    });
    let auth = Auth::GoogleServiceAccount(Box::new(GoogleServiceAccount {
        key: named("KEY"),
        scopes: vec!["mail".into()],
        subject: Some("user@acme.test".into()),
        token_url: "https://google.test/token".into(),
    }));
    let provider = Scripted::new([TOKEN]);
    assert_eq!(access(asked(auth, &[("KEY", &file.to_string())], &provider, None).await), "at");

    assert_eq!(provider.url(0), "https://google.test/token");
    let sent = form(&provider.sent(0).1);
    assert_eq!(sent["grant_type"], "urn:ietf:params:oauth:grant-type:jwt-bearer");
    let claims = sent["assertion"].split('.').nth(1).unwrap();
    let claims: Value = serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
    assert_eq!(claims["iss"], "bot@acme.test");
    assert_eq!(claims["sub"], "user@acme.test");
    assert_eq!(claims["scope"], "mail");
    assert_eq!(claims["aud"], "https://google.test/token");
}

#[test]
fn a_broken_service_account_key_is_told_and_not_shown() {
    let auth = Auth::GoogleServiceAccount(Box::new(GoogleServiceAccount {
        key: named("KEY"),
        scopes: vec!["mail".into()],
        subject: None,
        token_url: "https://google.test/token".into(),
    }));
    let fetch = Scripted::new([]).shared();
    let read = |sources: &Sources<'_>| super::obtain(&connection(auth), sources, &fetch).map(|_| ());
    let reason = with_secrets(&[("KEY", "{canary")], read).unwrap_err();
    assert!(!format!("{reason} {reason:?}").contains("canary"), "{reason}");
}

#[tokio::test]
async fn an_endpoint_of_the_operators_is_asked_with_its_token() {
    let provider = Scripted::new([TOKEN]);
    let settings = BrokerSettings { url: "https://tokens.corp.test/acme".into(), token: Some(named("KEY")) };
    assert_eq!(access(asked(Auth::Broker(settings), &[], &provider, None).await), "at");
    assert_eq!(provider.url(0), "https://tokens.corp.test/acme");
    assert_eq!(provider.sent(0), (Some("Bearer key".into()), String::new()));
}

#[tokio::test]
async fn an_endpoint_that_repeats_its_token_does_not_get_it_shown() {
    let answer = r#"{"error":"denied","error_description":"bad key canary-key"}"#;
    let provider = Scripted::new([Ok((403, answer))]);
    let settings = BrokerSettings { url: "https://tokens.corp.test/acme".into(), token: Some(named("KEY")) };
    let outcome = asked(Auth::Broker(settings), &[("KEY", "canary-key")], &provider, None).await;
    let failure = outcome.judged.unwrap_err();
    assert!(!format!("{failure} {failure:?}").contains("canary"), "{failure}");
}

#[tokio::test]
async fn an_endpoint_that_is_not_there_is_a_failure_that_passes() {
    let provider = Scripted::new([Err(FetchError::Unreachable("tokens.corp.test".into()))]);
    let settings = BrokerSettings { url: "https://tokens.corp.test/acme".into(), token: None };
    let failure = asked(Auth::Broker(settings), &[], &provider, None).await.judged.unwrap_err();
    assert!(!failure.needs_reauth() && failure.to_string().contains("tokens.corp.test"), "{failure}");
}

#[tokio::test]
async fn a_program_prints_a_token() {
    let outcome = asked(exec(r#"echo '{"access_token":"at","expires_in":60}'"#), &[], &Scripted::new([]), None).await;
    assert_eq!(outcome.judged.as_ref().unwrap().expires_at, Some(NOW + 60));
    assert_eq!(access(outcome), "at");
}

#[tokio::test]
async fn a_program_gets_of_the_environment_only_what_is_allowed() {
    let script = r#"printf '{"access_token":"%s-%s"}' "${CARGO_MANIFEST_DIR:-nothing}" "$CARGO_PKG_NAME""#;
    assert_eq!(access(asked(exec(script), &[], &Scripted::new([]), None).await), "nothing-postern-vault");
}

#[tokio::test]
async fn a_program_that_takes_too_long_is_ended() {
    let command = vec!["/bin/sleep".into(), "600".into()];
    let slow = Exec { command, answer_in: Duration::from_millis(20), environment: Vec::new() };
    let failure = asked(Auth::Exec(slow), &[], &Scripted::new([]), None).await.judged.unwrap_err();
    assert!(failure.to_string().contains("in time"), "{failure}");
}

#[tokio::test]
async fn what_is_no_token_is_a_failure_that_shows_nothing_of_it() {
    let endless = "while :; do echo canary-canary-canary-canary; done";
    let unlucky = r#"echo '{"access_token":"canary"}'; exit 3"#;
    for script in ["echo canary", "echo '{\"canary\": 1}'", "true", "echo canary >&2; false", unlucky, endless] {
        let failure = asked(exec(script), &[], &Scripted::new([]), None).await.judged.unwrap_err();
        assert!(!failure.needs_reauth(), "{script}");
        assert!(!format!("{failure} {failure:?}").contains("canary"), "{script}: {failure}");
    }
}

#[tokio::test]
async fn a_program_that_is_not_there_is_named() {
    let gone = Exec { command: vec!["/no/such".into()], answer_in: Duration::from_secs(20), environment: Vec::new() };
    let failure = asked(Auth::Exec(gone), &[], &Scripted::new([]), None).await.judged.unwrap_err();
    assert!(failure.to_string().contains("/no/such"), "{failure}");
}

#[test]
fn under_other_settings_no_access_token_counts_and_a_refresh_token_only_where_one_is_needed() {
    let record = AccountRecord {
        access_token: Some("at".into()),
        expires_at: Some(NOW),
        refresh_token: Some("rt".into()),
        origin: Some([1; 32]),
        ..AccountRecord::default()
    };
    let seeded = |origin, keeps| Seed::default().seeded(record.clone(), [origin; 32], keeps, NOW);
    assert!(seeded(1, true).access_token.is_some() && seeded(1, false).refresh_token.is_some());
    assert!(seeded(2, true).access_token.is_none() && seeded(2, true).refresh_token.is_some());
    assert!(seeded(2, false).access_token.is_none() && seeded(2, false).refresh_token.is_none());
    assert_eq!(seeded(2, true).origin, Some([2; 32]));
}
