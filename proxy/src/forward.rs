//! Sends an authenticated request to its destination over a socket of its own key and judges the answer's head. It
//! repeats a request only where nothing of it can have been acted on.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use model::refusal::{Malformed, Unreachable};
use model::{Destination, Host, Refusal, Scheme};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use crate::House;
use crate::body::{Download, Progress, Upload};
use crate::dial::dial;
use crate::fields;
use crate::inject::Authenticated;
use crate::pool::{Key, Lease};
use crate::snapshot::Snapshot;

/// The longest head of an answer, in bytes.
const ANSWER_HEAD_BYTES_MAX: usize = 256 * 1024;

/// Sends the request and returns the answer with its body still streaming.
///
/// # Errors
/// The [`Refusal`] that names what failed on the destination's side.
pub(crate) async fn forward(
    house: &House,
    snapshot: &Snapshot,
    authenticated: Authenticated<Upload>,
    progress: Arc<Progress>,
) -> Result<Response<Download>, Refusal> {
    let key = authenticated.key().clone().under(snapshot.trust().number());
    let strip_set_cookie = authenticated.strip_set_cookie();
    let silence_in = snapshot.limits().response_silence_in;
    let mut attempt = Attempt { request: authenticated.into_request(), progress };
    let (response, lease, progress) = loop {
        let (mut lease, warm) = lease(house, snapshot, &key).await?;
        let again = attempt.repeatable(warm);
        let Attempt { request, progress } = attempt;
        match send(&mut lease, request, silence_in).await {
            Ok(response) => break (response, lease, progress),
            Err(Failure::Unsent(request)) if warm => attempt = Attempt { request: *request, progress },
            Err(Failure::Closed) if warm && again.is_some() => {
                attempt = again.ok_or(Refusal::Internal)?;
            }
            Err(failure) => return Err(failure.into_refusal(&progress)),
        }
    };
    judge(response, lease, progress, silence_in, strip_set_cookie, house)
}

struct Attempt {
    request: Request<Upload>,
    progress: Arc<Progress>,
}

impl Attempt {
    /// A copy to send again if a warm socket turns out to have been closed meanwhile: only for a method that may be
    /// repeated, without a body (RFC 9110 §9.2.2).
    fn repeatable(&self, warm: bool) -> Option<Self> {
        let bodyless = self.progress.is_sent() && http_body::Body::size_hint(self.request.body()).exact() == Some(0);
        if !warm || !bodyless || !self.request.method().is_idempotent() {
            return None;
        }
        let (body, progress) = Upload::kept(Bytes::new());
        let mut request = Request::new(body);
        *request.method_mut() = self.request.method().clone();
        *request.uri_mut() = self.request.uri().clone();
        *request.headers_mut() = self.request.headers().clone();
        Some(Self { request, progress })
    }
}

enum Failure {
    /// Not a byte was sent: the request is as good as new.
    Unsent(Box<Request<Upload>>),
    /// The socket ended before an answer began.
    Closed,
    /// The answer is not valid HTTP.
    Invalid,
    /// The destination stayed silent past the limit that was set.
    Silent,
}

impl Failure {
    fn into_refusal(self, progress: &Progress) -> Refusal {
        match self {
            // The agent's own body was at fault, not the destination.
            _ if progress.is_broken() => Refusal::RequestMalformed(Malformed::Framing),
            Self::Unsent(_) | Self::Closed => Refusal::UpstreamUnreachable(Unreachable::Closed),
            Self::Invalid => Refusal::UpstreamInvalid,
            Self::Silent => Refusal::UpstreamTimeout,
        }
    }
}

async fn lease(house: &House, snapshot: &Snapshot, key: &Key) -> Result<(Lease, bool), Refusal> {
    let limits = snapshot.limits();
    while let Some(mut lease) = house.pool.take(key, limits.pool_idle_in, limits.pool_idle_sockets_max) {
        // Waits only for the socket's own task to finish with the exchange before.
        if lease.sender().ready().await.is_ok() {
            return Ok((lease, true));
        }
    }
    let deadline = Instant::now() + limits.connect_in;
    let socket = dial(&key.destination().authority, snapshot.upstream(), &house.own, deadline).await?;
    let sender = match key.destination().scheme {
        Scheme::Http => handshake(socket).await?,
        Scheme::Https => {
            let config = house.pool.tls(key, || snapshot.trust().client_config());
            let name = server_name(key.destination())?;
            let connecting = TlsConnector::from(config).connect(name, socket);
            let stream = timeout_at(deadline, connecting)
                .await
                .map_err(|_| Refusal::UpstreamUnreachable(Unreachable::Timeout))?;
            let stream = stream.map_err(|error| {
                tracing::warn!(host = %key.destination().host_text(), %error, "the destination's TLS handshake failed");
                Refusal::UpstreamTls
            })?;
            handshake(stream).await?
        }
    };
    Ok((house.pool.lend(key.clone(), sender, limits.pool_idle_in, limits.pool_idle_sockets_max), false))
}

