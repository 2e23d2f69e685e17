//! Who is calling: deployments recognised by key, source network or listener. It decides from evidence that others
//! gathered; a [`Caller`] can only be made here.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::name::DeploymentName;
use crate::refusal::Refusal;

/// The SHA-256 of a deployment key. Keys are 256 random bits, so a plain digest is as strong as the key.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyDigest([u8; 32]);

impl KeyDigest {
    /// The digest of a key's text.
    #[must_use]
    pub fn of(key: &str) -> Self {
        Self(Sha256::digest(key.as_bytes()).into())
    }

    /// A digest from its bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// A digest from 64 hexadecimal digits.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).ok()?;
            *byte = u8::from_str_radix(pair, 16).ok()?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyDigest(..)")
    }
}

/// A login as the agent presented it: an optional name and the key.
#[derive(Clone)]
pub struct Login {
    /// The user name; empty means none.
    pub name: String,
    /// The key's digest, made as soon as the key was read.
    pub digest: KeyDigest,
}

/// What recognised a caller. It is checked again after every reload and revocation.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Evidence {
    /// A key, by its id.
    Key(String),
    /// The source address of the socket.
    Source(IpAddr),
    /// The listener that the socket came in on.
    Listener(SocketAddr),
    /// A private listener made for one child process.
    Private,
}

/// A deployment that has authenticated on this socket.
#[derive(Debug, Clone)]
pub struct Caller {
    deployment: DeploymentName,
    evidence: Evidence,
}

impl Caller {
    /// The caller of a private listener, which only the program itself can open.
    #[must_use]
    pub fn private(deployment: DeploymentName) -> Self {
        Self { deployment, evidence: Evidence::Private }
    }

    /// The deployment.
    #[must_use]
    pub fn deployment(&self) -> &DeploymentName {
        &self.deployment
    }

    /// What recognised it.
    #[must_use]
    pub fn evidence(&self) -> &Evidence {
        &self.evidence
    }
}

#[derive(Debug, Clone)]
struct KeyOwner {
    digest: KeyDigest,
    deployment: DeploymentName,
    key_id: String,
}

/// All ways in which callers are recognised.
#[derive(Debug, Clone, Default)]
pub struct Identities {
    /// By the digest's first eight bytes, so that no comparison of whole digests leaks by its time.
    keys: HashMap<[u8; 8], Vec<KeyOwner>>,
    /// Longest prefix first.
    sources: Vec<(IpNet, DeploymentName)>,
    listeners: HashMap<SocketAddr, DeploymentName>,
}

impl Identities {
    /// Adds a key.
    pub fn add_key(&mut self, digest: KeyDigest, deployment: DeploymentName, key_id: String) {
        self.keys.entry(prefix(digest)).or_default().push(KeyOwner { digest, deployment, key_id });
    }

    /// Adds a source network; the longest prefix wins.
    pub fn add_source(&mut self, network: IpNet, deployment: DeploymentName) {
        let at = self.sources.partition_point(|(other, _)| other.prefix_len() >= network.prefix_len());
        self.sources.insert(at, (network, deployment));
    }

    /// Adds a listener of one deployment.
    pub fn add_listener(&mut self, address: SocketAddr, deployment: DeploymentName) {
        self.listeners.insert(address, deployment);
    }

    /// The listeners that identify a deployment by themselves.
    pub fn listeners(&self) -> impl Iterator<Item = (SocketAddr, &DeploymentName)> {
        self.listeners.iter().map(|(address, deployment)| (*address, deployment))
    }

    /// Who is calling. A login that is presented must be right and must not contradict the listener; without one, the
    /// listener counts before the source network.
    ///
    /// # Errors
    /// [`Refusal::CallerUnknown`] when nothing recognises the caller or the login is wrong.
    pub fn identify(&self, login: Option<&Login>, source: IpAddr, listener: SocketAddr) -> Result<Caller, Refusal> {
        let own = self.listeners.get(&listener);
        if let Some(login) = login {
            let owner = self.owner(login.digest).ok_or(Refusal::CallerUnknown)?;
            let named_otherwise = !login.name.is_empty() && login.name != owner.deployment.as_str();
            if named_otherwise || own.is_some_and(|own| *own != owner.deployment) {
                return Err(Refusal::CallerUnknown);
            }
            return Ok(Caller { deployment: owner.deployment.clone(), evidence: Evidence::Key(owner.key_id.clone()) });
        }
        if let Some(deployment) = own {
            return Ok(Caller { deployment: deployment.clone(), evidence: Evidence::Listener(listener) });
        }
        let deployment = self.source_owner(source).ok_or(Refusal::CallerUnknown)?;
        Ok(Caller { deployment: deployment.clone(), evidence: Evidence::Source(source) })
    }

