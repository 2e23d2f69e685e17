//! One connection whose token has a life: it hands out the token while it is valid, renews it ahead of its end in a task of
//! its own, and says at the first terminal failure that somebody must authorise it anew. It never hands out an ended token.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::ConnectionName;
use model::config::Presentation;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::{Semaphore, watch};

use crate::broker::{Credential, Unavailable};
use crate::clock::Clock;
use crate::events::{Change, Events};
use crate::oauth::{OauthClient, TokenOutcome};
use crate::presentation::present;
use crate::records::AccountRecord;
use crate::store::Store;

/// Token requests under way at once, over all connections.
pub(crate) const FLIGHTS_MAX: usize = 16;
/// How long a request waits for a token that is being fetched.
const WAIT_IN: Duration = Duration::from_secs(25);
/// The first pause after a failure, in seconds; it doubles with each further one.
const BACKOFF_FIRST_SECONDS: i64 = 1;
/// The longest pause after a failure, in seconds.
const BACKOFF_MAX_SECONDS: i64 = 30;
/// The least time between two renewals that an upstream's 401 forces, in seconds.
const FORCED_EVERY_SECONDS: i64 = 30;
/// An ended token this recent counts as in use, in seconds: it is renewed without anybody asking.
const IN_USE_SECONDS: i64 = 600;

/// What is said of an ended token that nothing but an authorisation can replace.
const NOT_RENEWABLE: &str = "its token has ended and the provider gave no refresh token: connect the account again";

/// How a new token is had.
pub(crate) trait Obtain: Send + Sync + fmt::Debug {
    /// Asks for a token, with the newest refresh token where the grant has one.
    fn obtain<'a>(&'a self, refresh_token: Option<&'a SecretString>, now: i64) -> Obtaining<'a>;

    /// The OAuth client that the provider knows, where the grant has one.
    fn client(&self) -> Option<OauthClient> {
        None
    }

    /// Whether the grant lives on a refresh token: without one, somebody must authorise the account first.
    fn needs_refresh_token(&self) -> bool;
}

/// A token request under way.
pub(crate) type Obtaining<'a> = Pin<Box<dyn Future<Output = TokenOutcome> + Send + 'a>>;

/// When a token is renewed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timing {
    /// So long before its end, in seconds, or a tenth of its life if that is shorter.
    pub(crate) early: i64,
    /// An idle refresh token is used at least so often, in seconds; `None` lets it rest.
    pub(crate) keep_alive: Option<i64>,
}

/// What all accounts share.
#[derive(Debug)]
pub(crate) struct Commons {
    pub(crate) store: Store,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) events: Events,
    pub(crate) flights: Semaphore,
}

/// One connection's token and how it is renewed.
pub(crate) struct Account {
    name: ConnectionName,
    obtain: Box<dyn Obtain>,
    timing: Timing,
    /// The ways in which the token is put on requests; a provider may want another one at some of its hosts.
    presentations: Vec<Presentation>,
    commons: Arc<Commons>,
    /// Whoever holds it may write this account's record.
    pen: tokio::sync::Mutex<()>,
    state: Mutex<State>,
    landed: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    record: AccountRecord,
    /// A record that the disk did not take: kept, and tried again before anything else.
    unsaved: Option<AccountRecord>,
    /// One for each presentation; none while there is no token.
    credentials: Vec<Credential>,
    /// What this account was before its settings changed, where that may still be renewing.
    predecessor: Option<Arc<Account>>,
    /// A successor has taken over: it renews, and this one no longer does.
    retired: bool,
    flying: bool,
    failures: u32,
    retry_at: i64,
    not_before: i64,
    forced_at: i64,
    used_at: i64,
    problem: Option<String>,
    generation: u64,
    /// Grows with each replacement of the account, so that a renewal begun before is told from one begun after.
    epoch: u64,
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Account({})", self.name)
    }
}

/// How a connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Its token is at hand, or can be had.
    Connected,
    /// Nobody has authorised it yet.
    Available,
    /// The provider refuses its refresh token: somebody must authorise it anew.
    NeedsReauth,
    /// Its token cannot be had at the moment.
    Error,
}

