//! The OAuth types: each grant's own keys, and what all of them share with their integration. An endpoint comes from the
//! connection or else from its integration; one that is in neither is an error.

use super::super::super::auth::{RawAuthorization, RawClient, RawDevice, RawExchange, RawFirstToken, RawOauth};
use super::super::super::node::At;
use super::super::super::raw::RawClientAuth;
use super::super::super::report::Report;
use super::super::super::secret::RawSecret;
use super::super::integrations::{client_auth, rfc7009, token_request};
use super::super::parts::{params, plain, scopes, url};
use super::Surroundings;
use crate::config::{
    ActorToken, Auth, ClientAuth, Endpoints, Oauth, OauthGrant, RESERVED_AUTHORIZE_PARAMS, RESERVED_TOKEN_PARAMS,
    TokenExchange,
};

/// An example of an endpoint.
const URL: &str = "https://…";

/// The client of a grant.
pub(super) struct Client {
    pub(super) id: Option<At<RawSecret>>,
    pub(super) secret_needed: bool,
}

impl From<RawClient> for Client {
    fn from(raw: RawClient) -> Self {
        Self { id: Some(raw.client_id), secret_needed: false }
    }
}

pub(super) fn authorization_code(
    client: RawClient,
    raw: RawAuthorization,
    oauth: RawOauth,
    around: &Surroundings<'_>,
    report: &mut Report<'_>,
) -> Option<Auth> {
    let inherited = around.integration().and_then(|it| it.authorization_url.clone());
    let authorization_url = endpoint("authorization_url", raw.authorization_url, inherited, around, report);
    let own = params(raw.authorize_params, RESERVED_AUTHORIZE_PARAMS, report);
    let grant = authorization_url.map(|authorization_url| OauthGrant::AuthorizationCode { authorization_url });
    let mut auth = resolve(client.into(), grant, oauth, around, report)?;
    if let Auth::Oauth(oauth) = &mut auth {
        oauth.authorize_params.extend(own);
    }
    Some(auth)
}

pub(super) fn refresh_token(
    client: RawClient,
    raw: RawFirstToken,
    oauth: RawOauth,
    around: &Surroundings<'_>,
    report: &mut Report<'_>,
) -> Option<Auth> {
    let first = around.secret(raw.refresh_token, "refresh_token", report);
    resolve(client.into(), first.map(|first| OauthGrant::RefreshToken { first }), oauth, around, report)
}

pub(super) fn device_code(
    client: RawClient,
    raw: RawDevice,
    oauth: RawOauth,
    around: &Surroundings<'_>,
    report: &mut Report<'_>,
) -> Option<Auth> {
    let inherited = around.integration().and_then(|it| it.device_authorization_url.clone());
    let url = endpoint("device_authorization_url", raw.device_authorization_url, inherited, around, report);
    let grant = url.map(|device_authorization_url| OauthGrant::DeviceCode { device_authorization_url });
    resolve(client.into(), grant, oauth, around, report)
}

pub(super) fn token_exchange(
    raw: RawExchange,
    oauth: RawOauth,
    around: &Surroundings<'_>,
    report: &mut Report<'_>,
) -> Option<Auth> {
    let subject_token = around.secret(raw.subject_token, "subject_token", report);
    let subject_token_type = token_type(raw.subject_token_type, report);
    let audience = raw.audience.map(|text| plain(text, report));
    let resource = raw.resource.map(|text| resource(text, report));
    let actor = match (raw.actor_token, raw.actor_token_type) {
        (None, None) => Some(None),
        (Some(token), Some(of_type)) => {
            let (token, of_type) = (around.secret(token, "actor_token", report), token_type(of_type, report));
            token.zip(of_type).map(|(token, token_type)| Some(ActorToken { token, token_type }))
        }
        (Some(At { place, .. }), None) => {
            report.error(place, "\"actor_token\" needs \"actor_token_type\" beside it", None);
            None
        }
        (None, Some(At { place, .. })) => {
            report.error(place, "\"actor_token_type\" says something about an \"actor_token\" that is not there", None);
            None
        }
    };
    let exchange = (|| {
        Some(TokenExchange {
            subject_token: subject_token?,
            subject_token_type: subject_token_type?,
            actor: actor?,
            // Absent, or there and sound.
            audience: audience.map_or(Some(None), |text| text.map(Some))?,
            resource: resource.map_or(Some(None), |text| text.map(Some))?,
        })
    })();
    let client = Client { id: raw.client_id, secret_needed: false };
    resolve(client, exchange.map(OauthGrant::TokenExchange), oauth, around, report)
}

