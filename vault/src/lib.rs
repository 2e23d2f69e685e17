//! The vault: the master keys, the seal, the store of sealed records, and the typed records kept in it.
//! It speaks no HTTP and decides no policy; what may leave, and where to, is decided before anybody asks here.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod account;
pub mod broker;
pub mod clock;
pub mod connect;
pub mod events;
pub mod fetch;
mod framing;
mod grants;
pub mod oauth;
mod prepare;
mod presentation;
mod program;
mod random;
pub mod records;
pub mod ring;
pub mod seal;
pub mod source;
pub mod store;

pub use account::Standing;
pub use broker::{Broker, Credential, Unavailable, Why};
pub use clock::{Clock, SystemClock};
pub use fetch::{Fetch, FetchError};
pub use random::{NoRandomness, text as random_text};
pub use records::{AccountRecord, IssuedKey, Listing, RootRecord, SecretName, Unfit, key_digest};
pub use ring::{KeyId, KeyRing, MasterKey, MasterKeySource, RingError};
pub use seal::{OpenFailure, Shelf, StoreId};
pub use source::{SourceError, Sources};
pub use store::{Changes, Fault, Listed, OpenError, Store, StoreError, Stored};
