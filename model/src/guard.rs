//! The paths where no binding ever uses a connection: its own provider's token endpoints and their like, where these
//! live on a host of the API. It prefers to refuse a path that a server might read as one of them.

use std::borrow::Cow;
use std::fmt;

use crate::authority::Destination;
use crate::path::{PathPattern, PathPatternError, is_ambiguous};
use crate::pattern::HostPattern;
use crate::refusal::Forbidden;

/// A path at a host where a connection is never used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guarded {
    host: HostPattern,
    /// In lower case: some servers do not tell the cases apart, and none has an API that differs from its token endpoint
    /// only in them.
    path: PathPattern,
}

impl Guarded {
    /// Guards the paths of a pattern, in any case of letters.
    ///
    /// # Errors
    /// [`PathPatternError`] where the path is not a pattern.
    pub fn new(host: HostPattern, path: &str) -> Result<Self, PathPatternError> {
        Ok(Self { host, path: PathPattern::parse(&path.to_ascii_lowercase())? })
    }

    /// Guards an endpoint, with and without a slash at its end, and everything below it. At the root of a host only the
    /// root itself is guarded. `None` where the text is not an `https://` URL with a plain path.
    #[must_use]
    pub fn of_endpoint(url: &str) -> Option<Self> {
        let rest = url.strip_prefix("https://")?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (host, rest) = rest.split_at(end);
        let path = rest.find(['?', '#']).map_or(rest, |end| &rest[..end]).trim_end_matches('/');
        let path = if path.is_empty() { "/".to_owned() } else { format!("{path}/**") };
        Self::new(HostPattern::parse(host).ok()?, &path).ok()
    }

    /// The host.
    #[must_use]
    pub fn host(&self) -> &HostPattern {
        &self.host
    }
}

impl fmt::Display for Guarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.host, self.path)
    }
}

/// Why the path may not be used at the destination, if it may not. At a host without anything to guard, every path may.
///
/// An escaped slash (`%2F`) alone does not make a path ambiguous here, because APIs name things with it
/// (`/projects/group%2Fname`): both of its readings are judged instead.
pub(crate) fn refusal(guarded: &[Guarded], destination: &Destination, path: &str) -> Option<Forbidden> {
    let mut here = guarded.iter().filter(|guarded| guarded.host.matches(destination)).peekable();
    here.peek()?;
    let path = if path.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(path.to_ascii_lowercase())
    } else {
        Cow::Borrowed(path)
    };
    let unescaped = if path.contains("%2f") { Cow::Owned(path.replace("%2f", "/")) } else { Cow::Borrowed(&*path) };
    if is_ambiguous(&unescaped) {
        return Some(Forbidden::AmbiguousPath);
    }
    here.any(|guarded| guarded.path.matches(&path) || guarded.path.matches(&unescaped)).then_some(Forbidden::Path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority::{Authority, Scheme};

    fn judged(endpoints: &[&str], url: &str) -> Option<Forbidden> {
        let guarded: Vec<_> = endpoints.iter().map(|endpoint| Guarded::of_endpoint(endpoint).unwrap()).collect();
        let (host, path) = url.split_at(url.find('/').unwrap());
        let authority = Authority::parse_with_default(host, 443).unwrap();
        refusal(&guarded, &Destination { scheme: Scheme::Https, authority }, path)
    }

    const TOKEN: &[&str] = &["https://api.test/v1/oauth/token?x=y", "https://login.test/"];

    #[test]
    fn an_endpoint_is_refused_in_every_spelling() {
        for path in [
            "/v1/oauth/token",
            "/v1/oauth/token/",
            "/v1/oauth/token/revoke",
            "/V1/OAuth/Token",
            "/v1/oauth%2Ftoken",
            "/v1%2foauth%2Ftoken",
        ] {
            assert_eq!(judged(TOKEN, &format!("api.test{path}")), Some(Forbidden::Path), "{path}");
        }
        for path in [
            "/v1/oauth/x/../token",
            "/v1/oauth//token",
            "/v1//oauth/token",
            "/v1/oauth/%74oken",
            "/v1/oauth/token;x",
            "/v1\\oauth\\token",
            "/x%2F..%2Fv1/oauth/token",
            "/v1/oauth%2F%2Ftoken",
            "/v1/oauth/%2574oken",
            "/v1/oauth/token%00",
        ] {
            assert_eq!(judged(TOKEN, &format!("api.test{path}")), Some(Forbidden::AmbiguousPath), "{path}");
        }
    }

    #[test]
    fn everything_beside_an_endpoint_passes() {
        for url in [
            "api.test/v1/users",
            "api.test/v1/oauth",
            "api.test/v1/oauth/tokens",
            "api.test/v1/projects/group%2Fname",
            "other.test/v1/oauth/token",
            "other.test/a//b",
            "api.test:8443/v1/oauth/token",
            "login.test/anything",
        ] {
            assert_eq!(judged(TOKEN, url), None, "{url}");
        }
        assert_eq!(judged(TOKEN, "login.test/"), Some(Forbidden::Path));
    }
}
