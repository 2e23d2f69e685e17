//! Reads the login that an agent presents to the proxy, in every form that real clients send. It decides nothing: who
//! the login belongs to is [`model::Identities`]' to say.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::general_purpose::GeneralPurpose;
use base64::engine::{DecodePaddingMode, GeneralPurposeConfig};
use model::identity::Login;
use model::{KeyDigest, Refusal};

/// The longest login field, in bytes.
const LOGIN_BYTES_MAX: usize = 8 * 1024;

/// Padding is optional: some clients leave it out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The login in the values of `Proxy-Authorization` (RFC 9110 §11.7.2); `None` when there is none.
///
/// # Errors
/// [`Refusal::CallerUnknown`] for a login that cannot be read, or more than one.
pub(crate) fn login<'a>(mut values: impl Iterator<Item = &'a [u8]>) -> Result<Option<Login>, Refusal> {
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() || value.len() > LOGIN_BYTES_MAX {
        return Err(Refusal::CallerUnknown);
    }
    let text = std::str::from_utf8(value).map_err(|_| Refusal::CallerUnknown)?;
    let (scheme, rest) = text.trim().split_once(' ').ok_or(Refusal::CallerUnknown)?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Ok(Some(Login { name: String::new(), digest: KeyDigest::of(rest) }));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(Refusal::CallerUnknown);
    }
    let decoded = BASE64.decode(rest).map_err(|_| Refusal::CallerUnknown)?;
    let decoded = String::from_utf8(decoded).map_err(|_| Refusal::CallerUnknown)?;
    let (name, key) = decoded.split_once(':').unwrap_or((&decoded, ""));
    let (name, key) = (percent_decoded(name), percent_decoded(key));
    match (name.is_empty(), key.is_empty()) {
        (true, true) => Ok(None),
        // `http://KEY@proxy`: the key stands where the name would.
        (false, true) => Ok(Some(Login { name: String::new(), digest: KeyDigest::of(&name) })),
        (_, false) => Ok(Some(Login { name, digest: KeyDigest::of(&key) })),
    }
}

/// Some clients (axios) send the login of the proxy's URL without decoding it. Names and keys hold no `%` themselves.
fn percent_decoded(text: &str) -> String {
    if !text.contains('%') {
        return text.to_owned();
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digit = |at: usize| after.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        let escaped = match (first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => u8::try_from(high * 16 + low).ok(),
            _ => None,
        };
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD as PADDED, STANDARD_NO_PAD};

    use super::*;

    fn read(value: &str) -> Option<(String, bool)> {
        let login = login(std::iter::once(value.as_bytes())).ok()??;
        Some((login.name, login.digest == KeyDigest::of("pst_a-b_c")))
    }

    fn basic(text: &str) -> String {
        format!("Basic {}", PADDED.encode(text))
    }

    #[test]
    fn every_form_that_real_clients_send_is_read() {
        let named = Some(("bot".to_owned(), true));
        let nameless = Some((String::new(), true));
        assert_eq!(read(&basic("bot:pst_a-b_c")), named);
        assert_eq!(read(&basic("bot:pst%5Fa%2Db_c")), named);
        assert_eq!(read(&basic(":pst_a-b_c")), nameless);
        assert_eq!(read(&basic("pst_a-b_c:")), nameless);
        assert_eq!(read(&basic("pst_a-b_c")), nameless);
        assert_eq!(read("Bearer pst_a-b_c"), nameless);
        assert_eq!(read("bearer   pst_a-b_c"), nameless);
        assert_eq!(read(&format!("basic {}", STANDARD_NO_PAD.encode("bot:pst_a-b_c"))), named);
    }

    #[test]
    fn what_cannot_be_read_is_a_wrong_login() {
        for value in ["Basic", "Basic !!!", "Digest x", "Basic \u{e4}", "", &format!("Basic {}", "A".repeat(10_000))] {
            assert!(login(std::iter::once(value.as_bytes())).is_err(), "{value}");
        }
        let twice = basic("bot:pst_a-b_c");
        assert!(login([twice.as_bytes(), twice.as_bytes()].into_iter()).is_err());
    }

    #[test]
    fn an_empty_login_is_none() {
        assert!(login(std::iter::empty()).unwrap().is_none());
        assert!(login(std::iter::once(basic(":").as_bytes())).unwrap().is_none());
    }
}
