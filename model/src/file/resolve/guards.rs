//! What a connection must never be used for: every endpoint of its own provider, as its integration and its `auth` name
//! them. It guards what is named and guesses nothing.

use crate::config::{Auth, Integration, OauthGrant};
use crate::guard::Guarded;

/// The guarded paths of a connection, each once.
pub(super) fn guarded(integration: Option<&Integration>, auth: &Auth) -> Vec<Guarded> {
    let mut guarded: Vec<Guarded> = Vec::new();
    let of_integration = integration.into_iter().flat_map(endpoints);
    let endpoints = of_integration.chain(endpoints_of(auth)).filter_map(|url| Guarded::of_endpoint(&url));
    for guard in integration.into_iter().flat_map(|it| it.guarded.iter().cloned()).chain(endpoints) {
        if !guarded.contains(&guard) {
            guarded.push(guard);
        }
    }
    guarded
}

fn endpoints(integration: &Integration) -> impl Iterator<Item = String> {
    let urls = [&integration.authorization_url, &integration.token_url, &integration.device_authorization_url];
    let revocation = integration.revocation.iter().map(|revocation| revocation.url.clone());
    urls.into_iter().flatten().cloned().chain(revocation)
}

fn endpoints_of(auth: &Auth) -> Vec<String> {
    match auth {
        Auth::Bearer { .. } | Auth::Basic { .. } | Auth::Header { .. } | Auth::Query { .. } => Vec::new(),
        Auth::AwsSigv4(_) | Auth::Exec(_) => Vec::new(),
        Auth::Oauth(oauth) => {
            let own = match &oauth.grant {
                OauthGrant::AuthorizationCode { authorization_url } => Some(authorization_url.clone()),
                OauthGrant::DeviceCode { device_authorization_url } => Some(device_authorization_url.clone()),
                OauthGrant::RefreshToken { .. } | OauthGrant::ClientCredentials | OauthGrant::TokenExchange(_) => None,
            };
            let revocation = oauth.endpoints.revocation.iter().map(|revocation| revocation.url.clone());
            own.into_iter().chain([oauth.endpoints.token_url.clone()]).chain(revocation).collect()
        }
        Auth::GoogleServiceAccount(account) => vec![account.token_url.clone()],
        // An installation's token could make further ones and would not be told from the app's own.
        Auth::GithubApp(app) => vec![format!("{}/app/installations/*/access_tokens", app.api_url)],
        Auth::Broker(broker) => vec![broker.url.clone()],
    }
}
