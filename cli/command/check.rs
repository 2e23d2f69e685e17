//! `postern check`: everything that is wrong with a bindings file, secrets that cannot be read included. No network.

use anyhow::{Result, bail};
use model::Config;
use model::config::Auth;
use model::file::Diagnostics;
use serde_json::{Value, json};
use vault::Sources;

use super::print_json;
use crate::arguments::{Check, Place};
use crate::config_file::{ConfigError, load};
use crate::settings::config_file;

pub(crate) fn check(place: &Place, arguments: &Check) -> Result<()> {
    let file = match &arguments.file {
        Some(file) => file.clone(),
        None => config_file(place)?,
    };
    let loaded = match load(&file) {
        Ok(loaded) => loaded,
        Err(ConfigError::Invalid(diagnostics)) => {
            if arguments.output.json {
                print_json(&json!({"file": file, "valid": false, "diagnostics": rows(&diagnostics), "secrets": []}))?;
            } else {
                eprintln!("{diagnostics}");
            }
            bail!("{} is not valid", file.display());
        }
        Err(error) => return Err(error.into()),
    };
    let secrets = unreadable_secrets(&loaded.config);
    let spotless = loaded.warnings.is_empty() && secrets.is_empty();
    if arguments.output.json {
        let secrets: Vec<_> = secrets.iter().map(|(id, problem)| json!({"id": id, "problem": problem})).collect();
        print_json(&json!({
            "file": file, "valid": true, "diagnostics": rows(&loaded.warnings), "secrets": secrets,
            "connections": loaded.config.connections.len(), "deployments": loaded.config.deployments.len(),
            "bindings": loaded.config.policy.bindings().len(),
        }))?;
    } else {
        if !loaded.warnings.is_empty() {
            eprintln!("{}", loaded.warnings);
        }
        for (connection, problem) in &secrets {
            eprintln!("warning: connection \"{connection}\" would have no credential: {problem}");
        }
        println!(
            "{}: valid; {} connections, {} deployments, {} bindings",
            file.display(),
            loaded.config.connections.len(),
            loaded.config.deployments.len(),
            loaded.config.policy.bindings().len()
        );
    }
    if arguments.strict && !spotless {
        bail!("--strict: the warnings above count as errors");
    }
    Ok(())
}

fn rows(diagnostics: &Diagnostics) -> Value {
    diagnostics.to_json()["diagnostics"].take()
}

/// Sealed secrets are not looked up: the store may be another machine's, or in use.
fn unreadable_secrets(config: &Config) -> Vec<(String, String)> {
    let sources = Sources {
        environment: &|name| std::env::var(name).ok(),
        sealed: &|_| Ok(Some(secrecy::SecretString::from("assumed"))),
    };
    let problems = config.connections.values().flat_map(|connection| {
        let unreadable = connection.auth.secret_sources().into_iter().filter_map(|source| sources.read(source).err());
        let unsupported = matches!(connection.auth, Auth::AwsSigv4(_))
            .then(|| "auth type \"aws_sigv4\" is not supported by this version yet".to_owned());
        let problems = unreadable.map(|error| error.to_string()).chain(unsupported);
        problems.map(|problem| (connection.name.to_string(), problem))
    });
    problems.collect()
}
