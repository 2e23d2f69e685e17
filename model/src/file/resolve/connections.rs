//! `connections:` of the file. Secrets stay where they are; only the names of their places are looked at.

use std::time::Duration;

use super::super::node::At;
use super::super::raw::{RawConnection, RawRefresh};
use super::super::read::Named;
use super::super::report::Report;
use super::auth::{self, Surroundings};
use super::guards::guarded;
use super::integrations::{self, Chosen};
use super::{Declared, declare, hosts, name};
use crate::config::{Auth, Connection, Integration, Refresh};
use crate::name::{ConnectionName, TenantName};

/// Resolves every connection.
pub(super) fn resolve(
    entries: Option<Named<RawConnection>>,
    integrations: &Declared<Integration>,
    allow_literal: bool,
    report: &mut Report<'_>,
) -> Declared<Connection> {
    declare(entries, ConnectionName::parse, report, |own_name, raw, report| {
        let chosen = integrations::named(raw.integration.as_ref(), raw.context, integrations, report);
        let surroundings =
            Surroundings { owner: &own_name, place: raw.auth.place, integration: &chosen, allow_literal };
        let auth = auth::resolve(raw.auth.value, &surroundings, report);
        let tenant = raw.tenant.and_then(|text| name(&text, TenantName::parse, report));
        let own_hosts = raw.hosts.map(|texts| hosts(&texts, report));
        let refresh = refresh(raw.refresh, auth.as_ref(), report);
        let auth = auth?;
        let (integration, context) = match chosen {
            Chosen::None => (None, Default::default()),
            Chosen::Broken => return None,
            Chosen::Known(integration, context) => (Some(integration), context),
        };
        let inherited = || integration.as_ref().map(|it| it.hosts.clone()).unwrap_or_default();
        Some(Connection {
            name: own_name,
            tenant,
            context,
            hosts: own_hosts.unwrap_or_else(inherited),
            active: raw.active.unwrap_or(true),
            refresh,
            guarded: guarded(integration.as_deref(), &auth),
            integration,
            auth,
        })
    })
}

fn refresh(raw: Option<At<RawRefresh>>, auth: Option<&Auth>, report: &mut Report<'_>) -> Refresh {
    let Some(raw) = raw else { return Refresh::default() };
    if let Some(auth) = auth.filter(|auth| !auth.is_fetched()) {
        let message = format!("\"refresh\" has no effect: a credential of type {} is not fetched", auth.type_name());
        report.warning(raw.place, message, Some("remove \"refresh\"".to_owned()));
    }
    let default = Refresh::default();
    Refresh {
        early_in: raw.value.early.map_or(default.early_in, Duration::from),
        keep_alive_in: raw.value.keep_alive.map_or(default.keep_alive_in, Option::from),
    }
}
