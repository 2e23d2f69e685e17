//! The two private keys of the authority: the root's, which signs leaves, and the one that all
//! leaves share, which signs handshakes. It refuses to print them and wipes every copy of their
//! encoding that it owns.

use std::fmt;
use std::sync::Arc;

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData, SignatureAlgorithm, SigningKey, SubjectPublicKeyInfo};
use rustls::crypto::aws_lc_rs::sign::any_ecdsa_type;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use zeroize::{Zeroize, Zeroizing};

use crate::Error;

/// A P-256 private key whose encoding is wiped when it is dropped.
pub(crate) struct SecretKey(KeyPair);

impl SecretKey {
    /// A fresh P-256 key.
    pub(crate) fn generate() -> Result<Self, Error> {
        Ok(Self(KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?))
    }

    /// The key in `pkcs8` (DER, unencrypted).
    ///
    /// # Errors
    /// [`Error::KeyUnreadable`] for anything but a P-256 key in PKCS#8.
    pub(crate) fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, Error> {
        KeyPair::from_pkcs8_der_and_sign_algo(&PrivatePkcs8KeyDer::from(pkcs8), &PKCS_ECDSA_P256_SHA256)
            .map(Self)
            .map_err(|_| Error::KeyUnreadable)
    }

    /// A copy of the key in PKCS#8 DER, wiped when dropped.
    pub(crate) fn pkcs8(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(self.0.serialize_der())
    }
}

impl PublicKeyData for SecretKey {
    fn der_bytes(&self) -> &[u8] {
        self.0.der_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        PublicKeyData::algorithm(&self.0)
    }
}

impl SigningKey for SecretKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.0.sign(message)
    }
}

impl Drop for SecretKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(..)")
    }
}

/// The key that every leaf of this process shares: minting then costs one signature and no key
/// generation. It lives only in memory, so that nothing on disk can impersonate a destination, and
/// it is random, not derived from a name.
pub(crate) struct LeafKey {
    /// For the handshakes.
    pub(crate) signing: Arc<dyn rustls::sign::SigningKey>,
    /// For the certificates.
    pub(crate) public: SubjectPublicKeyInfo,
}

impl LeafKey {
    /// A fresh P-256 key.
    pub(crate) fn generate() -> Result<Self, Error> {
        let secret = SecretKey::generate()?;
        let public = SubjectPublicKeyInfo::from_der(&secret.subject_public_key_info())?;
        let pkcs8 = secret.pkcs8();
        let pkcs8 = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pkcs8.as_slice()));
        let signing = any_ecdsa_type(&pkcs8).map_err(Error::LeafKey)?;
        Ok(Self { signing, public })
    }
}
