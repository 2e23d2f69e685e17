//! The start of the authorization code flow: the URL for the browser, with state and PKCE (RFC 6749 §4.1.1, RFC 7636).
//! It keeps no session: state and verifier are its caller's to hold until the callback.

use std::fmt;

use oauth2::basic::BasicClient;
use oauth2::{AuthUrl, ClientId, CsrfToken, PkceCodeChallenge, RedirectUrl, Scope};
use secrecy::SecretString;

use super::request::{RequestError, checked_url};

/// Entropy of the state, in bytes.
const STATE_BYTES: u32 = 32;

/// What only the protocol sets in an authorization request (RFC 6749 §4.1.1, RFC 7636 §4.3, RFC 9101 §5).
const AUTHORIZATION_PARAMETERS: [&str; 9] = [
    "client_id",
    "code_challenge",
    "code_challenge_method",
    "redirect_uri",
    "request",
    "request_uri",
    "response_type",
    "scope",
    "state",
];

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct AuthorizationAsk<'a> {
    /// The provider's authorization endpoint.
    pub authorization_url: &'a str,
    /// The client's id.
    pub client_id: &'a str,
    /// Where the browser comes back to; made from configuration only, never from a request.
    pub redirect_uri: &'a str,
    /// What is asked for.
    pub scopes: &'a [String],
    /// What stands between two scopes.
    pub scope_separator: &'a str,
    /// Parameters that this provider wants besides; they never replace one of the protocol's.
    pub extra: &'a [(String, String)],
}

/// A URL for the browser, and what must be kept until it comes back. `state` is compared with the callback's in constant
/// time, in the same session; `verifier` goes into the token request.
pub struct AuthorizationRequest {
    /// Where the browser goes. It carries the state, so it is shown to nobody but the one who connects.
    pub url: String,
    /// Ties the callback to this request (RFC 6749 §10.12).
    pub state: SecretString,
    /// Ties the code to this request (RFC 7636).
    pub verifier: SecretString,
}

/// True for a parameter that a configured extra cannot set in an authorization request.
#[must_use]
pub fn is_authorization_parameter(name: &str) -> bool {
    AUTHORIZATION_PARAMETERS.iter().any(|own| own.eq_ignore_ascii_case(name))
}

impl AuthorizationRequest {
    /// A fresh request with a state and a verifier of its own.
    ///
    /// # Errors
    /// [`RequestError`] where one of the two URLs is not one, or the endpoint's already carries what is set here.
    pub fn new(ask: &AuthorizationAsk<'_>) -> Result<Self, RequestError> {
        let endpoint = checked_url(ask.authorization_url, "authorization_url")?;
        if endpoint.query_pairs().any(|(name, _)| is_authorization_parameter(&name)) {
            return Err(RequestError::UrlParameter("authorization_url"));
        }
        checked_url(ask.redirect_uri, "redirect_uri")?;
        let redirect = RedirectUrl::new(ask.redirect_uri.to_owned()).map_err(|_| RequestError::Url("redirect_uri"))?;

        let client = BasicClient::new(ClientId::new(ask.client_id.to_owned()))
            .set_auth_uri(AuthUrl::from_url(endpoint))
            .set_redirect_uri(redirect);
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let mut request = client.authorize_url(|| CsrfToken::new_random_len(STATE_BYTES)).set_pkce_challenge(challenge);
        if !ask.scopes.is_empty() {
            // The crate joins scopes by spaces only, so they go in as one.
            request = request.add_scope(Scope::new(ask.scopes.join(ask.scope_separator)));
        }
        for (name, value) in ask.extra.iter().filter(|(name, _)| !is_authorization_parameter(name)) {
            request = request.add_extra_param(name, value);
        }
        let (url, state) = request.url();
        Ok(Self { url: url.into(), state: state.into_secret().into(), verifier: verifier.into_secret().into() })
    }
}

impl fmt::Debug for AuthorizationRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuthorizationRequest(..)")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use base64::Engine;
    use base64::prelude::BASE64_URL_SAFE_NO_PAD;
    use oauth2::url::Url;
    use secrecy::ExposeSecret;
    use sha2::{Digest, Sha256};

    use super::*;

    fn ask<'a>(scopes: &'a [String], extra: &'a [(String, String)]) -> AuthorizationAsk<'a> {
        AuthorizationAsk {
            authorization_url: "https://login.acme.test/authorize?tenant=1",
            client_id: "acme-id",
            redirect_uri: "https://p.test/oauth/callback/acme",
            scopes,
            scope_separator: ",",
            extra,
        }
    }

    fn query(request: &AuthorizationRequest) -> BTreeMap<String, String> {
        let url = Url::parse(&request.url).unwrap();
        let pairs: Vec<_> = url.query_pairs().into_owned().collect();
        let query: BTreeMap<_, _> = pairs.iter().cloned().collect();
        assert_eq!(query.len(), pairs.len(), "no parameter twice");
        query
    }

    #[test]
    fn the_url_carries_state_and_the_challenge_of_the_verifier() {
        let scopes = ["a".to_owned(), "b".to_owned()];
        let request = AuthorizationRequest::new(&ask(&scopes, &[])).unwrap();
        let query = query(&request);
        let challenge = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(request.verifier.expose_secret()));
        assert_eq!(query["state"], request.state.expose_secret());
        assert_eq!(query["code_challenge"], challenge);
        assert_eq!(query["code_challenge_method"], "S256");
        assert_eq!(query["response_type"], "code");
        assert_eq!(query["client_id"], "acme-id");
        assert_eq!(query["redirect_uri"], "https://p.test/oauth/callback/acme");
        assert_eq!(query["scope"], "a,b");
        assert_eq!(query["tenant"], "1");
    }

    #[test]
    fn no_two_requests_share_state_or_verifier() {
        let [one, two] = [(), ()].map(|()| AuthorizationRequest::new(&ask(&[], &[])).unwrap());
        assert_ne!(one.state.expose_secret(), two.state.expose_secret());
        assert_ne!(one.verifier.expose_secret(), two.verifier.expose_secret());
        assert!(one.state.expose_secret().len() >= 43 && one.verifier.expose_secret().len() >= 43);
    }

    #[test]
    fn an_extra_parameter_never_replaces_one_of_the_protocol() {
        let extra =
            [("prompt", "consent"), ("state", "fixed"), ("request_uri", "https://evil.test"), ("SCOPE", "admin")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let query = query(&AuthorizationRequest::new(&ask(&[], &extra)).unwrap());
        assert_eq!(query["prompt"], "consent");
        assert_ne!(query["state"], "fixed");
        assert!(!query.contains_key("request_uri") && !query.contains_key("SCOPE") && !query.contains_key("scope"));
    }

    #[test]
    fn an_endpoint_that_fixes_a_parameter_is_refused() {
        let fixed = AuthorizationAsk { authorization_url: "https://a.test/?state=1", ..ask(&[], &[]) };
        assert_eq!(AuthorizationRequest::new(&fixed).unwrap_err(), RequestError::UrlParameter("authorization_url"));
        let script = AuthorizationAsk { authorization_url: "javascript:alert(1)", ..ask(&[], &[]) };
        assert_eq!(AuthorizationRequest::new(&script).unwrap_err(), RequestError::Url("authorization_url"));
    }

    #[test]
    fn neither_state_nor_verifier_shows_in_a_print() {
        let request = AuthorizationRequest::new(&ask(&[], &[])).unwrap();
        assert_eq!(format!("{request:?}"), "AuthorizationRequest(..)");
    }
}
