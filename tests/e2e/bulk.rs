//! Two ends that make up gigabytes, count and compare them, and keep none: an origin and an agent with TLS of their own.
//! They judge only content and length; what is said beside that is the harness's to look at.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use rcgen::KeyPair;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use support::{Authority, Postern, Settings, authority};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::scene::{HOST, TARGET, postern};

/// What all content is made of, over and over.
const BLOCK_BYTES: usize = 64 * 1024;
/// The room for one read.
const BUFFER_BYTES: usize = 256 * 1024;

/// An origin that sends as many bytes as the path says to a GET, and answers any other request with how many came.
/// Dropping it ends it.
pub(crate) struct BulkOrigin {
    pub(crate) address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl BulkOrigin {
    pub(crate) async fn start() -> Self {
        let key = KeyPair::generate().unwrap();
        let chain = authority().sign_with(&Authority::leaf_params(&[HOST]), &key);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain.certificates, PrivatePkcs8KeyDer::from(key.serialize_der()).into())
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepting = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                socket.set_nodelay(true).unwrap();
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(socket).await else { return };
                    serve(BufReader::with_capacity(BUFFER_BYTES, stream)).await;
                });
            }
        });
        Self { address, accepting }
    }
}

impl Drop for BulkOrigin {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// A postern whose bound host is a bulk origin.
pub(crate) async fn bulk() -> (Postern, BulkOrigin) {
    let origin = BulkOrigin::start().await;
    (bound_to(&origin).start().await, origin)
}

/// Settings in which a bulk origin is the bound host.
pub(crate) fn bound_to(origin: &BulkOrigin) -> Settings {
    postern()
        .connection("notion", &[HOST])
        .binding("{deployment: bot, connection: notion}")
        .connect_to(TARGET, origin.address)
}

async fn serve(mut stream: BufReader<impl AsyncRead + AsyncWrite + Unpin>) {
    loop {
        let Ok(head) = read_head(&mut stream).await else { return };
        if let Some(bytes) = head.strip_prefix("GET /") {
            let bytes: u64 = bytes.split(' ').next().unwrap().parse().unwrap();
            stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {bytes}\r\n\r\n").as_bytes()).await.unwrap();
            if write_content(&mut stream, bytes).await.is_err() {
                return;
            }
        } else {
            assert!(head.to_ascii_lowercase().contains("\r\ntransfer-encoding: chunked\r\n"), "{head}");
            let count = read_chunks(&mut stream).await.to_string();
            let length = count.len();
            stream
                .write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{count}").as_bytes())
                .await
                .unwrap();
        }
        if stream.flush().await.is_err() {
            return;
        }
    }
}

/// The inside of an intercepted tunnel to [`HOST`].
pub(crate) struct BulkAgent<S> {
    stream: BufReader<S>,
}

/// What becomes of a socket after an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    Open,
    Closed,
}

/// How to open tunnels as `bot`, from any task.
#[derive(Clone)]
pub(crate) struct BulkDoor {
    proxy: SocketAddr,
    connect: String,
    config: Arc<ClientConfig>,
}

impl BulkDoor {
    pub(crate) fn of(postern: &Postern) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(postern.root_pem().as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connect = postern.agent("bot").connect_request(TARGET);
        Self { proxy: postern.proxy(), connect, config: Arc::new(config) }
    }

    /// Opens a tunnel; `None` when nobody listens any more.
    ///
    /// # Errors
    /// When the socket was accepted and the tunnel was not opened.
    pub(crate) async fn open(&self) -> io::Result<Option<BulkAgent<impl AsyncRead + AsyncWrite + Unpin + use<>>>> {
        let mut socket = match TcpStream::connect(self.proxy).await {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return Ok(None),
            socket => socket?,
        };
        socket.set_nodelay(true)?;
        socket.write_all(self.connect.as_bytes()).await?;
        let mut plain = BufReader::new(socket);
        let head = read_head(&mut plain).await?;
        if !head.starts_with("HTTP/1.1 200 ") {
            return Err(io::Error::other(head));
        }
        let name = ServerName::try_from(HOST).unwrap();
        let stream = TlsConnector::from(Arc::clone(&self.config)).connect(name, plain.into_inner()).await?;
        Ok(Some(BulkAgent { stream: BufReader::with_capacity(BUFFER_BYTES, stream) }))
    }
}

/// An open tunnel of `bot`'s.
pub(crate) async fn bulk_agent(postern: &Postern) -> BulkAgent<impl AsyncRead + AsyncWrite + Unpin + use<>> {
    BulkDoor::of(postern).open().await.unwrap().expect("the proxy listens")
}

