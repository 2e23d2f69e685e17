//! postern: a transparent credential-injecting forward proxy. This file is the process's life story: harden, read the
//! command line, do what it says, end with a code.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod app;
mod arguments;
mod bureau;
mod command;
mod config_file;
mod environment;
mod harden;
mod records;
mod serve;
mod settings;
mod trust;
mod watch;

use std::io::IsTerminal;
use std::process::ExitCode;

use anyhow::{Result, anyhow};
use clap::Parser;
use tracing_subscriber::EnvFilter;

use arguments::{Arguments, Command, Deployment};

fn main() -> ExitCode {
    harden::harden();
    let arguments = Arguments::parse();
    tell(matches!(arguments.command, Command::Serve(_)));
    match start(arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("postern: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Talk goes to standard error: all of it while serving, only warnings from the other commands.
fn tell(serving: bool) {
    let default = if serving { "info" } else { "warn" };
    let named = EnvFilter::try_from_env("POSTERN_LOG").or_else(|_| EnvFilter::try_from_default_env());
    let filter = named.unwrap_or_else(|_| EnvFilter::new(default));
    let talk = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    talk.with_ansi(std::io::stderr().is_terminal()).init();
}

fn start(arguments: Arguments) -> Result<ExitCode> {
    // One cryptography for everything; a second one linked in by accident fails here and not in the middle of a day.
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| anyhow!("another TLS provider is installed already"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let code = runtime.block_on(run(arguments));
    runtime.shutdown_background();
    code
}

async fn run(arguments: Arguments) -> Result<ExitCode> {
    let place = &arguments.place;
    match &arguments.command {
        Command::Serve(serve) => serve::serve(place, serve).await?,
        Command::Check(check) => command::check::check(place, check)?,
        Command::Explain(explain) => command::explain::explain(place, explain).await?,
        Command::Status(output) => command::status::status(place, output).await?,
        Command::Connect(connect) => command::connect::connect(place, connect).await?,
        Command::Disconnect { name } => command::connect::disconnect(place, name).await?,
        Command::Deployment { command: Deployment::Key { command } } => command::key::key(place, command).await?,
        Command::Secret { command } => command::secret::secret(place, command).await?,
        Command::Ca { command } => command::ca::ca(place, command).await?,
        Command::Env(env) => command::env::env(place, env).await?,
        Command::Run(run) => {
            let code = command::run::run(place, run).await?;
            return Ok(ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)));
        }
        Command::Integrations { command } => command::integrations::integrations(command)?,
        Command::Demo => command::demo::demo().await?,
        Command::Schema => command::manual::schema()?,
        Command::Completions { shell } => command::manual::completions(*shell),
        Command::Man { folder } => command::manual::man(folder.as_deref())?,
    }
    Ok(ExitCode::SUCCESS)
}
