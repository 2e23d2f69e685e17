//! The strict reading of a request head (RFC 9112 §2–§6), done before hyper sees a byte of it. It decides where the
//! message ends, or refuses; it builds no request and repairs nothing.

use model::refusal::Malformed;
use model::{Authority, Limits};

/// Empty lines tolerated before a request line (RFC 9112 §2.2), in bytes.
const LEADING_EMPTY_BYTES_MAX: usize = 8;

/// How the body of a request is delimited (RFC 9112 §6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// No body.
    None,
    /// Exactly so many bytes.
    Length(u64),
    /// Chunks.
    Chunked,
}

/// What the wire must know of a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Where the body ends.
    pub(crate) framing: Framing,
    /// Whether the method is CONNECT.
    pub(crate) connect: bool,
}

/// Progress in finding a head's end, kept between reads so that no byte is looked at twice.
#[derive(Debug, Default)]
pub(crate) struct Search {
    scanned: usize,
    line_start: usize,
    started: bool,
}

impl Search {
    /// Looks for the end of the head that begins the buffer: its length with the empty line, or `None` for "read on".
    pub(crate) fn end_of_head(&mut self, buffer: &[u8], limits: &Limits) -> Result<Option<usize>, Malformed> {
        while let Some(at) = memchr::memchr(b'\n', &buffer[self.scanned..]) {
            let line_end = self.scanned + at;
            // RFC 9112 §2.2 lets a recipient accept a bare LF; parsers that differ on it are how requests are smuggled.
            if line_end == self.line_start || buffer[line_end - 1] != b'\r' {
                return Err(Malformed::Head);
            }
            let empty = line_end - 1 == self.line_start;
            self.scanned = line_end + 1;
            self.line_start = self.scanned;
            if empty && self.started {
                return self.within(self.scanned, limits).map(|()| Some(self.scanned));
            }
            if empty && self.scanned > LEADING_EMPTY_BYTES_MAX {
                return Err(Malformed::Head);
            }
            self.started |= !empty;
        }
        self.scanned = buffer.len();
        if self.line_start == 0 && buffer.len() > limits.target_bytes_max + 64 {
            return Err(Malformed::TargetTooLong);
        }
        self.within(buffer.len(), limits).map(|()| None)
    }

    fn within(&self, bytes: usize, limits: &Limits) -> Result<(), Malformed> {
        if bytes > limits.head_bytes_max { Err(Malformed::HeadTooLarge) } else { Ok(()) }
    }
}

/// Judges a whole head, its empty line included.
pub(crate) fn judge(head: &[u8], limits: &Limits) -> Result<Shape, Malformed> {
    let mut lines = lines(head).skip_while(|line| line.is_empty());
    let start = StartLine::parse(lines.next().unwrap_or_default(), limits)?;
    let mut fields = Fields::default();
    for line in lines.take_while(|line| !line.is_empty()) {
        fields.take(line, limits)?;
    }
    fields.shape(&start)
}

/// Judges one field line of a trailer section (RFC 9112 §7.1.2).
pub(crate) fn judge_trailer(line: &[u8]) -> Result<(), Malformed> {
    split_field(line).map(|_| ())
}

fn lines(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    head.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line))
}

struct StartLine<'a> {
    method: &'a [u8],
    http_1_1: bool,
}

impl<'a> StartLine<'a> {
    fn parse(line: &'a [u8], limits: &Limits) -> Result<Self, Malformed> {
        let mut parts = line.split(|byte| *byte == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Malformed::Head);
        };
        let http_1_1 = match version {
            b"HTTP/1.1" => true,
            b"HTTP/1.0" => false,
            _ => return Err(Malformed::Head),
        };
        if target.len() > limits.target_bytes_max {
            return Err(Malformed::TargetTooLong);
        }
        if method.is_empty() || !method.iter().all(is_token) || target.is_empty() {
            return Err(Malformed::Head);
        }
        if !has_target_characters(target) || !is_target(method, target) {
            return Err(Malformed::Authority);
        }
        Ok(Self { method, http_1_1 })
    }
}

/// The four forms of RFC 9112 §3.2, each only where it belongs.
fn is_target(method: &[u8], target: &[u8]) -> bool {
    if method == b"CONNECT" {
        // What exactly is an authority is judged where it is used, after the caller is known.
        return true;
    }
    match target {
        [b'/', ..] => true,
        b"*" => method == b"OPTIONS",
        _ => after_scheme(target).is_some_and(names_authority),
    }
}

/// What no URI holds unescaped (RFC 3986 §2), as far as hyper refuses it too: it would in words of its own.
fn has_target_characters(target: &[u8]) -> bool {
    let query_at = target.iter().position(|byte| *byte == b'?').unwrap_or(target.len());
    let (path, query) = target.split_at(query_at);
    let plain = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'<' | b'>');
    path.iter().all(|byte| plain(byte) && *byte != b'`') && query.iter().all(|byte| plain(byte) && *byte != b'"')
}

