//! `upstream:` of the file: which addresses may be dialled and which are dialled instead. It opens no file and resolves
//! no name.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::super::node::At;
use super::super::raw::RawUpstream;
use super::super::read::Named;
use super::super::report::Report;
use crate::address::AddressPolicy;
use crate::authority::Authority;
use crate::config::Upstream;

/// Resolves how destinations are reached.
pub(super) fn resolve(raw: Option<RawUpstream>, report: &mut Report<'_>) -> Upstream {
    let Some(raw) = raw else { return Upstream::default() };
    let allowed = raw.allow_addresses.unwrap_or_default();
    Upstream {
        ca_file: raw.ca_file.and_then(|path| ca_file(path, report)),
        addresses: AddressPolicy::new(allowed.iter().filter_map(|text| network(text, report)).collect()),
        connect_to: raw.connect_to.map(|named| connect_to(named, report)).unwrap_or_default(),
    }
}

/// A network such as 10.1.4.0/24, without bits set beyond its length.
pub(super) fn network(text: &At<String>, report: &mut Report<'_>) -> Option<IpNet> {
    let Ok(network) = text.value.parse::<IpNet>() else {
        let help = match text.value.parse::<std::net::IpAddr>() {
            Ok(address) => format!("for this address alone write {}", IpNet::from(address)),
            Err(_) => "for example 10.1.4.0/24".to_owned(),
        };
        report.error(text.place, "a network is an address, a slash and a length", Some(help));
        return None;
    };
    if network.trunc() != network {
        let help = format!("did you mean {} or {}?", network.trunc(), IpNet::from(network.addr()));
        report.error(text.place, "this network's address has bits beyond its length", Some(help));
        return None;
    }
    Some(network)
}

fn ca_file(path: At<String>, report: &mut Report<'_>) -> Option<std::path::PathBuf> {
    if path.value.is_empty() || path.value.contains('\0') {
        report.error(path.place, "this is not a path", None);
        return None;
    }
    Some(report.path(&path.value))
}

fn connect_to(named: Named<String>, report: &mut Report<'_>) -> BTreeMap<Authority, Authority> {
    let mut redirections = BTreeMap::new();
    for (from, to) in named.0 {
        let from = endpoint(&from, report);
        let to = to.and_then(|to| endpoint(&At { value: to.value, place: to.place }, report));
        if let (Some(from), Some(to)) = (from, to) {
            redirections.insert(from, to);
        }
    }
    redirections
}

fn endpoint(text: &At<String>, report: &mut Report<'_>) -> Option<Authority> {
    let parsed = Authority::parse(&text.value).ok();
    if parsed.is_none() {
        let help = "write host:port, as in {\"api.example.com:443\": \"127.0.0.1:8443\"}".to_owned();
        report.error(text.place, format!("{} is not a host and a port", report.quote(text)), Some(help));
    }
    parsed
}
