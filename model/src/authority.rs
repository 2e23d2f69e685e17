//! Where a request goes: scheme, host and port, parsed once and strictly. It accepts one spelling for each destination
//! and refuses every form that a resolver or an upstream could read differently from us.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// The longest DNS name in its text form, in bytes (RFC 1035 §2.3.4, without the root's dot).
pub const DNS_NAME_BYTES_MAX: usize = 253;
/// The longest DNS label, in bytes (RFC 1035 §2.3.4).
pub const DNS_LABEL_BYTES_MAX: usize = 63;

/// Why a text is not an authority. The message never repeats the text: it may hold a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthorityError {
    /// No host before the port.
    #[error("the host is empty")]
    Empty,
    /// `user:password@host` (RFC 9110 §4.2.4 forbids it here).
    #[error("a login does not belong in a host")]
    Userinfo,
    /// A byte that no DNS name has, or a label that is empty, too long or begins or ends with a hyphen.
    #[error("the host is not a valid DNS name")]
    Name,
    /// A name whose last label is a number, but that is not a plain IPv4 address: resolvers read `127.1` as 127.0.0.1.
    #[error("the host ends in a number but is not a plain IPv4 address")]
    NumericName,
    /// Brackets without a valid IPv6 address between them, or a zone identifier.
    #[error("the IPv6 address is not valid")]
    Ipv6,
    /// A port that is missing, zero, over 65535 or not digits.
    #[error("the port is not a number from 1 to 65535")]
    Port,
}

/// The scheme of a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scheme {
    /// Cleartext HTTP.
    Http,
    /// HTTP over TLS.
    Https,
}

impl Scheme {
    /// The scheme's own port (RFC 9110 §4.2).
    #[must_use]
    pub fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }

    /// The scheme as it stands in a URL.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// A DNS name: lower case, A-labels, no trailing dot.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DnsName(Arc<str>);

