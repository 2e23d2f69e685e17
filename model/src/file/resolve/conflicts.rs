//! Bindings that contradict each other, or their deployment's tunnels. It compares resolved bindings only: what was wrong
//! by itself is not compared.

use std::collections::HashMap;

use super::super::node::Place;
use super::super::report::Report;
use super::bindings::Placed;
use super::deployments::TunnelPlaces;
use crate::policy::Binding;

/// Reports repeated bindings, several defaults in one tie, and tunnels of bound hosts.
pub(super) fn report(bindings: &[Placed], tunnels: &TunnelPlaces, report: &mut Report<'_>) {
    report_repeated(bindings, report);
    report_defaults(bindings, report);
    report_tunnels(bindings, tunnels, report);
}

fn report_repeated(bindings: &[Placed], report: &mut Report<'_>) {
    let mut seen: HashMap<_, Place> = HashMap::with_capacity(bindings.len());
    for binding in bindings {
        let Binding { deployment, connection, hosts, paths, methods, .. } = &binding.value;
        let mut methods = methods.clone();
        methods.sort_unstable();
        let key = (deployment, &connection.name, sorted(hosts), sorted(paths), methods);
        let first = *seen.entry(key).or_insert(binding.place);
        if first != binding.place {
            let message = format!("this binding repeats the one on line {}", first.line);
            report.error(binding.place, message, Some("remove one of them".to_owned()));
        }
    }
}

/// Two defaults contradict each other where a request can meet both: same host and paths, and a method in common.
fn report_defaults(bindings: &[Placed], report: &mut Report<'_>) {
    let mut ties: HashMap<_, Vec<&Placed>> = HashMap::new();
    for binding in bindings.iter().filter(|binding| binding.value.default) {
        let mut first = None;
        for host in sorted(&binding.value.hosts) {
            let tie = ties.entry((&binding.value.deployment, host, sorted(&binding.value.paths))).or_default();
            first = first.or_else(|| tie.iter().find(|other| compete(&other.value, &binding.value)).map(|it| it.place));
            tie.push(binding);
        }
        if let Some(first) = first {
            let message = format!("two defaults for the same destination: this one and the one on line {}", first.line);
            report.error(binding.place, message, Some("leave \"default: true\" to one of them".to_owned()));
        }
    }
}

fn compete(one: &Binding, other: &Binding) -> bool {
    let share_method = one.methods.is_empty()
        || other.methods.is_empty()
        || one.methods.iter().any(|method| other.methods.contains(method));
    one.connection.name != other.connection.name && share_method
}

fn report_tunnels(bindings: &[Placed], tunnels: &TunnelPlaces, report: &mut Report<'_>) {
    if tunnels.is_empty() {
        return;
    }
    let mut bound: HashMap<_, Place> = HashMap::new();
    for binding in bindings {
        for host in &binding.value.hosts {
            bound.entry((&binding.value.deployment, host)).or_insert(binding.place);
        }
    }
    for (deployment, pattern, place) in tunnels {
        if let Some(binding) = bound.get(&(deployment, pattern)) {
            let message = format!("\"{pattern}\" is tunnelled here and bound on line {}", binding.line);
            let help =
                "a tunnel is never decrypted, so no credential can be put on it; remove one of the two".to_owned();
            report.error(*place, message, Some(help));
        }
    }
}

/// Patterns in an order of their own, so that the operator's does not count.
fn sorted<T: ToString>(patterns: &[T]) -> Vec<String> {
    let mut texts: Vec<String> = patterns.iter().map(ToString::to_string).collect();
    texts.sort_unstable();
    texts.dedup();
    texts
}
