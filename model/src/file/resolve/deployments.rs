//! `deployments:` of the file, and how each one is recognised. Two deployments are never recognised by the same thing.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::SocketAddr;

use ipnet::IpNet;

use super::super::node::{At, Place};
use super::super::raw::{RawDeployment, RawIdentity, RawUnbound};
use super::super::read::{Item, Named};
use super::super::report::Report;
use super::upstream::network;
use super::{Declared, declare, host, name};
use crate::config::{Deployment, Unbound};
use crate::identity::{Identities, KeyDigest};
use crate::name::{DeploymentName, TenantName};
use crate::pattern::HostPattern;

/// How many hexadecimal digits of its digest name a key of the file, as `file-0123456789ab`.
const KEY_ID_DIGITS: usize = 12;

/// Every `tunnel` entry and where it stands.
pub(super) type TunnelPlaces = Vec<(DeploymentName, HostPattern, Place)>;

/// The deployments of the file.
pub(super) struct Resolved {
    /// By name.
    pub(super) deployments: Declared<Deployment>,
    /// How they are recognised.
    pub(super) identities: Identities,
    /// What they tunnel.
    pub(super) tunnels: TunnelPlaces,
}

/// Resolves every deployment.
pub(super) fn resolve(entries: Option<Named<RawDeployment>>, report: &mut Report<'_>) -> Resolved {
    let mut tunnels = TunnelPlaces::new();
    let mut recognition = Recognition::default();
    let deployments = declare(entries, DeploymentName::parse, report, |own_name, raw, report| {
        let mut listen = Vec::new();
        for identity in raw.identify.unwrap_or_default() {
            listen.extend(recognition.add(identity, &own_name, report));
        }
        let mut tunnel = Vec::new();
        for text in raw.tunnel.unwrap_or_default() {
            let Some(pattern) = host(&text, report) else { continue };
            tunnels.push((own_name.clone(), pattern.clone(), text.place));
            tunnel.push(pattern);
        }
        Some(Deployment {
            name: own_name,
            tenant: raw.tenant.and_then(|text| name(&text, TenantName::parse, report)),
            unbound: match raw.unbound {
                None | Some(RawUnbound::Deny) => Unbound::Deny,
                Some(RawUnbound::Tunnel) => Unbound::Tunnel,
            },
            tunnel,
            listen,
        })
    });
    Resolved { deployments, identities: recognition.identities, tunnels }
}

/// What recognises whom, and who claimed each thing first.
#[derive(Default)]
struct Recognition {
    identities: Identities,
    keys: Claims<KeyDigest>,
    sources: Claims<IpNet>,
    listeners: Claims<SocketAddr>,
}

impl Recognition {
    /// Adds one entry of `identify:`; returns the listener if it is one.
    fn add(&mut self, raw: Item<RawIdentity>, owner: &DeploymentName, report: &mut Report<'_>) -> Option<SocketAddr> {
        match (raw.value.key, raw.value.source, raw.value.listen) {
            (Some(key), None, None) => self.add_key(&key.sha256, owner, report),
            (None, Some(text), None) => self.add_source(&text, owner, report),
            (None, None, Some(text)) => return self.add_listener(&text, owner, report),
            // What was wrong with it is reported already.
            _ if !raw.sound => {}
            _ => {
                let help = "give each its own list entry, as in \"- source: 10.1.4.0/24\"".to_owned();
                report.error(raw.place, "an entry has exactly one of key, source and listen", Some(help));
            }
        }
        None
    }

    fn add_key(&mut self, text: &At<String>, owner: &DeploymentName, report: &mut Report<'_>) {
        let Some(digest) = KeyDigest::from_hex(&text.value) else {
            let help = format!("issue a key with \"postern deployment key new {owner}\", or digest one with sha256sum");
            report.error(text.place, "a key's digest is 64 hexadecimal digits", Some(help));
            return;
        };
        if self.keys.claim(digest, text.place, "key", report) {
            let id = format!("file-{}", text.value[..KEY_ID_DIGITS].to_ascii_lowercase());
            self.identities.add_key(digest, owner.clone(), id);
        }
    }

    fn add_source(&mut self, text: &At<String>, owner: &DeploymentName, report: &mut Report<'_>) {
        let Some(source) = network(text, report) else { return };
        if self.sources.claim(source, text.place, "source network", report) {
            self.identities.add_source(source, owner.clone());
        }
    }

    fn add_listener(
        &mut self,
        text: &At<String>,
        owner: &DeploymentName,
        report: &mut Report<'_>,
    ) -> Option<SocketAddr> {
        let address = match text.value.parse::<SocketAddr>() {
            Ok(address) if address.port() != 0 => address,
            _ => {
                let help = "for example 127.0.0.1:3200".to_owned();
                report.error(text.place, "a listener is an IP address and a port from 1 to 65535", Some(help));
                return None;
            }
        };
        if !self.listeners.claim(address, text.place, "listener", report) {
            return None;
        }
        self.identities.add_listener(address, owner.clone());
        Some(address)
    }
}

/// Where each thing was claimed first.
struct Claims<T>(HashMap<T, Place>);

impl<T> Default for Claims<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T: Eq + Hash> Claims<T> {
    fn claim(&mut self, thing: T, place: Place, kind: &str, report: &mut Report<'_>) -> bool {
        let first = *self.0.entry(thing).or_insert(place);
        if first != place {
            let message = format!("this {kind} already identifies a deployment, on line {}", first.line);
            report.error(place, message, Some("what identifies a caller must lead to one deployment".to_owned()));
        }
        first == place
    }
}
