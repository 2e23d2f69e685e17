//! One HTTP/1 message as it stood on the wire, read by a parser that shares nothing with postern's. It keeps the exact
//! bytes and refuses framing that could be read in two ways.

use std::fmt;
use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// More than any head that a test sends; a parser that reads on for ever would hide a missing end.
const HEAD_BYTES_MAX: usize = 1024 * 1024;

/// Room for one read.
const READ_BYTES: usize = 16 * 1024;

/// A request or a reply.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// The request line or status line.
    pub start: String,
    /// The fields in their order, with names as sent; values are Latin-1, so that no byte is lost.
    pub fields: Vec<(String, String)>,
    /// The content, without its chunking.
    pub body: Vec<u8>,
    /// The trailer fields of a chunked body.
    pub trailers: Vec<(String, String)>,
    /// Exactly what was read: head, framing and body.
    pub raw: Vec<u8>,
    /// What went wrong before the end of the body, if anything did.
    pub broken: Option<String>,
}

impl Message {
    /// The status of a reply.
    ///
    /// # Panics
    /// When this is no reply.
    #[must_use]
    #[track_caller]
    pub fn status(&self) -> u16 {
        let status = self.start.strip_prefix("HTTP/1.1 ").or_else(|| self.start.strip_prefix("HTTP/1.0 "));
        status
            .and_then(|rest| rest.get(..3))
            .and_then(|digits| digits.parse().ok())
            .unwrap_or_else(|| panic!("no status line: {:?}", self.start))
    }

    /// The method of a request.
    #[must_use]
    pub fn method(&self) -> &str {
        self.start.split(' ').next().unwrap_or_default()
    }

    /// The target of a request.
    #[must_use]
    pub fn target(&self) -> &str {
        self.start.split(' ').nth(1).unwrap_or_default()
    }

    /// The value of a field that stands at most once.
    ///
    /// # Panics
    /// When it stands twice.
    #[must_use]
    #[track_caller]
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut fields = self.fields.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
        let value = fields.next();
        assert!(fields.next().is_none(), "{name} stands more than once in\n{self}");
        value.map(|(_, value)| value.as_str())
    }

    /// Every value of a field.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.fields.iter().filter(move |(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The content as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The message in one form, for comparison: start line, fields with lower-case names in sorted order, an empty
    /// line, the content. Field order and the case of names carry no meaning (RFC 9110 §5); everything else is exact.
    /// `via` is left out: its value is the proxy's own.
    #[must_use]
    pub fn canonical(&self) -> String {
        let mut fields: Vec<String> = self
            .fields
            .iter()
            .map(|(name, value)| format!("{}: {value}\n", name.to_ascii_lowercase()))
            .filter(|line| !line.starts_with("via: "))
            .collect();
        fields.sort();
        format!("{}\n{}\n{}", self.start, fields.concat(), self.text())
    }

    /// Reads a request with its content; `None` when the peer ended before its first byte.
    pub(crate) async fn read_request(
        stream: &mut (impl AsyncRead + Unpin),
        buffer: &mut Vec<u8>,
    ) -> io::Result<Option<Self>> {
        let Some(mut message) = Self::read_head(stream, buffer).await? else { return Ok(None) };
        let framing = message.framing(Framing::None)?;
        message.read_body(stream, buffer, framing).await?;
        Ok(Some(message))
    }

    /// Reads a reply with its content. A reply that breaks off within its content is returned as far as it came, with
    /// [`Message::broken`] set.
    pub(crate) async fn read_reply(
        stream: &mut (impl AsyncRead + Unpin),
        buffer: &mut Vec<u8>,
        method: &str,
    ) -> io::Result<Self> {
        let mut message =
            Self::read_head(stream, buffer).await?.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        let status = message.status();
        let bodiless = method == "HEAD"
            || (method == "CONNECT" && status == 200)
            || status == 204
            || status == 304
            || (100..200).contains(&status);
        let framing = if bodiless { Framing::None } else { message.framing(Framing::UntilEnd)? };
        if let Err(error) = message.read_body(stream, buffer, framing).await {
            message.broken = Some(error.to_string());
        }
        Ok(message)
    }

    /// Reads the head alone and leaves what follows in the buffer.
    pub(crate) async fn read_head(
        stream: &mut (impl AsyncRead + Unpin),
        buffer: &mut Vec<u8>,
    ) -> io::Result<Option<Self>> {
        let end = loop {
            if let Some(at) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            if buffer.len() > HEAD_BYTES_MAX {
                return Err(invalid("the head has no end"));
            }
            if fill(stream, buffer).await? == 0 {
                if buffer.is_empty() {
                    return Ok(None);
                }
                return Err(cut_off(&format!("a head breaks off: {:?}", String::from_utf8_lossy(buffer))));
            }
        };
        let raw: Vec<u8> = buffer.drain(..end).collect();
        let text = latin1(&raw[..end - 4]);
        let mut lines = text.split("\r\n");
        let start = lines.next().unwrap_or_default().to_owned();
        let fields = lines.map(split_field).collect::<io::Result<_>>()?;
        Ok(Some(Self { start, fields, raw, ..Self::default() }))
    }

    fn framing(&self, otherwise: Framing) -> io::Result<Framing> {
        let lengths: Vec<&str> = self.values("content-length").collect();
        let codings: Vec<&str> = self.values("transfer-encoding").collect();
        match (lengths.as_slice(), codings.as_slice()) {
            ([], []) => Ok(otherwise),
            ([length], []) => {
                length.parse().map(Framing::Length).map_err(|_| invalid(&format!("content-length: {length}")))
            }
            ([], ["chunked"]) => Ok(Framing::Chunked),
            _ => Err(invalid(&format!("framing that can be read in two ways:\n{self}"))),
        }
    }

    async fn read_body(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        buffer: &mut Vec<u8>,
        framing: Framing,
    ) -> io::Result<()> {
        match framing {
            Framing::None => Ok(()),
            Framing::Length(length) => {
                let result = need(stream, buffer, length).await;
                self.take(buffer, length);
                result
            }
            Framing::UntilEnd => loop {
                let length = buffer.len();
                self.take(buffer, length);
                if fill(stream, buffer).await? == 0 {
                    return Ok(());
                }
            },
            Framing::Chunked => self.read_chunks(stream, buffer).await,
        }
    }

    async fn read_chunks(&mut self, stream: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>) -> io::Result<()> {
        loop {
            let line = self.read_line(stream, buffer).await?;
            let digits = line.split(';').next().unwrap_or_default();
            let size = usize::from_str_radix(digits, 16).map_err(|_| invalid(&format!("chunk size {line:?}")))?;
            if size == 0 {
                break;
            }
            let result = need(stream, buffer, size).await;
            self.take(buffer, size);
            result?;
            if !self.read_line(stream, buffer).await?.is_empty() {
                return Err(invalid("a chunk does not end where its size says"));
            }
        }
        loop {
            let line = self.read_line(stream, buffer).await?;
            if line.is_empty() {
                return Ok(());
            }
            self.trailers.push(split_field(&line)?);
        }
    }

    async fn read_line(&mut self, stream: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>) -> io::Result<String> {
        let end = loop {
            if let Some(at) = buffer.windows(2).position(|window| window == b"\r\n") {
                break at;
            }
            if fill(stream, buffer).await? == 0 {
                return Err(cut_off("the stream ends within a chunked body"));
            }
        };
        let line: Vec<u8> = buffer.drain(..end + 2).collect();
        self.raw.extend_from_slice(&line);
        Ok(latin1(&line[..end]))
    }

    fn take(&mut self, buffer: &mut Vec<u8>, length: usize) {
        let taken = buffer.drain(..length.min(buffer.len()));
        let from = self.body.len();
        self.body.extend(taken);
        self.raw.extend_from_slice(&self.body[from..]);
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.start)?;
        for (name, value) in &self.fields {
            writeln!(f, "{name}: {value}")?;
        }
        writeln!(f, "\n{}", self.text())?;
        for (name, value) in &self.trailers {
            writeln!(f, "(trailer) {name}: {value}")?;
        }
        self.broken.as_ref().map_or(Ok(()), |reason| writeln!(f, "(broken: {reason})"))
    }
}

