//! `postern connect` and `disconnect`: begins the authorising of an account in the running process, says where to go, and
//! waits for the outcome.

use admin::{Client, ConnectionState, Outcome};
use anyhow::{Context, Result, bail};
use model::ConnectionName;

use crate::arguments::{Connect, Place};
use crate::bureau::running;
use crate::settings::data_folder;

pub(crate) async fn connect(place: &Place, arguments: &Connect) -> Result<()> {
    let client = process(place).await?;
    let names = match &arguments.name {
        Some(name) => vec![ConnectionName::parse(name)?.to_string()],
        None => unconnected(&client).await?,
    };
    if names.is_empty() {
        eprintln!("Every connection is connected.");
    }
    let mut failed = 0;
    for name in &names {
        if let Err(error) = one(&client, name, arguments.device).await {
            eprintln!("{name}: {error:#}");
            failed += 1;
        }
    }
    if failed > 0 {
        bail!("{failed} of {} connections were not connected", names.len());
    }
    Ok(())
}

pub(crate) async fn disconnect(place: &Place, name: &str) -> Result<()> {
    let name = ConnectionName::parse(name)?;
    let done = process(place).await?.disconnect(name.as_str()).await?;
    eprintln!("Connection \"{name}\" is disconnected: its tokens are deleted here. Revocation: {}.", done.revocation);
    Ok(())
}

async fn process(place: &Place) -> Result<Client> {
    let data = data_folder(place)?;
    running(place)
        .await?
        .with_context(|| format!("no postern is running over {}; start one with: postern serve", data.display()))
}

/// Those that wait for somebody.
async fn unconnected(client: &Client) -> Result<Vec<String>> {
    let waits = |state| matches!(state, ConnectionState::Available | ConnectionState::NeedsReauth);
    let rows = client.status().await?.connections.into_iter();
    Ok(rows.filter(|row| waits(row.state)).map(|row| row.id).collect())
}

async fn one(client: &Client, name: &str, device: bool) -> Result<()> {
    let ticket = client.invite(name, device).await?;
    match (&ticket.user_code, &ticket.verification_url) {
        (Some(code), Some(url)) => eprintln!("{name}: open {url} and type the code {code}"),
        _ => eprintln!("{name}: open this link in a browser. It works once, and for ten minutes."),
    }
    println!("{}", ticket.url);
    eprintln!("Waiting ...");
    loop {
        match client.outcome(&ticket.id).await? {
            Outcome::Pending => {}
            Outcome::Connected { account } => {
                let whose = account.map(|account| format!(" as {account}")).unwrap_or_default();
                eprintln!("{name} is connected{whose}.");
                return Ok(());
            }
            Outcome::Failed { problem } => bail!("not connected: {problem}"),
        }
    }
}
