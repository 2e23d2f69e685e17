//! The attacks that postern must withstand: exact bytes in, exact bytes expected at the destination and at the agent.
//! Every test runs the real binary and ends with the canary's sweep; its name begins with the id of its attack.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[path = "attacks/authority.rs"]
mod authority;
#[path = "attacks/framing.rs"]
mod framing;
#[path = "attacks/garden.rs"]
mod garden;
#[path = "attacks/heads.rs"]
mod heads;
#[path = "attacks/mutations.rs"]
mod mutations;
#[path = "attacks/reach.rs"]
mod reach;
#[path = "attacks/reload.rs"]
mod reload;
#[path = "attacks/replies.rs"]
mod replies;
#[path = "attacks/scene.rs"]
mod scene;
#[path = "attacks/tls.rs"]
mod tls;
#[path = "attacks/zoo.rs"]
mod zoo;
