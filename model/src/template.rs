//! Texts with `{placeholders}`, as in `Token {key}`. It knows neither what the placeholders mean nor where the text goes;
//! a brace that means itself is doubled.

use std::fmt;

/// The longest template, in bytes.
pub const TEMPLATE_BYTES_MAX: usize = 4096;

/// Why a text is not a template. The message repeats nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A brace without its partner.
    #[error("a brace is not closed or not opened; a brace that means itself is doubled, as in \"{{{{\"")]
    Brace,
    /// A placeholder that is no name.
    #[error("a placeholder is a name of lower-case letters, digits and underscores in braces, as in \"{{value}}\"")]
    Name,
    /// Longer than [`TEMPLATE_BYTES_MAX`].
    #[error("a template is at most {TEMPLATE_BYTES_MAX} bytes")]
    Length,
}

/// A text with placeholders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Box<[Piece]>);

/// One part of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(Box<str>),
    Placeholder(Box<str>),
}

impl Template {
    /// Parses a text with placeholders.
    ///
    /// # Errors
    /// [`TemplateError`] says what is wrong.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        if text.len() > TEMPLATE_BYTES_MAX {
            return Err(TemplateError::Length);
        }
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            plain.push_str(&rest[..at]);
            let (brace, after) = rest[at..].split_at(1);
            if let Some(after) = after.strip_prefix(brace) {
                plain.push_str(brace);
                rest = after;
                continue;
            }
            let (name, after) = after.split_once('}').filter(|_| brace == "{").ok_or(TemplateError::Brace)?;
            if !is_placeholder(name) {
                return Err(TemplateError::Name);
            }
            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain).into()));
            }
            pieces.push(Piece::Placeholder(name.into()));
            rest = after;
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain.into()));
        }
        Ok(Self(pieces.into()))
    }

    /// The names between braces, in their order; one that stands there twice comes twice.
    pub fn placeholders(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Placeholder(name) => Some(&**name),
            Piece::Text(_) => None,
        })
    }

    /// The texts between the placeholders.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Text(text) => Some(&**text),
            Piece::Placeholder(_) => None,
        })
    }

    /// Writes the text with every placeholder replaced. Nothing is left behind where one has no value.
    ///
    /// # Errors
    /// The name of the first placeholder without a value.
    pub fn fill<'v>(&self, value_of: impl Fn(&str) -> Option<&'v str>) -> Result<String, Unfilled> {
        let part = |piece: &'_ Piece| match piece {
            Piece::Text(_) => Ok(None),
            Piece::Placeholder(name) => match value_of(name) {
                Some(value) => Ok(Some(value)),
                None => Err(Unfilled(name.to_string())),
            },
        };
        let values = self.0.iter().map(part).collect::<Result<Vec<_>, _>>()?;
        // Written once at its full length: what grows leaves copies of a secret behind.
        let texts: usize = self.texts().map(str::len).sum();
        let mut filled = String::with_capacity(texts + values.iter().flatten().map(|value| value.len()).sum::<usize>());
        for (piece, value) in self.0.iter().zip(values) {
            match (piece, value) {
                (Piece::Text(text), _) => filled.push_str(text),
                (Piece::Placeholder(_), value) => filled.push_str(value.unwrap_or_default()),
            }
        }
        Ok(filled)
    }
}

/// A placeholder that has no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the placeholder \"{0}\" has no value")]
pub struct Unfilled(pub String);

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => f.write_str(&text.replace('{', "{{").replace('}', "}}"))?,
                Piece::Placeholder(name) => write!(f, "{{{name}}}")?,
            }
        }
        Ok(())
    }
}

/// Whether a text can stand between braces.
#[must_use]
pub fn is_placeholder(name: &str) -> bool {
    (1..=crate::name::NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(template: &str) -> String {
        let value_of = |name: &str| match name {
            "key" => Some("K"),
            "empty" => Some(""),
            _ => None,
        };
        Template::parse(template).unwrap().fill(value_of).unwrap_or_else(|unfilled| unfilled.to_string())
    }

    #[test]
    fn placeholders_are_replaced_and_doubled_braces_mean_themselves() {
        for (template, expected) in [
            ("{key}", "K"),
            ("Token {key}", "Token K"),
            ("{key}{key};{empty}", "KK;"),
            ("{{{key}}}", "{K}"),
            ("{{key}}", "{key}"),
            ("no placeholder", "no placeholder"),
            ("", ""),
            ("{other}", "the placeholder \"other\" has no value"),
        ] {
            assert_eq!(filled(template), expected, "{template}");
        }
    }

    #[test]
    fn a_template_is_written_as_it_was_read() {
        for template in ["{key}", "a {key} b {{c}} {d_1}", "{{", "}}"] {
            assert_eq!(Template::parse(template).unwrap().to_string(), template);
        }
    }

    #[test]
    fn what_is_no_template_is_refused() {
        for (template, error) in [
            ("{", TemplateError::Brace),
            ("}", TemplateError::Brace),
            ("a}b", TemplateError::Brace),
            ("{key", TemplateError::Brace),
            ("{}", TemplateError::Name),
            ("{Key}", TemplateError::Name),
            ("{a b}", TemplateError::Name),
            ("{a{key}}", TemplateError::Name),
        ] {
            assert_eq!(Template::parse(template), Err(error), "{template}");
        }
        assert_eq!(Template::parse(&"x".repeat(TEMPLATE_BYTES_MAX + 1)), Err(TemplateError::Length));
    }
}
