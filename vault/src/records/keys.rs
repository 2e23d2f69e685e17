//! The keys by which deployments prove who they are: issued once, shown once, kept only as a digest. It compares
//! nothing; the proxy does that, against the digests listed here.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::{Listing, decode, encode, list};
use crate::random;
use crate::seal::Shelf;
use crate::store::{Store, StoreError};

/// What every deployment key begins with.
pub const KEY_PREFIX: &str = "pst_";

/// A deployment key as the store knows it: everything but the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuedKey {
    /// The key's short id, by which it is listed and revoked: `k-7f3a9c21`.
    pub id: String,
    /// The deployment it stands for.
    pub deployment: String,
    /// SHA-256 of the key's text.
    pub digest: [u8; 32],
    /// When it was issued, in Unix seconds.
    pub created_at: i64,
    /// When it was last used, in Unix seconds, as far as uses have been recorded.
    pub last_used_at: Option<i64>,
}

/// The digest under which a key is kept: SHA-256 of its text.
#[must_use]
pub fn key_digest(key: &str) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}

impl Store {
    /// Issues a new key for `deployment` at `now` (Unix seconds). The key itself is `pst_` and 43 characters of
    /// `[A-Za-z0-9_-]`, 256 random bits; it is returned here and never again.
    ///
    /// # Errors
    /// [`StoreError`], where nothing was issued as far as the caller may rely on.
    pub fn issue_key(&self, deployment: &str, now: i64) -> Result<(IssuedKey, SecretString), StoreError> {
        let key = random_key()?;
        let record = KeyRecord {
            deployment: deployment.to_owned(),
            digest: key_digest(&key),
            created_at: now,
            last_used_at: None,
        };
        let id = self.change(|changes| {
            let mut id = random_id()?;
            while changes.holds(shelf(&id))? {
                id = random_id()?;
            }
            changes.put(shelf(&id), &encode(&record, 0))?;
            Ok::<_, StoreError>(id)
        })?;
        Ok((record.issued(id), SecretString::from(key.as_str())))
    }

    /// All deployment keys, by id.
    ///
    /// # Errors
    /// [`StoreError::Disk`] where the database cannot be read.
    pub fn keys(&self) -> Result<Listing<IssuedKey>, StoreError> {
        list(self, TREE, |id, record: KeyRecord| record.issued(id))
    }

    /// Revokes the key `id` of `deployment`. `false`: that deployment has no such key.
    ///
    /// # Errors
    /// [`StoreError`]; the key may then still be valid.
    pub fn revoke_key(&self, deployment: &str, id: &str) -> Result<bool, StoreError> {
        self.change(|changes| {
            let Some(stored) = changes.read(shelf(id))? else {
                return Ok(false);
            };
            let record: KeyRecord = decode(shelf(id), &stored)?;
            if record.deployment != deployment {
                return Ok(false);
            }
            changes.remove(shelf(id))
        })
    }

    /// Records that keys were used: pairs of id and Unix seconds, in one durable write. Keys that have been revoked
    /// or do not open are passed over, and a use older than the recorded one changes nothing.
    ///
    /// # Errors
    /// [`StoreError::Disk`] or [`StoreError::Unsealed`]; the uses may then be recorded or not.
    pub fn record_use(&self, uses: &[(String, i64)]) -> Result<(), StoreError> {
        let mut latest: BTreeMap<&str, i64> = BTreeMap::new();
        for (id, at) in uses {
            let known = latest.entry(id).or_insert(*at);
            *known = (*known).max(*at);
        }
        self.change(|changes| {
            for (id, at) in latest {
                let stored = match changes.read(shelf(id)) {
                    Ok(Some(stored)) => stored,
                    Ok(None) | Err(StoreError::Unopened { .. }) => continue,
                    Err(error) => return Err(error),
                };
                let Ok(mut record) = decode::<KeyRecord>(shelf(id), &stored) else {
                    continue;
                };
                if record.last_used_at >= Some(at) {
                    continue;
                }
                record.last_used_at = Some(at);
                changes.put(shelf(id), &encode(&record, 0))?;
            }
            Ok(())
        })
    }
}

const TREE: &str = "deployment_keys";
const KEY_RANDOM_BYTES: usize = 32;
const ID_RANDOM_BYTES: usize = 4;

