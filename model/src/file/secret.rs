//! A secret as the operator writes it: the name of where it is, or, if the file allows that, the secret itself. It is
//! never read from there here, and never repeated.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use secrecy::{ExposeSecret, SecretString};

use super::node::{At, Node, Value};
use super::read::{Read, mismatch, raw};
use super::report::Report;
use crate::config::SecretSource;

/// The longest name of a variable, path or sealed secret, in bytes.
const SOURCE_BYTES_MAX: usize = 4096;

/// A secret in the file.
pub(super) struct RawSecret(SecretSource);

raw! {
    /// Where a secret is. Exactly one key.
    #[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
    struct RawSecretSource {
        /// The environment variable of postern's own process that holds it.
        env: Option<At<String>>,
        /// The file that holds it; a relative path begins in the folder of this file.
        file: Option<At<String>>,
        /// Its name in the sealed store, as given to "postern secret set".
        sealed: Option<At<String>>,
    }
}

impl RawSecret {
    /// Where the secret comes from; `advice` is the name to store it under if it may not stand in the file.
    pub(super) fn resolve(
        secret: At<Self>,
        allow_literal: bool,
        advice: &str,
        report: &mut Report<'_>,
    ) -> Option<SecretSource> {
        if matches!(secret.value.0, SecretSource::Literal(_)) && !allow_literal {
            let help = format!(
                "store it with \"postern secret set {advice}\" and write {{sealed: {advice}}} here, or name its place with {{env: NAME}} or {{file: PATH}}"
            );
            report.error(secret.place, "a secret is written into this file", Some(help));
            return None;
        }
        Some(secret.value.0)
    }

    /// Whether the text itself is here and holds such a character.
    pub(super) fn literal_has(&self, character: impl Fn(char) -> bool) -> bool {
        match &self.0 {
            SecretSource::Literal(text) => text.expose_secret().contains(character),
            SecretSource::Env(_) | SecretSource::File(_) | SecretSource::Sealed(_) => false,
        }
    }
}

impl Read for RawSecret {
    fn read(node: &Node, report: &mut Report<'_>) -> Option<Self> {
        if matches!(node.value, Value::Map(_)) {
            return source(node, report).map(Self);
        }
        let Some(text) = node.value.as_text() else {
            mismatch(node, "{env: NAME}, {file: PATH} or {sealed: NAME}", None, report);
            return None;
        };
        if text.is_empty() {
            report.error(node.place, "the secret is empty", None);
            return None;
        }
        Some(Self(SecretSource::Literal(SecretString::from(text))))
    }
}

impl JsonSchema for RawSecret {
    fn schema_name() -> Cow<'static, str> {
        "RawSecret".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Where the secret is; the secret itself only under \"allow_literal_secrets: true\".",
            "anyOf": [generator.subschema_for::<RawSecretSource>(), { "type": "string", "minLength": 1 }],
        })
    }
}

fn source(node: &Node, report: &mut Report<'_>) -> Option<SecretSource> {
    let errors = report.errors();
    let raw = RawSecretSource::read(node, report).filter(|_| report.errors() == errors)?;
    let (name, source) = match (raw.env, raw.file, raw.sealed) {
        (Some(name), None, None) if !name.value.contains('=') => (name.clone(), SecretSource::Env(name.value)),
        (Some(name), None, None) => {
            report.error(name.place, "an environment variable's name has no \"=\"", None);
            return None;
        }
        (None, Some(path), None) => (path.clone(), SecretSource::File(report.path(&path.value))),
        (None, None, Some(name)) if !name.value.contains(char::is_whitespace) => {
            (name.clone(), SecretSource::Sealed(name.value))
        }
        (None, None, Some(name)) => {
            report.error(name.place, "the name of a sealed secret has no blanks", None);
            return None;
        }
        _ => {
            report.error(node.place, "a secret has exactly one of env, file and sealed", None);
            return None;
        }
    };
    if name.value.is_empty() || name.value.len() > SOURCE_BYTES_MAX || name.value.contains(char::is_control) {
        report.error(name.place, "this does not name a place: it is empty, too long or has control characters", None);
        return None;
    }
    Some(source)
}
