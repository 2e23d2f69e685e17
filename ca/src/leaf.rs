//! A leaf: the certificate that stands in for one destination towards an agent, for two days at
//! most. It refuses to name more than one destination, to outlive its root, and to decide who may
//! have one.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use rcgen::string::Ia5String;
use rcgen::{
    CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, PublicKeyData, SanType,
};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, ServerName};
use time::{Duration, OffsetDateTime};

use crate::validity::Validity;
use crate::{Error, Root, serial};

/// Short, because nobody can revoke a leaf; long enough that a busy name is minted about once a day
/// and a half.
const LEAF_LIFE_IN: Duration = Duration::hours(48);

/// A leaf is replaced when less than one part in this many of its life is left.
const RENEWAL_FRACTION: i32 = 4;

/// A minted certificate, ready to serve handshakes for its name.
///
/// `Debug` shows its end only.
pub struct Leaf {
    server_config: Arc<ServerConfig>,
    validity: Validity,
    renew_at: OffsetDateTime,
}

impl Leaf {
    pub(crate) fn new(issued: &Issued, server_config: ServerConfig) -> Self {
        Self { server_config: Arc::new(server_config), validity: issued.validity, renew_at: issued.renew_at }
    }

    /// The TLS configuration that presents this leaf.
    pub fn server_config(&self) -> &Arc<ServerConfig> {
        &self.server_config
    }

    /// The last second in which the certificate is valid.
    pub fn not_after(&self) -> SystemTime {
        self.validity.not_after.into()
    }

    /// Whether the leaf may still be handed out. A clock that was set back behind its beginning
    /// also ends it: agents whose clocks are right would not accept it.
    pub(crate) fn is_fresh_at(&self, now: OffsetDateTime) -> bool {
        self.validity.not_before <= now && now < self.renew_at
    }
}

impl fmt::Debug for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leaf").field("not_after", &self.validity.not_after).finish_non_exhaustive()
    }
}

/// A signed certificate and when to use it.
pub(crate) struct Issued {
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) validity: Validity,
    /// From here on a successor should be minted: a quarter of the time from now to the end is
    /// left.
    pub(crate) renew_at: OffsetDateTime,
}

/// Signs a certificate over `public_key` for exactly `name`, which must be canonical (lower case,
/// no final dot).
///
/// The subject stays empty. Clients look at the alternative name only (RFC 9110 §4.3.4), a common
/// name holds 64 characters where a DNS name may have 253, and an empty subject makes the
/// alternative name critical (RFC 5280 §4.2.1.6), so that one shape fits every name.
///
/// # Errors
/// [`Error::RootExpired`] and [`Error::RootNotYetValid`] when the root cannot vouch at `now`,
/// [`Error::NameUnsupported`], and the provider's failures.
pub(crate) fn issue(
    root: &Root,
    public_key: &impl PublicKeyData,
    name: &ServerName<'_>,
    now: OffsetDateTime,
) -> Result<Issued, Error> {
    root.check_valid_at(now)?;
    let validity = Validity::starting(now, LEAF_LIFE_IN)?.within(root.validity());

    let mut params = CertificateParams::default();
    params.serial_number = Some(serial::random()?);
    params.not_before = validity.not_before;
    params.not_after = validity.not_after;
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = vec![alternative_name(name)?];
    // An explicit "no authority" is what makes rcgen write the subject key identifier.
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;

    let certificate = root.sign(&params, public_key)?;
    let renew_at = validity.not_after - (validity.not_after - now) / RENEWAL_FRACTION;
    Ok(Issued { certificate, validity, renew_at })
}

fn alternative_name(name: &ServerName<'_>) -> Result<SanType, Error> {
    match name {
        ServerName::DnsName(dns) => Ok(SanType::DnsName(Ia5String::try_from(dns.as_ref())?)),
        ServerName::IpAddress(address) => Ok(SanType::IpAddress((*address).into())),
        _ => Err(Error::NameUnsupported),
    }
}

#[cfg(test)]
mod tests {
    use x509_parser::certificate::X509Certificate;
    use x509_parser::extensions::{GeneralName, ParsedExtension};
    use x509_parser::prelude::FromDer as _;

    use super::*;
    use crate::key::LeafKey;
    use crate::testing::{NOW_SECONDS, now, root, server_name};
    use crate::validity::utc;

    const HOUR_SECONDS: i64 = 60 * 60;

