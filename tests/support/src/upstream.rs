//! An origin on the loopback, with a certificate of the test authority and a script of its own. It records every
//! connection and every byte, and refuses to be anything but what the script says.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use rustls::ServerConfig;
use rustls::server::{ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::conversation::{Conversation, Socket};
use crate::deadline::within;
use crate::message::Message;
use crate::pki::{Authority, Chain, authority};

type Script = Arc<dyn Fn(Conversation) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// A running origin. Dropping it ends it.
pub struct Upstream {
    names: Vec<String>,
    address: SocketAddr,
    plain: bool,
    log: Arc<Log>,
    accepting: JoinHandle<()>,
}

/// What an origin saw of one connection.
#[derive(Debug, Clone, Default)]
pub struct Recorded {
    /// The name in the ClientHello.
    pub sni: Option<String>,
    /// Whether the TLS handshake was completed (always for a plain origin).
    pub ready: bool,
    /// Every byte that arrived, after TLS.
    pub bytes: Vec<u8>,
    /// The requests that the script read.
    pub requests: Vec<Message>,
    /// Why what came is no request, if so. A request that only breaks off is none of that.
    pub invalid: Option<String>,
    /// Whether the connection is still open.
    pub open: bool,
}

/// An origin that is being described.
pub struct UpstreamSettings {
    names: Vec<String>,
    address: SocketAddr,
    plain: bool,
    chain: Option<Chain>,
    alpn: Vec<Vec<u8>>,
    client_authority: Option<(Authority, ClientLogin)>,
    script: Script,
}

/// Whether an origin that asks for a client's certificate insists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ClientLogin {
    Asked,
    Required,
}

/// An HTTPS origin for this name that answers every request with `200` and `ok`.
pub async fn upstream(name: &str) -> Upstream {
    Upstream::of(&[name]).start().await
}

