//! `postern demo`: the main job, for real and offline. A small API with TLS, a deployment, a binding and the proxy on the
//! embedded store, in a temporary folder; a plain client that holds no credential calls through it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use admin::Desk;
use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use ca::{Minter, Root};
use model::DeploymentName;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use secrecy::SecretString;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_util::sync::CancellationToken;
use vault::MasterKeySource;

use crate::app::{App, Settings, listen_now, open_store};
use crate::records::Sink;

const API: &str = "api.example.test";
const UNBOUND: &str = "api.unbound.test";
/// Longest head that the demo's own ends read, in bytes.
const HEAD_BYTES_MAX: usize = 64 * 1024;

pub(crate) async fn demo() -> Result<()> {
    let folder = tempfile::Builder::new().prefix("postern-demo-").tempdir()?;
    let token = format!("demo-token-{:016x}", std::process::id().wrapping_mul(2_654_435_761));
    let (api, mut received) = Api::start(folder.path()).await?;

    println!("1. An API with TLS runs on {}. Its operator made the token {token}.", api.address);
    let (app, desk) = start_proxy(folder.path(), &api, &token)?;
    let key = desk.new_key(&DeploymentName::parse("demo-agent")?)?.key;
    let proxy = listen_now(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let address = proxy.local_addr()?;
    tokio::spawn(Arc::clone(app.house()).listen(proxy, None, CancellationToken::new()));
    println!("2. postern runs on {address}. The token is sealed in its store; bindings.yaml says:");
    println!("     {{deployment: demo-agent, connection: demo-api, hosts: [{API}]}}");
    println!("3. The agent holds a deployment key and no credential:");
    println!("     HTTPS_PROXY=http://demo-agent:{}...@{address}", key.get(..8).unwrap_or_default());

    let agent = Agent { proxy: address, key, ca: admin::Controls::ca_pem(app.as_ref()) };
    println!("\n   It sends:");
    println!("     GET https://{API}/v1/me      (no Authorization)");
    let answer = agent.get(API).await?;
    let seen = received.recv().await.context("the API received nothing")?;
    println!("   The API received:");
    for line in seen.lines().filter(|line| !line.is_empty()) {
        println!("     {line}");
    }
    println!("   The agent got: {}", answer.summary());
    ensure!(seen.to_ascii_lowercase().contains(&format!("authorization: bearer {token}")), "the token did not arrive");
    ensure!(answer.status == 200, "the call failed with {}", answer.status);
    ensure!(!answer.text.contains(&token), "the agent saw the token");

    println!("\n4. A host without a binding:\n     GET https://{UNBOUND}/");
    let refused = agent.get(UNBOUND).await?;
    println!("   The agent got: {}", refused.summary());
    ensure!(refused.status == 403, "expected 403, got {}", refused.status);

    println!("\n5. A wrong key:");
    let stranger = Agent { key: "pst_wrong".into(), ..agent };
    let unknown = stranger.get(API).await?;
    println!("   The agent got: {}", unknown.summary());
    ensure!(unknown.status == 407, "expected 407, got {}", unknown.status);

    println!("\nThe agent never held the token. Next: README.md, \"Five-minute start\".");
    app.house().drain(std::time::Duration::from_secs(1)).await;
    Ok(())
}

fn start_proxy(folder: &std::path::Path, api: &Api, token: &str) -> Result<(Arc<App>, Desk)> {
    let config = folder.join("bindings.yaml");
    std::fs::write(
        &config,
        format!(
            "version: 1\n\
         connections:\n  demo-api: {{hosts: [{API}], auth: {{type: bearer, token: {{sealed: demo-token}}}}}}\n\
         deployments:\n  demo-agent: {{}}\n\
         bindings:\n  - {{deployment: demo-agent, connection: demo-api}}\n\
         upstream:\n  ca_file: {}\n  allow_addresses: [127.0.0.1/32]\n  connect_to: {{\"{API}:443\": \"{}\"}}\n",
            api.ca_file.display(),
            api.address
        ),
    )?;
    let settings = Settings {
        config,
        data: folder.join("data"),
        master_key: MasterKeySource::default(),
        public_url: "http://127.0.0.1:3129".into(),
        access_log: Sink::Nowhere,
    };
    let (store, _) = open_store(&settings.data, &settings.master_key)?;
    Desk::new(store, None).set_secret("demo-token", &SecretString::from(token))?;
    let (app, _) = App::open(settings)?;
    let desk = app.desk();
    Ok((app, desk))
}

/// An API of somebody else's: TLS under its own root, one answer, and a note of what it received.
struct Api {
    address: SocketAddr,
    ca_file: std::path::PathBuf,
}

impl Api {
    async fn start(folder: &std::path::Path) -> Result<(Self, mpsc::Receiver<String>)> {
        let root = Arc::new(Root::generate(SystemTime::now())?);
        let ca_file = folder.join("api-root.pem");
        std::fs::write(&ca_file, root.certificate_pem())?;
        let minter = Minter::new(root, Arc::new(SystemTime::now), proxy::interception()?, 1)?;
        let leaf = minter.leaf(&ServerName::try_from(API)?)?;
        let acceptor = TlsAcceptor::from(Arc::clone(leaf.server_config()));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let api = Self { address: listener.local_addr()?, ca_file };
        let (sender, receiver) = mpsc::channel(8);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(acceptor.clone(), socket, sender.clone()));
            }
        });
        Ok((api, receiver))
    }
}

