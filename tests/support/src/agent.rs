//! An agent that calls through the proxy and controls every byte of it. It knows the proxy's root and one login, and
//! refuses to hide anything that the proxy answers.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;

use crate::deadline::within;
use crate::message::Message;
use crate::wire::{Wire, Witness, Writes};

/// A caller of the proxy.
#[derive(Clone)]
pub struct Agent {
    proxy: SocketAddr,
    login: String,
    roots: Arc<RootCertStore>,
    witness: Witness,
}

/// What an agent puts into its ClientHello.
#[derive(Debug, Clone, Default)]
pub struct Hello {
    name: Name,
    alpn: Vec<Vec<u8>>,
    writes: Writes,
}

#[derive(Debug, Clone, Default)]
enum Name {
    /// The tunnel's host.
    #[default]
    Same,
    /// Another one.
    Other(String),
    /// No `server_name` extension.
    None,
}

impl Hello {
    /// Names this host instead of the tunnel's.
    #[must_use]
    pub fn naming(host: &str) -> Self {
        Self { name: Name::Other(host.to_owned()), ..Self::default() }
    }

    /// Names no host.
    #[must_use]
    pub fn nameless() -> Self {
        Self { name: Name::None, ..Self::default() }
    }

    /// Offers these application protocols (RFC 7301); without this, none.
    #[must_use]
    pub fn offering(mut self, protocols: &[&str]) -> Self {
        self.alpn = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        self
    }

    /// Sends every byte of the connection in a segment of its own.
    #[must_use]
    pub fn bytewise(mut self) -> Self {
        self.writes = Writes::Bytewise;
        self
    }
}

impl Agent {
    pub(crate) fn new(proxy: SocketAddr, name: &str, key: &str, roots: Arc<RootCertStore>, witness: Witness) -> Self {
        Self { proxy, login: basic(name, key), roots, witness }
    }

    /// The same agent with another login.
    #[must_use]
    pub fn with_login(&self, name: &str, key: &str) -> Self {
        Self { login: basic(name, key), ..self.clone() }
    }

    /// The same agent without a login.
    #[must_use]
    pub fn without_login(&self) -> Self {
        Self { login: String::new(), ..self.clone() }
    }

    /// The same agent at another listener.
    #[must_use]
    pub fn at(&self, proxy: SocketAddr) -> Self {
        Self { proxy, ..self.clone() }
    }

    /// The whole `Proxy-Authorization` line with its CRLF; empty without a login.
    #[must_use]
    pub fn login(&self) -> &str {
        &self.login
    }

    /// A fresh socket to the proxy.
    pub async fn socket(&self) -> Wire {
        let tcp = within("the proxy to accept", TcpStream::connect(self.proxy)).await.expect("the proxy listens");
        tcp.set_nodelay(true).expect("a fresh socket takes options");
        Wire::new(tcp, Arc::clone(&self.witness))
    }

    /// What the proxy answers to a CONNECT with this target.
    pub async fn connect(&self, target: &str) -> Message {
        let mut wire = self.socket().await;
        wire.send(self.connect_request(target)).await;
        wire.reply_to("CONNECT").await
    }

    /// A CONNECT with this target, login included.
    #[must_use]
    pub fn connect_request(&self, target: &str) -> String {
        format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{}\r\n", self.login)
    }

    /// A tunnel to this `host:port`, before anything is said in it.
    ///
    /// # Panics
    /// When the proxy refuses it.
    pub async fn tunnel(&self, target: &str) -> Wire {
        let mut wire = self.socket().await;
        wire.send(self.connect_request(target)).await;
        let reply = wire.reply_to("CONNECT").await;
        assert_eq!(reply.status(), 200, "the tunnel was refused:\n{reply}");
        wire
    }

    /// A tunnel to this `host:port` with TLS inside, to the proxy's stand-in for the host.
    ///
    /// # Panics
    /// When the proxy refuses the tunnel or the handshake.
    pub async fn intercepted(&self, target: &str) -> Wire {
        match self.handshake(target, Hello::default()).await {
            Ok(wire) => wire,
            Err(error) => panic!("the handshake with the stand-in for {target} failed: {error}"),
        }
    }

    /// As [`Agent::intercepted`], with a ClientHello of the test's choice.
    ///
    /// # Errors
    /// The handshake's; see [`crate::alert_of`].
    pub async fn handshake(&self, target: &str, hello: Hello) -> io::Result<Wire> {
        let wire = self.tunnel(target).await;
        self.secure(wire, target, hello).await
    }

    /// Begins TLS in a tunnel that is open already.
    ///
    /// # Errors
    /// The handshake's; see [`crate::alert_of`].
    pub async fn secure(&self, wire: Wire, target: &str, hello: Hello) -> io::Result<Wire> {
        let host = target.rsplit_once(':').map_or(target, |(host, _)| host);
        let name = match &hello.name {
            Name::Other(other) => other,
            Name::Same | Name::None => host,
        };
        let name = name.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(name).expect("the name suits a ClientHello");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider supports them")
            .with_root_certificates(Arc::clone(&self.roots))
            .with_no_client_auth();
        config.enable_sni = !matches!(hello.name, Name::None);
        config.alpn_protocols = hello.alpn;
        wire.secured(Arc::new(config), name, hello.writes).await
    }

    /// One GET on a fresh socket.
    ///
    /// # Panics
    /// When no reply comes.
    pub async fn get(&self, url: &str) -> Message {
        self.call("GET", url, "").await
    }

    /// One request without content on a fresh socket, with further field lines (each with its CRLF).
    ///
    /// # Panics
    /// When no reply comes.
    pub async fn call(&self, method: &str, url: &str, fields: &str) -> Message {
        let (scheme, rest) = url.split_once("://").expect("an absolute URL");
        let (host, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
        let mut wire;
        if scheme == "http" {
            wire = self.socket().await;
            let login = &self.login;
            wire.send(format!("{method} {url} HTTP/1.1\r\nHost: {host}\r\n{login}{fields}\r\n")).await;
        } else {
            let has_port =
                host.rsplit_once(':').is_some_and(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
            let target = if has_port { host.to_owned() } else { format!("{host}:443") };
            wire = self.intercepted(&target).await;
            wire.send(format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n")).await;
        }
        wire.reply_to(method).await
    }
}

fn basic(name: &str, key: &str) -> String {
    format!("Proxy-Authorization: Basic {}\r\n", STANDARD.encode(format!("{name}:{key}")))
}
