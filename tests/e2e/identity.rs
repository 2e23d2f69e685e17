//! Who is calling: every form of login that real clients send, networks and listeners that need none, and keys that come
//! and go while their tunnels are open.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde_json::Value;
use support::{Agent, Hello, Postern, Upstream, Wire, assert_passed, assert_refused, upstream};

use crate::program::beside;
use crate::scene::{HOST, Scene, TARGET, URL, eventually_answered, get, key_of, postern, scene, scene_of};

/// How soon a revocation must have cut every tunnel of its key.
const CUT_IN: Duration = Duration::from_secs(1);

fn basic(login: &str) -> String {
    format!("Basic {}", STANDARD.encode(login))
}

/// What a CONNECT with this login is answered, and the request inside the tunnel it opens.
async fn status_with(scene: &Scene, version: &str, fields: &str) -> u16 {
    let mut wire = scene.agent.socket().await;
    wire.send(format!("CONNECT {TARGET} {version}\r\n{fields}\r\n")).await;
    let reply = wire.reply_to("CONNECT").await;
    if reply.status() != 200 {
        assert_refused(&reply, 407, "caller_unknown");
        return reply.status();
    }
    let mut wire = scene.agent.secure(wire, TARGET, Hello::default()).await.unwrap();
    wire.send(get("/")).await;
    wire.reply().await.status()
}

/// The key opens the proxy when it is presented like this.
async fn logs_in(presented: impl Fn(&str) -> String) {
    let scene = scene().await;
    let fields = format!("Host: {TARGET}\r\nProxy-Authorization: {}\r\n", presented(&key_of(&scene.agent)));
    assert_eq!(status_with(&scene, "HTTP/1.1", &fields).await, 200);
}

/// The key does not open the proxy when it is presented like this.
async fn does_not_log_in(presented: impl Fn(&str) -> String) {
    let scene = scene().await;
    let fields = format!("Host: {TARGET}\r\nProxy-Authorization: {}\r\n", presented(&key_of(&scene.agent)));
    assert_eq!(status_with(&scene, "HTTP/1.1", &fields).await, 407);
    assert!(scene.upstream.connections().is_empty());
}

// --- forms of a login ---

#[tokio::test]
async fn a_name_and_its_key_log_in() {
    logs_in(|key| basic(&format!("bot:{key}"))).await;
}

#[tokio::test]
async fn a_key_without_a_name_logs_in() {
    logs_in(|key| basic(&format!(":{key}"))).await;
}

#[tokio::test]
async fn a_key_in_the_names_place_logs_in() {
    logs_in(|key| basic(&format!("{key}:"))).await;
}

#[tokio::test]
async fn a_key_without_a_colon_logs_in() {
    logs_in(basic).await;
}

#[tokio::test]
async fn a_key_that_is_still_percent_encoded_logs_in() {
    logs_in(|key| basic(&format!("bot:{}", key.replace('_', "%5F").replace('-', "%2d")))).await;
}

#[tokio::test]
async fn base64_without_padding_logs_in() {
    logs_in(|key| format!("basic  {}", STANDARD_NO_PAD.encode(format!("bot:{key}")))).await;
}

#[tokio::test]
async fn a_bearer_key_logs_in() {
    logs_in(|key| format!("Bearer {key}")).await;
}

#[tokio::test]
async fn a_name_without_a_key_does_not_log_in() {
    does_not_log_in(|_| basic("bot:")).await;
}

#[tokio::test]
async fn another_scheme_does_not_log_in() {
    does_not_log_in(|key| format!("Digest username=\"bot\", response=\"{key}\"")).await;
}

#[tokio::test]
async fn the_digest_of_a_key_does_not_log_in() {
    let scene = scene().await;
    let yaml = scene.postern.settings().yaml();
    let digest = yaml.split("sha256: \"").nth(1).unwrap().split('"').next().unwrap();
    let login = format!("Proxy-Authorization: {}\r\n", basic(&format!("bot:{digest}")));
    assert_eq!(status_with(&scene, "HTTP/1.1", &format!("Host: {TARGET}\r\n{login}")).await, 407);
}