/// A reply with a length, from its status line's end and its content.
#[must_use]
pub fn answer(status: &str, fields: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\n{fields}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

impl Upstream {
    /// Describes an origin for these names.
    #[must_use]
    pub fn of(names: &[&str]) -> UpstreamSettings {
        UpstreamSettings {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            plain: false,
            chain: None,
            alpn: vec![b"http/1.1".to_vec()],
            client_authority: None,
            script: answering(|_| answer("200 OK", "", "ok")),
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The names it was made for.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The scheme's port: 80 for a plain origin, 443 otherwise.
    #[must_use]
    pub fn default_port(&self) -> u16 {
        if self.plain { 80 } else { 443 }
    }

    /// All connections so far, in the order of their arrival.
    #[must_use]
    pub fn connections(&self) -> Vec<Recorded> {
        self.log.connections.lock().unwrap().clone()
    }

    /// All requests so far, over all connections, in the order of their arrival.
    #[must_use]
    pub fn requests(&self) -> Vec<Message> {
        self.log.requests.lock().unwrap().clone()
    }

    /// The request that arrived last.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    #[track_caller]
    pub fn last_request(&self) -> Message {
        self.requests().pop().expect("no request arrived")
    }

    /// The only request so far.
    ///
    /// # Panics
    /// When there is none or more than one.
    #[must_use]
    #[track_caller]
    pub fn only_request(&self) -> Message {
        let mut requests = self.requests();
        assert_eq!(requests.len(), 1, "not exactly one request: {requests:#?}");
        requests.remove(0)
    }

    /// Every byte that arrived, over all connections.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.connections().into_iter().flat_map(|connection| connection.bytes).collect()
    }

    /// Waits until the connections satisfy a condition.
    ///
    /// # Panics
    /// When they do not within the deadline.
    pub async fn wait_until(&self, what: &str, condition: impl Fn(&[Recorded]) -> bool) {
        let mut changes = self.log.changes.subscribe();
        within(what, changes.wait_for(|()| condition(&self.log.connections.lock().unwrap())))
            .await
            .expect("the log outlives its watchers");
    }

    pub(crate) fn log(&self) -> Arc<Log> {
        Arc::clone(&self.log)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl UpstreamSettings {
    /// HTTP in the clear.
    #[must_use]
    pub fn plain(mut self) -> Self {
        self.plain = true;
        self
    }

    /// Listens there instead of at a free port of 127.0.0.1.
    #[must_use]
    pub fn at(mut self, address: SocketAddr) -> Self {
        self.address = address;
        self
    }

    /// Presents this chain instead of a good one.
    #[must_use]
    pub fn chain(mut self, chain: Chain) -> Self {
        self.chain = Some(chain);
        self
    }

    /// Selects among these application protocols (RFC 7301) instead of `http/1.1`.
    #[must_use]
    pub fn alpn(mut self, protocols: &[&str]) -> Self {
        self.alpn = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        self
    }

    /// Asks for a client certificate and does without.
    #[must_use]
    pub fn asking_for_a_certificate(mut self) -> Self {
        self.client_authority = Some((Authority::root("test clients"), ClientLogin::Asked));
        self
    }

    /// Insists on a client certificate.
    #[must_use]
    pub fn requiring_a_certificate(mut self) -> Self {
        self.client_authority = Some((Authority::root("test clients"), ClientLogin::Required));
        self
    }

    /// Answers each request with these bytes; one that says `Connection: close` is the connection's last.
    #[must_use]
    pub fn answer(mut self, reply: impl Fn(&Message) -> Vec<u8> + Send + Sync + 'static) -> Self {
        self.script = answering(reply);
        self
    }

    /// Runs this script on each connection.
    #[must_use]
    pub fn script<F>(mut self, script: impl Fn(Conversation) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.script = Arc::new(move |conversation| Box::pin(script(conversation)));
        self
    }

    /// Starts the origin.
    pub async fn start(self) -> Upstream {
        let listener = TcpListener::bind(self.address).await.expect("the loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let acceptor = (!self.plain).then(|| self.acceptor());
        let log = Arc::new(Log {
            connections: Mutex::default(),
            requests: Mutex::default(),
            changes: watch::Sender::new(()),
        });
        let accepting = tokio::spawn(accept(listener, acceptor, Arc::clone(&log), self.script));
        Upstream { names: self.names, address, plain: self.plain, log, accepting }
    }

    fn acceptor(&self) -> TlsAcceptor {
        let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
        let chain = self.chain.clone().unwrap_or_else(|| authority().chain(&names));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("the provider supports them");
        let builder = match &self.client_authority {
            None => builder.with_no_client_auth(),
            Some((clients, login)) => {
                let mut roots = rustls::RootCertStore::empty();
                roots.add(clients.der().clone()).expect("the root is valid");
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                let verifier = match login {
                    ClientLogin::Asked => verifier.allow_unauthenticated(),
                    ClientLogin::Required => verifier,
                };
                builder.with_client_cert_verifier(verifier.build().expect("there is a root"))
            }
        };
        let resolver: Arc<dyn ResolvesServerCert> = Arc::new(SingleCertAndKey::from(chain.certified()));
        let mut config = builder.with_cert_resolver(resolver);
        config.alpn_protocols.clone_from(&self.alpn);
        TlsAcceptor::from(Arc::new(config))
    }
}

/// What an origin has seen, and who wants to know.
pub(crate) struct Log {
    connections: Mutex<Vec<Recorded>>,
    requests: Mutex<Vec<Message>>,
    changes: watch::Sender<()>,
}

impl Log {
    pub(crate) fn change(&self, id: usize, change: impl FnOnce(&mut Recorded)) {
        change(&mut self.connections.lock().unwrap()[id]);
        self.changes.send_replace(());
    }

    pub(crate) fn record(&self, id: usize, request: &Message) {
        self.requests.lock().unwrap().push(request.clone());
        self.change(id, |connection| connection.requests.push(request.clone()));
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.connections.lock().unwrap().iter().flat_map(|connection| connection.bytes.iter().copied()).collect()
    }

    fn open(&self) -> usize {
        let mut connections = self.connections.lock().unwrap();
        connections.push(Recorded { open: true, ..Recorded::default() });
        let id = connections.len() - 1;
        drop(connections);
        self.changes.send_replace(());
        id
    }
}

async fn accept(listener: TcpListener, acceptor: Option<TlsAcceptor>, log: Arc<Log>, script: Script) {
    let mut conversations = tokio::task::JoinSet::new();
    while let Ok((tcp, _)) = listener.accept().await {
        let id = log.open();
        conversations.spawn(converse(tcp, acceptor.clone(), id, Arc::clone(&log), Arc::clone(&script)));
    }
}

async fn converse(tcp: TcpStream, acceptor: Option<TlsAcceptor>, id: usize, log: Arc<Log>, script: Script) {
    tcp.set_nodelay(true).expect("a fresh socket takes options");
    let socket = match acceptor {
        None => Socket::Plain(tcp),
        Some(acceptor) => match acceptor.accept(tcp).await {
            Ok(tls) => Socket::Tls(Box::new(tls)),
            Err(_) => return log.change(id, |connection| connection.open = false),
        },
    };
    let sni = match &socket {
        Socket::Plain(_) => None,
        Socket::Tls(tls) => tls.get_ref().1.server_name().map(str::to_owned),
    };
    log.change(id, |connection| {
        connection.ready = true;
        connection.sni = sni;
    });
    script(Conversation::new(socket, id, log)).await;
}

fn answering(reply: impl Fn(&Message) -> Vec<u8> + Send + Sync + 'static) -> Script {
    let reply = Arc::new(reply);
    Arc::new(move |mut conversation| {
        let reply = Arc::clone(&reply);
        Box::pin(async move {
            while let Some(request) = conversation.request().await {
                let bytes = reply(&request);
                let last = String::from_utf8_lossy(&bytes).to_ascii_lowercase().contains("\r\nconnection: close\r\n");
                conversation.send(&bytes).await;
                if last {
                    return conversation.finish().await;
                }
            }
        })
    })
}
