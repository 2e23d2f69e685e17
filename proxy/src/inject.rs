//! Puts the credential on a request: strips everything the agent may have sent in its place, then sets ours. Headers in,
//! headers out; no wait, no decision. Only a request that went through here can be forwarded.

use http::header::{self, HeaderValue};
use http::uri::PathAndQuery;
use http::{Request, Uri, Version, request};
use model::policy::{Cookies, Grant};
use model::{Destination, Refusal};
use secrecy::{ExposeSecret, SecretString};
use vault::Credential;
use zeroize::Zeroizing;

use crate::fields;
use crate::pool::Key;

/// The query parameter in which an upstream may accept a bearer token (RFC 6750 §2.3).
const BEARER_PARAMETER: &str = "access_token";

/// A request that carries no credential of the agent's, bound to the destination and account it may reach.
#[derive(Debug)]
pub(crate) struct Authenticated<B> {
    request: Request<B>,
    key: Key,
    strip_set_cookie: bool,
}

impl<B> Authenticated<B> {
    /// The pool that its socket comes from.
    pub(crate) fn key(&self) -> &Key {
        &self.key
    }

    /// Whether the answer's cookies stay here.
    pub(crate) fn strip_set_cookie(&self) -> bool {
        self.strip_set_cookie
    }

    pub(crate) fn into_request(self) -> Request<B> {
        self.request
    }
}

/// Injects the granted credential.
///
/// # Errors
/// [`Refusal::Internal`] when the destination does not make a `Host`, which a parsed one always does.
pub(crate) fn inject<B>(
    mut parts: request::Parts,
    body: B,
    grant: &Grant,
    credential: &Credential,
    via: &HeaderValue,
) -> Result<Authenticated<B>, Refusal> {
    let binding = grant.binding();
    strip(&mut parts, via);
    fields::strip_credentials(&mut parts.headers);
    for (name, _) in credential.fields() {
        parts.headers.remove(name);
    }
    if binding.cookies == Cookies::Strip {
        parts.headers.remove(header::COOKIE);
    }
    if !binding.methods.is_empty() {
        fields::strip_method_overrides(&mut parts.headers);
    }
    if !binding.paths.is_empty() {
        fields::strip_target_overrides(&mut parts.headers);
    }
    let mut target = without_parameter(origin_form(&parts.uri)?, BEARER_PARAMETER)?;
    if let Some((name, value)) = credential.parameter() {
        target = with_parameter(without_parameter(target, name)?, name, value)?;
    }
    aim(&mut parts, target, grant.destination())?;
    for (name, value) in credential.fields() {
        parts.headers.insert(name, value.clone());
    }
    Ok(Authenticated {
        request: Request::from_parts(parts, body),
        key: Key::granted(grant, credential),
        strip_set_cookie: binding.cookies == Cookies::Strip,
    })
}

/// Prepares a request to a destination that the operator lets pass without a credential: nothing is injected, and what
/// the agent sent to that destination is its own.
pub(crate) fn pass<B>(
    mut parts: request::Parts,
    body: B,
    deployment: &model::DeploymentName,
    destination: &Destination,
    via: &HeaderValue,
) -> Result<Authenticated<B>, Refusal> {
    strip(&mut parts, via);
    fields::strip_own(&mut parts.headers);
    let target = origin_form(&parts.uri)?;
    aim(&mut parts, target, destination)?;
    let key = Key::passing(deployment, destination);
    Ok(Authenticated { request: Request::from_parts(parts, body), key, strip_set_cookie: false })
}

