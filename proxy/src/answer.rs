//! Turns a refusal into the answer that the agent sees (RFC 9110 for the status, RFC 9209 for `proxy-status`). It is the
//! only place that does; every part comes from the refusal, none from the request.

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use model::{DeploymentName, Destination, Refusal};
use serde::Serialize;

const ERROR_CODE: HeaderName = HeaderName::from_static("x-postern-error");
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");
const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");
const CHALLENGE: HeaderValue = HeaderValue::from_static("Basic realm=\"postern\"");

/// What is known of the request at the time it was refused.
#[derive(Debug, Default)]
pub(crate) struct Known<'a> {
    pub(crate) request_id: &'a str,
    pub(crate) deployment: Option<&'a DeploymentName>,
    pub(crate) destination: Option<&'a Destination>,
    /// Where connect pages live, as `http://admin:3129`.
    pub(crate) public_url: &'a str,
}

/// The JSON body of a refusal (docs/errors.md).
#[derive(Serialize)]
struct Explanation<'a> {
    error: &'static str,
    message: String,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    deployment: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connection: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    connections: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connect_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

/// The answer to a refused request.
pub(crate) fn answer(refusal: &Refusal, known: &Known<'_>) -> Response<Bytes> {
    let retry_after =
        refusal.retry_in().map(|span| span.as_secs() + u64::from(span.subsec_nanos() > 0)).map(|s| s.max(1));
    let explanation = Explanation {
        error: refusal.code(),
        message: refusal.message(),
        request_id: known.request_id,
        deployment: known.deployment.map(DeploymentName::as_str),
        host: known.destination.map(Destination::host_text),
        connection: refusal.connection().map(|name| name.as_str()),
        connections: named(refusal),
        connect_url: connect_url(refusal, known),
        retry_after,
        hint: hint(refusal),
    };
    let mut body = serde_json::to_vec(&explanation).unwrap_or_default();
    body.push(b'\n');
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    fill(response.headers_mut(), refusal, retry_after);
    response
}

fn fill(headers: &mut HeaderMap, refusal: &Refusal, retry_after: Option<u64>) {
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(ERROR_CODE, HeaderValue::from_static(refusal.code()));
    if let Ok(status) = HeaderValue::try_from(format!("postern; error={}", refusal.proxy_status())) {
        headers.insert(PROXY_STATUS, status);
    }
    if refusal.retry_is_useless() {
        headers.insert(SHOULD_RETRY, HeaderValue::from_static("false"));
    }
    if let Some(seconds) = retry_after {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    match refusal {
        Refusal::CallerUnknown => {
            headers.insert(header::PROXY_AUTHENTICATE, CHALLENGE);
        }
        Refusal::MethodRefused => {
            headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"));
        }
        Refusal::RequestMalformed(_) => {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        _ => {}
    }
}

fn named(refusal: &Refusal) -> Vec<&str> {
    match refusal {
        Refusal::ConnectionAmbiguous { connections } => connections.iter().map(|name| name.as_str()).collect(),
        _ => Vec::new(),
    }
}

fn connect_url(refusal: &Refusal, known: &Known<'_>) -> Option<String> {
    match refusal {
        Refusal::ConnectionInactive { connection }
        | Refusal::NotConnected { connection }
        | Refusal::NeedsReauth { connection } => Some(format!("{}/connect/{connection}", known.public_url)),
        _ => None,
    }
}

/// The line of bindings.yaml that would allow the request.
fn hint(refusal: &Refusal) -> Option<String> {
    match refusal {
        Refusal::BindingMissing { deployment, destination, named } => {
            let connection = named.as_deref().filter(|name| *name != "?").unwrap_or("CONNECTION");
            Some(format!(
                "- {{deployment: {deployment}, connection: {connection}, hosts: [\"{}\"]}}",
                destination.host_text()
            ))
        }
        _ => None,
    }
}

/// The answer as bytes, for a socket that no HTTP connection serves: a CONNECT that was refused.
pub(crate) fn on_the_wire(response: &Response<Bytes>, keep_open: bool) -> Vec<u8> {
    let status = response.status();
    let mut bytes =
        format!("HTTP/1.1 {} {}\r\n", status.as_u16(), status.canonical_reason().unwrap_or("")).into_bytes();
    for (name, value) in response.headers() {
        if name != header::CONNECTION {
            bytes.extend_from_slice(name.as_str().as_bytes());
            bytes.extend_from_slice(b": ");
            bytes.extend_from_slice(value.as_bytes());
            bytes.extend_from_slice(b"\r\n");
        }
    }
    let connection = if keep_open { "keep-alive" } else { "close" };
    bytes.extend_from_slice(
        format!("content-length: {}\r\nconnection: {connection}\r\n\r\n", response.body().len()).as_bytes(),
    );
    bytes.extend_from_slice(response.body());
    bytes
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use model::{Authority, ConnectionName, Scheme};

    use super::*;

    fn missing() -> (Refusal, Destination) {
        let destination =
            Destination { scheme: Scheme::Https, authority: Authority::parse("api.notion.test:443").unwrap() };
        let deployment = DeploymentName::parse("bot").unwrap();
        (Refusal::BindingMissing { deployment, destination: destination.clone(), named: None }, destination)
    }

    #[test]
    fn a_missing_binding_says_who_what_and_how_to_mend_it() {
        let (refusal, destination) = missing();
        let deployment = DeploymentName::parse("bot").unwrap();
        let known = Known {
            request_id: "r1",
            deployment: Some(&deployment),
            destination: Some(&destination),
            public_url: "http://p",
        };
        let response = answer(&refusal, &known);
        assert_eq!(response.status(), 403);
        assert_eq!(response.headers()["x-postern-error"], "binding_missing");
        assert_eq!(response.headers()["proxy-status"], "postern; error=http_request_denied");
        assert_eq!(response.headers()["x-should-retry"], "false");
        let body: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
        assert_eq!(body["error"], "binding_missing");
        assert_eq!(body["host"], "api.notion.test");
        assert_eq!(body["deployment"], "bot");
        assert_eq!(body["hint"], "- {deployment: bot, connection: CONNECTION, hosts: [\"api.notion.test\"]}");
    }

    #[test]
    fn a_wait_is_told_in_whole_seconds_rounded_up() {
        let refusal = Refusal::RateLimited { retry_in: Duration::from_millis(1200) };
        let response = answer(&refusal, &Known::default());
        assert_eq!(response.headers()["retry-after"], "2");
        assert!(!response.headers().contains_key("x-should-retry"));
    }

    #[test]
    fn an_unknown_caller_is_challenged() {
        let bytes = on_the_wire(&answer(&Refusal::CallerUnknown, &Known::default()), true);
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.starts_with("HTTP/1.1 407 Proxy Authentication Required\r\n"));
        assert!(
            text.contains("proxy-authenticate: Basic realm=\"postern\"\r\n")
                && text.contains("connection: keep-alive\r\n")
        );
    }

    #[test]
    fn an_inactive_connection_leads_to_its_page() {
        let connection = ConnectionName::parse("acme").unwrap();
        let response =
            answer(&Refusal::ConnectionInactive { connection }, &Known { public_url: "http://p", ..Known::default() });
        let body: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
        assert_eq!(body["connect_url"], "http://p/connect/acme");
    }
}