impl<S: AsyncRead + AsyncWrite + Unpin> BulkAgent<S> {
    /// One small request, and whether the proxy closes the socket after its answer.
    ///
    /// # Errors
    /// When the answer is not whole or not the origin's.
    pub(crate) async fn request(&mut self) -> io::Result<After> {
        self.stream.write_all(format!("GET /2 HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes()).await?;
        self.stream.flush().await?;
        let head = read_head(&mut self.stream).await?;
        if !head.starts_with("HTTP/1.1 200 ") {
            return Err(io::Error::other(head));
        }
        self.stream.read_exact(&mut [0; 2]).await?;
        let closing = head.to_ascii_lowercase().contains("\r\nconnection: close\r\n");
        Ok(if closing { After::Closed } else { After::Open })
    }

    /// Asks for this many bytes and reads none of them.
    pub(crate) async fn ask(&mut self, bytes: u64) {
        self.stream.write_all(format!("GET /{bytes} HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes()).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// Downloads and compares this many bytes.
    pub(crate) async fn download(&mut self, bytes: u64) {
        self.stream.write_all(format!("GET /{bytes} HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes()).await.unwrap();
        self.stream.flush().await.unwrap();
        let head = read_head(&mut self.stream).await.unwrap();
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert!(head.to_ascii_lowercase().contains(&format!("\r\ncontent-length: {bytes}\r\n")), "{head}");
        compare_content(&mut self.stream, 0, bytes).await;
    }

    /// Uploads this many bytes in chunks; the origin says how many came.
    pub(crate) async fn upload(&mut self, bytes: u64) {
        let head = format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n");
        self.stream.write_all(head.as_bytes()).await.unwrap();
        let chunk = [format!("{BLOCK_BYTES:x}\r\n").as_bytes(), block(), b"\r\n"].concat();
        assert_eq!(bytes % BLOCK_BYTES as u64, 0);
        for _ in 0..bytes / BLOCK_BYTES as u64 {
            self.stream.write_all(&chunk).await.unwrap();
        }
        self.stream.write_all(b"0\r\n\r\n").await.unwrap();
        self.stream.flush().await.unwrap();
        let head = read_head(&mut self.stream).await.unwrap();
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        let mut count = vec![0; bytes.to_string().len()];
        self.stream.read_exact(&mut count).await.unwrap();
        assert_eq!(String::from_utf8(count).unwrap(), bytes.to_string());
    }
}

/// One block: bytes whose order matters.
fn block() -> &'static [u8] {
    static BLOCK: OnceLock<Vec<u8>> = OnceLock::new();
    BLOCK.get_or_init(|| (0..BLOCK_BYTES).map(|at| u8::try_from((at * 7 + at / 251) % 256).unwrap()).collect())
}

async fn write_content(stream: &mut (impl AsyncWrite + Unpin), bytes: u64) -> io::Result<()> {
    let block = block();
    let mut left = bytes;
    while left > 0 {
        let here = usize::try_from(left).unwrap_or(usize::MAX).min(block.len());
        stream.write_all(&block[..here]).await?;
        left -= here as u64;
    }
    Ok(())
}

/// Reads this many bytes and compares them to the content from this position on.
async fn compare_content(stream: &mut BufReader<impl AsyncRead + Unpin>, from: u64, bytes: u64) {
    let block = block();
    let mut at = usize::try_from(from % BLOCK_BYTES as u64).unwrap();
    let mut left = usize::try_from(bytes).unwrap();
    while left > 0 {
        let read = stream.fill_buf().await.unwrap();
        assert!(!read.is_empty(), "the content ends {left} bytes early");
        let here = read.len().min(left).min(BLOCK_BYTES - at);
        assert!(read[..here] == block[at..at + here], "the content differs");
        stream.consume(here);
        at = (at + here) % BLOCK_BYTES;
        left -= here;
    }
}

async fn read_chunks(stream: &mut BufReader<impl AsyncRead + Unpin>) -> u64 {
    let mut count = 0;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        let size = u64::from_str_radix(line.trim_end(), 16).unwrap();
        compare_content(stream, count, size).await;
        count += size;
        let mut end = [0; 2];
        stream.read_exact(&mut end).await.unwrap();
        assert_eq!(&end, b"\r\n");
        if size == 0 {
            return count;
        }
    }
}

/// A head with its empty line.
///
/// # Errors
/// The socket's, `UnexpectedEof` for a clean end too.
async fn read_head(stream: &mut BufReader<impl AsyncRead + Unpin>) -> io::Result<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(head)
}
