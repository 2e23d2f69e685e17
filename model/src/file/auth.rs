//! `auth:` of a connection as the operator writes it: its `type` decides which other keys it has. It says nothing about
//! what the values mean together and never repeats one.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::node::{At, Node, Value};
use super::raw::{RawClientAuth, RawTokenRequest};
use super::read::{Fields, Keyed, Named, Read, add_keys, mismatch, raw, report_choice};
use super::report::Report;
use super::secret::RawSecret;
use super::units::Span;

/// How a connection authenticates.
pub(super) enum RawAuth {
    Bearer(RawBearer),
    Basic(RawBasic),
    Header(RawHeader),
    Query(RawQuery),
    AuthorizationCode(RawClient, RawAuthorization, RawOauth),
    RefreshToken(RawClient, RawFirstToken, RawOauth),
    ClientCredentials(RawClient, RawOauth),
    DeviceCode(RawClient, RawDevice, RawOauth),
    TokenExchange(RawExchange, RawOauth),
    GoogleServiceAccount(RawGoogleServiceAccount),
    GithubApp(RawGithubApp),
    AwsSigv4(RawAwsSigv4),
    Exec(RawExec),
    Broker(RawBroker),
}

raw! {
    /// A token that does not expire, as Authorization: Bearer TOKEN (RFC 6750), or as the integration takes its tokens.
    struct RawBearer {
        /// The token.
        token: At<RawSecret>,
    }

    /// Authorization: Basic (RFC 7617).
    struct RawBasic {
        /// The user name, or where it is. It may stand here as it is, if there is a password.
        username: At<RawSecret>,
        /// The password. Without it the user name is the secret, as some APIs have it.
        password: Option<At<RawSecret>>,
    }

    /// A header of your own, or several.
    struct RawHeader {
        /// The header's name, as in X-Api-Key. The integration's, if neither this nor "headers" is given.
        name: Option<At<String>>,
        /// What it holds, as in "Token {value}": "{value}" if not given.
        template: Option<At<String>>,
        /// The secret that stands for {value}.
        value: Option<At<RawSecret>>,
        /// Several headers instead, as in {X-Id: "{id}", X-Key: "Key {key}"}.
        headers: Option<At<Named<String>>>,
        /// The secrets that their templates name, as in {id: {env: ID}, key: {sealed: key}}.
        values: Option<At<Named<RawSecret>>>,
    }

    /// A parameter of the query, as in ?api_key=….
    struct RawQuery {
        /// The parameter's name.
        name: At<String>,
        /// The secret.
        value: At<RawSecret>,
    }

    /// What every OAuth type has.
    struct RawOauth {
        /// The client's secret. A public client has none.
        client_secret: Option<At<RawSecret>>,
        /// The scopes that are asked for, instead of the integration's.
        scopes: Option<Vec<At<String>>>,
        /// Where tokens are issued and refreshed, instead of the integration's endpoint.
        token_url: Option<At<String>>,
        /// Where tokens are revoked (RFC 7009), instead of the integration's endpoint.
        revocation_url: Option<At<String>>,
        /// How the client presents its id and secret, instead of the integration's way.
        client_auth: Option<At<RawClientAuth>>,
        /// The format of requests to the token endpoint, instead of the integration's.
        token_request: Option<RawTokenRequest>,
        /// Further parameters of every token request, besides the integration's.
        token_params: Option<Named<String>>,
    }

    /// The client.
    struct RawClient {
        /// The client's id, or where it is.
        client_id: At<RawSecret>,
    }

    /// A browser authorises the account (RFC 6749 §4.1), with PKCE.
    struct RawAuthorization {
        /// Where the browser is sent, instead of the integration's endpoint.
        authorization_url: Option<At<String>>,
        /// Further parameters of the authorization request, besides the integration's.
        authorize_params: Option<Named<String>>,
    }

    /// A refresh token that you have already (RFC 6749 §6).
    struct RawFirstToken {
        /// The first refresh token. After the first rotation the store's is used, until this one changes.
        refresh_token: At<RawSecret>,
    }

    /// Somebody types a code in a browser elsewhere (RFC 8628).
    struct RawDevice {
        /// Where that begins, instead of the integration's endpoint.
        device_authorization_url: Option<At<String>>,
    }

    /// A token is exchanged for another (RFC 8693).
    struct RawExchange {
        /// The client's id, or where it is, if the endpoint wants a client.
        client_id: Option<At<RawSecret>>,
        /// The token that is exchanged.
        subject_token: At<RawSecret>,
        /// What kind of token it is, as urn:ietf:params:oauth:token-type:access_token.
        subject_token_type: At<String>,
        /// The token of the party that acts, if it is another one.
        actor_token: Option<At<RawSecret>>,
        /// What kind of token that is.
        actor_token_type: Option<At<String>>,
        /// The name of the service that the token is for.
        audience: Option<At<String>>,
        /// The URI of what the token is for (RFC 8707).
        resource: Option<At<String>>,
    }

    /// A Google service account.
    struct RawGoogleServiceAccount {
        /// Its JSON key file.
        key: At<RawSecret>,
        /// The scopes that are asked for, instead of the integration's.
        scopes: Option<Vec<At<String>>>,
        /// The user on whose behalf it acts (domain-wide delegation).
        subject: Option<At<String>>,
        /// Where assertions are exchanged for tokens: Google's endpoint if not given.
        token_url: Option<At<String>>,
    }

    /// An installation of a GitHub App.
    struct RawGithubApp {
        /// The app's client id, or where it is.
        client_id: Option<At<RawSecret>>,
        /// The app's older numeric id, in place of the client id.
        app_id: Option<At<RawSecret>>,
        /// The installation's id.
        installation_id: At<RawSecret>,
        /// The app's private key (PEM).
        private_key: At<RawSecret>,
        /// The API's beginning: https://api.github.com if not given.
        api_url: Option<At<String>>,
    }

    /// Requests are signed (AWS Signature Version 4).
    struct RawAwsSigv4 {
        /// The access key's id, or where it is.
        access_key_id: Option<At<RawSecret>>,
        /// The secret access key.
        secret_access_key: Option<At<RawSecret>>,
        /// The session token of a temporary identity.
        session_token: Option<At<RawSecret>>,
        /// The section of the credentials file, in place of the keys above.
        profile: Option<At<String>>,
        /// The credentials file; a relative path begins in the folder of this file.
        credentials_file: Option<At<String>>,
        /// The region: from the host if not given.
        region: Option<At<String>>,
        /// The service: from the host if not given.
        service: Option<At<String>>,
    }

    /// A program that prints {"access_token": …, "expires_in": …}.
    struct RawExec {
        /// The program, by its absolute path, and its arguments. No shell reads it.
        command: At<Vec<At<String>>>,
        /// How long it may take: 10s if not given.
        timeout: Option<At<Span>>,
        /// The variables of postern's own environment that it gets. None if not given.
        env: Option<Vec<At<String>>>,
    }

    /// An HTTPS endpoint of yours that answers {"access_token": …, "expires_in": …}.
    struct RawBroker {
        /// The endpoint.
        url: At<String>,
        /// The bearer token that it is asked with, if it wants one.
        token: Option<At<RawSecret>>,
    }
}

