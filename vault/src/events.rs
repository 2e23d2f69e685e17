//! What happens to connections, told to whoever listens: agents over their stream, operators in the console. An event
//! names a connection and its state; it never holds a token.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use model::ConnectionName;
use tokio::sync::broadcast;

/// Events that are remembered for a listener that comes back.
const REMEMBERED_MAX: usize = 1000;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Somebody authorised the connection.
    Connected,
    /// Its tokens were deleted.
    Disconnected,
    /// Its settings or its account changed.
    Changed,
    /// It works again, or no longer does.
    StatusChanged(&'static str),
}

/// One event.
#[derive(Debug, Clone)]
pub struct Event {
    /// Grows by one with each event of this process.
    pub id: u64,
    /// When, in Unix seconds.
    pub at: i64,
    /// Which connection.
    pub connection: ConnectionName,
    /// What happened to it.
    pub change: Change,
}

/// The stream of events.
#[derive(Debug, Clone)]
pub struct Events {
    sender: broadcast::Sender<Event>,
    remembered: Arc<Mutex<VecDeque<Event>>>,
}

impl Default for Events {
    fn default() -> Self {
        Self { sender: broadcast::channel(REMEMBERED_MAX).0, remembered: Arc::default() }
    }
}

impl Events {
    /// Tells what happened.
    pub(crate) fn tell(&self, connection: &ConnectionName, change: Change, at: i64) {
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        let id = remembered.back().map_or(1, |last| last.id + 1);
        let event = Event { id, at, connection: connection.clone(), change };
        if remembered.len() == REMEMBERED_MAX {
            remembered.pop_front();
        }
        remembered.push_back(event.clone());
        // Nobody listening is no failure.
        let _ = self.sender.send(event);
    }

    /// All events from now on, after those that are remembered with a greater id.
    #[must_use]
    pub fn listen(&self, after: Option<u64>) -> (Vec<Event>, broadcast::Receiver<Event>) {
        let remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        let missed = after.map(|after| remembered.iter().filter(|event| event.id > after).cloned().collect());
        (missed.unwrap_or_default(), self.sender.subscribe())
    }
}
