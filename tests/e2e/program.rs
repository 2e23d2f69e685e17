//! The program's other commands, run to their end beside a serving process or alone, with the environment and the input
//! that a test chooses. It adds no argument that a test did not ask for, but the place.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use support::Postern;

use crate::scene::PROGRAM;

/// One command that is being described.
pub(crate) struct Program {
    command: Command,
    input: Option<String>,
}

/// A command over the configuration and data of a running process.
pub(crate) fn beside(postern: &Postern, arguments: &[&str]) -> Program {
    over(&postern.config_path(), &postern.data(), arguments)
}

/// A command over this configuration and data folder.
pub(crate) fn over(config: &Path, data: &Path, arguments: &[&str]) -> Program {
    let place = [OsString::from("--config"), config.into(), "--data".into(), data.into()];
    // Behind `--` everything is the child's.
    let end = arguments.iter().position(|argument| *argument == "--").unwrap_or(arguments.len());
    let mut program = alone(&arguments[..end]);
    program.command.args(place).args(&arguments[end..]);
    program
}

/// A command without a place.
pub(crate) fn alone(arguments: &[&str]) -> Program {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).env_clear();
    for name in ["PATH", "LLVM_PROFILE_FILE"] {
        command.envs(std::env::var_os(name).map(|value| (name, value)));
    }
    Program { command, input: None }
}

impl Program {
    pub(crate) fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.command.env(name, value.into());
        self
    }

    pub(crate) fn input(mut self, text: &str) -> Self {
        self.input = Some(text.to_owned());
        self
    }

    pub(crate) fn folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.command.current_dir(folder.into());
        self
    }

    /// The command itself, for a test that watches it.
    pub(crate) fn into_command(self) -> Command {
        self.command
    }

    /// Runs it to its end.
    pub(crate) fn run(mut self) -> Ended {
        let mut child = self
            .command
            .stdin(if self.input.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        if let Some(text) = self.input {
            // A command that refuses its arguments reads nothing.
            let _ = child.stdin.take().expect("it is piped").write_all(text.as_bytes());
        }
        Ended(child.wait_with_output().expect("the child is ours"))
    }
}

/// How a command ended.
pub(crate) struct Ended(Output);

impl Ended {
    pub(crate) fn code(&self) -> Option<i32> {
        self.0.status.code()
    }

    pub(crate) fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.0.stdout).into_owned()
    }

    pub(crate) fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.0.stderr).into_owned()
    }

    /// Its standard output, once it has succeeded.
    #[track_caller]
    pub(crate) fn answer(&self) -> String {
        assert_eq!(self.code(), Some(0), "{}{}", self.stdout(), self.stderr());
        self.stdout()
    }

    /// Its standard output as JSON, once it has succeeded.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        let answer = self.answer();
        serde_json::from_str(&answer).unwrap_or_else(|_| panic!("no JSON: {answer}"))
    }

    /// What it said on standard error, once it has failed with this code.
    #[track_caller]
    pub(crate) fn failed(&self, code: i32) -> String {
        assert_eq!(self.code(), Some(code), "{}{}", self.stdout(), self.stderr());
        self.stderr()
    }
}
