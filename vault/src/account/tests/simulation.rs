//! Ten thousand short histories of one account, drawn from seeds: requests, ends, answers of every kind, lost ones too,
//! crashes, full disks. After each step it is checked what must always hold; a failure names its seed.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::super::*;
use super::support::*;
use crate::broker::Why;
use crate::fetch::FetchError;
use crate::oauth::TokenFailure;

/// Histories of one test; there are four of them, which run side by side.
const HISTORIES: u64 = 2500;
/// The longest history, in steps.
const STEPS_MAX: u64 = 30;
/// An idle refresh token is used so often, in seconds.
const KEEP_ALIVE: i64 = 24 * HOUR;

#[test]
fn what_must_hold_holds_in_the_first_quarter_of_histories() {
    play(0);
}

#[test]
fn what_must_hold_holds_in_the_second_quarter_of_histories() {
    play(1);
}

#[test]
fn what_must_hold_holds_in_the_third_quarter_of_histories() {
    play(2);
}

#[test]
fn what_must_hold_holds_in_the_last_quarter_of_histories() {
    play(3);
}

fn play(quarter: u64) {
    let disk = Disk::new();
    let mut store = Some(disk.open());
    for seed in quarter * HISTORIES..(quarter + 1) * HISTORIES {
        let mut history = History::new(seed, &disk, store.take().expect("the store is open"));
        let mut steps = Vec::new();
        let played = catch_unwind(AssertUnwindSafe(|| {
            for _ in 0..history.dice.below(STEPS_MAX) {
                let step = history.draw();
                steps.push(step);
                history.take(step);
            }
            history.recovers();
        }));
        assert!(played.is_ok(), "history {seed}: {steps:?}");
        store = history.end();
    }
}

#[derive(Debug, Clone, Copy)]
enum Step {
    /// A request comes.
    Ask,
    /// Many requests come at once.
    Crowd,
    /// A request goes away, whatever it waits for.
    GoAway,
    /// An upstream refuses the token that was handed out last.
    Refuse,
    /// Time passes, and the account is tended.
    Pass(i64),
    /// The token in force ends.
    End,
    /// A day passes without a request.
    Rest,
    /// The provider answers.
    Answer(Kind),
    /// The process dies. The request under way reached the provider, or it did not.
    Crash {
        arrived: bool,
    },
    /// Somebody authorises the account.
    Authorise,
    /// From here on nothing can be written.
    DiskBreaks,
    DiskHeals,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Rotated,
    SameRefreshToken,
    NoRefreshToken,
    InvalidGrant,
    Outage,
    Throttled,
    /// The provider did what was asked, and nobody heard of it.
    Lost,
    /// It was never reached.
    Unreached,
    /// A new refresh token beside something that is no token.
    Broken,
}

/// The n-th refresh token of the n-th authorisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Serial {
    grant: u64,
    number: u64,
}

impl Serial {
    fn text(self) -> String {
        format!("rt-{}-{}", self.grant, self.number)
    }

    fn of(text: &str) -> Self {
        let mut parts = text.split('-').skip(1).map(|part| part.parse().unwrap());
        Self { grant: parts.next().unwrap(), number: parts.next().unwrap() }
    }
}

/// What the provider knows, and what the account can know of it.
#[derive(Debug)]
struct World {
    /// The refresh token that the provider takes.
    takes: Serial,
    /// It also takes the one before.
    graceful: bool,
    revoked: bool,
    /// The newest refresh token that was delivered.
    newest: Serial,
    /// `invalid_grant` was delivered, and nobody has authorised the account since.
    refused: bool,
    authorisations: u64,
    /// Every access token: its end and the refresh token that came with it.
    issued: HashMap<String, (i64, Serial)>,
    under_way: Option<Call>,
    at_once: bool,
    wrong: Option<&'static str>,
}

#[derive(Debug)]
struct Call {
    sent: Serial,
    authorisations: u64,
    answer: oneshot::Sender<TokenOutcome>,
}

/// The account's view of the world.
#[derive(Debug, Clone)]
struct Grantor(Arc<Mutex<World>>, Arc<PushedClock>);

impl Obtain for Grantor {
    fn obtain<'a>(&'a self, refresh_token: Option<&'a SecretString>, _now: i64) -> Obtaining<'a> {
        let mut world = self.0.lock().unwrap();
        let sent = Serial::of(refresh_token.expect("a refresh token is sent").expose_secret());
        if world.under_way.as_ref().is_some_and(|call| !call.answer.is_closed()) {
            world.wrong = Some("two calls at a time");
        }
        if sent != world.newest {
            world.wrong = Some("an old refresh token was sent");
        }
        if world.refused {
            world.wrong = Some("a call after invalid_grant");
        }
        let (answer, answered) = oneshot::channel();
        world.under_way = Some(Call { sent, authorisations: world.authorisations, answer });
        if world.at_once {
            world.answer(Kind::Rotated, self.1.now());
        }
        Box::pin(async { answered.await.expect("an answer or a crash") })
    }

