//! Builds requests to token endpoints, for every grant that postern uses. It sends nothing, and no configured extra can
//! replace a parameter of the protocol.
//!
//! These are built by hand rather than with the `oauth2` crate: it writes only forms, separates scopes only by spaces,
//! and knows neither assertions nor token exchange. One way for all grants is easier to trust than two.

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::HeaderValue;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use oauth2::url::{Url, form_urlencoded};
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use super::client::{BodyFormat, ClientAuth, OauthClient};

/// How postern names itself; some providers refuse requests without it.
const AGENT: HeaderValue = HeaderValue::from_static(concat!("postern/", env!("CARGO_PKG_VERSION")));
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");

/// What only the protocol sets in a request to a token endpoint (RFC 6749, 7521, 7636, 8628, 8693).
const TOKEN_PARAMETERS: [&str; 19] = [
    "actor_token",
    "actor_token_type",
    "assertion",
    "client_assertion",
    "client_assertion_type",
    "client_id",
    "client_secret",
    "code",
    "code_verifier",
    "device_code",
    "grant_type",
    "password",
    "redirect_uri",
    "refresh_token",
    "requested_token_type",
    "scope",
    "subject_token",
    "subject_token_type",
    "username",
];

/// What a token is asked for with.
#[derive(Clone)]
pub enum GrantRequest {
    /// RFC 6749 §6.
    RefreshToken {
        /// The refresh token.
        refresh_token: SecretString,
        /// Empty: the scopes granted so far.
        scopes: Vec<String>,
    },
    /// RFC 6749 §4.1.3.
    AuthorizationCode {
        /// The code that the callback brought.
        code: SecretString,
        /// The redirect URI of the authorization request, letter for letter.
        redirect_uri: String,
        /// The PKCE verifier of the authorization request (RFC 7636 §4.5).
        verifier: Option<SecretString>,
    },
    /// RFC 6749 §4.4.
    ClientCredentials {
        /// What is asked for.
        scopes: Vec<String>,
    },
    /// RFC 8628 §3.4.
    DeviceCode {
        /// The code that the device authorization endpoint gave.
        device_code: SecretString,
    },
    /// RFC 8693 §2.1.
    TokenExchange {
        /// The token that stands for the party on whose behalf is asked.
        subject_token: SecretString,
        /// Its type, a URI of RFC 8693 §3.
        subject_token_type: String,
        /// The type of token that is wanted.
        requested_token_type: Option<String>,
        /// The service where the token is to be used, by its name.
        audience: Option<String>,
        /// The service where the token is to be used, by its URI.
        resource: Option<String>,
        /// The token of the party that acts, and its type, a URI of RFC 8693 §3.
        actor: Option<(SecretString, String)>,
        /// What is asked for.
        scopes: Vec<String>,
    },
    /// RFC 7523 §2.1.
    JwtBearer {
        /// The signed assertion.
        assertion: SecretString,
        /// What is asked for; Google reads it from the assertion instead.
        scopes: Vec<String>,
    },
    /// GitHub's installation tokens: no parameters, the assertion in the `Authorization` field.
    AppInstallation {
        /// The signed assertion.
        assertion: SecretString,
    },
}

