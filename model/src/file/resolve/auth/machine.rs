//! The types that need nobody's consent: service accounts, apps, signatures, helper programs and brokers. No program is
//! started and no file is opened here.

use std::time::Duration;

use super::super::super::auth::{RawAwsSigv4, RawBroker, RawExec, RawGithubApp, RawGoogleServiceAccount};
use super::super::super::node::At;
use super::super::super::report::Report;
use super::super::parts::{plain, scopes, url};
use super::Surroundings;
use crate::config::{Auth, AwsCredentials, AwsSigv4, Broker, Exec, GithubApp, GoogleServiceAccount, SecretSource};

const GOOGLE_TOKEN_URL: &str = "https://oauth2.googleapis.com/token";
const GITHUB_API_URL: &str = "https://api.github.com";
/// How long a helper program may take if the operator does not say.
const EXEC_ANSWER_IN: Duration = Duration::from_secs(10);
/// How long it may take at most: requests wait for it.
const EXEC_ANSWER_IN_MAX: Duration = Duration::from_secs(300);
/// What begins the name of each of postern's own variables, of which no program gets one.
const OWN_VARIABLES: &str = "POSTERN_";

pub(super) fn google_service_account(
    raw: RawGoogleServiceAccount,
    around: &Surroundings<'_>,
    report: &mut Report<'_>,
) -> Option<Auth> {
    let errors = report.errors();
    let key = around.secret(raw.key, "key", report);
    let own_scopes = raw.scopes.map(|texts| scopes(texts, report));
    let subject = raw.subject.and_then(|text| plain(text, report));
    let token_url = raw.token_url.map_or_else(|| Some(GOOGLE_TOKEN_URL.to_owned()), |text| url(text, report));
    let scopes = own_scopes.or_else(|| around.integration().map(|it| it.scopes.clone())).unwrap_or_default();
    if scopes.is_empty() && report.errors() == errors {
        around.missing("scopes", "[https://www.googleapis.com/auth/devstorage.read_only]", report);
    }
    let account = GoogleServiceAccount { key: key?, scopes, subject, token_url: token_url? };
    (report.errors() == errors).then(|| Auth::GoogleServiceAccount(Box::new(account)))
}

pub(super) fn github_app(raw: RawGithubApp, around: &Surroundings<'_>, report: &mut Report<'_>) -> Option<Auth> {
    let client_id = match (raw.client_id, raw.app_id) {
        (Some(id), None) | (None, Some(id)) => around.open(id, report),
        (Some(_), Some(At { place, .. })) => {
            let help = "\"client_id\" is enough; remove \"app_id\"".to_owned();
            report.error(place, "an app is named by its client id or by its app id, not by both", Some(help));
            None
        }
        (None, None) => {
            let help = "for example: client_id: Iv23…".to_owned();
            report.error(around.place, "missing key \"client_id\"", Some(help));
            None
        }
    };
    let installation_id = around.open(raw.installation_id, report);
    let private_key = around.secret(raw.private_key, "private_key", report);
    let api_url = raw.api_url.map_or_else(|| Some(GITHUB_API_URL.to_owned()), |text| url(text, report));
    Some(Auth::GithubApp(Box::new(GithubApp {
        client_id: client_id?,
        installation_id: installation_id?,
        private_key: private_key?,
        api_url: api_url?.trim_end_matches('/').to_owned(),
    })))
}