/// Removes one hop's fields and adds this hop to `Via` (RFC 9110 §7.6.3).
fn strip(parts: &mut request::Parts, via: &HeaderValue) {
    // Chunks in, chunks out: hyper drops the body of a GET whose length it cannot tell.
    let chunked = parts.headers.contains_key(header::TRANSFER_ENCODING);
    fields::strip_hop_by_hop(&mut parts.headers);
    parts.headers.remove(header::EXPECT);
    if chunked {
        parts.headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    parts.headers.append(header::VIA, via.clone());
}

fn origin_form(uri: &Uri) -> Result<PathAndQuery, Refusal> {
    uri.path_and_query().cloned().map_or_else(|| PathAndQuery::try_from("/").map_err(|_| Refusal::Internal), Ok)
}

/// Target and `Host` both come from the one destination.
fn aim(parts: &mut request::Parts, target: PathAndQuery, destination: &Destination) -> Result<(), Refusal> {
    let host = HeaderValue::try_from(destination.host_text()).map_err(|_| Refusal::Internal)?;
    parts.headers.insert(header::HOST, host);
    parts.uri = Uri::from(target);
    parts.version = Version::HTTP_11;
    Ok(())
}

/// The target without every occurrence of a query parameter; unchanged, byte for byte, where there is none.
fn without_parameter(target: PathAndQuery, name: &str) -> Result<PathAndQuery, Refusal> {
    let Some(query) = target.query() else { return Ok(target) };
    if !query.split('&').any(|pair| is_parameter(pair, name)) {
        return Ok(target);
    }
    let kept: Vec<&str> = query.split('&').filter(|pair| !is_parameter(pair, name)).collect();
    let path = target.path();
    let text = if kept.is_empty() { path.to_owned() } else { format!("{path}?{}", kept.join("&")) };
    PathAndQuery::try_from(text).map_err(|_| Refusal::Internal)
}

/// The target with a query parameter at its end. The name is plain; the value is escaped (RFC 3986 §2.3).
fn with_parameter(target: PathAndQuery, name: &str, value: &SecretString) -> Result<PathAndQuery, Refusal> {
    let separator = if target.query().is_some_and(|query| !query.is_empty()) { '&' } else { '?' };
    let mut text = Zeroizing::new(target.as_str().trim_end_matches('?').to_owned());
    text.push(separator);
    text.push_str(name);
    text.push('=');
    for byte in value.expose_secret().bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    PathAndQuery::try_from(text.as_str()).map_err(|_| Refusal::Internal)
}

/// Compares the decoded name: `%61ccess_token` is the same parameter to a server.
fn is_parameter(pair: &str, name: &str) -> bool {
    let written = pair.split('=').next().unwrap_or(pair);
    if !written.contains('%') {
        return written == name;
    }
    let mut decoded = Vec::with_capacity(written.len());
    let mut bytes = written.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let digits = [bytes.next(), bytes.next()].map(|digit| digit.and_then(|digit| char::from(digit).to_digit(16)));
        let [Some(high), Some(low)] = digits else { return false };
        decoded.push(u8::try_from(high * 16 + low).unwrap_or_default());
    }
    decoded == name.as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn without(target: &str) -> String {
        without_parameter(target.parse().unwrap(), BEARER_PARAMETER).unwrap().to_string()
    }

    #[test]
    fn a_token_in_the_query_is_removed_in_any_spelling() {
        assert_eq!(without("/p?access_token=x"), "/p");
        assert_eq!(without("/p?a=1&access_token=x&b=2&access_token"), "/p?a=1&b=2");
        assert_eq!(without("/p?%61ccess%5Ftoken=x&a"), "/p?a");
    }

    #[test]
    fn a_secret_in_the_query_replaces_what_the_agent_sent_there() {
        let put = |target: &str| {
            let target = without_parameter(target.parse().unwrap(), "key").unwrap();
            with_parameter(target, "key", &SecretString::from("a b&c")).unwrap().to_string()
        };
        assert_eq!(put("/p"), "/p?key=a%20b%26c");
        assert_eq!(put("/p?x=1&key=mine&k%65y=mine"), "/p?x=1&key=a%20b%26c");
        assert_eq!(put("/p?"), "/p?key=a%20b%26c");
    }

    #[test]
    fn any_other_target_stays_as_it_was_byte_for_byte() {
        for target in ["//b.test/p", "/a/../b?x=%2F&&y", "/p?my_access_token=1", "/p?", "/p?access_tokens=1&%zz"] {
            assert_eq!(without(target), target);
        }
    }
}
