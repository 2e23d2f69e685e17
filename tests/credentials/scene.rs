//! The words of these tests beside the harness's own: one account at one origin, a token endpoint, an agent, and what
//! `postern status` says of it. They decide nothing about tokens.

use std::time::Duration;

use serde_json::Value;
use support::{
    Agent, Message, Postern, Settings, Upstream, UpstreamSettings, answer, assert_refused, eventually, within,
};

use crate::endpoint::{Endpoint, REFRESH, refresh};

/// The bound host.
pub(crate) const HOST: &str = "api.acme.test";
/// A request to the bound host.
pub(crate) const URL: &str = "https://api.acme.test/v1/users";
/// The bound host as a CONNECT target.
pub(crate) const TARGET: &str = "api.acme.test:443";
/// The token endpoint's host.
pub(crate) const LOGIN: &str = "login.acme.test";
/// The connection.
pub(crate) const ACCOUNT: &str = "acme";
/// The secret of every client.
pub(crate) const CLIENT_SECRET: &str = "canary-client+0cc175b9c0f1b6a8/31c399e269772661==";
/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_postern");

/// How often a change that has no event of its own is asked for.
pub(crate) const ASK_EVERY: Duration = Duration::from_millis(20);

/// One account, its origin, its token endpoint, one agent.
pub(crate) struct Scene {
    pub(crate) origin: Upstream,
    pub(crate) endpoint: Endpoint,
    pub(crate) postern: Postern,
    pub(crate) agent: Agent,
}

/// A postern that runs the binary under test, and knows the clients' secret and a first refresh token.
pub(crate) fn postern() -> Settings {
    support::postern(PROGRAM)
        .environment("CLIENT_SECRET", CLIENT_SECRET)
        .secret("the client's secret", CLIENT_SECRET)
        .environment("FIRST", &refresh("first"))
        .secret("a refresh token", REFRESH)
}

/// `auth:` of a client that acts for itself.
pub(crate) fn client_credentials() -> String {
    format!(
        "type: client_credentials, client_id: service, client_secret: {{env: CLIENT_SECRET}}, \
         token_url: \"https://{LOGIN}/token\""
    )
}

/// `auth:` of a client with a first refresh token.
pub(crate) fn refresh_token() -> String {
    format!(
        "type: refresh_token, client_id: user, client_secret: {{env: CLIENT_SECRET}}, refresh_token: {{env: FIRST}}, \
         token_url: \"https://{LOGIN}/token\""
    )
}

/// The account with this `auth:`, bound for `bot`.
pub(crate) fn account(auth: &str) -> Settings {
    postern()
        .connection_with(ACCOUNT, &[HOST], &format!("auth: {{{auth}}}"))
        .binding(&format!("{{deployment: bot, connection: {ACCOUNT}}}"))
}

/// The account with this `auth:` at an origin that answers `200 ok`.
pub(crate) async fn scene(auth: &str) -> Scene {
    scene_at(Upstream::of(&[HOST]), auth).await
}

/// The account with this `auth:` at this origin.
pub(crate) async fn scene_at(origin: UpstreamSettings, auth: &str) -> Scene {
    scene_of(origin.start().await, account(auth)).await
}

/// The account in these settings at this origin.
pub(crate) async fn scene_of(origin: Upstream, settings: Settings) -> Scene {
    scene_prepared(origin, settings, |_| ()).await
}

/// The account with this `auth:` at an origin that answers `200 ok`, its token endpoint prepared before postern starts:
/// a first refresh token may be used before anybody calls.
pub(crate) async fn scene_where(auth: &str, prepare: impl FnOnce(&Endpoint)) -> Scene {
    scene_prepared(support::upstream(HOST).await, account(auth), prepare).await
}

