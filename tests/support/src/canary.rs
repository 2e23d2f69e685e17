//! The canary: it looks for secrets, in every form in which one leaks, in every byte that a system emitted. It refuses
//! to print what it found.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

use crate::secret::hex;

/// Fewer characters than this would be found by chance.
const FORM_BYTES_MIN: usize = 12;

/// A watch for a set of secrets.
#[derive(Default)]
pub struct Canary {
    secrets: Vec<Secret>,
}

struct Secret {
    name: String,
    forms: Vec<Form>,
}

/// What a form is called, and how the secret looks in it.
type Form = (&'static str, Vec<u8>);

impl Canary {
    /// A watch for these secrets, each with the name that a finding shows.
    pub fn new<'a>(secrets: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let secrets = secrets.into_iter().map(|(name, secret)| Secret { name: name.to_owned(), forms: forms(secret) });
        Self { secrets: secrets.collect() }
    }

    /// What was found in these bytes, in words: which secret, in which form, where. Never the secret.
    #[must_use]
    pub fn sweep(&self, place: &str, bytes: &[u8]) -> Vec<String> {
        let mut found = Vec::new();
        for Secret { name, forms } in &self.secrets {
            for (form, needle) in forms {
                if let Some(at) = memchr::memmem::find(bytes, needle) {
                    found.push(format!("the secret {name} stands in {place} at byte {at}, as {form}"));
                }
            }
        }
        found
    }
}

/// Every form under which a secret is looked for.
fn forms(secret: &str) -> Vec<Form> {
    let bytes = secret.as_bytes();
    let mut forms = vec![
        ("plain text", bytes.to_vec()),
        ("hexadecimal", hex(bytes).into_bytes()),
        ("upper-case hexadecimal", hex(bytes).to_ascii_uppercase().into_bytes()),
        ("percent-encoding", percent(bytes, |byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte))),
        ("full percent-encoding", percent(bytes, |_| false)),
        ("lower-case percent-encoding", percent(bytes, |_| false).to_ascii_lowercase()),
        ("JSON with escaped solidus", secret.replace('/', "\\/").into_bytes()),
        ("JSON with escaped characters", json(secret, |character| !character.is_ascii_alphanumeric())),
        ("fully escaped JSON", json(secret, |_| true)),
        ("reversed text", bytes.iter().rev().copied().collect()),
    ];
    for shift in 0..3 {
        forms.push(("base64", inner_base64(bytes, shift, |bytes| STANDARD.encode(bytes))));
        forms.push(("base64url", inner_base64(bytes, shift, |bytes| URL_SAFE.encode(bytes))));
    }
    forms.retain(|(_, form)| form.len() >= FORM_BYTES_MIN);
    forms
}

/// What of the base64 stays the same when the secret stands `shift` bytes behind a multiple of three, and something
/// follows it.
fn inner_base64(secret: &[u8], shift: usize, encode: impl Fn(&[u8]) -> String) -> Vec<u8> {
    let padded = [&vec![0; shift][..], secret].concat();
    let text = encode(&padded).into_bytes();
    let from = [0, 2, 3][shift];
    let to = padded.len() / 3 * 4;
    text[from..to].to_vec()
}

fn percent(secret: &[u8], plain: impl Fn(u8) -> bool) -> Vec<u8> {
    let encoded =
        secret.iter().map(|byte| if plain(*byte) { char::from(*byte).to_string() } else { format!("%{byte:02X}") });
    encoded.collect::<String>().into_bytes()
}

fn json(secret: &str, escaped: impl Fn(char) -> bool) -> Vec<u8> {
    let encoded = secret.chars().map(|character| {
        if escaped(character) { format!("\\u{:04x}", u32::from(character)) } else { character.to_string() }
    });
    encoded.collect::<String>().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "canary+0123456789abcdef/0123==";

    fn found(text: &[u8]) -> usize {
        Canary::new([("a", SECRET)]).sweep("here", text).len()
    }

    #[test]
    fn a_secret_is_found_in_every_form() {
        for before in ["", "x", "xy", "Bearer ", "user:"] {
            let whole = format!("{before}{SECRET}#");
            assert!(found(STANDARD.encode(&whole).as_bytes()) > 0, "base64 after {before:?}");
            assert!(found(URL_SAFE.encode(&whole).as_bytes()) > 0, "base64url after {before:?}");
            assert!(found(hex(whole.as_bytes()).as_bytes()) > 0, "hexadecimal after {before:?}");
            assert!(found(whole.as_bytes()) > 0, "plain after {before:?}");
        }
        assert!(found(b"?t=canary%2B0123456789abcdef%2F0123%3D%3D") > 0);
        assert!(found(br#"{"t":"canary+0123456789abcdef\/0123=="}"#) > 0);
        assert!(found(br#"{"t":"canary\u002b0123456789abcdef\u002f0123\u003d\u003d"}"#) > 0);
    }

    #[test]
    fn other_text_is_no_finding() {
        assert_eq!(found(b"canary 0123456789abcdef"), 0);
        assert_eq!(found(b""), 0);
    }

    #[test]
    fn a_finding_does_not_repeat_the_secret() {
        let findings = Canary::new([("a", SECRET)]).sweep("here", SECRET.as_bytes());
        assert!(!findings.is_empty() && findings.iter().all(|finding| !finding.contains(SECRET)));
    }
}
