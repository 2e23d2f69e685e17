//! Secrets made for one test, easy to find again in any byte stream. It refuses to make the same one twice.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::crypto::aws_lc_rs;
use sha2::{Digest as _, Sha256};

/// Random bytes.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    aws_lc_rs::default_provider().secure_random.fill(&mut bytes).expect("the system has randomness");
    bytes
}

/// A bearer token (RFC 6750 §2.1) with characters that escape differently in base64url, percent-encoding and JSON.
pub(crate) fn token() -> String {
    format!("canary+{}/{}==", hex(&random::<8>()), hex(&random::<8>()))
}

/// A deployment key of the form that `postern deployment key new` prints.
pub(crate) fn key() -> String {
    format!("pst_{}", URL_SAFE_NO_PAD.encode(random::<32>()))
}

/// What `identify: [{key: {sha256: …}}]` says of a key.
pub(crate) fn digest(key: &str) -> String {
    hex(&Sha256::digest(key.as_bytes()))
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