#[tokio::test]
async fn connect_over_http_1_0_without_a_host_is_served() {
    let scene = scene().await;
    let login = scene.agent.login().to_owned();
    assert_eq!(status_with(&scene, "HTTP/1.0", &login).await, 200);
}

#[tokio::test]
async fn connect_over_http_1_0_without_a_login_is_told_so_and_closed() {
    let scene = scene().await;
    let mut wire = scene.agent.socket().await;
    wire.send(format!("CONNECT {TARGET} HTTP/1.0\r\n\r\n")).await;
    assert_refused(&wire.reply_to("CONNECT").await, 407, "caller_unknown");
    wire.closed().await;
}

#[tokio::test]
async fn a_client_that_logs_in_only_when_asked_does_so_on_the_same_socket() {
    let scene = scene().await;
    let mut wire = scene.agent.socket().await;
    for _ in 0..3 {
        wire.send(scene.agent.without_login().connect_request(TARGET)).await;
        let reply = wire.reply_to("CONNECT").await;
        assert_refused(&reply, 407, "caller_unknown");
        assert_ne!(reply.field("connection"), Some("close"), "{reply}");
    }
    wire.send(scene.agent.connect_request(TARGET)).await;
    assert_eq!(wire.reply_to("CONNECT").await.status(), 200);
}

#[tokio::test]
async fn a_client_hello_that_comes_with_its_connect_is_not_lost() {
    let scene = scene().await;
    let mut wire = scene.agent.socket().await;
    let eager = [scene.agent.connect_request(TARGET).as_bytes(), &support::client_hello(HOST)].concat();
    wire.send(eager).await;
    assert_eq!(wire.reply_to("CONNECT").await.status(), 200);
    assert_eq!(wire.read(1).await, [0x16], "no TLS handshake followed");
}

#[tokio::test]
async fn http_in_the_clear_inside_a_tunnel_is_served() {
    let scene = scene().await;
    let mut wire = scene.agent.tunnel("api.notion.test:80").await;
    wire.send(get("/")).await;
    assert_refused(&wire.reply().await, 403, "plaintext_forbidden");
}

// --- networks and listeners ---

#[tokio::test]
async fn the_narrowest_source_network_says_who_is_calling() {
    let origin = upstream(HOST).await;
    let settings = postern()
        .keyless_deployment("house", "{identify: [{source: 127.0.0.0/8}]}")
        .keyless_deployment("room", "{identify: [{source: 127.0.0.1/32}]}")
        .connection("notion", &[HOST])
        .binding("{deployment: room, connection: notion}")
        .reached_with(&["notion"], &origin);
    let scene = scene_of(origin, settings).await;
    assert_passed(&scene.agent.without_login().get(URL).await, 200);
    let record = scene.postern.wait_for_record(|record| record["status"] == 200).await;
    assert_eq!(record["deployment"], "room", "{record}");
    // A login counts before the network, and a wrong one is not made good by it.
    let reply = scene.agent.get(URL).await;
    assert_refused(&reply, 403, "binding_missing");
    assert_refused(&scene.agent.with_login("bot", "wrong").connect(TARGET).await, 407, "caller_unknown");
}

#[tokio::test]
async fn a_listener_of_its_own_says_who_is_calling() {
    let own = free_address();
    let origin = upstream(HOST).await;
    let settings = postern()
        .keyless_deployment("java", &format!("{{identify: [{{listen: \"{own}\"}}]}}"))
        .connection("notion", &[HOST])
        .binding("{deployment: java, connection: notion}")
        .reached_with(&["notion"], &origin);
    let scene = scene_of(origin, settings).await;
    assert_passed(&scene.agent.at(own).without_login().get(URL).await, 200);
    let record = scene.postern.wait_for_record(|record| record["status"] == 200).await;
    assert_eq!(record["deployment"], "java", "{record}");
    // Somebody else's key contradicts the listener; at the shared one nobody is java.
    assert_refused(&scene.agent.at(own).connect(TARGET).await, 407, "caller_unknown");
    assert_refused(&scene.agent.without_login().connect(TARGET).await, 407, "caller_unknown");
}

