//! The seal: AES-256-GCM under a key of its own for every shelf, with the shelf's whole address authenticated, so that
//! a sealed value opens only where it was put. It stores nothing, and it says why a value does not open but never
//! gives out a part of one.
//!
//! A sealed value is: format version (1 byte), key id (8), generation (8, big-endian), nonce (12), ciphertext, tag (16).

use std::fmt;

use aes_gcm::aead::{AeadInOut as _, KeyInit as _};
use aes_gcm::{Aes256Gcm, Nonce, Tag};
use zeroize::Zeroizing;

use crate::framing;
use crate::random::{self, NoRandomness};
use crate::ring::{KEY_ID_BYTES, KeyId, KeyRing, MasterKey};

/// The version of the sealed format that is written; the only one there is.
pub const SEAL_VERSION: u8 = 1;

/// Length of a store's id in bytes.
pub const STORE_ID_BYTES: usize = 16;

/// The random name of a store, made with it. It is no secret; being authenticated, it keeps a value of one store from
/// opening in another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreId(pub [u8; STORE_ID_BYTES]);

/// The one place where a sealed value belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shelf<'a> {
    /// The kind of record, for example `secrets`.
    pub tree: &'a str,
    /// The record's name within its tree.
    pub record: &'a str,
    /// The field within the record.
    pub field: &'a str,
}

impl fmt::Display for Shelf<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}/{}", self.tree, self.record, self.field)
    }
}

/// What a sealed value held.
pub struct Opened {
    /// The value, wiped when dropped.
    pub plaintext: Zeroizing<Vec<u8>>,
    /// How often its shelf had been written, this value included.
    pub generation: u64,
}

impl fmt::Debug for Opened {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Opened").field("generation", &self.generation).finish_non_exhaustive()
    }
}

/// Why a value cannot be sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealFailure {
    /// There was no randomness for the nonce.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
    /// The value is beyond what AES-GCM can seal (64 GiB, NIST SP 800-38D §5.2.1.1).
    #[error("the value is too long to be sealed")]
    TooLong,
}

/// Why a sealed value does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenFailure {
    /// It is shorter than the shortest sealed value.
    #[error("the sealed value is cut short")]
    Truncated,
    /// It was sealed by a later version of postern, or it is no sealed value.
    #[error(
        "the sealed value has format {0}, which this version of postern does not know; use the version that wrote it"
    )]
    UnknownVersion(u8),
    /// No key of the ring sealed it.
    #[error("it was sealed with the master key {0}, which is not in the ring; add that key as a further line")]
    UnknownKey(KeyId),
    /// It was changed, or moved here from another shelf or store.
    #[error("the sealed value was changed or moved since it was written; restore it from a backup or set it anew")]
    NotAuthentic,
}

/// Seals `plaintext` for `shelf` of the store `store_id` with the ring's first key.
///
/// # Errors
/// [`SealFailure`], where there is no randomness or the value is absurdly long.
pub fn seal(
    ring: &KeyRing,
    store_id: StoreId,
    shelf: Shelf<'_>,
    generation: u64,
    plaintext: &[u8],
) -> Result<Vec<u8>, SealFailure> {
    let key = ring.sealing();
    let nonce: [u8; NONCE_BYTES] = random::bytes()?;
    let header = Header { key: key.id(), generation, nonce };

    let mut sealed = Vec::with_capacity(HEADER_BYTES + plaintext.len() + TAG_BYTES);
    header.write(&mut sealed);
    sealed.extend_from_slice(plaintext);
    let body = &mut sealed[HEADER_BYTES..];
    let tag = cipher(key, shelf)
        .encrypt_inout_detached(&Nonce::from(nonce), &header.address(store_id, shelf), body.into())
        .map_err(|_| SealFailure::TooLong)?;
    sealed.extend_from_slice(&tag);
    Ok(sealed)
}

/// Opens `sealed`, which must have been sealed for the same `shelf` of the same store by a key of the ring.
///
/// # Errors
/// [`OpenFailure`] says why not; any bytes may be given.
pub fn open(ring: &KeyRing, store_id: StoreId, shelf: Shelf<'_>, sealed: &[u8]) -> Result<Opened, OpenFailure> {
    let (header, body) = Header::read(sealed)?;
    let (ciphertext, tag) = body.split_last_chunk::<TAG_BYTES>().ok_or(OpenFailure::Truncated)?;
    let key = ring.find(header.key).ok_or(OpenFailure::UnknownKey(header.key))?;

    let mut plaintext = Zeroizing::new(ciphertext.to_vec());
    cipher(key, shelf)
        .decrypt_inout_detached(
            &Nonce::from(header.nonce),
            &header.address(store_id, shelf),
            plaintext.as_mut_slice().into(),
            &Tag::from(*tag),
        )
        .map_err(|_| OpenFailure::NotAuthentic)?;
    Ok(Opened { plaintext, generation: header.generation })
}

