//! What one test's postern is told: its bindings.yaml, environment and arguments, with fresh secrets. It refuses to
//! reuse a secret, so that a finding of the canary names its owner.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;

use tempfile::TempDir;

use crate::pki::authority;
use crate::postern::{Failed, Postern};
use crate::process::run;
use crate::secret;
use crate::upstream::{Log, Upstream};

/// A postern that is being described. Every test begins with deployment `bot`, the test authority trusted and the
/// loopback allowed.
#[derive(Clone)]
pub struct Settings {
    pub(crate) program: PathBuf,
    pub(crate) folder: Arc<TempDir>,
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) arguments: Vec<String>,
    pub(crate) keys: BTreeMap<String, String>,
    pub(crate) tokens: BTreeMap<String, String>,
    pub(crate) secrets: BTreeMap<String, String>,
    pub(crate) origins: Vec<Origin>,
    deployments: BTreeMap<String, String>,
    connections: BTreeMap<String, String>,
    bindings: Vec<String>,
    connect_to: BTreeMap<String, String>,
    limits: BTreeMap<String, String>,
    allow_addresses: Vec<String>,
    top: Vec<String>,
    text: Option<String>,
}

/// An origin of the test, and the only secrets that may reach it.
#[derive(Clone)]
pub(crate) struct Origin {
    pub(crate) name: String,
    pub(crate) log: Arc<Log>,
    pub(crate) tokens: Vec<String>,
}

/// Describes a postern that runs this program.
#[must_use]
pub fn postern(program: impl Into<PathBuf>) -> Settings {
    let folder = TempDir::with_prefix("postern-").expect("a temporary folder");
    std::fs::write(folder.path().join("upstream-ca.pem"), authority().pem()).expect("the folder takes files");
    let settings = Settings {
        program: program.into(),
        folder: Arc::new(folder),
        environment: BTreeMap::new(),
        arguments: Vec::new(),
        keys: BTreeMap::new(),
        tokens: BTreeMap::new(),
        secrets: BTreeMap::new(),
        origins: Vec::new(),
        deployments: BTreeMap::new(),
        connections: BTreeMap::new(),
        bindings: Vec::new(),
        connect_to: BTreeMap::new(),
        limits: BTreeMap::new(),
        allow_addresses: vec!["127.0.0.0/8".to_owned()],
        top: Vec::new(),
        text: None,
    };
    settings.deployment("bot")
}

impl Settings {
    /// A connection of this name for the origin's names, bound for `bot`.
    #[must_use]
    pub fn bound(self, connection: &str, upstream: &Upstream) -> Self {
        let names: Vec<&str> = upstream.names().iter().map(String::as_str).collect();
        self.connection(connection, &names)
            .binding(&format!("{{deployment: bot, connection: {connection}}}"))
            .reached_with(&[connection], upstream)
    }

    /// The origin's names lead to it, but no secret may.
    #[must_use]
    pub fn reachable(self, upstream: &Upstream) -> Self {
        self.reached_with(&[], upstream)
    }

    /// The origin's names lead to it, and the tokens of these connections may.
    #[must_use]
    pub fn reached_with(mut self, connections: &[&str], upstream: &Upstream) -> Self {
        for name in upstream.names() {
            self = self.connect_to(&format!("{name}:{}", upstream.default_port()), upstream.address());
        }
        let tokens = connections.iter().map(|name| token_name(name)).collect();
        self.origins.push(Origin { name: upstream.names().join(", "), log: upstream.log(), tokens });
        self
    }

    /// A bearer connection of this name for these hosts, with a token of its own in the environment.
    #[must_use]
    pub fn connection(self, name: &str, hosts: &[&str]) -> Self {
        let variable = variable(name);
        self.connection_with(name, hosts, &format!("auth: {{type: bearer, token: {{env: {variable}}}}}"))
    }

    /// As [`Settings::connection`], with its keys after `hosts` written out. The token is in the environment all the
    /// same, under `TOKEN_` and the name in capitals.
    #[must_use]
    pub fn connection_with(mut self, name: &str, hosts: &[&str], keys: &str) -> Self {
        let token = self.tokens.entry(name.to_owned()).or_insert_with(secret::token).clone();
        self.environment.insert(variable(name), token);
        let hosts: Vec<String> = hosts.iter().map(|host| format!("{host:?}")).collect();
        self.connections.insert(name.to_owned(), format!("{{hosts: [{}], {keys}}}", hosts.join(", ")));
        self
    }

    /// A deployment with a key of its own.
    #[must_use]
    pub fn deployment(self, name: &str) -> Self {
        self.deployment_with(name, "")
    }

    /// A deployment with a key of its own and further keys in YAML flow style, each with a comma before it.
    #[must_use]
    pub fn deployment_with(mut self, name: &str, keys: &str) -> Self {
        let key = self.keys.entry(name.to_owned()).or_insert_with(secret::key);
        let digest = secret::digest(key);
        self.deployments.insert(name.to_owned(), format!("{{identify: [{{key: {{sha256: {digest:?}}}}}]{keys}}}"));
        self
    }

    /// A deployment whose entry is written out, without a key.
    #[must_use]
    pub fn keyless_deployment(mut self, name: &str, entry: &str) -> Self {
        self.keys.remove(name);
        self.deployments.insert(name.to_owned(), entry.to_owned());
        self
    }

