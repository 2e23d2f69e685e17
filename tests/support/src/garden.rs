//! A small garden of origins with HTTP parsers that share nothing: nginx, Node, Python and the JDK. Bytes that postern
//! forwarded are replayed to each; it refuses to judge them and reports what each one saw.

use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

use crate::deadline::{eventually, within};
use crate::message::Message;
use crate::secret::hex;

/// The request that ends a replay: an origin that misjudged a body before it does not see it as it is.
const LAST: &str = "GET /the-end HTTP/1.1\r\nHost: the.end\r\nConnection: close\r\n\r\n";

/// The running origins. Dropping it ends them.
pub struct Garden {
    origins: Vec<Origin>,
    _folder: TempDir,
}

/// What an origin saw of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The method.
    pub method: String,
    /// The target, as sent.
    pub target: String,
    /// The Host field.
    pub host: String,
    /// The content's length.
    pub bytes: u64,
    /// The content's SHA-256 in hexadecimal.
    pub sha256: String,
}

struct Origin {
    name: &'static str,
    process: Child,
    address: Address,
}

#[derive(Clone)]
enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Garden {
    /// Starts all four.
    ///
    /// # Panics
    /// When one is not installed; the message names the package.
    pub async fn start() -> Self {
        let folder = TempDir::with_prefix("garden-").expect("a temporary folder");
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("garden");
        let mut java = Command::new("java");
        java.args(["-Xshare:auto", "-XX:TieredStopAtLevel=1"]).arg(sources.join("Origin.java"));
        let mut python = Command::new("python3");
        python.arg(sources.join("python.py"));
        let mut node = Command::new("node");
        node.arg(sources.join("node.js"));
        let mut origins = vec![
            Origin::start("java", "default-jdk-headless", java),
            Origin::start("python", "python3", python),
            Origin::start("node", "nodejs", node),
        ];
        let Address::Tcp(inner) = origins[2].address.clone() else { unreachable!("node listens on TCP") };
        origins.push(Origin::start_nginx(&sources, folder.path(), inner).await);
        Self { origins, _folder: folder }
    }

    /// Sends the bytes, and a last request of the garden's own, to each origin on a fresh connection. Returns what each
    /// one saw before that last request.
    ///
    /// # Panics
    /// When an origin refuses a request or does not see the last one as it is.
    pub async fn replay(&self, bytes: &[u8]) -> Vec<(&'static str, Vec<Seen>)> {
        let mut all = Vec::new();
        for origin in &self.origins {
            all.push((origin.name, origin.replay(bytes).await));
        }
        all
    }
}

impl Origin {
    /// Starts an origin that prints its port.
    fn start(name: &'static str, package: &str, mut command: Command) -> Self {
        let mut process = spawn(command.stdout(Stdio::piped()), package);
        let stdout = process.stdout.take().expect("standard output is piped");
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).expect("the origin prints its port");
        let port = line.trim().parse().unwrap_or_else(|_| panic!("{name} printed {line:?} for its port"));
        Self { name, process, address: Address::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, port))) }
    }

    async fn start_nginx(sources: &Path, folder: &Path, inner: SocketAddr) -> Self {
        let text = std::fs::read_to_string(sources.join("nginx.conf")).expect("the sources are here");
        let config = folder.join("nginx.conf");
        std::fs::write(
            &config,
            text.replace("INNER", &inner.to_string()).replace("unix:", &format!("unix:{}/", folder.display())),
        )
        .expect("the folder takes files");
        let mut command = Command::new("nginx");
        command.arg("-p").arg(folder).arg("-c").arg(&config).arg("-e").arg(folder.join("error.log"));
        let process = spawn(&mut command, "nginx-light");
        let socket = folder.join("nginx.sock");
        let origin = Self { name: "nginx", process, address: Address::Unix(socket.clone()) };
        eventually("nginx to listen", || std::os::unix::net::UnixStream::connect(&socket).ok()).await;
        origin
    }

    async fn replay(&self, bytes: &[u8]) -> Vec<Seen> {
        let what = format!("{} to answer", self.name);
        match &self.address {
            Address::Tcp(address) => {
                let stream = TcpStream::connect(address).await.expect("the origin listens");
                within(&what, self.converse(stream, bytes)).await
            }
            Address::Unix(path) => {
                let stream = UnixStream::connect(path).await.expect("the origin listens");
                within(&what, self.converse(stream, bytes)).await
            }
        }
    }

    async fn converse(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin, bytes: &[u8]) -> Vec<Seen> {
        let name = format!("{} after {}", self.name, bytes[..bytes.len().min(300)].escape_ascii());
        let _ = stream.write_all(&[bytes, LAST.as_bytes()].concat()).await;
        let mut buffer = Vec::new();
        let mut all = Vec::new();
        while let Ok(reply) = Message::read_reply(&mut stream, &mut buffer, "HEAD").await {
            let Some(seen) = reply.field("x-seen") else { panic!("{name} saw {all:?} and refused the next:\n{reply}") };
            all.push(Seen::parse(seen));
        }
        let last = all.pop().unwrap_or_else(|| panic!("{name} said nothing"));
        assert_eq!(
            (last.method.as_str(), last.target.as_str()),
            ("GET", "/the-end"),
            "{name} lost the end; it saw {all:?}"
        );
        all
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Seen {
    /// What the test's own parser saw.
    #[must_use]
    pub fn of(request: &Message) -> Self {
        Self {
            method: request.method().to_owned(),
            target: request.target().to_owned(),
            host: request.field("host").unwrap_or_default().to_owned(),
            bytes: request.body.len() as u64,
            sha256: hex(&Sha256::digest(&request.body)),
        }
    }

    fn parse(text: &str) -> Self {
        let value: serde_json::Value = serde_json::from_str(text).unwrap_or_else(|_| panic!("no JSON: {text}"));
        let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
        Self {
            method: text("method"),
            target: text("target"),
            host: text("host"),
            bytes: value["bytes"].as_u64().unwrap_or_default(),
            sha256: text("sha256"),
        }
    }
}

fn spawn(command: &mut Command, package: &str) -> Child {
    let program = command.get_program().to_string_lossy().into_owned();
    match command.stdin(Stdio::null()).spawn() {
        Ok(child) => child,
        Err(error) => panic!("{program} does not start ({error}): the Debian package {package} has it"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_origin_of_the_garden_sees_a_plain_request() {
        let garden = Garden::start().await;
        let bytes = b"POST /a?b HTTP/1.1\r\nHost: x.test\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n";
        for (name, seen) in garden.replay(bytes).await {
            assert_eq!(seen.len(), 1, "{name}");
            let Seen { method, target, host, bytes, .. } = &seen[0];
            assert_eq!(
                (method.as_str(), target.as_str(), host.as_str(), *bytes),
                ("POST", "/a?b", "x.test", 2),
                "{name}"
            );
        }
    }
}
