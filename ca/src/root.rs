//! The root certificate and its key: made once, kept by the caller, trusted by every agent. It
//! refuses a root that could not sign a leaf anybody believes, and it signs nothing but what
//! [`Root::sign`] is given inside this crate.

use std::fmt;
use std::fmt::Write as _;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyUsagePurpose, PublicKeyData,
};
use rustls::pki_types::CertificateDer;
use sha2::{Digest as _, Sha256};
use time::{Duration, OffsetDateTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;
use zeroize::Zeroizing;

use crate::key::SecretKey;
use crate::validity::{Validity, utc};
use crate::{Error, serial};

/// Ten years: long enough that nobody is surprised by it, as agents must be told about a successor
/// by hand.
const ROOT_LIFE_IN: Duration = Duration::days(3652);

/// How much of the key's identifier is in the root's name, so that people can tell the roots of
/// several installs apart in a trust store.
const NAME_KEY_ID_BYTES: usize = 4;

const PEM_LINE_CHARS: usize = 64;

/// A certificate authority that agents are told to trust: a self-signed certificate with its
/// private key.
///
/// Its certificate allows no authority below it (`pathLen` 0, RFC 5280 §4.2.1.9). `Debug` shows the
/// fingerprint only.
pub struct Root {
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, SecretKey>,
    validity: Validity,
}

impl Root {
    /// Makes a new root: P-256, valid from a day before `now` for ten years, named after its own
    /// key.
    ///
    /// # Errors
    /// [`Error::Signing`] and [`Error::NoRandomness`] when the cryptographic provider fails,
    /// [`Error::ClockOutOfRange`] for a `now` that no certificate can express.
    pub fn generate(now: SystemTime) -> Result<Root, Error> {
        let key = SecretKey::generate()?;
        let validity = Validity::starting(utc(now)?, ROOT_LIFE_IN)?;

        let mut params = CertificateParams::default();
        params.serial_number = Some(serial::random()?);
        params.not_before = validity.not_before;
        params.not_after = validity.not_after;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name = root_name(&params.key_identifier(&key));

        let certificate = params.self_signed(&key)?;
        Root::from_parts(certificate.der(), &key.pkcs8(), now)
    }

    /// Takes up a root that was made earlier: its certificate and its private key in PKCS#8, both
    /// DER.
    ///
    /// # Errors
    /// In this order: [`Error::CertificateUnreadable`], [`Error::NotAnAuthority`],
    /// [`Error::RootNotYetValid`] or [`Error::RootExpired`] at `now`, [`Error::KeyUnreadable`],
    /// [`Error::KeyMismatch`], [`Error::SubjectNotCopyable`].
    pub fn from_parts(certificate_der: &[u8], key_pkcs8: &[u8], now: SystemTime) -> Result<Root, Error> {
        let parsed = parse(certificate_der)?;
        if !may_sign_certificates(&parsed) {
            return Err(Error::NotAnAuthority);
        }
        let validity = Validity {
            not_before: parsed.validity().not_before.to_datetime(),
            not_after: parsed.validity().not_after.to_datetime(),
        };
        check_valid_at(validity, utc(now)?)?;

        let key = SecretKey::from_pkcs8(key_pkcs8)?;
        if parsed.public_key().raw != key.subject_public_key_info() {
            return Err(Error::KeyMismatch);
        }

        let certificate = CertificateDer::from(certificate_der.to_vec());
        let issuer = Issuer::from_ca_cert_der(&certificate, key).map_err(|_| Error::SubjectNotCopyable)?;
        check_leaves_name_their_issuer(&issuer, &parsed)?;
        Ok(Root { certificate, issuer, validity })
    }

    /// The certificate in DER, for the store.
    pub fn certificate_der(&self) -> &[u8] {
        &self.certificate
    }

    /// The certificate in PEM (RFC 7468 §5), for agents.
    pub fn certificate_pem(&self) -> String {
        pem(&self.certificate)
    }

    /// The private key in PKCS#8 DER, for the sealed store and nothing else. The copy is wiped when
    /// dropped.
    pub fn key_pkcs8(&self) -> Zeroizing<Vec<u8>> {
        self.issuer.key().pkcs8()
    }

    /// The last second in which this root, and therefore any leaf of it, is valid.
    pub fn not_after(&self) -> SystemTime {
        self.validity.not_after.into()
    }

    /// SHA-256 of the certificate as people compare it: upper-case hex pairs with colons, as
    /// `openssl x509 -fingerprint -sha256` and the trust dialogs of browsers print it.
    pub fn fingerprint(&self) -> String {
        let digest = Sha256::digest(&self.certificate);
        let pairs: Vec<String> = digest.iter().map(|byte| format!("{byte:02X}")).collect();
        pairs.join(":")
    }

    pub(crate) fn validity(&self) -> Validity {
        self.validity
    }

    /// Says whether a leaf signed at `now` could be believed at all.
    pub(crate) fn check_valid_at(&self, now: OffsetDateTime) -> Result<(), Error> {
        check_valid_at(self.validity, now)
    }

    /// Signs a certificate over `public_key`: the one use that this crate makes of the root's key.
    pub(crate) fn sign(
        &self,
        params: &CertificateParams,
        public_key: &impl PublicKeyData,
    ) -> Result<CertificateDer<'static>, Error> {
        Ok(params.signed_by(public_key, &self.issuer)?.into())
    }
}

