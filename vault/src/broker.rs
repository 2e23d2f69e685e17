//! Hands out credentials, and only against a grant. It keeps what each connection puts on requests and says why one has
//! nothing; it never shows a value in a status, an error or a debug print.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::header::{HeaderName, HeaderValue};
use model::config::{Connection, Presentation};
use model::{ConnectionName, Grant};
use tokio::sync::Semaphore;

use crate::account::{Account, Commons, FLIGHTS_MAX, Standing};
use crate::clock::Clock;
use crate::events::{Change, Events};
use crate::fetch::Fetch;
use crate::oauth::OauthClient;
use crate::prepare::{Prepared, prepare};
use crate::records::AccountRecord;
use crate::source::Sources;
use crate::store::Store;

/// How soon an agent should try again where nobody knows when it will be better.
const RETRY_IN: Duration = Duration::from_secs(30);
/// How long the last token requests may take: one that was lost is asked once more.
const LAND_IN: Duration = Duration::from_secs(25);
/// How often tokens are looked after.
const TEND_EVERY: Duration = Duration::from_secs(1);

/// What is put on one upstream request.
#[derive(Clone)]
pub struct Credential {
    fields: Arc<[(HeaderName, HeaderValue)]>,
    parameter: Option<Arc<(String, secrecy::SecretString)>>,
    generation: u64,
    renewable: bool,
}

impl Credential {
    pub(crate) fn in_fields(fields: Vec<(HeaderName, HeaderValue)>, generation: u64) -> Self {
        Self { fields: fields.into(), parameter: None, generation, renewable: false }
    }

    pub(crate) fn in_query(name: String, value: secrecy::SecretString, generation: u64) -> Self {
        Self { fields: Arc::new([]), parameter: Some(Arc::new((name, value))), generation, renewable: false }
    }

    /// The same, known to have a successor.
    pub(crate) fn renewable(self) -> Self {
        Self { renewable: true, ..self }
    }

    /// Whether another one can be had when a destination refuses this one.
    #[must_use]
    pub fn is_renewable(&self) -> bool {
        self.renewable
    }

    /// The fields that carry it; their values are marked sensitive.
    #[must_use]
    pub fn fields(&self) -> &[(HeaderName, HeaderValue)] {
        &self.fields
    }

    /// The query parameter that carries it, if one does.
    #[must_use]
    pub fn parameter(&self) -> Option<(&str, &secrecy::SecretString)> {
        self.parameter.as_deref().map(|(name, value)| (name.as_str(), value))
    }

    /// Grows whenever the connection's secret changes; sockets that carried an older one are not reused.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credential(.., generation {})", self.generation)
    }
}

/// Why a connection has no credential.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Unavailable {
    reason: String,
    why: Why,
}

/// What would help a connection that has no credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Somebody must authorise the account.
    NotConnected,
    /// Somebody must authorise the account anew.
    NeedsReauth,
    /// Time, or the operator.
    ForNow {
        /// When it may be better.
        retry_in: Duration,
    },
}

impl Unavailable {
    /// Something is wrong that only the operator can mend.
    pub(crate) fn broken(reason: &str) -> Self {
        Self { reason: reason.to_owned(), why: Why::ForNow { retry_in: RETRY_IN } }
    }

    pub(crate) fn for_now(reason: &str, retry_in: Duration) -> Self {
        Self { reason: reason.to_owned(), why: Why::ForNow { retry_in } }
    }

    pub(crate) fn not_connected() -> Self {
        Self { reason: "nobody has authorised it yet".into(), why: Why::NotConnected }
    }

    pub(crate) fn needs_reauth(reason: &str) -> Self {
        Self { reason: reason.to_owned(), why: Why::NeedsReauth }
    }

    /// What would help.
    #[must_use]
    pub fn why(&self) -> Why {
        self.why
    }
}

#[derive(Debug, Clone)]
enum Slot {
    /// One for each presentation that the connection's hosts want.
    Fixed(Arc<[(Presentation, Credential)]>, [u8; 32]),
    Living(Arc<Account>, [u8; 32]),
    Unavailable(Unavailable),
}

