//! Waiting for events, each with one deadline. It refuses to wait for ever, and to guess how long something takes.

use std::future::Future;
use std::time::Duration;

/// How long any one event may take on a busy machine before the test has failed.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// How often a condition without an event of its own (a file, another process's output) is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Waits for a future, at most for [`DEADLINE`].
///
/// # Panics
/// When the deadline passes; the message names what was awaited.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(value) => value,
        Err(_) => panic!("still waiting for {what} after {DEADLINE:?}"),
    }
}

/// Waits until `look` finds something, at most for [`DEADLINE`].
///
/// # Panics
/// When the deadline passes; the message names what was awaited.
pub async fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let mut tick = tokio::time::interval(LOOK_EVERY);
    within(what, async {
        loop {
            tick.tick().await;
            if let Some(found) = look() {
                return found;
            }
        }
    })
    .await
}
