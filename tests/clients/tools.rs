//! The programs that the clients' tests drive. It refuses to skip: what is missing fails the test and says which
//! package brings it.

use std::path::PathBuf;
use std::process::Command;

/// Finds a program, in the administrator's folders too.
#[track_caller]
pub(crate) fn tool(name: &str, package: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = std::env::split_paths(&path).chain(["/usr/sbin".into()]);
    let found = folders.find_map(|folder| Some(folder.join(name)).filter(|program| program.is_file()));
    found.unwrap_or_else(|| {
        panic!("{name} is missing: install the Debian package {package}, or run scripts/test as root")
    })
}

/// Python with the libraries of `requirements.txt`.
#[track_caller]
pub(crate) fn python() -> PathBuf {
    made_by_scripts_test(".test/venv/bin/python")
}

/// The Node.js that `package.json` pins, beside the libraries it pins.
#[track_caller]
pub(crate) fn node() -> PathBuf {
    let machine = if cfg!(target_arch = "aarch64") { "arm64" } else { "x64" };
    made_by_scripts_test(&format!("tests/clients/node_modules/node-linux-{machine}/bin/node"))
}

/// A client's source beside this file.
pub(crate) fn source(name: &str) -> PathBuf {
    in_project(&format!("tests/clients/{name}"))
}

/// Runs a command that must succeed.
#[track_caller]
pub(crate) fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?} failed: {}", String::from_utf8_lossy(&output.stderr));
}

#[track_caller]
fn made_by_scripts_test(path: &str) -> PathBuf {
    let program = in_project(path);
    assert!(program.exists(), "{path} is missing: run scripts/test once, which installs it");
    program
}

fn in_project(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}
