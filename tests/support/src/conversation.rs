//! One connection that an origin accepted, in the hands of a test's script: what to read, what to write, how to end.
//! It records every byte that arrives and refuses to answer by itself.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::message::{Message, fill};
use crate::upstream::Log;

/// A connection from postern to an origin.
pub struct Conversation {
    stream: Tap,
    buffer: Vec<u8>,
}

/// The stream under a conversation.
pub(crate) enum Socket {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Conversation {
    pub(crate) fn new(socket: Socket, id: usize, log: Arc<Log>) -> Self {
        Self { stream: Tap { socket, id, log }, buffer: Vec::new() }
    }

    /// The connection's number, counted from 0 for each origin.
    #[must_use]
    pub fn id(&self) -> usize {
        self.stream.id
    }

    /// The next request with its content; `None` when postern has closed.
    pub async fn request(&mut self) -> Option<Message> {
        let read = Message::read_request(&mut self.stream, &mut self.buffer).await;
        self.recorded(read)
    }

    /// The next request's head; its content stays unread.
    pub async fn head(&mut self) -> Option<Message> {
        let read = Message::read_head(&mut self.stream, &mut self.buffer).await;
        self.recorded(read)
    }

    /// Reads until this many bytes beyond what was taken are there, or the end; returns them.
    pub async fn bytes(&mut self, length: usize) -> Vec<u8> {
        while self.buffer.len() < length {
            if matches!(fill(&mut self.stream, &mut self.buffer).await, Ok(0) | Err(_)) {
                break;
            }
        }
        let length = length.min(self.buffer.len());
        self.buffer.drain(..length).collect()
    }

    /// Writes bytes, as they are. A peer that has gone is no error: the test looks at what the agent saw.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref()).await;
        let _ = self.stream.flush().await;
    }

    /// Waits until postern closes its side, reading what still comes.
    pub async fn closed(&mut self) {
        while !matches!(fill(&mut self.stream, &mut self.buffer).await, Ok(0) | Err(_)) {}
    }

    /// Ends the connection properly: `close_notify` where it is TLS, then FIN.
    pub async fn finish(mut self) {
        let _ = self.stream.shutdown().await;
        self.closed().await;
    }

    /// Ends the connection with FIN but without `close_notify` (RFC 8446 §6.1), as an attacker on the path can.
    pub async fn cut(mut self) {
        let tcp = match &mut self.stream.socket {
            Socket::Plain(tcp) => tcp,
            Socket::Tls(tls) => tls.get_mut().0,
        };
        let _ = tcp.shutdown().await;
        self.closed().await;
    }

    /// Ends the connection with RST.
    pub fn reset(self) {
        let tcp = match &self.stream.socket {
            Socket::Plain(tcp) => tcp,
            Socket::Tls(tls) => tls.get_ref().0,
        };
        let _ = tcp.set_zero_linger();
    }

    fn recorded(&self, read: io::Result<Option<Message>>) -> Option<Message> {
        let (id, log) = (self.stream.id, &self.stream.log);
        match read {
            Ok(Some(message)) => {
                log.record(id, &message);
                Some(message)
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidData && !crate::wire::is_tls(&error) => {
                log.change(id, |connection| connection.invalid = Some(error.to_string()));
                None
            }
            Ok(None) | Err(_) => None,
        }
    }
}

/// A stream that keeps a copy of all that is read from it.
struct Tap {
    socket: Socket,
    id: usize,
    log: Arc<Log>,
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.log.change(self.id, |connection| connection.open = false);
    }
}

impl AsyncRead for Tap {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = match &mut self.socket {
            Socket::Plain(tcp) => Pin::new(tcp).poll_read(cx, buffer),
            Socket::Tls(tls) => Pin::new(tls.as_mut()).poll_read(cx, buffer),
        };
        let fresh = &buffer.filled()[before..];
        if !fresh.is_empty() {
            self.log.change(self.id, |connection| connection.bytes.extend_from_slice(fresh));
        }
        result
    }
}

impl AsyncWrite for Tap {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.socket {
            Socket::Plain(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Socket::Tls(tls) => Pin::new(tls.as_mut()).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.socket {
            Socket::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Socket::Tls(tls) => Pin::new(tls.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.socket {
            Socket::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Socket::Tls(tls) => Pin::new(tls.as_mut()).poll_shutdown(cx),
        }
    }
}
