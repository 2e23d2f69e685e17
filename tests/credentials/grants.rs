//! Every other way to a token, as its endpoint sees it: what is asked, how it is signed, and that the token arrives.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use support::{Message, answer, assert_passed};
use tempfile::TempDir;

use crate::endpoint::{JSON, parameter, unescaped};
use crate::rsa_key::RsaKey;
use crate::scene::{
    ACCOUNT, CLIENT_SECRET, LOGIN, Scene, URL, assert_unavailable, client_credentials, refresh_token, scene, standing,
};

const SUBJECT: &str = "canary-subject+e1671797c52e15f7/63380b45e8a1eaef==";
const ACTOR: &str = "canary-actor+8fa14cdd754f91cc/6554c9e71929cce7==";

/// The one request that the endpoint got for the first call, after the token has arrived at the origin.
async fn asked(scene: &Scene) -> Message {
    assert_passed(&scene.agent.get(URL).await, 200);
    assert_eq!(scene.arrived(), scene.endpoint.token(1));
    scene.endpoint.upstream().only_request()
}

#[track_caller]
fn assert_form(request: &Message, expected: &[(&str, &str)]) {
    assert_eq!(request.method(), "POST");
    assert_eq!(request.field("content-type"), Some("application/x-www-form-urlencoded"));
    assert_eq!(request.field("accept"), Some("application/json"));
    let text = request.text();
    let mut parameters: Vec<(String, String)> = text
        .split('&')
        .map(|pair| pair.split_once('=').unwrap())
        .map(|(name, value)| (unescaped(name), unescaped(value)))
        .collect();
    parameters.sort();
    let mut expected: Vec<(String, String)> =
        expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    expected.sort();
    assert_eq!(parameters, expected);
}

/// The client's id and secret in the `Authorization` field, each form-encoded before (RFC 6749 §2.3.1).
fn basic(client: &str) -> String {
    let secret = CLIENT_SECRET.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    format!("Basic {}", STANDARD.encode(format!("{client}:{secret}")))
}

#[tokio::test]
async fn a_client_presents_itself_in_the_authorization_field() {
    let scene = scene(&format!("{}, scopes: [a, b], token_params: {{audience: x}}", client_credentials())).await;
    let request = asked(&scene).await;
    assert_form(&request, &[("grant_type", "client_credentials"), ("scope", "a b"), ("audience", "x")]);
    assert_eq!(request.field("authorization"), Some(basic("service").as_str()));
    scene.postern.finish();
}

#[tokio::test]
async fn a_client_presents_itself_in_the_body() {
    let scene = scene(&format!("{}, client_auth: post", refresh_token())).await;
    let request = asked(&scene).await;
    let first = crate::endpoint::refresh("first");
    assert_form(
        &request,
        &[
            ("grant_type", "refresh_token"),
            ("refresh_token", &first),
            ("client_id", "user"),
            ("client_secret", CLIENT_SECRET),
        ],
    );
    assert_eq!(request.field("authorization"), None);
    scene.postern.finish();
}

#[tokio::test]
async fn a_request_is_json_where_the_endpoint_wants_that() {
    let scene = scene(&format!("{}, token_request: json", refresh_token())).await;
    let request = asked(&scene).await;
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    let first = crate::endpoint::refresh("first");
    assert_eq!(body, json!({"grant_type": "refresh_token", "refresh_token": first}));
    assert_eq!(request.field("content-type"), Some("application/json"));
    assert_eq!(request.field("authorization"), Some(basic("user").as_str()));
    scene.postern.finish();
}

#[tokio::test]
async fn a_token_exchange_says_all_that_was_configured() {
    let folder = TempDir::new().unwrap();
    let (subject, actor) = (folder.path().join("subject"), folder.path().join("actor"));
    fs::write(&subject, SUBJECT).unwrap();
    fs::write(&actor, ACTOR).unwrap();
    let auth = format!(
        "type: token_exchange, client_id: service, client_secret: {{env: CLIENT_SECRET}}, \
         subject_token: {{file: {subject:?}}}, subject_token_type: \"urn:ietf:params:oauth:token-type:jwt\", \
         actor_token: {{file: {actor:?}}}, actor_token_type: \"urn:ietf:params:oauth:token-type:access_token\", \
         audience: backend, resource: \"https://api.acme.test/\", scopes: [read], token_url: \"https://{LOGIN}/token\""
    );
    let scene = scene(&auth).await;
    let request = asked(&scene).await;
    assert_eq!(request.field("authorization"), Some(basic("service").as_str()));
    assert_form(
        &request,
        &[
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("subject_token", SUBJECT),
            ("subject_token_type", "urn:ietf:params:oauth:token-type:jwt"),
            ("actor_token", ACTOR),
            ("actor_token_type", "urn:ietf:params:oauth:token-type:access_token"),
            ("audience", "backend"),
            ("resource", "https://api.acme.test/"),
            ("scope", "read"),
        ],
    );
    scene.postern.finish();
}

