//! Named secrets, set by the operator and named in the configuration as `{sealed: NAME}`. A value goes in and comes
//! out as a secret only; listings give names and times.

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

use super::{Listing, decode, encode, list};
use crate::seal::Shelf;
use crate::store::{Store, StoreError};

/// Longest name of a secret, in bytes.
pub const SECRET_NAME_BYTES_MAX: usize = 128;

/// Longest value of a secret, in bytes.
pub const SECRET_BYTES_MAX: usize = 64 * 1024;

/// A secret as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretName {
    /// Its name.
    pub name: String,
    /// When it was last set, in Unix seconds.
    pub set_at: i64,
}

/// Why a secret cannot be kept or looked up.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    /// The name has a form that no secret can have.
    #[error("a secret's name has 1 to {SECRET_NAME_BYTES_MAX} characters of A-Z a-z 0-9 _ . -")]
    Name,
    /// The value is empty.
    #[error("a secret must not be empty; to take one away, delete it")]
    Empty,
    /// The value is longer than [`SECRET_BYTES_MAX`].
    #[error("the secret is {bytes} bytes long; up to {SECRET_BYTES_MAX} are kept")]
    TooLong {
        /// Its length in bytes.
        bytes: usize,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Sets the secret `name` at `now` (Unix seconds), over any of that name.
    ///
    /// # Errors
    /// [`Unfit`] says what is wrong with the name or the value, or with the store.
    pub fn set_secret(&self, name: &str, value: &SecretString, now: i64) -> Result<(), Unfit> {
        check_name(name)?;
        let value = value.expose_secret();
        if value.is_empty() {
            return Err(Unfit::Empty);
        }
        if value.len() > SECRET_BYTES_MAX {
            return Err(Unfit::TooLong { bytes: value.len() });
        }
        self.put(shelf(name), &encode(&ValueIn { value, set_at: now }, value.len()))?;
        Ok(())
    }

    /// The secret `name`, or `None` where it is not set.
    ///
    /// # Errors
    /// [`StoreError`] where it cannot be read or does not open.
    pub fn secret(&self, name: &str) -> Result<Option<SecretString>, StoreError> {
        let Some(stored) = self.read(shelf(name))? else {
            return Ok(None);
        };
        let record: ValueOut = decode(shelf(name), &stored)?;
        Ok(Some(record.value))
    }

    /// The names of all secrets, and when each was set.
    ///
    /// # Errors
    /// [`StoreError::Disk`] where the database cannot be read.
    pub fn secrets(&self) -> Result<Listing<SecretName>, StoreError> {
        list(self, TREE, |name, record: ValueOut| SecretName { name, set_at: record.set_at })
    }

    /// Deletes the secret `name`. `false`: there was none.
    ///
    /// # Errors
    /// [`StoreError`]; the secret may then still be there.
    pub fn delete_secret(&self, name: &str) -> Result<bool, StoreError> {
        self.remove(shelf(name))
    }
}

const TREE: &str = "secrets";

#[derive(Serialize)]
struct ValueIn<'a> {
    value: &'a str,
    set_at: i64,
}

#[derive(Deserialize)]
struct ValueOut {
    value: SecretString,
    set_at: i64,
}

fn shelf(name: &str) -> Shelf<'_> {
    Shelf { tree: TREE, record: name, field: "value" }
}

fn check_name(name: &str) -> Result<(), Unfit> {
    let fits = (1..=SECRET_NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    if fits { Ok(()) } else { Err(Unfit::Name) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::{KeyRing, MasterKey};

    fn store() -> (tempfile::TempDir, Store) {
        let data = tempfile::tempdir().unwrap();
        let ring = KeyRing::new(MasterKey::generate().unwrap(), Vec::new());
        let store = Store::open(data.path(), ring).unwrap();
        (data, store)
    }

    fn secret(text: &str) -> SecretString {
        SecretString::from(text)
    }

    #[test]
    fn a_secret_is_set_replaced_listed_and_deleted() {
        let (_data, store) = store();
        store.set_secret("NOTION_TOKEN", &secret("one"), 1).unwrap();
        store.set_secret("NOTION_TOKEN", &secret("two \"quoted\"\n\u{1}"), 2).unwrap();
        assert_eq!(store.secret("NOTION_TOKEN").unwrap().unwrap().expose_secret(), "two \"quoted\"\n\u{1}");
        let listed = store.secrets().unwrap();
        assert_eq!(listed.found, [SecretName { name: "NOTION_TOKEN".to_owned(), set_at: 2 }]);
        assert!(listed.damaged.is_empty());
        assert!(store.delete_secret("NOTION_TOKEN").unwrap());
        assert!(!store.delete_secret("NOTION_TOKEN").unwrap());
        assert!(store.secret("NOTION_TOKEN").unwrap().is_none());
    }

    #[test]
    fn the_longest_secret_is_kept_even_where_json_makes_it_longest() {
        let (_data, store) = store();
        let longest = "\u{1}".repeat(SECRET_BYTES_MAX);
        store.set_secret("a", &secret(&longest), 0).unwrap();
        assert_eq!(store.secret("a").unwrap().unwrap().expose_secret(), longest);
    }

    #[test]
    fn a_name_or_value_that_does_not_fit_is_refused() {
        let (_data, store) = store();
        let value = secret("x");
        for name in ["", "a b", "a/b", "ä", &"n".repeat(SECRET_NAME_BYTES_MAX + 1)] {
            assert!(matches!(store.set_secret(name, &value, 0), Err(Unfit::Name)), "{name}");
        }
        assert!(store.set_secret(&"n".repeat(SECRET_NAME_BYTES_MAX), &value, 0).is_ok());
        assert!(matches!(store.set_secret("a", &secret(""), 0), Err(Unfit::Empty)));
        let long = secret(&"x".repeat(SECRET_BYTES_MAX + 1));
        assert!(matches!(store.set_secret("a", &long, 0), Err(Unfit::TooLong { .. })));
    }

    #[test]
    fn an_error_about_a_record_does_not_quote_it() {
        let (_data, store) = store();
        store.put(shelf("a"), br#"{"value": 1, "set_at": "canary"}"#).unwrap();
        let error = store.secret("a").unwrap_err();
        assert!(!format!("{error} {error:?}").contains("canary"), "{error:?}");
    }
}