fn after_scheme(target: &[u8]) -> Option<&[u8]> {
    [&b"http://"[..], b"https://"].into_iter().find_map(|scheme| {
        let (start, rest) = target.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then_some(rest)
    })
}

/// Which authority exactly is judged where it is used; here, that there is one.
fn names_authority(rest: &[u8]) -> bool {
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#')).unwrap_or(rest.len());
    let text = std::str::from_utf8(&rest[..end]);
    text.is_ok_and(|text| Authority::parse_with_default(text, 1).is_ok())
}

#[derive(Default)]
struct Fields {
    count: usize,
    hosts: usize,
    length: Option<u64>,
    coding: Option<Malformed>,
    chunked: bool,
}

impl Fields {
    fn take(&mut self, line: &[u8], limits: &Limits) -> Result<(), Malformed> {
        self.count += 1;
        if self.count > limits.head_fields_max {
            return Err(Malformed::HeadTooLarge);
        }
        let (name, value) = split_field(line)?;
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => self.hosts += 1,
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                let repeated = self.length.replace(parse_length(value)?).is_some();
                return if repeated { Err(Malformed::Framing) } else { Ok(()) };
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                if self.chunked || self.coding.is_some() {
                    return Err(Malformed::Framing);
                }
                self.coding = judge_coding(value);
                self.chunked = self.coding.is_none();
            }
            _ => {}
        }
        Ok(())
    }

    fn shape(self, start: &StartLine<'_>) -> Result<Shape, Malformed> {
        let connect = start.method == b"CONNECT";
        if self.hosts > 1 || (self.hosts == 0 && start.http_1_1 && !connect) {
            return Err(Malformed::Authority);
        }
        let coded = self.chunked || self.coding.is_some();
        if coded && (self.length.is_some() || !start.http_1_1 || connect) {
            return Err(Malformed::Framing);
        }
        if let Some(refused) = self.coding {
            return Err(refused);
        }
        let framing = match self.length {
            _ if self.chunked => Framing::Chunked,
            None | Some(0) => Framing::None,
            // RFC 9110 §9.3.6: CONNECT has no content; bytes that claim to be some would be read as the tunnel's.
            Some(_) if connect => return Err(Malformed::Framing),
            Some(length) => Framing::Length(length),
        };
        Ok(Shape { framing, connect })
    }
}

/// Only the exact coding `chunked` is carried: another known coding is 501, anything else is ambiguous.
fn judge_coding(value: &[u8]) -> Option<Malformed> {
    if value.eq_ignore_ascii_case(b"chunked") {
        return None;
    }
    let known = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).all(|coding| {
        [&b"gzip"[..], b"x-gzip", b"deflate", b"compress", b"chunked"]
            .iter()
            .any(|name| coding.eq_ignore_ascii_case(name))
    });
    let chunked_last_and_once = value.to_ascii_lowercase().ends_with(b"chunked")
        && value.to_ascii_lowercase().windows(7).filter(|window| window == b"chunked").count() == 1;
    Some(if known && chunked_last_and_once { Malformed::TransferCoding } else { Malformed::Framing })
}