    /// Whether a caller who was recognised earlier would be recognised in the same way now.
    #[must_use]
    pub fn still_knows(&self, caller: &Caller) -> bool {
        match &caller.evidence {
            Evidence::Key(id) => {
                self.keys.values().flatten().any(|owner| owner.key_id == *id && owner.deployment == caller.deployment)
            }
            Evidence::Source(source) => self.source_owner(*source) == Some(&caller.deployment),
            Evidence::Listener(listener) => self.listeners.get(listener) == Some(&caller.deployment),
            Evidence::Private => true,
        }
    }

    fn owner(&self, digest: KeyDigest) -> Option<&KeyOwner> {
        let candidates = self.keys.get(&prefix(digest))?;
        candidates.iter().find(|owner| bool::from(owner.digest.0.ct_eq(&digest.0)))
    }

    fn source_owner(&self, source: IpAddr) -> Option<&DeploymentName> {
        let source = source.to_canonical();
        self.sources.iter().find(|(network, _)| network.contains(&source)).map(|(_, deployment)| deployment)
    }
}

fn prefix(digest: KeyDigest) -> [u8; 8] {
    let [a, b, c, d, e, f, g, h, ..] = digest.0;
    [a, b, c, d, e, f, g, h]
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARED: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 3128);
    const OWN: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 3200);

    fn name(text: &str) -> DeploymentName {
        DeploymentName::parse(text).unwrap()
    }

    fn identities() -> Identities {
        let mut identities = Identities::default();
        identities.add_key(KeyDigest::of("pst_a"), name("a"), "k-1".into());
        identities.add_key(KeyDigest::of("pst_b"), name("b"), "k-2".into());
        identities.add_source("10.1.0.0/16".parse().unwrap(), name("a"));
        identities.add_source("10.1.4.0/24".parse().unwrap(), name("b"));
        identities.add_listener(OWN, name("b"));
        identities
    }

    fn login(user: &str, key: &str) -> Login {
        Login { name: user.into(), digest: KeyDigest::of(key) }
    }

    fn who(login: Option<&Login>, source: &str, listener: SocketAddr) -> Option<String> {
        let caller = identities().identify(login, source.parse().unwrap(), listener);
        caller.ok().map(|caller| caller.deployment().to_string())
    }

    #[test]
    fn a_key_names_its_deployment() {
        assert_eq!(who(Some(&login("a", "pst_a")), "1.1.1.1", SHARED).as_deref(), Some("a"));
        assert_eq!(who(Some(&login("", "pst_a")), "1.1.1.1", SHARED).as_deref(), Some("a"));
        assert_eq!(who(Some(&login("a", "pst_x")), "1.1.1.1", SHARED), None);
    }

    #[test]
    fn a_name_that_contradicts_its_key_is_refused() {
        assert_eq!(who(Some(&login("b", "pst_a")), "1.1.1.1", SHARED), None);
    }

    #[test]
    fn a_wrong_login_is_refused_even_where_the_source_is_known() {
        assert_eq!(who(Some(&login("a", "pst_x")), "10.1.1.1", SHARED), None);
        assert_eq!(who(Some(&login("a", "pst_a")), "10.1.1.1", OWN), None);
    }

    #[test]
    fn the_longest_source_prefix_wins() {
        assert_eq!(who(None, "10.1.1.1", SHARED).as_deref(), Some("a"));
        assert_eq!(who(None, "10.1.4.9", SHARED).as_deref(), Some("b"));
        assert_eq!(who(None, "::ffff:10.1.4.9", SHARED).as_deref(), Some("b"));
        assert_eq!(who(None, "10.2.0.1", SHARED), None);
    }

    #[test]
    fn a_listener_of_its_own_needs_no_login() {
        assert_eq!(who(None, "1.1.1.1", OWN).as_deref(), Some("b"));
    }

    #[test]
    fn a_removed_key_is_no_longer_known() {
        let all = identities();
        let caller = all.identify(Some(&login("a", "pst_a")), "1.1.1.1".parse().unwrap(), SHARED).unwrap();
        assert!(all.still_knows(&caller));
        assert!(!Identities::default().still_knows(&caller));
    }

    #[test]
    fn a_digest_is_read_from_hexadecimal() {
        let digest = KeyDigest::of("pst_a");
        let hex: String = digest.0.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(KeyDigest::from_hex(&hex), Some(digest));
        assert_eq!(KeyDigest::from_hex(&hex[..63]), None);
        assert_eq!(KeyDigest::from_hex(&"+f".repeat(32)), None);
    }
}
