//! `auth:` of a connection against its integration: what was written, checked and completed. No secret is read here.

mod header;
mod machine;
mod oauth;

use super::super::auth::{RawAuth, RawBasic, RawQuery};
use super::super::node::{At, Place};
use super::super::report::Report;
use super::super::secret::RawSecret;
use super::integrations::Chosen;
use crate::config::{Auth, Integration, OauthGrant, SecretSource};
use crate::name::ConnectionName;

/// What an `auth:` stands in.
pub(super) struct Surroundings<'a> {
    /// The connection.
    pub(super) owner: &'a ConnectionName,
    /// Where the `auth:` stands.
    pub(super) place: Place,
    /// The connection's integration.
    pub(super) integration: &'a Chosen,
    /// Whether a secret may stand in the file.
    pub(super) allow_literal: bool,
}

impl Surroundings<'_> {
    fn integration(&self) -> Option<&Integration> {
        match self.integration {
            Chosen::None | Chosen::Broken => None,
            Chosen::Known(integration, _) => Some(integration),
        }
    }

    /// A secret, under the key that holds it.
    fn secret(&self, raw: At<RawSecret>, key: &str, report: &mut Report<'_>) -> Option<SecretSource> {
        // The one secret of a connection is best stored under the connection's own name.
        let advice = match key {
            "token" | "password" | "value" | "key" => self.owner.to_string(),
            key => format!("{}-{}", self.owner, key.replace('_', "-")),
        };
        RawSecret::resolve(raw, self.allow_literal, &advice, report)
    }

    /// Something that is no secret by itself, but may be kept where secrets are.
    fn open(&self, raw: At<RawSecret>, report: &mut Report<'_>) -> Option<SecretSource> {
        RawSecret::resolve(raw, true, self.owner.as_str(), report)
    }

    /// Reports that something is missing which neither `auth:` nor the integration has.
    fn missing(&self, key: &str, example: &str, report: &mut Report<'_>) {
        let help = match self.integration {
            // Perhaps it is there, in what could not be read.
            Chosen::Broken => return,
            Chosen::None => {
                format!("write it under \"auth\", as in {key}: {example}, or name an integration that has it")
            }
            Chosen::Known(integration, _) => {
                format!(
                    "write it under \"auth\", as in {key}: {example}; integration \"{}\" has none",
                    integration.name
                )
            }
        };
        report.error(self.place, format!("missing key \"{key}\""), Some(help));
    }
}

/// Resolves one `auth:`.
pub(super) fn resolve(raw: RawAuth, around: &Surroundings<'_>, report: &mut Report<'_>) -> Option<Auth> {
    match raw {
        RawAuth::Bearer(raw) => Some(Auth::Bearer { token: around.secret(raw.token, "token", report)? }),
        RawAuth::Basic(raw) => basic(raw, around, report),
        RawAuth::Header(raw) => header::resolve(raw, around, report),
        RawAuth::Query(raw) => query(raw, around, report),
        RawAuth::AuthorizationCode(client, raw, oauth) => oauth::authorization_code(client, raw, oauth, around, report),
        RawAuth::RefreshToken(client, raw, oauth) => oauth::refresh_token(client, raw, oauth, around, report),
        RawAuth::ClientCredentials(client, oauth) => {
            let client = oauth::Client { id: Some(client.client_id), secret_needed: true };
            oauth::resolve(client, Some(OauthGrant::ClientCredentials), oauth, around, report)
        }
        RawAuth::DeviceCode(client, raw, oauth) => oauth::device_code(client, raw, oauth, around, report),
        RawAuth::TokenExchange(raw, oauth) => oauth::token_exchange(raw, oauth, around, report),
        RawAuth::GoogleServiceAccount(raw) => machine::google_service_account(raw, around, report),
        RawAuth::GithubApp(raw) => machine::github_app(raw, around, report),
        RawAuth::AwsSigv4(raw) => machine::aws_sigv4(raw, around, report),
        RawAuth::Exec(raw) => machine::exec(raw, report),
        RawAuth::Broker(raw) => machine::broker(raw, around, report),
    }
}

fn basic(raw: RawBasic, around: &Surroundings<'_>, report: &mut Report<'_>) -> Option<Auth> {
    if raw.username.value.literal_has(|c| c == ':' || c.is_control()) {
        // RFC 7617 §2: it could not be told where the user name ends.
        report.error(raw.username.place, "a user name has no colon and no control characters", None);
        return None;
    }
    let Some(password) = raw.password else {
        return Some(Auth::Basic { username: around.secret(raw.username, "username", report)?, password: None });
    };
    let (username, password) = (around.open(raw.username, report), around.secret(password, "password", report));
    Some(Auth::Basic { username: username?, password: Some(password?) })
}

fn query(raw: RawQuery, around: &Surroundings<'_>, report: &mut Report<'_>) -> Option<Auth> {
    let value = around.secret(raw.value, "value", report);
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    if raw.name.value.is_empty() || !raw.name.value.bytes().all(unreserved) {
        let message = "a query parameter's name consists of letters, digits, \"-\", \".\", \"_\" and \"~\"";
        report.error(raw.name.place, message, None);
        return None;
    }
    Some(Auth::Query { name: raw.name.value, value: value? })
}
