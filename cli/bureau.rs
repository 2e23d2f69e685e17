//! How subcommands reach the store: through the running process where there is one, else directly. Both do the same.

use std::path::Path;

use admin::{Client, Desk, KeyRow, NewKey, SecretRow};
use anyhow::{Context, Result};
use model::DeploymentName;
use secrecy::{ExposeSecret, SecretString};

use crate::app::open_store;
use crate::arguments::Place;
use crate::settings::{data_folder, master_key};

/// The running process, or the store itself.
pub(crate) enum Bureau {
    Live(Client),
    Here(Desk),
}

/// The running process over this place's data folder, if there is one.
pub(crate) async fn running(place: &Place) -> Result<Option<Client>> {
    let data = data_folder(place)?;
    find(&data).await
}

async fn find(data: &Path) -> Result<Option<Client>> {
    Client::find(data).await.with_context(|| format!("the admin socket in {} cannot be used", data.display()))
}

impl Bureau {
    pub(crate) async fn open(place: &Place) -> Result<Self> {
        let data = data_folder(place)?;
        if let Some(client) = find(&data).await? {
            return Ok(Self::Live(client));
        }
        let (store, _) = open_store(&data, &master_key(place))?;
        Ok(Self::Here(Desk::new(store, None)))
    }

    pub(crate) async fn new_key(&self, deployment: &DeploymentName) -> Result<NewKey> {
        match self {
            Self::Live(client) => Ok(client.new_key(deployment.as_str()).await?),
            Self::Here(desk) => Ok(desk.new_key(deployment)?),
        }
    }

    pub(crate) async fn keys(&self, deployment: Option<&DeploymentName>) -> Result<Vec<KeyRow>> {
        match self {
            Self::Live(client) => Ok(client.keys(deployment.map(DeploymentName::as_str)).await?),
            Self::Here(desk) => Ok(desk.keys(deployment)?),
        }
    }

    pub(crate) async fn revoke_key(&self, deployment: &DeploymentName, id: &str) -> Result<()> {
        match self {
            Self::Live(client) => Ok(client.revoke_key(deployment.as_str(), id).await?),
            Self::Here(desk) => Ok(desk.revoke_key(deployment, id)?),
        }
    }

    pub(crate) async fn set_secret(&self, name: &str, value: &SecretString) -> Result<()> {
        match self {
            Self::Live(client) => Ok(client.set_secret(name, value.expose_secret()).await?),
            Self::Here(desk) => Ok(desk.set_secret(name, value)?),
        }
    }

    pub(crate) async fn secrets(&self) -> Result<Vec<SecretRow>> {
        match self {
            Self::Live(client) => Ok(client.secrets().await?),
            Self::Here(desk) => Ok(desk.secrets()?),
        }
    }

    pub(crate) async fn delete_secret(&self, name: &str) -> Result<()> {
        match self {
            Self::Live(client) => Ok(client.delete_secret(name).await?),
            Self::Here(desk) => Ok(desk.delete_secret(name)?),
        }
    }
}

/// The CA certificate, from the running process or the store.
pub(crate) async fn ca_pem(place: &Place) -> Result<String> {
    let data = data_folder(place)?;
    if let Some(client) = find(&data).await? {
        return Ok(client.ca_pem().await?);
    }
    let (_, root) = open_store(&data, &master_key(place))?;
    Ok(root.certificate_pem())
}