    /// Issues a leaf for `name` at `at` and lets `look` examine it as a verifier would read it.
    fn examine(root: &Root, name: &str, at: SystemTime, look: impl FnOnce(&X509Certificate<'_>)) {
        let key = LeafKey::generate().unwrap();
        let issued = issue(root, &key.public, &server_name(name), utc(at).unwrap()).unwrap();
        let (rest, certificate) = X509Certificate::from_der(&issued.certificate).unwrap();
        assert!(rest.is_empty());
        look(&certificate);
    }

    /// The one alternative name, in text; more or fewer than one fail.
    fn only_name(certificate: &X509Certificate<'_>) -> String {
        let names = certificate.subject_alternative_name().unwrap().unwrap();
        assert!(names.critical, "an empty subject demands a critical alternative name");
        match names.value.general_names.as_slice() {
            [GeneralName::DNSName(name)] => format!("DNS:{name}"),
            [GeneralName::IPAddress(octets)] => match <[u8; 4]>::try_from(*octets) {
                Ok(octets) => format!("IP:{}", std::net::Ipv4Addr::from(octets)),
                Err(_) => format!("IP:{}", std::net::Ipv6Addr::from(<[u8; 16]>::try_from(*octets).unwrap())),
            },
            other => panic!("not exactly one name: {other:?}"),
        }
    }

    fn subject_key_id(certificate: &X509Certificate<'_>) -> Option<Vec<u8>> {
        certificate.iter_extensions().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
            _ => None,
        })
    }

    fn authority_key_id(certificate: &X509Certificate<'_>) -> Option<Vec<u8>> {
        certificate.iter_extensions().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(id) => id.key_identifier.as_ref().map(|id| id.0.to_vec()),
            _ => None,
        })
    }

    #[test]
    fn a_leaf_names_exactly_its_destination() {
        let longest_label = "a".repeat(63);
        let long = format!("{longest_label}.{longest_label}.{longest_label}.acme.test");
        let root = root();
        for (name, expected) in [
            ("api.acme.test", "DNS:api.acme.test"),
            ("xn--bcher-kva.test", "DNS:xn--bcher-kva.test"),
            ("my_host.acme.test", "DNS:my_host.acme.test"),
            ("localhost", "DNS:localhost"),
            (&long, &format!("DNS:{long}")),
            ("192.0.2.7", "IP:192.0.2.7"),
            ("2001:db8::7", "IP:2001:db8::7"),
        ] {
            examine(&root, name, now(), |leaf| {
                assert_eq!(only_name(leaf), expected);
                assert_eq!(leaf.subject().iter().count(), 0);
            });
        }
    }

    #[test]
    fn a_leaf_is_chained_to_its_root_by_name_key_identifier_and_signature() {
        let root = root();
        let (_, authority) = X509Certificate::from_der(root.certificate_der()).unwrap();
        examine(&root, "api.acme.test", now(), |leaf| {
            assert_eq!(leaf.issuer().as_raw(), authority.subject().as_raw());
            assert_eq!(authority_key_id(leaf).unwrap(), subject_key_id(&authority).unwrap());
            assert!(subject_key_id(leaf).is_some_and(|id| Some(id) != subject_key_id(&authority)));
            leaf.verify_signature(Some(authority.public_key())).unwrap();
        });
    }

    #[test]
    fn a_leaf_may_authenticate_a_server_and_nothing_else() {
        examine(&root(), "api.acme.test", now(), |leaf| {
            let usage = leaf.key_usage().unwrap().unwrap();
            assert!(usage.critical);
            assert_eq!(usage.value.to_string(), "Digital Signature");

            let purposes = leaf.extended_key_usage().unwrap().unwrap().value;
            assert!(purposes.server_auth);
            assert!(!purposes.any && !purposes.client_auth && !purposes.code_signing && purposes.other.is_empty());
            assert!(!leaf.is_ca());
        });
    }

    #[test]
    fn a_leaf_lives_from_yesterday_until_the_day_after_tomorrow() {
        examine(&root(), "api.acme.test", now(), |leaf| {
            assert_eq!(leaf.validity().not_before.timestamp(), NOW_SECONDS - 24 * HOUR_SECONDS);
            assert_eq!(leaf.validity().not_after.timestamp(), NOW_SECONDS + 48 * HOUR_SECONDS);
        });
    }

    #[test]
    fn a_leaf_does_not_outlive_its_root() {
        let root = root();
        let shortly_before_the_end = root.not_after() - std::time::Duration::from_secs(60);
        examine(&root, "api.acme.test", shortly_before_the_end, |leaf| {
            assert_eq!(SystemTime::from(leaf.validity().not_after.to_datetime()), root.not_after());
        });
    }

    #[test]
    fn serials_are_positive_fresh_and_within_twenty_octets() {
        let root = root();
        let mut seen = std::collections::HashSet::new();
        for _ in 0..64 {
            examine(&root, "api.acme.test", now(), |leaf| {
                let serial = leaf.raw_serial();
                assert!((9..=20).contains(&serial.len()), "{} octets", serial.len());
                assert!(serial[0] < 0x80, "a negative serial");
                assert!(seen.insert(serial.to_vec()));
            });
        }
    }
}
