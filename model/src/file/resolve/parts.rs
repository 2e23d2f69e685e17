//! The parts that integrations and connections have in common: endpoints, scopes, parameters, plain texts. Each is checked
//! for its form only; nothing is asked of an endpoint here.

use std::collections::BTreeMap;

use super::super::node::At;
use super::super::read::Named;
use super::super::report::Report;
use crate::authority::Authority;
use crate::path::is_ambiguous;

/// The longest text without rules of its own, in bytes.
const TEXT_BYTES_MAX: usize = 4096;

/// An `https://` URL that means one thing.
pub(super) fn url(text: At<String>, report: &mut Report<'_>) -> Option<String> {
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
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("a URL has no blanks");
    }
    if text.contains('#') {
        return Err("an endpoint has no fragment (\"#…\")");
    }
    let path = &rest[end..];
    let path = &path[..path.find('?').unwrap_or(path.len())];
    // The guard over this endpoint could not tell what else is meant by it.
    if is_ambiguous(path) { Err("this URL's path changes under normalisation") } else { Ok(()) }
}

/// Scopes (RFC 6749 §3.3), one for each entry of the list.
pub(super) fn scopes(texts: Vec<At<String>>, report: &mut Report<'_>) -> Vec<String> {
    let is_scope = |text: &str| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\'))
    };
    let mut scopes = Vec::with_capacity(texts.len());
    for text in texts {
        if is_scope(&text.value) {
            scopes.push(text.value);
            continue;
        }
        let help = text.value.contains(' ').then(|| "give each scope its own entry, as in [read, write]".to_owned());
        report.error(
            text.place,
            "a scope is a text of visible ASCII characters without blanks and quotation marks",
            help,
        );
    }
    scopes
}

/// Parameters by name, none of which postern sets itself.
pub(super) fn params(
    named: Option<Named<String>>,
    reserved: &[&str],
    report: &mut Report<'_>,
) -> BTreeMap<String, String> {
    let mut params = BTreeMap::new();
    for (name, value) in named.map(|named| named.0).unwrap_or_default() {
        if reserved.contains(&name.value.as_str()) {
            report.error(name.place, format!("\"{}\" is set by postern itself", name.value), None);
            continue;
        }
        if name.value.is_empty() || !name.value.bytes().all(|byte| byte.is_ascii_graphic()) {
            report.error(name.place, "a parameter's name is a text of visible ASCII characters without blanks", None);
            continue;
        }
        let Some(value) = value else { continue };
        if let Some(value) = plain(At { value: value.value, place: value.place }, report) {
            params.insert(name.value, value);
        }
    }
    params
}

/// A text with something in it and no control characters.
pub(super) fn plain(text: At<String>, report: &mut Report<'_>) -> Option<String> {
    let sound = (1..=TEXT_BYTES_MAX).contains(&text.value.len()) && !text.value.contains(char::is_control);
    if !sound {
        report.error(text.place, "this text is empty, too long or has control characters", None);
    }
    sound.then_some(text.value)
}
