//! The agent's side of a socket: it releases to hyper only whole, strictly judged request heads and exactly the bytes of
//! their bodies, and ends the socket at its named deadlines. It answers nothing; a refused head becomes a marked one.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use model::Limits;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::Instant;
use tokio_util::io::poll_read_buf;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::chunked::Chunks;
use crate::head::{Framing, Search, Shape, judge};
use crate::pulse::Pulse;
use crate::silence::Watch;

/// The method of the head that stands in for a refused one. An agent that sends it itself is refused all the same.
pub(crate) const REFUSED_METHOD: &str = "POSTERN-REFUSED";
const REFUSED_HEAD: &[u8] = b"POSTERN-REFUSED / HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n";

/// What is still read of a socket that was ended, in bytes.
const LINGER_BYTES_MAX: u64 = 1024 * 1024;
/// How long a socket that was ended is still read.
const LINGER_IN: Duration = Duration::from_secs(1);
/// Bytes asked for in one read of a head.
const HEAD_READ_BYTES: usize = 4 * 1024;
/// While draining, the time a socket may stay silent: long enough for a request that is already on its way.
const DRAIN_IDLE_IN: Duration = Duration::from_secs(1);

/// Where CONNECT stands: at the proxy's own door it opens a tunnel, inside one it is just a refused method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// The proxy's listener.
    Door,
    /// Inside a CONNECT tunnel.
    Inside,
}

/// What stands at the front of the wire.
#[derive(Debug)]
pub(crate) enum Front {
    /// A CONNECT head.
    Connect(Bytes),
    /// Any other request, or a refused one: hyper's to read.
    Http,
    /// Nothing more will come.
    Closed,
}

/// A socket that reads strictly and waits only so long.
#[derive(Debug)]
pub(crate) struct Wire<IO> {
    io: IO,
    role: Role,
    limits: Arc<Limits>,
    pulse: Arc<Pulse>,
    drain: Pin<Box<WaitForCancellationFutureOwned>>,
    draining: bool,
    buffer: BytesMut,
    search: Search,
    phase: Phase,
    served: bool,
    head_began_at: Option<Instant>,
    interim: BytesMut,
    reader: Watch,
    writer: Watch,
}