pub(crate) fn server_name(destination: &Destination) -> Result<ServerName<'static>, Refusal> {
    match destination.authority.host() {
        Host::Name(name) => {
            ServerName::try_from(name.as_str().to_owned()).map_err(|_| Refusal::RequestMalformed(Malformed::Authority))
        }
        Host::Ip(ip) => Ok(ServerName::from(*ip)),
    }
}

async fn handshake<IO>(io: IO) -> Result<http1::SendRequest<Upload>, Refusal>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::Builder::new()
        .max_header_size(ANSWER_HEAD_BYTES_MAX)
        .handshake(TokioIo::new(io))
        .await
        .map_err(|_| Refusal::UpstreamUnreachable(Unreachable::Closed))?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a destination's socket ended");
        }
    });
    Ok(sender)
}

async fn send(
    lease: &mut Lease,
    request: Request<Upload>,
    silence_in: Option<Duration>,
) -> Result<Response<Incoming>, Failure> {
    let answering = lease.sender().try_send_request(request);
    let answered = match silence_in {
        Some(span) => tokio::time::timeout(span, answering).await.map_err(|_| Failure::Silent)?,
        None => answering.await,
    };
    answered.map_err(|mut error| match error.take_message() {
        Some(request) => Failure::Unsent(Box::new(request)),
        None if error.error().is_parse() || error.error().is_parse_too_large() => Failure::Invalid,
        None => {
            tracing::debug!(error = %error.error(), "no answer");
            Failure::Closed
        }
    })
}

/// Judges the answer's head, decides whether its socket may be used again, and makes it fit for the next hop.
fn judge(
    response: Response<Incoming>,
    mut lease: Lease,
    progress: Arc<Progress>,
    silence_in: Option<Duration>,
    strip_set_cookie: bool,
    house: &House,
) -> Result<Response<Download>, Refusal> {
    let (mut parts, incoming) = response.into_parts();
    if parts.status == StatusCode::SWITCHING_PROTOCOLS || is_ambiguous(&parts.headers) {
        return Err(Refusal::UpstreamInvalid);
    }
    if let Some(told) = keep_alive_timeout(&parts.headers) {
        lease.keeps_for(told);
    }
    let kept = !fields::lists(&parts.headers, &header::CONNECTION, "close");
    fields::strip_hop_by_hop(&mut parts.headers);
    fields::strip_own(&mut parts.headers);
    if strip_set_cookie {
        parts.headers.remove(header::SET_COOKIE);
    }
    parts.headers.append(header::VIA, house.via.clone());
    parts.version = http::Version::HTTP_11;
    let download = Download::new(incoming, kept.then_some(lease), progress, silence_in);
    Ok(Response::from_parts(parts, download))
}

/// Two ways to tell the end of one body: parsers differ on which counts (RFC 9112 §6.3).
fn is_ambiguous(headers: &HeaderMap) -> bool {
    let codings = headers.get_all(header::TRANSFER_ENCODING);
    let lengths = headers.get_all(header::CONTENT_LENGTH);
    let coded = codings.iter().next().is_some();
    let plain = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"chunked");
    (coded && lengths.iter().next().is_some())
        || codings.iter().count() > 1
        || !codings.iter().all(plain)
        || lengths.iter().count() > 1
        || !lengths.iter().all(|value| !value.is_empty() && value.as_bytes().iter().all(u8::is_ascii_digit))
}

/// `Keep-Alive: timeout=5` (RFC 2068 §19.7.1.1, still sent by Node and Apache).
fn keep_alive_timeout(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get("keep-alive")?.to_str().ok()?;
    let timeout = value.split(',').find_map(|part| part.trim().strip_prefix("timeout="))?;
    timeout.trim().parse().ok().map(Duration::from_secs)
}
