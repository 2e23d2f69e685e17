//! Measures how long one direction of a socket has been silent. It closes nothing; whoever asks decides what silence means.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// Measures one direction's silence. The timer is armed rarely: when it fires early, it is set to the rest.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    since: Option<Instant>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Watch {
    /// The direction moved: silence begins anew with the next wait.
    pub(crate) fn rest(&mut self) {
        self.since = None;
    }

    /// Ready once the direction has been silent for that long.
    pub(crate) fn poll_for(&mut self, span: Duration, cx: &mut Context<'_>) -> Poll<()> {
        let since = *self.since.get_or_insert_with(Instant::now);
        self.poll_until(since + span, cx)
    }

    pub(crate) fn poll_until(&mut self, deadline: Instant, cx: &mut Context<'_>) -> Poll<()> {
        if Instant::now() >= deadline {
            return Poll::Ready(());
        }
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
        while sleep.as_mut().poll(cx).is_ready() {
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}
