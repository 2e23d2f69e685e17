//! The stage of these tests: a pushed clock, a provider that answers when it is told to, and a real store on which writes
//! can be made to fail. It judges nothing.

use std::collections::VecDeque;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::sync::oneshot;
use zeroize::Zeroizing;

use super::super::*;
use crate::broker::Why;
use crate::oauth::{Token, TokenFailure};
use crate::ring::{KeyRing, MasterKey};
use crate::seal::Shelf;

/// When these tests begin, in Unix seconds.
pub(super) const START: i64 = 1_800_000_000;
/// The life of a usual token, in seconds.
pub(super) const HOUR: i64 = 3600;

#[derive(Debug)]
pub(super) struct PushedClock(AtomicI64);

impl PushedClock {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(START)))
    }

    pub(super) fn push(&self, seconds: i64) {
        self.0.fetch_add(seconds, Ordering::SeqCst);
    }
}

impl Clock for PushedClock {
    fn now(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// A provider that holds every request until it is told what to answer, or answers at once what was prepared.
#[derive(Debug, Clone)]
pub(super) struct Provider {
    book: Arc<Mutex<Book>>,
    wants_refresh_token: bool,
}

#[derive(Debug, Default)]
struct Book {
    sent: Vec<Option<String>>,
    prepared: VecDeque<TokenOutcome>,
    held: VecDeque<oneshot::Sender<TokenOutcome>>,
}

impl Provider {
    /// Gives tokens for refresh tokens.
    pub(super) fn new() -> Self {
        Self { book: Arc::default(), wants_refresh_token: true }
    }

    /// Gives tokens without refresh tokens.
    pub(super) fn of_clients() -> Self {
        Self { wants_refresh_token: false, ..Self::new() }
    }

    /// The refresh tokens of all requests so far.
    pub(super) fn sent(&self) -> Vec<Option<String>> {
        self.book.lock().unwrap().sent.clone()
    }

    pub(super) fn calls(&self) -> usize {
        self.book.lock().unwrap().sent.len()
    }

    /// Requests that wait for their answer.
    pub(super) fn held(&self) -> usize {
        self.book.lock().unwrap().held.iter().filter(|waiting| !waiting.is_closed()).count()
    }

    /// Answers the next request at once.
    pub(super) fn prepare(&self, outcome: TokenOutcome) {
        self.book.lock().unwrap().prepared.push_back(outcome);
    }

    /// Answers the request that has waited longest.
    pub(super) fn answer(&self, outcome: TokenOutcome) {
        let waiting = self.book.lock().unwrap().held.pop_front().expect("a request waits");
        drop(waiting.send(outcome));
    }
}

impl Obtain for Provider {
    fn obtain<'a>(&'a self, refresh_token: Option<&'a SecretString>, _now: i64) -> Obtaining<'a> {
        let mut book = self.book.lock().unwrap();
        book.sent.push(refresh_token.map(|token| token.expose_secret().to_owned()));
        if let Some(outcome) = book.prepared.pop_front() {
            return Box::pin(std::future::ready(outcome));
        }
        let (answer, answered) = oneshot::channel();
        book.held.push_back(answer);
        Box::pin(async { answered.await.expect("the provider answers in the end") })
    }

    fn needs_refresh_token(&self) -> bool {
        self.wants_refresh_token
    }
}

/// A token that lives so long from `now` on.
pub(super) fn token(access: &str, now: i64, life: i64, refresh: Option<&str>) -> TokenOutcome {
    let access_token = SecretString::from(access);
    let expires_at = Some(now + life);
    outcome(refresh, Ok(Token { access_token, expires_at, scopes: None, not_before_refresh: None }))
}

pub(super) fn outcome(refresh: Option<&str>, judged: Result<Token, TokenFailure>) -> TokenOutcome {
    TokenOutcome { refresh_token: refresh.map(SecretString::from), refresh_token_expires_at: None, judged }
}

pub(super) fn outage(retry_in: Option<Duration>) -> TokenOutcome {
    outcome(None, Err(TokenFailure::Outage { status: 503, retry_in }))
}

pub(super) fn invalid_grant() -> TokenOutcome {
    let failure = TokenFailure::InvalidGrant { code: "invalid_grant".into(), description: String::new() };
    outcome(None, Err(failure))
}

/// What the store knows of an account whose token ends `left` seconds after [`START`].
pub(super) fn kept(access: &str, left: i64, refresh: Option<&str>) -> AccountRecord {
    AccountRecord {
        access_token: Some(access.into()),
        expires_at: Some(START + left),
        obtained_at: START + left - HOUR,
        refresh_token: refresh.map(SecretString::from),
        ..AccountRecord::default()
    }
}

/// A real store in a folder of its own, in memory where the system has such.
pub(super) struct Disk {
    folder: tempfile::TempDir,
}

impl Disk {
    pub(super) fn new() -> Self {
        let memory = PathBuf::from("/dev/shm");
        let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        Self { folder: folder.unwrap() }
    }

    pub(super) fn open(&self) -> Store {
        let ring = KeyRing::new(MasterKey::from_bytes(Zeroizing::new([7; 32])), Vec::new());
        Store::open(self.folder.path(), ring).unwrap()
    }

    /// From here on every write fails: something else stands where the journal is rewritten.
    pub(super) fn breaks(&self, store: &Store) {
        fs::create_dir(self.draft()).unwrap();
        let shelf = Shelf { tree: "ballast", record: "ballast", field: "bytes" };
        let ballast = vec![0; 1_000_000];
        let writes = (0..100).take_while(|_| store.put(shelf, &ballast).is_ok()).count();
        assert!(writes < 100, "the journal is never rewritten");
    }

    pub(super) fn heals(&self) {
        fs::remove_dir(self.draft()).unwrap();
    }

    fn draft(&self) -> PathBuf {
        self.folder.path().join("store.draft")
    }
}

/// One process with its store, its clock and its provider.
pub(super) struct Stage {
    pub(super) disk: Disk,
    pub(super) store: Store,
    pub(super) clock: Arc<PushedClock>,
    pub(super) provider: Provider,
    pub(super) commons: Arc<Commons>,
}

impl Stage {
    pub(super) fn new() -> Self {
        Self::with(Provider::new())
    }

    pub(super) fn with(provider: Provider) -> Self {
        let disk = Disk::new();
        let store = disk.open();
        let clock = PushedClock::new();
        let commons = commons(store.clone(), &clock);
        Self { disk, store, clock, provider, commons }
    }

    /// An account as the store would hand it over.
    pub(super) fn account(&self, record: AccountRecord) -> Arc<Account> {
        self.named("acme", record)
    }

    pub(super) fn named(&self, name: &str, record: AccountRecord) -> Arc<Account> {
        account(name, Box::new(self.provider.clone()), None, record, &self.commons)
    }

    pub(super) fn now(&self) -> i64 {
        self.clock.now()
    }

    /// Time passes, for the wall clock and for the timers.
    pub(super) async fn push(&self, seconds: i64) {
        self.clock.push(seconds);
        tokio::time::advance(Duration::from_secs(seconds.unsigned_abs())).await;
        settle().await;
    }

    pub(super) fn stored(&self, name: &str) -> AccountRecord {
        self.store.account(name).unwrap().unwrap_or_default()
    }

    pub(super) fn stored_refresh_token(&self) -> Option<String> {
        self.stored("acme").refresh_token.map(|token| token.expose_secret().to_owned())
    }

    /// All changes that were told so far.
    pub(super) fn told(&self) -> Vec<Change> {
        self.commons.events.listen(Some(0)).0.into_iter().map(|event| event.change).collect()
    }
}

pub(super) fn commons(store: Store, clock: &Arc<PushedClock>) -> Arc<Commons> {
    let clock: Arc<dyn Clock> = Arc::<PushedClock>::clone(clock);
    Arc::new(Commons { store, clock, events: Events::default(), flights: Semaphore::new(FLIGHTS_MAX) })
}

pub(super) fn account(
    name: &str,
    obtain: Box<dyn Obtain>,
    keep_alive: Option<i64>,
    record: AccountRecord,
    commons: &Arc<Commons>,
) -> Arc<Account> {
    let timing = Timing { early: 60, keep_alive };
    let name = ConnectionName::parse(name).unwrap();
    Account::open(name, obtain, timing, vec![Presentation::Bearer], 1 << 32, record, Arc::clone(commons))
}

/// Lets everything happen that can happen without time passing: paused time moves only once nothing else can.
pub(super) async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

/// The answer that a request gets at once; `None`: it waits.
pub(super) async fn at_once(account: &Arc<Account>) -> Option<Result<Credential, Unavailable>> {
    tokio::time::timeout(Duration::ZERO, account.credential(&Presentation::Bearer)).await.ok()
}

/// The answer that a request gets in the end.
pub(super) async fn request(account: &Arc<Account>) -> Result<String, Unavailable> {
    account.credential(&Presentation::Bearer).await.map(|credential| shown(&credential))
}

/// The token on the credential.
pub(super) fn shown(credential: &Credential) -> String {
    let (_, value) = &credential.fields()[0];
    value.to_str().unwrap().strip_prefix("Bearer ").unwrap().to_owned()
}

/// How long the agent is told to wait.
pub(super) fn wait_of(refused: Result<String, Unavailable>) -> i64 {
    match refused.unwrap_err().why() {
        Why::ForNow { retry_in } => i64::try_from(retry_in.as_secs()).unwrap(),
        other => panic!("not for now: {other:?}"),
    }
}
