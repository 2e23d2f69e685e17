//! From what was written to what is used: names that exist, patterns that parse, entries that do not contradict each
//! other. It reports everything and invents nothing: what cannot be resolved is left out of a result that is not used.

mod auth;
mod bindings;
mod conflicts;
mod connections;
mod deployments;
mod guards;
mod integrations;
mod parts;
mod upstream;

pub(super) use integrations::integration;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::limits::limits;
use super::node::At;
use super::raw::RawFile;
use super::read::Named;
use super::report::Report;
use crate::config::Config;
use crate::name::NameError;
use crate::pattern::HostPattern;
use crate::policy::Policy;

/// The only version of the format.
const VERSION: u32 = 1;

/// The things under one key of the file, by the name as it was written; `None` for one whose definition is wrong, so
/// that those who refer to it are not blamed.
type Declared<T> = BTreeMap<String, Option<Arc<T>>>;

/// Resolves the whole file.
pub(super) fn config(file: RawFile, report: &mut Report<'_>) -> Config {
    check_version(&file.version, report);
    let integrations = integrations::resolve(file.integrations, report);
    let allow_literal = file.allow_literal_secrets.unwrap_or(false);
    let connections = connections::resolve(file.connections, &integrations, allow_literal, report);
    let deployments::Resolved { deployments, identities, tunnels } = deployments::resolve(file.deployments, report);
    let bindings = bindings::resolve(file.bindings, &deployments, &connections, report);
    conflicts::report(&bindings, &tunnels, report);
    let bindings = bindings.into_iter().map(|binding| Arc::new(binding.value));
    Config {
        policy: Policy::new(sound(&deployments), bindings),
        integrations: sound(&integrations).map(|it| (it.name.clone(), Arc::clone(it))).collect(),
        connections: sound(&connections).map(|it| (it.name.clone(), Arc::clone(it))).collect(),
        deployments: sound(&deployments).map(|it| (it.name.clone(), Arc::clone(it))).collect(),
        identities,
        upstream: upstream::resolve(file.upstream, report),
        limits: limits(file.limits),
    }
}

fn check_version(version: &At<u32>, report: &mut Report<'_>) {
    if version.value != VERSION {
        let message = format!("version {} is not known", version.value);
        report.error(version.place, message, Some(format!("this version of postern reads version {VERSION}")));
    }
}

fn sound<T>(declared: &Declared<T>) -> impl Iterator<Item = &Arc<T>> {
    declared.values().flatten()
}

/// Resolves each entry under its name. A name that is given twice was reported by the reader; the first one counts.
fn declare<R, N, T>(
    entries: Option<Named<R>>,
    parse_name: impl Fn(&str) -> Result<N, NameError>,
    report: &mut Report<'_>,
    mut resolve: impl FnMut(N, R, &mut Report<'_>) -> Option<T>,
) -> Declared<T> {
    let mut declared = Declared::new();
    for (key, raw) in entries.map(|named| named.0).unwrap_or_default() {
        if declared.contains_key(&key.value) {
            continue;
        }
        let errors = report.errors();
        let resolved = match (name(&key, &parse_name, report), raw) {
            (Some(name), Some(raw)) => resolve(name, raw.value, report).filter(|_| raw.sound),
            _ => None,
        };
        let resolved = resolved.filter(|_| report.errors() == errors).map(Arc::new);
        declared.insert(key.value, resolved);
    }
    declared
}

/// What a name refers to. `None` after a report, or silently where its definition was reported.
fn known<T>(text: &At<String>, declared: &Declared<T>, kind: &str, report: &mut Report<'_>) -> Option<Arc<T>> {
    if let Some(definition) = declared.get(&text.value) {
        return definition.clone();
    }
    let help = report.suggest(&text.value, declared.keys().map(String::as_str), "defined in this file");
    report.error(text.place, format!("no {kind} {} is defined in this file", report.quote(text)), help);
    None
}

fn name<N>(text: &At<String>, parse: impl Fn(&str) -> Result<N, NameError>, report: &mut Report<'_>) -> Option<N> {
    let parsed = parse(&text.value).ok();
    if parsed.is_none() {
        let help = "use 1 to 63 lower-case letters, digits and hyphens, beginning and ending with a letter or digit";
        report.error(text.place, format!("{} is not a name", report.quote(text)), Some(help.to_owned()));
    }
    parsed
}

fn hosts(texts: &[At<String>], report: &mut Report<'_>) -> Vec<HostPattern> {
    texts.iter().filter_map(|text| host(text, report)).collect()
}

fn host(text: &At<String>, report: &mut Report<'_>) -> Option<HostPattern> {
    let pattern = report.parsed(text, HostPattern::parse)?;
    if pattern.covers_top_level_domain() {
        let message = format!("{} covers a whole top-level domain", report.quote(text));
        report.warning(text.place, message, Some("name the provider's own domain".to_owned()));
    }
    Some(pattern)
}