    /// A binding in YAML flow style.
    #[must_use]
    pub fn binding(mut self, binding: &str) -> Self {
        self.bindings.push(binding.to_owned());
        self
    }

    /// No binding at all from here on.
    #[must_use]
    pub fn without_bindings(mut self) -> Self {
        self.bindings.clear();
        self
    }

    /// Dials this address for that `host:port`.
    #[must_use]
    pub fn connect_to(mut self, authority: &str, address: SocketAddr) -> Self {
        self.connect_to.insert(authority.to_owned(), address.to_string());
        self
    }

    /// Sets a limit, as `limits:` spells it.
    #[must_use]
    pub fn limit(mut self, name: &str, value: &str) -> Self {
        self.limits.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Allows exactly these private ranges.
    #[must_use]
    pub fn allow_addresses(mut self, ranges: &[&str]) -> Self {
        self.allow_addresses = ranges.iter().map(|range| (*range).to_owned()).collect();
        self
    }

    /// Adds a line at the top level of the file.
    #[must_use]
    pub fn top(mut self, line: &str) -> Self {
        self.top.push(line.to_owned());
        self
    }

    /// Adds a variable to the environment of the process.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Adds an argument to `postern serve`.
    #[must_use]
    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Lets the canary watch for a further secret.
    #[must_use]
    pub fn secret(mut self, name: &str, value: &str) -> Self {
        self.secrets.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Starts with this bindings.yaml instead of the one that the other settings make.
    #[must_use]
    pub fn text(mut self, yaml: &str) -> Self {
        self.text = Some(yaml.to_owned());
        self
    }

    /// Trusts a further authority for origins.
    ///
    /// # Panics
    /// When the folder refuses.
    #[must_use]
    pub fn trust(self, pem: &str) -> Self {
        let path = self.ca_file();
        let before = std::fs::read_to_string(&path).expect("the file is there");
        std::fs::write(&path, format!("{before}\n{pem}")).expect("the folder takes files");
        self
    }

    /// The file of trusted authorities, `upstream.ca_file`.
    #[must_use]
    pub fn ca_file(&self) -> PathBuf {
        self.folder().join("upstream-ca.pem")
    }

    /// The folder of the test: bindings.yaml, and the data in `data`.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What `postern check` says to this text.
    ///
    /// # Panics
    /// When the program does not start.
    #[must_use]
    pub fn check(&self, yaml: impl AsRef<[u8]>) -> Output {
        let path = self.folder().join("checked.yaml");
        std::fs::write(&path, yaml).expect("the folder takes files");
        run(self, &["check", &path.display().to_string()])
    }

    /// The token of a connection.
    ///
    /// # Panics
    /// When there is no such connection.
    #[must_use]
    pub fn token(&self, connection: &str) -> &str {
        &self.tokens[connection]
    }

    /// The bindings.yaml.
    #[must_use]
    pub fn yaml(&self) -> String {
        if let Some(text) = &self.text {
            return text.clone();
        }
        let mut text = String::from("version: 1\n");
        for line in &self.top {
            let _ = writeln!(text, "{line}");
        }
        map(&mut text, "deployments", &self.deployments);
        map(&mut text, "connections", &self.connections);
        if self.bindings.is_empty() {
            text.push_str("bindings: []\n");
        } else {
            text.push_str("bindings:\n");
            for binding in &self.bindings {
                let _ = writeln!(text, "  - {binding}");
            }
        }
        let ca_file = self.ca_file();
        let _ = writeln!(text, "upstream:\n  ca_file: {ca_file:?}\n  allow_addresses: {:?}", self.allow_addresses);
        if !self.connect_to.is_empty() {
            let pairs: Vec<String> = self.connect_to.iter().map(|(from, to)| format!("{from:?}: {to:?}")).collect();
            let _ = writeln!(text, "  connect_to: {{{}}}", pairs.join(", "));
        }
        map(&mut text, "limits", &self.limits);
        text
    }

    /// Every secret of the test, with the name that a finding shows.
    pub(crate) fn named_secrets(&self) -> Vec<(String, String)> {
        let tokens = self.tokens.iter().map(|(connection, token)| (token_name(connection), token.clone()));
        let keys = self.keys.iter().map(|(deployment, key)| (format!("key of {deployment}"), key.clone()));
        let others = self.secrets.iter().map(|(name, value)| (name.clone(), value.clone()));
        tokens.chain(keys).chain(others).collect()
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Panics
    /// When it does not become ready.
    pub async fn start(self) -> Postern {
        match self.try_start().await {
            Ok(postern) => postern,
            Err(failed) => panic!("postern did not start: {failed}"),
        }
    }

    /// Starts it, or says how it refused to.
    ///
    /// # Errors
    /// [`Failed`] when it ended before it was ready.
    pub async fn try_start(self) -> Result<Postern, Failed> {
        Postern::start(self).await
    }
}

/// What a finding calls a connection's token.
fn token_name(connection: &str) -> String {
    format!("token of {connection}")
}

/// The environment variable of a connection's token.
fn variable(connection: &str) -> String {
    format!("TOKEN_{}", connection.to_ascii_uppercase().replace('-', "_"))
}

fn map(text: &mut String, name: &str, entries: &BTreeMap<String, String>) {
    if entries.is_empty() {
        return;
    }
    let _ = writeln!(text, "{name}:");
    for (key, value) in entries {
        let _ = writeln!(text, "  {key}: {value}");
    }
}
