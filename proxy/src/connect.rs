//! Answers CONNECT on the bare socket (RFC 9110 §9.3.6): who calls, where to, intercept or relay. It refuses here only
//! what cannot be refused inside the tunnel, because clients hide the body of a failed CONNECT.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use model::refusal::Malformed;
use model::{Authority, Destination, Refusal, Route, Scheme};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::House;
use crate::answer::{answer, on_the_wire};
use crate::callers::Presence;
use crate::dial::dial;
use crate::exchange::{Arrival, Findings, recognise};
use crate::internal::is_internal;
use crate::record::{Kind, OpenRecord};
use crate::snapshot::Snapshot;

/// The answer that opens a tunnel.
pub(crate) const ESTABLISHED: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";
/// Fields that a CONNECT head is parsed into; the wire has bounded them.
const FIELDS_MAX: usize = 1024;

/// What a CONNECT opens.
pub(crate) enum Opening {
    /// A tunnel that postern decrypts.
    Intercept {
        /// Who opened it.
        presence: Presence,
        /// To where.
        authority: Authority,
        /// Whether any binding covers the host.
        bound: bool,
    },
    /// A tunnel that postern relays untouched.
    Relay {
        /// Who opened it.
        presence: Presence,
        /// The socket to the destination.
        upstream: TcpStream,
        /// Closed when the tunnel ends.
        record: OpenRecord,
    },
}

/// A refused CONNECT.
pub(crate) struct Refused {
    /// The answer, ready to be written.
    pub(crate) bytes: Vec<u8>,
    /// Whether the socket stays open for another try: clients such as git log in only when asked.
    pub(crate) keep_open: bool,
}

struct Head {
    target: String,
    http_1_1: bool,
    headers: HeaderMap,
}

/// Judges a CONNECT head.
pub(crate) async fn open(house: &Arc<House>, arrival: &Arrival, head: &Bytes) -> Result<Opening, Refused> {
    let snapshot = house.snapshot();
    let mut record = house.recorder.open(Kind::Tunnel, arrival.source);
    let mut findings = Findings::default();
    let head = parse(head);
    let outcome = match &head {
        Some(head) => decide(house, &snapshot, arrival, head, &mut record, &mut findings).await,
        None => Err(Refusal::RequestMalformed(Malformed::Head)),
    };
    match outcome {
        Ok(Decision::Intercept { presence, authority, bound }) => {
            // Each request inside has a record of its own.
            record.discard();
            Ok(Opening::Intercept { presence, authority, bound })
        }
        Ok(Decision::Relay { presence, upstream }) => {
            record.note_status(200);
            Ok(Opening::Relay { presence, upstream, record })
        }
        Err(refusal) => {
            record.note_refusal(&refusal);
            let keep_open = refusal == Refusal::CallerUnknown && head.is_some_and(|head| head.http_1_1);
            let bytes = on_the_wire(&answer(&refusal, &findings.known(&record, house)), keep_open);
            record.finish();
            Err(Refused { bytes, keep_open })
        }
    }
}

enum Decision {
    Intercept { presence: Presence, authority: Authority, bound: bool },
    Relay { presence: Presence, upstream: TcpStream },
}

async fn decide(
    house: &Arc<House>,
    snapshot: &Snapshot,
    arrival: &Arrival,
    head: &Head,
    record: &mut OpenRecord,
    findings: &mut Findings,
) -> Result<Decision, Refusal> {
    record.note_request("CONNECT", "");
    let authority = Authority::parse(&head.target).map_err(|_| Refusal::RequestMalformed(Malformed::Authority));
    if let Ok(authority) = &authority {
        let destination = Destination { scheme: Scheme::Https, authority: authority.clone() };
        record.note_destination(findings.destination.insert(destination));
    }
    let caller = recognise(house, snapshot, arrival, &head.headers)?;
    record.note_caller(findings.caller.insert(caller.clone()));
    let authority = authority?;
    check_host(&head.headers, &authority)?;
    let limits = snapshot.limits();
    let presence = house.callers.enter(caller, limits.deployment_sockets_max)?;
    if is_internal(&authority) {
        return Ok(Decision::Intercept { presence, authority, bound: true });
    }
    match snapshot.config().policy.route(presence.caller().deployment(), &authority) {
        Route::Intercept { bound } => Ok(Decision::Intercept { presence, authority, bound }),
        Route::Tunnel => {
            let deadline = Instant::now() + limits.connect_in;
            let upstream = dial(&authority, snapshot.upstream(), &house.own, deadline).await?;
            Ok(Decision::Relay { presence, upstream })
        }
    }
}

/// A `Host` beside the target must name the same host; several clients leave out its port.
fn check_host(headers: &HeaderMap, authority: &Authority) -> Result<(), Refusal> {
    let Some(value) = headers.get(header::HOST) else { return Ok(()) };
    let host = value.to_str().ok().and_then(|text| Authority::parse_with_default(text, authority.port()).ok());
    match host {
        None => Err(Refusal::RequestMalformed(Malformed::Authority)),
        Some(host) if host != *authority => Err(Refusal::DestinationMismatch),
        Some(_) => Ok(()),
    }
}

fn parse(head: &[u8]) -> Option<Head> {
    let mut fields = vec![httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut request = httparse::Request::new(&mut fields);
    request.parse(head).ok()?;
    let mut headers = HeaderMap::new();
    for field in request.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        let mut value = HeaderValue::from_bytes(field.value).ok()?;
        value.set_sensitive(name == header::PROXY_AUTHORIZATION);
        headers.append(name, value);
    }
    Some(Head { target: request.path?.to_owned(), http_1_1: request.version == Some(1), headers })
}