/// The credentials of all connections.
#[derive(Debug)]
pub struct Broker {
    commons: Arc<Commons>,
    fetch: Arc<dyn Fetch>,
    slots: ArcSwap<HashMap<ConnectionName, Slot>>,
}

impl Broker {
    /// A broker over this store, which reaches token endpoints this way.
    #[must_use]
    pub fn new(store: Store, fetch: Arc<dyn Fetch>, clock: Arc<dyn Clock>) -> Self {
        let commons = Commons { store, clock, events: Events::default(), flights: Semaphore::new(FLIGHTS_MAX) };
        Self { commons: Arc::new(commons), fetch, slots: ArcSwap::default() }
    }

    /// The credential of the granted connection; waits where its token must be fetched first.
    ///
    /// # Errors
    /// [`Unavailable`] when there is none, with what would help.
    pub async fn credential(&self, grant: &Grant) -> Result<Credential, Unavailable> {
        let connection = &grant.binding().connection;
        let account = match self.slots.load().get(&connection.name) {
            Some(Slot::Fixed(credentials, _)) => {
                let wanted = connection.presentation(grant.destination());
                let fits = credentials.iter().find(|(presentation, _)| presentation == wanted).or(credentials.first());
                return fits
                    .map(|(_, credential)| credential.clone())
                    .ok_or_else(|| Unavailable::broken("it has no credential"));
            }
            Some(Slot::Living(account, _)) => Arc::clone(account),
            Some(Slot::Unavailable(reason)) => return Err(reason.clone()),
            None => return Err(Unavailable::broken("it was not there when the credentials were last read")),
        };
        account.credential(connection.presentation(grant.destination())).await
    }

    /// The next credential after the destination refused one with a 401; `None` where there is no other.
    pub async fn renewed(&self, grant: &Grant, refused: u64) -> Option<Credential> {
        let connection = &grant.binding().connection;
        let account = match self.slots.load().get(&connection.name) {
            Some(Slot::Living(account, _)) => Arc::clone(account),
            _ => return None,
        };
        account.renewed_after(refused, connection.presentation(grant.destination())).await
    }

    /// How a connection stands, and why if not well.
    #[must_use]
    pub fn standing(&self, name: &ConnectionName) -> (Standing, Option<String>) {
        match self.slots.load().get(name) {
            Some(Slot::Fixed(..)) => (Standing::Connected, None),
            Some(Slot::Living(account, _)) => account.standing(),
            Some(Slot::Unavailable(reason)) => (Standing::Error, Some(reason.to_string())),
            None => (Standing::Error, Some("its secret has not been read yet".into())),
        }
    }

    /// The account's label at its provider, where one is known.
    #[must_use]
    pub fn account_label(&self, name: &ConnectionName) -> Option<String> {
        self.record(name)?.account
    }

    pub(crate) fn record(&self, name: &ConnectionName) -> Option<AccountRecord> {
        self.account(name).map(|account| account.record())
    }

    pub(crate) fn client_of(&self, name: &ConnectionName) -> Option<OauthClient> {
        self.account(name)?.client()
    }

    /// Puts an account in force once it is on the disk, or removes it from both.
    pub(crate) async fn replace(&self, name: &ConnectionName, record: Option<AccountRecord>) -> Result<(), String> {
        let account = self.account(name).ok_or("the connection is gone from the configuration")?;
        let change = if record.is_some() { Change::Connected } else { Change::Disconnected };
        account.replace(record, change).await
    }

    pub(crate) fn now(&self) -> i64 {
        self.commons.clock.now()
    }

    pub(crate) fn way_out(&self) -> &Arc<dyn Fetch> {
        &self.fetch
    }

    fn account(&self, name: &ConnectionName) -> Option<Arc<Account>> {
        match self.slots.load().get(name) {
            Some(Slot::Living(account, _)) => Some(Arc::clone(account)),
            _ => None,
        }
    }

    /// What happens to connections.
    #[must_use]
    pub fn events(&self) -> &Events {
        &self.commons.events
    }

