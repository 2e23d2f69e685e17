//! `postern integrations`: the providers that are known without being described in the bindings file.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use model::catalogue::{self, Kind, Provider};
use model::config::Integration;
use serde_json::{Value, json};

use super::{print_json, print_table};
use crate::arguments::Integrations;

pub(crate) fn integrations(command: &Integrations) -> Result<()> {
    match command {
        Integrations::List(output) => {
            if output.json {
                return print_json(&catalogue::all().iter().map(row).collect::<Vec<_>>());
            }
            let cells =
                |provider: &Provider| vec![provider.id.to_string(), provider.title.clone(), kind(provider.kind).into()];
            print_table(
                &["INTEGRATION", "PROVIDER", "AUTH TYPE"],
                &catalogue::all().iter().map(cells).collect::<Vec<_>>(),
            );
            Ok(())
        }
        Integrations::Show { name, output } => {
            let Some(provider) = catalogue::find(name) else {
                bail!("there is no built-in integration \"{name}\"; `postern integrations list` shows them all");
            };
            let shown = detail(provider);
            if output.json {
                return print_json(&shown);
            }
            for (key, value) in shown.as_object().into_iter().flatten() {
                match value {
                    Value::Null => {}
                    Value::String(text) => println!("{key:<26} {text}"),
                    other => println!("{key:<26} {other}"),
                }
            }
            Ok(())
        }
    }
}

fn row(provider: &Provider) -> Value {
    json!({"id": provider.id.as_str(), "title": provider.title, "auth_type": kind(provider.kind)})
}

/// The provider with the examples of its context filled in.
fn detail(provider: &Provider) -> Value {
    let context: BTreeMap<String, String> =
        provider.context.iter().map(|(name, variable)| (name.clone(), variable.example.clone())).collect();
    let mut shown = row(provider);
    shown["context"] = json!(context);
    shown["note"] = json!(provider.note);
    if let Ok(integration) = provider.integration(&context) {
        add(&mut shown, &integration);
    }
    shown
}

fn add(shown: &mut Value, integration: &Integration) {
    shown["hosts"] = json!(integration.hosts.iter().map(ToString::to_string).collect::<Vec<_>>());
    shown["authorization_url"] = json!(integration.authorization_url);
    shown["token_url"] = json!(integration.token_url);
    shown["device_authorization_url"] = json!(integration.device_authorization_url);
    shown["revocation_url"] = json!(integration.revocation.as_ref().map(|revocation| &revocation.url));
    shown["scopes"] = json!(integration.scopes);
    shown["token_variables"] = json!(integration.token_variables);
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Oauth => "authorization_code",
        Kind::ApiKey => "bearer",
        Kind::GoogleServiceAccount => "google_service_account",
        Kind::GithubApp => "github_app",
        Kind::AwsSigv4 => "aws_sigv4",
    }
}
