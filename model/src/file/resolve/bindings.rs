//! `bindings:` of the file: each entry against deployments and connections, then all of them against each other. Who may
//! use what is decided later, from the result.

use std::collections::HashMap;
use std::num::NonZeroU32;

use super::super::node::{At, Place};
use super::super::raw::{RawBinding, RawCookies, RawRate, RawScrub, RawWebSocket};
use super::super::read::{Item, not_yet};
use super::super::report::Report;
use super::{Declared, hosts, known};
use crate::config::{Connection, Deployment};
use crate::path::PathPattern;
use crate::policy::{Binding, Cookies, Rate, Scrub, WebSocket};

/// The longest placeholder, in bytes.
const PLACEHOLDER_BYTES_MAX: usize = 512;

/// A binding, and where its entry begins.
pub(super) type Placed = At<Binding>;

/// Resolves every binding.
pub(super) fn resolve(
    raws: Vec<Item<RawBinding>>,
    deployments: &Declared<Deployment>,
    connections: &Declared<Connection>,
    report: &mut Report<'_>,
) -> Vec<Placed> {
    let mut bindings: Vec<Placed> = Vec::with_capacity(raws.len());
    let mut ids: HashMap<String, usize> = HashMap::new();
    for raw in raws {
        let errors = report.errors();
        let (place, sound) = (raw.place, raw.sound);
        let Some(mut binding) = binding(raw, deployments, connections, report) else { continue };
        if !sound || report.errors() != errors {
            continue;
        }
        let count = ids.entry(binding.id.clone()).or_insert(0);
        *count += 1;
        if *count > 1 {
            binding.id = format!("{}#{count}", binding.id);
        }
        bindings.push(At { value: binding, place });
    }
    bindings
}

fn binding(
    raw: Item<RawBinding>,
    deployments: &Declared<Deployment>,
    connections: &Declared<Connection>,
    report: &mut Report<'_>,
) -> Option<Binding> {
    let Item { value: raw, place, sound } = raw;
    let own_hosts = raw.hosts.map(|texts| hosts(&listed("hosts", texts, report), report));
    let paths = listed_or_all("paths", raw.paths, report);
    let paths = paths.iter().filter_map(|text| report.parsed(text, PathPattern::parse)).collect();
    let methods = listed_or_all("methods", raw.methods, report);
    let methods = methods.into_iter().filter_map(|text| method(text, report)).collect();
    let placeholder = raw.placeholder.and_then(|text| placeholder(text, report));
    if let Some(vend) = raw.vend.filter(|vend| vend.value) {
        report.error(vend.place, not_yet("\"vend: true\""), None);
    }
    let scrub = raw.scrub.map_or(Scrub::default(), |scrub| resolve_scrub(&scrub, report));
    let websocket = raw.websocket.map_or(WebSocket::default(), |websocket| resolve_websocket(&websocket, report));
    let deployment = known(&raw.deployment, deployments, "deployment", report);
    let connection = known(&raw.connection, connections, "connection", report);
    let (deployment, connection) = (deployment?, connection?);
    check_tenants(&deployment, &connection, raw.connection.place, report);
    if own_hosts.is_none() && connection.hosts.is_empty() && sound {
        let message = format!("this binding has no hosts, and connection \"{}\" has none either", connection.name);
        report.error(place, message, Some("say where it applies, as in \"hosts: [api.example.com]\"".to_owned()));
    }
    let hosts = own_hosts.unwrap_or_else(|| connection.hosts.clone());
    Some(Binding {
        id: format!("{}/{}", deployment.name, connection.name),
        deployment: deployment.name.clone(),
        connection,
        hosts,
        paths,
        methods,
        rate: raw.rate.map(|raw| rate(&raw)),
        optional: raw.optional.unwrap_or(false),
        default: raw.default.unwrap_or(false),
        allow_plaintext: raw.allow_plaintext.unwrap_or(false),
        placeholder,
        scrub,
        cookies: match raw.cookies {
            None | Some(RawCookies::Keep) => Cookies::Keep,
            Some(RawCookies::Strip) => Cookies::Strip,
        },
        websocket,
    })
}

