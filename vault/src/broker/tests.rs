//! The broker as the proxy sees it: grants in, credentials out, over reloads and restarts.

pub(crate) mod support;

use std::sync::atomic::{AtomicI64, Ordering};

use model::config::{Auth, Integration, OauthGrant};
use model::pattern::HostPattern;
use model::policy::{Cookies, Scrub, WebSocket};
use model::{Ask, Authority, Binding, DeploymentName, Destination, Policy, Scheme};
use zeroize::Zeroizing;

use super::*;
use crate::ring::{KeyRing, MasterKey};

use support::*;

const FIRST: Line = Ok((200, r#"{"access_token":"at-1","expires_in":3600,"refresh_token":"rt-1"}"#));
const SECOND: Line = Ok((200, r#"{"access_token":"at-2","expires_in":3600,"refresh_token":"rt-2"}"#));

#[derive(Debug)]
struct PushedClock(AtomicI64);

impl Clock for PushedClock {
    fn now(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

struct Stage {
    folder: tempfile::TempDir,
    clock: Arc<PushedClock>,
    provider: Scripted,
    broker: Broker,
}

impl Stage {
    fn new(lines: impl IntoIterator<Item = Line>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(PushedClock(AtomicI64::new(1_800_000_000)));
        let provider = Scripted::new(lines);
        let broker = broker(&folder, &clock, &provider);
        Self { folder, clock, provider, broker }
    }

    fn reload(&self, connection: &Connection, secrets: &[(&str, &str)]) {
        let connection = Arc::new(connection.clone());
        with_secrets(secrets, |sources| self.broker.reload([&connection], sources));
    }

    /// The process ends and starts again.
    fn restarted(self) -> Self {
        let Self { folder, clock, provider, broker: before } = self;
        drop(before);
        let broker = broker(&folder, &clock, &provider);
        Self { folder, clock, provider, broker }
    }

    fn push(&self, seconds: i64) {
        self.clock.0.fetch_add(seconds, Ordering::SeqCst);
    }

    async fn asked(&self, connection: &Connection) -> String {
        shown(&self.broker.credential(&grant(connection, "api.acme.test")).await.unwrap())
    }
}

fn broker(folder: &tempfile::TempDir, clock: &Arc<PushedClock>, provider: &Scripted) -> Broker {
    let ring = KeyRing::new(MasterKey::from_bytes(Zeroizing::new([7; 32])), Vec::new());
    let clock: Arc<dyn Clock> = Arc::<PushedClock>::clone(clock);
    Broker::new(Store::open(folder.path(), ring).unwrap(), provider.shared(), clock)
}

fn grant(connection: &Connection, host: &str) -> Grant {
    let deployment = DeploymentName::parse("bot").unwrap();
    let binding = Binding {
        id: "bot/acme".into(),
        deployment: deployment.clone(),
        connection: Arc::new(connection.clone()),
        hosts: vec![HostPattern::parse("*.acme.test").unwrap()],
        paths: Vec::new(),
        methods: Vec::new(),
        rate: None,
        optional: false,
        default: false,
        allow_plaintext: false,
        placeholder: None,
        scrub: Scrub::On,
        cookies: Cookies::Keep,
        websocket: WebSocket::Allow,
    };
    let authority = Authority::parse_with_default(host, 443).unwrap();
    let bound = Policy::new([], [Arc::new(binding)])
        .bind(&deployment, Destination { scheme: Scheme::Https, authority })
        .unwrap_or_else(|_| panic!("{host} is bound"));
    bound.authorize(&Ask { method: "GET", path: "/", connection: None }).unwrap_or_else(|_| panic!("it is allowed"))
}

fn shown(credential: &Credential) -> String {
    let (name, value) = &credential.fields()[0];
    format!("{name}: {}", value.to_str().unwrap())
}

fn bearer() -> Connection {
    connection(Auth::Bearer { token: named("TOKEN") })
}

fn refreshing() -> Connection {
    connection(oauth(OauthGrant::RefreshToken { first: named("FIRST") }))
}

fn client() -> Connection {
    connection(oauth(OauthGrant::ClientCredentials))
}

/// A provider of keys, which it wants in a field of its own, at one host behind `Authorization`.
fn keys(integration: &mut Integration) {
    integration.presentation = Presentation::Header { name: "x-api-key".into(), scheme: None };
    integration.presentation_at = vec![(HostPattern::parse("eu.acme.test").unwrap(), Presentation::Bearer)];
}

#[tokio::test]
async fn a_key_is_presented_as_its_provider_wants_it_at_each_host() {
    let stage = Stage::new([]);
    let connection = at(bearer(), keys);
    stage.reload(&connection, &[]);
    assert_eq!(stage.asked(&connection).await, "x-api-key: token");
    let at_host = stage.broker.credential(&grant(&connection, "eu.acme.test")).await.unwrap();
    assert_eq!(shown(&at_host), "authorization: Bearer token");
}

#[tokio::test(start_paused = true)]
async fn a_fetched_token_at_a_provider_of_keys_is_a_bearer_token_and_is_fetched_once() {
    let stage = Stage::new([FIRST]);
    let connection = at(client(), |integration| {
        integration.presentation = Presentation::Header { name: "x-api-key".into(), scheme: None };
    });
    stage.reload(&connection, &[]);
    for _ in 0..3 {
        assert_eq!(stage.asked(&connection).await, "authorization: Bearer at-1");
    }
    assert_eq!(stage.provider.calls(), 1);
}

#[tokio::test]
async fn an_unchanged_secret_keeps_its_generation_and_a_changed_one_does_not() {
    let stage = Stage::new([]);
    let connection = bearer();
    let grant = grant(&connection, "api.acme.test");
    stage.reload(&connection, &[]);
    let first = stage.broker.credential(&grant).await.unwrap();
    stage.reload(&connection, &[]);
    assert_eq!(stage.broker.credential(&grant).await.unwrap().generation(), first.generation());
    stage.reload(&connection, &[("TOKEN", "other")]);
    let other = stage.broker.credential(&grant).await.unwrap();
    assert!(other.generation() > first.generation());
    assert_eq!(shown(&other), "authorization: Bearer other");
    assert!(stage.broker.renewed(&grant, first.generation()).await.is_none());
}

#[tokio::test]
async fn a_connection_without_its_secret_says_so_and_leaves_the_others_alone() {
    let stage = Stage::new([]);
    stage.reload(&bearer(), &[("TOKEN", "")]);
    let refused = stage.broker.credential(&grant(&bearer(), "api.acme.test")).await.unwrap_err();
    assert!(refused.to_string().contains("TOKEN"), "{refused}");
    assert!(matches!(refused.why(), Why::ForNow { .. }));
    assert_eq!(stage.broker.standing(&bearer().name).0, Standing::Error);
}

#[tokio::test(start_paused = true)]
async fn a_token_survives_a_reload_and_a_restart_without_a_call() {
    let stage = Stage::new([FIRST]);
    stage.reload(&refreshing(), &[]);
    assert_eq!(stage.asked(&refreshing()).await, "authorization: Bearer at-1");
    stage.reload(&refreshing(), &[]);
    assert_eq!(stage.asked(&refreshing()).await, "authorization: Bearer at-1");
    let stage = stage.restarted();
    stage.reload(&refreshing(), &[]);
    assert_eq!(stage.asked(&refreshing()).await, "authorization: Bearer at-1");
    assert_eq!(stage.provider.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_the_newest_refresh_token_is_sent_until_the_first_one_changes() {
    let stage = Stage::new([FIRST, SECOND, FIRST]);
    stage.reload(&refreshing(), &[]);
    stage.asked(&refreshing()).await;
    let stage = stage.restarted();
    stage.reload(&refreshing(), &[]);
    stage.push(3600);
    stage.asked(&refreshing()).await;
    stage.reload(&refreshing(), &[("FIRST", "replaced")]);
    stage.asked(&refreshing()).await;
    let sent =
        |number| stage.provider.sent(number).1.split('&').find(|pair| pair.starts_with("refresh_")).map(str::to_owned);
    assert_eq!(sent(0).as_deref(), Some("refresh_token=first"));
    assert_eq!(sent(1).as_deref(), Some("refresh_token=rt-1"));
    assert_eq!(sent(2).as_deref(), Some("refresh_token=replaced"));
}

#[tokio::test(start_paused = true)]
async fn a_token_had_under_other_settings_is_not_handed_out() {
    let stage = Stage::new([FIRST, SECOND]);
    stage.reload(&client(), &[]);
    stage.asked(&client()).await;
    let stage = stage.restarted();
    stage.reload(&client(), &[("ID", "another")]);
    assert_eq!(stage.asked(&client()).await, "authorization: Bearer at-2");
}

/// A client's secret changes while a renewal is under way: the refresh token that it brings must not be lost.
#[tokio::test(start_paused = true)]
async fn a_reload_during_a_renewal_waits_for_what_it_brings() {
    let stage = Stage::new([]);
    stage.reload(&refreshing(), &[]);
    let grant = grant(&refreshing(), "api.acme.test");
    assert!(tokio::time::timeout(Duration::from_millis(1), stage.broker.credential(&grant)).await.is_err());
    stage.reload(&refreshing(), &[("SECRET", "changed")]);
    stage.reload(&refreshing(), &[("SECRET", "changed-again")]);
    assert!(tokio::time::timeout(Duration::from_millis(1), stage.broker.credential(&grant)).await.is_err());
    assert_eq!(stage.provider.calls(), 1);
    stage.provider.write(FIRST);
    stage.provider.write(SECOND);
    assert_eq!(stage.asked(&refreshing()).await, "authorization: Bearer at-2");
    let (_, sent) = stage.provider.sent(1);
    assert!(sent.contains("refresh_token=rt-1") && sent.contains("client_secret=changed-again"), "{sent}");
}

#[tokio::test(start_paused = true)]
async fn a_refused_token_is_renewed_once_for_the_grant() {
    let stage = Stage::new([FIRST, SECOND]);
    stage.reload(&client(), &[]);
    let grant = grant(&client(), "api.acme.test");
    let first = stage.broker.credential(&grant).await.unwrap();
    assert!(first.is_renewable());
    let second = stage.broker.renewed(&grant, first.generation()).await.unwrap();
    assert_eq!(shown(&second), "authorization: Bearer at-2");
    assert!(stage.broker.renewed(&grant, second.generation()).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_token_in_use_is_renewed_while_the_broker_tends() {
    let stage = Stage::new([FIRST, SECOND]);
    stage.reload(&client(), &[]);
    stage.asked(&client()).await;
    stage.push(3540);
    assert!(tokio::time::timeout(Duration::from_secs(2), stage.broker.tend()).await.is_err());
    assert_eq!(stage.provider.calls(), 2);
    assert_eq!(stage.asked(&client()).await, "authorization: Bearer at-2");
}

#[tokio::test(start_paused = true)]
async fn no_secret_shows_in_what_the_broker_prints() {
    let stage = Stage::new([Ok((200, r#"{"access_token":"canary-at","expires_in":3600}"#))]);
    let secrets = [("SECRET", "canary-secret"), ("FIRST", "canary-first"), ("ID", "id")];
    stage.reload(&refreshing(), &secrets);
    let credential = stage.broker.credential(&grant(&refreshing(), "api.acme.test")).await.unwrap();
    let printed = format!("{:?} {credential:?} {:?}", stage.broker, stage.broker.standing(&refreshing().name));
    assert!(!printed.contains("canary"), "{printed}");
}