/// Each type: the words for it, how its keys are read, how they are described.
struct Kind {
    words: &'static [&'static str],
    read: fn(&Node, &mut Report<'_>) -> Option<RawAuth>,
    schema: fn(&mut SchemaGenerator) -> Schema,
}

const KINDS: &[Kind] = &[
    Kind { words: &["bearer"], read: |n, r| keys(n, r).map(RawAuth::Bearer), schema: RawBearer::schema },
    Kind { words: &["basic"], read: |n, r| keys(n, r).map(RawAuth::Basic), schema: RawBasic::schema },
    Kind { words: &["header"], read: |n, r| keys(n, r).map(RawAuth::Header), schema: RawHeader::schema },
    Kind { words: &["query"], read: |n, r| keys(n, r).map(RawAuth::Query), schema: RawQuery::schema },
    Kind {
        words: &["authorization_code"],
        read: |n, r| keys(n, r).map(|(client, (it, oauth))| RawAuth::AuthorizationCode(client, it, oauth)),
        schema: <(RawClient, (RawAuthorization, RawOauth))>::schema,
    },
    Kind {
        words: &["refresh_token"],
        read: |n, r| keys(n, r).map(|(client, (it, oauth))| RawAuth::RefreshToken(client, it, oauth)),
        schema: <(RawClient, (RawFirstToken, RawOauth))>::schema,
    },
    Kind {
        words: &["client_credentials"],
        read: |n, r| keys(n, r).map(|(client, oauth)| RawAuth::ClientCredentials(client, oauth)),
        schema: <(RawClient, RawOauth)>::schema,
    },
    Kind {
        words: &["device_code"],
        read: |n, r| keys(n, r).map(|(client, (it, oauth))| RawAuth::DeviceCode(client, it, oauth)),
        schema: <(RawClient, (RawDevice, RawOauth))>::schema,
    },
    Kind {
        words: &["token_exchange"],
        read: |n, r| keys(n, r).map(|(it, oauth)| RawAuth::TokenExchange(it, oauth)),
        schema: <(RawExchange, RawOauth)>::schema,
    },
    Kind {
        words: &["google_service_account", "gcs_service_account"],
        read: |n, r| keys(n, r).map(RawAuth::GoogleServiceAccount),
        schema: RawGoogleServiceAccount::schema,
    },
    Kind { words: &["github_app"], read: |n, r| keys(n, r).map(RawAuth::GithubApp), schema: RawGithubApp::schema },
    Kind {
        words: &["aws_sigv4", "aws_iam"],
        read: |n, r| keys(n, r).map(RawAuth::AwsSigv4),
        schema: RawAwsSigv4::schema,
    },
    Kind { words: &["exec"], read: |n, r| keys(n, r).map(RawAuth::Exec), schema: RawExec::schema },
    Kind { words: &["broker"], read: |n, r| keys(n, r).map(RawAuth::Broker), schema: RawBroker::schema },
];