fn parse_length(value: &[u8]) -> Result<u64, Malformed> {
    if value.is_empty() || value.len() > 19 || !value.iter().all(u8::is_ascii_digit) {
        return Err(Malformed::Framing);
    }
    Ok(value.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
}

/// `name ":" OWS value OWS` (RFC 9112 §5): no space before the colon, no folding, no control characters.
fn split_field(line: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    let colon = memchr::memchr(b':', line).ok_or(Malformed::Head)?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    if name.is_empty() || !name.iter().all(is_token) {
        return Err(Malformed::Head);
    }
    // obs-text is opaque and allowed (RFC 9110 §5.5).
    if value.iter().any(|byte| (*byte < b' ' && *byte != b'\t') || *byte == 0x7f) {
        return Err(Malformed::Head);
    }
    Ok((name, value.trim_ascii()))
}

/// `tchar` of RFC 9110 §5.6.2.
fn is_token(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(head: &str) -> Result<Shape, Malformed> {
        let limits = Limits::default();
        let bytes = head.as_bytes();
        let end = Search::default().end_of_head(bytes, &limits)?.expect("the head is whole");
        assert_eq!(end, bytes.len());
        judge(bytes, &limits)
    }

    fn framing(fields: &str) -> Result<Framing, Malformed> {
        shape(&format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")).map(|shape| shape.framing)
    }

    #[test]
    fn a_body_ends_in_exactly_one_way() {
        assert_eq!(framing(""), Ok(Framing::None));
        assert_eq!(framing("Content-Length: 0\r\n"), Ok(Framing::None));
        assert_eq!(framing("content-length:5\r\n"), Ok(Framing::Length(5)));
        assert_eq!(framing("Transfer-Encoding: Chunked\r\n"), Ok(Framing::Chunked));
    }

    #[test]
    fn ambiguous_lengths_are_refused() {
        for fields in [
            "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nContent-Length: 6\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
            "Transfer-Encoding: xchunked\r\n",
            "Transfer-Encoding: identity, chunked\r\n",
            "Transfer-Encoding: chunked, chunked\r\n",
            "Transfer-Encoding: chunked, gzip\r\n",
            "Transfer-Encoding:\r\n",
            "Transfer-Encoding: \x0bchunked\r\n",
            "Content-Length: 5\r\nContent-Length: 5\r\n",
            "Content-Length: 5, 5\r\n",
            "Content-Length: +5\r\n",
            "Content-Length: 0x5\r\n",
            "Content-Length: 99999999999999999999\r\n",
            "Content-Length:\r\n",
        ] {
            assert!(matches!(framing(fields), Err(Malformed::Framing | Malformed::Head)), "{fields:?}");
        }
        assert_eq!(framing("Transfer-Encoding: gzip, chunked\r\n"), Err(Malformed::TransferCoding));
    }

    #[test]
    fn a_head_that_parsers_read_differently_is_refused() {
        for head in [
            "GET / HTTP/1.1\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n",
            "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX: \x01\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX: \x7f\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n: y\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nAuthoriz\u{e4}tion: y\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
            "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
            "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/2.0\r\nHost: a\r\n\r\n",
            "GET /\r\nHost: a\r\n\r\n",
            "G@T / HTTP/1.1\r\nHost: a\r\n\r\n",
        ] {
            assert!(shape(head).is_err(), "{head:?}");
        }
    }

    #[test]
    fn the_target_has_the_form_of_its_method() {
        for (line, good) in [
            ("GET /a?b HTTP/1.1", true),
            ("GET http://a/ HTTP/1.1", true),
            ("GET HTTPS://a/ HTTP/1.1", true),
            ("OPTIONS * HTTP/1.1", true),
            ("GET //b.test/p HTTP/1.1", true),
            ("CONNECT a:443 HTTP/1.1", true),
            ("GET * HTTP/1.1", false),
            ("GET b.test:80 HTTP/1.1", false),
            ("GET ftp://a/ HTTP/1.1", false),
            ("GET http:///x HTTP/1.1", false),
            ("GET http://[::1 HTTP/1.1", false),
            ("GET http://u:p@a/ HTTP/1.1", false),
            ("GET /a<b HTTP/1.1", false),
            ("GET /?a\"b HTTP/1.1", false),
            ("GET /a\"b^{c}|?`d HTTP/1.1", true),
            ("GET /\u{e4} HTTP/1.1", false),
        ] {
            assert_eq!(shape(&format!("{line}\r\nHost: a\r\n\r\n")).is_ok(), good, "{line}");
        }
    }

    #[test]
    fn there_is_exactly_one_host() {
        assert_eq!(shape("GET / HTTP/1.1\r\n\r\n"), Err(Malformed::Authority));
        assert_eq!(shape("GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n"), Err(Malformed::Authority));
        assert!(shape("GET / HTTP/1.0\r\n\r\n").is_ok());
        assert!(shape("CONNECT a:443 HTTP/1.1\r\n\r\n").is_ok());
    }

    #[test]
    fn connect_has_no_body() {
        assert_eq!(shape("CONNECT a:443 HTTP/1.1\r\nContent-Length: 5\r\n\r\n"), Err(Malformed::Framing));
        assert!(shape("CONNECT a:443 HTTP/1.1\r\nContent-Length: 0\r\n\r\n").is_ok());
    }

    #[test]
    fn limits_have_their_own_answers() {
        let long = "a".repeat(Limits::default().target_bytes_max);
        assert_eq!(shape(&format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n")), Err(Malformed::TargetTooLong));
        let many = "X: y\r\n".repeat(Limits::default().head_fields_max);
        assert_eq!(shape(&format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n")), Err(Malformed::HeadTooLarge));
        let large = "x".repeat(Limits::default().head_bytes_max);
        assert_eq!(shape(&format!("GET / HTTP/1.1\r\nHost: {large}\r\n\r\n")), Err(Malformed::HeadTooLarge));
    }

    #[test]
    fn the_end_is_found_however_the_bytes_arrive() {
        let head = b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\nrest";
        let mut search = Search::default();
        for length in 0..head.len() {
            let found = search.end_of_head(&head[..length], &Limits::default()).unwrap();
            assert_eq!(found, (length >= head.len() - 4).then_some(head.len() - 4), "after {length} bytes");
            if found.is_some() {
                return;
            }
        }
    }
}
