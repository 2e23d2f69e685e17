//! Files that are right, and what becomes of them.

use std::time::Duration;

use super::{accepted, read};
use crate::authority::{Authority, Destination, Scheme};
use crate::config::{Auth, Config, SecretSource, Unbound};
use crate::identity::{KeyDigest, Login};
use crate::name::DeploymentName;
use crate::policy::{Ask, Cookies, Route, Scrub, WebSocket};

const SAMPLE: &str = include_str!("../../../../bindings.yaml");

const EVERYTHING: &str = r#"
version: 1
allow_literal_secrets: true
integrations:
  acme:
    hosts: [api.acme.test, "*.eu.acme.test:8443"]
    authorization_url: https://login.acme.test/authorize
    token_url: https://login.acme.test/token
    revocation_url: https://login.acme.test/revoke
    identity: {url: https://api.acme.test/me, account: email}
    client_auth: post
    token_request: json
    scopes: [read]
connections:
  acme-main: {integration: acme, auth: {type: bearer, token: {file: /run/secrets/acme}}, active: false}
  acme-eu: {integration: acme, hosts: ["*.eu.acme.test"], auth: {type: bearer, token: {sealed: acme-eu}}}
  openai: {hosts: [api.openai.test], auth: {type: bearer, token: {env: OPENAI_API_KEY}}}
  literal: {hosts: [b.test], auth: {type: bearer, token: 0012}, tenant: blue}
deployments:
  support-bot:
    identify:
      - key: {sha256: "5E884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8"}
      - source: 10.1.4.0/24
      - listen: 127.0.0.1:3200
    unbound: tunnel
    tunnel: [status.acme.test, "*.cdn.acme.test"]
  blue-bot: {tenant: blue}
bindings:
  - {deployment: support-bot, connection: acme-main}
  - {deployment: blue-bot, connection: literal}
  - deployment: support-bot
    connection: openai
    hosts: [api.openai.test, "other.test:8443"]
    paths: ["/v1/**"]
    methods: [GET, POST]
    rate: {per_second: 50, burst: 100}
    optional: true
    default: true
    allow_plaintext: true
    vend: false
    placeholder: sk-placeholder
    scrub: off
    cookies: strip
    websocket: deny
  - {deployment: support-bot, connection: openai, rate: {per_second: 7}, scrub: on, cookies: keep, websocket: allow}
upstream:
  ca_file: corp-root.pem
  allow_addresses: [10.20.0.0/16]
  connect_to: {"api.acme.test:443": "127.0.0.1:8443"}
limits:
  head_bytes_max: 128KiB
  target_bytes_max: 4096
  head_in: 500ms
  tunnel_idle_in: 2h
  response_silence_in: 10m
  pool_idle_sockets_max: 0
  sockets_max: 20000
"#;

fn bot() -> DeploymentName {
    DeploymentName::parse("support-bot").unwrap()
}

fn asked(config: &Config, method: &str, host: &str, path: &str) -> Result<String, &'static str> {
    let destination =
        Destination { scheme: Scheme::Https, authority: Authority::parse_with_default(host, 443).unwrap() };
    let ask = Ask { method, path, connection: None };
    let grant = config.policy.bind(&bot(), destination).and_then(|bound| bound.authorize(&ask));
    grant.map(|grant| grant.binding().id.clone()).map_err(|refusal| refusal.code())
}

#[test]
fn the_example_is_read_without_a_word() {
    let loaded = accepted(SAMPLE);
    assert_eq!(loaded.warnings.to_string(), "");
    let config = &loaded.config;
    assert_eq!(asked(config, "GET", "api.openai.com", "/v1/models").unwrap(), "support-bot/openai");
    assert_eq!(asked(config, "POST", "api.openai.com", "/v1/responses").unwrap(), "support-bot/openai#2");
    assert_eq!(asked(config, "DELETE", "api.openai.com", "/v1/responses/1"), Err("request_forbidden"));
    assert_eq!(asked(config, "GET", "api.example.com", "/"), Err("binding_missing"));
    let status = Authority::parse("status.openai.com:443").unwrap();
    assert_eq!(config.policy.route(&bot(), &status), Route::Tunnel);
}

