//! The usual scene: one origin, one postern bound to it, one agent. It decides nothing about what is sent.

use std::time::Duration;

use support::{Agent, Message, Postern, Settings, Upstream, Wire, assert_refused, upstream, within};

/// The bound host.
pub(crate) const HOST: &str = "api.notion.test";
/// The bound host as a CONNECT target.
pub(crate) const TARGET: &str = "api.notion.test:443";

/// How often a change that has no event of its own is asked for.
const ASK_EVERY: Duration = Duration::from_millis(20);

pub(crate) struct Scene {
    pub(crate) upstream: Upstream,
    pub(crate) postern: Postern,
    pub(crate) agent: Agent,
}

/// A postern that runs the binary under test.
pub(crate) fn postern() -> Settings {
    support::postern(env!("CARGO_BIN_EXE_postern"))
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

    /// Sends bytes into a fresh tunnel: the reply.
    pub(crate) async fn exchange(&self, bytes: impl AsRef<[u8]>) -> Message {
        self.tunnel().await.exchange(bytes).await
    }

    /// Sends bytes into a fresh tunnel: they are refused with this status and code, and the tunnel is closed.
    pub(crate) async fn refused_and_closed(&self, bytes: impl AsRef<[u8]>, status: u16, code: &str) {
        let shown = shown(bytes.as_ref());
        let mut wire = self.tunnel().await;
        let reply = wire.exchange(bytes).await;
        assert_eq!((reply.status(), reply.field("x-postern-error")), (status, Some(code)), "after {shown}:\n{reply}");
        assert_refused(&reply, status, code);
        wire.closed().await;
    }

    /// As [`Scene::refused_and_closed`] with 400 `request_malformed`, for each of these; nothing reaches the origin.
    pub(crate) async fn all_malformed<T: AsRef<[u8]>>(&self, cases: impl IntoIterator<Item = T>) {
        for bytes in cases {
            self.refused_and_closed(bytes, 400, "request_malformed").await;
        }
        self.nothing_reached_the_origin().await;
    }

    /// Asserts that the origin got no byte so far, but for earlier calls of this. A request that is sent now and
    /// arrives must be the only one: what was sent before would have arrived before.
    pub(crate) async fn nothing_reached_the_origin(&self) {
        let reply = self.agent.get(&format!("https://{HOST}/sentinel")).await;
        assert_eq!(reply.status(), 200, "{reply}");
        let requests = self.upstream.requests();
        for request in &requests {
            assert_eq!(request.target(), "/sentinel", "this reached the origin:\n{request}");
        }
        let expected: usize = requests.iter().map(|request| request.raw.len()).sum();
        let bytes = self.upstream.bytes();
        assert_eq!(bytes.len(), expected, "more than the sentinel reached the origin: {}", shown(&bytes));
    }
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

/// The refusal's code, or nothing.
pub(crate) fn code(reply: &Message) -> Option<&str> {
    reply.field("x-postern-error")
}

/// Bytes for a person to read.
pub(crate) fn shown(bytes: &[u8]) -> String {
    let text: String = bytes.iter().take(300).map(|byte| byte.escape_ascii().to_string()).collect();
    if bytes.len() > 300 { format!("{text}… ({} bytes)", bytes.len()) } else { text }
}

#[tokio::test]
async fn the_canary_finds_a_token_at_another_origin() {
    let bound = upstream(HOST).await;
    let other = upstream("other.test").await;
    let settings = postern().bound("notion", &bound).bound("other", &other);
    let scene = scene_of(bound, settings).await;
    let token = format!("X-Leak: {}\r\n", scene.postern.token("notion"));
    scene.agent.call("GET", "https://other.test/", &token).await;
    let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| scene.postern.finish())).unwrap_err();
    let found = found.downcast_ref::<String>().cloned().unwrap_or_default();
    assert!(found.contains("token of notion") && found.contains("the origin other.test"), "{found}");
}

#[tokio::test]
async fn a_key_issued_while_it_serves_logs_in_and_is_never_written_down() {
    let mut scene = scene().await;
    let key = scene.postern.issue_key("bot");
    let agent = scene.postern.agent_with_key("bot", &key);
    assert_eq!(agent.get(&format!("https://{HOST}/")).await.status(), 200);
    assert!(scene.postern.terminate().await.success());
    scene.postern.restart().await.unwrap();
    let agent = scene.postern.agent_with_key("bot", &key);
    assert_eq!(agent.get(&format!("https://{HOST}/")).await.status(), 200);
    scene.postern.finish();
}