/// Asserts that the assertion is good now, for at most so many seconds.
#[track_caller]
fn assert_valid_now(claims: &Value, seconds_max: u64) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let (from, to) = (claims["iat"].as_u64().unwrap(), claims["exp"].as_u64().unwrap());
    assert!(from <= now && now < to && to - from <= seconds_max, "{claims} at {now}");
}

#[tokio::test]
async fn a_google_service_account_signs_its_assertion() {
    let key = RsaKey::make();
    let file = json!({
        "type": "service_account", "client_email": "bot@project.iam.test", "private_key": key.pem(),
        "private_key_id": "key-1", "token_uri": format!("https://{LOGIN}/token"),
    });
    fs::write(key.path("account.json"), file.to_string()).unwrap();
    let auth = format!(
        "type: google_service_account, key: {{file: {:?}}}, scopes: [\"https://scope.test/a\", \"https://scope.test/b\"], \
         subject: user@acme.test, token_url: \"https://{LOGIN}/token\"",
        key.path("account.json")
    );
    let scene = scene(&auth).await;
    let request = asked(&scene).await;
    let assertion = parameter(&request, "assertion").unwrap();
    let grant_type = "urn:ietf:params:oauth:grant-type:jwt-bearer";
    assert_form(&request, &[("grant_type", grant_type), ("assertion", &assertion)]);

    let (header, claims) = key.opened(&assertion);
    assert_eq!(header, json!({"alg": "RS256", "typ": "JWT", "kid": "key-1"}));
    assert_valid_now(&claims, 3600);
    assert_eq!(claims["iss"], "bot@project.iam.test");
    assert_eq!(claims["sub"], "user@acme.test");
    assert_eq!(claims["aud"], format!("https://{LOGIN}/token"));
    assert_eq!(claims["scope"], "https://scope.test/a https://scope.test/b");
    scene.postern.finish();
}

#[tokio::test]
async fn a_github_app_signs_its_assertion_and_asks_for_its_installations_token() {
    let key = RsaKey::make();
    let auth = format!(
        "type: github_app, client_id: Iv23app, installation_id: 4711, private_key: {{file: {:?}}}, \
         api_url: \"https://{LOGIN}/api/v3\"",
        key.path("key.pem")
    );
    let scene = scene(&auth).await;
    scene.endpoint.answers_with(|access, number| {
        let answer = json!({"token": format!("{access}.{number}"), "expires_at": "2099-01-01T00:00:00Z"});
        support::answer("201 Created", JSON, &answer.to_string())
    });
    let request = asked(&scene).await;
    assert_eq!(request.start, "POST /api/v3/app/installations/4711/access_tokens HTTP/1.1");
    assert!(request.field("user-agent").is_some_and(|agent| agent.starts_with("postern")), "{request}");
    let (header, claims) = key.opened(request.field("authorization").unwrap().strip_prefix("Bearer ").unwrap());
    assert_eq!(header["alg"], "RS256");
    assert_eq!(claims["iss"], "Iv23app");
    assert_valid_now(&claims, 600);
    scene.postern.finish();
}

#[tokio::test]
async fn a_broker_is_asked_with_its_token() {
    let auth = format!("type: broker, url: \"https://{LOGIN}/tokens/acme?a=1\", token: {{env: CLIENT_SECRET}}");
    let scene = scene(&auth).await;
    let request = asked(&scene).await;
    assert_eq!(request.start, "GET /tokens/acme?a=1 HTTP/1.1");
    assert_eq!(request.field("authorization"), Some(format!("Bearer {CLIENT_SECRET}").as_str()));
    scene.postern.finish();
}

#[tokio::test]
async fn a_broker_that_repeats_its_token_shows_it_to_nobody() {
    let auth = format!("type: broker, url: \"https://{LOGIN}/tokens/acme\", token: {{env: CLIENT_SECRET}}");
    let scene = scene(&auth).await;
    scene.endpoint.answers(|_, request| {
        let words = format!("no such token: {}", request.field("authorization").unwrap());
        answer("403 Forbidden", JSON, &json!({"error": "denied", "error_description": words}).to_string())
    });
    assert_unavailable(&scene.agent.get(URL).await);
    let standing = standing(&scene.postern, ACCOUNT).to_string();
    assert!(standing.contains("denied"), "{standing}");
    assert!(!standing.contains(CLIENT_SECRET), "the broker's token is in the status");
    scene.postern.finish();
}
