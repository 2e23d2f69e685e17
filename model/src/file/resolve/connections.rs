//! `connections:` of the file. Secrets stay where they are; only the names of their places are looked at.

use super::super::auth::{RawAuthFields, RawAuthType};
use super::super::raw::RawConnection;
use super::super::read::Named;
use super::super::report::Report;
use super::super::secret::RawSecret;
use super::{Declared, declare, hosts, known, name};
use crate::config::{Auth, Connection, Integration};
use crate::name::{ConnectionName, TenantName};

/// Resolves every connection.
pub(super) fn resolve(
    entries: Option<Named<RawConnection>>,
    integrations: &Declared<Integration>,
    allow_literal: bool,
    report: &mut Report<'_>,
) -> Declared<Connection> {
    declare(entries, ConnectionName::parse, report, |own_name, raw, report| {
        let auth = auth(raw.auth.0, allow_literal, &own_name, report);
        let tenant = raw.tenant.and_then(|text| name(&text, TenantName::parse, report));
        let own_hosts = raw.hosts.map(|texts| hosts(&texts, report));
        let integration = match &raw.integration {
            Some(text) => Some(known(text, integrations, "integration", report)?),
            None => None,
        };
        let inherited = || integration.as_ref().map(|it| it.hosts.clone()).unwrap_or_default();
        Some(Connection {
            name: own_name,
            tenant,
            hosts: own_hosts.unwrap_or_else(inherited),
            integration: integration.as_ref().map(|it| it.name.clone()),
            active: raw.active.unwrap_or(true),
            auth: auth?,
        })
    })
}

fn auth(raw: RawAuthFields, allow_literal: bool, owner: &ConnectionName, report: &mut Report<'_>) -> Option<Auth> {
    match raw.r#type {
        RawAuthType::Bearer => {
            let token = RawSecret::resolve(raw.token, allow_literal, owner.as_str(), report)?;
            Some(Auth::Bearer { token })
        }
    }
}
