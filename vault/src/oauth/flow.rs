//! One token, from request to judgement: builds, sends, reads. It stores nothing and waits for nothing but the answer;
//! its caller keeps the refresh token durable before it looks at the rest, and decides when to come again.

use secrecy::ExposeSecret;

use super::answer::{Answer, TokenOutcome};
use super::client::OauthClient;
use super::failure::TokenFailure;
use super::request::{GrantRequest, token_request};
use crate::fetch::{Fetch, FetchError};

/// Asks the client's token endpoint. `now` is in Unix seconds, taken before the request, so that a slow answer shortens
/// a token's life rather than stretching it.
///
/// Where the answer to a refresh is lost on the way, the same refresh token is sent once more at once: a provider with a
/// grace period gives the same answer again, and one without would have refused it later just as well.
pub async fn exchange(fetch: &dyn Fetch, client: &OauthClient, grant: &GrantRequest, now: i64) -> TokenOutcome {
    let request = match token_request(client, grant) {
        Ok(request) => request,
        Err(error) => return TokenOutcome::failed(TokenFailure::Misconfigured(error.to_string())),
    };
    let spare = may_repeat(grant).then(|| request.clone());
    let answer = match (fetch.fetch(request).await, spare) {
        (Err(error), Some(spare)) if is_lost(&error) => {
            tracing::warn!(%error, "the answer to a refresh was lost; the same refresh token is sent once more");
            fetch.fetch(spare).await
        }
        (answer, _) => answer,
    };
    match answer {
        Ok(response) => {
            let secret = client.client_secret.iter().map(|secret| secret.expose_secret());
            let sent: Vec<&str> = grant.secrets().into_iter().chain(secret).collect();
            Answer::of(&response).read(now, &client.answers, &sent)
        }
        Err(FetchError::TooLong(_)) => TokenOutcome::failed(TokenFailure::Unusable("is too long".into())),
        Err(error) => TokenOutcome::failed(TokenFailure::Unreachable(error)),
    }
}

/// A code is not repeated: its second use has the provider revoke what the first one gave (RFC 6749 §4.1.2).
fn may_repeat(grant: &GrantRequest) -> bool {
    matches!(grant, GrantRequest::RefreshToken { .. })
}

/// True where the provider may have acted on the request, and only its answer is missing.
fn is_lost(error: &FetchError) -> bool {
    matches!(error, FetchError::Timeout(_) | FetchError::Invalid(_))
}

#[cfg(test)]
mod tests {
    use super::super::scripted::{Line, Scripted, client, run, secret};
    use super::*;

    const TOKEN: Line = Ok((200, r#"{"access_token":"at","expires_in":60,"refresh_token":"rt-new"}"#));

    fn lost() -> FetchError {
        FetchError::Timeout("login.acme.test".into())
    }

    fn refresh() -> GrantRequest {
        GrantRequest::RefreshToken { refresh_token: secret("rt-old-canary"), scopes: Vec::new() }
    }

    fn code() -> GrantRequest {
        let redirect_uri = "https://p.test/cb".into();
        GrantRequest::AuthorizationCode { code: secret("code"), redirect_uri, verifier: None }
    }

    #[test]
    fn a_refresh_brings_both_tokens() {
        let outcome = run(exchange(&Scripted::new([TOKEN]), &client(), &refresh(), 1000));
        assert_eq!(outcome.refresh_token.unwrap().expose_secret(), "rt-new");
        assert_eq!(outcome.judged.unwrap().expires_at, Some(1060));
    }

    #[test]
    fn a_lost_answer_is_asked_for_once_more_with_the_same_refresh_token() {
        for error in [lost(), FetchError::Invalid("login.acme.test".into())] {
            let provider = Scripted::new([Err(error), TOKEN]);
            assert!(run(exchange(&provider, &client(), &refresh(), 0)).judged.is_ok());
            let sent = provider.sent();
            assert_eq!(sent.len(), 2);
            assert_eq!(sent[0], sent[1]);
        }
    }

    #[test]
    fn an_answer_lost_twice_is_not_asked_for_again() {
        let provider = Scripted::new([Err(lost()), Err(lost())]);
        let failure = run(exchange(&provider, &client(), &refresh(), 0)).judged.unwrap_err();
        assert_eq!(failure, TokenFailure::Unreachable(lost()));
        assert_eq!(provider.sent().len(), 2);
    }

    #[test]
    fn a_rotation_without_grace_whose_answer_was_lost_needs_a_new_authorization() {
        let provider = Scripted::new([Err(lost()), Ok((400, r#"{"error":"invalid_grant"}"#))]);
        assert!(run(exchange(&provider, &client(), &refresh(), 0)).judged.unwrap_err().needs_reauth());
    }

    #[test]
    fn a_code_is_never_sent_twice() {
        let provider = Scripted::new([Err(lost())]);
        assert!(run(exchange(&provider, &client(), &code(), 0)).judged.is_err());
        assert_eq!(provider.sent().len(), 1);
    }

    #[test]
    fn what_was_never_sent_is_not_sent_again_and_never_needs_a_new_authorization() {
        let host = || "login.acme.test".to_owned();
        let errors = [
            FetchError::Forbidden(host()),
            FetchError::Unreachable(host()),
            FetchError::Tls(host()),
            FetchError::TooLong(host()),
        ];
        for error in errors {
            let provider = Scripted::new([Err(error)]);
            let outcome = run(exchange(&provider, &client(), &refresh(), 0));
            assert!(!outcome.judged.unwrap_err().needs_reauth());
            assert_eq!(provider.sent().len(), 1);
        }
    }

    #[test]
    fn a_token_url_that_is_none_is_told_and_nothing_is_sent() {
        let provider = Scripted::new([]);
        let client = OauthClient { token_url: "/token".into(), ..client() };
        let failure = run(exchange(&provider, &client, &refresh(), 0)).judged.unwrap_err();
        assert!(matches!(&failure, TokenFailure::Misconfigured(told) if told.contains("token_url")));
    }

    #[test]
    fn a_provider_that_repeats_what_was_sent_does_not_get_it_shown() {
        let body = r#"{"error":"invalid_grant","error_description":"no such token rt-old-canary of acme-secret"}"#;
        let outcome = run(exchange(&Scripted::new([Ok((400, body))]), &client(), &refresh(), 0));
        let printed = format!("{outcome:?} {}", outcome.judged.as_ref().unwrap_err());
        assert!(!printed.contains("canary") && !printed.contains("acme-secret"), "{printed}");
    }
}
