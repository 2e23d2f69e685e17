//! `integrations:` of the file. Endpoints are checked for their form only; nothing is asked of them here.

use super::super::node::At;
use super::super::raw::{RawClientAuth, RawIntegration, RawTokenRequest};
use super::super::read::Named;
use super::super::report::Report;
use super::{Declared, declare, hosts};
use crate::authority::Authority;
use crate::config::{AccountSource, ClientAuth, Integration, TokenRequest};
use crate::name::IntegrationName;

/// Resolves every integration.
pub(super) fn resolve(entries: Option<Named<RawIntegration>>, report: &mut Report<'_>) -> Declared<Integration> {
    declare(entries, IntegrationName::parse, report, |name, raw, report| {
        Some(Integration {
            name,
            hosts: hosts(&raw.hosts.unwrap_or_default(), report),
            authorization_url: raw.authorization_url.and_then(|text| url(text, report)),
            token_url: raw.token_url.and_then(|text| url(text, report)),
            revocation_url: raw.revocation_url.and_then(|text| url(text, report)),
            account: raw
                .identity
                .and_then(|source| Some(AccountSource { url: url(source.url, report)?, field: source.account })),
            client_auth: match raw.client_auth {
                None | Some(RawClientAuth::Basic) => ClientAuth::Basic,
                Some(RawClientAuth::Post) => ClientAuth::Post,
            },
            token_request: match raw.token_request {
                None | Some(RawTokenRequest::Form) => TokenRequest::Form,
                Some(RawTokenRequest::Json) => TokenRequest::Json,
            },
            scopes: raw.scopes.unwrap_or_default(),
        })
    })
}

fn url(text: At<String>, report: &mut Report<'_>) -> Option<String> {
    let problem = match check_url(&text.value) {
        Ok(()) => return Some(text.value),
        Err(problem) => problem,
    };
    report.error(text.place, problem, Some("write it as https://login.example.com/path".to_owned()));
    None
}

fn check_url(text: &str) -> Result<(), &'static str> {
    let rest = text.strip_prefix("https://").ok_or("a provider's endpoint begins with https://")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    Authority::parse_with_default(&rest[..end], 443).map_err(|_| "this URL has no valid host")?;
    if text.bytes().all(|byte| byte.is_ascii_graphic()) { Ok(()) } else { Err("a URL has no blanks") }
}
