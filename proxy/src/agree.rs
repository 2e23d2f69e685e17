//! Finds the one destination of a request: the door it came through, its target and its `Host` must agree. What differs
//! is refused; nothing is ever redirected by a field.

use http::header::{self, HeaderMap};
use http::request;
use model::refusal::Malformed;
use model::{Authority, Caller, Destination, Refusal, Scheme};

/// Where a request came in.
#[derive(Debug, Clone)]
pub(crate) enum Door {
    /// The proxy's listener: each request names its destination and its caller.
    Open,
    /// A CONNECT tunnel: destination and caller are settled.
    Tunnel {
        /// Who opened it.
        caller: Caller,
        /// What it was opened to.
        destination: Destination,
    },
}

/// The destination of a request.
///
/// # Errors
/// [`Refusal::RequestMalformed`] for a target or `Host` that is none, [`Refusal::DestinationMismatch`] when they differ.
pub(crate) fn destination(door: &Door, request: &request::Parts) -> Result<Destination, Refusal> {
    match door {
        Door::Open => named_by_target(request),
        Door::Tunnel { destination, .. } => {
            agrees_with_tunnel(destination, request)?;
            Ok(destination.clone())
        }
    }
}

/// Absolute-form, as a proxy gets it (RFC 9112 §3.2.2). A `Host` beside it must say the same.
fn named_by_target(request: &request::Parts) -> Result<Destination, Refusal> {
    let destination = absolute(request)?.ok_or(Refusal::RequestMalformed(Malformed::Authority))?;
    if let Some(host) = host(&request.headers, destination.scheme.default_port())?
        && host != destination.authority
    {
        return Err(Refusal::DestinationMismatch);
    }
    Ok(destination)
}

fn agrees_with_tunnel(tunnel: &Destination, request: &request::Parts) -> Result<(), Refusal> {
    if absolute(request)?.is_some_and(|target| target != *tunnel) {
        return Err(Refusal::DestinationMismatch);
    }
    // Inside TLS a Host without a port means 443. In a cleartext tunnel it can only mean the tunnel's own port.
    let default_port = match tunnel.scheme {
        Scheme::Https => Scheme::Https.default_port(),
        Scheme::Http => tunnel.authority.port(),
    };
    match host(&request.headers, default_port)? {
        Some(host) if host != tunnel.authority => Err(Refusal::DestinationMismatch),
        _ => Ok(()),
    }
}

fn absolute(request: &request::Parts) -> Result<Option<Destination>, Refusal> {
    let (Some(scheme), Some(authority)) = (request.uri.scheme_str(), request.uri.authority()) else { return Ok(None) };
    let scheme = match scheme {
        _ if scheme.eq_ignore_ascii_case("http") => Scheme::Http,
        _ if scheme.eq_ignore_ascii_case("https") => Scheme::Https,
        _ => return Err(Refusal::RequestMalformed(Malformed::Authority)),
    };
    let authority = parse(authority.as_str(), scheme.default_port())?;
    Ok(Some(Destination { scheme, authority }))
}

/// The `Host` field; only HTTP/1.0 may leave it out, which the wire has checked.
fn host(headers: &HeaderMap, default_port: u16) -> Result<Option<Authority>, Refusal> {
    let Some(value) = headers.get(header::HOST) else { return Ok(None) };
    let text = value.to_str().map_err(|_| Refusal::RequestMalformed(Malformed::Authority))?;
    parse(text, default_port).map(Some)
}

fn parse(text: &str, default_port: u16) -> Result<Authority, Refusal> {
    Authority::parse_with_default(text, default_port).map_err(|_| Refusal::RequestMalformed(Malformed::Authority))
}

#[cfg(test)]
mod tests {
    use model::DeploymentName;

    use super::*;

    fn parts(target: &str, host: Option<&str>) -> request::Parts {
        let mut builder = http::Request::builder().uri(target);
        if let Some(host) = host {
            builder = builder.header("host", host);
        }
        builder.body(()).unwrap().into_parts().0
    }

    fn tunnel(scheme: Scheme, authority: &str) -> Door {
        let destination = Destination { scheme, authority: Authority::parse(authority).unwrap() };
        Door::Tunnel { caller: Caller::private(DeploymentName::parse("bot").unwrap()), destination }
    }

    fn code(door: &Door, target: &str, host: Option<&str>) -> &'static str {
        destination(door, &parts(target, host)).map_or_else(|refusal| refusal.code(), |_| "agreed")
    }

    #[test]
    fn a_proxy_request_names_its_destination_in_the_target() {
        let found = destination(&Door::Open, &parts("http://A.test/p?q", Some("a.test"))).unwrap();
        assert_eq!((found.scheme, found.authority.to_string().as_str()), (Scheme::Http, "a.test:80"));
        let found = destination(&Door::Open, &parts("https://a.test/p", Some("a.test:443"))).unwrap();
        assert_eq!((found.scheme, found.authority.to_string().as_str()), (Scheme::Https, "a.test:443"));
        assert_eq!(code(&Door::Open, "/p", Some("a.test")), "request_malformed");
        assert_eq!(code(&Door::Open, "http://a.test/", Some("b.test")), "destination_mismatch");
        assert_eq!(code(&Door::Open, "http://u:p@a.test/", Some("a.test")), "request_malformed");
    }

    #[test]
    fn inside_a_tunnel_everything_agrees_with_connect() {
        let door = tunnel(Scheme::Https, "a.test:443");
        for host in ["a.test", "A.TEST", "a.test:443", "a.test."] {
            assert_eq!(code(&door, "/p", Some(host)), "agreed", "{host}");
        }
        assert_eq!(code(&door, "https://a.test/p", Some("a.test")), "agreed");
        for host in ["b.test", "a.test:80", "a.test:8443"] {
            assert_eq!(code(&door, "/p", Some(host)), "destination_mismatch", "{host}");
        }
        assert_eq!(code(&door, "http://a.test/p", Some("a.test")), "destination_mismatch");
        assert_eq!(code(&door, "https://b.test/p", Some("a.test")), "destination_mismatch");
        for host in ["a, b", "u:p@a.test", "a.test/x", "", "a b", "a%2e"] {
            assert_eq!(code(&door, "/p", Some(host)), "request_malformed", "{host}");
        }
    }

    #[test]
    fn a_port_that_is_not_the_schemes_own_must_be_named() {
        let door = tunnel(Scheme::Https, "a.test:8443");
        assert_eq!(code(&door, "/p", Some("a.test:8443")), "agreed");
        assert_eq!(code(&door, "/p", Some("a.test")), "destination_mismatch");
        assert_eq!(code(&tunnel(Scheme::Http, "a.test:443"), "/p", Some("a.test")), "agreed");
    }
}
