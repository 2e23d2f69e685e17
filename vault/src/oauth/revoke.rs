//! Tells a provider that a token is no longer wanted (RFC 7009), and what it said to that in words. It is a courtesy: a
//! failure keeps nothing, and the tokens here are deleted whatever comes back.

use secrecy::{ExposeSecret, SecretString};

use super::answer::Answer;
use super::client::OauthClient;
use super::failure::{TokenFailure, failure};
use super::fields::Fields;
use super::request::{RequestError, client_request, parameter};
use crate::fetch::Fetch;

/// Which token is revoked. Most providers end the whole grant with its refresh token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// An access token.
    AccessToken,
    /// A refresh token.
    RefreshToken,
}

/// What became of a revocation; its words are for the operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Revocation {
    /// The provider no longer accepts the token.
    #[error("revoked at the provider")]
    Done,
    /// The provider did not know the token any more; nothing is left to revoke.
    #[error("the provider had ended it already")]
    AlreadyGone,
    /// The provider does not revoke tokens of this kind (RFC 7009 §2.2.1).
    #[error("the provider does not revoke tokens of this kind: remove the access in the account's settings there")]
    Unsupported,
    /// The provider may still accept the token.
    #[error("not revoked ({0}): remove the access in the account's settings at the provider")]
    Failed(String),
}

/// The request that revokes `token`.
///
/// # Errors
/// [`RequestError`] where the URL cannot be asked.
pub fn revocation_request(
    client: &OauthClient,
    revocation_url: &str,
    token: &SecretString,
    kind: TokenKind,
) -> Result<http::Request<Vec<u8>>, RequestError> {
    let hint = match kind {
        TokenKind::AccessToken => "access_token",
        TokenKind::RefreshToken => "refresh_token",
    };
    let parameters = vec![parameter("token", token.expose_secret()), parameter("token_type_hint", hint)];
    // The extra parameters are those of the token endpoint, not of this one.
    let client = OauthClient { extra: Vec::new(), ..client.clone() };
    client_request(&client, revocation_url, "revocation_url", parameters)
}

/// Revokes `token`. `now` is in Unix seconds.
pub async fn revoke(
    fetch: &dyn Fetch,
    client: &OauthClient,
    revocation_url: &str,
    token: &SecretString,
    kind: TokenKind,
    now: i64,
) -> Revocation {
    let request = match revocation_request(client, revocation_url, token, kind) {
        Ok(request) => request,
        Err(error) => return Revocation::Failed(error.to_string()),
    };
    let secret = client.client_secret.iter().map(|secret| secret.expose_secret());
    let sent: Vec<&str> = secret.chain([token.expose_secret()]).collect();
    match fetch.fetch(request).await {
        Ok(response) => read(&Answer::of(&response), now, &sent),
        Err(error) => Revocation::Failed(error.to_string()),
    }
}

/// A 2xx is enough, whatever its body: most send none. Google calls a token that is gone `invalid_token`.
fn read(answer: &Answer<'_>, now: i64, sent: &[&str]) -> Revocation {
    let fields = Fields::read(answer.content_type, answer.body);
    match failure(answer, fields.as_ref().map_err(|reason| *reason), now, sent) {
        None => Revocation::Done,
        Some(TokenFailure::Refused { code, .. }) if code == "unsupported_token_type" => Revocation::Unsupported,
        Some(TokenFailure::Refused { code, .. }) if code == "invalid_token" => Revocation::AlreadyGone,
        Some(TokenFailure::InvalidGrant { code, .. }) if code != "unauthorized_client" => Revocation::AlreadyGone,
        Some(TokenFailure::Refused { code, description } | TokenFailure::InvalidGrant { code, description }) => {
            Revocation::Failed([code, description].join(" ").trim_end().to_owned())
        }
        Some(TokenFailure::Redirect) => Revocation::Failed("the endpoint redirects".into()),
        Some(TokenFailure::Throttled { .. }) => Revocation::Failed("the provider asks for fewer requests".into()),
        Some(other) => Revocation::Failed(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::scripted::{Line, Scripted, client, run, secret};
    use super::*;
    use crate::fetch::FetchError;

    fn revoked(line: Line) -> (Revocation, Vec<(String, String)>) {
        let provider = Scripted::new([line]);
        let client = OauthClient { extra: vec![("tenant".into(), "x".into())], ..client() };
        let url = "https://login.acme.test/revoke";
        let revocation = run(revoke(&provider, &client, url, &secret("canary-rt"), TokenKind::RefreshToken, 0));
        (revocation, provider.sent().remove(0))
    }

    #[test]
    fn the_request_names_the_token_and_its_kind() {
        let (revocation, sent) = revoked(Ok((200, "")));
        assert_eq!(revocation, Revocation::Done);
        let expected = [("token", "canary-rt"), ("token_type_hint", "refresh_token")];
        assert_eq!(sent, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn each_answer_has_its_words() {
        let rows: [(Line, &str); 7] = [
            (Ok((204, "")), "revoked at"),
            (Ok((400, r#"{"error":"invalid_token"}"#)), "already"),
            (Ok((400, r#"{"error":"unsupported_token_type"}"#)), "of this kind"),
            (Ok((401, r#"{"error":"invalid_client","error_description":"no canary-rt"}"#)), "invalid_client no …"),
            (Ok((503, "")), "HTTP 503"),
            (Ok((302, "")), "redirects"),
            (Err(FetchError::Timeout("login.acme.test".into())), "in time"),
        ];
        for (line, expected) in rows {
            let words = revoked(line.clone()).0.to_string();
            assert!(words.contains(expected) && !words.contains("canary"), "{line:?}: {words}");
        }
    }
}