#[derive(Serialize, Deserialize)]
struct KeyRecord {
    deployment: String,
    digest: [u8; 32],
    created_at: i64,
    last_used_at: Option<i64>,
}

impl KeyRecord {
    fn issued(self, id: String) -> IssuedKey {
        let Self { deployment, digest, created_at, last_used_at } = self;
        IssuedKey { id, deployment, digest, created_at, last_used_at }
    }
}

fn shelf(id: &str) -> Shelf<'_> {
    Shelf { tree: TREE, record: id, field: "key" }
}

fn random_key() -> Result<Zeroizing<String>, StoreError> {
    let bytes: Zeroizing<[u8; KEY_RANDOM_BYTES]> = Zeroizing::new(random::bytes()?);
    let text = Zeroizing::new(URL_SAFE_NO_PAD.encode(bytes.as_slice()));
    Ok(Zeroizing::new([KEY_PREFIX, text.as_str()].concat()))
}

fn random_id() -> Result<String, StoreError> {
    let number = u32::from_be_bytes(random::bytes::<ID_RANDOM_BYTES>()?);
    Ok(format!("k-{number:08x}"))
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;
    use crate::ring::{KeyRing, MasterKey};

    fn store() -> (tempfile::TempDir, Store) {
        let data = tempfile::tempdir().unwrap();
        let ring = KeyRing::new(MasterKey::generate().unwrap(), Vec::new());
        let store = Store::open(data.path(), ring).unwrap();
        (data, store)
    }

    #[test]
    fn an_issued_key_has_the_promised_form_and_is_kept_as_its_digest() {
        let (_data, store) = store();
        let (issued, key) = store.issue_key("support-bot", 1_000).unwrap();
        let key = key.expose_secret();
        let random = key.strip_prefix(KEY_PREFIX).unwrap();
        assert_eq!(random.len(), 43);
        assert!(random.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'), "{random}");
        assert_eq!(issued.digest, key_digest(key));
        assert_eq!(issued.id.len(), "k-7f3a9c21".len());
        assert_eq!(store.keys().unwrap().found, [issued]);
    }

    #[test]
    fn a_deployment_has_any_number_of_keys_each_with_its_own_id() {
        let (_data, store) = store();
        for at in 0..20 {
            store.issue_key("bot", at).unwrap();
        }
        let found = store.keys().unwrap().found;
        let ids: std::collections::HashSet<&str> = found.iter().map(|key| key.id.as_str()).collect();
        assert_eq!(ids.len(), 20);
    }

    #[test]
    fn a_revoked_key_is_gone_and_only_its_own_deployment_can_revoke_it() {
        let (_data, store) = store();
        let (issued, _) = store.issue_key("bot", 0).unwrap();
        assert!(!store.revoke_key("other", &issued.id).unwrap());
        assert!(store.revoke_key("bot", &issued.id).unwrap());
        assert!(!store.revoke_key("bot", &issued.id).unwrap());
        assert!(store.keys().unwrap().found.is_empty());
    }

    #[test]
    fn the_latest_use_is_kept() {
        let (_data, store) = store();
        let (issued, _) = store.issue_key("bot", 0).unwrap();
        let id = issued.id.clone();
        store.record_use(&[(id.clone(), 30), (id.clone(), 20)]).unwrap();
        store.record_use(&[(id, 10)]).unwrap();
        assert_eq!(store.keys().unwrap().found[0].last_used_at, Some(30));
    }

    #[test]
    fn a_use_recorded_late_does_not_bring_a_revoked_key_back() {
        let (_data, store) = store();
        let (issued, _) = store.issue_key("bot", 0).unwrap();
        store.revoke_key("bot", &issued.id).unwrap();
        store.record_use(&[(issued.id, 10)]).unwrap();
        assert!(store.keys().unwrap().found.is_empty());
    }

    #[test]
    fn a_key_record_of_another_form_leaves_the_others_listed() {
        let (_data, store) = store();
        let (issued, _) = store.issue_key("bot", 0).unwrap();
        store.put(shelf("k-broken"), b"[]").unwrap();
        let listing = store.keys().unwrap();
        assert_eq!(listing.found, [issued]);
        assert!(matches!(&listing.damaged[..], [StoreError::Unknown { shelf }] if shelf.contains("k-broken")));
    }
}