#[tokio::test]
async fn a_listener_of_its_own_comes_and_goes_with_the_file() {
    let own = free_address();
    let origin = upstream(HOST).await;
    let scene = scene_of(origin, postern()).await;
    let without = scene.postern.settings().yaml();
    let entry = format!("{{identify: [{{listen: \"{own}\"}}]}}");
    scene.postern.rewrite(scene.postern.settings().keyless_deployment("java", &entry).yaml());
    support::eventually("the listener to open", || std::net::TcpStream::connect(own).ok()).await;
    let mut open = scene.agent.at(own).without_login().tunnel("unbound.test:443").await;
    scene.postern.rewrite(without);
    support::eventually("the listener to close", || std::net::TcpStream::connect(own).err()).await;
    open.closed().await;
}

/// An address that nobody listens on: of the many of this machine, so that no other test finds the same.
fn free_address() -> SocketAddr {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let [high, low] = std::process::id().to_be_bytes()[2..] else { unreachable!("there are four bytes") };
    SocketAddr::from(([127, 64, high, low.max(2)], port))
}

// --- keys ---

/// `bot` with a binding, a tunnel and a key of its own for each of two agents.
struct Keys {
    scene: Scene,
    _blind: Upstream,
    one: String,
    two: String,
}

impl Keys {
    async fn issued() -> Self {
        let origin = upstream(HOST).await;
        let blind = Upstream::of(&["blind.test"])
            .plain()
            .script(|mut conversation| async move {
                conversation.send("hello").await;
                conversation.closed().await;
            })
            .start()
            .await;
        let settings = postern()
            .deployment_with("bot", ", tunnel: [blind.test]")
            .bound("notion", &origin)
            .connect_to("blind.test:443", blind.address());
        let mut scene = scene_of(origin, settings).await;
        let one = scene.postern.issue_key("bot");
        let two = scene.postern.issue_key("bot");
        assert_ne!(one, two);
        Self { scene, _blind: blind, one, two }
    }

    fn agent(&self, key: &str) -> Agent {
        self.scene.postern.agent_with_key("bot", key)
    }

    /// An intercepted tunnel that has served a request.
    async fn intercepted(&self, key: &str) -> Wire {
        let mut wire = self.agent(key).intercepted(TARGET).await;
        wire.send(get("/")).await;
        assert_passed(&wire.reply().await, 200);
        wire
    }

    /// A blind tunnel through which bytes have gone.
    async fn blind(&self, key: &str) -> Wire {
        let mut wire = self.agent(key).tunnel("blind.test:443").await;
        assert_eq!(wire.read(5).await, b"hello");
        wire
    }
}

/// The rows of `deployment key list`.
fn listed(postern: &Postern, arguments: &[&str]) -> Vec<Value> {
    let command = [&["deployment", "key", "list", "--json"], arguments].concat();
    beside(postern, &command).run().json().as_array().unwrap().clone()
}

#[tokio::test]
async fn each_issued_key_is_listed_with_its_id_and_when_it_was_made_and_used() {
    let keys = Keys::issued().await;
    let postern = &keys.scene.postern;
    let rows = listed(postern, &["bot"]);
    assert_eq!(rows.len(), 2, "{rows:?}");
    assert_ne!(rows[0]["id"], rows[1]["id"]);
    for row in &rows {
        assert_eq!((&row["deployment"], &row["last_used_at"]), (&"bot".into(), &Value::Null), "{row}");
        assert!(row["created_at"].as_str().is_some_and(|at| at.ends_with('Z')), "{row}");
    }
    assert!(listed(postern, &["somebody"]).is_empty());

    keys.intercepted(&keys.two).await;
    let used: Vec<Value> = listed(postern, &[]).into_iter().filter(|row| !row["last_used_at"].is_null()).collect();
    assert_eq!(used.len(), 1, "{used:?}");
    assert!(used[0]["last_used_at"].as_str().unwrap() >= used[0]["created_at"].as_str().unwrap());
    let table = beside(postern, &["deployment", "key", "list"]).run().answer();
    assert!(table.contains(used[0]["id"].as_str().unwrap()) && table.contains("never"), "{table}");
}

