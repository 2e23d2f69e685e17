//! The real binary under test: started in a folder of its own, observed on every channel, ended and swept for secrets.
//! It leaves no process behind and refuses to pass a test whose postern leaked or panicked.

use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output};
use std::sync::Arc;

use rustix::process::Signal;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::agent::Agent;
use crate::canary::Canary;
use crate::deadline::eventually;
use crate::process::{Process, config_path, data_path, run};
use crate::settings::Settings;
use crate::wire::Witness;

/// How much of the log a failed test shows.
const LOG_LINES_SHOWN: usize = 40;

/// A running postern. Dropping it kills it and sweeps what it emitted.
pub struct Postern {
    settings: Settings,
    process: Process,
    proxy: SocketAddr,
    admin: SocketAddr,
    root_pem: String,
    roots: Arc<RootCertStore>,
    witness: Witness,
    /// What earlier processes of this test wrote, before a restart.
    earlier: Vec<u8>,
    swept: bool,
}

/// A postern that ended before it was ready.
#[derive(Debug)]
pub struct Failed {
    /// How it ended.
    pub status: ExitStatus,
    /// What it said on standard error.
    pub stderr: String,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}", self.status, self.stderr)
    }
}

impl Postern {
    pub(crate) async fn start(settings: Settings) -> Result<Self, Failed> {
        fs::write(config_path(&settings), settings.yaml()).expect("the folder takes files");
        let (process, [proxy, admin]) = Process::serve(&settings).await?;
        let exported = run(&settings, &["ca", "export"]);
        let root_pem = String::from_utf8(exported.stdout).expect("PEM is text");
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(root_pem.as_bytes()) {
            roots.add(certificate.expect("the exported root is PEM")).expect("the exported root is a certificate");
        }
        assert!(!roots.is_empty(), "`ca export` printed no root: {}", String::from_utf8_lossy(&exported.stderr));
        Ok(Self {
            settings,
            process,
            proxy,
            admin,
            root_pem,
            roots: Arc::new(roots),
            witness: Witness::default(),
            earlier: Vec::new(),
            swept: false,
        })
    }

    /// An agent that logs in as this deployment, with the key from the settings.
    ///
    /// # Panics
    /// When the deployment has no key there.
    #[must_use]
    pub fn agent(&self, deployment: &str) -> Agent {
        self.agent_with_key(deployment, &self.settings.keys[deployment])
    }

    /// An agent with this login.
    #[must_use]
    pub fn agent_with_key(&self, deployment: &str, key: &str) -> Agent {
        Agent::new(self.proxy, deployment, key, Arc::clone(&self.roots), Arc::clone(&self.witness))
    }

    /// Has `postern deployment key new` make a key, and lets the canary watch for it.
    ///
    /// # Panics
    /// When the command fails.
    pub fn issue_key(&mut self, deployment: &str) -> String {
        let output = self.run(&["deployment", "key", "new", deployment]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let key = String::from_utf8(output.stdout).expect("a key is text").trim_end().to_owned();
        self.settings.secrets.insert(format!("issued key of {deployment}"), key.clone());
        key
    }

    /// The token of a connection.
    #[must_use]
    pub fn token(&self, connection: &str) -> &str {
        self.settings.token(connection)
    }

    /// What it was started with, to be changed and given to [`Postern::rewrite`].
    #[must_use]
    pub fn settings(&self) -> Settings {
        self.settings.clone()
    }

    /// Where agents connect.
    #[must_use]
    pub fn proxy(&self) -> SocketAddr {
        self.proxy
    }

    /// Where operators connect.
    #[must_use]
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// The root that agents trust, as `ca export` prints it.
    #[must_use]
    pub fn root_pem(&self) -> &str {
        &self.root_pem
    }

    /// The folder of its configuration; its data is in `data` below.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.settings.folder.path()
    }

