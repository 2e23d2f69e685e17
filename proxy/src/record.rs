//! The access record: one JSON line for each request and tunnel, opened at the door, closed when the body ends or the
//! request dies. It holds no query, no field value and no body, and is written off the worker's path.

use std::fmt::Display;
use std::io::{self, Write};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Instant;

use jiff::Timestamp;
use model::{Caller, ConnectionName, DeploymentName, Destination, Refusal};
use serde::{Serialize, Serializer};

/// Records that wait for the writer; beyond that they are counted and dropped rather than slowing a request.
const WAITING_RECORDS_MAX: usize = 64 * 1024;
/// The longest path in a record, in bytes.
const PATH_BYTES_MAX: usize = 1024;

/// How a request or tunnel ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// The answer was delivered whole.
    Complete,
    /// postern answered itself.
    Refused,
    /// The agent went away, the destination broke off, or the process ended first.
    CutOff,
}

/// What kind of exchange a record is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// One HTTP request.
    Request,
    /// One CONNECT that opened no interception: refused, or relayed blindly.
    Tunnel,
}

/// The content of one record.
#[derive(Debug, Serialize)]
pub(crate) struct Record {
    at: Timestamp,
    request_id: String,
    kind: Kind,
    source: IpAddr,
    #[serde(serialize_with = "as_text")]
    deployment: Option<DeploymentName>,
    scheme: Option<&'static str>,
    host: Option<String>,
    method: Option<String>,
    path: Option<String>,
    binding: Option<String>,
    #[serde(serialize_with = "as_text")]
    connection: Option<ConnectionName>,
    status: Option<u16>,
    error: Option<&'static str>,
    outcome: Outcome,
    bytes_in: u64,
    bytes_out: u64,
    first_byte_ms: Option<f64>,
    duration_ms: f64,
}

fn as_text<T: Display, S: Serializer>(value: &Option<T>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => serializer.collect_str(value),
        None => serializer.serialize_none(),
    }
}

/// Hands records to the writer.
#[derive(Debug)]
pub struct Recorder {
    sender: SyncSender<Message>,
    lost: AtomicU64,
    number: AtomicU64,
    run: u64,
}

enum Message {
    Record(Box<Record>),
    Reopen,
    Close,
}

/// Where records go; called again to reopen a rotated file.
pub type OpenSink = Box<dyn FnMut() -> io::Result<Box<dyn Write + Send>> + Send>;

impl Recorder {
    /// Starts the writer's thread. It ends when the recorder is closed or dropped.
    ///
    /// # Errors
    /// When the sink cannot be opened or the thread not be started.
    pub fn start(mut open: OpenSink, run: u64) -> io::Result<(Arc<Self>, JoinHandle<()>)> {
        let sink = open()?;
        let (sender, receiver) = sync_channel(WAITING_RECORDS_MAX);
        let writer =
            std::thread::Builder::new().name("records".into()).spawn(move || write_all(&receiver, sink, open))?;
        Ok((Arc::new(Self { sender, lost: AtomicU64::new(0), number: AtomicU64::new(0), run }), writer))
    }

    /// Opens the file anew, after it was rotated.
    pub fn reopen(&self) {
        let _ = self.sender.try_send(Message::Reopen);
    }

    /// Ends the writer once all that was handed over is written.
    pub fn close(&self) {
        let _ = self.sender.send(Message::Close);
    }

    /// Records dropped because the writer could not keep up.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Opens a record at the door.
    pub(crate) fn open(self: &Arc<Self>, kind: Kind, source: IpAddr) -> OpenRecord {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let record = Record {
            at: Timestamp::now(),
            request_id: format!("{:016x}{number:08x}", self.run),
            kind,
            source,
            deployment: None,
            scheme: None,
            host: None,
            method: None,
            path: None,
            binding: None,
            connection: None,
            status: None,
            error: None,
            outcome: Outcome::CutOff,
            bytes_in: 0,
            bytes_out: 0,
            first_byte_ms: None,
            duration_ms: 0.0,
        };
        OpenRecord {
            record: Some(Box::new(record)),
            began_at: Instant::now(),
            uploaded: Arc::default(),
            recorder: Arc::clone(self),
        }
    }

