//! Master keys and the ring that holds them: the first key seals, every key opens. It never shows a key's bytes, and
//! it knows nothing of what they seal.

mod load;

pub use load::{KEY_FILE_BYTES_MAX, MASTER_KEY_FILE, MasterKeySource, Origin, RingError};

use std::fmt;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::random::{self, NoRandomness};

/// Length of a master key in bytes.
pub const MASTER_KEY_BYTES: usize = 32;

/// Length of a key id in bytes.
pub const KEY_ID_BYTES: usize = 8;

/// The name of a master key, written beside everything it sealed. It is derived from the key (HKDF-SHA256) and tells
/// nothing about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyId(pub [u8; KEY_ID_BYTES]);

impl fmt::Display for KeyId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

/// A master key: 32 random bytes, wiped when dropped, shown only by its id.
pub struct MasterKey {
    bytes: Zeroizing<[u8; MASTER_KEY_BYTES]>,
    id: KeyId,
}

impl MasterKey {
    /// A new key from the operating system's randomness.
    ///
    /// # Errors
    /// [`NoRandomness`] where the operating system has none to give.
    pub fn generate() -> Result<Self, NoRandomness> {
        Ok(Self::from_bytes(Zeroizing::new(random::bytes()?)))
    }

    /// Takes the key from its 32 bytes.
    #[must_use]
    pub fn from_bytes(bytes: Zeroizing<[u8; MASTER_KEY_BYTES]>) -> Self {
        let mut id = [0; KEY_ID_BYTES];
        derive(&bytes, KEY_ID_LABEL, &mut id);
        Self { bytes, id: KeyId(id) }
    }

    /// Reads the key from base64 in either alphabet, padded or not; white space around it is ignored.
    ///
    /// # Errors
    /// [`KeyTextError`] says what is wrong with the text, never what it holds.
    pub fn from_base64(text: &str) -> Result<Self, KeyTextError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(KeyTextError::Empty);
        }
        let engine = if text.contains(['-', '_']) { &URL_SAFE } else { &STANDARD };
        let decoded = Zeroizing::new(engine.decode(text).map_err(|_| KeyTextError::NotBase64)?);
        let bytes = <[u8; MASTER_KEY_BYTES]>::try_from(decoded.as_slice())
            .map_err(|_| KeyTextError::WrongLength { bytes: decoded.len() })?;
        Ok(Self::from_bytes(Zeroizing::new(bytes)))
    }

    /// The key as padded base64, as a key file holds it.
    #[must_use]
    pub fn to_base64(&self) -> Zeroizing<String> {
        Zeroizing::new(STANDARD.encode(self.bytes.as_slice()))
    }

    /// The key's id.
    #[must_use]
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// Derives a key of its own for the purpose that `purpose` names (HKDF-SHA256, RFC 5869).
    pub(crate) fn derive(&self, purpose: &[u8]) -> Zeroizing<[u8; MASTER_KEY_BYTES]> {
        let mut derived = Zeroizing::new([0; MASTER_KEY_BYTES]);
        derive(&self.bytes, purpose, derived.as_mut_slice());
        derived
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "MasterKey({})", self.id)
    }
}

/// The keys in force: the first seals, all of them open.
#[derive(Debug)]
pub struct KeyRing {
    first: MasterKey,
    older: Vec<MasterKey>,
}

impl KeyRing {
    /// A ring in which `first` seals, and `older` keys still open what they once sealed.
    #[must_use]
    pub fn new(first: MasterKey, older: Vec<MasterKey>) -> Self {
        Self { first, older }
    }

    /// Reads a ring from text with one base64 key a line, the sealing key first; blank lines are skipped.
    ///
    /// # Errors
    /// [`RingTextError`] names the line that is wrong; a text without a key is wrong in its first line.
    pub fn from_text(text: &str) -> Result<Self, RingTextError> {
        let mut keys = Vec::new();
        for (index, line) in text.lines().enumerate() {
            if line.trim().is_empty() {
                continue;
            }
            let key = MasterKey::from_base64(line).map_err(|source| RingTextError { line: index + 1, source })?;
            keys.push(key);
        }
        if keys.is_empty() {
            return Err(RingTextError { line: 1, source: KeyTextError::Empty });
        }
        let first = keys.remove(0);
        Ok(Self::new(first, keys))
    }

    /// The key that seals.
    #[must_use]
    pub fn sealing(&self) -> &MasterKey {
        &self.first
    }