/// An empty list would read as "nothing" and act as "everything": it must be one or the other in plain sight.
fn listed(key: &str, texts: At<Vec<At<String>>>, report: &mut Report<'_>) -> Vec<At<String>> {
    if texts.value.is_empty() {
        let help = format!("remove \"{key}\" to limit nothing; remove the binding to allow nothing");
        report.error(texts.place, format!("\"{key}\" is an empty list"), Some(help));
    }
    texts.value
}

fn listed_or_all(key: &str, texts: Option<At<Vec<At<String>>>>, report: &mut Report<'_>) -> Vec<At<String>> {
    texts.map(|texts| listed(key, texts, report)).unwrap_or_default()
}

/// A method is a token (RFC 9110 §5.6.2, §9.1) and compares byte for byte, so a lower-case one rarely means itself.
fn method(text: At<String>, report: &mut Report<'_>) -> Option<String> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if text.value.is_empty() || !text.value.bytes().all(is_token) {
        report.error(text.place, format!("{} is not a method", report.quote(&text)), None);
        return None;
    }
    let upper = text.value.to_ascii_uppercase();
    if upper != text.value {
        let message = format!("the method {} has lower-case letters", report.quote(&text));
        let help = format!("methods compare letter for letter; did you mean \"{upper}\"?");
        report.warning(text.place, message, Some(help));
    }
    Some(text.value)
}

fn placeholder(text: At<String>, report: &mut Report<'_>) -> Option<String> {
    let sound =
        (1..=PLACEHOLDER_BYTES_MAX).contains(&text.value.len()) && text.value.bytes().all(|b| b.is_ascii_graphic());
    if !sound {
        let message = format!("a placeholder is 1 to {PLACEHOLDER_BYTES_MAX} visible ASCII characters without blanks");
        report.error(text.place, message, None);
    }
    if sound {
        promise(text.place, "placeholder", report);
    }
    sound.then_some(text.value)
}

fn resolve_scrub(raw: &At<RawScrub>, report: &mut Report<'_>) -> Scrub {
    match raw.value {
        RawScrub::On => {
            promise(raw.place, "scrub: on", report);
            Scrub::On
        }
        RawScrub::Off => Scrub::Off,
        RawScrub::Full => {
            report.error(raw.place, not_yet("\"scrub: full\""), Some("supported: on, off".to_owned()));
            Scrub::On
        }
    }
}

fn resolve_websocket(raw: &At<RawWebSocket>, report: &mut Report<'_>) -> WebSocket {
    match raw.value {
        RawWebSocket::Allow => {
            promise(raw.place, "websocket: allow", report);
            WebSocket::Allow
        }
        RawWebSocket::Deny => WebSocket::Deny,
    }
}

/// A setting that is understood and kept, but that nothing acts on: the operator must not rely on it.
fn promise(place: Place, setting: &str, report: &mut Report<'_>) {
    report.warning(place, format!("\"{setting}\" has no effect in this version yet"), None);
}

fn rate(raw: &RawRate) -> Rate {
    let burst: NonZeroU32 = raw.burst.unwrap_or(raw.per_second);
    Rate { per_second: raw.per_second, burst }
}

fn check_tenants(deployment: &Deployment, connection: &Connection, place: Place, report: &mut Report<'_>) {
    if deployment.tenant == connection.tenant {
        return;
    }
    let of = |tenant: &Option<crate::name::TenantName>| {
        tenant.as_ref().map_or_else(|| "no tenant".to_owned(), |tenant| format!("tenant \"{tenant}\""))
    };
    let message = format!(
        "deployment \"{}\" belongs to {}, connection \"{}\" to {}",
        deployment.name,
        of(&deployment.tenant),
        connection.name,
        of(&connection.tenant)
    );
    report.error(place, message, Some("a binding stays within one tenant".to_owned()));
}
