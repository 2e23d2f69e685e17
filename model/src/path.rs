//! Path patterns of bindings: `*` within one segment, `**` any number of segments. A path that an upstream could read as
//! another one is never compared; it is reported as ambiguous.

use std::fmt;

/// The longest path pattern, in bytes.
pub const PATTERN_BYTES_MAX: usize = 1024;

/// Why a text is not a path pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathPatternError {
    /// It does not begin with a slash.
    #[error("a path begins with \"/\", as in \"/v1/**\"")]
    NoSlash,
    /// `**` beside other characters in one segment.
    #[error("\"**\" stands alone between slashes, as in \"/v1/**\"")]
    DoubleStar,
    /// A query, a fragment, a space or a character beyond ASCII.
    #[error("a path pattern has no query, no fragment, no space and only ASCII characters")]
    Character,
    /// Dot segments, doubled slashes or escapes: no path in that form is ever matched.
    #[error(
        "the pattern itself changes under normalisation (\"..\", \"//\", \"%2f\", \";\", \"\\\"), so nothing would ever match it"
    )]
    Ambiguous,
    /// Longer than [`PATTERN_BYTES_MAX`].
    #[error("a path pattern is at most {PATTERN_BYTES_MAX} bytes")]
    Length,
}

/// A compiled path pattern.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PathPattern {
    text: Box<str>,
    segments: Box<[Segment]>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Segment {
    /// One segment, in which `*` stands for any run of characters.
    One(Box<str>),
    /// Any number of segments, none included.
    Any,
}

impl PathPattern {
    /// Parses `/v1/**`, `/repos/*/issues`, `/file-*`.
    ///
    /// # Errors
    /// [`PathPatternError`] says what is wrong.
    pub fn parse(text: &str) -> Result<Self, PathPatternError> {
        if text.len() > PATTERN_BYTES_MAX {
            return Err(PathPatternError::Length);
        }
        let Some(rest) = text.strip_prefix('/') else { return Err(PathPatternError::NoSlash) };
        if text.bytes().any(|byte| !byte.is_ascii_graphic() || byte == b'?' || byte == b'#') {
            return Err(PathPatternError::Character);
        }
        if is_ambiguous(text) {
            return Err(PathPatternError::Ambiguous);
        }
        let segments = rest.split('/').map(|segment| match segment {
            "**" => Ok(Segment::Any),
            other if other.contains("**") => Err(PathPatternError::DoubleStar),
            other => Ok(Segment::One(other.into())),
        });
        Ok(Self { text: text.into(), segments: segments.collect::<Result<_, _>>()? })
    }

    /// Whether the path (without query) is covered. The caller has checked that it [is not ambiguous](is_ambiguous).
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        let Some(rest) = path.strip_prefix('/') else { return false };
        // `/v1/**` covers `/v1` too: the path then has no segment left for the star, not even an empty one.
        let segments: Vec<&str> = rest.split('/').collect();
        matches_segments(&self.segments, &segments)
    }

    /// The length of the part before the first star, in bytes: the longer, the narrower.
    #[must_use]
    pub fn literal_prefix_bytes(&self) -> usize {
        self.text.find('*').unwrap_or(self.text.len())
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Whether a path changes under normalisation: dot segments, doubled slashes, backslashes, path parameters, or escapes
/// that hide a character which needs none. Servers disagree on these, so a path-restricted binding refuses them.
#[must_use]
pub fn is_ambiguous(path: &str) -> bool {
    let bytes = path.as_bytes();
    if bytes.contains(&b'\\') || bytes.contains(&b';') || path.contains("//") {
        return true;
    }
    if path.split('/').any(|segment| segment == "." || segment == "..") {
        return true;
    }
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| *byte == b'%') {
        let Some(value) = rest.get(at + 1..at + 3).and_then(hex_value) else { return true };
        if !needs_escape(value) {
            return true;
        }
        rest = &rest[at + 3..];
    }
    false
}

fn hex_value(digits: &[u8]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let value = digit(*digits.first()?)? * 16 + digit(*digits.get(1)?)?;
    u8::try_from(value).ok()
}