/// Why a request cannot be built. It names the setting, never a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Not a URL that can be asked.
    #[error("`{0}` must be an absolute http or https URL without user, password or fragment")]
    Url(&'static str),
    /// The URL fixes a parameter that every request sets anew.
    #[error("`{0}` must not carry parameters of the protocol itself, such as client_id or state")]
    UrlParameter(&'static str),
    /// No signed assertion: no field can carry it.
    #[error("the assertion holds a character that no header field can carry")]
    Assertion,
}

/// True for a parameter that a configured extra cannot set in a token request.
#[must_use]
pub fn is_token_parameter(name: &str) -> bool {
    TOKEN_PARAMETERS.iter().any(|own| own.eq_ignore_ascii_case(name))
}

/// The request that asks the client's token endpoint for a token.
///
/// # Errors
/// [`RequestError`] where `token_url` cannot be asked.
pub fn token_request(client: &OauthClient, grant: &GrantRequest) -> Result<http::Request<Vec<u8>>, RequestError> {
    let mut parameters = grant.parameters(&client.scope_separator);
    if let GrantRequest::AppInstallation { assertion } = grant {
        add_extra(client, &mut parameters);
        let bearer = Zeroizing::new(["Bearer ", assertion.expose_secret()].concat());
        let authorization = sensitive(&bearer).ok_or(RequestError::Assertion)?;
        return post(&client.token_url, "token_url", client.body, &parameters, Some(authorization));
    }
    client_request(client, &client.token_url, "token_url", parameters)
}

/// A request to any endpoint of the provider where the client presents itself.
pub(super) fn client_request<'a>(
    client: &'a OauthClient,
    url: &str,
    setting: &'static str,
    mut parameters: Parameters<'a>,
) -> Result<http::Request<Vec<u8>>, RequestError> {
    let authorization = authenticate(client, &mut parameters);
    add_extra(client, &mut parameters);
    post(url, setting, client.body, &parameters, authorization)
}

/// Names and values, in the order in which they are sent.
pub(super) type Parameters<'a> = Vec<(&'a str, Zeroizing<String>)>;

/// One parameter.
pub(super) fn parameter<'a>(name: &'a str, value: &str) -> (&'a str, Zeroizing<String>) {
    (name, Zeroizing::new(value.to_owned()))
}

impl GrantRequest {
    /// What the request carries that must not be repeated in words.
    pub(super) fn secrets(&self) -> Vec<&str> {
        match self {
            Self::RefreshToken { refresh_token, .. } => vec![refresh_token.expose_secret()],
            Self::AuthorizationCode { code, verifier, .. } => {
                let verifier = verifier.iter().map(|verifier| verifier.expose_secret());
                [code.expose_secret()].into_iter().chain(verifier).collect()
            }
            Self::ClientCredentials { .. } => Vec::new(),
            Self::DeviceCode { device_code } => vec![device_code.expose_secret()],
            Self::TokenExchange { subject_token, actor, .. } => {
                let acting = actor.iter().map(|(token, _)| token.expose_secret());
                [subject_token.expose_secret()].into_iter().chain(acting).collect()
            }
            Self::JwtBearer { assertion, .. } | Self::AppInstallation { assertion } => vec![assertion.expose_secret()],
        }
    }

    fn parameters(&self, separator: &str) -> Parameters<'static> {
        let mut parameters = Vec::new();
        let mut add = |name, value: &str| parameters.push(parameter(name, value));
        match self {
            Self::RefreshToken { refresh_token, .. } => {
                add("grant_type", "refresh_token");
                add("refresh_token", refresh_token.expose_secret());
            }
            Self::AuthorizationCode { code, redirect_uri, verifier } => {
                add("grant_type", "authorization_code");
                add("code", code.expose_secret());
                add("redirect_uri", redirect_uri);
                if let Some(verifier) = verifier {
                    add("code_verifier", verifier.expose_secret());
                }
            }
            Self::ClientCredentials { .. } => add("grant_type", "client_credentials"),
            Self::DeviceCode { device_code } => {
                add("grant_type", "urn:ietf:params:oauth:grant-type:device_code");
                add("device_code", device_code.expose_secret());
            }
            Self::TokenExchange {
                subject_token,
                subject_token_type,
                requested_token_type,
                audience,
                resource,
                actor,
                ..
            } => {
                add("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange");
                add("subject_token", subject_token.expose_secret());
                add("subject_token_type", subject_token_type);
                let optional =
                    [("requested_token_type", requested_token_type), ("audience", audience), ("resource", resource)];
                for (name, value) in optional {
                    if let Some(value) = value {
                        add(name, value);
                    }
                }
                if let Some((token, token_type)) = actor {
                    add("actor_token", token.expose_secret());
                    add("actor_token_type", token_type);
                }
            }
            Self::JwtBearer { assertion, .. } => {
                add("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer");
                add("assertion", assertion.expose_secret());
            }
            Self::AppInstallation { .. } => {}
        }
        if !self.scopes().is_empty() {
            add("scope", &self.scopes().join(separator));
        }
        parameters
    }

    fn scopes(&self) -> &[String] {
        match self {
            Self::RefreshToken { scopes, .. }
            | Self::ClientCredentials { scopes }
            | Self::TokenExchange { scopes, .. }
            | Self::JwtBearer { scopes, .. } => scopes,
            Self::AuthorizationCode { .. } | Self::DeviceCode { .. } | Self::AppInstallation { .. } => &[],
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::RefreshToken { .. } => "RefreshToken",
            Self::AuthorizationCode { .. } => "AuthorizationCode",
            Self::ClientCredentials { .. } => "ClientCredentials",
            Self::DeviceCode { .. } => "DeviceCode",
            Self::TokenExchange { .. } => "TokenExchange",
            Self::JwtBearer { .. } => "JwtBearer",
            Self::AppInstallation { .. } => "AppInstallation",
        }
    }
}

