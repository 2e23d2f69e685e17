//! The process of the binary under test and its one-shot commands, with nothing of the outer environment. It ends what
//! it started, and looks at nothing that was said.

use std::io::Read;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rustix::process::{Pid, Signal, kill_process};

use crate::deadline::eventually;
use crate::postern::Failed;
use crate::settings::Settings;

/// A running `postern serve`, and all it has written so far.
pub(crate) struct Process {
    pub(crate) child: Child,
    stdout: Arc<Mutex<Vec<u8>>>,
    pub(crate) stderr: Arc<Mutex<Vec<u8>>>,
    readers: Vec<JoinHandle<()>>,
}

impl Process {
    pub(crate) async fn serve(settings: &Settings) -> Result<(Self, [SocketAddr; 2]), Failed> {
        let mut child = command(settings, &["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
            .args(&settings.arguments)
            // The canary reads along: not even the most talkative log may hold a secret.
            .env("POSTERN_LOG", "trace")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let (stdout, stderr) = (Arc::default(), Arc::default());
        let readers = vec![
            collect(child.stdout.take().expect("standard output is piped"), Arc::clone(&stdout)),
            collect(child.stderr.take().expect("standard error is piped"), Arc::clone(&stderr)),
        ];
        let mut process = Self { child, stdout, stderr, readers };
        let ready = eventually("postern to be ready", || process.ready_or_ended()).await;
        match ready {
            Ok(addresses) => Ok((process, addresses)),
            Err(status) => {
                process.end();
                let stderr = String::from_utf8_lossy(&process.stderr.lock().unwrap()).into_owned();
                Err(Failed { status, stderr })
            }
        }
    }

    fn ready_or_ended(&mut self) -> Option<Result<[SocketAddr; 2], ExitStatus>> {
        if let Some(addresses) = ready_line(&String::from_utf8_lossy(&self.stdout.lock().unwrap())) {
            return Some(Ok(addresses));
        }
        self.child.try_wait().expect("the child is ours").map(Err)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("the process runs");
    }

    /// Kills the process where it still runs, and waits for all that it wrote.
    pub(crate) fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
    }

    pub(crate) fn output(&self) -> Vec<u8> {
        [self.stdout.lock().unwrap().as_slice(), self.stderr.lock().unwrap().as_slice()].join(&b'\n')
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// The addresses of `ready proxy=ADDR admin=ADDR`.
fn ready_line(stdout: &str) -> Option<[SocketAddr; 2]> {
    let line = stdout.strip_prefix("ready ")?.split_once('\n')?.0;
    let (proxy, admin) = line.split_once(' ')?;
    Some([proxy.strip_prefix("proxy=")?.parse().ok()?, admin.strip_prefix("admin=")?.parse().ok()?])
}

fn collect(mut stream: impl Read + Send + 'static, into: Arc<Mutex<Vec<u8>>>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut block = [0; 16 * 1024];
        while let Ok(length @ 1..) = stream.read(&mut block) {
            into.lock().unwrap().extend_from_slice(&block[..length]);
        }
    })
}

/// The file given with `--config`.
pub(crate) fn config_path(settings: &Settings) -> PathBuf {
    settings.folder.path().join("bindings.yaml")
}

/// The folder given with `--data`.
pub(crate) fn data_path(settings: &Settings) -> PathBuf {
    settings.folder.path().join("data")
}

/// A command with nothing of the outer environment but what finds programs and collects coverage.
fn command(settings: &Settings, arguments: &[&str]) -> Command {
    let mut command = Command::new(&settings.program);
    command.args(arguments).arg("--config").arg(config_path(settings)).arg("--data").arg(data_path(settings));
    command.env_clear();
    for name in ["PATH", "LLVM_PROFILE_FILE"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command.env("HOME", settings.folder.path()).envs(&settings.environment);
    command
}

/// Runs a command to its end.
pub(crate) fn run(settings: &Settings, arguments: &[&str]) -> Output {
    command(settings, arguments).stdin(Stdio::null()).output().expect("the program starts")
}
