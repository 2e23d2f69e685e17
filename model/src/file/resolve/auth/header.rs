//! `type: header`: fields made from templates and secrets. It lets nothing through that belongs to the connection itself
//! or that no field could carry.

use std::collections::{BTreeMap, BTreeSet};

use super::super::super::auth::RawHeader;
use super::super::super::node::At;
use super::super::super::read::Named;
use super::super::super::report::Report;
use super::super::super::secret::RawSecret;
use super::Surroundings;
use crate::config::{Auth, HeaderTemplate, Presentation, SecretSource};
use crate::template::{Template, is_placeholder};

/// The fields that postern writes itself: hop-by-hop ones (RFC 9110 §7.6.1), and those that frame or address a message.
const RESERVED_FIELDS: &[&str] = &[
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
];
/// What also names such fields.
const RESERVED_PREFIXES: &[&str] = &["proxy-", "x-postern-"];

/// The placeholder of the short form.
const VALUE: &str = "value";

/// Resolves the short form (`name`, `template`, `value`) or the long one (`headers`, `values`).
pub(super) fn resolve(raw: RawHeader, around: &Surroundings<'_>, report: &mut Report<'_>) -> Option<Auth> {
    let RawHeader { name, template, value, headers, values } = raw;
    match (name, template, value, headers, values) {
        (name, template, Some(value), None, None) => short(name, template, value, around, report),
        (None, None, None, Some(headers), Some(values)) => long(headers, values.value, around, report),
        _ => {
            let help = "either {name: X-Api-Key, value: {env: NAME}} or {headers: {X-Api-Key: \"{key}\"}, values: {key: {env: NAME}}}";
            report.error(around.place, "these keys do not make a header", Some(help.to_owned()));
            None
        }
    }
}

fn short(
    name: Option<At<String>>,
    template: Option<At<String>>,
    value: At<RawSecret>,
    around: &Surroundings<'_>,
    report: &mut Report<'_>,
) -> Option<Auth> {
    let value = around.secret(value, VALUE, report);
    let own = template.map(|text| parse_template(&text, report).map(|template| (template, text.place)));
    let (name, prefix) = match name {
        Some(name) => (field_name(&name, report), String::new()),
        None => match around.integration().map(|it| &it.presentation) {
            Some(Presentation::Header { name, scheme }) => (Some(name.clone()), scheme.clone().unwrap_or_default()),
            Some(Presentation::Bearer) => (Some("Authorization".to_owned()), "Bearer".to_owned()),
            Some(Presentation::Basic { .. }) | None => {
                around.missing("name", "X-Api-Key", report);
                (None, String::new())
            }
        },
    };
    let template = match own {
        Some(None) => return None,
        Some(Some((template, place))) => {
            let names: Vec<&str> = template.placeholders().collect();
            if names.is_empty() || names.iter().any(|name| *name != VALUE) {
                let help = "for example \"Token {value}\"".to_owned();
                report.error(place, "the one placeholder of this template is {value}", Some(help));
                return None;
            }
            template
        }
        None => {
            let text = if prefix.is_empty() { "{value}".to_owned() } else { format!("{prefix} {{value}}") };
            Template::parse(&text).ok()?
        }
    };
    let values = BTreeMap::from([(VALUE.to_owned(), value?)]);
    Some(Auth::Header { headers: vec![HeaderTemplate { name: name?, template }], values })
}

fn long(
    headers: At<Named<String>>,
    values: Named<RawSecret>,
    around: &Surroundings<'_>,
    report: &mut Report<'_>,
) -> Option<Auth> {
    let errors = report.errors();
    let (values, mut unused) = secrets(values, around, report);
    let mut seen = BTreeSet::new();
    let mut resolved = Vec::new();
    if headers.value.0.is_empty() {
        report.error(headers.place, "\"headers\" is empty", None);
    }
    for (name, text) in headers.value.0 {
        let field = field_name(&name, report);
        if field.as_ref().is_some_and(|field| !seen.insert(field.to_ascii_lowercase())) {
            report.error(name.place, "this header is given twice: its name's case does not count", None);
        }
        let Some(text) = text.map(|text| At { value: text.value, place: text.place }) else { continue };
        let Some(template) = parse_template(&text, report) else { continue };
        for placeholder in template.placeholders() {
            if !values.contains_key(placeholder) {
                let help =
                    "every name in braces stands under \"values\" too, as in values: {key: {env: NAME}}".to_owned();
                report.error(text.place, "this template names a value that is not there", Some(help));
            }
            unused.remove(placeholder);
        }
        resolved.extend(field.map(|name| HeaderTemplate { name, template }));
    }
    for (_, place) in unused {
        report.error(place, "no template names this value", None);
    }
    // A secret that could not be read was reported, and is told from one that is not there.
    let values = values.into_iter().map(|(name, source)| Some((name, source?))).collect::<Option<BTreeMap<_, _>>>();
    Some(Auth::Header { headers: resolved, values: values? }).filter(|_| report.errors() == errors)
}

type Secrets = BTreeMap<String, Option<SecretSource>>;

/// The secrets by name, `None` for one that was reported, and where each name stands.
fn secrets(
    named: Named<RawSecret>,
    around: &Surroundings<'_>,
    report: &mut Report<'_>,
) -> (Secrets, BTreeMap<String, super::Place>) {
    let mut values = BTreeMap::new();
    let mut places = BTreeMap::new();
    for (number, (name, secret)) in (1..).zip(named.0) {
        if !is_placeholder(&name.value) {
            let message = "the name of a value consists of lower-case letters, digits and underscores";
            report.error(name.place, message, None);
            continue;
        }
        let secret = secret.map(|secret| At { value: secret.value, place: secret.place });
        let source = secret.and_then(|secret| around.secret(secret, &format!("value-{number}"), report));
        places.insert(name.value.clone(), name.place);
        values.insert(name.value, source);
    }
    (values, places)
}

fn field_name(name: &At<String>, report: &mut Report<'_>) -> Option<String> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.value.is_empty() || !name.value.bytes().all(is_token) {
        report.error(name.place, "this is not a header's name", Some("for example X-Api-Key".to_owned()));
        return None;
    }
    let lower = name.value.to_ascii_lowercase();
    if RESERVED_FIELDS.contains(&lower.as_str()) || RESERVED_PREFIXES.iter().any(|prefix| lower.starts_with(prefix)) {
        report.error(name.place, "this header belongs to the connection itself and carries no credential", None);
        return None;
    }
    Some(name.value.clone())
}

/// A template whose own text a field can carry (RFC 9110 §5.5).
fn parse_template(text: &At<String>, report: &mut Report<'_>) -> Option<Template> {
    let template = match Template::parse(&text.value) {
        Ok(template) => template,
        Err(error) => {
            report.error(text.place, error.to_string(), None);
            return None;
        }
    };
    let sound = template.texts().all(|text| text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()));
    if !sound || text.value.trim() != text.value || text.value.is_empty() {
        let message = "a header holds visible ASCII characters and blanks, with none at its ends";
        report.error(text.place, message, None);
        return None;
    }
    Some(template)
}
