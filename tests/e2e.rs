//! The whole program over its command line, files, signals and sockets: what an operator and an agent can rely on, one
//! sentence for each test. Every test runs the real binary and ends with the canary's sweep.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[path = "e2e/bulk.rs"]
mod bulk;
#[path = "e2e/canary.rs"]
mod canary;
#[path = "e2e/commands.rs"]
mod commands;
#[path = "e2e/deadlines.rs"]
mod deadlines;
#[path = "e2e/identity.rs"]
mod identity;
#[path = "e2e/life.rs"]
mod life;
#[path = "e2e/program.rs"]
mod program;
#[path = "e2e/refusals.rs"]
mod refusals;
#[path = "e2e/scene.rs"]
mod scene;
#[path = "e2e/starts.rs"]
mod starts;
#[path = "e2e/streaming.rs"]
mod streaming;
