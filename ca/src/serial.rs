//! Serial numbers for certificates: 128 random bits, positive (RFC 5280 §4.1.2.2). It refuses to
//! derive them from anything, so that neither a name nor a key can be guessed from a serial, nor a
//! serial from them.

use std::sync::LazyLock;

use rcgen::SerialNumber;
use rustls::crypto::SecureRandom;

use crate::Error;

/// Well above the 64 bits of entropy that public authorities must use, and within the 20 octets of
/// RFC 5280 even with the leading zero octet that keeps the number positive.
const SERIAL_BYTES: usize = 16;

static RANDOM: LazyLock<&'static dyn SecureRandom> =
    LazyLock::new(|| rustls::crypto::aws_lc_rs::default_provider().secure_random);

/// A fresh serial number.
///
/// # Errors
/// [`Error::NoRandomness`] if the provider's random source fails.
pub(crate) fn random() -> Result<SerialNumber, Error> {
    let mut serial = [0; SERIAL_BYTES];
    RANDOM.fill(&mut serial).map_err(|_| Error::NoRandomness)?;
    Ok(SerialNumber::from_slice(&serial))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_serials_differ() {
        assert_ne!(random().unwrap(), random().unwrap());
    }
}
