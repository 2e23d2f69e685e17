//! What the admin socket and the subcommands say to each other, as JSON. No type here can hold a credential, except the
//! answer that shows a new deployment key once.

use serde::{Deserialize, Serialize};

/// A deployment key that was just made. The only moment at which its text is known.
#[derive(Clone, Serialize, Deserialize)]
pub struct NewKey {
    /// The key's id, for listing and revoking.
    pub id: String,
    /// Whose it is.
    pub deployment: String,
    /// The key itself.
    pub key: String,
    /// When it was made (RFC 3339).
    pub created_at: String,
}

impl std::fmt::Debug for NewKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NewKey({} of {})", self.id, self.deployment)
    }
}

/// A deployment key in a listing.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct KeyRow {
    /// The key's id.
    pub id: String,
    /// Whose it is.
    pub deployment: String,
    /// When it was made (RFC 3339).
    pub created_at: String,
    /// When it was last used (RFC 3339), to the minute.
    pub last_used_at: Option<String>,
}

/// A named secret in a listing; never its value.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SecretRow {
    /// The secret's name.
    pub id: String,
    /// When it was set (RFC 3339).
    pub set_at: String,
}

/// How the process is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Status {
    /// The program's version.
    pub version: String,
    /// The process.
    pub pid: u32,
    /// When it started (RFC 3339).
    pub started_at: String,
    /// Whether it serves: the store is open, a configuration is in force, it is not draining.
    pub ready: bool,
    /// Whether it is on its way out.
    pub draining: bool,
    /// Where agents connect.
    pub proxy: String,
    /// Where operators and health checks connect.
    pub admin: String,
    /// The configuration in force.
    pub config: ConfigStatus,
    /// Every connection.
    pub connections: Vec<ConnectionStatus>,
    /// Every deployment.
    pub deployments: Vec<DeploymentStatus>,
    /// SHA-256 of the CA certificate that agents must trust.
    pub ca_fingerprint: String,
    /// Sockets of agents that are open.
    pub sockets: usize,
    /// Unused sockets to destinations that are kept warm.
    pub idle_upstream_sockets: usize,
    /// Access records dropped because the disk could not keep up.
    pub records_lost: u64,
}

/// The configuration in force, and what is wrong with a newer one.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ConfigStatus {
    /// The file.
    pub file: String,
    /// When the one in force was read (RFC 3339).
    pub loaded_at: String,
    /// Bindings in force.
    pub bindings: usize,
    /// Why the file as it is now is not in force; the last good one still is.
    pub problem: Option<String>,
}

/// One connection.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ConnectionStatus {
    /// Its name.
    pub id: String,
    /// Whether it can be used.
    pub state: ConnectionState,
    /// Why not, in words.
    pub problem: Option<String>,
    /// The deployments that are bound to it.
    pub deployments: Vec<String>,
}

/// Whether a connection can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConnectionState {
    /// Its credential is at hand, or can be had.
    Connected,
    /// Nobody has authorised it yet.
    Available,
    /// The provider refuses it: somebody must authorise it anew.
    NeedsReauth,
    /// Its credential cannot be had.
    Error,
    /// It is switched off.
    Inactive,
}

/// One deployment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeploymentStatus {
    /// Its name.
    pub id: String,
    /// Keys that were issued for it.
    pub keys: usize,
    /// Bindings that it has.
    pub bindings: usize,
}

/// A one-time link for authorising an account.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ticket {
    /// For asking after the outcome.
    pub id: String,
    /// Where somebody goes with a browser.
    pub url: String,
    /// What somebody types there, for a device.
    pub user_code: Option<String>,
    /// Where it is typed, for a device.
    pub verification_url: Option<String>,
}

/// How the authorising of an account stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Outcome {
    /// Nobody has finished yet.
    Pending,
    /// It is connected.
    Connected {
        /// The account's label at the provider, where it tells.
        account: Option<String>,
    },
    /// It failed.
    Failed {
        /// Why, in words.
        problem: String,
    },
}

/// What came of ending an account.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Disconnected {
    /// What the provider said to the revocation.
    pub revocation: String,
}
