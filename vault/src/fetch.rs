//! How the vault reaches token endpoints: through whoever dials for it. It says what is asked and what may come back; it
//! opens no socket itself.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

/// The longest answer that is read, in bytes.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Time for the whole exchange, from dialling to the answer's last byte.
pub const ANSWER_IN: Duration = Duration::from_secs(10);

/// Why a request got no answer. None of these says anything about the credential.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// The address is private or postern's own, and `upstream.allow_addresses` does not cover it.
    #[error("the address of {0} is not allowed (upstream.allow_addresses)")]
    Forbidden(String),
    /// No socket: the name does not resolve, or nobody answers there.
    #[error("{0} cannot be reached")]
    Unreachable(String),
    /// The certificate does not verify.
    #[error("the TLS certificate of {0} does not verify, or the handshake failed")]
    Tls(String),
    /// The answer was not whole within [`ANSWER_IN`].
    #[error("{0} did not answer in time")]
    Timeout(String),
    /// The answer is longer than [`ANSWER_BYTES_MAX`].
    #[error("the answer of {0} is too long")]
    TooLong(String),
    /// The answer is not valid HTTP, or broke off.
    #[error("the answer of {0} is not valid")]
    Invalid(String),
}

/// A running request.
pub type Fetching<'a> = Pin<Box<dyn Future<Output = Result<http::Response<Vec<u8>>, FetchError>> + Send + 'a>>;

/// Sends a request and reads the answer whole. Redirects are not followed; addresses are vetted as the proxy's are.
pub trait Fetch: Send + Sync + fmt::Debug {
    /// Sends the request; its URI is absolute.
    fn fetch(&self, request: http::Request<Vec<u8>>) -> Fetching<'_>;
}
