//! `auth:` of a connection: one plain struct, judged by its `type` before its other keys. It names what it does not
//! support yet and never repeats a value.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::node::{At, Node, Value};
use super::read::{Read, choice, not_yet, raw};
use super::report::Report;
use super::secret::RawSecret;

/// The documented types that a later version will read.
const LATER_TYPES: &[&str] = &[
    "basic",
    "header",
    "query",
    "authorization_code",
    "refresh_token",
    "client_credentials",
    "device_code",
    "google_service_account",
    "gcs_service_account",
    "aws_sigv4",
    "aws_iam",
    "github_app",
    "token_exchange",
    "exec",
    "broker",
];

/// How a connection authenticates, with a type that this version supports.
pub(super) struct RawAuth(pub(super) RawAuthFields);

raw! {
    /// How a connection authenticates.
    struct RawAuthFields {
        /// The kind of credential.
        r#type: RawAuthType,
        /// The token.
        token: At<RawSecret>,
    }
}

choice! {
    /// The kind of credential.
    enum RawAuthType {
        /// Authorization: Bearer TOKEN (RFC 6750 §2.1).
        Bearer = "bearer",
    }
}

impl Read for RawAuth {
    fn read(node: &Node, report: &mut Report<'_>) -> Option<Self> {
        // The keys of another type would only be reported as unknown.
        if let Some(later) = later_type(node) {
            let message = not_yet(&format!("auth type \"{}\"", later.value));
            report.error(later.place, message, Some("supported: bearer".to_owned()));
            return None;
        }
        RawAuthFields::read(node, report).map(Self)
    }
}

impl JsonSchema for RawAuth {
    fn inline_schema() -> bool {
        RawAuthFields::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        RawAuthFields::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        RawAuthFields::json_schema(generator)
    }
}

fn later_type(node: &Node) -> Option<At<&'static str>> {
    let Value::Map(entries) = &node.value else { return None };
    let entry = entries.iter().find(|entry| entry.key.value == "type")?;
    let text = entry.value.value.as_text()?;
    let later = LATER_TYPES.iter().find(|later| **later == text)?;
    Some(At { value: later, place: entry.value.place })
}
