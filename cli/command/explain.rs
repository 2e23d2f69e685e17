//! `postern explain`: which binding a request would use and why the others would not. It makes no request and knows no
//! secret.

use anyhow::{Context, Result, bail};
use model::config::{Auth, Presentation};
use model::{Ask, Authority, Binding, DeploymentName, Destination, Grant, Refusal, Route, Scheme};
use serde_json::json;

use super::print_json;
use crate::arguments::{Explain, Place};
use crate::bureau::running;
use crate::config_file::load;
use crate::settings::config_file;

pub(crate) async fn explain(place: &Place, arguments: &Explain) -> Result<()> {
    let file = config_file(place)?;
    let config = load(&file)?.config;
    let deployment = DeploymentName::parse(&arguments.deployment)?;
    if !config.deployments.contains_key(&deployment) {
        let known: Vec<&str> = config.deployments.keys().map(DeploymentName::as_str).collect();
        bail!("{} has no deployment \"{deployment}\"; it has: {}", file.display(), known.join(", "));
    }
    let (destination, path) = parse(&arguments.url)?;
    let candidates: Vec<&Binding> = config
        .policy
        .bindings()
        .iter()
        .map(AsRef::as_ref)
        .filter(|binding| {
            binding.deployment == deployment && binding.hosts.iter().any(|host| host.matches(&destination))
        })
        .collect();
    let ask = Ask { method: &arguments.method, path: &path, connection: arguments.connection.as_deref() };
    let verdict = match config.policy.route(&deployment, &destination.authority) {
        Route::Tunnel => Verdict::Tunnel,
        Route::Intercept { .. } => {
            match config.policy.bind(&deployment, destination.clone()).and_then(|bound| bound.authorize(&ask)) {
                Ok(grant) => Verdict::Granted(grant),
                Err(refusal) => Verdict::Refused(refusal),
            }
        }
    };
    let state = match &verdict {
        Verdict::Granted(grant) => state_of(place, grant.binding().connection.name.as_str()).await,
        _ => None,
    };
    if arguments.output.json {
        return print_json(&as_json(&verdict, &destination, &path, &candidates, state));
    }
    print(&verdict, &destination, &path, &candidates, state, arguments);
    Ok(())
}

enum Verdict {
    Granted(Grant),
    Tunnel,
    Refused(Refusal),
}

fn parse(url: &str) -> Result<(Destination, String)> {
    let (scheme, rest) = url
        .split_once("://")
        .with_context(|| format!("\"{url}\" is no URL: write it as in https://api.notion.com/v1/users"))?;
    let scheme = match scheme {
        "https" => Scheme::Https,
        "http" => Scheme::Http,
        _ => bail!("\"{url}\": the scheme is https or http"),
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at(end);
    let authority =
        Authority::parse_with_default(authority, scheme.default_port()).with_context(|| format!("\"{url}\""))?;
    let path = target.split(['?', '#']).next().unwrap_or("");
    let path = if path.is_empty() { "/" } else { path };
    Ok((Destination { scheme, authority }, path.to_owned()))
}

/// Whether the running process has the credential; `None` when nothing runs.
async fn state_of(place: &Place, connection: &str) -> Option<String> {
    let status = running(place).await.ok()??.status().await.ok()?;
    let row = status.connections.into_iter().find(|row| row.id == connection)?;
    Some(row.problem.unwrap_or_else(|| "its credential is at hand".into()))
}

fn as_json(
    verdict: &Verdict,
    destination: &Destination,
    path: &str,
    candidates: &[&Binding],
    state: Option<String>,
) -> serde_json::Value {
    let rows: Vec<_> = candidates
        .iter()
        .map(|binding| json!({"id": binding.id, "connection": binding.connection.name.as_str(), "hosts": texts(&binding.hosts), "paths": texts(&binding.paths), "methods": binding.methods}))
        .collect();
    let (decision, grant, error) = match verdict {
        Verdict::Granted(grant) => ("inject", Some(grant), None),
        Verdict::Tunnel => ("tunnel", None, None),
        Verdict::Refused(refusal) => {
            let told = json!({"error": refusal.code(), "status": refusal.status(), "message": refusal.message()});
            ("refuse", None, Some(told))
        }
    };
    let binding = grant.map(Grant::binding);
    json!({"decision": decision, "host": destination.host_text(), "path": path,
           "binding": binding.map(|binding| &binding.id),
           "connection": binding.map(|binding| binding.connection.name.as_str()),
           "injects": grant.map(injected), "credential": state, "refusal": error, "candidates": rows})
}

/// What would be put on the request, without its value.
fn injected(grant: &Grant) -> String {
    let connection = &grant.binding().connection;
    match &connection.auth {
        Auth::Basic { .. } => "authorization: Basic ***".into(),
        Auth::Header { headers, .. } => headers
            .iter()
            .map(|header| format!("{}: ***", header.name.to_ascii_lowercase()))
            .collect::<Vec<_>>()
            .join(", "),
        Auth::Query { name, .. } => format!("?{name}=***"),
        Auth::AwsSigv4(_) => "a signature".into(),
        _ => match connection.presentation(grant.destination()) {
            Presentation::Bearer => "authorization: Bearer ***".into(),
            Presentation::Basic { .. } => "authorization: Basic ***".into(),
            Presentation::Header { name, scheme: None } => format!("{}: ***", name.to_ascii_lowercase()),
            Presentation::Header { name, scheme: Some(scheme) } => {
                format!("{}: {scheme} ***", name.to_ascii_lowercase())
            }
        },
    }
}

fn print(
    verdict: &Verdict,
    destination: &Destination,
    path: &str,
    candidates: &[&Binding],
    state: Option<String>,
    arguments: &Explain,
) {
    println!(
        "{} {}://{}{path} as \"{}\"",
        arguments.method,
        destination.scheme.as_str(),
        destination.host_text(),
        arguments.deployment
    );
    match verdict {
        Verdict::Granted(grant) => {
            println!("  allowed by binding {}", grant.binding().id);
            println!("  injects    {}  (connection \"{}\")", injected(grant), grant.binding().connection.name);
            println!("  credential {}", state.as_deref().unwrap_or("unknown: postern is not running here"));
        }
        Verdict::Tunnel => println!("  relayed untouched: no interception, no credential"),
        Verdict::Refused(refusal) => {
            println!("  refused    {} {}", refusal.status(), refusal.code());
            println!("  because    {}", refusal.message());
        }
    }
    if candidates.is_empty() {
        println!("  no binding of this deployment covers that host");
        return;
    }
    println!("  bindings at this host:");
    for binding in candidates {
        let limits = [("paths", texts(&binding.paths)), ("methods", binding.methods.clone())];
        let limits: Vec<String> = limits
            .iter()
            .filter(|(_, values)| !values.is_empty())
            .map(|(name, values)| format!(", {name} {}", values.join(" ")))
            .collect();
        println!("    {}: {}{}", binding.id, texts(&binding.hosts).join(" "), limits.concat());
    }
}

fn texts(values: &[impl ToString]) -> Vec<String> {
    values.iter().map(ToString::to_string).collect()
}