/// What all grants share. `None` for a grant that was reported: the rest is still looked at.
pub(super) fn resolve(
    client: Client,
    grant: Option<OauthGrant>,
    raw: RawOauth,
    around: &Surroundings<'_>,
    report: &mut Report<'_>,
) -> Option<Auth> {
    let errors = report.errors();
    let integration = around.integration();
    let token_url =
        endpoint("token_url", raw.token_url, integration.and_then(|it| it.token_url.clone()), around, report);
    let own_revocation = raw.revocation_url.map(|text| url(text, report).map(rfc7009));
    let has_id = client.id.is_some();
    let client_id = client.id.and_then(|id| around.open(id, report));
    let has_secret = raw.client_secret.is_some();
    let secret_place = raw.client_secret.as_ref().map(|secret| secret.place);
    let client_secret = raw.client_secret.and_then(|secret| around.secret(secret, "client_secret", report));
    if client.secret_needed && !has_secret {
        let help = "this grant is the client's own authority; for example: client_secret: {env: NAME}".to_owned();
        report.error(around.place, "missing key \"client_secret\"", Some(help));
    }
    if let Some(place) = secret_place.filter(|_| !has_id) {
        report.error(place, "\"client_secret\" needs \"client_id\" beside it", None);
    }
    let client_auth = presented(raw.client_auth, has_secret, around, report);
    let own_scopes = raw.scopes.map(|texts| scopes(texts, report));
    let own_params = params(raw.token_params, RESERVED_TOKEN_PARAMS, report);
    let mut authorize_params = Default::default();
    let mut token_params = integration.map(|it| it.token_params.clone()).unwrap_or_default();
    token_params.extend(own_params);
    if matches!(grant, Some(OauthGrant::AuthorizationCode { .. })) {
        authorize_params = integration.map(|it| it.authorize_params.clone()).unwrap_or_default();
    }
    let revocation = match own_revocation {
        Some(own) => own,
        None => integration.and_then(|it| it.revocation.clone()),
    };
    let oauth = Oauth {
        grant: grant?,
        client_id,
        client_secret,
        endpoints: Endpoints { token_url: token_url?, revocation },
        client_auth,
        token_request: raw
            .token_request
            .map(token_request)
            .or_else(|| integration.map(|it| it.token_request))
            .unwrap_or_default(),
        scopes: own_scopes.or_else(|| integration.map(|it| it.scopes.clone())).unwrap_or_default(),
        scope_separator: integration.map_or(' ', |it| it.scope_separator),
        authorize_params,
        token_params,
        client_id_param: integration.and_then(|it| it.client_id_param.clone()),
    };
    (report.errors() == errors).then(|| Auth::Oauth(Box::new(oauth)))
}

/// How the client presents itself: as it says, else as its integration says, and without a secret in the one way left.
fn presented(
    own: Option<At<RawClientAuth>>,
    has_secret: bool,
    around: &Surroundings<'_>,
    report: &mut Report<'_>,
) -> ClientAuth {
    let inherited = around.integration().map(|it| it.client_auth);
    let Some(own) = own else {
        return match inherited.unwrap_or_default() {
            _ if !has_secret => ClientAuth::None,
            // A secret that is given is meant to be used.
            ClientAuth::None => ClientAuth::Basic,
            way => way,
        };
    };
    let way = client_auth(own.value);
    match (way, has_secret) {
        (ClientAuth::None, true) => {
            let help = "remove \"client_secret\", or choose basic or post".to_owned();
            report.error(own.place, "\"client_auth: none\" never sends the client's secret", Some(help));
        }
        (ClientAuth::Basic | ClientAuth::Post, false) => {
            let help = "add \"client_secret\", or write \"client_auth: none\" for a public client".to_owned();
            report.error(own.place, "there is no client secret that could be presented so", Some(help));
        }
        (ClientAuth::None, false) | (ClientAuth::Basic | ClientAuth::Post, true) => {}
    }
    way
}

/// The connection's own endpoint, else its integration's.
fn endpoint(
    key: &str,
    own: Option<At<String>>,
    inherited: Option<String>,
    around: &Surroundings<'_>,
    report: &mut Report<'_>,
) -> Option<String> {
    if let Some(own) = own {
        return url(own, report);
    }
    if inherited.is_none() {
        around.missing(key, URL, report);
    }
    inherited
}

fn token_type(text: At<String>, report: &mut Report<'_>) -> Option<String> {
    if text.value.contains(':') && text.value.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Some(text.value);
    }
    let help = "for example urn:ietf:params:oauth:token-type:jwt".to_owned();
    report.error(text.place, "a token's type is a URI (RFC 8693 §3)", Some(help));
    None
}

fn resource(text: At<String>, report: &mut Report<'_>) -> Option<String> {
    let sound =
        text.value.contains(':') && !text.value.contains('#') && text.value.bytes().all(|b| b.is_ascii_graphic());
    if !sound {
        report.error(text.place, "a resource is an absolute URI without a fragment (RFC 8707 §2)", None);
    }
    sound.then_some(text.value)
}
