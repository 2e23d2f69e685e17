//! What is known of header fields: which belong to one hop, which carry a credential, which could redirect a decision.
//! Pure functions over header maps; they add nothing.

use http::header::{self, HeaderMap, HeaderName};

/// Fields that belong to one hop besides those that `Connection` names (RFC 9110 §7.6.1).
const HOP_BY_HOP: [HeaderName; 5] =
    [header::CONNECTION, header::TE, header::TRANSFER_ENCODING, header::UPGRADE, HeaderName::from_static("keep-alive")];

/// Where some API expects a credential. A client's own value there would let it act as somebody else at the bound host.
const CREDENTIALS: [&str; 9] = [
    "authorization",
    "x-api-key",
    "x-goog-api-key",
    "api-key",
    "x-amz-security-token",
    "x-auth-token",
    "x-access-token",
    "private-token",
    "x-shopify-access-token",
];

/// Fields by which some servers replace the method, undoing a binding's `methods`.
const METHOD_OVERRIDES: [&str; 3] = ["x-http-method-override", "x-http-method", "x-method-override"];

/// Fields by which some servers replace the target, undoing a binding's `paths`.
const TARGET_OVERRIDES: [&str; 2] = ["x-original-url", "x-rewrite-url"];

/// Removes what belongs to this hop: the fields that `Connection` names, the standard ones, and everything `proxy-`
/// but the end-to-end `proxy-status` (RFC 9209 §2).
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> =
        headers.get_all(header::CONNECTION).iter().flat_map(|value| names(value.as_bytes())).collect();
    for name in named {
        // The message's own framing and destination are never a matter of one hop, whatever the field claims.
        if name != header::CONTENT_LENGTH && name != header::HOST {
            headers.remove(name);
        }
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
    strip_matching(headers, |name| name.starts_with("proxy-") && name != "proxy-status");
}

/// Removes every credential that a client may have sent, and our own control fields.
pub(crate) fn strip_credentials(headers: &mut HeaderMap) {
    for name in CREDENTIALS {
        headers.remove(name);
    }
    strip_own(headers);
}

/// Removes fields that only postern itself sets.
pub(crate) fn strip_own(headers: &mut HeaderMap) {
    strip_matching(headers, |name| name.starts_with("x-postern-"));
}

/// Removes the fields by which a server would take another method than the one that was judged.
pub(crate) fn strip_method_overrides(headers: &mut HeaderMap) {
    for name in METHOD_OVERRIDES {
        headers.remove(name);
    }
}

/// Removes the fields by which a server would take another path than the one that was judged.
pub(crate) fn strip_target_overrides(headers: &mut HeaderMap) {
    for name in TARGET_OVERRIDES {
        headers.remove(name);
    }
}

/// Removes from a trailer section what only a head may carry (RFC 9110 §6.5.1).
pub(crate) fn strip_from_trailers(trailers: &mut HeaderMap) {
    strip_hop_by_hop(trailers);
    strip_credentials(trailers);
    for name in [
        header::CONTENT_LENGTH,
        header::HOST,
        header::TRAILER,
        header::CONTENT_ENCODING,
        header::CONTENT_TYPE,
        header::CONTENT_RANGE,
        header::COOKIE,
        header::SET_COOKIE,
        header::CACHE_CONTROL,
        header::EXPECT,
        header::LOCATION,
        header::VIA,
        header::WWW_AUTHENTICATE,
    ] {
        trailers.remove(name);
    }
}

/// Whether a comma-separated field names the token.
pub(crate) fn lists(headers: &HeaderMap, field: &HeaderName, token: &str) -> bool {
    let values = headers.get_all(field).iter();
    values
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .any(|item| item.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

fn strip_matching(headers: &mut HeaderMap, unwanted: impl Fn(&str) -> bool) {
    let named: Vec<HeaderName> = headers.keys().filter(|name| unwanted(name.as_str())).cloned().collect();
    for name in named {
        headers.remove(name);
    }
}

fn names(value: &[u8]) -> impl Iterator<Item = HeaderName> {
    value.split(|byte| *byte == b',').filter_map(|item| HeaderName::from_bytes(item.trim_ascii()).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn one_hops_fields_stay_on_it() {
        let mut fields = headers(&[
            ("Connection", "close, X-Hop"),
            ("Connection", "Content-Length"),
            ("X-Hop", "1"),
            ("Keep-Alive", "timeout=5"),
            ("Proxy-Authorization", "Basic x"),
            ("Proxy-Connection", "keep-alive"),
            ("TE", "trailers"),
            ("Upgrade", "h2c"),
            ("Transfer-Encoding", "chunked"),
            ("Content-Length", "3"),
            ("Proxy-Status", "cdn; error=dns_error"),
            ("Accept", "*/*"),
        ]);
        strip_hop_by_hop(&mut fields);
        let mut left: Vec<&str> = fields.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["accept", "content-length", "proxy-status"]);
    }

    #[test]
    fn trailers_carry_no_framing_and_no_credential() {
        let mut trailers = headers(&[
            ("Authorization", "x"),
            ("Content-Length", "9"),
            ("Host", "b"),
            ("X-Sum", "1"),
            ("grpc-status", "0"),
        ]);
        strip_from_trailers(&mut trailers);
        assert_eq!(trailers.len(), 2);
        assert!(trailers.contains_key("x-sum") && trailers.contains_key("grpc-status"));
    }

    #[test]
    fn a_list_is_read_over_all_lines() {
        let fields = headers(&[("Connection", "keep-alive"), ("Connection", "x, Upgrade ")]);
        assert!(lists(&fields, &header::CONNECTION, "upgrade"));
        assert!(!lists(&fields, &header::CONNECTION, "close"));
    }
}
