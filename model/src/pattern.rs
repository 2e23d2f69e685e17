//! Host patterns of bindings: an exact host or `*.suffix`, each with or without a port. A pattern matches whole labels;
//! it never matches a bare suffix.

use std::fmt;

use crate::authority::{Authority, AuthorityError, Destination, DnsName, Host, Scheme};

/// Why a text is not a host pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// A `*` anywhere but as the whole first label.
    #[error("a wildcard stands alone as the first label, as in \"*.example.com\"")]
    Wildcard,
    /// A URL instead of a host.
    #[error("write the host alone, without scheme or path, as in \"api.example.com\" or \"api.example.com:8443\"")]
    Url,
    /// The host or port is not valid.
    #[error("{0}")]
    Authority(#[from] AuthorityError),
    /// A name beyond ASCII that IDNA does not allow.
    #[error("the name is not a valid internationalised domain name")]
    Idna,
}

/// A host, or all names below one, with an optional port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostPattern {
    host: PatternHost,
    port: Option<u16>,
}

/// The host part of a pattern.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PatternHost {
    /// This host and no other.
    Exact(Host),
    /// Every name with one or more labels before this suffix.
    Below(DnsName),
}

/// How narrow a matching pattern is; the greater wins. Exact before wildcard, longer suffix before shorter, with a port
/// before without.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Specificity {
    exact: bool,
    suffix_bytes: usize,
    port: bool,
}

impl HostPattern {
    /// Parses `api.acme.test`, `*.eu.acme.test:8443`, `10.0.0.7`, `[::1]:8443`. Names beyond ASCII become A-labels.
    ///
    /// # Errors
    /// [`PatternError`] says which part is wrong.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if text.contains('/') {
            return Err(PatternError::Url);
        }
        let ascii;
        let text = if text.is_ascii() {
            text
        } else {
            ascii = to_ascii(text)?;
            &ascii
        };
        let (wildcard, rest) = text.strip_prefix("*.").map_or((false, text), |rest| (true, rest));
        if rest.contains('*') {
            return Err(PatternError::Wildcard);
        }
        // Port 1 stands in for "none given": it is told apart below, never kept.
        let authority = Authority::parse_with_default(rest, 1)?;
        let port = has_port(rest).then(|| authority.port());
        let host = match (wildcard, authority.host()) {
            (false, host) => PatternHost::Exact(host.clone()),
            (true, Host::Name(name)) => PatternHost::Below(name.clone()),
            (true, Host::Ip(_)) => return Err(PatternError::Wildcard),
        };
        Ok(Self { host, port })
    }

    /// The host part.
    #[must_use]
    pub fn host(&self) -> &PatternHost {
        &self.host
    }

    /// Whether the pattern covers one whole top-level domain, which is almost always a mistake.
    #[must_use]
    pub fn covers_top_level_domain(&self) -> bool {
        matches!(&self.host, PatternHost::Below(suffix) if !suffix.as_str().contains('.'))
    }

    /// Whether the destination is covered. Without a port, a pattern means 443, and 80 for cleartext HTTP.
    #[must_use]
    pub fn matches(&self, destination: &Destination) -> bool {
        self.matches_port(destination) && self.matches_host(destination.authority.host())
    }

    /// Whether the host is covered, whatever the port.
    #[must_use]
    pub fn matches_host(&self, host: &Host) -> bool {
        match (&self.host, host) {
            (PatternHost::Exact(exact), host) => exact == host,
            (PatternHost::Below(suffix), Host::Name(name)) => {
                name.as_str().strip_suffix(suffix.as_str()).is_some_and(|front| front.len() > 1 && front.ends_with('.'))
            }
            (PatternHost::Below(_), Host::Ip(_)) => false,
        }
    }

    /// How narrow the pattern is.
    #[must_use]
    pub fn specificity(&self) -> Specificity {
        let suffix_bytes = match &self.host {
            PatternHost::Exact(_) => 0,
            PatternHost::Below(suffix) => suffix.as_str().len(),
        };
        Specificity { exact: matches!(self.host, PatternHost::Exact(_)), suffix_bytes, port: self.port.is_some() }
    }

    fn matches_port(&self, destination: &Destination) -> bool {
        let port = destination.authority.port();
        match self.port {
            Some(own) => own == port,
            None => port == 443 || (port == 80 && destination.scheme == Scheme::Http),
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            PatternHost::Exact(host) => host.fmt(f)?,
            PatternHost::Below(suffix) => write!(f, "*.{suffix}")?,
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

fn has_port(text: &str) -> bool {
    text.rsplit_once(']').map_or(text, |(_, rest)| rest).contains(':')
}

fn to_ascii(text: &str) -> Result<String, PatternError> {
    let (wildcard, rest) = text.strip_prefix("*.").map_or(("", text), |rest| ("*.", rest));
    let (name, port) = rest.split_once(':').map_or((rest, None), |(name, port)| (name, Some(port)));
    let name = idna::domain_to_ascii(name).map_err(|_| PatternError::Idna)?;
    Ok(match port {
        Some(port) => format!("{wildcard}{name}:{port}"),
        None => format!("{wildcard}{name}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn https(authority: &str) -> Destination {
        Destination { scheme: Scheme::Https, authority: Authority::parse_with_default(authority, 443).unwrap() }
    }

    fn http(authority: &str) -> Destination {
        Destination { scheme: Scheme::Http, authority: Authority::parse_with_default(authority, 80).unwrap() }
    }

    fn matches(pattern: &str, destination: &Destination) -> bool {
        HostPattern::parse(pattern).unwrap().matches(destination)
    }

    #[test]
    fn a_wildcard_covers_one_or_more_labels_and_never_a_bare_suffix() {
        assert!(matches("*.a.test", &https("x.a.test")));
        assert!(matches("*.a.test", &https("x.y.a.test")));
        for other in ["a.test", "evila.test", "a.test.evil", ".a.test"] {
            let Ok(authority) = Authority::parse_with_default(other, 443) else { continue };
            assert!(!matches("*.a.test", &Destination { scheme: Scheme::Https, authority }), "{other}");
        }
    }

    #[test]
    fn a_pattern_without_a_port_means_the_schemes_own() {
        assert!(matches("a.test", &https("a.test")));
        assert!(matches("a.test", &http("a.test")));
        assert!(!matches("a.test", &https("a.test:8443")));
        assert!(!matches("a.test", &https("a.test:80")));
        assert!(matches("a.test:8443", &https("a.test:8443")));
        assert!(!matches("a.test:8443", &https("a.test")));
    }

    #[test]
    fn names_beyond_ascii_become_a_labels() {
        assert!(matches("b\u{fc}cher.test", &https("xn--bcher-kva.test")));
        assert_eq!(HostPattern::parse("*.B\u{dc}CHER.test:8443").unwrap().to_string(), "*.xn--bcher-kva.test:8443");
    }

    #[test]
    fn a_misplaced_wildcard_is_refused() {
        for bad in [
            "*",
            "*.",
            "a.*.test",
            "*a.test",
            "a.*",
            "*.*.test",
            "*.10.0.0.1",
            "https://a.test",
            "a.test/v1",
            "a.test:x",
        ] {
            assert!(HostPattern::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn narrower_patterns_rank_higher() {
        let rank = |text: &str| HostPattern::parse(text).unwrap().specificity();
        assert!(rank("api.a.test") > rank("*.a.test"));
        assert!(rank("*.eu.a.test") > rank("*.a.test"));
        assert!(rank("*.a.test:8443") > rank("*.a.test"));
        assert!(rank("a.test") > rank("*.very.long.suffix.test:8443"));
    }
}
