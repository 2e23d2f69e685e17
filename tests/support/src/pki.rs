//! Test authorities and certificates, good ones and deliberately bad ones. It refuses nothing: bad chains are its job.

use std::sync::{Arc, OnceLock};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;

/// A certificate authority with its key.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// The certificates between this authority and its root, its own first; empty for a root.
    path: Vec<CertificateDer<'static>>,
}

/// What an origin presents: its certificate, the intermediates, its key.
#[derive(Clone)]
pub struct Chain {
    /// The end entity's certificate first.
    pub certificates: Vec<CertificateDer<'static>>,
    /// The key, PKCS #8.
    key_pkcs8: Vec<u8>,
}

/// The authority that all origins of a test binary share, and that postern is told to trust.
#[must_use]
pub fn authority() -> &'static Authority {
    static SHARED: OnceLock<Authority> = OnceLock::new();
    SHARED.get_or_init(|| Authority::root("test origins"))
}

impl Authority {
    /// A fresh root.
    #[must_use]
    pub fn root(name: &str) -> Self {
        let issuer = CertifiedIssuer::self_signed(Self::params(name), fresh_key()).expect("the parameters are valid");
        Self { issuer, path: Vec::new() }
    }

    /// The parameters of an authority, to be spoilt by a test.
    #[must_use]
    pub fn params(name: &str) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params
    }

    /// An authority below this one.
    #[must_use]
    pub fn intermediate(&self, params: CertificateParams) -> Self {
        let issuer = CertifiedIssuer::signed_by(params, fresh_key(), &self.issuer).expect("the parameters are valid");
        let mut path = vec![issuer.der().clone()];
        path.extend(self.path.iter().cloned());
        Self { issuer, path }
    }

    /// The parameters of a good certificate for an origin, to be spoilt by a test.
    #[must_use]
    pub fn leaf_params(names: &[&str]) -> CertificateParams {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("the names are valid");
        params.distinguished_name.push(DnType::CommonName, "an origin");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        params
    }

    /// A good certificate for these names.
    #[must_use]
    pub fn chain(&self, names: &[&str]) -> Chain {
        self.sign(&Self::leaf_params(names))
    }

    /// A certificate with these parameters.
    #[must_use]
    pub fn sign(&self, params: &CertificateParams) -> Chain {
        self.sign_with(params, &fresh_key())
    }

    /// A certificate with these parameters over this key.
    #[must_use]
    pub fn sign_with(&self, params: &CertificateParams, key: &KeyPair) -> Chain {
        let certificate = params.signed_by(key, &self.issuer).expect("the parameters are valid");
        let mut certificates = vec![certificate.der().clone()];
        certificates.extend(self.path.iter().cloned());
        Chain { certificates, key_pkcs8: key.serialize_der() }
    }

    /// The authority's certificate in PEM.
    #[must_use]
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// The authority's certificate.
    #[must_use]
    pub fn der(&self) -> &CertificateDer<'static> {
        self.issuer.der()
    }
}

impl Chain {
    /// A certificate that signs itself.
    #[must_use]
    pub fn self_signed(names: &[&str]) -> Self {
        let key = fresh_key();
        let certificate = Authority::leaf_params(names).self_signed(&key).expect("the parameters are valid");
        Self { certificates: vec![certificate.der().clone()], key_pkcs8: key.serialize_der() }
    }

    /// A chain from DER parts that were made elsewhere.
    #[must_use]
    pub fn from_der(certificates: Vec<Vec<u8>>, key_pkcs8: Vec<u8>) -> Self {
        Self { certificates: certificates.into_iter().map(CertificateDer::from).collect(), key_pkcs8 }
    }

    /// The chain with the key loaded, whatever the certificate says.
    pub(crate) fn certified(&self) -> Arc<CertifiedKey> {
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key_pkcs8.clone()));
        let signer = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).expect("the key is supported");
        Arc::new(CertifiedKey::new(self.certificates.clone(), signer))
    }
}

fn fresh_key() -> KeyPair {
    KeyPair::generate().expect("the system has randomness")
}
