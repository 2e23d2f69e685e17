//! Passes interim answers such as 103 on to the agent while the final one is awaited (RFC 9110 §15.2). 100 is not passed:
//! the agent's own expectation was met, or not, at this hop.

use std::sync::Arc;

use http::header::{HeaderMap, HeaderValue};
use http::{Request, StatusCode, Version, request};

use crate::fields;
use crate::pulse::Pulse;

/// Has the interim answers to this request sent on. HTTP/1.0 knows none.
pub(crate) fn pass_interim(parts: &mut request::Parts, pulse: &Arc<Pulse>, via: &HeaderValue) {
    if parts.version != Version::HTTP_11 {
        return;
    }
    let (pulse, via) = (Arc::clone(pulse), via.clone());
    let mut request = Request::new(());
    hyper::ext::on_informational(&mut request, move |response| {
        if response.status() == StatusCode::CONTINUE || response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return;
        }
        let mut headers = response.headers().clone();
        fields::strip_hop_by_hop(&mut headers);
        fields::strip_own(&mut headers);
        headers.append(http::header::VIA, via.clone());
        pulse.send_interim(&head(response.status(), &headers));
    });
    parts.extensions.extend(std::mem::take(request.extensions_mut()));
}

fn head(status: StatusCode, headers: &HeaderMap) -> Vec<u8> {
    let reason = status.canonical_reason().unwrap_or_default();
    let mut bytes = format!("HTTP/1.1 {} {reason}\r\n", status.as_u16()).into_bytes();
    for (name, value) in headers {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    bytes
}
