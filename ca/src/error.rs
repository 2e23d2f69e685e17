//! Everything that can go wrong in the authority, sorted by whose fault it is, in words that tell
//! the operator what to do. It refuses to carry key material or certificate bytes.

use time::Date;

/// A failure to load the root or to mint a leaf.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    // What the operator gave us.
    /// The bytes are not one DER certificate.
    #[error("the root certificate cannot be read: it must be exactly one X.509 certificate in DER")]
    CertificateUnreadable,
    /// The certificate may not sign others (RFC 5280 §4.2.1.9 and §4.2.1.3).
    #[error(
        "the root certificate may not sign others: it needs `CA:TRUE` and, where it limits key usage, `keyCertSign`"
    )]
    NotAnAuthority,
    /// The private key is not what this authority signs with.
    #[error("the root's private key cannot be read: it must be an unencrypted P-256 key in PKCS#8 DER")]
    KeyUnreadable,
    /// The private key belongs to another certificate.
    #[error("the root's private key does not belong to the root certificate: restore both from the same backup")]
    KeyMismatch,
    /// The subject repeats an attribute, so that leaves could not name their issuer exactly (RFC
    /// 5280 §4.1.2.4).
    #[error("the root certificate's subject cannot be copied into leaves: use a root that names each attribute once")]
    SubjectNotCopyable,

    // Time.
    /// The root's life is over; nothing it signs would be believed.
    #[error(
        "the root certificate ended on {ended_on}: start over with a new data folder, and let agents trust the root that it makes"
    )]
    RootExpired {
        /// The last day (UTC) of the root's life.
        ended_on: Date,
    },
    /// The root's life has not begun; usually this machine's clock is wrong.
    #[error("the root certificate is valid only from {begins_on}: check the clock of this machine")]
    RootNotYetValid {
        /// The first day (UTC) of the root's life.
        begins_on: Date,
    },
    /// The clock shows a time that a certificate cannot express.
    #[error("the clock of this machine shows a time outside the years 1970 to 9999: set it")]
    ClockOutOfRange,

    // What the agent asked for.
    /// The name is neither a DNS name nor an IP address.
    #[error("a leaf can be made only for a DNS name or an IP address")]
    NameUnsupported,

    // Us.
    /// The cryptographic provider had no random bytes for a serial number.
    #[error("the system gave no random bytes for a certificate's serial number")]
    NoRandomness,
    /// Making a key or signing a certificate failed.
    #[error("the certificate could not be made")]
    Signing(#[from] rcgen::Error),
    /// The freshly made leaf key was refused by the TLS library.
    #[error("the key for leaves could not be used")]
    LeafKey(#[source] rustls::Error),
}