impl fmt::Debug for GrantRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GrantRequest::{}(..)", self.name())
    }
}

/// Puts the client's id and secret where its provider wants them (RFC 6749 §2.3.1).
fn authenticate(client: &OauthClient, parameters: &mut Parameters<'_>) -> Option<HeaderValue> {
    match (client.auth, &client.client_secret) {
        (ClientAuth::Basic, Some(secret)) => return Some(basic(&client.client_id, secret)),
        (ClientAuth::Post, Some(secret)) => {
            parameters.push(parameter("client_id", &client.client_id));
            parameters.push(parameter("client_secret", secret.expose_secret()));
        }
        // A public client names itself in the body (RFC 6749 §3.2.1); an assertion may stand without any client.
        (ClientAuth::None, _) | (_, None) if client.client_id.is_empty() => {}
        (ClientAuth::None, _) | (_, None) => parameters.push(parameter("client_id", &client.client_id)),
    }
    None
}

/// Both halves are form-encoded before base64: a colon in the id must not end it.
fn basic(id: &str, secret: &SecretString) -> HeaderValue {
    let encode = |text: &str| Zeroizing::new(form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>());
    let pair = Zeroizing::new([encode(id).as_str(), ":", encode(secret.expose_secret()).as_str()].concat());
    let field = Zeroizing::new(["Basic ", &BASE64_STANDARD.encode(pair.as_bytes())].concat());
    #[expect(clippy::expect_used, reason = "base64 is printable ASCII")]
    sensitive(&field).expect("base64 is printable ASCII")
}

/// A field's value that no log of a library shows; `None` where no field can carry it.
fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// The provider's own parameters; one that is the protocol's, or is set already, is left out.
fn add_extra<'a>(client: &'a OauthClient, parameters: &mut Parameters<'a>) {
    for (name, value) in &client.extra {
        if !is_token_parameter(name) && parameters.iter().all(|(set, _)| set != name) {
            parameters.push(parameter(name, value));
        }
    }
}

fn post(
    url: &str,
    setting: &'static str,
    format: BodyFormat,
    parameters: &Parameters<'_>,
    authorization: Option<HeaderValue>,
) -> Result<http::Request<Vec<u8>>, RequestError> {
    let uri: http::Uri = checked_url(url, setting)?.as_str().parse().map_err(|_| RequestError::Url(setting))?;
    let mut request = http::Request::new(write(format, parameters));
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = uri;
    let fields = request.headers_mut();
    fields.insert(ACCEPT, JSON);
    fields.insert(USER_AGENT, AGENT);
    fields.insert(CONTENT_TYPE, if format == BodyFormat::Json { JSON } else { FORM });
    if let Some(authorization) = authorization {
        fields.insert(AUTHORIZATION, authorization);
    }
    Ok(request)
}