    fn needs_refresh_token(&self) -> bool {
        true
    }
}

impl World {
    /// The provider's part, and what the account is told of it.
    fn answer(&mut self, kind: Kind, now: i64) {
        let Some(call) = self.under_way.take() else { return };
        let counts = call.authorisations == self.authorisations;
        let (reply, delivered) = self.judge(kind, call.sent, now);
        if counts && let Some(serial) = delivered {
            self.newest = serial;
        }
        if counts && reply.judged.as_ref().is_err_and(TokenFailure::needs_reauth) {
            self.refused = true;
        }
        drop(call.answer.send(reply));
    }

    fn judge(&mut self, kind: Kind, sent: Serial, now: i64) -> (TokenOutcome, Option<Serial>) {
        match kind {
            Kind::Outage => return (outage(None), None),
            Kind::Throttled => {
                let retry_in = Some(Duration::from_secs(90));
                return (outcome(None, Err(TokenFailure::Throttled { retry_in })), None);
            }
            Kind::Unreached => return (outcome(None, Err(unreachable())), None),
            Kind::InvalidGrant => self.revoked |= sent.grant == self.takes.grant,
            _ => {}
        }
        let is_before = self.graceful && sent.number + 1 == self.takes.number;
        let is_taken = sent.grant == self.takes.grant && !self.revoked && (sent == self.takes || is_before);
        if !is_taken {
            // A strict provider ends the whole authorisation where a used token comes back.
            self.revoked |= sent.grant == self.takes.grant;
            return (invalid_grant(), None);
        }
        match kind {
            Kind::NoRefreshToken => (self.issue(now, None), None),
            Kind::SameRefreshToken => (self.issue(now, Some(self.takes)), Some(self.takes)),
            Kind::Lost => {
                self.takes.number += 1;
                (outcome(None, Err(unreachable())), None)
            }
            Kind::Broken => {
                self.takes.number += 1;
                let failure = TokenFailure::Unusable("is broken".into());
                (outcome(Some(&self.takes.text()), Err(failure)), Some(self.takes))
            }
            _ => {
                self.takes.number += 1;
                (self.issue(now, Some(self.takes)), Some(self.takes))
            }
        }
    }

    fn issue(&mut self, now: i64, refresh: Option<Serial>) -> TokenOutcome {
        let name = format!("at-{}", self.issued.len());
        let beside = refresh.unwrap_or(self.newest.max(Serial { grant: self.takes.grant, number: 0 }));
        self.issued.insert(name.clone(), (now + HOUR, beside));
        token(&name, now, HOUR, refresh.map(Serial::text).as_deref())
    }
}

fn unreachable() -> TokenFailure {
    TokenFailure::Unreachable(FetchError::Timeout("login.acme.test".into()))
}

/// What a request brought in the end.
type Brought = Result<Credential, Unavailable>;

struct History<'d> {
    name: String,
    dice: Dice,
    disk: &'d Disk,
    disk_was_broken: bool,
    disk_is_broken: bool,
    world: Arc<Mutex<World>>,
    clock: Arc<PushedClock>,
    process: Option<Process>,
    waiting: Vec<JoinHandle<Option<Brought>>>,
    handed: Option<u64>,
}

/// What a crash takes away.
struct Process {
    runtime: Runtime,
    account: Arc<Account>,
    commons: Arc<Commons>,
}

impl<'d> History<'d> {
    fn new(seed: u64, disk: &'d Disk, store: Store) -> Self {
        let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let first = Serial { grant: 0, number: 0 };
        let world = World {
            takes: first,
            graceful: dice.one_in(2),
            revoked: false,
            newest: first,
            refused: false,
            authorisations: 0,
            issued: HashMap::new(),
            under_way: None,
            at_once: false,
            wrong: None,
        };
        let mut history = Self {
            name: format!("acme-{seed}"),
            dice,
            disk,
            disk_was_broken: false,
            disk_is_broken: false,
            world: Arc::new(Mutex::new(world)),
            clock: PushedClock::new(),
            process: None,
            waiting: Vec::new(),
            handed: None,
        };
        let record = AccountRecord {
            refresh_token: Some(first.text().into()),
            obtained_at: history.clock.now(),
            ..AccountRecord::default()
        };
        store.save_account(&history.name, &record).unwrap();
        history.start(store);
        history
    }