/// The generation that `sealed` claims to have, before anything has been authenticated; zero where it claims none.
pub(crate) fn claimed_generation(sealed: &[u8]) -> u64 {
    Header::read(sealed).map_or(0, |(header, _)| header.generation)
}

const VERSION_BYTES: usize = 1;
const GENERATION_BYTES: usize = 8;
const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;
const HEADER_BYTES: usize = VERSION_BYTES + KEY_ID_BYTES + GENERATION_BYTES + NONCE_BYTES;
const RECORD_KEY_LABEL: &[u8] = b"postern record key v1";

/// What stands in the clear before the ciphertext.
struct Header {
    key: KeyId,
    generation: u64,
    nonce: [u8; NONCE_BYTES],
}

impl Header {
    fn read(sealed: &[u8]) -> Result<(Self, &[u8]), OpenFailure> {
        let (version, rest) = sealed.split_first().ok_or(OpenFailure::Truncated)?;
        if *version != SEAL_VERSION {
            return Err(OpenFailure::UnknownVersion(*version));
        }
        let (key, rest) = rest.split_first_chunk().ok_or(OpenFailure::Truncated)?;
        let (generation, rest) = rest.split_first_chunk().ok_or(OpenFailure::Truncated)?;
        let (nonce, body) = rest.split_first_chunk().ok_or(OpenFailure::Truncated)?;
        Ok((Self { key: KeyId(*key), generation: u64::from_be_bytes(*generation), nonce: *nonce }, body))
    }

    fn write(&self, sealed: &mut Vec<u8>) {
        sealed.push(SEAL_VERSION);
        sealed.extend_from_slice(&self.key.0);
        sealed.extend_from_slice(&self.generation.to_be_bytes());
        sealed.extend_from_slice(&self.nonce);
    }

    /// The authenticated data: all that says what this value is and where it belongs.
    fn address(&self, store_id: StoreId, shelf: Shelf<'_>) -> Vec<u8> {
        framing::join(&[
            &store_id.0,
            shelf.tree.as_bytes(),
            shelf.record.as_bytes(),
            shelf.field.as_bytes(),
            &[SEAL_VERSION],
            &self.key.0,
            &self.generation.to_be_bytes(),
        ])
    }
}

/// A key for each shelf keeps every key far below the 2^32 random nonces it may see (NIST SP 800-38D §8.3).
fn cipher(key: &MasterKey, shelf: Shelf<'_>) -> Aes256Gcm {
    let record_key = key.derive(&purpose(key.id(), shelf));
    Aes256Gcm::new((&*record_key).into())
}

