//! Destinations that are reached without the proxy, in the dialects that runtimes read. It refuses an entry that would
//! switch the proxy off for everything.

use std::collections::HashSet;
use std::net::IpAddr;

use anyhow::{Context as _, Result, ensure};

use super::ENTRIES_MAX;

/// A host in the forms that URLs and bypass lists want.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Host {
    Address(IpAddr),
    Name(String),
}

impl Host {
    pub(super) fn parse(text: &str) -> Result<Self> {
        let unbracketed = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        if let Ok(address) = unbracketed.parse() {
            return Ok(Self::Address(address));
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        ensure!(
            is_domain(name),
            "{text:?} is neither a host name nor an address; write it without scheme, port or path"
        );
        Ok(Self::Name(name.to_ascii_lowercase()))
    }

    pub(super) fn plain(&self) -> String {
        match self {
            Self::Address(address) => address.to_string(),
            Self::Name(name) => name.clone(),
        }
    }

    pub(super) fn bracketed(&self) -> String {
        match self {
            Self::Address(IpAddr::V6(address)) => format!("[{address}]"),
            Self::Address(IpAddr::V4(_)) | Self::Name(_) => self.plain(),
        }
    }
}

/// A destination that is reached without the proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Bypass {
    Host(Host),
    DomainAndBelow(String),
    Network(IpAddr, u8),
}

impl Bypass {
    pub(super) fn parse(entry: &str) -> Result<Self> {
        let entry = entry.trim();
        if let Some((address, prefix)) = entry.split_once('/') {
            let address: IpAddr = address.parse().context("the part before / is not an address")?;
            let prefix: u8 = prefix.parse().context("the part after / is not a prefix length")?;
            let longest = if address.is_ipv4() { 32 } else { 128 };
            ensure!(prefix <= longest, "the prefix is longer than {longest} bits");
            ensure!(prefix > 0, "this would switch the proxy off for every address");
            return Ok(Self::Network(address, prefix));
        }
        ensure!(entry != "*", "this would switch the proxy off for every destination");
        let base = entry.strip_prefix('*').unwrap_or(entry);
        let base = base.strip_prefix('.').unwrap_or(base);
        match Host::parse(base)? {
            Host::Name(name) => Ok(Self::DomainAndBelow(name)),
            address @ Host::Address(_) => {
                ensure!(base == entry, "an address has nothing below it");
                Ok(Self::Host(address))
            }
        }
    }

    /// There is no standard for `NO_PROXY`. `.name` covers what is below in every runtime, axios needs the bare name
    /// besides, and `*.name` is misread by most.
    pub(super) fn for_environment(&self) -> Vec<String> {
        match self {
            Self::Host(host) => vec![host.plain()],
            Self::DomainAndBelow(name) => vec![name.clone(), format!(".{name}")],
            Self::Network(address, prefix) => vec![format!("{address}/{prefix}")],
        }
    }

    /// `http.nonProxyHosts` knows only names with a `*` at either end, so a network appears where it ends at a dot.
    pub(super) fn for_java(&self) -> Vec<String> {
        match self {
            Self::Host(host) => vec![host.bracketed()],
            Self::DomainAndBelow(name) => vec![name.clone(), format!("*.{name}")],
            Self::Network(IpAddr::V4(address), 32) => vec![address.to_string()],
            Self::Network(IpAddr::V4(address), prefix @ (8 | 16 | 24)) => {
                let octets = address.octets();
                let kept = octets.iter().take(usize::from(prefix / 8));
                vec![kept.map(|octet| format!("{octet}.")).collect::<String>() + "*"]
            }
            Self::Network(..) => Vec::new(),
        }
    }
}

/// Always this machine, the cloud's metadata address and the proxy itself, then what the operator adds.
pub(super) fn bypasses(proxy_host: &Host, extra: &[String]) -> Result<Vec<Bypass>> {
    ensure!(extra.len() <= ENTRIES_MAX, "{} no_proxy entries; keep them to {ENTRIES_MAX}", extra.len());
    let mut bypasses = Vec::new();
    for always in ["localhost", "127.0.0.1", "::1", "169.254.169.254"] {
        bypasses.push(Bypass::Host(Host::parse(always)?));
    }
    bypasses.push(Bypass::Host(proxy_host.clone()));
    for entry in extra {
        bypasses.push(Bypass::parse(entry).with_context(|| {
            format!("no_proxy entry {entry:?} is unusable; write a domain, an address or a network such as 10.0.0.0/8")
        })?);
    }
    Ok(bypasses)
}

pub(super) fn spelled(bypasses: &[Bypass], spell: fn(&Bypass) -> Vec<String>, separator: &str) -> String {
    let mut seen = HashSet::new();
    let entries = bypasses.iter().flat_map(spell).filter(|entry| seen.insert(entry.clone()));
    entries.collect::<Vec<_>>().join(separator)
}

fn is_domain(name: &str) -> bool {
    let is_label =
        |label: &str| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    name.len() <= 253 && name.split('.').all(is_label)
}
