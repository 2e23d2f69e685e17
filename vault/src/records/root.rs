//! The certificate authority's root: its certificate and its private key, in one record so that they can never be of
//! two different roots. It does not look inside either.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::{decode, encode};
use crate::seal::Shelf;
use crate::store::{Store, StoreError};

/// The root as it is kept.
#[derive(Clone, PartialEq, Eq)]
pub struct RootRecord {
    /// The certificate, DER.
    pub certificate_der: Vec<u8>,
    /// The private key, PKCS #8 DER, wiped when dropped.
    pub key_pkcs8: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for RootRecord {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("RootRecord").field("certificate_bytes", &self.certificate_der.len()).finish_non_exhaustive()
    }
}

impl Store {
    /// The root, or `None` where none has been saved.
    ///
    /// # Errors
    /// [`StoreError`] where it cannot be read or does not open.
    pub fn root(&self) -> Result<Option<RootRecord>, StoreError> {
        let Some(stored) = self.read(SHELF)? else {
            return Ok(None);
        };
        let pair: PairInBase64 = decode(SHELF, &stored)?;
        let unknown = |_| StoreError::Unknown { shelf: SHELF.to_string() };
        Ok(Some(RootRecord {
            certificate_der: STANDARD.decode(&pair.certificate_der).map_err(unknown)?,
            key_pkcs8: Zeroizing::new(STANDARD.decode(&pair.key_pkcs8).map_err(unknown)?),
        }))
    }

    /// Saves the root, over any that is there.
    ///
    /// # Errors
    /// [`StoreError`]; the store may then hold the old root or this one.
    pub fn save_root(&self, root: &RootRecord) -> Result<(), StoreError> {
        let pair = PairInBase64 {
            certificate_der: STANDARD.encode(&root.certificate_der),
            key_pkcs8: STANDARD.encode(&*root.key_pkcs8),
        };
        self.put(SHELF, &encode(&pair, pair.certificate_der.len() + pair.key_pkcs8.len()))?;
        Ok(())
    }
}

const SHELF: Shelf<'static> = Shelf { tree: "ca", record: "root", field: "pair" };

#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
struct PairInBase64 {
    certificate_der: String,
    key_pkcs8: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::{KeyRing, MasterKey};

    fn root(byte: u8) -> RootRecord {
        RootRecord { certificate_der: vec![byte; 500], key_pkcs8: Zeroizing::new(vec![byte; 138]) }
    }

    #[test]
    fn the_root_survives_a_restart_and_is_replaced_as_a_pair() {
        let data = tempfile::tempdir().unwrap();
        let key = MasterKey::generate().unwrap().to_base64();
        let open = || Store::open(data.path(), KeyRing::from_text(&key).unwrap()).unwrap();
        let store = open();
        assert_eq!(store.root().unwrap(), None);
        store.save_root(&root(1)).unwrap();
        store.save_root(&root(2)).unwrap();
        drop(store);
        assert_eq!(open().root().unwrap(), Some(root(2)));
    }

    #[test]
    fn debug_does_not_show_the_key() {
        assert_eq!(format!("{:?}", root(7)), "RootRecord { certificate_bytes: 500, .. }");
    }
}