fn write(format: BodyFormat, parameters: &Parameters<'_>) -> Vec<u8> {
    let pairs = parameters.iter().map(|(name, value)| (*name, value.as_str()));
    match format {
        BodyFormat::Form => form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish().into_bytes(),
        BodyFormat::Json => {
            let fields: serde_json::Map<_, _> = pairs.map(|(name, value)| (name.to_owned(), value.into())).collect();
            serde_json::Value::Object(fields).to_string().into_bytes()
        }
    }
}

/// A URL that a request or a browser can be sent to.
pub(super) fn checked_url(url: &str, setting: &'static str) -> Result<Url, RequestError> {
    let url = Url::parse(url).map_err(|_| RequestError::Url(setting))?;
    let plain = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
    if plain && matches!(url.scheme(), "https" | "http") { Ok(url) } else { Err(RequestError::Url(setting)) }
}

#[cfg(test)]
mod tests {
    use super::super::scripted::{client, form, secret};
    use super::*;

    fn refresh() -> GrantRequest {
        GrantRequest::RefreshToken { refresh_token: secret("rt"), scopes: Vec::new() }
    }

    fn sent(client: &OauthClient, grant: &GrantRequest) -> Vec<(String, String)> {
        form(&token_request(client, grant).unwrap())
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn every_request_names_postern_and_asks_for_json() {
        let request = token_request(&client(), &refresh()).unwrap();
        assert_eq!(request.method(), "POST");
        assert_eq!(request.uri(), "https://login.acme.test/token");
        assert_eq!(request.headers()["accept"], "application/json");
        assert_eq!(request.headers()["user-agent"], concat!("postern/", env!("CARGO_PKG_VERSION")));
        assert_eq!(request.headers()["content-type"], "application/x-www-form-urlencoded");
    }

    #[test]
    fn basic_encodes_both_halves_before_base64() {
        let odd = OauthClient { client_id: "id:with+colon".into(), client_secret: Some(secret("s é/=%")), ..client() };
        let request = token_request(&odd, &refresh()).unwrap();
        let field = &request.headers()["authorization"];
        assert!(field.is_sensitive());
        let expected = BASE64_STANDARD.encode("id%3Awith%2Bcolon:s+%C3%A9%2F%3D%25");
        assert_eq!(field.to_str().unwrap(), format!("Basic {expected}"));
        assert_eq!(form(&request), pairs(&[("grant_type", "refresh_token"), ("refresh_token", "rt")]));
    }

    #[test]
    fn post_puts_id_and_secret_into_the_body() {
        let client = OauthClient { auth: ClientAuth::Post, ..client() };
        let request = token_request(&client, &refresh()).unwrap();
        assert!(!request.headers().contains_key("authorization"));
        assert_eq!(form(&request)[2..], pairs(&[("client_id", "acme-id"), ("client_secret", "acme-secret")]));
    }

    #[test]
    fn a_public_client_only_names_itself() {
        for auth in [ClientAuth::None, ClientAuth::Post, ClientAuth::Basic] {
            let public = OauthClient { auth, client_secret: None, ..client() };
            assert_eq!(sent(&public, &refresh())[2..], pairs(&[("client_id", "acme-id")]));
        }
        let nobody = OauthClient { auth: ClientAuth::None, client_id: String::new(), ..client() };
        assert_eq!(sent(&nobody, &refresh()).len(), 2);
    }

    #[test]
    fn each_grant_sends_its_own_parameters() {
        let scopes = || vec!["read".to_owned(), "write".to_owned()];
        let code = GrantRequest::AuthorizationCode {
            code: secret("c"),
            redirect_uri: "https://p.test/cb".into(),
            verifier: Some(secret("v")),
        };
        let exchange = GrantRequest::TokenExchange {
            subject_token: secret("st"),
            subject_token_type: "urn:ietf:params:oauth:token-type:jwt".into(),
            actor: Some((secret("at"), "urn:ietf:params:oauth:token-type:jwt".into())),
            requested_token_type: None,
            audience: Some("api".into()),
            resource: None,
            scopes: scopes(),
        };
        #[rustfmt::skip]
        let rows: [(GrantRequest, &[(&str, &str)]); 6] = [
            (GrantRequest::RefreshToken { refresh_token: secret("rt"), scopes: scopes() },
                &[("grant_type", "refresh_token"), ("refresh_token", "rt"), ("scope", "read write")]),
            (code, &[("grant_type", "authorization_code"), ("code", "c"), ("redirect_uri", "https://p.test/cb"),
                ("code_verifier", "v")]),
            (GrantRequest::ClientCredentials { scopes: scopes() },
                &[("grant_type", "client_credentials"), ("scope", "read write")]),
            (GrantRequest::DeviceCode { device_code: secret("dc") },
                &[("grant_type", "urn:ietf:params:oauth:grant-type:device_code"), ("device_code", "dc")]),
            (exchange, &[("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"), ("subject_token", "st"),
                ("subject_token_type", "urn:ietf:params:oauth:token-type:jwt"), ("audience", "api"),
                ("actor_token", "at"), ("actor_token_type", "urn:ietf:params:oauth:token-type:jwt"),
                ("scope", "read write")]),
            (GrantRequest::JwtBearer { assertion: secret("jwt"), scopes: Vec::new() },
                &[("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"), ("assertion", "jwt")]),
        ];
        for (grant, expected) in rows {
            assert_eq!(sent(&client(), &grant), pairs(expected), "{grant:?}");
        }
    }

    #[test]
    fn an_installation_is_asked_for_with_the_assertion_alone() {
        let grant = GrantRequest::AppInstallation { assertion: secret("jwt") };
        let request = token_request(&OauthClient { body: BodyFormat::Json, ..client() }, &grant).unwrap();
        assert_eq!(request.headers()["authorization"], "Bearer jwt");
        assert!(request.headers()["authorization"].is_sensitive());
        assert_eq!(request.body(), b"{}");
    }

    #[test]
    fn a_body_may_be_json_and_scopes_separated_by_commas() {
        let client = OauthClient { body: BodyFormat::Json, scope_separator: ",".into(), ..client() };
        let grant = GrantRequest::ClientCredentials { scopes: vec!["a".into(), "b".into()] };
        let request = token_request(&client, &grant).unwrap();
        assert_eq!(request.headers()["content-type"], "application/json");
        let body: serde_json::Value = serde_json::from_slice(request.body()).unwrap();
        assert_eq!(body, serde_json::json!({"grant_type": "client_credentials", "scope": "a,b"}));
    }

    #[test]
    fn an_extra_parameter_never_replaces_one_of_the_protocol() {
        let extra = [("expires_in", "60"), ("grant_type", "password"), ("Client_Secret", "x"), ("scope", "admin")];
        let client = OauthClient { extra: pairs(&extra), ..client() };
        assert_eq!(sent(&client, &refresh())[2..], pairs(&[("expires_in", "60")]));
    }

    #[test]
    fn a_url_that_cannot_be_asked_is_named_without_being_shown() {
        for url in ["", "/token", "ftp://a.test/", "https://user:canary@a.test/", "https://a.test/#x", "data:x"] {
            let client = OauthClient { token_url: url.into(), ..client() };
            let error = token_request(&client, &refresh()).unwrap_err();
            assert_eq!(error, RequestError::Url("token_url"), "{url}");
            assert!(!error.to_string().contains("canary"));
        }
    }

    #[test]
    fn no_secret_shows_in_any_print() {
        let client =
            OauthClient { client_secret: Some(secret("canary")), extra: pairs(&[("key", "canary")]), ..client() };
        let grant = GrantRequest::RefreshToken { refresh_token: secret("canary"), scopes: Vec::new() };
        let printed = format!("{client:?} {grant:?}");
        assert!(!printed.contains("canary"), "{printed}");
    }
}
