//! `postern.internal`: the one host at which the proxy answers a caller itself. It shows what any agent may know, the CA
//! certificate and how to use it; nothing of an operator's, and never a key.

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, Response, StatusCode};
use model::{Authority, Caller, Host};

/// The host's name. It is never resolved and never bound.
const NAME: &str = "postern.internal";

/// Whether the authority is the proxy's own.
pub(crate) fn is_internal(authority: &Authority) -> bool {
    matches!(authority.host(), Host::Name(name) if name.as_str() == NAME)
}

/// The answer to a recognised caller.
pub(crate) fn answer(method: &Method, path: &str, caller: &Caller, ca_pem: &str) -> Response<Bytes> {
    let (status, kind, text) = match (method, path) {
        (&Method::GET | &Method::HEAD, "/ca.pem") => (StatusCode::OK, "application/x-pem-file", ca_pem.to_owned()),
        (&Method::GET | &Method::HEAD, "/") => (StatusCode::OK, "text/plain; charset=utf-8", welcome(caller)),
        (&Method::GET | &Method::HEAD, _) => {
            (StatusCode::NOT_FOUND, "text/plain; charset=utf-8", "There is nothing here.\n".into())
        }
        _ => (StatusCode::METHOD_NOT_ALLOWED, "text/plain; charset=utf-8", "Only GET is answered here.\n".into()),
    };
    let mut response = Response::new(Bytes::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response
}

fn welcome(caller: &Caller) -> String {
    format!(
        "This is postern. It knows you as deployment \"{}\".\n\n\
         Your HTTPS goes through it; at hosts you are bound to, it adds the credential.\n\
         If a program does not trust its certificates, give it http://{NAME}/ca.pem\n\
         (NODE_EXTRA_CA_CERTS, SSL_CERT_FILE, REQUESTS_CA_BUNDLE, GIT_SSL_CAINFO).\n",
        caller.deployment()
    )
}

#[cfg(test)]
mod tests {
    use model::DeploymentName;

    use super::*;

    #[test]
    fn the_certificate_and_nothing_of_the_key_is_served() {
        let caller = Caller::private(DeploymentName::parse("bot").unwrap());
        let response = answer(&Method::GET, "/ca.pem", &caller, "PEM");
        assert_eq!((response.status(), &response.body()[..]), (StatusCode::OK, &b"PEM"[..]));
        assert_eq!(answer(&Method::GET, "/ca.key", &caller, "PEM").status(), 404);
        assert_eq!(answer(&Method::POST, "/", &caller, "PEM").status(), 405);
        let welcome = answer(&Method::GET, "/", &caller, "PEM");
        assert!(String::from_utf8_lossy(welcome.body()).contains("\"bot\""));
    }
}
