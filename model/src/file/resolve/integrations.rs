//! `integrations:` of the file, and what a connection makes of the built-in catalogue's. One of the file replaces the
//! catalogue's of the same name as a whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::node::{At, Place};
use super::super::raw::{RawClientAuth, RawIntegration, RawTokenRequest};
use super::super::read::Named;
use super::super::report::Report;
use super::parts::{params, scopes, url};
use super::{Declared, declare, hosts};
use crate::catalogue::{self, Provider};
use crate::config::{
    AccountSource, ClientAuth, Integration, RESERVED_AUTHORIZE_PARAMS, RESERVED_TOKEN_PARAMS, Revocation,
    RevocationForm, TokenRequest,
};
use crate::name::IntegrationName;

/// Resolves every integration.
pub(super) fn resolve(entries: Option<Named<RawIntegration>>, report: &mut Report<'_>) -> Declared<Integration> {
    declare(entries, IntegrationName::parse, report, |name, raw, report| Some(integration(name, raw, report)))
}

/// Resolves one integration, of the file or of the catalogue.
pub(in crate::file) fn integration(name: IntegrationName, raw: RawIntegration, report: &mut Report<'_>) -> Integration {
    Integration {
        hosts: hosts(&raw.hosts.unwrap_or_default(), report),
        authorization_url: raw.authorization_url.and_then(|text| url(text, report)),
        token_url: raw.token_url.and_then(|text| url(text, report)),
        device_authorization_url: raw.device_authorization_url.and_then(|text| url(text, report)),
        revocation: raw.revocation_url.and_then(|text| url(text, report)).map(rfc7009),
        account: raw.identity.and_then(|source| {
            Some(AccountSource {
                url: url(source.url, report)?,
                field: source.account,
                id: source.id,
                body: source.body,
                scheme: source.scheme,
            })
        }),
        client_auth: raw.client_auth.map(client_auth).unwrap_or_default(),
        token_request: raw.token_request.map(token_request).unwrap_or_default(),
        scopes: scopes(raw.scopes.unwrap_or_default(), report),
        scope_separator: raw.scope_separator.and_then(|text| separator(&text, report)).unwrap_or(' '),
        authorize_params: params(raw.authorize_params, RESERVED_AUTHORIZE_PARAMS, report),
        token_params: params(raw.token_params, RESERVED_TOKEN_PARAMS, report),
        ..Integration::new(name)
    }
}

/// How an endpoint that is only given as a URL is used.
pub(super) fn rfc7009(url: String) -> Revocation {
    Revocation { url, form: RevocationForm::Rfc7009, client_auth: None }
}

pub(super) fn client_auth(raw: RawClientAuth) -> ClientAuth {
    match raw {
        RawClientAuth::Basic => ClientAuth::Basic,
        RawClientAuth::Post => ClientAuth::Post,
        RawClientAuth::None => ClientAuth::None,
    }
}

pub(super) fn token_request(raw: RawTokenRequest) -> TokenRequest {
    match raw {
        RawTokenRequest::Form => TokenRequest::Form,
        RawTokenRequest::Json => TokenRequest::Json,
    }
}

fn separator(text: &At<String>, report: &mut Report<'_>) -> Option<char> {
    let mut characters = text.value.chars();
    match (characters.next(), characters.next()) {
        (Some(separator), None) if separator == ' ' || separator.is_ascii_punctuation() => Some(separator),
        _ => {
            report.error(text.place, "a separator is one space or punctuation mark, as in \",\"", None);
            None
        }
    }
}

/// The integration of a connection.
pub(super) enum Chosen {
    /// It names none.
    None,
    /// It names one that is wrong, which was reported.
    Broken,
    /// It names this one.
    Known(Arc<Integration>, BTreeMap<String, String>),
}

/// The integration that a connection names, with the connection's context filled in.
pub(super) fn named(
    text: Option<&At<String>>,
    context: Option<At<Named<String>>>,
    declared: &Declared<Integration>,
    report: &mut Report<'_>,
) -> Chosen {
    let Some(text) = text else {
        refuse_context(context, "this connection names no integration, so nothing asks for a context", report);
        return Chosen::None;
    };
    if let Some(definition) = declared.get(&text.value) {
        refuse_context(context, "an integration of this file takes no context", report);
        return definition.clone().map_or(Chosen::Broken, |it| Chosen::Known(it, BTreeMap::new()));
    }
    let Some(provider) = catalogue::find(&text.value) else {
        let known = declared.keys().map(String::as_str).chain(catalogue::all().iter().map(|it| it.id.as_str()));
        let message = format!("no integration {} is defined in this file or built in", report.quote(text));
        let help = report.suggest(&text.value, known, "known");
        report.error(text.place, message, help);
        return Chosen::Broken;
    };
    let Some(context) = filled_context(provider, text.place, context, report) else { return Chosen::Broken };
    match provider.integration(&context) {
        Ok(integration) => Chosen::Known(Arc::new(integration), context),
        Err(error) => {
            report.error(text.place, error.to_string(), None);
            Chosen::Broken
        }
    }
}

fn refuse_context(context: Option<At<Named<String>>>, message: &str, report: &mut Report<'_>) {
    if let Some(context) = context {
        report.error(context.place, message, Some("remove \"context\"".to_owned()));
    }
}

/// The context that the provider's templates ask for: each part checked, none missing.
fn filled_context(
    provider: &Provider,
    integration: Place,
    context: Option<At<Named<String>>>,
    report: &mut Report<'_>,
) -> Option<BTreeMap<String, String>> {
    let errors = report.errors();
    let mut values = BTreeMap::new();
    for (key, value) in context.map(|context| context.value.0).unwrap_or_default() {
        let Some(variable) = provider.context.get(&key.value) else {
            let message = format!("integration \"{}\" asks for no such context", provider.id);
            let help = report.suggest(&key.value, provider.context.keys().map(String::as_str), "it asks for");
            report.error(key.place, message, help);
            continue;
        };
        let Some(value) = value else { continue };
        match variable.check(&value.value) {
            Ok(()) => drop(values.insert(key.value, value.value)),
            Err(problem) => report.error(
                value.place,
                format!("\"{}\" is {problem}", key.value),
                Some(format!("for example {}", variable.example)),
            ),
        }
    }
    let complete = report.errors() == errors;
    for (name, variable) in provider.context.iter().filter(|(name, _)| !values.contains_key(*name)) {
        if !complete || variable.optional || variable.default.is_some() {
            continue;
        }
        let message = format!("integration \"{}\" needs to know this connection's \"{name}\"", provider.id);
        let help = format!("write beside it: context: {{{name}: {}}}", variable.example);
        report.error(integration, message, Some(help));
    }
    (report.errors() == errors).then_some(values)
}
