//! The words of these tests beside the harness's own: the usual origin, the binary under test, the access record that a
//! refusal must leave. It decides nothing about what is sent.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use support::{Agent, Message, Postern, Settings, Upstream, Wire, assert_refused, upstream, within};

/// The bound host.
pub(crate) const HOST: &str = "api.notion.test";
/// The bound host as a CONNECT target.
pub(crate) const TARGET: &str = "api.notion.test:443";
/// A request to the bound host.
pub(crate) const URL: &str = "https://api.notion.test/v1/users";
/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_postern");

/// A host that no test binds: a refusal there tells that all earlier records are written.
const SENTINEL: &str = "sentinel.test";
/// How often a change that has no event of its own is asked for.
const ASK_EVERY: Duration = Duration::from_millis(20);

/// One origin, one postern bound to it, one agent.
pub(crate) struct Scene {
    pub(crate) upstream: Upstream,
    pub(crate) postern: Postern,
    pub(crate) agent: Agent,
}

/// A postern that runs the binary under test.
pub(crate) fn postern() -> Settings {
    support::postern(PROGRAM)
}

/// `bot` bound to an origin that answers `200 ok`.
pub(crate) async fn scene() -> Scene {
    scene_with(upstream(HOST).await).await
}

/// `bot` bound to this origin.
pub(crate) async fn scene_with(upstream: Upstream) -> Scene {
    let settings = postern().bound("notion", &upstream);
    scene_of(upstream, settings).await
}

/// `bot` bound to an origin that answers `200 ok`, with this binding.
pub(crate) async fn scene_bound_as(binding: &str) -> Scene {
    let upstream = upstream(HOST).await;
    let settings = postern().connection("notion", &[HOST]).reached_with(&["notion"], &upstream).binding(binding);
    scene_of(upstream, settings).await
}

/// `bot` bound to an origin that answers `200 ok`, with this limit.
pub(crate) async fn scene_limited(name: &str, value: &str) -> Scene {
    let upstream = upstream(HOST).await;
    let settings = postern().bound("notion", &upstream).limit(name, value);
    scene_of(upstream, settings).await
}

/// These settings, running.
pub(crate) async fn scene_of(upstream: Upstream, settings: Settings) -> Scene {
    let postern = settings.start().await;
    let agent = postern.agent("bot");
    Scene { upstream, postern, agent }
}

impl Scene {
    /// The inside of an intercepted tunnel to the bound host.
    pub(crate) async fn tunnel(&self) -> Wire {
        self.agent.intercepted(TARGET).await
    }

    /// What the proxy answers to these bytes inside TLS.
    pub(crate) async fn exchange(&self, bytes: impl AsRef<[u8]>) -> Message {
        self.tunnel().await.exchange(bytes).await
    }

    /// Asserts that the reply is this refusal, and that it alone was recorded, for `bot` at the bound host.
    pub(crate) async fn refused(&self, reply: &Message, status: u16, code: &str) -> Value {
        self.refused_at(HOST, reply, status, code).await
    }

    /// As [`Scene::refused`], at another host.
    pub(crate) async fn refused_at(&self, host: &str, reply: &Message, status: u16, code: &str) -> Value {
        assert_refused(reply, status, code);
        let record = self.only_refusal_recorded(code).await;
        assert_eq!(record["status"], status, "{record}");
        assert_eq!((&record["deployment"], &record["host"]), (&"bot".into(), &host.into()), "{record}");
        let body = body(reply);
        assert_eq!((&body["deployment"], &body["host"]), (&"bot".into(), &host.into()), "{reply}");
        assert_eq!(body["request_id"], record["request_id"]);
        record
    }

    /// The only refusal that was recorded so far, which must have this code.
    pub(crate) async fn only_refusal_recorded(&self, code: &str) -> Value {
        only_refusal_recorded(&self.postern, code).await
    }
}

/// The only refusal that was recorded so far, which must have this code.
pub(crate) async fn only_refusal_recorded(postern: &Postern, code: &str) -> Value {
    let refusals: Vec<Value> = records(postern).await.into_iter().filter(|record| !record["error"].is_null()).collect();
    assert_eq!(refusals.len(), 1, "not exactly one refusal was recorded: {refusals:#?}");
    assert_eq!((&refusals[0]["error"], &refusals[0]["outcome"]), (&code.into(), &"refused".into()), "{}", refusals[0]);
    refusals[0].clone()
}

/// Every record of what has ended by now.
pub(crate) async fn records(postern: &Postern) -> Vec<Value> {
    let before = of_sentinel(&postern.records());
    let reply = postern.agent("bot").get(&format!("https://{SENTINEL}/")).await;
    assert_refused(&reply, 403, "binding_missing");
    support::eventually("the sentinel's record", || (of_sentinel(&postern.records()) > before).then_some(())).await;
    postern.records().into_iter().filter(|record| record["host"] != SENTINEL).collect()
}

fn of_sentinel(records: &[Value]) -> usize {
    records.iter().filter(|record| record["host"] == SENTINEL).count()
}

/// The JSON of an answer.
pub(crate) fn body(reply: &Message) -> Value {
    serde_json::from_slice(&reply.body).unwrap_or_else(|_| panic!("no JSON in\n{reply}"))
}

/// The refusal's code, or nothing.
pub(crate) fn code(reply: &Message) -> Option<&str> {
    reply.field("x-postern-error")
}

/// Asks again and again until the reply is as wanted.
///
/// # Panics
/// When it is not within the deadline.
pub(crate) async fn eventually_answered(agent: &Agent, url: &str, wanted: impl Fn(&Message) -> bool) -> Message {
    let mut tick = tokio::time::interval(ASK_EVERY);
    within(&format!("another answer from {url}"), async {
        loop {
            tick.tick().await;
            let reply = agent.get(url).await;
            if wanted(&reply) {
                return reply;
            }
        }
    })
    .await
}

/// A page of the admin listener.
pub(crate) async fn admin_page(postern: &Postern, path: &str) -> Message {
    admin_page_as(postern, path, &postern.admin().to_string()).await
}

/// A page of the admin listener, asked for under this host.
pub(crate) async fn admin_page_as(postern: &Postern, path: &str, host: &str) -> Message {
    let mut wire = postern.agent("bot").at(postern.admin()).socket().await;
    wire.send(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")).await;
    wire.reply().await
}

/// A request without content to the bound host.
pub(crate) fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n")
}

/// The deployment key in an agent's login.
pub(crate) fn key_of(agent: &Agent) -> String {
    let encoded = agent.login().trim_end().rsplit(' ').next().unwrap();
    let login = String::from_utf8(STANDARD.decode(encoded).unwrap()).unwrap();
    login.split_once(':').unwrap().1.to_owned()
}