impl Account {
    /// An account as the store left it.
    pub(crate) fn open(
        name: ConnectionName,
        obtain: Box<dyn Obtain>,
        timing: Timing,
        presentations: Vec<Presentation>,
        first_generation: u64,
        mut record: AccountRecord,
        commons: Arc<Commons>,
    ) -> Arc<Self> {
        if !obtain.needs_refresh_token() {
            record.needs_reauth = None;
        }
        let account = Self {
            name,
            obtain,
            timing,
            presentations,
            commons,
            pen: tokio::sync::Mutex::default(),
            state: Mutex::new(State { generation: first_generation, ..State::default() }),
            landed: watch::Sender::new(0),
        };
        account.put_in_force(&mut account.state(), record);
        Arc::new(account)
    }

    /// The token, while it is valid; the next one, where it can be had in time.
    pub(crate) async fn credential(self: &Arc<Self>, presentation: &Presentation) -> Result<Credential, Unavailable> {
        let mut landed = self.landed.subscribe();
        let deadline = tokio::time::Instant::now() + WAIT_IN;
        loop {
            landed.mark_unchanged();
            if let Some(found) = self.at_hand(presentation) {
                return found;
            }
            if tokio::time::timeout_at(deadline, landed.changed()).await.is_err() {
                return Err(Unavailable::for_now("its token endpoint does not answer", Duration::from_secs(1)));
            }
        }
    }

    /// An upstream refused the token of that generation: the next one, if there is one or it can be had. At most one
    /// renewal is forced in a while, whatever the upstream says.
    pub(crate) async fn renewed_after(
        self: &Arc<Self>,
        refused: u64,
        presentation: &Presentation,
    ) -> Option<Credential> {
        let mut landed = self.landed.subscribe();
        {
            let mut state = self.state();
            let now = self.commons.clock.now();
            if let Some(current) = self.successor(&state, refused, presentation, now) {
                return Some(current);
            }
            if !state.flying {
                if now < state.forced_at + FORCED_EVERY_SECONDS || !self.may_take_off(&state, now) {
                    return None;
                }
                state.forced_at = now;
                self.take_off(&mut state);
            }
            landed.mark_unchanged();
        }
        tokio::time::timeout(WAIT_IN, landed.changed()).await.ok()?.ok()?;
        let state = self.state();
        self.successor(&state, refused, presentation, self.commons.clock.now())
    }

    /// Renews what is due without anybody asking: a token in use that is about to end, an idle refresh token.
    pub(crate) fn tend(self: &Arc<Self>) {
        let mut state = self.state();
        let now = self.commons.clock.now();
        let alive = self.timing.keep_alive.filter(|_| state.record.refresh_token.is_some());
        let idle_is_due = alive.is_some_and(|every| now - state.record.obtained_at >= every);
        let in_use = now - state.used_at <= IN_USE_SECONDS.max(life(&state.record));
        if (in_use && self.is_due(&state, now)) || idle_is_due || state.unsaved.is_some() || state.predecessor.is_some()
        {
            self.take_off_if_possible(&mut state, now);
        }
    }

    /// How it stands, and why if not well.
    pub(crate) fn standing(&self) -> (Standing, Option<String>) {
        let state = self.state();
        let now = self.commons.clock.now();
        if let Some(reason) = &state.record.needs_reauth {
            return (Standing::NeedsReauth, Some(reason.clone()));
        }
        if self.is_unauthorized(&state) {
            return (Standing::Available, None);
        }
        let ended = state.credentials.is_empty() || is_over(&state.record, now);
        if ended && !self.can_be_renewed(&state) {
            return (Standing::NeedsReauth, Some(NOT_RENEWABLE.into()));
        }
        match (&state.problem, ended) {
            (Some(problem), true) => (Standing::Error, Some(problem.clone())),
            (problem, _) => (Standing::Connected, problem.clone()),
        }
    }

    /// The OAuth client that asks for it, where there is one.
    pub(crate) fn client(&self) -> Option<OauthClient> {
        self.obtain.client()
    }

