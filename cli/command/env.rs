//! `postern env`: the variables that send a container's traffic through postern, and the CA files that they point to.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail};
use model::{Authority, DeploymentName};
use secrecy::SecretString;

use crate::arguments::{Env, Place};
use crate::bureau::{Bureau, ca_pem, running};
use crate::config_file::load;
use crate::environment::{JavaEndpoint, KeyText, ProxyEndpoint, Recipe, TrustFiles, render, variables};
use crate::settings::{config_file, data_folder};
use crate::trust::TrustAnchors;

/// Where the proxy listens unless told otherwise.
const DEFAULT_PROXY: &str = "127.0.0.1:3128";

pub(crate) async fn env(place: &Place, arguments: &Env) -> Result<()> {
    let file = config_file(place)?;
    let config = load(&file)?.config;
    let name = DeploymentName::parse(&arguments.deployment)?;
    let Some(deployment) = config.deployments.get(&name) else {
        bail!("{} has no deployment \"{name}\"", file.display());
    };
    let proxy = proxy_address(place, arguments).await?;
    let folder = std::path::absolute(data_folder(place)?.join("trust"))?;
    let anchors = TrustAnchors::beside_system_roots(&ca_pem(place).await?)?;
    for warning in anchors.warnings() {
        eprintln!("warning: {warning}");
    }
    anchors.write_to(&folder)?;
    let shown = arguments.trust_dir.clone().unwrap_or_else(|| folder.display().to_string());
    let key = if arguments.new_key {
        KeyText::Given(SecretString::from(Bureau::open(place).await?.new_key(&name).await?.key))
    } else {
        eprintln!("The text refers to $POSTERN_KEY: set it to a key of \"{name}\", or use --new-key.");
        KeyText::Reference
    };
    let recipe = Recipe {
        proxy: ProxyEndpoint { host: proxy.host().to_string(), port: proxy.port(), deployment: name.to_string(), key },
        java_proxy: deployment.listen.first().map(|own| java_endpoint(own, &proxy)),
        trust: TrustFiles::in_folder(&shown),
        no_proxy: Vec::new(),
        placeholders: Vec::new(),
    };
    print!("{}", render(arguments.format, &variables(&recipe)?)?);
    Ok(())
}

/// Java reaches the deployment's own listener, on the proxy's host where it listens everywhere.
fn java_endpoint(own: &SocketAddr, proxy: &Authority) -> JavaEndpoint {
    let host = if own.ip().is_unspecified() { proxy.host().to_string() } else { own.ip().to_string() };
    JavaEndpoint { host, port: own.port() }
}

async fn proxy_address(place: &Place, arguments: &Env) -> Result<Authority> {
    let text = match &arguments.proxy {
        Some(text) => text.trim_start_matches("http://").trim_end_matches('/').to_owned(),
        None => match running(place).await? {
            Some(client) => client.status().await?.proxy,
            None => DEFAULT_PROXY.to_owned(),
        },
    };
    let listens_everywhere = text.parse::<SocketAddr>().is_ok_and(|address| address.ip().is_unspecified());
    if listens_everywhere {
        bail!("the proxy listens on every address ({text}): say with --proxy HOST:PORT how the container reaches it");
    }
    Authority::parse(&text).with_context(|| format!("--proxy \"{text}\": write HOST:PORT"))
}
