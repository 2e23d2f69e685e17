//! The strict reading of a chunked body (RFC 9112 §7.1), byte by byte as it passes. It finds the body's end and refuses
//! what parsers read differently; it changes nothing.

use model::refusal::Malformed;

use crate::head::judge_trailer;

/// The longest chunk extension, in bytes for each chunk.
const EXTENSION_BYTES_MAX: usize = 256;
/// The longest trailer section, in bytes.
const TRAILER_BYTES_MAX: usize = 16 * 1024;
/// Framing bytes that a body may spend before they must stand in proportion to its content.
const OVERHEAD_BYTES_FREE: u64 = 64 * 1024;
/// Framing bytes allowed for each byte of content beyond that: a million one-byte chunks are an attack on the parser.
const OVERHEAD_PER_CONTENT_BYTE_MAX: u64 = 4;

/// A position inside a chunked body.
#[derive(Debug, Default)]
pub(crate) struct Chunks {
    state: State,
    content_bytes: u64,
    overhead_bytes: u64,
    trailer_bytes: usize,
    line: Vec<u8>,
}

#[derive(Debug, Default, Clone, Copy)]
enum State {
    #[default]
    Start,
    Size {
        size: u64,
        digits: u8,
    },
    Extension {
        size: u64,
        bytes: usize,
    },
    SizeEnd {
        size: u64,
    },
    Content {
        left: u64,
    },
    ContentEnd,
    ContentEndLf,
    Trailer,
    Done,
}

impl Chunks {
    /// Passes over the bytes: how many of them belong to this body, and whether it has ended with the last of them.
    pub(crate) fn pass(&mut self, bytes: &[u8]) -> Result<(usize, bool), Malformed> {
        let mut at = 0;
        while at < bytes.len() {
            if let State::Content { left } = self.state {
                let here = left.min((bytes.len() - at) as u64);
                at += usize::try_from(here).unwrap_or(usize::MAX);
                self.content_bytes += here;
                self.state = if here == left { State::ContentEnd } else { State::Content { left: left - here } };
                continue;
            }
            self.state = self.step(bytes[at])?;
            at += 1;
            self.count_overhead()?;
            if matches!(self.state, State::Done) {
                return Ok((at, true));
            }
        }
        Ok((at, false))
    }

    fn step(&mut self, byte: u8) -> Result<State, Malformed> {
        match (self.state, byte) {
            (State::Start, _) => Ok(State::Size { size: hex(byte)?, digits: 1 }),
            (State::Size { size, digits }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') if digits < 15 => {
                Ok(State::Size { size: size * 16 + hex(byte)?, digits: digits + 1 })
            }
            (State::Size { size, .. }, b'\r') => Ok(State::SizeEnd { size }),
            (State::Size { size, .. }, b';') => Ok(State::Extension { size, bytes: 0 }),
            (State::Extension { size, .. }, b'\r') => Ok(State::SizeEnd { size }),
            (State::Extension { size, bytes }, b'\t' | b' '..=b'~') if bytes < EXTENSION_BYTES_MAX => {
                Ok(State::Extension { size, bytes: bytes + 1 })
            }
            (State::SizeEnd { size: 0 }, b'\n') => Ok(State::Trailer),
            (State::SizeEnd { size }, b'\n') => Ok(State::Content { left: size }),
            (State::ContentEnd, b'\r') => Ok(State::ContentEndLf),
            (State::ContentEndLf, b'\n') => Ok(State::Start),
            (State::Trailer, _) => self.trailer(byte),
            _ => Err(Malformed::Framing),
        }
    }

    fn trailer(&mut self, byte: u8) -> Result<State, Malformed> {
        self.trailer_bytes += 1;
        if self.trailer_bytes > TRAILER_BYTES_MAX {
            return Err(Malformed::HeadTooLarge);
        }
        if byte != b'\n' {
            self.line.push(byte);
            return Ok(State::Trailer);
        }
        let Some(line) = self.line.strip_suffix(b"\r") else { return Err(Malformed::Framing) };
        if line.is_empty() {
            return Ok(State::Done);
        }
        judge_trailer(line)?;
        self.line.clear();
        Ok(State::Trailer)
    }

    fn count_overhead(&mut self) -> Result<(), Malformed> {
        self.overhead_bytes += 1;
        let allowed = OVERHEAD_BYTES_FREE + OVERHEAD_PER_CONTENT_BYTE_MAX * self.content_bytes;
        if self.overhead_bytes > allowed { Err(Malformed::Framing) } else { Ok(()) }
    }
}

fn hex(byte: u8) -> Result<u64, Malformed> {
    char::from(byte).to_digit(16).map(u64::from).ok_or(Malformed::Framing)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pass(body: &[u8]) -> Result<(usize, bool), Malformed> {
        Chunks::default().pass(body)
    }

    #[test]
    fn the_end_is_found_in_any_fragmentation() {
        let body = b"5;x=\"y\"\r\nhello\r\n1A\r\nabcdefghijklmnopqrstuvwxyz\r\n0\r\nX-Sum: 1\r\n\r\nGET /";
        let end = body.len() - 5;
        assert_eq!(pass(body), Ok((end, true)));
        for split in 1..end {
            let mut chunks = Chunks::default();
            assert_eq!(chunks.pass(&body[..split]), Ok((split, false)), "first part of {split}");
            assert_eq!(chunks.pass(&body[split..]), Ok((end - split, true)), "second part after {split}");
        }
    }

    #[test]
    fn what_parsers_read_differently_is_refused() {
        for body in [
            &b"5\nhello\r\n0\r\n\r\n"[..],
            b"5\r\nhello0\r\n\r\n",
            b"5\r\nhello\n0\r\n\r\n",
            b" 5\r\nhello\r\n",
            b"5 \r\nhello\r\n",
            b"0x5\r\nhello\r\n",
            b"-5\r\nhello\r\n",
            b"\r\n",
            b"fffffffffffffffff\r\n",
            b"5;\x00\r\nhello\r\n",
            b"0\r\nbad trailer\r\n\r\n",
            b"0\r\nX: y\n\r\n",
        ] {
            assert!(pass(body).is_err(), "{:?}", String::from_utf8_lossy(body));
        }
    }

    #[test]
    fn extensions_and_tiny_chunks_are_bounded() {
        let extension = format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(20_000));
        assert!(pass(extension.as_bytes()).is_err());
        let mut chunks = Chunks::default();
        assert!((0..1_000_000).any(|_| chunks.pass(b"1\r\nx\r\n").is_err()));
        let mut chunks = Chunks::default();
        assert!((0..100_000).all(|_| chunks.pass(b"10\r\n0123456789abcdef\r\n").is_ok()));
    }
}
