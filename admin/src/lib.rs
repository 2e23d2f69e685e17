//! The operators' side of a running process: the admin listener with health and connect pages, and the admin socket that
//! the subcommands talk to. It never serves an agent, and the proxy never leads here.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod client;
mod connecting;
mod desk;
mod listener;
mod metrics;
mod pages;
mod socket;
mod wire;

pub use client::{Client, ClientError, Lent};
pub use desk::{Controls, Desk, DeskError, PrivateListener};
pub use listener::{Listener, serve_listener};
pub use socket::{bind_socket, serve_socket};
pub use wire::{
    ConfigStatus, ConnectionState, ConnectionStatus, DeploymentStatus, Disconnected, KeyRow, NewKey, Outcome,
    SecretRow, Status, Ticket,
};
