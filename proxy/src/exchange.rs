//! The corridor: one request, room by room, on one screen. Each room hands on a value that only it can make; a room that
//! says no ends the walk, and `answer` tells the agent.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, Response, request};
use hyper::body::Incoming;
use model::refusal::Malformed;
use model::{Ask, Caller, Destination, Grant, Refusal, Route};
use vault::Why;

use crate::House;
use crate::agree::{Door, destination};
use crate::answer::{Known, answer};
use crate::body::{Download, Reply, Upload};
use crate::dial::forbids_literal;
use crate::fields;
use crate::forward::forward;
use crate::granted::Granted;
use crate::identify::login;
use crate::inject::pass;
use crate::interim::pass_interim;
use crate::internal::{self, is_internal};
use crate::pulse::Pulse;
use crate::record::{Kind, OpenRecord};
use crate::snapshot::Snapshot;
use crate::wire::REFUSED_METHOD;

/// Where a socket comes from.
#[derive(Debug, Clone)]
pub(crate) struct Arrival {
    /// The agent's address.
    pub(crate) source: IpAddr,
    /// The listener it came in on.
    pub(crate) listener: SocketAddr,
    /// The caller, where the listener was made for one child process.
    pub(crate) private: Option<Caller>,
}

/// What a walk through the corridor ends with.
enum Found {
    /// The destination's answer.
    Carried(Response<Download>),
    /// An answer of the proxy's own host.
    Own(Response<Bytes>),
}

/// What the rooms found out, for the words of a refusal.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) caller: Option<Caller>,
    pub(crate) destination: Option<Destination>,
}

impl Findings {
    /// What is known of a request whose record is open.
    pub(crate) fn known<'a>(&'a self, record: &'a OpenRecord, house: &'a House) -> Known<'a> {
        Known {
            request_id: record.request_id(),
            deployment: self.caller.as_ref().map(Caller::deployment),
            destination: self.destination.as_ref(),
            public_url: &house.public_url,
        }
    }
}

