//! The operations that operators ask for, over the store and the running process. The admin socket and the subcommands
//! (when nothing is running) both come here; what it changes takes effect at once.

use std::net::SocketAddr;
use std::sync::Arc;

use jiff::Timestamp;
use model::config::{Auth, Connection, OauthGrant};
use model::{ConnectionName, DeploymentName};
use secrecy::{ExposeSecret, SecretString};
use vault::{Broker, Store};

use crate::connecting::{Connecting, FlowError};
use crate::wire::{Disconnected, KeyRow, NewKey, SecretRow, Status, Ticket};

/// Why an operation failed.
#[derive(Debug, thiserror::Error)]
pub enum DeskError {
    /// The request itself is no use.
    #[error("{0}")]
    Refused(String),
    /// What it names is not there.
    #[error("{0}")]
    NotFound(String),
    /// The store failed.
    #[error("the store failed: {0}")]
    Store(String),
}

/// What the running process can be asked to do.
pub trait Controls: Send + Sync {
    /// How it is.
    fn status(&self) -> Status;
    /// Takes up changed keys and secrets.
    fn refresh(&self);
    /// Writes down when keys were last used, before they are listed.
    fn settle_key_uses(&self);
    /// Opens a loopback listener whose callers are this deployment, until the returned value is dropped.
    ///
    /// # Errors
    /// In words, when the deployment is unknown or no port can be had.
    fn lend(&self, deployment: &DeploymentName) -> Result<PrivateListener, String>;
    /// The CA certificate that agents must trust, as PEM.
    fn ca_pem(&self) -> String;
    /// A connection of the configuration in force.
    fn connection(&self, name: &ConnectionName) -> Option<Arc<Connection>>;
    /// Hands out credentials and authorises accounts.
    fn broker(&self) -> &Arc<Broker>;
    /// Where a browser reaches the admin listener, without a trailing slash.
    fn public_url(&self) -> &str;
}

/// A listener lent to one child process; it closes, with every socket on it, when dropped.
pub struct PrivateListener {
    /// Where it listens.
    pub address: SocketAddr,
    /// Closes it.
    pub guard: Box<dyn Send + Sync>,
}

/// Serves operators.
#[derive(Clone)]
pub struct Desk {
    store: Store,
    controls: Option<Arc<dyn Controls>>,
    connecting: Arc<Connecting>,
}

impl Desk {
    /// A desk over the store alone (nothing is running), or with the running process.
    #[must_use]
    pub fn new(store: Store, controls: Option<Arc<dyn Controls>>) -> Self {
        Self { store, controls, connecting: Arc::default() }
    }

    pub(crate) fn connecting(&self) -> &Arc<Connecting> {
        &self.connecting
    }

    /// Begins to authorise an account, in a browser or on a device.
    ///
    /// # Errors
    /// [`DeskError`] in words.
    pub(crate) async fn invite(&self, name: &ConnectionName, device: bool) -> Result<Ticket, DeskError> {
        let (controls, connection) = self.running(name)?;
        let refused = |error: FlowError| DeskError::Refused(error.to_string());
        if device || is_for_devices(&connection) {
            return self.connecting.on_device(&connection, controls.broker()).await.map_err(refused);
        }
        // Found out now, rather than by whoever follows the link.
        controls
            .broker()
            .begin(&connection, "https://postern.invalid/")
            .map_err(|error| DeskError::Refused(error.to_string()))?;
        self.connecting.invite(name, controls.public_url()).map_err(refused)
    }

    /// Ends an account; says what the provider answered.
    ///
    /// # Errors
    /// [`DeskError`] in words.
    pub(crate) async fn disconnect(&self, name: &ConnectionName) -> Result<Disconnected, DeskError> {
        let (controls, connection) = self.running(name)?;
        let revocation =
            controls.broker().disconnect(&connection).await.map_err(|error| DeskError::Store(error.to_string()))?;
        Ok(Disconnected { revocation })
    }

    fn running(&self, name: &ConnectionName) -> Result<(&Arc<dyn Controls>, Arc<Connection>), DeskError> {
        let controls = self.controls.as_ref().ok_or_else(|| DeskError::NotFound("nothing is running".into()))?;
        let connection = controls.connection(name);
        let connection = connection.ok_or_else(|| DeskError::NotFound(format!("there is no connection \"{name}\"")))?;
        Ok((controls, connection))
    }