    /// What is kept of it.
    pub(crate) fn record(&self) -> AccountRecord {
        self.state().record.clone()
    }

    /// Replaces what is kept: by what somebody's authorisation brought, or by nothing. A renewal that is under way, and may
    /// still bring tokens of the account before, no longer counts.
    pub(crate) async fn replace(&self, record: Option<AccountRecord>, change: Change) -> Result<(), String> {
        let _pen = self.pen.lock().await;
        self.save(record.clone()).await?;
        let mut state = self.state();
        state.epoch += 1;
        state.not_before = 0;
        state.unsaved = None;
        state.failures = 0;
        state.retry_at = 0;
        state.problem = None;
        self.put_in_force(&mut state, record.unwrap_or_default());
        self.commons.events.tell(&self.name, change, self.commons.clock.now());
        drop(state);
        self.landed.send_modify(|landings| *landings += 1);
        Ok(())
    }

    /// Writes the record to the disk, or removes it from there.
    async fn save(&self, record: Option<AccountRecord>) -> Result<(), String> {
        let (store, name) = (self.commons.store.clone(), self.name.clone());
        let saved = tokio::task::spawn_blocking(move || match record {
            Some(record) => store.save_account(name.as_str(), &record),
            None => store.forget_account(name.as_str()).map(|_| ()),
        });
        match saved.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Takes over from the account that it was before its settings changed.
    pub(crate) fn follow(&self, predecessor: Arc<Self>) {
        self.state().predecessor = Some(predecessor);
    }

    /// Renews no more, since a successor does. Returns who may know of newer tokens than the store.
    pub(crate) fn retire(self: &Arc<Self>) -> Option<Arc<Self>> {
        let mut state = self.state();
        state.retired = true;
        let knows_more = state.flying || state.unsaved.is_some();
        state.predecessor.take().or_else(|| knows_more.then(|| Arc::clone(self)))
    }

    fn presented(&self, state: &State, presentation: &Presentation) -> Option<Credential> {
        let at = self.presentations.iter().position(|known| known == presentation)?;
        state.credentials.get(at).cloned()
    }

    /// The valid token that came after the refused one, if one did.
    fn successor(&self, state: &State, refused: u64, presentation: &Presentation, now: i64) -> Option<Credential> {
        let is_good = state.record.needs_reauth.is_none() && !is_over(&state.record, now);
        self.presented(state, presentation).filter(|current| is_good && current.generation() != refused)
    }

    fn at_hand(self: &Arc<Self>, presentation: &Presentation) -> Option<Result<Credential, Unavailable>> {
        let mut state = self.state();
        let now = self.commons.clock.now();
        state.used_at = now;
        if let Some(reason) = &state.record.needs_reauth {
            return Some(Err(Unavailable::needs_reauth(reason)));
        }
        if let Some(credential) = self.presented(&state, presentation).filter(|_| !is_over(&state.record, now)) {
            if self.is_due(&state, now) {
                self.take_off_if_possible(&mut state, now);
            }
            return Some(Ok(credential));
        }
        if self.is_unauthorized(&state) {
            return Some(Err(Unavailable::not_connected()));
        }
        if !self.can_be_renewed(&state) {
            return Some(Err(Unavailable::needs_reauth(NOT_RENEWABLE)));
        }
        if !self.presentations.contains(presentation) || (state.retired && !state.flying) {
            return Some(Err(Unavailable::for_now("its settings have just changed", Duration::from_secs(1))));
        }
        if !state.flying && now < state.retry_at {
            let wait = Duration::from_secs(u64::try_from(state.retry_at - now).unwrap_or(1));
            let problem = state.problem.clone().unwrap_or_else(|| "its token endpoint failed".into());
            return Some(Err(Unavailable::for_now(&problem, wait)));
        }
        self.take_off_if_possible(&mut state, now);
        None
    }

    fn is_unauthorized(&self, state: &State) -> bool {
        self.obtain.needs_refresh_token() && state.record.refresh_token.is_none() && state.credentials.is_empty()
    }

    /// Whether the token should be renewed by now.
    fn is_due(&self, state: &State, now: i64) -> bool {
        let Some(expires_at) = state.record.expires_at else { return false };
        let early = self.timing.early.min(life(&state.record) / 10);
        now >= expires_at - early && now >= state.not_before
    }

    /// Whether the provider may give another token without anybody's authorisation.
    fn can_be_renewed(&self, state: &State) -> bool {
        !self.obtain.needs_refresh_token() || state.record.refresh_token.is_some()
    }

    fn may_take_off(&self, state: &State, now: i64) -> bool {
        let is_asked_for = state.record.needs_reauth.is_none() && self.can_be_renewed(state);
        let has_work = is_asked_for || state.unsaved.is_some() || state.predecessor.is_some();
        has_work && !state.flying && !state.retired && now >= state.retry_at
    }

    fn take_off_if_possible(self: &Arc<Self>, state: &mut State, now: i64) {
        if self.may_take_off(state, now) {
            self.take_off(state);
        }
    }

    /// Starts the one renewal, in a task that no request's end can cancel.
    fn take_off(self: &Arc<Self>, state: &mut State) {
        state.flying = true;
        let flight = Flight { account: Arc::clone(self) };
        tokio::spawn(flight.fly());
    }

    async fn renew(&self) {
        let Ok(_permit) = self.commons.flights.acquire().await else { return };
        let predecessor = self.state().predecessor.take();
        if let Some(predecessor) = predecessor {
            self.inherit(&predecessor).await;
        }
        // Read here, inside the flight: what was read earlier might be what another flight has used up.
        let (unsaved, before, epoch) = {
            let mut state = self.state();
            (state.unsaved.take(), state.record.clone(), state.epoch)
        };
        if let Some(record) = unsaved {
            if self.keep(record, epoch).await {
                self.recover();
            }
            return;
        }
        if before.needs_reauth.is_some() || !self.can_be_renewed(&self.state()) {
            return;
        }
        let now = self.commons.clock.now();
        let TokenOutcome { refresh_token, judged, .. } = self.obtain.obtain(before.refresh_token.as_ref(), now).await;
        let now = self.commons.clock.now();
        let rotated = refresh_token.is_some();
        let mut record = before;
        record.refresh_token = refresh_token.or(record.refresh_token);
        match judged {
            Ok(token) => {
                record.access_token = Some(token.access_token);
                record.expires_at = token.expires_at;
                record.obtained_at = now;
                record.scopes = token.scopes.or(record.scopes);
                if self.keep(record, epoch).await {
                    self.state().not_before = token.not_before_refresh.unwrap_or_default();
                    self.recover();
                }
            }
            // Where no refresh token is involved, there is nothing that somebody could authorise anew.
            Err(failure) if failure.needs_reauth() && self.obtain.needs_refresh_token() => {
                record.needs_reauth = Some(failure.to_string());
                self.keep(record, epoch).await;
                if self.state().epoch == epoch {
                    self.commons.events.tell(&self.name, Change::StatusChanged("needs_reauth"), now);
                }
            }
            Err(failure) => {
                // Whatever else the answer was, the refresh token in it is the only one that still counts.
                let is_kept = !rotated || self.keep(record, epoch).await;
                if is_kept && self.state().epoch == epoch {
                    self.fail(&failure.to_string(), failure.retry_in());
                }
            }
        }
    }

    /// Waits for what the predecessor has under way, and takes over what came of it.
    async fn inherit(&self, predecessor: &Account) {
        let mut landed = predecessor.landed.subscribe();
        while predecessor.state().flying {
            if landed.changed().await.is_err() {
                break;
            }
        }
        let (newest, unsaved) = {
            let mut state = predecessor.state();
            (state.record.clone(), state.unsaved.take())
        };
        let mut state = self.state();
        // An authorisation, or a first refresh token that the operator has replaced, goes before what was.
        if state.epoch > 0 || state.record.seed != newest.seed {
            return;
        }
        let origin = state.record.origin;
        state.unsaved = unsaved.map(|record| record.under(origin));
        self.put_in_force(&mut state, newest.under(origin));
    }

    /// Puts the record on the disk, and only then in force; says whether that was done.
    async fn keep(&self, record: AccountRecord, epoch: u64) -> bool {
        let _pen = self.pen.lock().await;
        if self.state().epoch != epoch {
            return false;
        }
        let saved = self.save(Some(record.clone())).await;
        let mut state = self.state();
        let Err(problem) = saved else {
            let published = self.publish(&mut state, record);
            drop(state);
            return published.map_err(|reason| self.fail(&reason.to_string(), None)).is_ok();
        };
        tracing::error!(connection = %self.name, %problem, "a new token could not be written down; it is kept in memory and tried again");
        state.unsaved = Some(record);
        drop(state);
        self.fail("its new token could not be written down", None);
        false
    }

    /// All is well again.
    fn recover(&self) {
        let mut state = self.state();
        state.failures = 0;
        state.retry_at = 0;
        let was_failing = state.problem.take().is_some();
        if was_failing && state.record.needs_reauth.is_none() {
            self.commons.events.tell(&self.name, Change::StatusChanged("connected"), self.commons.clock.now());
        }
    }

    fn put_in_force(&self, state: &mut State, record: AccountRecord) {
        if let Err(reason) = self.publish(state, record) {
            state.problem = Some(reason.to_string());
        }
    }

    /// Takes up the record, and makes its credentials where the token is another one.
    fn publish(&self, state: &mut State, record: AccountRecord) -> Result<(), Unavailable> {
        let same = |old: &Option<SecretString>| match (old, &record.access_token) {
            (Some(old), Some(new)) => old.expose_secret() == new.expose_secret(),
            _ => false,
        };
        let is_another = !same(&state.record.access_token);
        state.record = record;
        if !is_another {
            return Ok(());
        }
        state.generation += 1;
        state.credentials.clear();
        let Some(token) = &state.record.access_token else { return Ok(()) };
        let made = |kind| present(kind, token, state.generation).map(Credential::renewable);
        state.credentials = self.presentations.iter().map(made).collect::<Result<_, _>>()?;
        Ok(())
    }

    fn fail(&self, problem: &str, told: Option<Duration>) {
        let mut state = self.state();
        let now = self.commons.clock.now();
        let pause = BACKOFF_FIRST_SECONDS << state.failures.min(5);
        let told = told.and_then(|span| i64::try_from(span.as_secs()).ok()).unwrap_or_default();
        state.failures = state.failures.saturating_add(1);
        state.retry_at = now + pause.min(BACKOFF_MAX_SECONDS).max(told) + jitter(&self.name, state.failures);
        if state.problem.replace(problem.to_owned()).is_none() {
            self.commons.events.tell(&self.name, Change::StatusChanged("error"), now);
        }
        tracing::warn!(connection = %self.name, problem, "its token could not be renewed");
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One renewal under way. However it ends, those who wait are told.
struct Flight {
    account: Arc<Account>,
}

impl Flight {
    async fn fly(self) {
        self.account.renew().await;
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.account.state().flying = false;
        self.account.landed.send_modify(|landings| *landings += 1);
    }
}

impl AccountRecord {
    /// The same tokens under other settings: what was had under the old ones is not presented.
    fn under(self, origin: Option<[u8; 32]>) -> Self {
        if self.origin == origin { self } else { Self { access_token: None, expires_at: None, origin, ..self } }
    }
}

fn is_over(record: &AccountRecord, now: i64) -> bool {
    record.expires_at.is_some_and(|expires_at| now >= expires_at)
}

/// How long the token lives in all, in seconds.
fn life(record: &AccountRecord) -> i64 {
    record.expires_at.map_or(0, |expires_at| (expires_at - record.obtained_at).max(0))
}

/// Up to three seconds that differ between connections, so that they do not all come back at once.
fn jitter(name: &ConnectionName, failures: u32) -> i64 {
    let sum: i64 = name.as_str().bytes().map(i64::from).sum();
    (sum + i64::from(failures)) % 4
}

#[cfg(test)]
mod tests;