/// Serves one request.
pub(crate) async fn exchange(
    house: Arc<House>,
    arrival: Arc<Arrival>,
    door: Arc<Door>,
    pulse: Arc<Pulse>,
    request: Request<Incoming>,
) -> Result<Response<Reply>, Infallible> {
    let beat = pulse.beat();
    let mut record = house.recorder.open(Kind::Request, arrival.source);
    let mut findings = Findings::default();
    let outcome = corridor(&house, &arrival, &door, &pulse, request, &mut record, &mut findings).await;
    pulse.end_interim();
    let mut response = match outcome {
        Ok(Found::Carried(response)) => {
            record.note_status(response.status().as_u16());
            response.map(|download| Reply::carried(download, record, beat))
        }
        Ok(Found::Own(response)) => {
            record.note_status(response.status().as_u16());
            response.map(|bytes| Reply::own(bytes, record, beat))
        }
        Err(refusal) => {
            record.note_refusal(&refusal);
            answer(&refusal, &findings.known(&record, &house)).map(|bytes| Reply::own(bytes, record, beat))
        }
    };
    if house.draining.is_cancelled() {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}

/// The walk itself: identify, agree, bind, authorize, credential, inject, forward.
async fn corridor(
    house: &House,
    arrival: &Arrival,
    door: &Door,
    pulse: &Arc<Pulse>,
    request: Request<Incoming>,
    record: &mut OpenRecord,
    findings: &mut Findings,
) -> Result<Found, Refusal> {
    let snapshot = house.snapshot();
    let (mut parts, incoming) = request.into_parts();
    if let Door::Tunnel { caller, destination } = door {
        record.note_caller(findings.caller.insert(caller.clone()));
        record.note_destination(findings.destination.insert(destination.clone()));
    }
    if parts.method.as_str() == REFUSED_METHOD {
        return Err(Refusal::RequestMalformed(pulse.take_refused().unwrap_or(Malformed::Head)));
    }
    record.note_request(parts.method.as_str(), parts.uri.path());

    let caller = identify(house, &snapshot, arrival, door, &parts)?;
    record.note_caller(findings.caller.insert(caller.clone()));
    examine(&parts)?;
    let destination = destination(door, &parts)?;
    record.note_destination(findings.destination.insert(destination.clone()));
    check_loop(house, &parts.headers)?;
    if is_internal(&destination.authority) {
        return Ok(Found::Own(internal::answer(&parts.method, parts.uri.path(), &caller, &house.ca_pem)));
    }
    if forbids_literal(&destination, snapshot.upstream(), &house.own) {
        return Err(Refusal::DestinationForbidden);
    }

    pass_interim(&mut parts, pulse, &house.via);
    let (upload, progress) = Upload::new(incoming, record.uploaded());
    if snapshot.config().policy.route(caller.deployment(), &destination.authority) == Route::Tunnel {
        let passed = pass(parts, upload, caller.deployment(), &destination, &house.via)?;
        return forward(house, &snapshot, passed, progress).await.map(Found::Carried);
    }
    let grant = authorize(&snapshot, &caller, destination, &parts)?;
    record.note_binding(&grant.binding().id, &grant.binding().connection.name);
    let credential = house.vault.credential(&grant).await.map_err(|reason| unavailable(&grant, &reason))?;
    let granted = Granted { grant, credential };
    granted.send(house, &snapshot, parts, upload, progress).await.map(Found::Carried)
}

/// A tunnel's caller is settled; at the open door each request brings its own login.
fn identify(
    house: &House,
    snapshot: &Snapshot,
    arrival: &Arrival,
    door: &Door,
    parts: &request::Parts,
) -> Result<Caller, Refusal> {
    match door {
        Door::Tunnel { caller, .. } => Ok(caller.clone()),
        Door::Open => recognise(house, snapshot, arrival, &parts.headers),
    }
}

/// Who sends these fields to the proxy itself.
pub(crate) fn recognise(
    house: &House,
    snapshot: &Snapshot,
    arrival: &Arrival,
    headers: &HeaderMap,
) -> Result<Caller, Refusal> {
    if let Some(caller) = &arrival.private {
        return Ok(caller.clone());
    }
    let login = login(headers.get_all(header::PROXY_AUTHORIZATION).iter().map(HeaderValue::as_bytes))?;
    let caller = snapshot.identities().identify(login.as_ref(), arrival.source, arrival.listener)?;
    house.note_use(&caller);
    Ok(caller)
}

/// What is refused whoever asks and wherever it goes.
fn examine(parts: &request::Parts) -> Result<(), Refusal> {
    if parts.method == Method::TRACE || parts.method == Method::CONNECT || parts.method.as_str() == "TRACK" {
        return Err(Refusal::MethodRefused);
    }
    let mut expectations = parts.headers.get_all(header::EXPECT).iter();
    if !expectations.all(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
        return Err(Refusal::RequestMalformed(Malformed::Expectation));
    }
    if parts.headers.contains_key(header::UPGRADE) && fields::lists(&parts.headers, &header::CONNECTION, "upgrade") {
        return Err(Refusal::UpgradeRefused);
    }
    Ok(())
}

/// A request that bears our own mark has been here before (RFC 9110 §7.6.3).
fn check_loop(house: &House, headers: &HeaderMap) -> Result<(), Refusal> {
    let mark = house.pseudonym.as_bytes();
    let mut hops = headers.get_all(header::VIA).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    if hops.any(|hop| hop.split(u8::is_ascii_whitespace).any(|word| word == mark)) {
        return Err(Refusal::LoopDetected);
    }
    Ok(())
}

/// The binding that covers the request, and its rate.
fn authorize(
    snapshot: &Snapshot,
    caller: &Caller,
    destination: Destination,
    parts: &request::Parts,
) -> Result<Grant, Refusal> {
    let bound = snapshot.config().policy.bind(caller.deployment(), destination)?;
    let connection = parts.headers.get("x-postern-connection").map(|value| value.to_str().unwrap_or("?"));
    let grant = bound.authorize(&Ask { method: parts.method.as_str(), path: parts.uri.path(), connection })?;
    snapshot.rates().admit(grant.binding())?;
    Ok(grant)
}

fn unavailable(grant: &Grant, reason: &vault::Unavailable) -> Refusal {
    let connection = grant.binding().connection.name.clone();
    tracing::warn!(%connection, %reason, "no credential");
    match reason.why() {
        Why::NotConnected => Refusal::NotConnected { connection },
        Why::NeedsReauth => Refusal::NeedsReauth { connection },
        Why::ForNow { retry_in } => Refusal::CredentialUnavailable { connection, retry_in },
    }
}
