//! What is kept of a connection that holds tokens: the newest of each, when they end, and whether somebody must authorise
//! it anew. One record, so that no two parts of it can disagree after a crash.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::{decode, encode};
use crate::seal::Shelf;
use crate::store::{Store, StoreError};

/// A connection's tokens as they are kept.
#[derive(Clone, Default)]
pub struct AccountRecord {
    /// The newest access token.
    pub access_token: Option<SecretString>,
    /// When it ends, in Unix seconds; `None` where the provider does not say.
    pub expires_at: Option<i64>,
    /// When it was obtained, in Unix seconds.
    pub obtained_at: i64,
    /// The newest refresh token.
    pub refresh_token: Option<SecretString>,
    /// The scopes that were granted, where the provider says.
    pub scopes: Option<Vec<String>>,
    /// The digest of the first refresh token that the configuration gave: when that changes, it counts anew.
    pub seed: Option<[u8; 32]>,
    /// A digest of the settings and secrets under which the tokens were had: they are not used under others.
    pub origin: Option<[u8; 32]>,
    /// Why the account must be authorised anew; `None` where it need not.
    pub needs_reauth: Option<String>,
    /// When somebody last authorised it, in Unix seconds.
    pub authorized_at: Option<i64>,
    /// The account's label at the provider, such as an e-mail address.
    pub account: Option<String>,
}

impl fmt::Debug for AccountRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccountRecord")
            .field("expires_at", &self.expires_at)
            .field("needs_reauth", &self.needs_reauth)
            .finish_non_exhaustive()
    }
}

impl Store {
    /// What is kept of a connection, or `None`.
    ///
    /// # Errors
    /// [`StoreError`] where it cannot be read or does not open.
    pub fn account(&self, connection: &str) -> Result<Option<AccountRecord>, StoreError> {
        let Some(stored) = self.read(shelf(connection))? else { return Ok(None) };
        let kept: Kept = decode(shelf(connection), &stored)?;
        Ok(Some(kept.into_record()))
    }

    /// Keeps a connection's tokens, over any that are there. They are on the disk when this returns.
    ///
    /// # Errors
    /// [`StoreError`]; the store may then hold the old record or this one.
    pub fn save_account(&self, connection: &str, record: &AccountRecord) -> Result<(), StoreError> {
        let kept = Kept::of(record);
        self.put(shelf(connection), &encode(&kept, kept.secret_bytes()))?;
        Ok(())
    }

    /// Forgets a connection's tokens. `false`: there were none.
    ///
    /// # Errors
    /// [`StoreError`]; the record may then still be there.
    pub fn forget_account(&self, connection: &str) -> Result<bool, StoreError> {
        self.remove(shelf(connection))
    }
}

fn shelf(connection: &str) -> Shelf<'_> {
    Shelf { tree: "accounts", record: connection, field: "tokens" }
}

#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
struct Kept {
    access_token: Option<String>,
    expires_at: Option<i64>,
    obtained_at: i64,
    refresh_token: Option<String>,
    scopes: Option<Vec<String>>,
    seed: Option<[u8; 32]>,
    #[serde(default)]
    origin: Option<[u8; 32]>,
    needs_reauth: Option<String>,
    authorized_at: Option<i64>,
    account: Option<String>,
}

impl Kept {
    fn of(record: &AccountRecord) -> Self {
        let text = |secret: &Option<SecretString>| secret.as_ref().map(|secret| secret.expose_secret().to_owned());
        Self {
            access_token: text(&record.access_token),
            expires_at: record.expires_at,
            obtained_at: record.obtained_at,
            refresh_token: text(&record.refresh_token),
            scopes: record.scopes.clone(),
            seed: record.seed,
            origin: record.origin,
            needs_reauth: record.needs_reauth.clone(),
            authorized_at: record.authorized_at,
            account: record.account.clone(),
        }
    }

    fn secret_bytes(&self) -> usize {
        let texts = [&self.access_token, &self.refresh_token, &self.needs_reauth, &self.account];
        let scopes = self.scopes.iter().flatten().map(|scope| scope.len() + 4).sum::<usize>();
        texts.into_iter().flatten().map(String::len).sum::<usize>() + scopes + 512
    }

    fn into_record(mut self) -> AccountRecord {
        AccountRecord {
            access_token: self.access_token.take().map(SecretString::from),
            expires_at: self.expires_at,
            obtained_at: self.obtained_at,
            refresh_token: self.refresh_token.take().map(SecretString::from),
            scopes: self.scopes.take(),
            seed: self.seed,
            origin: self.origin,
            needs_reauth: self.needs_reauth.take(),
            authorized_at: self.authorized_at,
            account: self.account.take(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::{KeyRing, MasterKey};

    #[test]
    fn tokens_come_back_as_they_were_and_are_gone_when_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let ring = KeyRing::new(MasterKey::generate().unwrap(), Vec::new());
        let store = Store::open(folder.path(), ring).unwrap();
        let record = AccountRecord {
            access_token: Some("access".into()),
            refresh_token: Some("refresh".into()),
            expires_at: Some(7),
            ..AccountRecord::default()
        };
        store.save_account("acme", &record).unwrap();
        let back = store.account("acme").unwrap().unwrap();
        assert_eq!(back.refresh_token.unwrap().expose_secret(), "refresh");
        assert_eq!(back.expires_at, Some(7));
        assert!(!format!("{record:?}").contains("refresh\""));
        assert!(store.forget_account("acme").unwrap());
        assert!(store.account("acme").unwrap().is_none());
    }
}
