//! The bodies that stream through: the agent's upload and the destination's answer. They count, drop forbidden trailers
//! and see to it that a socket goes back to the pool only after a clean end; they hold no more than one frame.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use crate::fields::strip_from_trailers;
use crate::pool::Lease;
use crate::pulse::Beat;
use crate::record::OpenRecord;

/// Why a streamed body ended early. hyper closes the socket on it, so the other side sees the cut.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    /// The peer's body broke off.
    #[error(transparent)]
    Peer(#[from] hyper::Error),
    /// The destination stayed silent past the limit that was set.
    #[error("the destination stayed silent for too long")]
    Silence,
}

/// What an upload tells the exchange while hyper's client owns it.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    sent: AtomicBool,
    broken: AtomicBool,
}

impl Progress {
    /// Whether the whole body was handed over; an upstream that answered earlier leaves a socket that is not reused.
    pub(crate) fn is_sent(&self) -> bool {
        self.sent.load(Ordering::Acquire)
    }

    /// Whether the agent's side broke off or was malformed.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Acquire)
    }
}

/// The longest body that is kept for a repetition, in bytes (`replay buffer`).
const REPLAY_BYTES_MAX: u64 = 64 * 1024;

/// The agent's body on its way up.
#[derive(Debug)]
pub(crate) struct Upload {
    source: Source,
    bytes: Arc<AtomicU64>,
    progress: Arc<Progress>,
    copy: Option<Kept>,
}

#[derive(Debug)]
enum Source {
    Agent(Incoming),
    Kept(Full<Bytes>),
}

/// What has passed of a body, for sending it again; `None` once it is too long for that.
pub(crate) type Kept = Arc<Mutex<Option<BytesMut>>>;

impl Upload {
    pub(crate) fn new(incoming: Incoming, bytes: Arc<AtomicU64>) -> (Self, Arc<Progress>) {
        let progress = Arc::new(Progress::default());
        progress.sent.store(incoming.is_end_stream(), Ordering::Release);
        (Self { source: Source::Agent(incoming), bytes, progress: Arc::clone(&progress), copy: None }, progress)
    }

    /// A body that is at hand, for repeating a request.
    pub(crate) fn kept(bytes: Bytes) -> (Self, Arc<Progress>) {
        let progress = Arc::new(Progress::default());
        progress.sent.store(bytes.is_empty(), Ordering::Release);
        let source = Source::Kept(Full::new(bytes));
        (Self { source, bytes: Arc::default(), progress: Arc::clone(&progress), copy: None }, progress)
    }

    /// Keeps what passes, as long as it is short enough.
    pub(crate) fn keep(&mut self) -> Kept {
        let may_fit = self.size_hint().lower() <= REPLAY_BYTES_MAX;
        Arc::clone(self.copy.insert(Arc::new(Mutex::new(may_fit.then(BytesMut::new)))))
    }

    fn copy(&self, data: &Bytes) {
        let Some(copy) = &self.copy else { return };
        let mut copy = copy.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bytes) = copy.as_mut() {
            bytes.extend_from_slice(data);
            if bytes.len() as u64 > REPLAY_BYTES_MAX {
                *copy = None;
            }
        }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let frame = match &mut self.source {
            Source::Agent(incoming) => {
                ready!(Pin::new(incoming).poll_frame(cx)).map(|frame| frame.map_err(Broken::Peer))
            }
            Source::Kept(full) => {
                ready!(Pin::new(full).poll_frame(cx)).map(|frame| frame.map_err(|never| match never {}))
            }
        };
        match &frame {
            Some(Ok(passing)) => {
                let data = passing.data_ref();
                self.bytes.fetch_add(data.map_or(0, Bytes::len) as u64, Ordering::Relaxed);
                if let Some(data) = data {
                    self.copy(data);
                }
                if self.is_end_stream() {
                    self.progress.sent.store(true, Ordering::Release);
                }
            }
            Some(Err(_)) => self.progress.broken.store(true, Ordering::Release),
            None => self.progress.sent.store(true, Ordering::Release),
        }
        Poll::Ready(frame.map(|frame| frame.map(without_forbidden_trailers)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Agent(incoming) => incoming.is_end_stream(),
            Source::Kept(full) => full.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Agent(incoming) => incoming.size_hint(),
            Source::Kept(full) => full.size_hint(),
        }
    }
}