    pub(crate) fn controls(&self) -> Option<&Arc<dyn Controls>> {
        self.controls.as_ref()
    }

    /// Makes a key for a deployment.
    ///
    /// # Errors
    /// [`DeskError::Store`] when it cannot be kept: then it is not valid either.
    pub fn new_key(&self, deployment: &DeploymentName) -> Result<NewKey, DeskError> {
        let (issued, key) = self.store.issue_key(deployment.as_str(), now()).map_err(failed)?;
        self.refresh();
        Ok(NewKey {
            id: issued.id,
            deployment: issued.deployment,
            key: key.expose_secret().to_owned(),
            created_at: text(issued.created_at),
        })
    }

    /// The keys of one deployment, or of all.
    ///
    /// # Errors
    /// [`DeskError::Store`].
    pub fn keys(&self, deployment: Option<&DeploymentName>) -> Result<Vec<KeyRow>, DeskError> {
        if let Some(controls) = &self.controls {
            controls.settle_key_uses();
        }
        let listing = self.store.keys().map_err(failed)?;
        let wanted =
            listing.found.into_iter().filter(|key| deployment.is_none_or(|name| name.as_str() == key.deployment));
        let mut rows: Vec<KeyRow> = wanted
            .map(|key| KeyRow {
                id: key.id,
                deployment: key.deployment,
                created_at: text(key.created_at),
                last_used_at: key.last_used_at.map(text),
            })
            .collect();
        rows.sort_by(|a, b| (&a.deployment, &a.created_at, &a.id).cmp(&(&b.deployment, &b.created_at, &b.id)));
        Ok(rows)
    }

    /// Revokes a key: open tunnels that used it are cut.
    ///
    /// # Errors
    /// [`DeskError::NotFound`] when the deployment has no such key.
    pub fn revoke_key(&self, deployment: &DeploymentName, id: &str) -> Result<(), DeskError> {
        if !self.store.revoke_key(deployment.as_str(), id).map_err(failed)? {
            return Err(DeskError::NotFound(format!(
                "deployment \"{deployment}\" has no key {id}; `postern deployment key list {deployment}` shows those it has"
            )));
        }
        self.refresh();
        Ok(())
    }

    /// Keeps a named secret, sealed.
    ///
    /// # Errors
    /// [`DeskError::Refused`] for a name or value that cannot be one.
    pub fn set_secret(&self, name: &str, value: &SecretString) -> Result<(), DeskError> {
        self.store.set_secret(name, value, now()).map_err(|error| DeskError::Refused(error.to_string()))?;
        self.refresh();
        Ok(())
    }

    /// The names of all secrets.
    ///
    /// # Errors
    /// [`DeskError::Store`].
    pub fn secrets(&self) -> Result<Vec<SecretRow>, DeskError> {
        let listing = self.store.secrets().map_err(failed)?;
        let mut rows: Vec<SecretRow> = listing
            .found
            .into_iter()
            .map(|secret| SecretRow { id: secret.name, set_at: text(secret.set_at) })
            .collect();
        rows.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(rows)
    }

    /// Deletes a named secret.
    ///
    /// # Errors
    /// [`DeskError::NotFound`] when there is none of that name.
    pub fn delete_secret(&self, name: &str) -> Result<(), DeskError> {
        if !self.store.delete_secret(name).map_err(failed)? {
            return Err(DeskError::NotFound(format!("there is no secret \"{name}\"")));
        }
        self.refresh();
        Ok(())
    }

    fn refresh(&self) {
        if let Some(controls) = &self.controls {
            controls.refresh();
        }
    }
}

/// Whether the account can be authorised in no other way.
fn is_for_devices(connection: &Connection) -> bool {
    matches!(&connection.auth, Auth::Oauth(oauth) if matches!(oauth.grant, OauthGrant::DeviceCode { .. }))
}

/// The whole chain of causes: this text is all that reaches the operator.
fn failed(error: impl std::error::Error) -> DeskError {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    DeskError::Store(text)
}

fn now() -> i64 {
    Timestamp::now().as_second()
}

fn text(seconds: i64) -> String {
    Timestamp::from_second(seconds).map(|at| at.to_string()).unwrap_or_default()
}