    /// The key of that id, if the ring holds it.
    #[must_use]
    pub fn find(&self, id: KeyId) -> Option<&MasterKey> {
        std::iter::once(&self.first).chain(&self.older).find(|key| key.id == id)
    }
}

/// Why a text is not a master key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyTextError {
    /// There is nothing in it.
    #[error("there is no key in it; make one with: openssl rand -base64 32")]
    Empty,
    /// It is not base64.
    #[error("it is not base64; make a key with: openssl rand -base64 32")]
    NotBase64,
    /// It is base64, of something that is not 32 bytes long.
    #[error("a master key is 32 bytes, this one is {bytes}; make one with: openssl rand -base64 32")]
    WrongLength {
        /// How many bytes the text decodes to.
        bytes: usize,
    },
}

/// Why a text is not a ring of master keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {source}")]
pub struct RingTextError {
    /// The line that is wrong, counted from one.
    pub line: usize,
    /// What is wrong with it.
    pub source: KeyTextError,
}

const KEY_ID_LABEL: &[u8] = b"postern key id v1";
const TOLERANT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, TOLERANT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, TOLERANT);

#[expect(clippy::expect_used, reason = "HKDF-SHA256 gives up to 8160 bytes; no caller asks for more than 32")]
fn derive(key: &[u8; MASTER_KEY_BYTES], info: &[u8], derived: &mut [u8]) {
    Hkdf::<Sha256>::new(None, key).expand(info, derived).expect("a derived key is at most 32 bytes");
}

#[cfg(test)]
mod tests {
    use super::*;

    const ZEROS: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

    fn ones(engine: &GeneralPurpose) -> String {
        engine.encode([0xff; MASTER_KEY_BYTES])
    }

    #[test]
    fn a_key_survives_its_own_base64() {
        let key = MasterKey::generate().unwrap();
        assert_eq!(MasterKey::from_base64(&key.to_base64()).unwrap().bytes, key.bytes);
    }

    #[test]
    fn both_alphabets_are_read_padded_or_not() {
        let id = MasterKey::from_base64(&ones(&STANDARD)).unwrap().id();
        assert_eq!(MasterKey::from_base64(&ones(&URL_SAFE)).unwrap().id(), id);
        assert_eq!(MasterKey::from_base64(ones(&STANDARD).trim_end_matches('=')).unwrap().id(), id);
        assert_eq!(MasterKey::from_base64(&format!("  {}\r\n", ones(&STANDARD))).unwrap().id(), id);
    }

    #[test]
    fn a_text_that_is_no_key_is_refused_with_the_way_to_make_one() {
        for (text, refusal) in [
            ("", KeyTextError::Empty),
            (" \n", KeyTextError::Empty),
            ("not base64!", KeyTextError::NotBase64),
            ("c2hvcnQ=", KeyTextError::WrongLength { bytes: 5 }),
        ] {
            let error = MasterKey::from_base64(text).unwrap_err();
            assert_eq!(error, refusal);
            assert!(error.to_string().ends_with("openssl rand -base64 32"), "{error}");
        }
    }

    #[test]
    fn debug_shows_the_id_and_never_the_key() {
        let key = MasterKey::from_base64(ZEROS).unwrap();
        let shown = format!("{key:?}");
        assert_eq!(shown, format!("MasterKey({})", key.id()));
        assert!(!key.id().to_string().contains("0000"));
    }

    #[test]
    fn the_first_line_seals_and_every_line_opens() {
        let text = format!("\n{}\n\n{ZEROS}\n", ones(&STANDARD));
        let ring = KeyRing::from_text(&text).unwrap();
        let older = MasterKey::from_base64(ZEROS).unwrap().id();
        assert_eq!(ring.sealing().id(), MasterKey::from_base64(&ones(&STANDARD)).unwrap().id());
        assert_eq!(ring.find(older).unwrap().id(), older);
    }

    #[test]
    fn a_wrong_line_is_named() {
        let error = KeyRing::from_text(&format!("{ZEROS}\nnonsense!\n")).unwrap_err();
        assert_eq!(error, RingTextError { line: 2, source: KeyTextError::NotBase64 });
    }

    #[test]
    fn a_key_that_is_not_in_the_ring_is_not_found() {
        let ring = KeyRing::from_text(ZEROS).unwrap();
        assert!(ring.find(KeyId([0; KEY_ID_BYTES])).is_none());
    }
}