fn without_forbidden_trailers(frame: Frame<Bytes>) -> Frame<Bytes> {
    match frame.into_trailers() {
        Ok(mut trailers) => {
            strip_from_trailers(&mut trailers);
            Frame::trailers(trailers)
        }
        Err(frame) => frame,
    }
}

/// The destination's body on its way down, with the socket it comes from.
#[derive(Debug)]
pub(crate) struct Download {
    incoming: Incoming,
    lease: Option<Lease>,
    progress: Arc<Progress>,
    silence: Option<Silence>,
    broken: bool,
}

#[derive(Debug)]
struct Silence {
    span: Duration,
    sleep: Pin<Box<Sleep>>,
}

impl Download {
    /// `lease` is `None` for a socket that is not to be reused.
    pub(crate) fn new(
        incoming: Incoming,
        lease: Option<Lease>,
        progress: Arc<Progress>,
        silence_in: Option<Duration>,
    ) -> Self {
        let silence = silence_in.map(|span| Silence { span, sleep: Box::pin(tokio::time::sleep(span)) });
        Self { incoming, lease, progress, silence, broken: false }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(cx) else {
            let Some(silence) = &mut self.silence else { return Poll::Pending };
            ready!(silence.sleep.as_mut().poll(cx));
            self.broken = true;
            return Poll::Ready(Some(Err(Broken::Silence)));
        };
        if let Some(silence) = &mut self.silence {
            silence.sleep.as_mut().reset(Instant::now() + silence.span);
        }
        self.broken |= matches!(frame, Some(Err(_)));
        Poll::Ready(frame.map(|frame| frame.map(without_forbidden_trailers).map_err(Broken::Peer)))
    }

    /// Ends the loan: the socket is kept if everything on it ended cleanly.
    fn settle(&mut self) {
        let clean = !self.broken && self.incoming.is_end_stream() && self.progress.is_sent();
        if let Some(lease) = self.lease.take().filter(|_| clean) {
            lease.give_back();
        }
    }
}

/// The body of every answer, and the record that it closes.
#[derive(Debug)]
pub(crate) struct Reply {
    kind: Kind,
    record: Option<OpenRecord>,
    _beat: Option<Beat>,
}

#[derive(Debug)]
enum Kind {
    Own(Full<Bytes>),
    Carried(Box<Download>),
}

impl Reply {
    /// An answer of postern's own.
    pub(crate) fn own(bytes: Bytes, record: OpenRecord, beat: Beat) -> Self {
        Self { kind: Kind::Own(Full::new(bytes)), record: Some(record), _beat: Some(beat) }
    }

    /// The destination's answer.
    pub(crate) fn carried(download: Download, record: OpenRecord, beat: Beat) -> Self {
        Self { kind: Kind::Carried(Box::new(download)), record: Some(record), _beat: Some(beat) }
    }

    fn close(&mut self) {
        if let Kind::Carried(download) = &mut self.kind {
            download.settle();
        }
        if let Some(record) = self.record.take() {
            record.finish();
        }
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let reply = &mut *self;
        let frame = match &mut reply.kind {
            Kind::Own(full) => ready!(Pin::new(full).poll_frame(cx)).map(|frame| frame.map_err(|never| match never {})),
            Kind::Carried(download) => ready!(download.poll_frame(cx)),
        };
        match &frame {
            Some(Ok(frame)) => {
                if let (Some(data), Some(record)) = (frame.data_ref(), &mut reply.record) {
                    record.count_out(data.len() as u64);
                }
            }
            // The record is dropped unfinished: cut off.
            Some(Err(_)) => drop(reply.record.take()),
            None => reply.close(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Own(full) => full.is_end_stream(),
            Kind::Carried(download) => !download.broken && download.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Own(full) => full.size_hint(),
            Kind::Carried(download) => download.incoming.size_hint(),
        }
    }
}

impl Drop for Reply {
    /// hyper asks a body that has told its end for no further frame.
    fn drop(&mut self) {
        if self.is_end_stream() {
            self.close();
        }
    }
}
