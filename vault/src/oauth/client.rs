//! Who asks: the client that a provider registered, and how its token endpoint wants to be spoken to. It shows neither
//! the client's secret nor the values of its extra parameters.

use std::fmt;

use secrecy::SecretString;

use super::answer::AnswerHints;

/// A client at one provider.
#[derive(Clone)]
pub struct OauthClient {
    /// The token endpoint, an absolute URL.
    pub token_url: String,
    /// The client's id; empty where a grant needs none (RFC 7523 §2.1).
    pub client_id: String,
    /// The client's secret; a public client has none.
    pub client_secret: Option<SecretString>,
    /// How id and secret are presented.
    pub auth: ClientAuth,
    /// How requests are written.
    pub body: BodyFormat,
    /// What stands between two scopes: a space (RFC 6749 §3.3), at some providers a comma.
    pub scope_separator: String,
    /// Parameters that this provider wants besides; they never replace one of the protocol's.
    pub extra: Vec<(String, String)>,
    /// What is known beforehand about its answers.
    pub answers: AnswerHints,
}

/// How a client presents its id and secret (RFC 6749 §2.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientAuth {
    /// In the `Authorization` field.
    #[default]
    Basic,
    /// In the body.
    Post,
    /// The id alone, in the body: a public client.
    None,
}

/// How a request to an OAuth endpoint is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BodyFormat {
    /// `application/x-www-form-urlencoded`, as RFC 6749 has it.
    #[default]
    Form,
    /// `application/json`, as some providers have it.
    Json,
}

impl fmt::Debug for OauthClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let extra: Vec<&str> = self.extra.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("OauthClient")
            .field("token_url", &self.token_url)
            .field("client_id", &self.client_id)
            .field("client_secret", &self.client_secret.as_ref().map(|_| "Secret(..)"))
            .field("auth", &self.auth)
            .field("body", &self.body)
            .field("scope_separator", &self.scope_separator)
            .field("extra", &extra)
            .field("answers", &self.answers)
            .finish()
    }
}