/// The key that decides which others there are.
const TYPE: &str = "type";

/// Reads the keys of one type, beside `type` itself.
fn keys<T: Keyed>(node: &Node, report: &mut Report<'_>) -> Option<T> {
    let keys = [vec![TYPE], T::keys()].concat();
    T::take(&Fields::of(node, &keys, &[], report)?, report)
}

impl Read for RawAuth {
    fn read(node: &Node, report: &mut Report<'_>) -> Option<Self> {
        let Value::Map(entries) = &node.value else {
            mismatch(node, "a map", None, report);
            return None;
        };
        let words = || KINDS.iter().flat_map(|kind| kind.words.iter().copied());
        let Some(written) = entries.iter().find(|entry| entry.key.value == TYPE) else {
            // The type may be there and misspelt; which other keys are right is not known without it.
            let near = entries.iter().find(|entry| super::nearest::nearest(&entry.key.value, [TYPE]).is_some());
            let place = near.map_or(node.place, |entry| entry.key.place);
            let help = match near {
                Some(_) => "did you mean \"type\" here?".to_owned(),
                None => "for example: auth: {type: bearer, token: {env: NAME}}".to_owned(),
            };
            report.error(place, format!("missing key \"{TYPE}\""), Some(help));
            return None;
        };
        let word = written.value.value.as_text();
        let kind = KINDS.iter().find(|kind| word.is_some_and(|word| kind.words.contains(&word)));
        if kind.is_none() {
            report_choice(&words().collect::<Vec<_>>(), word, &written.value, report);
        }
        (kind?.read)(node, report)
    }
}

impl JsonSchema for RawAuth {
    fn schema_name() -> Cow<'static, str> {
        "RawAuth".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let kinds = KINDS.iter().map(|kind| {
            let mut schema = (kind.schema)(generator);
            let of_type = json_schema!({
                "properties": { TYPE: { "enum": kind.words, "description": "The kind of credential." } },
                "required": [TYPE],
            });
            add_keys(&mut schema, of_type);
            schema
        });
        let kinds: Vec<Schema> = kinds.collect();
        json_schema!({ "description": "How the connection authenticates: its type decides the other keys.", "anyOf": kinds })
    }
}