/// Escapes of unreserved characters (RFC 3986 §6.2.2.2), of the path's own delimiters and of controls are ambiguous.
fn needs_escape(byte: u8) -> bool {
    let unreserved = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    !unreserved && !matches!(byte, b'/' | b'\\' | b';' | b'%') && !byte.is_ascii_control()
}

/// The classic two-pointer star match, over segments: linear in the path for each star of the pattern.
fn matches_segments(pattern: &[Segment], path: &[&str]) -> bool {
    let (mut p, mut s) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while s < path.len() {
        match pattern.get(p) {
            Some(Segment::Any) => {
                star = Some((p, s));
                p += 1;
                continue;
            }
            Some(Segment::One(glob)) if matches_one(glob, path[s]) => {
                p += 1;
                s += 1;
                continue;
            }
            _ => {}
        }
        let Some((star_at, taken)) = star else { return false };
        star = Some((star_at, taken + 1));
        p = star_at + 1;
        s = taken + 1;
    }
    pattern[p..].iter().all(|segment| *segment == Segment::Any)
}

/// A lone `*` wants at least one character, so that `/users/*` does not cover the collection `/users/`.
fn matches_one(glob: &str, segment: &str) -> bool {
    if glob == "*" {
        return !segment.is_empty();
    }
    let (glob, segment) = (glob.as_bytes(), segment.as_bytes());
    let (mut g, mut s) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while s < segment.len() {
        if g < glob.len() && glob[g] == b'*' {
            star = Some((g, s));
            g += 1;
        } else if g < glob.len() && glob[g] == segment[s] {
            g += 1;
            s += 1;
        } else if let Some((star_at, taken)) = star {
            star = Some((star_at, taken + 1));
            g = star_at + 1;
            s = taken + 1;
        } else {
            return false;
        }
    }
    glob[g..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, path: &str) -> bool {
        PathPattern::parse(pattern).unwrap().matches(path)
    }

    #[test]
    fn a_double_star_covers_any_number_of_segments_none_included() {
        for path in ["/v1", "/v1/", "/v1/a", "/v1/a/b/c"] {
            assert!(matches("/v1/**", path), "{path}");
        }
        for path in ["/", "/v10", "/v2", "/x/v1"] {
            assert!(!matches("/v1/**", path), "{path}");
        }
        assert!(matches("/**", "/"));
        assert!(matches("/**/edit", "/edit") && matches("/**/edit", "/a/b/edit") && !matches("/**/edit", "/a/edit/b"));
        assert!(matches("/a/**/b/**/c", "/a/x/b/y/b/z/c"));
    }

    #[test]
    fn a_star_stays_within_its_segment() {
        assert!(matches("/repos/*/issues", "/repos/x/issues"));
        assert!(!matches("/repos/*/issues", "/repos/x/y/issues"));
        assert!(!matches("/users/*", "/users/"));
        assert!(matches("/file-*.txt", "/file-.txt") && matches("/file-*.txt", "/file-a.txt.txt"));
    }

    #[test]
    fn paths_that_servers_read_differently_are_ambiguous() {
        for path in [
            "//b.test/p",
            "/a/../b",
            "/./a",
            "/%2e%2e/",
            "/a%2fb",
            "/a;x",
            "/a\\b",
            "/%41",
            "/%",
            "/%zz",
            "/%00",
            "/a//b",
            "/%25",
        ] {
            assert!(is_ambiguous(path), "{path}");
        }
        for path in ["/", "/a/b/", "/a%20b", "/caf%C3%A9", "/a.b/..c", "/a:b@c!$&'()*+,="] {
            assert!(!is_ambiguous(path), "{path}");
        }
    }

    #[test]
    fn patterns_that_could_never_match_are_refused() {
        for bad in ["v1", "", "/a**", "/v1/**x", "/a?b", "/a b", "/a/../b", "/a//b", "/\u{e4}"] {
            assert!(PathPattern::parse(bad).is_err(), "{bad}");
        }
        assert!(PathPattern::parse(&format!("/{}", "a".repeat(PATTERN_BYTES_MAX))).is_err());
    }

    #[test]
    fn a_hostile_path_is_judged_in_little_time() {
        let pattern = format!("/{}", "**/a*b*c*/".repeat(20).trim_end_matches('/'));
        let path = format!("/{}", "aaaaaaaa/".repeat(3000));
        assert!(!matches(&pattern, &path));
    }
}