    fn draw(&mut self) -> Step {
        match self.dice.below(100) {
            0..20 => Step::Ask,
            20..25 => Step::Crowd,
            25..30 => Step::GoAway,
            30..36 => Step::Refuse,
            36..44 => Step::Pass(i64::try_from(self.dice.below(70)).unwrap()),
            44..54 => Step::End,
            54..56 => Step::Rest,
            56..74 => Step::Answer(Kind::Rotated),
            74..87 => Step::Answer(match self.dice.below(12) {
                0 | 1 => Kind::SameRefreshToken,
                2 | 3 => Kind::NoRefreshToken,
                4 => Kind::InvalidGrant,
                5 | 6 => Kind::Outage,
                7 => Kind::Throttled,
                8 | 9 => Kind::Lost,
                10 => Kind::Unreached,
                _ => Kind::Broken,
            }),
            87..95 => Step::Crash { arrived: self.dice.one_in(2) },
            95..98 => Step::Authorise,
            98 if self.dice.one_in(20) => Step::DiskBreaks,
            _ => Step::DiskHeals,
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Ask => self.ask(),
            Step::Crowd => (0..8).for_each(|_| self.ask()),
            Step::GoAway => drop(self.waiting.pop().map(|request| request.abort())),
            Step::Refuse => self.refuse(),
            Step::Pass(seconds) => self.pass(seconds),
            Step::End => {
                let expires_at = self.process().account.record().expires_at;
                self.pass((expires_at.unwrap_or_default() - self.clock.now()).max(0));
            }
            Step::Rest => self.rest(),
            Step::Answer(kind) => self.world().answer(kind, self.clock.now()),
            Step::Crash { arrived } => self.crash(arrived),
            Step::Authorise => self.authorise(),
            Step::DiskBreaks if !self.disk_is_broken => {
                self.disk.breaks(&self.process().commons.store);
                (self.disk_is_broken, self.disk_was_broken) = (true, true);
            }
            Step::DiskHeals if self.disk_is_broken => self.heal(),
            Step::DiskBreaks | Step::DiskHeals => {}
        }
        self.check();
    }

    fn ask(&mut self) {
        let valid = self.valid_token_is_due();
        let account = Arc::clone(&self.process().account);
        if valid {
            let found = self.process().runtime.block_on(at_once(&account));
            assert!(matches!(found, Some(Ok(_))), "a valid token was not handed out at once: {found:?}");
        }
        let asking = async move { Some(account.credential(&Presentation::Bearer).await) };
        let request = self.process().runtime.spawn(asking);
        self.waiting.push(request);
    }

    /// Whether nothing speaks against handing out the token in force at once.
    fn valid_token_is_due(&self) -> bool {
        let record = self.process().account.record();
        let valid = record.access_token.is_some() && record.expires_at.is_some_and(|end| end > self.clock.now());
        valid && !self.world().refused
    }

    fn refuse(&mut self) {
        let Some(generation) = self.handed else { return };
        let account = Arc::clone(&self.process().account);
        let asking = async move { account.renewed_after(generation, &Presentation::Bearer).await.map(Ok) };
        let request = self.process().runtime.spawn(asking);
        self.waiting.push(request);
    }

    fn pass(&self, seconds: i64) {
        let Process { runtime, account, .. } = self.process();
        self.clock.push(seconds);
        runtime.block_on(async {
            tokio::time::advance(Duration::from_secs(seconds.unsigned_abs())).await;
            account.tend();
            settle().await;
        });
    }

    /// An idle refresh token is used in time, unless a call is under way anyhow.
    fn rest(&self) {
        self.pass(KEEP_ALIVE);
        let world = self.world();
        let is_used = world.under_way.is_some();
        assert!(is_used || world.refused || self.disk_was_broken, "the refresh token was not kept alive");
    }

    fn authorise(&mut self) {
        let now = self.clock.now();
        let record = {
            let mut world = self.world();
            let serial = Serial { grant: world.takes.grant + 1, number: 0 };
            let name = format!("at-{}", world.issued.len());
            world.issued.insert(name.clone(), (now + HOUR, serial));
            AccountRecord {
                access_token: Some(name.into()),
                refresh_token: Some(serial.text().into()),
                expires_at: Some(now + HOUR),
                obtained_at: now,
                ..AccountRecord::default()
            }
        };
        let serial = Serial::of(record.refresh_token.as_ref().unwrap().expose_secret());
        if self.disk_is_broken {
            let Process { runtime, account, .. } = self.process();
            assert!(runtime.block_on(account.replace(Some(record), Change::Connected)).is_err());
            return;
        }
        let Process { runtime, account, .. } = self.process();
        runtime.block_on(account.replace(Some(record), Change::Connected)).unwrap();
        let mut world = self.world();
        world.takes = serial;
        world.newest = serial;
        world.revoked = false;
        world.refused = false;
        world.authorisations += 1;
    }