impl fmt::Debug for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Root").field("fingerprint", &self.fingerprint()).finish_non_exhaustive()
    }
}

/// `O=postern, CN=postern CA 1a2b3c4d`.
fn root_name(key_id: &[u8]) -> DistinguishedName {
    let mut common_name = String::from("postern CA ");
    for byte in key_id.iter().take(NAME_KEY_ID_BYTES) {
        // Writing to a String cannot fail.
        let _ = write!(common_name, "{byte:02x}");
    }
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, "postern");
    name.push(DnType::CommonName, common_name);
    name
}

fn parse(certificate_der: &[u8]) -> Result<X509Certificate<'_>, Error> {
    match X509Certificate::from_der(certificate_der) {
        Ok(([], parsed)) => Ok(parsed),
        _ => Err(Error::CertificateUnreadable),
    }
}

/// A certificate without key usage may be used for everything (RFC 5280 §4.2.1.3); one that is
/// malformed, for nothing.
fn may_sign_certificates(certificate: &X509Certificate<'_>) -> bool {
    let usage_allows = match certificate.key_usage() {
        Ok(None) => true,
        Ok(Some(usage)) => usage.value.key_cert_sign(),
        Err(_) => false,
    };
    certificate.is_ca() && usage_allows
}

fn check_valid_at(validity: Validity, now: OffsetDateTime) -> Result<(), Error> {
    if now < validity.not_before {
        return Err(Error::RootNotYetValid { begins_on: validity.not_before.date() });
    }
    if now > validity.not_after {
        return Err(Error::RootExpired { ended_on: validity.not_after.date() });
    }
    Ok(())
}

/// Verifiers compare a leaf's issuer with the root's subject byte by byte in practice, and the
/// library writes names anew instead of copying them (a repeated `OU` is lost). One trial signature
/// shows it here instead of at every agent.
fn check_leaves_name_their_issuer(
    issuer: &Issuer<'static, SecretKey>,
    root: &X509Certificate<'_>,
) -> Result<(), Error> {
    let trial = CertificateParams::default().signed_by(issuer.key(), issuer)?;
    let trial = parse(trial.der())?;
    if trial.issuer().as_raw() != root.subject().as_raw() {
        return Err(Error::SubjectNotCopyable);
    }
    Ok(())
}

