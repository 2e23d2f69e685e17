//! Where credentials come from and where they go: fixed ones, and tokens that are fetched and refreshed at a real OpenID
//! provider and at a scripted one that does what no real one will. Every test ends with the canary's sweep, tokens
//! included.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[path = "credentials/answers.rs"]
mod answers;
#[path = "credentials/changes.rs"]
mod changes;
#[path = "credentials/connect.rs"]
mod connect;
#[path = "credentials/endpoint.rs"]
mod endpoint;
#[path = "credentials/fixed.rs"]
mod fixed;
#[path = "credentials/grants.rs"]
mod grants;
#[path = "credentials/herd.rs"]
mod herd;
#[path = "credentials/outage.rs"]
mod outage;
#[path = "credentials/program.rs"]
mod program;
#[path = "credentials/provider.rs"]
mod provider;
#[path = "credentials/reach.rs"]
mod reach;
#[path = "credentials/reauth.rs"]
mod reauth;
#[path = "credentials/refused.rs"]
mod refused;
#[path = "credentials/rotation.rs"]
mod rotation;
#[path = "credentials/rsa_key.rs"]
mod rsa_key;
#[path = "credentials/scene.rs"]
mod scene;
#[allow(dead_code, reason = "the clients' tests use the rest")]
#[path = "clients/tools.rs"]
mod tools;
