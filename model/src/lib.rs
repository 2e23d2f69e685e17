//! The words of postern and its pure decisions: names, authorities, patterns, bindings, grants and refusals, and the
//! operator's file that they come from. Nothing here does I/O, waits, or knows a credential's value.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod address;
pub mod authority;
pub mod catalogue;
pub mod config;
pub mod file;
pub mod guard;
pub mod identity;
pub mod limits;
pub mod name;
pub mod path;
pub mod pattern;
pub mod policy;
pub mod refusal;
pub mod template;

pub use authority::{Authority, Destination, DnsName, Host, Scheme};
pub use config::{Config, Connection, Deployment, SecretSource, Unbound};
pub use identity::{Caller, Evidence, Identities, KeyDigest};
pub use limits::Limits;
pub use name::{ConnectionName, DeploymentName, IntegrationName, TenantName};
pub use policy::{Ask, Binding, Bound, Grant, Policy, Route};
pub use refusal::Refusal;
