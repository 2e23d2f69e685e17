//! Credentials that stay: each scheme arrives exactly as it was configured, and whatever the agent sent in its place does
//! not arrive at all.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use support::{Message, Settings, Upstream, assert_passed};

use crate::scene::{ACCOUNT, HOST, account, postern};

/// Everything that an agent may try to be somebody else with.
const ITS_OWN: &str = "Authorization: Bearer agents-own\r\nAuthorization: Basic YWdlbnRzLW93bg==\r\n\
                       X-Api-Key: agents-own\r\nx-goog-api-key: agents-own\r\napi-key: agents-own\r\n";
/// The name of a field that only one scheme uses.
const SECOND: &str = "X-Second: agents-own\r\nx-second: agents-own\r\n";

/// What arrives of a request with the agent's own credentials to this path, under these settings.
async fn arrived(settings: Settings, path: &str) -> Message {
    arrived_with(settings, path, ITS_OWN).await
}

async fn arrived_with(settings: Settings, path: &str, fields: &str) -> Message {
    let origin = Upstream::of(&[HOST]).start().await;
    let postern = settings.reached_with(&[ACCOUNT], &origin).start().await;
    let reply = postern.agent("bot").call("GET", &format!("https://{HOST}{path}"), fields).await;
    assert_passed(&reply, 200);
    let request = origin.only_request();
    assert!(!String::from_utf8_lossy(&request.raw).contains("agents-own"), "{request}");
    assert!(!request.to_string().contains("YWdlbnRzLW93bg"), "{request}");
    postern.finish();
    request
}

#[tokio::test]
async fn a_bearer_token_arrives_as_it_is() {
    let settings = account("type: bearer, token: {env: TOKEN_ACME}");
    let expected = format!("Bearer {}", settings.token(ACCOUNT));
    let request = arrived(settings, "/v1?access_token=agents-own").await;
    assert_eq!(request.field("authorization"), Some(expected.as_str()));
    assert_eq!(request.target(), "/v1");
}

#[tokio::test]
async fn a_bearer_token_arrives_as_its_integration_takes_its_tokens() {
    let settings = postern()
        .connection_with(ACCOUNT, &[HOST], "integration: anthropic, auth: {type: bearer, token: {env: TOKEN_ACME}}")
        .binding("{deployment: bot, connection: acme}");
    let token = settings.token(ACCOUNT).to_owned();
    let request = arrived(settings, "/v1").await;
    assert_eq!(request.field("x-api-key"), Some(token.as_str()), "{request}");
    assert_eq!(request.field("authorization"), None, "{request}");
}

#[tokio::test]
async fn a_name_and_a_password_arrive_as_basic() {
    let settings = account("type: basic, username: \"m\u{e9}\", password: {env: TOKEN_ACME}");
    let expected = format!("Basic {}", STANDARD.encode(format!("m\u{e9}:{}", settings.token(ACCOUNT))));
    let request = arrived(settings, "/v1").await;
    assert_eq!(request.field("authorization"), Some(expected.as_str()));
}

#[tokio::test]
async fn a_name_that_is_the_secret_arrives_with_an_empty_password() {
    let settings = account("type: basic, username: {env: TOKEN_ACME}");
    let expected = format!("Basic {}", STANDARD.encode(format!("{}:", settings.token(ACCOUNT))));
    let request = arrived(settings, "/v1").await;
    assert_eq!(request.field("authorization"), Some(expected.as_str()));
}

#[tokio::test]
async fn a_header_arrives_as_its_template_has_it() {
    let settings = account("type: header, name: X-Api-Key, template: \"Token {value}\", value: {env: TOKEN_ACME}");
    let expected = format!("Token {}", settings.token(ACCOUNT));
    let request = arrived(settings, "/v1").await;
    assert_eq!(request.field("x-api-key"), Some(expected.as_str()));
    assert_eq!(request.field("authorization"), None);
}

#[tokio::test]
async fn several_headers_arrive_each_with_its_own_secrets() {
    let auth = "type: header, headers: {X-Api-Key: \"{id}\", X-Second: \"{id}:{key}\"}, \
                values: {id: {env: KEY_ID}, key: {env: TOKEN_ACME}}";
    let settings = account(auth).environment("KEY_ID", "the-id");
    let expected = format!("the-id:{}", settings.token(ACCOUNT));
    let request = arrived_with(settings, "/v1", &format!("{ITS_OWN}{SECOND}")).await;
    assert_eq!(request.field("x-api-key"), Some("the-id"));
    assert_eq!(request.field("x-second"), Some(expected.as_str()));
}

#[tokio::test]
async fn a_query_parameter_replaces_the_agents_however_it_is_spelt() {
    let settings = account("type: query, name: api_key, value: {env: TOKEN_ACME}");
    let escaped = settings.token(ACCOUNT).replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    let request = arrived(settings, "/v1?a=1&api_key=agents-own&%61pi_key=agents-own&b=2").await;
    assert_eq!(request.target(), format!("/v1?a=1&b=2&api_key={escaped}"));
    assert_eq!(request.field("authorization"), None);
}