    fn crash(&mut self, arrived: bool) {
        let call = self.world().under_way.take();
        if let Some(call) = call.filter(|_| arrived) {
            let now = self.clock.now();
            drop(self.world().judge(Kind::Rotated, call.sent, now));
        }
        self.waiting.clear();
        self.handed = None;
        if self.disk_is_broken {
            self.heal();
        }
        let store = self.stop();
        let store = if self.dice.one_in(100) {
            drop(store);
            self.disk.open()
        } else {
            store
        };
        if self.disk_was_broken {
            // What the disk did not take is lost with the process.
            let record = store.account(&self.name).unwrap().unwrap();
            let mut world = self.world();
            world.newest = Serial::of(record.refresh_token.unwrap().expose_secret());
            world.refused = record.needs_reauth.is_some();
        }
        self.start(store);
    }

    fn start(&mut self, store: Store) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let record = store.account(&self.name).unwrap().unwrap();
        let commons = commons(store, &self.clock);
        let obtain = Box::new(Grantor(Arc::clone(&self.world), Arc::clone(&self.clock)));
        let account = account(&self.name, obtain, Some(KEEP_ALIVE), record, &commons);
        self.process = Some(Process { runtime, account, commons });
    }

    fn stop(&mut self) -> Store {
        let Process { runtime, account, commons } = self.process.take().expect("the process runs");
        let store = commons.store.clone();
        drop(runtime);
        drop((account, commons));
        store
    }

    fn heal(&mut self) {
        self.disk.heals();
        self.disk_is_broken = false;
    }

    /// What must hold after every step.
    fn check(&mut self) {
        let Process { runtime, .. } = self.process.as_ref().expect("the process runs");
        runtime.block_on(settle());
        let (done, waiting) = std::mem::take(&mut self.waiting).into_iter().partition(|request| request.is_finished());
        self.waiting = waiting;
        let done: Vec<JoinHandle<Option<Brought>>> = done;
        let brought: Vec<_> = done.into_iter().filter_map(|request| runtime.block_on(request).unwrap()).collect();
        brought.into_iter().for_each(|brought| self.judge(brought));
        assert_eq!(self.world().wrong, None);
    }

    fn judge(&mut self, brought: Brought) {
        let refused = self.world().refused && !self.disk_was_broken;
        let credential = match brought {
            Ok(credential) => credential,
            Err(reason) => {
                assert!(!refused || reason.why() == Why::NeedsReauth, "{reason:?}");
                assert!(reason.why() != Why::NotConnected, "{reason:?}");
                assert!(self.disk_was_broken || refused || reason.why() != Why::NeedsReauth, "{reason:?}");
                return;
            }
        };
        assert!(!refused, "a token was handed out after invalid_grant");
        self.handed = Some(credential.generation());
        let (end, beside) = *self.world().issued.get(&shown(&credential)).expect("a token that was issued");
        assert!(end > self.clock.now(), "an ended token was handed out");
        let stored = self.process().commons.store.account(&self.name).unwrap().unwrap();
        let stored = Serial::of(stored.refresh_token.unwrap().expose_secret());
        assert!(stored >= beside, "the refresh token {beside:?} is not on the disk, but {stored:?}");
        let newest = self.world().newest;
        assert!(self.disk_was_broken || stored == newest, "the disk has {stored:?}, not {newest:?}");
        assert!(beside.grant == newest.grant, "a token of an authorisation that was replaced");
    }

    /// Whatever happened, the account comes back by itself, or after one authorisation.
    fn recovers(&mut self) {
        if self.disk_is_broken {
            self.heal();
        }
        for authorised in [false, true] {
            self.world().at_once = true;
            let now = self.clock.now();
            self.world().answer(Kind::Rotated, now);
            self.check();
            for _ in 0..4 {
                self.pass(2 * HOUR);
                self.check();
                let Process { runtime, account, .. } = self.process();
                if let Ok(token) = runtime.block_on(request(account)) {
                    assert_eq!(self.world().wrong, None);
                    assert!(self.world().issued[&token].0 > self.clock.now());
                    return;
                }
            }
            assert!(!authorised && self.world().revoked, "it did not come back: {:?}", self.world());
            self.authorise();
        }
    }

    fn end(mut self) -> Option<Store> {
        Some(self.stop())
    }

    fn process(&self) -> &Process {
        self.process.as_ref().expect("the process runs")
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }
}

/// A xorshift generator: the same seed draws the same history on every machine.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % end
    }

    fn one_in(&mut self, odds: u64) -> bool {
        self.below(odds) == 0
    }
}