/// The account in these settings at this origin, its token endpoint prepared before postern starts.
pub(crate) async fn scene_prepared(origin: Upstream, settings: Settings, prepare: impl FnOnce(&Endpoint)) -> Scene {
    let endpoint = Endpoint::start(settings.token(ACCOUNT)).await;
    prepare(&endpoint);
    let settings =
        settings.reached_with(&[ACCOUNT], &origin).connect_to(&format!("{LOGIN}:443"), endpoint.upstream().address());
    let postern = settings.start().await;
    let agent = postern.agent("bot");
    Scene { origin, endpoint, postern, agent }
}

impl Scene {
    /// Kills postern and starts it anew.
    pub(crate) async fn restart(&mut self) {
        self.postern.kill();
        self.postern.restart().await.unwrap();
        self.agent = self.postern.agent("bot");
    }

    /// The `Authorization` field that arrived last.
    pub(crate) fn arrived(&self) -> String {
        bearer(&self.origin.last_request())
    }

    /// Asks until the origin is reached with the token of this number.
    pub(crate) async fn wait_for_token(&self, number: usize) {
        let token = self.endpoint.token(number);
        eventually_answered(&self.agent, |reply| reply.status() == 200 && self.arrived() == token).await;
    }
}

/// The bearer token of a request, or what stands in its place.
pub(crate) fn bearer(request: &Message) -> String {
    let field = request.field("authorization").unwrap_or_default();
    field.strip_prefix("Bearer ").unwrap_or(field).to_owned()
}

/// An origin that refuses some tokens with a 401.
pub(crate) fn origin_refusing(refused: impl Fn(&str) -> bool + Send + Sync + 'static) -> UpstreamSettings {
    Upstream::of(&[HOST]).answer(move |request| {
        if refused(&bearer(request)) {
            answer("401 Unauthorized", "WWW-Authenticate: Bearer error=\"invalid_token\"\r\n", "no")
        } else {
            answer("200 OK", "", "ok")
        }
    })
}

/// Asks again and again until the reply is as wanted.
pub(crate) async fn eventually_answered(agent: &Agent, wanted: impl Fn(&Message) -> bool) -> Message {
    let mut tick = tokio::time::interval(ASK_EVERY);
    within(&format!("another answer from {URL}"), async {
        loop {
            tick.tick().await;
            let reply = agent.get(URL).await;
            if wanted(&reply) {
                return reply;
            }
        }
    })
    .await
}

/// Has postern take up another file.
pub(crate) async fn reload(postern: &Postern, yaml: &str) {
    let loads = || postern.stderr().matches("the configuration was taken up").count();
    let before = loads();
    postern.rewrite(yaml);
    postern.hang_up();
    eventually("the file to be taken up", || (loads() > before).then_some(())).await;
}

/// What `postern status --json` says of a connection.
pub(crate) fn standing(postern: &Postern, connection: &str) -> Value {
    let output = postern.run(&["status", "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let status: Value = serde_json::from_slice(&output.stdout).unwrap();
    let rows = status["connections"].as_array().unwrap();
    rows.iter().find(|row| row["id"] == connection).unwrap_or_else(|| panic!("{connection} is not in {status}")).clone()
}

/// The JSON of an answer.
pub(crate) fn body(reply: &Message) -> Value {
    serde_json::from_slice(&reply.body).unwrap_or_else(|_| panic!("no JSON in\n{reply}"))
}

/// Asserts that the account has no token for now, and that the agent is told no more.
#[track_caller]
pub(crate) fn assert_unavailable(reply: &Message) {
    assert_refused(reply, 503, "credential_unavailable");
    assert!(!reply.text().contains(LOGIN), "the endpoint is told:\n{reply}");
    assert!(reply.field("retry-after").unwrap().parse::<u32>().is_ok(), "{reply}");
}

/// Asserts that somebody must authorise the account anew, and that the agent is told where.
#[track_caller]
pub(crate) fn assert_needs_reauth(reply: &Message) {
    assert_refused(reply, 403, "needs_reauth");
    let url = body(reply)["connect_url"].as_str().unwrap_or_default().to_owned();
    assert!(url.ends_with(&format!("/connect/{ACCOUNT}")), "{reply}");
}