    /// The folder given with `--data`.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        data_path(&self.settings)
    }

    /// The file given with `--config`.
    #[must_use]
    pub fn config_path(&self) -> PathBuf {
        config_path(&self.settings)
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.child.id()
    }

    /// Replaces the configuration file at once, by renaming.
    ///
    /// # Panics
    /// When the folder refuses.
    pub fn rewrite(&self, text: impl AsRef<[u8]>) {
        let next = self.folder().join("next.yaml");
        fs::write(&next, text).expect("the folder takes files");
        fs::rename(&next, self.config_path()).expect("the folder takes files");
    }

    /// Everything that it said on standard error so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.process.stderr.lock().unwrap()).into_owned()
    }

    /// Waits until standard error holds this text.
    ///
    /// # Panics
    /// When it does not within the deadline.
    pub async fn wait_for_stderr(&self, text: &str) {
        eventually(&format!("{text:?} on standard error"), || self.stderr().contains(text).then_some(())).await;
    }

    /// Waits until it has complained in its log, once more than so many times.
    ///
    /// # Panics
    /// When it does not within the deadline.
    pub async fn wait_for_complaint(&self, before: usize) {
        eventually("a complaint in the log", || (self.complaints() > before).then_some(())).await;
    }

    /// How many warnings and errors its log has.
    #[must_use]
    pub fn complaints(&self) -> usize {
        self.stderr().lines().filter(|line| line.contains("WARN") || line.contains("ERROR")).count()
    }

    /// The access records so far.
    ///
    /// # Panics
    /// When a whole line is not JSON.
    #[must_use]
    pub fn records(&self) -> Vec<serde_json::Value> {
        let text = fs::read_to_string(self.data().join("access.jsonl")).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(|line| serde_json::from_str(line).expect("an access record is JSON")).collect()
    }

    /// Waits for an access record.
    ///
    /// # Panics
    /// When none comes within the deadline.
    pub async fn wait_for_record(&self, fits: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
        eventually("an access record", || self.records().into_iter().find(|record| fits(record))).await
    }

    /// Runs another `postern` command on the same configuration and data.
    #[must_use]
    pub fn run(&self, arguments: &[&str]) -> Output {
        run(&self.settings, arguments)
    }

    /// Sends SIGHUP: read the configuration now.
    pub fn hang_up(&self) {
        self.process.signal(Signal::HUP);
    }

    /// Sends SIGTERM and waits for the end.
    pub async fn terminate(&mut self) -> ExitStatus {
        self.process.signal(Signal::TERM);
        let child = &mut self.process.child;
        eventually("postern to end", || child.try_wait().expect("the child is ours")).await
    }

    /// Kills it with SIGKILL.
    pub fn kill(&mut self) {
        self.process.end();
    }

    /// Starts it again on the same data, after [`Postern::terminate`] or [`Postern::kill`]. The ports change: agents
    /// must be made anew.
    ///
    /// # Errors
    /// [`Failed`] when it ended before it was ready.
    pub async fn restart(&mut self) -> Result<(), Failed> {
        self.process.end();
        let (process, [proxy, admin]) = Process::serve(&self.settings).await?;
        let before = std::mem::replace(&mut self.process, process);
        self.earlier.extend(before.output());
        (self.proxy, self.admin) = (proxy, admin);
        Ok(())
    }

    /// Ends it and sweeps everything it emitted.
    ///
    /// # Panics
    /// When a secret leaked, or a thread of postern panicked.
    pub fn finish(mut self) {
        self.sweep();
    }

    fn sweep(&mut self) {
        self.swept = true;
        self.process.end();
        let findings = self.findings();
        assert!(findings.is_empty(), "{}", findings.join("\n"));
    }

    fn findings(&self) -> Vec<String> {
        let settings = &self.settings;
        let secrets = settings.named_secrets();
        let canary = Canary::new(secrets.iter().map(|(name, secret)| (name.as_str(), secret.as_str())));
        let mut output = self.process.output();
        output.extend_from_slice(&self.earlier);
        let mut findings = canary.sweep("the output of serve", &output);
        if [&b"panicked at"[..], b"postern: a bug"].iter().any(|mark| memchr::memmem::find(&output, mark).is_some()) {
            findings.push("a thread of postern panicked".to_owned());
        }
        for path in files_below(&self.data()) {
            findings.extend(canary.sweep(&path.display().to_string(), &fs::read(&path).unwrap_or_default()));
        }
        for heard in self.witness.lock().unwrap().iter() {
            findings.extend(canary.sweep("what an agent received", heard));
        }
        for origin in &settings.origins {
            let foreign = secrets
                .iter()
                .filter(|(name, _)| !origin.tokens.contains(name))
                .map(|(name, secret)| (name.as_str(), secret.as_str()));
            findings.extend(Canary::new(foreign).sweep(&format!("the origin {}", origin.name), &origin.log.bytes()));
        }
        findings
    }
}

impl Drop for Postern {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.process.end();
            let log = self.stderr();
            let lines: Vec<&str> = log.lines().filter(|line| !line.contains("TRACE")).collect();
            eprintln!("--- the end of postern's log ---");
            for line in &lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..] {
                eprintln!("{line}");
            }
            return;
        }
        if !self.swept {
            self.sweep();
        }
    }
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries
        .flatten()
        .flat_map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => files_below(&entry.path()),
            Ok(kind) if kind.is_file() => vec![entry.path()],
            _ => Vec::new(),
        })
        .collect()
}
