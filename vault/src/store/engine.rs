//! What the store asks of a database: durable bytes under keys, and no more. An engine sees only sealed values; it is
//! never given a key ring.

use std::io;

use super::Fault;

/// A database of byte strings, safe to share between threads.
pub(super) trait Engine: Send + Sync {
    /// The value under `key`.
    fn read(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError>;

    /// All keys that begin with `prefix`, with their values, in the order of the keys.
    fn scan(&self, prefix: &[u8]) -> Result<Vec<Pair>, EngineError>;

    /// Makes all changes or none, and returns only once they would survive a power cut. After an error a change may
    /// or may not have been made.
    fn apply(&self, changes: &[Change]) -> Result<(), EngineError>;
}

/// A key and its value.
pub(super) type Pair = (Vec<u8>, Vec<u8>);

/// One change to a database.
#[derive(Clone)]
pub(super) enum Change {
    /// Puts a value under a key, over any that is there.
    Put {
        /// The key.
        key: Vec<u8>,
        /// The sealed value.
        value: Vec<u8>,
    },
    /// Removes a key and its value, if they are there.
    Remove {
        /// The key.
        key: Vec<u8>,
    },
}

/// An engine's failure.
#[derive(Debug, thiserror::Error)]
#[error("{source}")]
pub(super) struct EngineError {
    /// What the operator has to do about it.
    pub(super) fault: Fault,
    /// What the engine or the system said.
    pub(super) source: Box<dyn std::error::Error + Send + Sync>,
}

impl From<io::Error> for EngineError {
    fn from(error: io::Error) -> Self {
        Self { fault: Fault::of(&error), source: Box::new(error) }
    }
}
