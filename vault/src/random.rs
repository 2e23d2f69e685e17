//! Random bytes from the operating system, for keys, nonces and ids. It has no generator of its own that a fork or a
//! restored machine could repeat, and it never carries on with fewer bytes than were asked for.

use aes_gcm::aead::Generate;

/// The operating system gave no random bytes; nothing may be sealed or issued without them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gave no random bytes; without them nothing can be sealed or issued")]
pub struct NoRandomness;

/// `N` fresh random bytes.
///
/// # Errors
/// [`NoRandomness`] where the operating system's generator fails.
pub(crate) fn bytes<const N: usize>() -> Result<[u8; N], NoRandomness> {
    <[u8; N]>::try_generate().map_err(|_| NoRandomness)
}

/// A fresh text of 256 random bits, in letters that are fit for a URL.
///
/// # Errors
/// [`NoRandomness`] where the operating system's generator fails.
pub fn text() -> Result<secrecy::SecretString, NoRandomness> {
    use base64::Engine as _;
    Ok(base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes::<32>()?).into())
}
