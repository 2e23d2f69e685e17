//! The words in which postern's end-to-end tests speak: `upstream()`, `postern()`, `agent()`, and the canary that
//! listens everywhere. It drives the real binary over real sockets and refuses to reach past the loopback.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's harness fails by panicking")]

mod agent;
mod canary;
mod conversation;
mod deadline;
mod garden;
mod hello;
mod message;
mod pki;
mod postern;
mod process;
mod secret;
mod settings;
mod upstream;
mod wire;

pub use agent::{Agent, Hello};
pub use canary::Canary;
pub use conversation::Conversation;
pub use deadline::{DEADLINE, eventually, within};
pub use garden::{Garden, Seen};
pub use hello::{client_hello, client_hello_naming};
pub use message::Message;
pub use pki::{Authority, Chain, authority};
pub use postern::{Failed, Postern};
pub use settings::{Settings, postern};
pub use upstream::{Recorded, Upstream, UpstreamSettings, answer, upstream};
pub use wire::{End, Wire, alert_of};

/// Asserts that a reply is a refusal of postern's own in the shape that agents rely on.
///
/// # Panics
/// When any part of the contract is missing.
#[track_caller]
pub fn assert_refused(reply: &Message, status: u16, code: &str) {
    let shown = reply.to_string();
    assert_eq!(reply.status(), status, "not the status of {code}:\n{shown}");
    assert_eq!(reply.field("x-postern-error"), Some(code), "{shown}");
    assert_eq!(reply.field("content-type"), Some("application/json"), "{shown}");
    let proxy_status = reply.field("proxy-status").unwrap_or_default();
    assert!(proxy_status.starts_with("postern; error="), "proxy-status is {proxy_status:?} in\n{shown}");
    let body: serde_json::Value = serde_json::from_slice(&reply.body).unwrap_or_else(|_| panic!("no JSON in\n{shown}"));
    assert_eq!(body["error"], code, "{shown}");
    for name in ["message", "request_id"] {
        assert!(body[name].as_str().is_some_and(|text| !text.is_empty()), "{name} is missing in\n{shown}");
    }
    if status == 407 {
        assert_eq!(reply.field("proxy-authenticate"), Some("Basic realm=\"postern\""), "{shown}");
    }
    if status == 429 || status == 503 {
        assert!(reply.field("retry-after").is_some(), "retry-after is missing in\n{shown}");
    }
}

/// Asserts that a reply is the destination's own: not a refusal of postern's.
///
/// # Panics
/// When the status differs or postern answered itself.
#[track_caller]
pub fn assert_passed(reply: &Message, status: u16) {
    assert_eq!(reply.status(), status, "{reply}");
    assert_eq!(reply.field("x-postern-error"), None, "{reply}");
}
