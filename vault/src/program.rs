//! A token that a program of the operator's prints. It runs without a shell, with none of postern's environment but what
//! is allowed by name, and for no longer than it may.

use std::process::Stdio;

use model::config::Exec;
use tokio::io::AsyncReadExt;
use tokio::process::Command;

use crate::grants::failed;
use crate::oauth::{Answer, AnswerHints, TokenFailure, TokenOutcome};

/// The most that is read of what the program prints, in bytes.
const OUTPUT_BYTES_MAX: u64 = 64 * 1024;

/// Runs the program and reads the token that it prints.
pub(crate) async fn ask(exec: &Exec, now: i64) -> TokenOutcome {
    match tokio::time::timeout(exec.answer_in, output(exec)).await {
        Ok(Ok(body)) => {
            let answer = Answer { status: 200, content_type: Some("application/json"), retry_after: None, body: &body };
            answer.read(now, &AnswerHints::default(), &[])
        }
        Ok(Err(problem)) => failed(TokenFailure::Unusable(problem)),
        Err(_) => failed(TokenFailure::Unusable("did not come in time: the program was ended".into())),
    }
}

async fn output(exec: &Exec) -> Result<Vec<u8>, String> {
    let [program, arguments @ ..] = exec.command.as_slice() else { return Err("needs a program".into()) };
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    for name in &exec.environment {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    let mut child = command.spawn().map_err(|error| format!("did not come: {program} cannot be run ({error})"))?;
    let mut body = Vec::new();
    if let Some(printed) = child.stdout.take() {
        printed.take(OUTPUT_BYTES_MAX).read_to_end(&mut body).await.map_err(|error| format!("broke off: {error}"))?;
    }
    let status = child.wait().await.map_err(|error| format!("broke off: {error}"))?;
    if status.success() { Ok(body) } else { Err(format!("did not come: {program} ended with {status}")) }
}