impl DnsName {
    /// Parses a name as it comes over the wire: ASCII only, at most one trailing dot, any letter case.
    ///
    /// # Errors
    /// [`AuthorityError`] for everything that is not one unambiguous DNS name.
    pub fn parse(text: &str) -> Result<Self, AuthorityError> {
        let text = text.strip_suffix('.').unwrap_or(text);
        if text.is_empty() {
            return Err(AuthorityError::Empty);
        }
        if text.len() > DNS_NAME_BYTES_MAX || !text.split('.').all(is_label) {
            return Err(AuthorityError::Name);
        }
        if ends_in_number(text) {
            return Err(AuthorityError::NumericName);
        }
        let name = text.to_ascii_lowercase();
        if name.split('.').any(|label| label.starts_with("xn--")) && !is_canonical_idna(&name) {
            return Err(AuthorityError::Name);
        }
        Ok(Self(Arc::from(name)))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for DnsName {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

/// A host: a name to resolve, or an address literal.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Host {
    /// A DNS name.
    Name(DnsName),
    /// An address literal.
    Ip(IpAddr),
}

impl Host {
    /// Parses a host without a port: a DNS name, an IPv4 address, or an IPv6 address in brackets.
    ///
    /// # Errors
    /// [`AuthorityError`] for everything else.
    pub fn parse(text: &str) -> Result<Self, AuthorityError> {
        if text.contains('@') {
            return Err(AuthorityError::Userinfo);
        }
        if let Some(inner) = text.strip_prefix('[') {
            let address = inner.strip_suffix(']').ok_or(AuthorityError::Ipv6)?;
            return address.parse::<Ipv6Addr>().map(|ip| Self::Ip(IpAddr::V6(ip))).map_err(|_| AuthorityError::Ipv6);
        }
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return Ok(Self::Ip(IpAddr::V4(address)));
        }
        DnsName::parse(text).map(Self::Name)
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::Ip(IpAddr::V4(address)) => address.fmt(f),
            Self::Ip(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

/// A host and a port. The one value that binding, dialling, SNI, certificate check and `Host` are derived from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Authority {
    host: Host,
    port: u16,
}

impl Authority {
    /// An authority from its parts.
    #[must_use]
    pub fn new(host: Host, port: u16) -> Self {
        Self { host, port }
    }

    /// Parses `host:port`, as in the target of a CONNECT (RFC 9110 §9.3.6): the port must be there.
    ///
    /// # Errors
    /// [`AuthorityError`] for every form but the plain one.
    pub fn parse(text: &str) -> Result<Self, AuthorityError> {
        let (host, port) = split(text)?;
        Ok(Self { host: Host::parse(host)?, port: parse_port(port.ok_or(AuthorityError::Port)?)? })
    }

    /// Parses `host` or `host:port`, as in a `Host` field (RFC 9110 §7.2), with the port to take when there is none.
    ///
    /// # Errors
    /// [`AuthorityError`] for every form but these two.
    pub fn parse_with_default(text: &str, default_port: u16) -> Result<Self, AuthorityError> {
        let (host, port) = split(text)?;
        let port = port.map_or(Ok(default_port), parse_port)?;
        Ok(Self { host: Host::parse(host)?, port })
    }

    /// The host.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// Where one request goes, after target, SNI and `Host` were found to agree.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Destination {
    /// Cleartext or TLS.
    pub scheme: Scheme,
    /// Host and port.
    pub authority: Authority,
}

impl Destination {
    /// The authority as people write it and as `Host` carries it: without the scheme's own port.
    #[must_use]
    pub fn host_text(&self) -> String {
        if self.authority.port == self.scheme.default_port() {
            self.authority.host.to_string()
        } else {
            self.authority.to_string()
        }
    }
}

/// Splits at the port's colon; a bracketed IPv6 address keeps its own colons.
fn split(text: &str) -> Result<(&str, Option<&str>), AuthorityError> {
    if text.contains('@') {
        return Err(AuthorityError::Userinfo);
    }
    if text.starts_with('[') {
        let end = text.find(']').ok_or(AuthorityError::Ipv6)? + 1;
        let (host, rest) = text.split_at(end);
        if rest.is_empty() {
            return Ok((host, None));
        }
        return rest.strip_prefix(':').map(|port| (host, Some(port))).ok_or(AuthorityError::Ipv6);
    }
    match text.split_once(':') {
        None => Ok((text, None)),
        Some((host, port)) => Ok((host, Some(port))),
    }
}

fn parse_port(text: &str) -> Result<u16, AuthorityError> {
    if text.is_empty() || text.len() > 5 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(AuthorityError::Port);
    }
    match text.parse::<u16>() {
        Ok(0) | Err(_) => Err(AuthorityError::Port),
        Ok(port) => Ok(port),
    }
}

/// Letters, digits, hyphens inside; underscores because real API hosts have them.
fn is_label(label: &str) -> bool {
    !label.is_empty()
        && label.len() <= DNS_LABEL_BYTES_MAX
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

/// Whether a resolver would read the name as an IPv4 address (the URL standard's "ends in a number").
fn ends_in_number(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    let hexadecimal = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    last.bytes().all(|byte| byte.is_ascii_digit())
        || hexadecimal.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// An A-label must decode, and encode again to itself (RFC 5891 §5.4): one that hides plain ASCII does not.
fn is_canonical_idna(name: &str) -> bool {
    idna::domain_to_ascii_strict(name).is_ok_and(|ascii| ascii == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spelling_for_each_destination() {
        for (text, canonical) in [
            ("API.GitHub.COM:443", "api.github.com:443"),
            ("api.github.com.:443", "api.github.com:443"),
            ("127.0.0.1:80", "127.0.0.1:80"),
            ("[::1]:443", "[::1]:443"),
            ("[2001:DB8::0:1]:8443", "[2001:db8::1]:8443"),
            ("xn--bcher-kva.example:443", "xn--bcher-kva.example:443"),
            ("a_b.example.test:65535", "a_b.example.test:65535"),
        ] {
            let authority = Authority::parse(text).unwrap();
            assert_eq!(authority.to_string(), canonical);
            assert_eq!(Authority::parse(canonical).unwrap(), authority);
        }
    }

    #[test]
    fn what_stock_parsers_let_through_is_refused() {
        for text in [
            "",
            ":443",
            "*:443",
            "a.test",
            "a.test:",
            "a.test:0",
            "a.test:65536",
            "a.test:-1",
            "a.test:+443",
            "a.test:443x",
            "user:pw@a.test:443",
            "a.test:443@b.test:443",
            "http://a",
            "/a.test:443",
            "[::1]a:443",
            "[::1",
            "[]:443",
            "[fe80::1%eth0]:443",
            "[fe80::1%25eth0]:443",
            "::1:443",
            "a,b:443",
            "a b:443",
            "a..b:443",
            ".a:443",
            "a%2e:443",
            "127.1:80",
            "0x7f000001:80",
            "2130706433:80",
            "0177.0.0.1:80",
            "a.0x7f:80",
            "1.2.3.4.:80",
            "1.2.3.256:80",
            "-a.test:443",
            "a-.test:443",
            "\u{ff41}pi.test:443",
            "\u{212a}.test:443",
            "b\u{fc}cher.test:443",
            "xn--a-ecp.ru-:1",
            "xn--github-.test:443",
            "xn--abc.test:443",
            "a\0b:443",
            "a\tb:443",
        ] {
            assert!(Authority::parse(text).is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn a_host_field_may_leave_out_the_port() {
        assert_eq!(Authority::parse_with_default("a.test", 443).unwrap().port(), 443);
        assert_eq!(Authority::parse_with_default("[::1]", 80).unwrap().to_string(), "[::1]:80");
        assert!(Authority::parse_with_default("a.test:", 443).is_err());
        assert!(Authority::parse_with_default("a, b", 443).is_err());
    }

    #[test]
    fn the_default_port_is_not_shown() {
        let authority = Authority::parse("a.test:443").unwrap();
        assert_eq!(Destination { scheme: Scheme::Https, authority: authority.clone() }.host_text(), "a.test");
        assert_eq!(Destination { scheme: Scheme::Http, authority }.host_text(), "a.test:443");
    }
}
