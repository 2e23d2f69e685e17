//! `postern run`: a child behind postern that holds neither a key nor a credential. Its listener identifies it and closes
//! with it; what postern itself knows from its environment is taken out of the child's.

use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use admin::{Client, Controls, Lent, PrivateListener};
use anyhow::{Context, Result, anyhow, bail};
use model::{Config, DeploymentName};
use tokio::process::{Child, Command};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::app::{App, Settings};
use crate::arguments::{Place, Run};
use crate::bureau::running;
use crate::config_file::{load, variables_used};
use crate::environment::{KeyText, ProxyEndpoint, Recipe, TrustFiles, variables};
use crate::records::Sink;
use crate::settings::{config_file, data_folder, master_key};
use crate::trust::TrustAnchors;

/// Time for sockets of a child that has ended.
const DRAIN_IN: Duration = Duration::from_secs(1);
/// Exit codes of a command that could not be started, as shells give them.
const NOT_EXECUTABLE: i32 = 126;
const NOT_FOUND: i32 = 127;
/// Added to a signal's number, as shells do.
const SIGNALLED: i32 = 128;

/// Runs the program and returns the code to exit with: the program's own.
pub(crate) async fn run(place: &Place, arguments: &Run) -> Result<i32> {
    let deployment = DeploymentName::parse(&arguments.deployment)?;
    let borrowed = Borrowed::open(place, &deployment).await?;
    // Readable for a child of another user, gone with the child.
    let folder = tempfile::Builder::new().prefix("postern-run-").tempdir()?;
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let anchors = TrustAnchors::beside_system_roots(&borrowed.ca_pem)?;
    anchors.write_to(folder.path())?;
    let recipe = Recipe {
        proxy: ProxyEndpoint {
            host: borrowed.address.ip().to_string(),
            port: borrowed.address.port(),
            deployment: deployment.to_string(),
            key: KeyText::Unneeded,
        },
        java_proxy: None,
        trust: TrustFiles::in_folder(&folder.path().display().to_string()),
        no_proxy: Vec::new(),
        placeholders: Vec::new(),
    };
    let mut command = child(arguments, &borrowed.config)?;
    for variable in variables(&recipe)? {
        match variable.expose() {
            Some(value) => command.env(variable.name(), value),
            None => command.env_remove(variable.name()),
        };
    }
    let name = arguments.command.first().map(|name| name.display().to_string()).unwrap_or_default();
    // Listened to before the child exists, so that no signal in between ends us without it.
    let signals = Signals::listen()?;
    let code = match command.spawn() {
        Ok(child) => code(&signals.attend(child).await?),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("postern: {name}: not found");
            NOT_FOUND
        }
        Err(error) => {
            eprintln!("postern: {name}: {error}");
            NOT_EXECUTABLE
        }
    };
    borrowed.give_back().await;
    Ok(code)
}

/// A listener for the child: lent by the running process, or by a proxy inside this one.
struct Borrowed {
    address: SocketAddr,
    ca_pem: String,
    config: Arc<Config>,
    keeper: Keeper,
}

/// What keeps the listener open.
enum Keeper {
    Running { _lent: Lent },
    Here { own: PrivateListener, app: Arc<App>, writer: JoinHandle<()> },
}

impl Borrowed {
    async fn open(place: &Place, deployment: &DeploymentName) -> Result<Self> {
        match running(place).await? {
            Some(client) => Self::from_running(&client, deployment).await,
            None => Self::from_here(place, deployment),
        }
    }

    async fn from_running(client: &Client, deployment: &DeploymentName) -> Result<Self> {
        let file = PathBuf::from(client.status().await?.config.file);
        let loaded = load(&file)?;
        let lent = client.borrow_listener(deployment.as_str()).await?;
        Ok(Self {
            address: lent.address,
            ca_pem: client.ca_pem().await?,
            config: loaded.config.into(),
            keeper: Keeper::Running { _lent: lent },
        })
    }

    fn from_here(place: &Place, deployment: &DeploymentName) -> Result<Self> {
        let data = data_folder(place)?;
        let access_log = Sink::File(data.join("access.jsonl"));
        let settings = Settings {
            config: config_file(place)?,
            data,
            master_key: master_key(place),
            public_url: "http://127.0.0.1:3129".into(),
            access_log,
        };
        let (app, writer) = App::open(settings)?;
        tokio::spawn(Arc::clone(app.house()).keep());
        let own = app.lend(deployment).map_err(|error| anyhow!("{error}"))?;
        Ok(Self {
            address: own.address,
            ca_pem: app.ca_pem(),
            config: app.config(),
            keeper: Keeper::Here { own, app, writer },
        })
    }

    /// Closes the listener; the last access record is written when this returns.
    async fn give_back(self) {
        let Keeper::Here { own, app, writer } = self.keeper else { return };
        drop(own);
        app.house().drain(DRAIN_IN).await;
        app.recorder().close();
        let _ = tokio::task::spawn_blocking(move || writer.join()).await;
    }
}

fn child(arguments: &Run, config: &Config) -> Result<Command> {
    let [program, rest @ ..] = arguments.command.as_slice() else { bail!("name a program after --") };
    let mut command = Command::new(program);
    command.args(rest);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("POSTERN_") {
            command.env_remove(&name);
        }
    }
    for name in variables_used(config) {
        command.env_remove(name);
    }
    if let Some(user) = &arguments.user {
        let (uid, gid, home) = account(user)?;
        command.uid(uid).gid(gid).env("HOME", home).env("USER", user).env("LOGNAME", user);
    }
    Ok(command)
}

/// A user's ids and home, by name or number.
fn account(user: &str) -> Result<(u32, u32, String)> {
    let accounts = std::fs::read_to_string("/etc/passwd").context("/etc/passwd cannot be read")?;
    let found = accounts
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.len() >= 7 && (fields[0] == user || fields[2] == user));
    let Some(fields) = found else { bail!("there is no user \"{user}\"") };
    Ok((fields[2].parse()?, fields[3].parse()?, fields[5].to_owned()))
}

fn code(status: &ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| SIGNALLED + status.signal().unwrap_or_default())
}

/// Signals that are passed on to the child.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    fn listen() -> Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn attend(mut self, mut child: Child) -> Result<ExitStatus> {
        loop {
            let passed = tokio::select! {
                status = child.wait() => return Ok(status?),
                // The terminal sends this one to the child as well.
                _ = self.interrupt.recv() => None,
                _ = self.terminate.recv() => Some(rustix::process::Signal::TERM),
                _ = self.hangup.recv() => Some(rustix::process::Signal::HUP),
            };
            let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
            if let (Some(signal), Some(pid)) = (passed, pid) {
                let _ = rustix::process::kill_process(pid, signal);
            }
        }
    }
}