pub(super) fn aws_sigv4(raw: RawAwsSigv4, around: &Surroundings<'_>, report: &mut Report<'_>) -> Option<Auth> {
    let region = raw.region.map(|text| aws_word(text, "region", report));
    let service = raw.service.map(|text| aws_word(text, "service", report));
    let keys = (raw.access_key_id, raw.secret_access_key, raw.session_token);
    let credentials = match (keys, raw.profile, raw.credentials_file) {
        ((Some(id), Some(secret), token), None, None) => {
            let access_key_id = around.open(id, report);
            let secret_access_key = around.secret(secret, "secret_access_key", report);
            let session_token = token.map(|token| around.secret(token, "session_token", report));
            AwsCredentials::Keys {
                access_key_id: access_key_id?,
                secret_access_key: secret_access_key?,
                session_token: session_token.map_or(Some(None), |token| token.map(Some))?,
            }
        }
        ((None, None, None), Some(profile), Some(file)) => {
            let (profile, file) = (plain(profile, report), path(&file, report));
            AwsCredentials::Profile { profile: profile?, file: SecretSource::File(file?) }
        }
        _ => {
            let help = "either access_key_id and secret_access_key, or profile and credentials_file".to_owned();
            report.error(around.place, "these keys do not make an AWS identity", Some(help));
            return None;
        }
    };
    Some(Auth::AwsSigv4(Box::new(AwsSigv4 {
        credentials,
        region: region.map_or(Some(None), |region| region.map(Some))?,
        service: service.map_or(Some(None), |service| service.map(Some))?,
    })))
}

fn aws_word(text: At<String>, what: &str, report: &mut Report<'_>) -> Option<String> {
    let sound = (1..=63).contains(&text.value.len())
        && text.value.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if !sound {
        let message = format!("a {what} consists of lower-case letters, digits and hyphens");
        report.error(text.place, message, None);
    }
    sound.then_some(text.value)
}

fn path(text: &At<String>, report: &mut Report<'_>) -> Option<std::path::PathBuf> {
    if text.value.is_empty() || text.value.contains(char::is_control) {
        report.error(text.place, "this is not a path", None);
        return None;
    }
    Some(report.path(&text.value))
}

pub(super) fn exec(raw: RawExec, report: &mut Report<'_>) -> Option<Auth> {
    let errors = report.errors();
    let place = raw.command.place;
    if raw.command.value.is_empty() {
        report.error(place, "\"command\" is an empty list", None);
    }
    if let Some(program) = raw.command.value.first().filter(|program| !program.value.starts_with('/')) {
        let help = "for example /usr/local/bin/token-helper; no PATH is searched and no shell is asked".to_owned();
        report.error(program.place, "a program is named by its absolute path", Some(help));
    }
    for argument in raw.command.value.iter().filter(|argument| argument.value.contains('\0')) {
        report.error(argument.place, "no argument of a program can hold a NUL", None);
    }
    let answer_in = raw.timeout.as_ref().map_or(EXEC_ANSWER_IN, |span| span.value.0);
    if let Some(timeout) = raw.timeout.filter(|_| answer_in > EXEC_ANSWER_IN_MAX) {
        let message = format!("a program may take at most {}s", EXEC_ANSWER_IN_MAX.as_secs());
        report.error(timeout.place, message, None);
    }
    let environment = raw.env.unwrap_or_default();
    let environment: Vec<_> = environment.into_iter().filter_map(|text| variable(text, report)).collect();
    let command = raw.command.value.into_iter().map(|argument| argument.value).collect();
    (report.errors() == errors).then_some(Auth::Exec(Exec { command, answer_in, environment }))
}

fn variable(text: At<String>, report: &mut Report<'_>) -> Option<String> {
    if text.value.is_empty() || text.value.contains(['=', '\0']) {
        report.error(text.place, "an environment variable's name is not empty and has no \"=\"", None);
        return None;
    }
    if text.value.starts_with(OWN_VARIABLES) {
        report.error(text.place, "no program gets postern's own variables", None);
        return None;
    }
    Some(text.value)
}

pub(super) fn broker(raw: RawBroker, around: &Surroundings<'_>, report: &mut Report<'_>) -> Option<Auth> {
    let url = url(raw.url, report);
    let token = raw.token.map(|token| around.secret(token, "token", report));
    let token = token.map_or(Some(None), |token| token.map(Some));
    Some(Auth::Broker(Broker { url: url?, token: token? }))
}
