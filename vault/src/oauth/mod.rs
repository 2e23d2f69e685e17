//! OAuth 2.0 as providers speak it: requests to their endpoints, and a lenient reading of what they answer. It dials
//! through [`crate::Fetch`] and keeps nothing: what is stored, and when to refresh, is decided by its callers.

mod answer;
mod assertion;
mod authorize;
mod client;
mod device;
mod failure;
mod fields;
mod flow;
mod life;
mod request;
mod revoke;
mod words;

pub use answer::{ACCESS_TOKEN_BYTES_MAX, Answer, AnswerHints, Token, TokenOutcome, TokenSlot};
pub use assertion::{Assertion, AssertionError, ServiceAccount, SigningKey, github_app_assertion};
pub use authorize::{AuthorizationAsk, AuthorizationRequest, is_authorization_parameter};
pub use client::{BodyFormat, ClientAuth, OauthClient};
pub use device::{DeviceStart, PollOutcome, SLOW_DOWN_BY, device_start, device_start_request};
pub use failure::TokenFailure;
pub use flow::exchange;
pub use request::{GrantRequest, RequestError, is_token_parameter, token_request};
pub use revoke::{Revocation, TokenKind, revocation_request, revoke};

#[cfg(test)]
mod scripted;
