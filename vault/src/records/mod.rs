//! The typed records: deployment keys, named secrets and the certificate authority's root, each as JSON inside the
//! seal. Nothing here is readable outside it but the records' names.

mod accounts;
mod keys;
mod root;
mod secrets;

pub use accounts::AccountRecord;
pub use keys::{IssuedKey, KEY_PREFIX, key_digest};
pub use root::RootRecord;
pub use secrets::{SECRET_BYTES_MAX, SECRET_NAME_BYTES_MAX, SecretName, Unfit};

use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use crate::seal::Shelf;
use crate::store::{Store, StoreError, Stored};

/// All records of a kind: those that could be read, and why the others could not.
#[derive(Debug)]
pub struct Listing<T> {
    /// The readable ones, in the order of their names.
    pub found: Vec<T>,
    /// One error for each that is not; each names its record.
    pub damaged: Vec<StoreError>,
}

/// Lists the one-field records of `tree`, making each from its name and its stored value.
fn list<R: DeserializeOwned, T>(
    store: &Store,
    tree: &str,
    make: impl Fn(String, R) -> T,
) -> Result<Listing<T>, StoreError> {
    let mut listing = Listing { found: Vec::new(), damaged: Vec::new() };
    for entry in store.list(tree)? {
        let shelf = Shelf { tree, record: &entry.record, field: &entry.field };
        match entry.value.and_then(|stored| decode(shelf, &stored)) {
            Ok(stored) => listing.found.push(make(entry.record, stored)),
            Err(error) => listing.damaged.push(error),
        }
    }
    Ok(listing)
}

/// The record as JSON. `secret_bytes` is the length of the secrets in it: the buffer must not grow, or it would leave
/// unwiped copies behind.
#[expect(clippy::expect_used, reason = "the records are plain structs with string keys, which always serialise")]
fn encode<R: Serialize>(record: &R, secret_bytes: usize) -> Zeroizing<Vec<u8>> {
    let mut json = Zeroizing::new(Vec::with_capacity(secret_bytes * JSON_ESCAPE_BYTES + JSON_FRAME_BYTES));
    serde_json::to_writer(&mut *json, record).expect("a plain struct serialises");
    json
}

/// Reads the record. What is wrong with it stays untold: the JSON reader's errors quote what they read.
fn decode<R: DeserializeOwned>(shelf: Shelf<'_>, stored: &Stored) -> Result<R, StoreError> {
    serde_json::from_slice(&stored.value).map_err(|_| StoreError::Unknown { shelf: shelf.to_string() })
}

/// The longest that JSON makes of one byte: `\u001f`.
const JSON_ESCAPE_BYTES: usize = 6;
const JSON_FRAME_BYTES: usize = 1024;