async fn serve(acceptor: TlsAcceptor, socket: TcpStream, sender: mpsc::Sender<String>) -> Result<()> {
    let mut stream = acceptor.accept(socket).await?;
    let head = read_head(&mut stream).await?;
    sender.send(head).await?;
    let body = "{\"account\": \"demo@example.test\"}";
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).await?;
    stream.shutdown().await?;
    Ok(())
}

/// A plain HTTP client behind a proxy.
struct Agent {
    proxy: SocketAddr,
    key: String,
    ca: String,
}

struct Answer {
    status: u16,
    text: String,
}

impl Answer {
    fn parse(text: String) -> Result<Self> {
        let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).context("no HTTP answer")?;
        Ok(Self { status, text })
    }

    fn summary(&self) -> String {
        let body = self.text.split_once("\r\n\r\n").map_or("", |(_, body)| body.trim());
        format!("{} {body}", self.status)
    }
}

impl Agent {
    async fn get(&self, host: &str) -> Result<Answer> {
        let mut socket = TcpStream::connect(self.proxy).await?;
        let login = base64::engine::general_purpose::STANDARD.encode(format!("demo-agent:{}", self.key));
        let connect =
            format!("CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\nProxy-Authorization: Basic {login}\r\n\r\n");
        socket.write_all(connect.as_bytes()).await?;
        let opened = read_head(&mut socket).await?;
        if !opened.starts_with("HTTP/1.1 200") {
            return Answer::parse(opened);
        }
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.ca.as_bytes())?)?;
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let mut stream =
            TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(host.to_owned())?, socket).await?;
        let request = format!(
            "GET /v1/me HTTP/1.1\r\nHost: {host}\r\nUser-Agent: demo-agent\r\nAccept: application/json\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        read_all(&mut stream).await
    }
}

async fn read_head(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> Result<String> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        if bytes.len() > HEAD_BYTES_MAX || stream.read_buf(&mut bytes).await? == 0 {
            bail!("the other side ended before its head was whole");
        }
        // An answer with a body may follow at once.
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n")
            && bytes.starts_with(b"HTTP/1.1 4")
        {
            return Ok(String::from_utf8_lossy(if end > 0 { &bytes } else { &[] }).into_owned());
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

async fn read_all(stream: &mut (impl AsyncRead + Unpin)) -> Result<Answer> {
    let mut bytes = Vec::new();
    stream.take(HEAD_BYTES_MAX as u64).read_to_end(&mut bytes).await?;
    Answer::parse(String::from_utf8_lossy(&bytes).into_owned())
}
