//! Every bound of the data plane, with its name, unit and default. A limit that is not here does not exist; the
//! operator changes one under `limits:` in bindings.yaml.

use std::time::Duration;

/// Bounds on sockets, messages and time. Times are spans; sizes are bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// The longest request head (request line and fields), in bytes.
    pub head_bytes_max: usize,
    /// The most fields in one request head.
    pub head_fields_max: usize,
    /// The longest request target, in bytes; a longer one is answered 414.
    pub target_bytes_max: usize,
    /// Time for a started request head to be complete.
    pub head_in: Duration,
    /// Time for a TLS handshake with the agent, its ClientHello included.
    pub handshake_in: Duration,
    /// Time a fresh socket may stay silent before its first request.
    pub first_request_in: Duration,
    /// Time a socket may stay silent between requests.
    pub idle_in: Duration,
    /// Time a request body may stall while the destination waits for it.
    pub body_stall_in: Duration,
    /// Time the agent may take no byte of an answer that is ready for it.
    pub write_stall_in: Duration,
    /// Time for the destination's socket, TLS handshake included.
    pub connect_in: Duration,
    /// Silence of the destination before its answer begins and within it; `None` never cuts a thinking model off.
    pub response_silence_in: Option<Duration>,
    /// Silence in both directions after which a blind tunnel is closed.
    pub tunnel_idle_in: Duration,
    /// Time an unused socket to a destination is kept.
    pub pool_idle_in: Duration,
    /// Unused sockets kept for one deployment, connection and destination.
    pub pool_idle_sockets_max: usize,
    /// Sockets from agents, in all.
    pub sockets_max: usize,
    /// Sockets from one deployment.
    pub deployment_sockets_max: usize,
    /// Certificates minted for unbound names, for each deployment and second.
    pub unbound_mints_per_second: u32,
    /// Leaf certificates kept.
    pub leaf_cache_entries_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_bytes_max: 64 * 1024,
            head_fields_max: 100,
            target_bytes_max: 32 * 1024,
            head_in: Duration::from_secs(10),
            handshake_in: Duration::from_secs(10),
            first_request_in: Duration::from_secs(60),
            idle_in: Duration::from_secs(600),
            body_stall_in: Duration::from_secs(60),
            write_stall_in: Duration::from_secs(60),
            connect_in: Duration::from_secs(10),
            response_silence_in: None,
            tunnel_idle_in: Duration::from_secs(3600),
            pool_idle_in: Duration::from_secs(55),
            pool_idle_sockets_max: 64,
            sockets_max: 10_000,
            deployment_sockets_max: 5_000,
            unbound_mints_per_second: 20,
            leaf_cache_entries_max: 10_000,
        }
    }
}