    fn hand_over(&self, record: Box<Record>) {
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) =
            self.sender.try_send(Message::Record(record))
        {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn write_all(receiver: &Receiver<Message>, mut sink: Box<dyn Write + Send>, mut open: OpenSink) {
    let mut line = Vec::with_capacity(1024);
    while let Ok(message) = receiver.recv() {
        let mut next = Some(message);
        while let Some(message) = next {
            match message {
                Message::Record(record) => {
                    line.clear();
                    if serde_json::to_writer(&mut line, &record).is_ok() {
                        line.push(b'\n');
                        report(sink.write_all(&line));
                    }
                }
                Message::Reopen => match open() {
                    Ok(anew) => sink = anew,
                    Err(error) => tracing::error!(%error, "the access log could not be reopened; the old file is kept"),
                },
                Message::Close => {
                    report(sink.flush());
                    return;
                }
            }
            next = receiver.try_recv().ok();
        }
        // One flush for all that had gathered.
        report(sink.flush());
    }
}

fn report(written: io::Result<()>) {
    if let Err(error) = written {
        tracing::error!(%error, "an access record could not be written");
    }
}

/// A record in the making. Dropped, it is written as it stands: cut off, unless it was finished.
#[derive(Debug)]
pub(crate) struct OpenRecord {
    record: Option<Box<Record>>,
    began_at: Instant,
    uploaded: Arc<AtomicU64>,
    recorder: Arc<Recorder>,
}

impl OpenRecord {
    pub(crate) fn request_id(&self) -> &str {
        self.record.as_ref().map_or("", |record| &record.request_id)
    }

    /// Counts the request's body.
    pub(crate) fn uploaded(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.uploaded)
    }

    pub(crate) fn note_caller(&mut self, caller: &Caller) {
        self.edit(|record| record.deployment = Some(caller.deployment().clone()));
    }

    pub(crate) fn note_request(&mut self, method: &str, path: &str) {
        let end = path.floor_char_boundary(PATH_BYTES_MAX);
        self.edit(|record| {
            record.method = Some(method.to_owned());
            record.path = (end > 0).then(|| path[..end].to_owned());
        });
    }

    pub(crate) fn note_destination(&mut self, destination: &Destination) {
        self.edit(|record| {
            record.scheme = Some(destination.scheme.as_str());
            record.host = Some(destination.host_text());
        });
    }

    pub(crate) fn note_binding(&mut self, id: &str, connection: &ConnectionName) {
        self.edit(|record| {
            record.binding = Some(id.to_owned());
            record.connection = Some(connection.clone());
        });
    }

    pub(crate) fn note_refusal(&mut self, refusal: &Refusal) {
        self.edit(|record| record.error = Some(refusal.code()));
        self.note_status(refusal.status());
    }

    pub(crate) fn note_status(&mut self, status: u16) {
        let waited = milliseconds(self.began_at);
        self.edit(|record| {
            record.status = Some(status);
            record.first_byte_ms = Some(waited);
        });
    }

    pub(crate) fn count_out(&mut self, bytes: u64) {
        self.edit(|record| record.bytes_out += bytes);
    }

    /// Closes the record: the answer was delivered whole.
    pub(crate) fn finish(mut self) {
        self.edit(|record| {
            record.outcome = if record.error.is_some() { Outcome::Refused } else { Outcome::Complete };
        });
    }

    /// Leaves no record: what happens next has records of its own.
    pub(crate) fn discard(mut self) {
        self.record = None;
    }

    fn edit(&mut self, change: impl FnOnce(&mut Record)) {
        if let Some(record) = &mut self.record {
            change(record);
        }
    }
}

impl Drop for OpenRecord {
    fn drop(&mut self) {
        let Some(mut record) = self.record.take() else { return };
        record.bytes_in = self.uploaded.load(Ordering::Relaxed);
        record.duration_ms = milliseconds(self.began_at);
        self.recorder.hand_over(record);
    }
}

fn milliseconds(since: Instant) -> f64 {
    (since.elapsed().as_secs_f64() * 1e6).round() / 1e3
}