#[test]
fn the_example_uses_only_keys_of_the_schema() {
    assert!(SAMPLE.starts_with("# yaml-language-server: $schema=./bindings.schema.json\n"));
    let schema = super::super::schema();
    let properties = schema["properties"].as_object().unwrap();
    for line in SAMPLE.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase())) {
        let key = line.split(':').next().unwrap();
        assert!(properties.contains_key(key), "{key}");
    }
}

#[test]
fn integrations_keep_their_endpoints() {
    let config = accepted(EVERYTHING).config;
    let acme = &config.integrations["acme"];
    assert_eq!(acme.token_url.as_deref(), Some("https://login.acme.test/token"));
    assert_eq!(acme.account.as_ref().unwrap().field, "email");
    assert_eq!(acme.scopes, ["read"]);
}

#[test]
fn a_connection_has_the_hosts_of_its_integration_unless_it_names_its_own() {
    let config = accepted(EVERYTHING).config;
    let hosts = |name: &str| config.connections[name].hosts.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(hosts("acme-main"), ["api.acme.test", "*.eu.acme.test:8443"]);
    assert_eq!(hosts("acme-eu"), ["*.eu.acme.test"]);
    assert!(!config.connections["acme-main"].active && config.connections["acme-eu"].active);
}

#[test]
fn a_secret_is_where_the_file_says() {
    use secrecy::ExposeSecret;

    let config = accepted(EVERYTHING).config;
    let token = |name: &str| match &config.connections[name].auth {
        Auth::Bearer { token } => token.clone(),
        other => panic!("{}", other.type_name()),
    };
    assert!(matches!(token("acme-main"), SecretSource::File(path) if path.to_str() == Some("/run/secrets/acme")));
    assert!(matches!(token("acme-eu"), SecretSource::Sealed(name) if name == "acme-eu"));
    assert!(matches!(token("openai"), SecretSource::Env(name) if name == "OPENAI_API_KEY"));
    // A token of digits stays as it was written.
    assert!(matches!(token("literal"), SecretSource::Literal(secret) if secret.expose_secret() == "0012"));
}

#[test]
fn deployments_are_recognised_as_the_file_says() {
    let config = accepted(EVERYTHING).config;
    let login = Login { name: String::new(), digest: KeyDigest::of("password") };
    let shared = "127.0.0.1:3128".parse().unwrap();
    let by_key = config.identities.identify(Some(&login), "1.1.1.1".parse().unwrap(), shared).unwrap();
    assert_eq!(format!("{:?}", by_key.evidence()), "Key(\"file-5e884898da28\")");
    let by_source = config.identities.identify(None, "10.1.4.9".parse().unwrap(), shared).unwrap();
    let own = config.deployments["support-bot"].listen[0];
    let by_listener = config.identities.identify(None, "1.1.1.1".parse().unwrap(), own).unwrap();
    for caller in [by_key, by_source, by_listener] {
        assert_eq!(caller.deployment().as_str(), "support-bot");
    }
    assert_eq!(config.deployments["support-bot"].unbound, Unbound::Tunnel);
}

#[test]
fn a_binding_carries_every_limit_it_names() {
    let config = accepted(EVERYTHING).config;
    let destination = Destination { scheme: Scheme::Http, authority: Authority::parse("other.test:8443").unwrap() };
    let bound = config.policy.bind(&bot(), destination).unwrap();
    let [binding] = bound.bindings() else { panic!("one binding") };
    assert_eq!(
        (binding.id.as_str(), binding.methods.as_slice()),
        ("support-bot/openai", &["GET".into(), "POST".into()][..])
    );
    let rate = binding.rate.unwrap();
    assert_eq!((rate.per_second.get(), rate.burst.get()), (50, 100));
    assert!(binding.optional && binding.default && binding.allow_plaintext);
    assert_eq!(binding.placeholder.as_deref(), Some("sk-placeholder"));
    assert_eq!((binding.scrub, binding.cookies, binding.websocket), (Scrub::Off, Cookies::Strip, WebSocket::Deny));
}

