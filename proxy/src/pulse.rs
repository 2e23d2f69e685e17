//! What a wire and the exchanges on it tell each other: whether one is in progress, why a head was refused, and which
//! interim answers wait to be sent. It moves no byte itself.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

use bytes::BytesMut;
use model::refusal::Malformed;

/// Interim answers that wait to be sent, in bytes; more are dropped, which a client never notices.
const INTERIM_BYTES_MAX: usize = 64 * 1024;

/// What the wire and the exchanges on it tell each other.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    exchanges: AtomicU32,
    refused: Mutex<Option<Malformed>>,
    interim: Mutex<Interim>,
}

/// Interim answers (RFC 9110 §15.2) that hyper's server has no way to send.
#[derive(Debug, Default)]
struct Interim {
    bytes: BytesMut,
    waker: Option<Waker>,
}

impl Pulse {
    /// Notes why the head that the marked one stands in for was refused.
    pub(crate) fn note_refused(&self, malformed: Malformed) {
        *lock(&self.refused) = Some(malformed);
    }

    /// Why the marked head was refused; `None` when the agent sent the mark itself.
    pub(crate) fn take_refused(&self) -> Option<Malformed> {
        lock(&self.refused).take()
    }

    /// Has an interim answer sent before the final one.
    pub(crate) fn send_interim(&self, head: &[u8]) {
        let mut interim = lock(&self.interim);
        if interim.bytes.len() + head.len() <= INTERIM_BYTES_MAX {
            interim.bytes.extend_from_slice(head);
        }
        if let Some(waker) = interim.waker.take() {
            waker.wake();
        }
    }

    /// The final answer begins: an interim one that was not sent in time is not sent at all.
    pub(crate) fn end_interim(&self) {
        lock(&self.interim).bytes.clear();
    }

    pub(crate) fn take_interim(&self, cx: &Context<'_>) -> BytesMut {
        let mut interim = lock(&self.interim);
        interim.waker = Some(cx.waker().clone());
        std::mem::take(&mut interim.bytes)
    }

    /// Notes an exchange until the returned value is dropped: silence is then the destination's, not the agent's.
    pub(crate) fn beat(self: &Arc<Self>) -> Beat {
        self.exchanges.fetch_add(1, Ordering::Relaxed);
        Beat(Arc::clone(self))
    }

    pub(crate) fn is_busy(&self) -> bool {
        self.exchanges.load(Ordering::Relaxed) > 0
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An exchange in progress.
#[derive(Debug)]
pub(crate) struct Beat(Arc<Pulse>);

impl Drop for Beat {
    fn drop(&mut self) {
        self.0.exchanges.fetch_sub(1, Ordering::Relaxed);
    }
}