fn purpose(key: KeyId, shelf: Shelf<'_>) -> Vec<u8> {
    framing::join(&[RECORD_KEY_LABEL, &key.0, shelf.tree.as_bytes(), shelf.record.as_bytes(), shelf.field.as_bytes()])
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use aws_lc_rs::{aead, hkdf};
    use proptest::prelude::*;

    use super::*;

    const STORE: StoreId = StoreId([7; STORE_ID_BYTES]);
    const SHELF: Shelf<'static> = Shelf { tree: "secrets", record: "notion", field: "value" };

    fn key(byte: u8) -> MasterKey {
        MasterKey::from_bytes(Zeroizing::new([byte; 32]))
    }

    fn ring() -> KeyRing {
        KeyRing::new(key(1), vec![key(2)])
    }

    fn sealed(plaintext: &[u8]) -> Vec<u8> {
        seal(&ring(), STORE, SHELF, 3, plaintext).unwrap()
    }

    proptest! {
        #[test]
        fn what_was_sealed_opens_as_it_was(
            plaintext in proptest::collection::vec(any::<u8>(), 0..512),
            tree in ".{0,12}", record in ".{0,12}", field in ".{0,12}",
            generation: u64, store: [u8; STORE_ID_BYTES],
        ) {
            let shelf = Shelf { tree: &tree, record: &record, field: &field };
            let sealed = seal(&ring(), StoreId(store), shelf, generation, &plaintext).unwrap();
            let opened = open(&ring(), StoreId(store), shelf, &sealed).unwrap();
            prop_assert_eq!(&*opened.plaintext, &plaintext);
            prop_assert_eq!(opened.generation, generation);
        }

        #[test]
        fn a_changed_byte_anywhere_does_not_open(at: prop::sample::Index, flip in 1u8..) {
            let mut sealed = sealed(b"a refresh token");
            let at = at.index(sealed.len());
            sealed[at] ^= flip;
            prop_assert!(open(&ring(), STORE, SHELF, &sealed).is_err());
        }

        #[test]
        fn a_value_on_another_shelf_or_in_another_store_does_not_open(
            tree in "secrets|other|", record in "notion|other|", field in "value|other|", store in 6u8..=7,
        ) {
            let shelf = Shelf { tree: &tree, record: &record, field: &field };
            let store = StoreId([store; STORE_ID_BYTES]);
            prop_assume!(shelf != SHELF || store != STORE);
            let failure = open(&ring(), store, shelf, &sealed(b"token")).unwrap_err();
            prop_assert_eq!(failure, OpenFailure::NotAuthentic);
        }

        #[test]
        fn any_bytes_are_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..128)) {
            prop_assert!(open(&ring(), STORE, SHELF, &bytes).is_err());
        }

        /// Two implementations of HKDF and of AES-GCM must agree on every sealed value.
        #[test]
        fn another_implementation_opens_it_too(
            plaintext in proptest::collection::vec(any::<u8>(), 0..256), record in "[a-z]{1,12}", generation: u64,
        ) {
            let shelf = Shelf { record: &record, ..SHELF };
            let mut sealed = seal(&ring(), STORE, shelf, generation, &plaintext).unwrap();
            let (header, _) = Header::read(&sealed).unwrap();
            let info = purpose(header.key, shelf);
            let mut record_key = [0; 32];
            hkdf::Salt::new(hkdf::HKDF_SHA256, &[])
                .extract(&[1; 32])
                .expand(&[&info], hkdf::HKDF_SHA256)
                .unwrap()
                .fill(&mut record_key)
                .unwrap();
            let other = aead::LessSafeKey::new(aead::UnboundKey::new(&aead::AES_256_GCM, &record_key).unwrap());
            let nonce = aead::Nonce::assume_unique_for_key(header.nonce);
            let address = header.address(STORE, shelf);
            let opened = other.open_in_place(nonce, aead::Aad::from(address), &mut sealed[HEADER_BYTES..]).unwrap();
            prop_assert_eq!(opened, &plaintext[..]);
        }
    }

    #[test]
    fn every_cut_is_refused() {
        let sealed = sealed(b"token");
        for length in 0..sealed.len() {
            assert!(open(&ring(), STORE, SHELF, &sealed[..length]).is_err(), "cut to {length} bytes");
        }
        assert_eq!(open(&ring(), STORE, SHELF, &sealed[..HEADER_BYTES + 3]).unwrap_err(), OpenFailure::Truncated);
    }

    #[test]
    fn each_field_of_the_header_has_its_own_failure() {
        let sealed = sealed(b"token");
        let with = |at: usize| {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            open(&ring(), STORE, SHELF, &changed).unwrap_err()
        };
        assert_eq!(with(0), OpenFailure::UnknownVersion(0));
        assert!(matches!(with(1), OpenFailure::UnknownKey(_)));
        assert_eq!(with(VERSION_BYTES + KEY_ID_BYTES), OpenFailure::NotAuthentic);
        assert_eq!(with(HEADER_BYTES - 1), OpenFailure::NotAuthentic);
    }

    #[test]
    fn naming_another_key_of_the_ring_does_not_open() {
        let mut sealed = sealed(b"token");
        sealed[VERSION_BYTES..][..KEY_ID_BYTES].copy_from_slice(&key(2).id().0);
        assert_eq!(open(&ring(), STORE, SHELF, &sealed).unwrap_err(), OpenFailure::NotAuthentic);
    }

    #[test]
    fn an_older_key_of_the_ring_opens_what_it_sealed_and_a_foreign_one_does_not() {
        let sealed = sealed(b"token");
        let rotated = KeyRing::new(key(9), vec![key(1)]);
        assert_eq!(&**open(&rotated, STORE, SHELF, &sealed).unwrap().plaintext, b"token");
        let foreign = KeyRing::new(key(9), Vec::new());
        assert_eq!(open(&foreign, STORE, SHELF, &sealed).unwrap_err(), OpenFailure::UnknownKey(key(1).id()));
    }

    #[test]
    fn a_hundred_thousand_seals_never_repeat_a_nonce() {
        let ring = ring();
        let nonces: HashSet<[u8; NONCE_BYTES]> =
            (0..100_000).map(|_| Header::read(&seal(&ring, STORE, SHELF, 1, b"").unwrap()).unwrap().0.nonce).collect();
        assert_eq!(nonces.len(), 100_000);
    }

    #[test]
    fn debug_does_not_show_what_was_opened() {
        let opened = open(&ring(), STORE, SHELF, &sealed(b"a refresh token")).unwrap();
        assert_eq!(format!("{opened:?}"), "Opened { generation: 3, .. }");
    }
}