#[derive(Debug, Clone, Copy)]
enum Framing {
    None,
    Length(usize),
    Chunked,
    UntilEnd,
}

/// Reads once and appends what came: how many bytes, 0 at the end.
pub(crate) async fn fill(stream: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>) -> io::Result<usize> {
    buffer.reserve(READ_BYTES);
    stream.read_buf(buffer).await
}

async fn need(stream: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>, length: usize) -> io::Result<()> {
    while buffer.len() < length {
        if fill(stream, buffer).await? == 0 {
            return Err(cut_off(&format!("the stream ends {} bytes early", length - buffer.len())));
        }
    }
    Ok(())
}

fn split_field(line: &str) -> io::Result<(String, String)> {
    let (name, value) = line.split_once(':').ok_or_else(|| invalid(&format!("no field: {line:?}")))?;
    Ok((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()))
}

fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

fn cut_off(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, reason)
}

fn invalid(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn request(bytes: &[u8]) -> io::Result<Option<Message>> {
        Message::read_request(&mut { bytes }, &mut Vec::new()).await
    }

    #[tokio::test]
    async fn content_is_found_by_length_and_by_chunks() {
        let message = request(b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi").await.unwrap().unwrap();
        assert_eq!((message.method(), message.target(), message.text().as_str()), ("POST", "/a", "hi"));
        let bytes = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nh\r\n1\r\ni\r\n0\r\nX-T: 1\r\n\r\n";
        let message = request(bytes).await.unwrap().unwrap();
        assert_eq!(message.text(), "hi");
        assert_eq!(message.trailers, [("X-T".to_owned(), "1".to_owned())]);
        assert_eq!(message.raw, bytes);
    }

    #[tokio::test]
    async fn framing_that_can_be_read_in_two_ways_is_an_error() {
        assert!(request(b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx").await.is_err());
        assert!(
            request(b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
                .await
                .is_err()
        );
    }

    #[tokio::test]
    async fn a_reply_that_breaks_off_says_so() {
        let mut bytes: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhi";
        let reply = Message::read_reply(&mut bytes, &mut Vec::new(), "GET").await.unwrap();
        assert_eq!(reply.text(), "hi");
        assert!(reply.broken.is_some());
    }
}