#[test]
fn a_binding_without_a_word_about_it_has_the_defaults() {
    let config = accepted(EVERYTHING).config;
    let destination =
        Destination { scheme: Scheme::Https, authority: Authority::parse("api.openai.test:443").unwrap() };
    let bound = config.policy.bind(&bot(), destination).unwrap();
    let binding = bound.bindings().iter().find(|binding| binding.id == "support-bot/openai#2").unwrap();
    assert_eq!((binding.scrub, binding.cookies, binding.websocket), Default::default());
    assert!(!binding.optional && !binding.default && !binding.allow_plaintext && binding.placeholder.is_none());
    assert_eq!(binding.rate.unwrap().burst.get(), 7);
}

#[test]
fn upstream_and_limits_replace_the_defaults() {
    let config = accepted(EVERYTHING).config;
    assert_eq!(config.upstream.ca_file.as_deref().and_then(std::path::Path::to_str), Some("corp-root.pem"));
    assert!(config.upstream.addresses.permits("10.20.1.1".parse().unwrap()));
    let from = Authority::parse("api.acme.test:443").unwrap();
    assert_eq!(config.upstream.connect_to[&from].to_string(), "127.0.0.1:8443");
    let limits = &config.limits;
    assert_eq!((limits.head_bytes_max, limits.target_bytes_max), (131_072, 4096));
    assert_eq!((limits.head_in, limits.tunnel_idle_in), (Duration::from_millis(500), Duration::from_secs(7200)));
    assert_eq!(limits.response_silence_in, Some(Duration::from_secs(600)));
    assert_eq!((limits.pool_idle_sockets_max, limits.sockets_max), (0, 20_000));
    assert_eq!(limits.idle_in, crate::limits::Limits::default().idle_in);
}

#[test]
fn off_lifts_a_limit_that_may_be_lifted() {
    let config = accepted("version: 1\nbindings: []\nlimits: {response_silence_in: off}").config;
    assert_eq!(config.limits.response_silence_in, None);
}

#[test]
fn an_explicit_empty_list_of_bindings_is_obeyed() {
    let config = accepted("version: 1\nconnections: {}\nbindings: []").config;
    assert!(config.connections.is_empty());
}

#[test]
fn what_is_not_used_is_no_mistake() {
    let text = "version: 1\nconnections:\n  spare: {auth: {type: bearer, token: {env: X}}}\ndeployments: {idle: {}}\nbindings: []";
    assert!(accepted(text).warnings.is_empty());
}

#[test]
fn the_same_file_in_other_clothes_is_the_same_file() {
    let spelled = "version: 1\nconnections:\n  a: {hosts: &h [a.test], auth: {type: bearer, token: {env: X}}}\ndeployments: {bot: {}}\nbindings:\n- {deployment: bot, connection: a, hosts: *h}\n";
    for text in [
        spelled.to_owned(),
        format!("\u{feff}{spelled}"),
        spelled.replace('\n', "\r\n"),
        format!("%YAML 1.2\n---\n{spelled}...\n"),
        format!("# a comment\n\n{spelled}"),
        serde_json::json!({
            "version": 1,
            "connections": {"a": {"hosts": ["a.test"], "auth": {"type": "bearer", "token": {"env": "X"}}}},
            "deployments": {"bot": {}},
            "bindings": [{"deployment": "bot", "connection": "a"}],
        })
        .to_string(),
    ] {
        let loaded = read(&text, "bindings.yaml").unwrap_or_else(|diagnostics| panic!("{diagnostics}"));
        assert_eq!(loaded.config.connections["a"].hosts.len(), 1);
    }
}
