//! The callers whose sockets are open. It counts them for each deployment and cuts those that a revocation or a reload no
//! longer knows, at once and wherever they are.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::{Caller, DeploymentName, Identities, Refusal};
use tokio_util::sync::CancellationToken;

const OVERLOAD_RETRY_IN: Duration = Duration::from_secs(1);

/// All callers that are present.
#[derive(Debug, Default)]
pub(crate) struct Callers {
    present: Mutex<Present>,
}

#[derive(Debug, Default)]
struct Present {
    next: u64,
    callers: HashMap<u64, (Caller, CancellationToken)>,
    counts: HashMap<DeploymentName, usize>,
}

/// One caller's presence; it ends when dropped.
#[derive(Debug)]
pub(crate) struct Presence {
    id: u64,
    caller: Caller,
    cut: CancellationToken,
    callers: Arc<Callers>,
}

impl Presence {
    pub(crate) fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Ends when the caller is no longer known.
    pub(crate) async fn cut(&self) {
        self.cut.cancelled().await;
    }
}

impl Callers {
    /// Lets a caller in.
    ///
    /// # Errors
    /// [`Refusal::Overloaded`] when its deployment holds as many sockets as it may.
    pub(crate) fn enter(self: &Arc<Self>, caller: Caller, sockets_max: usize) -> Result<Presence, Refusal> {
        let mut present = self.present();
        let count = present.counts.entry(caller.deployment().clone()).or_default();
        if *count >= sockets_max {
            return Err(Refusal::Overloaded { retry_in: OVERLOAD_RETRY_IN });
        }
        *count += 1;
        let id = present.next;
        present.next += 1;
        let cut = CancellationToken::new();
        present.callers.insert(id, (caller.clone(), cut.clone()));
        Ok(Presence { id, caller, cut, callers: Arc::clone(self) })
    }

    /// Cuts every caller that would not be recognised any more.
    pub(crate) fn review(&self, identities: &Identities) {
        for (caller, cut) in self.present().callers.values() {
            if !identities.still_knows(caller) {
                cut.cancel();
            }
        }
    }

    fn present(&self) -> MutexGuard<'_, Present> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        let mut present = self.callers.present();
        present.callers.remove(&self.id);
        if let Some(count) = present.counts.get_mut(self.caller.deployment()) {
            *count -= 1;
            if *count == 0 {
                present.counts.remove(self.caller.deployment());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller() -> Caller {
        let mut identities = Identities::default();
        identities.add_source("10.0.0.0/8".parse().unwrap(), DeploymentName::parse("bot").unwrap());
        identities.identify(None, "10.1.1.1".parse().unwrap(), "127.0.0.1:1".parse().unwrap()).unwrap()
    }

    #[test]
    fn a_deployment_holds_no_more_sockets_than_it_may() {
        let callers = Arc::new(Callers::default());
        let first = callers.enter(caller(), 1).unwrap();
        assert_eq!(callers.enter(caller(), 1).unwrap_err().code(), "overloaded");
        drop(first);
        assert!(callers.enter(caller(), 1).is_ok());
    }

    #[tokio::test]
    async fn a_caller_that_is_no_longer_known_is_cut() {
        let callers = Arc::new(Callers::default());
        let presence = callers.enter(caller(), 9).unwrap();
        callers.review(&Identities::default());
        presence.cut().await;
    }
}
