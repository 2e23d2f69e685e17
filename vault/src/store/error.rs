//! What can go wrong when a store is opened or used, said so that the operator knows what to do. No error holds a
//! value, and none is turned into an answer for an agent here.

use std::path::{Path, PathBuf};

use super::engine::EngineError;
use super::{FORMAT, Fault, VALUE_BYTES_MAX};
use crate::random::NoRandomness;
use crate::ring::KeyId;
use crate::seal::{OpenFailure, SealFailure};

/// Why a store does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The ring is not the one that sealed this store.
    #[error(
        "master_key_mismatch: the store in {} was sealed with the master key {sealed_by}, and the key given is {given}; give the \
         right key (POSTERN_MASTER_KEY_FILE, POSTERN_MASTER_KEY or {0}/master.key). Nothing was changed",
        data.display()
    )]
    MasterKeyMismatch {
        /// The data folder.
        data: PathBuf,
        /// The id of the key that sealed the store.
        sealed_by: KeyId,
        /// The id of the ring's first key.
        given: KeyId,
    },
    /// A later version of postern made this store.
    #[error(
        "the store in {} has format {found}, and this version of postern reads up to {FORMAT}; run the version that wrote it, or a later one",
        data.display()
    )]
    NewerFormat {
        /// The data folder.
        data: PathBuf,
        /// The format it has.
        found: u32,
    },
    /// The disk or the database files are in trouble.
    #[error("{}", fault.advice(data))]
    Disk {
        /// The data folder.
        data: PathBuf,
        /// What kind of trouble.
        fault: Fault,
        /// What the database or the system said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The first header could not be sealed.
    #[error(transparent)]
    Unsealed(#[from] SealFailure),
}

impl OpenError {
    pub(super) fn disk(data: &Path, error: EngineError) -> Self {
        Self::Disk { data: data.to_owned(), fault: error.fault, source: error.source }
    }
}

impl From<NoRandomness> for OpenError {
    fn from(error: NoRandomness) -> Self {
        Self::Unsealed(error.into())
    }
}

/// Why a record cannot be read or written. No variant holds a value.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The record is there and does not open.
    #[error("the record {shelf} does not open: {failure}")]
    Unopened {
        /// Where it is.
        shelf: String,
        /// Why not.
        failure: OpenFailure,
    },
    /// The record opens and is not what this version of postern writes there.
    #[error(
        "the record {shelf} opens but is not in a form this version of postern knows; use the version that wrote it, or set it anew"
    )]
    Unknown {
        /// Where it is.
        shelf: String,
    },
    /// The value could not be sealed.
    #[error("the record {shelf} cannot be sealed: {failure}")]
    Unsealed {
        /// Where it was to go.
        shelf: String,
        /// Why not.
        failure: SealFailure,
    },
    /// The value is longer than [`VALUE_BYTES_MAX`].
    #[error("the record {shelf} is {bytes} bytes long; the store takes up to {VALUE_BYTES_MAX}")]
    TooLong {
        /// Where it was to go.
        shelf: String,
        /// Its length in bytes.
        bytes: usize,
    },
    /// The disk or the database files are in trouble.
    #[error("{}", fault.advice(data))]
    Disk {
        /// The data folder.
        data: PathBuf,
        /// What kind of trouble.
        fault: Fault,
        /// What the database or the system said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No randomness for an id or a key.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
}
