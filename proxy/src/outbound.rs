//! The vault's way to token endpoints: dialled, vetted and verified like every destination, one socket for each request.
//! It follows no redirect and reads no more than the vault allows.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use http::{Request, Response, Uri, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use model::config::Upstream;
use model::{Authority, Destination, Refusal, Scheme};
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use vault::fetch::{ANSWER_BYTES_MAX, ANSWER_IN, Fetch, FetchError, Fetching};

use crate::dial::{OwnListeners, dial};
use crate::forward::server_name;
use crate::snapshot::Snapshot;

/// Reaches token endpoints.
pub struct Outbound {
    own: Arc<OwnListeners>,
    view: ArcSwap<View>,
}

/// What the configuration in force says about dialling.
struct View {
    upstream: Upstream,
    tls: Arc<ClientConfig>,
}

impl fmt::Debug for Outbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Outbound")
    }
}

impl Outbound {
    /// A way out under this view.
    #[must_use]
    pub fn new(own: Arc<OwnListeners>, snapshot: &Snapshot) -> Self {
        Self { own, view: ArcSwap::from_pointee(View::of(snapshot)) }
    }

    /// Takes up another view.
    pub(crate) fn renew(&self, snapshot: &Snapshot) {
        self.view.store(Arc::new(View::of(snapshot)));
    }

    async fn send(&self, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, FetchError> {
        let destination = destination(request.uri()).ok_or_else(|| FetchError::Unreachable("that URL".into()))?;
        let host = destination.host_text();
        let deadline = Instant::now() + ANSWER_IN;
        let exchange = self.exchange(request, destination, deadline);
        timeout_at(deadline, exchange).await.unwrap_or(Err(FetchError::Timeout(host)))
    }

    async fn exchange(
        &self,
        request: Request<Vec<u8>>,
        destination: Destination,
        deadline: Instant,
    ) -> Result<Response<Vec<u8>>, FetchError> {
        let view = self.view.load_full();
        let host = destination.host_text();
        let socket =
            dial(&destination.authority, &view.upstream, &self.own, deadline).await.map_err(
                |refusal| match refusal {
                    Refusal::DestinationForbidden => FetchError::Forbidden(host.clone()),
                    _ => FetchError::Unreachable(host.clone()),
                },
            )?;
        let request = origin_form(request, &host).ok_or_else(|| FetchError::Invalid(host.clone()))?;
        if destination.scheme == Scheme::Http {
            return answer(socket, request, host).await;
        }
        let name = server_name(&destination).map_err(|_| FetchError::Tls(host.clone()))?;
        let stream = TlsConnector::from(Arc::clone(&view.tls)).connect(name, socket).await.map_err(|error| {
            tracing::warn!(%host, %error, "the token endpoint's TLS handshake failed");
            FetchError::Tls(host.clone())
        })?;
        answer(stream, request, host).await
    }
}

impl View {
    fn of(snapshot: &Snapshot) -> Self {
        Self { upstream: snapshot.upstream().clone(), tls: snapshot.trust().client_config() }
    }
}

impl Fetch for Outbound {
    fn fetch(&self, request: Request<Vec<u8>>) -> Fetching<'_> {
        Box::pin(self.send(request))
    }
}

fn destination(uri: &Uri) -> Option<Destination> {
    let scheme = match uri.scheme_str()? {
        "https" => Scheme::Https,
        "http" => Scheme::Http,
        _ => return None,
    };
    let authority = Authority::parse_with_default(uri.authority()?.as_str(), scheme.default_port()).ok()?;
    Some(Destination { scheme, authority })
}

fn origin_form(request: Request<Vec<u8>>, host: &str) -> Option<Request<Full<Bytes>>> {
    let (mut parts, body) = request.into_parts();
    parts.uri = Uri::from(parts.uri.path_and_query()?.clone());
    parts.headers.insert(header::HOST, host.parse().ok()?);
    parts.headers.insert(header::CONNECTION, header::HeaderValue::from_static("close"));
    Some(Request::from_parts(parts, Full::new(Bytes::from(body))))
}

async fn answer<IO>(io: IO, request: Request<Full<Bytes>>, host: String) -> Result<Response<Vec<u8>>, FetchError>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let invalid = |_| FetchError::Invalid(host.clone());
    let (mut sender, connection) = http1::handshake(TokioIo::new(io)).await.map_err(invalid)?;
    let running = tokio::spawn(connection);
    let answered = sender.send_request(request).await.map_err(invalid);
    let read = match answered {
        Ok(response) => whole(response, &host).await,
        Err(error) => Err(error),
    };
    running.abort();
    read
}

async fn whole(response: Response<Incoming>, host: &str) -> Result<Response<Vec<u8>>, FetchError> {
    let (parts, incoming) = response.into_parts();
    let body = Limited::new(incoming, ANSWER_BYTES_MAX).collect().await.map_err(|error| {
        if error.is::<LengthLimitError>() {
            FetchError::TooLong(host.to_owned())
        } else {
            FetchError::Invalid(host.to_owned())
        }
    })?;
    Ok(Response::from_parts(parts, body.to_bytes().to_vec()))
}