#[tokio::test]
async fn a_revoked_key_opens_nothing_and_its_tunnels_are_cut_while_another_keys_stay() {
    let keys = Keys::issued().await;
    let postern = &keys.scene.postern;
    keys.intercepted(&keys.one).await;
    let rows = listed(postern, &["bot"]);
    let used = rows.iter().find(|row| !row["last_used_at"].is_null()).unwrap();
    let mut dying = [keys.intercepted(&keys.one).await, keys.blind(&keys.one).await];
    let (mut staying, mut staying_blind) = (keys.intercepted(&keys.two).await, keys.blind(&keys.two).await);

    beside(postern, &["deployment", "key", "revoke", "bot", used["id"].as_str().unwrap()]).run().answer();
    for wire in &mut dying {
        tokio::time::timeout(CUT_IN, wire.closed()).await.expect("the tunnel is cut within a second");
    }
    assert_refused(&keys.agent(&keys.one).connect(TARGET).await, 407, "caller_unknown");

    staying.send(get("/")).await;
    assert_passed(&staying.reply().await, 200);
    assert_passed(&keys.agent(&keys.two).get(URL).await, 200);
    assert_eq!(listed(postern, &["bot"]).len(), 1);
    staying_blind.finish().await;
    staying_blind.closed().await;
}

#[tokio::test]
async fn a_revoked_key_is_unknown_to_the_next_request_on_its_open_socket() {
    let keys = Keys::issued().await;
    let agent = keys.agent(&keys.one);
    let mut wire = agent.socket().await;
    let request = format!("GET http://{HOST}/ HTTP/1.1\r\nHost: {HOST}\r\n{}\r\n", agent.login());
    wire.send(&request).await;
    assert_refused(&wire.reply().await, 403, "plaintext_forbidden");
    let rows = listed(&keys.scene.postern, &["bot"]);
    let used = rows.iter().find(|row| !row["last_used_at"].is_null()).unwrap();
    let revoke = ["deployment", "key", "revoke", "bot", used["id"].as_str().unwrap()];
    beside(&keys.scene.postern, &revoke).run().answer();
    wire.send(&request).await;
    assert_refused(&wire.reply().await, 407, "caller_unknown");
}

#[tokio::test]
async fn a_key_that_leaves_the_file_cuts_its_tunnels() {
    let scene = scene().await;
    let mut wire = scene.tunnel().await;
    wire.send(get("/")).await;
    assert_passed(&wire.reply().await, 200);
    let without = scene.postern.settings().keyless_deployment("bot", "{}");
    scene.postern.rewrite(without.yaml());
    wire.closed().await;
    assert_refused(&scene.agent.connect(TARGET).await, 407, "caller_unknown");
}

#[tokio::test]
async fn revoking_a_key_that_is_not_there_fails_and_says_how_to_find_those_that_are() {
    let scene = scene().await;
    let said = beside(&scene.postern, &["deployment", "key", "revoke", "bot", "nothere"]).run().failed(1);
    assert!(said.contains("nothere") && said.contains("key list"), "{said}");
}

#[tokio::test]
async fn a_key_for_a_deployment_that_the_file_lacks_warns_and_works_once_it_is_there() {
    let origin = upstream(HOST).await;
    let settings = postern().connection("notion", &[HOST]).reached_with(&["notion"], &origin);
    let mut scene = scene_of(origin, settings).await;
    let key = scene.postern.issue_key("later");
    let agent = scene.postern.agent_with_key("later", &key);
    assert_refused(&agent.connect(TARGET).await, 407, "caller_unknown");
    let settings = scene.postern.settings().keyless_deployment("later", "{}");
    scene.postern.rewrite(settings.binding("{deployment: later, connection: notion}").yaml());
    support::within("the deployment to be known", async {
        let mut tick = tokio::time::interval(Duration::from_millis(20));
        while agent.connect(TARGET).await.status() != 200 {
            tick.tick().await;
        }
    })
    .await;
    eventually_answered(&agent, URL, |reply| reply.status() == 200).await;
}