#[derive(Debug)]
enum Phase {
    Head,
    Release {
        bytes: usize,
        then: Framing,
    },
    Length(u64),
    Chunked(Box<Chunks>),
    /// Checked bytes of a chunked body, the last of it or not.
    Checked {
        bytes: usize,
        last: bool,
        chunks: Box<Chunks>,
    },
    Connect(usize),
    Refused(&'static [u8]),
    Ended,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Wire<IO> {
    pub(crate) fn new(io: IO, role: Role, limits: Arc<Limits>, draining: CancellationToken) -> Self {
        Self::resume(io, BytesMut::new(), role, limits, draining)
    }

    /// A wire whose first bytes have been read already.
    pub(crate) fn resume(
        io: IO,
        buffer: BytesMut,
        role: Role,
        limits: Arc<Limits>,
        draining: CancellationToken,
    ) -> Self {
        Self {
            io,
            role,
            limits,
            pulse: Arc::default(),
            drain: Box::pin(draining.cancelled_owned()),
            draining: false,
            buffer,
            search: Search::default(),
            phase: Phase::Head,
            served: false,
            head_began_at: None,
            interim: BytesMut::new(),
            reader: Watch::default(),
            writer: Watch::default(),
        }
    }

    pub(crate) fn pulse(&self) -> &Arc<Pulse> {
        &self.pulse
    }

    /// Ends the socket in an orderly way: what the agent is still sending is read and thrown away for a moment, because
    /// closing over unread bytes resets the connection and takes the answer with it (RFC 9112 §9.6).
    pub(crate) async fn end(mut self) {
        let over = matches!(self.phase, Phase::Ended);
        if self.shutdown().await.is_ok() && !over {
            linger(&mut self.io).await;
        }
    }

    /// The socket and what was read ahead of it.
    pub(crate) fn into_parts(self) -> (IO, BytesMut) {
        (self.io, self.buffer)
    }

    /// Whether a CONNECT stands at the front.
    pub(crate) fn awaits_connect(&self) -> bool {
        matches!(self.phase, Phase::Connect(_))
    }

    /// Waits for a whole head; a CONNECT is taken off the wire.
    pub(crate) async fn next_head(&mut self) -> io::Result<Front> {
        std::future::poll_fn(|cx| self.poll_head(cx)).await?;
        let Phase::Connect(bytes) = self.phase else {
            return Ok(if matches!(self.phase, Phase::Ended) { Front::Closed } else { Front::Http });
        };
        self.phase = Phase::Head;
        self.served = true;
        Ok(Front::Connect(self.buffer.split_to(bytes).freeze()))
    }

    /// Fills the buffer until a head is whole, refused, or will not come.
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while matches!(self.phase, Phase::Head) {
            if !self.buffer.is_empty() {
                self.phase = self.judge_buffer();
                if !matches!(self.phase, Phase::Head) {
                    self.head_began_at = None;
                    break;
                }
                self.head_began_at.get_or_insert_with(Instant::now);
            }
            self.buffer.reserve(HEAD_READ_BYTES);
            let read = poll_read_buf(Pin::new(&mut self.io), cx, &mut self.buffer);
            let Poll::Ready(bytes) = read else {
                if self.buffer.is_empty() {
                    // An idle socket keeps no buffer.
                    self.buffer = BytesMut::new();
                }
                ready!(self.poll_idle(cx));
                self.phase = Phase::Ended;
                break;
            };
            self.reader.rest();
            if bytes? == 0 {
                self.phase = Phase::Ended;
            }
        }
        Poll::Ready(Ok(()))
    }

    fn judge_buffer(&mut self) -> Phase {
        let found = self.search.end_of_head(&self.buffer, &self.limits);
        let judged = match found {
            Ok(None) => return Phase::Head,
            Ok(Some(bytes)) => judge(&self.buffer[..bytes], &self.limits).map(|shape| (bytes, shape)),
            Err(malformed) => Err(malformed),
        };
        self.search = Search::default();
        match judged {
            Ok((bytes, Shape { connect: true, .. })) if self.role == Role::Door => Phase::Connect(bytes),
            Ok((bytes, shape)) => Phase::Release { bytes, then: shape.framing },
            Err(malformed) => {
                self.pulse.note_refused(malformed);
                Phase::Refused(REFUSED_HEAD)
            }
        }
    }

    /// Ready when a head has taken too long, or the socket has been silent for too long before one.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(began_at) = self.head_began_at {
            return self.reader.poll_until(began_at + self.limits.head_in, cx);
        }
        // The drain wakes an idle socket; its silence then counts anew, for a request that is already on its way.
        let drain_begins = !self.draining && self.drain.as_mut().poll(cx).is_ready();
        self.draining |= drain_begins;
        if drain_begins || self.pulse.is_busy() {
            self.reader.rest();
        }
        let idle_in = match (self.draining, self.served) {
            (true, _) => DRAIN_IDLE_IN.min(self.limits.idle_in),
            (false, true) => self.limits.idle_in,
            (false, false) => self.limits.first_request_in,
        };
        self.reader.poll_for(idle_in, cx)
    }

    /// Ready when a body that somebody waits for has not moved for too long.
    fn poll_stall(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        self.reader.poll_for(self.limits.body_stall_in, cx).map(|()| stalled())
    }

    /// Hands out checked bytes; the phase after the last of them is the given one.
    fn hand_out(&mut self, out: &mut ReadBuf<'_>, left: usize) -> usize {
        let here = left.min(out.remaining());
        out.put_slice(&self.buffer[..here]);
        self.buffer.advance(here);
        left - here
    }

    fn poll_length(&mut self, cx: &mut Context<'_>, out: &mut ReadBuf<'_>, left: u64) -> Poll<io::Result<u64>> {
        let here = usize::try_from(left).unwrap_or(usize::MAX).min(out.remaining());
        if !self.buffer.is_empty() {
            let here = here.min(self.buffer.len());
            self.hand_out(out, here);
            return Poll::Ready(Ok(left - here as u64));
        }
        let mut limited = ReadBuf::new(out.initialize_unfilled_to(here));
        if Pin::new(&mut self.io).poll_read(cx, &mut limited)?.is_pending() {
            return self.poll_stall(cx).map(Err);
        }
        self.reader.rest();
        let read = limited.filled().len();
        out.advance(read);
        if read == 0 {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        Poll::Ready(Ok(left - read as u64))
    }

    fn poll_chunks(&mut self, cx: &mut Context<'_>, chunks: &mut Chunks) -> Poll<io::Result<(usize, bool)>> {
        if self.buffer.is_empty() {
            self.buffer.reserve(4 * HEAD_READ_BYTES);
            let Poll::Ready(read) = poll_read_buf(Pin::new(&mut self.io), cx, &mut self.buffer) else {
                return self.poll_stall(cx).map(Err);
            };
            self.reader.rest();
            if read? == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
        Poll::Ready(chunks.pass(&self.buffer).map_err(|_| io::ErrorKind::InvalidData.into()))
    }
}

fn stalled() -> io::Error {
    io::ErrorKind::TimedOut.into()
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncRead for Wire<IO> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let wire = &mut *self;
        if out.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            match std::mem::replace(&mut wire.phase, Phase::Head) {
                Phase::Head => ready!(wire.poll_head(cx))?,
                Phase::Release { bytes, then } => {
                    wire.served = true;
                    wire.phase = match (wire.hand_out(out, bytes), then) {
                        (0, Framing::None) => Phase::Head,
                        (0, Framing::Length(length)) => Phase::Length(length),
                        (0, Framing::Chunked) => Phase::Chunked(Box::default()),
                        (bytes, then) => Phase::Release { bytes, then },
                    };
                    return Poll::Ready(Ok(()));
                }
                Phase::Length(left) => {
                    wire.phase = Phase::Length(left);
                    let left = ready!(wire.poll_length(cx, out, left)).inspect_err(|_| wire.phase = Phase::Ended)?;
                    wire.phase = if left == 0 { Phase::Head } else { Phase::Length(left) };
                    return Poll::Ready(Ok(()));
                }
                Phase::Chunked(mut chunks) => {
                    let checked = wire.poll_chunks(cx, &mut chunks);
                    let Poll::Ready(checked) = checked else {
                        wire.phase = Phase::Chunked(chunks);
                        return Poll::Pending;
                    };
                    let (bytes, last) = checked.inspect_err(|_| wire.phase = Phase::Ended)?;
                    wire.phase = Phase::Checked { bytes, last, chunks };
                }
                Phase::Checked { bytes, last, chunks } => {
                    wire.phase = match wire.hand_out(out, bytes) {
                        0 if last => Phase::Head,
                        0 => Phase::Chunked(chunks),
                        bytes => Phase::Checked { bytes, last, chunks },
                    };
                    return Poll::Ready(Ok(()));
                }
                // hyper sees the end of input; the socket is taken back from it to serve the CONNECT.
                Phase::Connect(bytes) => {
                    wire.phase = Phase::Connect(bytes);
                    return Poll::Ready(Ok(()));
                }
                Phase::Refused([]) => {
                    wire.phase = Phase::Refused(&[]);
                    return Poll::Pending;
                }
                Phase::Refused(rest) => {
                    let here = rest.len().min(out.remaining());
                    out.put_slice(&rest[..here]);
                    wire.phase = Phase::Refused(&rest[here..]);
                    return Poll::Ready(Ok(()));
                }
                Phase::Ended => {
                    wire.phase = Phase::Ended;
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Wire<IO> {
    fn poll_written<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.writer.rest();
            return written;
        }
        ready!(self.writer.poll_for(self.limits.write_stall_in, cx));
        Poll::Ready(Err(stalled()))
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Wire<IO> {
    /// An interim answer that was begun is ended before anything else is written.
    fn poll_interim(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.interim.is_empty() {
            let written = Pin::new(&mut self.io).poll_write(cx, &self.interim);
            let bytes = ready!(self.poll_written(cx, written))?;
            self.interim.advance(bytes);
        }
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Wire<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_interim(cx))?;
        let written = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.poll_written(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_interim(cx))?;
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, slices);
        self.poll_written(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    /// hyper flushes when it has handed over all it has: the one moment at which an interim answer splits no other.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.interim.is_empty() && self.pulse.is_busy() {
            self.interim = self.pulse.take_interim(cx);
        }
        ready!(self.poll_interim(cx))?;
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        self.poll_written(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.io).poll_shutdown(cx);
        self.poll_written(cx, shut)
    }
}

/// Reads and throws away what still comes, within bounds.
pub(crate) async fn linger(io: &mut (impl AsyncRead + Unpin)) {
    let mut bytes = io.take(LINGER_BYTES_MAX);
    let _ = tokio::time::timeout(LINGER_IN, tokio::io::copy(&mut bytes, &mut tokio::io::sink())).await;
}

#[cfg(test)]
mod tests {
    use tokio::io::{DuplexStream, duplex};

    use super::*;

    fn wire(role: Role, limits: Limits) -> (DuplexStream, Wire<DuplexStream>) {
        let (agent, io) = duplex(1024 * 1024);
        (agent, Wire::new(io, role, Arc::new(limits), CancellationToken::new()))
    }

    async fn read(wire: &mut Wire<DuplexStream>) -> String {
        let mut bytes = vec![0; 64 * 1024];
        let count = wire.read(&mut bytes).await.unwrap();
        String::from_utf8_lossy(&bytes[..count]).into_owned()
    }

    #[tokio::test]
    async fn messages_are_released_one_at_a_time() {
        let (mut agent, mut wire) = wire(Role::Inside, Limits::default());
        let first = "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n";
        let third = "PUT /3 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        let sent = format!(
            "{first}hiGET /2 HTTP/1.1\r\nHost: a\r\n\r\n{third}2\r\nhi\r\n0\r\n\r\nGET /4 HTTP/1.1\r\nHost: a\r\n\r\n"
        );
        agent.write_all(sent.as_bytes()).await.unwrap();
        for expected in [
            first,
            "hi",
            "GET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
            third,
            "2\r\nhi\r\n0\r\n\r\n",
            "GET /4 HTTP/1.1\r\nHost: a\r\n\r\n",
        ] {
            assert_eq!(read(&mut wire).await, expected);
        }
    }

    #[tokio::test]
    async fn a_refused_head_becomes_the_marked_one_and_nothing_follows() {
        let (mut agent, mut wire) = wire(Role::Inside, Limits::default());
        agent.write_all(b"GET / HTTP/1.1\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        assert!(read(&mut wire).await.starts_with(REFUSED_METHOD));
        assert_eq!(wire.pulse().take_refused(), Some(model::refusal::Malformed::Head));
        let more = tokio::time::timeout(Duration::from_millis(1), read(&mut wire)).await;
        assert!(more.is_err(), "{more:?}");
    }

    #[tokio::test]
    async fn connect_is_taken_off_the_door_with_the_bytes_behind_it_kept() {
        let (mut agent, mut wire) = wire(Role::Door, Limits::default());
        agent.write_all(b"CONNECT a:443 HTTP/1.0\r\n\r\n\x16\x03\x01").await.unwrap();
        let Front::Connect(head) = wire.next_head().await.unwrap() else { panic!("not a CONNECT") };
        assert!(head.starts_with(b"CONNECT a:443"));
        assert_eq!(&wire.into_parts().1[..], b"\x16\x03\x01");
    }

    #[tokio::test(start_paused = true)]
    async fn each_silence_has_its_own_deadline() {
        let limits = Limits::default();
        let (_agent, mut idle) = wire(Role::Inside, limits.clone());
        let began_at = Instant::now();
        assert_eq!(read(&mut idle).await, "");
        assert_eq!(began_at.elapsed().as_secs(), limits.first_request_in.as_secs());

        let (mut agent, mut partial) = wire(Role::Inside, limits.clone());
        agent.write_all(b"GET / HT").await.unwrap();
        let began_at = Instant::now();
        assert_eq!(read(&mut partial).await, "");
        assert_eq!(began_at.elapsed().as_secs(), limits.head_in.as_secs());

        let (mut agent, mut stalled) = wire(Role::Inside, limits.clone());
        agent.write_all(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf").await.unwrap();
        read(&mut stalled).await;
        let _beat = stalled.pulse().beat();
        read(&mut stalled).await;
        let began_at = Instant::now();
        let error = stalled.read(&mut [0; 16]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(began_at.elapsed().as_secs(), limits.body_stall_in.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn the_drain_ends_an_idle_socket_after_a_moment() {
        let (mut agent, io) = duplex(1024);
        let draining = CancellationToken::new();
        let mut wire = Wire::new(io, Role::Inside, Arc::new(Limits::default()), draining.clone());
        agent.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        read(&mut wire).await;
        let began_at = Instant::now();
        let ended = async {
            tokio::time::sleep(Duration::from_secs(100)).await;
            draining.cancel();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            rest = read(&mut wire) => assert_eq!(rest, ""),
            () = ended => {}
        }
        assert_eq!(began_at.elapsed().as_secs(), 101);
    }

    #[tokio::test(start_paused = true)]
    async fn a_socket_that_waits_for_its_answer_is_not_idle() {
        let (mut agent, mut wire) = wire(Role::Inside, Limits::default());
        agent.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        read(&mut wire).await;
        let beat = wire.pulse().beat();
        let thinking = tokio::time::timeout(Duration::from_secs(36_000), read(&mut wire)).await;
        assert!(thinking.is_err(), "{thinking:?}");
        drop(beat);
        assert_eq!(read(&mut wire).await, "");
    }
}