    /// Reads every connection's secrets anew. A connection whose secrets did not change keeps its generation, and with it
    /// its warm sockets and its tokens.
    pub fn reload<'a>(&self, connections: impl IntoIterator<Item = &'a Arc<Connection>>, sources: &Sources<'_>) {
        let old = self.slots.load();
        let slots = connections.into_iter().map(|connection| {
            let slot = match prepare(connection, sources, &self.fetch) {
                Ok(prepared) => self.settle(connection, prepared, old.get(&connection.name)),
                Err(reason) => Slot::Unavailable(reason),
            };
            (connection.name.clone(), slot)
        });
        self.slots.store(Arc::new(slots.collect()));
    }

    /// Looks after tokens for as long as the process serves: those in use are renewed before they end.
    pub async fn tend(&self) {
        let mut tick = tokio::time::interval(TEND_EVERY);
        loop {
            tick.tick().await;
            for slot in self.slots.load().values() {
                if let Slot::Living(account, _) = slot {
                    account.tend();
                }
            }
        }
    }

    /// Lets the token requests that are under way end, and what they bring be written down; none begins any more. A provider
    /// may have rotated a refresh token already, and its answer is the only place where the new one is.
    pub async fn land(&self) {
        let all = u32::try_from(FLIGHTS_MAX).unwrap_or(u32::MAX);
        let landed = tokio::time::timeout(LAND_IN, self.commons.flights.acquire_many(all)).await;
        self.commons.flights.close();
        if landed.is_err() {
            tracing::warn!("a token request did not end in time; its connection may have to be authorised anew");
        }
    }

    fn settle(&self, connection: &Connection, prepared: Prepared, old: Option<&Slot>) -> Slot {
        match (prepared, old) {
            (Prepared::Fixed { mark, .. }, Some(Slot::Fixed(kept, before))) if mark == *before => {
                Slot::Fixed(Arc::clone(kept), mark)
            }
            (Prepared::Fixed { mark, make }, _) => {
                let generation = fresh_generation();
                let kinds = presentations(connection).into_iter();
                let made = kinds.map(|kind| make(&kind, generation).map(|credential| (kind, credential)));
                match made.collect::<Result<Vec<_>, _>>() {
                    Ok(credentials) => Slot::Fixed(credentials.into(), mark),
                    Err(reason) => Slot::Unavailable(reason),
                }
            }
            (Prepared::Living { mark, .. }, Some(Slot::Living(kept, before))) if mark == *before => {
                Slot::Living(Arc::clone(kept), mark)
            }
            (Prepared::Living { mark, origin, obtain, timing, first }, old) => {
                // Before the store is read: what has landed by then is in it.
                let predecessor = match old {
                    Some(Slot::Living(before, _)) => before.retire(),
                    _ => None,
                };
                let record = match self.commons.store.account(connection.name.as_str()) {
                    Ok(record) => {
                        first.seeded(record.unwrap_or_default(), origin, obtain.needs_refresh_token(), self.now())
                    }
                    Err(error) => return Slot::Unavailable(Unavailable::broken(&error.to_string())),
                };
                let name = connection.name.clone();
                let commons = Arc::clone(&self.commons);
                let kinds = presentations(connection);
                let generation = fresh_generation();
                let account = Account::open(name, obtain, timing, kinds, generation, record, commons);
                predecessor.into_iter().for_each(|predecessor| account.follow(predecessor));
                Slot::Living(account, mark)
            }
        }
    }
}

/// Every way in which this connection's token is put on requests.
fn presentations(connection: &Connection) -> Vec<Presentation> {
    let Some(integration) = &connection.integration else { return vec![Presentation::Bearer] };
    let mut kinds = vec![integration.presentation.clone()];
    for (_, kind) in &integration.presentation_at {
        if !kinds.contains(kind) {
            kinds.push(kind.clone());
        }
    }
    // A provider of keys alone takes a token of somebody else's as a bearer token.
    if connection.auth.is_fetched() && !kinds.contains(&Presentation::Bearer) {
        kinds.push(Presentation::Bearer);
    }
    kinds
}

/// Never given twice in one process, with room for the steps of a living token, so that no credential ever finds the
/// socket of another.
fn fresh_generation() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed) << 32
}

#[cfg(test)]
pub(crate) mod tests;
