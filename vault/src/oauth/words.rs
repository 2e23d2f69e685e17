//! Makes a provider's words fit to be shown: escaped, capped, without secrets. It does not judge what they mean.

/// The longest description that is kept, in characters.
pub(super) const WORDS_CHARS_MAX: usize = 200;
/// The longest error code that is kept, in characters.
const CODE_CHARS_MAX: usize = 64;
/// Secrets shorter than this are not looked for: they would match ordinary words. In bytes.
const SECRET_BYTES_MIN: usize = 6;
/// A run of token characters at least this long, with letters and digits in it, is taken for a secret.
const RUN_CHARS_MIN: usize = 20;

/// A description: known secrets and whatever looks like one are masked, unprintable characters escaped, the end cut.
pub(super) fn words(text: &str, secrets: &[&str]) -> String {
    let mut text = text.to_owned();
    for secret in secrets.iter().filter(|secret| secret.len() >= SECRET_BYTES_MIN) {
        text = text.replace(secret, "…");
    }
    let text = mask_runs(&text);
    let mut shown = String::new();
    let mut left = WORDS_CHARS_MAX;
    for character in text.trim().chars() {
        let escaped = escaped(character);
        let length = escaped.chars().count();
        if length >= left {
            shown.push('…');
            break;
        }
        left -= length;
        shown.push_str(&escaped);
    }
    shown
}

/// An error code: the characters that codes are made of, nothing else; `None` when there are none.
pub(super) fn code(text: &str, secrets: &[&str]) -> Option<String> {
    let masked = words(text, secrets);
    let kept = masked.chars().map(|c| if c.is_ascii_alphanumeric() || "_-.:".contains(c) { c } else { '_' });
    Some(kept.take(CODE_CHARS_MAX).collect::<String>()).filter(|code| !code.is_empty())
}

/// Control characters could move a terminal's cursor, and invisible ones reorder a line.
fn escaped(character: char) -> String {
    match character {
        // Quotes are fit to be read as they are.
        '"' | '\'' | '\\' => character.to_string(),
        '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' => {
            character.escape_unicode().to_string()
        }
        _ => character.escape_debug().to_string(),
    }
}

fn mask_runs(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut run = String::new();
    for character in text.chars().map(Some).chain([None]) {
        match character {
            Some(c) if c.is_ascii_alphanumeric() || "_-.~+/=%".contains(c) => run.push(c),
            other => {
                masked.push_str(if looks_secret(&run) { "…" } else { &run });
                run.clear();
                masked.extend(other);
            }
        }
    }
    masked
}

fn looks_secret(run: &str) -> bool {
    run.len() >= RUN_CHARS_MIN
        && run.bytes().any(|byte| byte.is_ascii_digit())
        && run.bytes().any(|byte| byte.is_ascii_alphabetic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_secrets_and_token_like_runs_are_masked() {
        assert_eq!(words("token rt-old is dead", &["rt-old"]), "token … is dead");
        assert_eq!(words("unknown 1//0gAbCdEfGhIjKlMnOpQrStUv", &[]), "unknown …");
        assert_eq!(words("AADSTS70008: the token has expired.", &[]), "AADSTS70008: the token has expired.");
    }

    #[test]
    fn unprintable_characters_are_escaped() {
        assert_eq!(words("a\u{1b}[2Jb\n\u{202e}c", &[]), "a\\u{1b}[2Jb\\n\\u{202e}c");
    }

    #[test]
    fn long_words_are_cut_at_a_character() {
        let shown = words(&"é".repeat(100_000), &[]);
        assert_eq!(shown.chars().count(), WORDS_CHARS_MAX);
        assert!(shown.ends_with('…'));
    }

    #[test]
    fn a_code_is_only_made_of_code_characters() {
        assert_eq!(code("invalid_grant", &[]).as_deref(), Some("invalid_grant"));
        assert_eq!(code("<script>x", &[]).as_deref(), Some("_script_x"));
        assert_eq!(code(" ", &[]), None);
    }
}
