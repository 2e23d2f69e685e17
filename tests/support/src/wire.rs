//! One socket of an agent, in the clear or inside TLS: exact bytes out, exact bytes in, each with a deadline. It keeps
//! everything it received for the canary and repairs nothing.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use rustls::AlertDescription;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio_rustls::TlsConnector;

use crate::deadline::within;
use crate::message::{Message, fill};

/// A byte stream in both directions.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// All that the agents of one test received, socket by socket.
pub(crate) type Witness = Arc<Mutex<Vec<Vec<u8>>>>;

/// A socket of an agent.
pub struct Wire {
    stream: Tap,
    buffer: Vec<u8>,
    witness: Witness,
    /// What the peer presented, its own certificate first; empty outside TLS.
    pub certificates: Vec<CertificateDer<'static>>,
    /// The application protocol that was agreed on.
    pub alpn: Option<Vec<u8>>,
}

/// How a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// FIN, after `close_notify` where it is TLS.
    Clean,
    /// FIN without `close_notify` (RFC 8446 §6.1).
    Truncated,
    /// RST or a fatal alert.
    Aborted,
}

/// The TLS alert that ended a handshake or a read, if one did.
#[must_use]
pub fn alert_of(error: &io::Error) -> Option<AlertDescription> {
    match error.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::AlertReceived(alert) => Some(*alert),
        _ => None,
    }
}

/// Whether TLS failed, rather than what it carried.
pub(crate) fn is_tls(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>())
}

impl Wire {
    pub(crate) fn new(stream: impl Stream + 'static, witness: Witness) -> Self {
        let mut heard = witness.lock().unwrap();
        heard.push(Vec::new());
        let ear = heard.len() - 1;
        drop(heard);
        let stream = Tap { stream: Box::new(stream), witness: Arc::clone(&witness), ear };
        Self { stream, buffer: Vec::new(), witness, certificates: Vec::new(), alpn: None }
    }

    /// Sends bytes, as they are. A peer that has closed already is no error: what it answered is what counts.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let sending = async {
            let _ = self.stream.write_all(bytes.as_ref()).await;
            let _ = self.stream.flush().await;
        };
        within("the proxy to take the bytes", sending).await;
    }

    /// Sends bytes while it listens, for a proxy that may answer before it has taken all of them.
    ///
    /// # Panics
    /// When no reply comes.
    pub async fn exchange(&mut self, bytes: impl AsRef<[u8]>) -> Message {
        let (mut reader, mut writer) = tokio::io::split(&mut self.stream);
        let sending = async {
            let _ = writer.write_all(bytes.as_ref()).await;
            let _ = writer.flush().await;
            std::future::pending::<()>().await;
        };
        let reading = Message::read_reply(&mut reader, &mut self.buffer, "GET");
        let both = async {
            tokio::select! {
                () = sending => unreachable!("the sender waits for ever"),
                reply = reading => reply.expect("a reply"),
            }
        };
        within("a reply while sending", both).await
    }

    /// Sends each piece in a write, and so in a segment, of its own.
    pub async fn send_in_pieces(&mut self, bytes: impl AsRef<[u8]>, piece_bytes: usize) {
        for piece in bytes.as_ref().chunks(piece_bytes) {
            self.send(piece).await;
        }
    }

    /// Ends the sending side (`close_notify` where it is TLS, then FIN) and keeps listening.
    pub async fn finish(&mut self) {
        let _ = self.stream.shutdown().await;
    }

    /// The next reply to a request that is neither HEAD nor CONNECT.
    ///
    /// # Panics
    /// When none comes.
    pub async fn reply(&mut self) -> Message {
        self.reply_to("GET").await
    }

    /// The next reply to a request with this method.
    ///
    /// # Panics
    /// When none comes.
    pub async fn reply_to(&mut self, method: &str) -> Message {
        match self.try_reply_to(method).await {
            Ok(reply) => reply,
            Err(error) => panic!("no reply: {error}"),
        }
    }

    /// The next reply, or why there is none.
    ///
    /// # Errors
    /// The socket's, or that the bytes are no reply.
    pub async fn try_reply_to(&mut self, method: &str) -> io::Result<Message> {
        within("a reply", Message::read_reply(&mut self.stream, &mut self.buffer, method)).await
    }

    /// The head of the next reply; its content stays unread.
    ///
    /// # Panics
    /// When none comes.
    pub async fn reply_head(&mut self) -> Message {
        within("a reply's head", Message::read_head(&mut self.stream, &mut self.buffer))
            .await
            .expect("a reply's head")
            .expect("a reply's head before the end")
    }

    /// Exactly this many bytes.
    ///
    /// # Panics
    /// When the stream ends before.
    pub async fn read(&mut self, length: usize) -> Vec<u8> {
        let reading = async {
            while self.buffer.len() < length {
                let count = fill(&mut self.stream, &mut self.buffer).await.expect("more bytes");
                assert!(count > 0, "the stream ended after {} of {length} bytes", self.buffer.len());
            }
        };
        within("bytes", reading).await;
        self.buffer.drain(..length).collect()
    }

    /// Everything until the end, and how it ended.
    pub async fn rest(&mut self) -> (Vec<u8>, End) {
        let reading = async {
            loop {
                match fill(&mut self.stream, &mut self.buffer).await {
                    Ok(0) => return End::Clean,
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return End::Truncated,
                    Err(_) => return End::Aborted,
                }
            }
        };
        let end = within("the end of the stream", reading).await;
        (std::mem::take(&mut self.buffer), end)
    }

    /// Waits until the proxy closes, and asserts that it says nothing more.
    ///
    /// # Panics
    /// When it does say more.
    pub async fn closed(&mut self) {
        let (rest, _) = self.rest().await;
        assert!(rest.is_empty(), "more came before the end: {:?}", String::from_utf8_lossy(&rest));
    }

    /// Speaks TLS from here on.
    pub(crate) async fn secured(
        self,
        config: Arc<rustls::ClientConfig>,
        name: ServerName<'static>,
        writes: Writes,
    ) -> io::Result<Self> {
        assert!(self.buffer.is_empty(), "bytes before the handshake: {:?}", String::from_utf8_lossy(&self.buffer));
        let stream = Paced { stream: self.stream, writes };
        let tls = within("a TLS handshake", TlsConnector::from(config).connect(name, stream)).await?;
        let session = tls.get_ref().1;
        let certificates = session.peer_certificates().unwrap_or_default().to_vec();
        let alpn = session.alpn_protocol().map(<[u8]>::to_vec);
        Ok(Self { certificates, alpn, ..Self::new(tls, self.witness) })
    }
}

/// A stream that keeps a copy of all that is read from it.
struct Tap {
    stream: Box<dyn Stream>,
    witness: Witness,
    ear: usize,
}

impl AsyncRead for Tap {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let fresh = &buffer.filled()[before..];
        self.witness.lock().unwrap()[self.ear].extend_from_slice(fresh);
        result
    }
}

impl AsyncWrite for Tap {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// How a handshake's bytes are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Writes {
    /// As they come.
    #[default]
    Whole,
    /// One byte for each segment.
    Bytewise,
}

/// A stream whose writes may be cut into single bytes.
struct Paced {
    stream: Tap,
    writes: Writes,
}

impl AsyncRead for Paced {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Paced {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let length = match self.writes {
            Writes::Whole => bytes.len(),
            Writes::Bytewise => bytes.len().min(1),
        };
        Pin::new(&mut self.stream).poll_write(cx, &bytes[..length])
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
