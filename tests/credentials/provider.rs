//! A real OpenID provider in a process of its own: `authority/server.mjs`. It ends with the test.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use support::{Authority, Settings, authority};

use crate::endpoint::REFRESH;
use crate::scene::{ACCOUNT, CLIENT_SECRET, LOGIN};
use crate::tools::node;

/// A running provider.
pub(crate) struct Provider {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    port: u16,
}

impl Provider {
    /// One whose access tokens live so many seconds, and begin with the account's token.
    pub(crate) fn start(settings: &Settings, life_seconds: u32) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/credentials/authority");
        assert!(folder.join("node_modules").exists(), "{folder:?} has no node_modules: run scripts/test once");
        let key = rcgen::KeyPair::generate().unwrap();
        let chain = authority().sign_with(&Authority::leaf_params(&[LOGIN]), &key);
        let (key_path, certificate_path) = (settings.folder().join("login.key"), settings.folder().join("login.pem"));
        fs::write(&key_path, key.serialize_pem()).unwrap();
        fs::write(&certificate_path, pem(&chain.certificates[0])).unwrap();
        let parameters = json!({
            "issuer": format!("https://{LOGIN}"), "key": key_path, "certificate": certificate_path,
            "secret": CLIENT_SECRET, "life": life_seconds, "access": settings.token(ACCOUNT), "refresh": REFRESH,
        });
        let mut child = Command::new(node())
            .arg("server.mjs")
            .arg(parameters.to_string())
            .current_dir(folder)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut provider = Self { child, input, output, port: 0 };
        provider.port = provider.heard()["port"].as_u64().unwrap().try_into().unwrap();
        provider
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// A first refresh token, as an account's consent would bring it.
    pub(crate) fn mint(&mut self) -> String {
        self.told("mint")["token"].as_str().unwrap().to_owned()
    }

    /// How many token requests there were, and how many of them it refused.
    pub(crate) fn count(&mut self) -> (u64, u64) {
        let count = self.told("count");
        (count["requests"].as_u64().unwrap(), count["refused"].as_u64().unwrap())
    }

    /// From here on the token endpoint fails (`fail`), never answers (`hang`), or serves (`serve`).
    pub(crate) fn turn_to(&mut self, mode: &str) {
        assert_eq!(self.told(mode)["mode"], mode);
    }

    fn told(&mut self, command: &str) -> Value {
        writeln!(self.input, "{command}").unwrap();
        self.heard()
    }

    fn heard(&mut self) -> Value {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("the provider said {line:?}"))
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn pem(der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let lines: Vec<&str> = body.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}