/// One certificate in the strict textual form of RFC 7468.
pub(crate) fn pem(certificate_der: &[u8]) -> String {
    let body = BASE64.encode(certificate_der);
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(PEM_LINE_CHARS));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text.push_str("-----END CERTIFICATE-----\n");
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustls::pki_types::pem::PemObject as _;
    use x509_parser::extensions::ParsedExtension;

    use super::*;
    use crate::key::LeafKey;
    use crate::leaf;
    use crate::testing::{NOW_SECONDS, now, root, server_name};

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    #[test]
    fn a_new_root_is_an_authority_that_allows_none_below_it() {
        let root = root();
        let certificate = parse(root.certificate_der()).unwrap();

        let constraints = certificate.basic_constraints().unwrap().unwrap();
        assert!(constraints.critical && constraints.value.ca);
        assert_eq!(constraints.value.path_len_constraint, Some(0));

        let usage = certificate.key_usage().unwrap().unwrap();
        assert!(usage.critical);
        assert_eq!(usage.value.to_string(), "Key Cert Sign, CRL Sign");
        assert!(certificate.extended_key_usage().unwrap().is_none());
    }

    #[test]
    fn a_new_root_lives_ten_years_from_yesterday() {
        let root = root();
        let certificate = parse(root.certificate_der()).unwrap();
        let validity = certificate.validity();
        assert_eq!(validity.not_before.timestamp(), NOW_SECONDS - 24 * 60 * 60);
        assert_eq!(validity.not_after.timestamp(), NOW_SECONDS + 3652 * 24 * 60 * 60);
        assert_eq!(root.not_after(), now() + 3652 * DAY);
    }

    #[test]
    fn a_new_root_is_named_after_its_own_key() {
        let root = root();
        let certificate = parse(root.certificate_der()).unwrap();
        let key_id = certificate
            .iter_extensions()
            .find_map(|extension| match extension.parsed_extension() {
                ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0),
                _ => None,
            })
            .unwrap();
        let hex: String = key_id[..4].iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(certificate.subject().to_string(), format!("O=postern, CN=postern CA {hex}"));
        assert_eq!(certificate.subject(), certificate.issuer());
    }

    #[test]
    fn two_roots_share_neither_name_nor_serial_nor_key() {
        let (one, other) = (root(), root());
        let (one_parsed, other_parsed) =
            (parse(one.certificate_der()).unwrap(), parse(other.certificate_der()).unwrap());
        assert_ne!(one_parsed.subject(), other_parsed.subject());
        assert_ne!(one_parsed.raw_serial(), other_parsed.raw_serial());
        assert_ne!(one.key_pkcs8(), other.key_pkcs8());
        assert_ne!(one.fingerprint(), other.fingerprint());
    }

    #[test]
    fn a_root_comes_back_from_its_parts() {
        let made = root();
        let loaded = Root::from_parts(made.certificate_der(), &made.key_pkcs8(), now()).unwrap();
        assert_eq!(loaded.certificate_der(), made.certificate_der());
        assert_eq!(loaded.key_pkcs8(), made.key_pkcs8());
        assert_eq!(loaded.not_after(), made.not_after());
        assert_eq!(loaded.fingerprint(), made.fingerprint());
    }

    #[test]
    fn bytes_that_are_not_exactly_one_certificate_are_refused() {
        let root = root();
        let mut longer = root.certificate_der().to_vec();
        longer.push(0);
        for bytes in [&b""[..], b"-----BEGIN CERTIFICATE-----", &root.certificate_der()[1..], &longer] {
            let error = Root::from_parts(bytes, &root.key_pkcs8(), now()).unwrap_err();
            assert!(matches!(error, Error::CertificateUnreadable), "{error}");
        }
    }

    #[test]
    fn a_leaf_is_not_taken_for_a_root() {
        let root = root();
        let key = LeafKey::generate().unwrap();
        let leaf = leaf::issue(&root, &key.public, &server_name("api.acme.test"), utc(now()).unwrap()).unwrap();
        let error = Root::from_parts(&leaf.certificate, &root.key_pkcs8(), now()).unwrap_err();
        assert!(matches!(error, Error::NotAnAuthority), "{error}");
    }

    #[test]
    fn an_authority_whose_key_usage_forbids_signing_certificates_is_refused() {
        let key = SecretKey::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let certificate = params.self_signed(&key).unwrap();
        let error = Root::from_parts(certificate.der(), &key.pkcs8(), now()).unwrap_err();
        assert!(matches!(error, Error::NotAnAuthority), "{error}");
    }

    #[test]
    fn a_root_is_refused_after_its_last_second_and_before_its_first() {
        let root = root();
        let load = |at| Root::from_parts(root.certificate_der(), &root.key_pkcs8(), at);

        assert!(load(root.not_after()).is_ok());
        let expired = load(root.not_after() + Duration::from_secs(1)).unwrap_err();
        assert!(matches!(expired, Error::RootExpired { .. }), "{expired}");
        assert!(expired.to_string().contains("ended on 2037-01-14"), "{expired}");

        assert!(load(now() - DAY).is_ok());
        let early = load(now() - DAY - Duration::from_secs(1)).unwrap_err();
        assert!(matches!(early, Error::RootNotYetValid { .. }), "{early}");
    }

    #[test]
    fn a_key_that_cannot_be_read_is_refused_without_being_shown() {
        let root = root();
        let error = Root::from_parts(root.certificate_der(), b"hunter2", now()).unwrap_err();
        assert!(matches!(error, Error::KeyUnreadable), "{error}");
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }

    #[test]
    fn the_key_of_another_root_is_refused() {
        let error = Root::from_parts(root().certificate_der(), &root().key_pkcs8(), now()).unwrap_err();
        assert!(matches!(error, Error::KeyMismatch), "{error}");
    }

    #[test]
    fn pem_holds_the_same_certificate_in_lines_of_64() {
        let root = root();
        let text = root.certificate_pem();
        assert_eq!(CertificateDer::from_pem_slice(text.as_bytes()).unwrap().as_ref(), root.certificate_der());
        assert!(text.ends_with("-----END CERTIFICATE-----\n"));
        assert!(text.lines().all(|line| !line.is_empty() && line.len() <= PEM_LINE_CHARS));
    }

    #[test]
    fn debug_shows_the_fingerprint_and_no_key() {
        let root = root();
        let key_in_debug = format!("{:?}", root.key_pkcs8().as_slice());
        let shown = format!("{root:?}");
        assert!(shown.contains(&root.fingerprint()), "{shown}");
        assert!(!shown.contains(key_in_debug.trim_matches(['[', ']'])), "{shown}");
        assert_eq!(format!("{:?}", root.issuer.key()), "SecretKey(..)");
    }
}
