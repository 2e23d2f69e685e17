//! A real nginx as the upstream of real clients: it serves one JSON body and one git repository over TLS, and writes
//! down the header block of every request. It refuses nothing and checks no credential: that is the test's part.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use support::{Authority, authority, eventually};
use tempfile::TempDir;

use crate::tools::{run, tool};

/// What every path outside `/git/` answers with status 200.
pub(crate) const BODY: &str = r#"{"object": "user", "name": "postern"}"#;
/// The only file of the repository at `/git/greeting.git`, and what it says.
pub(crate) const GREETING: (&str, &str) = ("greeting.txt", "hello from the repository\n");

/// A running nginx. Dropping it ends it.
pub(crate) struct Nginx {
    process: Child,
    address: SocketAddr,
    folder: TempDir,
}

impl Nginx {
    /// Starts it with a certificate of the test authority for this name.
    pub(crate) fn start(name: &str) -> Self {
        let folder = TempDir::with_prefix("nginx-").unwrap();
        write_certificate(folder.path(), name);
        write_repository(&folder.path().join("git/greeting.git"));

        // It gets its socket from us, listening already: no port to guess, and no start to wait for.
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let config = folder.path().join("nginx.conf");
        let text = include_str!("nginx.conf.in")
            .replace("@FOLDER@", folder.path().to_str().unwrap())
            .replace("@PORT@", &address.port().to_string())
            .replace("@BODY@", BODY)
            .replace("@ECHO_MODULE@", echo_module());
        fs::write(&config, text).unwrap();
        let process = Command::new(tool("nginx", "nginx-light"))
            .arg("-c")
            .arg(&config)
            .arg("-e")
            .arg(folder.path().join("error.log"))
            .env("NGINX", "0;")
            .stdin(OwnedFd::from(listener))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { process, address, folder }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The requests so far, once there is at least one.
    pub(crate) async fn received(&self) -> Vec<Received> {
        let log = self.folder.path().join("received.jsonl");
        let text = eventually("a request at nginx", || {
            let text = fs::read_to_string(&log).unwrap_or_default();
            text.ends_with('\n').then_some(text)
        })
        .await;
        text.lines().map(Received::parse).collect()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // SIGTERM, for a master that is killed leaves its worker behind.
        let _ = kill_process(Pid::from_child(&self.process), Signal::TERM);
        let _ = self.process.wait();
        if std::thread::panicking() {
            let log = fs::read_to_string(self.folder.path().join("error.log")).unwrap_or_default();
            eprintln!("--- nginx's log ---\n{log}");
        }
    }
}

/// One request as it came in.
#[derive(Debug)]
pub(crate) struct Received {
    /// The fields in their order, names in lower case.
    fields: Vec<(String, String)>,
}

impl Received {
    /// Every value of a field.
    pub(crate) fn values(&self, name: &str) -> Vec<&str> {
        self.fields.iter().filter(|(field, _)| field == name).map(|(_, value)| value.as_str()).collect()
    }

    fn parse(line: &str) -> Self {
        let line: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("nginx wrote {line}"));
        let head = line["head"].as_str().unwrap();
        let fields = head.lines().skip(1).filter_map(|field| field.split_once(": "));
        Self { fields: fields.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect() }
    }
}

/// Where Debian puts the module that shows a request's header block as it came in.
fn echo_module() -> &'static str {
    let module = "/usr/lib/nginx/modules/ngx_http_echo_module.so";
    assert!(Path::new(module).exists(), "{module} is missing: install the Debian package libnginx-mod-http-echo");
    module
}

fn write_certificate(folder: &Path, name: &str) {
    let key = rcgen::KeyPair::generate().unwrap();
    let chain = authority().sign_with(&Authority::leaf_params(&[name]), &key);
    let der = folder.join("upstream.der");
    fs::write(&der, &chain.certificates[0]).unwrap();
    fs::write(folder.join("upstream.key"), key.serialize_pem()).unwrap();
    let pem = folder.join("upstream.pem");
    run(Command::new(tool("openssl", "openssl"))
        .args(["x509", "-inform", "DER", "-in"])
        .arg(&der)
        .arg("-out")
        .arg(pem));
}

/// A bare repository of one commit, with the index that lets git clone from a server that knows nothing of git.
fn write_repository(bare: &Path) {
    let work = TempDir::with_prefix("greeting-").unwrap();
    let git = |arguments: &[&str]| {
        let mut command = Command::new(tool("git", "git"));
        command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
        command.args(["-c", "user.name=postern", "-c", "user.email=postern@example.test", "-C"]);
        run(command.arg(work.path()).args(arguments));
    };
    fs::write(work.path().join(GREETING.0), GREETING.1).unwrap();
    git(&["init", "--quiet", "--initial-branch", "main"]);
    git(&["add", GREETING.0]);
    git(&["commit", "--quiet", "--message", "Greet"]);
    let bare = bare.to_str().unwrap();
    git(&["clone", "--quiet", "--bare", ".", bare]);
    git(&["--git-dir", bare, "update-server-info"]);
}
