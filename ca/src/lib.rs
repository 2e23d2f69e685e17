//! The local certificate authority: one [`Root`] that agents trust, and a [`Minter`] that makes a
//! short-lived [`Leaf`] for each destination and remembers it. It refuses to know HTTP, files or
//! policy: who may have a leaf, how often, and where the root is kept are questions for its
//! callers.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod error;
mod key;
mod leaf;
mod minter;
#[cfg(test)]
mod openssl_tests;
mod root;
mod serial;
#[cfg(test)]
mod testing;
mod validity;

pub use error::Error;
pub use leaf::Leaf;
pub use minter::{Clock, Minter, ServerConfigMaker};
pub use root::Root;
