//! Every documented type of `auth:`, as it should be written and what becomes of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use secrecy::ExposeSecret;

use super::accepted;
use crate::authority::{Authority, Destination, Scheme};
use crate::config::{
    Auth, AwsCredentials, ClientAuth, Connection, Oauth, OauthGrant, Presentation, RevocationForm, SecretSource,
    TokenRequest,
};
use crate::name::DeploymentName;
use crate::policy::Ask;

const INTEGRATIONS: &str = "
  acme:
    hosts: [api.acme.test]
    authorization_url: https://login.acme.test/authorize
    token_url: https://api.acme.test/oauth/token
    device_authorization_url: https://login.acme.test/device
    revocation_url: https://login.acme.test/revoke
    client_auth: post
    token_request: json
    scopes: [read]
    scope_separator: \",\"
    authorize_params: {prompt: consent, owner: user}
    token_params: {audience: a}";

/// The connection of a file with only this one.
fn connection(keys: &str) -> Arc<Connection> {
    let text = format!("version: 1\nintegrations:{INTEGRATIONS}\nconnections:\n  it: {{{keys}}}\nbindings: []");
    let loaded = accepted(&text);
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    Arc::clone(&loaded.config.connections["it"])
}

fn auth(keys: &str) -> Auth {
    connection(&format!("hosts: [a.test], auth: {{{keys}}}")).auth.clone()
}

fn oauth(keys: &str) -> Box<Oauth> {
    match connection(&format!("integration: acme, auth: {{{keys}}}")).auth.clone() {
        Auth::Oauth(oauth) => oauth,
        other => panic!("{}", other.type_name()),
    }
}

/// Where each part comes from, in short.
fn sources(auth: &Auth) -> Vec<String> {
    let short = |source: &SecretSource| match source {
        SecretSource::Env(name) => format!("env {name}"),
        SecretSource::File(path) => format!("file {}", path.display()),
        SecretSource::Sealed(name) => format!("sealed {name}"),
        SecretSource::Literal(text) => format!("literal {}", text.expose_secret()),
    };
    auth.secret_sources().into_iter().map(short).collect()
}

fn at(host: &str) -> Destination {
    Destination { scheme: Scheme::Https, authority: Authority::parse_with_default(host, 443).unwrap() }
}

#[test]
fn basic_has_a_user_name_in_the_open_or_as_the_secret() {
    assert_eq!(sources(&auth("type: basic, username: me, password: {env: P}")), ["literal me", "env P"]);
    assert_eq!(sources(&auth("type: basic, username: {sealed: key}")), ["sealed key"]);
}

#[test]
fn a_header_is_short_or_long() {
    let Auth::Header { headers, values } = auth("type: header, name: X-Api-Key, value: {env: K}") else { panic!() };
    assert_eq!((headers[0].name.as_str(), headers[0].template.to_string().as_str()), ("X-Api-Key", "{value}"));
    assert!(values.contains_key("value"));
    let long = auth(
        "type: header, headers: {X-A: \"{a}\", X-B: \"Key {b}:{a}\", X-C: \"2\"}, values: {a: {env: A}, b: {sealed: b}}",
    );
    assert_eq!(sources(&long), ["env A", "sealed b"]);
    let Auth::Header { headers, .. } = long else { panic!() };
    let filled = headers[1].template.fill(|name| Some(if name == "a" { "1" } else { "2" })).unwrap();
    assert_eq!((headers.len(), filled.as_str()), (3, "Key 2:1"));
}

#[test]
fn a_header_without_a_name_is_the_integrations() {
    let header = |integration: &str| {
        let keys = format!("integration: {integration}, auth: {{type: header, value: {{env: K}}}}");
        let Auth::Header { headers, .. } = connection(&keys).auth.clone() else { panic!() };
        format!("{}: {}", headers[0].name, headers[0].template)
    };
    assert_eq!(header("anthropic"), "x-api-key: {value}");
    assert_eq!(header("gemini"), "x-goog-api-key: {value}");
    assert_eq!(header("openai"), "Authorization: Bearer {value}");
}

#[test]
fn a_query_parameter_has_a_name_and_a_value() {
    let Auth::Query { name, .. } = auth("type: query, name: api_key, value: {env: K}") else { panic!() };
    assert_eq!(name, "api_key");
}

#[test]
fn an_authorization_code_takes_what_its_integration_has() {
    let it = oauth("type: authorization_code, client_id: id, client_secret: {env: S}, authorize_params: {owner: me}");
    let OauthGrant::AuthorizationCode { authorization_url } = &it.grant else { panic!() };
    assert_eq!(authorization_url, "https://login.acme.test/authorize");
    assert_eq!(it.endpoints.token_url, "https://api.acme.test/oauth/token");
    assert_eq!(it.endpoints.revocation.as_ref().unwrap().form, RevocationForm::Rfc7009);
    assert_eq!((it.client_auth, it.token_request, it.scope_separator), (ClientAuth::Post, TokenRequest::Json, ','));
    assert_eq!(it.scopes, ["read"]);
    let params = [("owner", "me"), ("prompt", "consent")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(it.authorize_params, BTreeMap::from(params));
    assert_eq!(it.token_params["audience"], "a");
}

#[test]
fn a_connection_replaces_what_its_integration_has() {
    let it = oauth(
        "type: authorization_code, client_id: {env: ID}, client_secret: {sealed: s}, scopes: [a, b], \
         authorization_url: \"https://b.test/a\", token_url: \"https://b.test/t\", revocation_url: \"https://b.test/r\", \
         client_auth: basic, token_request: form, token_params: {audience: b, c: d}",
    );
    let OauthGrant::AuthorizationCode { authorization_url } = &it.grant else { panic!() };
    assert_eq!((authorization_url.as_str(), it.endpoints.token_url.as_str()), ("https://b.test/a", "https://b.test/t"));
    assert_eq!(it.endpoints.revocation.as_ref().unwrap().url, "https://b.test/r");
    assert_eq!((it.client_auth, it.token_request), (ClientAuth::Basic, TokenRequest::Form));
    assert_eq!(it.scopes, ["a", "b"]);
    assert_eq!((it.token_params["audience"].as_str(), it.token_params["c"].as_str()), ("b", "d"));
}

#[test]
fn a_client_without_a_secret_is_public_whatever_its_integration_says() {
    let it = oauth("type: device_code, client_id: id");
    let OauthGrant::DeviceCode { device_authorization_url } = &it.grant else { panic!() };
    assert_eq!(device_authorization_url, "https://login.acme.test/device");
    assert_eq!((it.client_auth, it.client_secret.is_none()), (ClientAuth::None, true));
    assert!(it.authorize_params.is_empty());
}

#[test]
fn every_secret_of_the_oauth_types_is_enumerated() {
    let of = |keys: &str| sources(&Auth::Oauth(oauth(keys)));
    let refresh = "type: refresh_token, client_id: {env: I}, client_secret: {env: S}, refresh_token: {sealed: r}";
    assert_eq!(of(refresh), ["env I", "env S", "sealed r"]);
    assert_eq!(of("type: client_credentials, client_id: i, client_secret: {file: /s}"), ["literal i", "file /s"]);
    let exchange = "type: token_exchange, subject_token: {file: /t}, subject_token_type: \"urn:a:jwt\", \
                    actor_token: {env: A}, actor_token_type: \"urn:a:b\", audience: x, resource: \"https://x.test\"";
    assert_eq!(of(exchange), ["file /t", "env A"]);
    let OauthGrant::TokenExchange(it) = oauth(exchange).grant.clone() else { panic!() };
    assert_eq!((it.audience.as_deref(), it.resource.as_deref()), (Some("x"), Some("https://x.test")));
}

#[test]
fn the_machines_types_have_their_defaults_and_aliases() {
    for name in ["google_service_account", "gcs_service_account"] {
        let Auth::GoogleServiceAccount(it) =
            auth(&format!("type: {name}, key: {{file: /k}}, scopes: [a], subject: u@a"))
        else {
            panic!()
        };
        assert_eq!(it.token_url, "https://oauth2.googleapis.com/token");
        assert_eq!(it.subject.as_deref(), Some("u@a"));
    }
    let Auth::GithubApp(it) = auth("type: github_app, app_id: 7, installation_id: 9, private_key: {file: /k}") else {
        panic!()
    };
    assert_eq!(it.api_url, "https://api.github.com");
    assert_eq!(sources(&Auth::GithubApp(it)), ["literal 7", "literal 9", "file /k"]);
    for name in ["aws_sigv4", "aws_iam"] {
        let keys = format!("type: {name}, access_key_id: AKIA, secret_access_key: {{env: S}}, region: eu-west-1");
        assert_eq!(sources(&auth(&keys)), ["literal AKIA", "env S"]);
    }
    let Auth::AwsSigv4(it) = auth("type: aws_sigv4, profile: p, credentials_file: /c, service: s3") else { panic!() };
    assert_eq!((it.region.as_deref(), it.service.as_deref()), (None, Some("s3")));
    assert!(matches!(&it.credentials, AwsCredentials::Profile { profile, .. } if profile == "p"));
    assert_eq!(sources(&Auth::AwsSigv4(it)), ["file /c"]);
}

#[test]
fn a_program_and_a_broker_are_taken_as_they_are() {
    let Auth::Exec(it) = auth("type: exec, command: [/bin/helper, --json], timeout: 3s, env: [HOME]") else { panic!() };
    assert_eq!((it.command, it.environment), (vec!["/bin/helper".into(), "--json".into()], vec!["HOME".to_owned()]));
    assert_eq!(it.answer_in, Duration::from_secs(3));
    let Auth::Exec(it) = auth("type: exec, command: [/bin/helper]") else { panic!() };
    assert_eq!((it.answer_in, it.environment.len()), (Duration::from_secs(10), 0));
    let broker = auth("type: broker, url: \"https://b.test/t\", token: {env: T}");
    assert_eq!(sources(&broker), ["env T"]);
}

#[test]
fn the_catalogue_serves_where_the_file_has_no_definition() {
    let it = connection("integration: notion, auth: {type: authorization_code, client_id: i, client_secret: {env: S}}");
    let Auth::Oauth(oauth) = &it.auth else { panic!() };
    assert_eq!(oauth.endpoints.token_url, "https://api.notion.com/v1/oauth/token");
    assert_eq!((oauth.client_auth, oauth.token_request), (ClientAuth::Basic, TokenRequest::Json));
    assert_eq!(it.hosts[0].to_string(), "api.notion.com");
    let zendesk = connection(
        "integration: zendesk, context: {subdomain: acme}, auth: {type: client_credentials, client_id: i, client_secret: {env: S}}",
    );
    assert_eq!(zendesk.hosts[0].to_string(), "acme.zendesk.com");
    assert_eq!(zendesk.context["subdomain"], "acme");
}

#[test]
fn an_integration_of_the_file_replaces_the_catalogues_as_a_whole() {
    let text = "version: 1\nintegrations: {notion: {hosts: [notion.test]}}\nconnections: {it: {integration: notion, auth: {type: bearer, token: {env: A}}}}\nbindings: []";
    let it = Arc::clone(&accepted(text).config.connections["it"]);
    assert_eq!(it.hosts[0].to_string(), "notion.test");
    assert!(it.integration.as_ref().unwrap().token_url.is_none() && it.guarded.is_empty());
}

#[test]
fn a_token_is_presented_as_the_integration_has_it_at_that_host() {
    let github = connection("integration: github, auth: {type: bearer, token: {env: A}}");
    assert_eq!(github.presentation(&at("api.github.com")), &Presentation::Bearer);
    let git = Presentation::Basic { username: "x-access-token".into() };
    assert_eq!(github.presentation(&at("github.com")), &git);
    let shopify = "integration: shopify, context: {shop: acme}, auth: ";
    let fetched =
        connection(&format!("{shopify}{{type: authorization_code, client_id: i, client_secret: {{env: S}}}}"));
    let header = Presentation::Header { name: "X-Shopify-Access-Token".into(), scheme: None };
    assert_eq!(fetched.presentation(&at("acme.myshopify.com")), &header);
    let supplied = connection(&format!("{shopify}{{type: bearer, token: {{env: S}}}}"));
    assert_eq!(supplied.presentation(&at("acme.myshopify.com")), &header);
}

#[test]
fn a_provider_of_keys_takes_a_fetched_token_as_a_bearer_token() {
    let azure = "integration: azure-openai, context: {resource: acme}, auth: ";
    let key = connection(&format!("{azure}{{type: bearer, token: {{env: K}}}}"));
    let header = Presentation::Header { name: "api-key".into(), scheme: None };
    assert_eq!(key.presentation(&at("acme.openai.azure.com")), &header);
    let token = connection(&format!(
        "{azure}{{type: client_credentials, client_id: i, client_secret: {{env: S}}, token_url: \"https://login.test/t\"}}"
    ));
    assert_eq!(token.presentation(&at("acme.openai.azure.com")), &Presentation::Bearer);
}

#[test]
fn the_times_of_a_refresh_are_the_connections_own() {
    let keys = "integration: acme, auth: {type: client_credentials, client_id: i, client_secret: {env: S}}";
    let default = connection(keys).refresh;
    assert_eq!((default.early_in, default.keep_alive_in), (Duration::from_secs(60), Some(Duration::from_secs(86_400))));
    let own = connection(&format!("{keys}, refresh: {{early: 5m, keep_alive: off}}")).refresh;
    assert_eq!((own.early_in, own.keep_alive_in), (Duration::from_secs(300), None));
}

#[test]
fn no_binding_covers_the_token_endpoints_of_its_own_provider() {
    let text = format!(
        "version: 1\nintegrations:{INTEGRATIONS}\nconnections:\n  acme: {{integration: acme, auth: {{type: client_credentials, client_id: i, client_secret: {{env: S}}}}}}\n  \
         notion: {{integration: notion, auth: {{type: bearer, token: {{env: S}}}}}}\n  \
         app: {{hosts: [api.github.com], auth: {{type: github_app, client_id: i, installation_id: 1, private_key: {{env: S}}}}}}\n  \
         gitlab: {{integration: gitlab, auth: {{type: bearer, token: {{env: S}}}}}}\n\
         deployments: {{bot: {{}}}}\nbindings:\n  - {{deployment: bot, connection: acme}}\n  - {{deployment: bot, connection: notion, paths: [\"/**\"]}}\n  \
         - {{deployment: bot, connection: app}}\n  - {{deployment: bot, connection: gitlab}}\n"
    );
    let config = accepted(&text).config;
    let asked = |host: &str, path: &str| {
        let bound = config.policy.bind(&DeploymentName::parse("bot").unwrap(), at(host)).unwrap();
        bound.authorize(&Ask { method: "POST", path, connection: None }).map_err(|refusal| refusal.code()).is_ok()
    };
    for (host, path) in [
        ("api.acme.test", "/v1/things"),
        ("api.notion.com", "/v1/pages"),
        ("api.github.com", "/app/installations/1"),
        ("gitlab.com", "/api/v4/projects/group%2Fname"),
    ] {
        assert!(asked(host, path), "{host}{path}");
    }
    for (host, path) in [
        ("api.acme.test", "/oauth/token"),
        ("api.acme.test", "/x/../oauth/token"),
        ("api.notion.com", "/v1/oauth/token"),
        ("api.notion.com", "/v1/oauth/revoke/"),
        ("api.notion.com", "/v1/oauth/introspect"),
        ("api.github.com", "/app/installations/1/access_tokens"),
        ("gitlab.com", "/oauth%2Ftoken"),
        ("gitlab.com", "/oauth/revoke"),
    ] {
        assert!(!asked(host, path), "{host}{path}");
    }
}
