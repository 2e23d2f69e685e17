//! Every refusal code of the contract, seen from the agent: inside TLS where that can be, with its status, its JSON and
//! exactly one access record. What is refused never reaches the origin.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use serde_json::Value;
use support::{Agent, Authority, Hello, Message, Upstream, answer, assert_passed, assert_refused, upstream};

use crate::program::beside;
use crate::scene::{
    HOST, Scene, TARGET, URL, admin_page, body, code, eventually_answered, get, key_of, only_refusal_recorded, postern,
    scene, scene_bound_as, scene_limited, scene_of, scene_with,
};

/// The number of whole seconds in `retry-after`, which the JSON repeats.
fn retry_after(reply: &Message) -> u64 {
    let seconds = reply.field("retry-after").unwrap().parse().unwrap();
    assert_eq!(body(reply)["retry_after"], seconds);
    assert_eq!(reply.field("x-should-retry"), None, "it may be repeated:\n{reply}");
    seconds
}

// --- caller_unknown ---

/// This login on a fresh socket is refused; on the same socket the right one then opens the tunnel.
async fn is_unknown_until_logged_in(scene: Scene, stranger: Agent) {
    let mut wire = scene.agent.socket().await;
    wire.send(stranger.connect_request(TARGET)).await;
    let reply = wire.reply_to("CONNECT").await;
    assert_refused(&reply, 407, "caller_unknown");
    assert_eq!(reply.field("x-should-retry"), Some("false"));

    wire.send(scene.agent.connect_request(TARGET)).await;
    assert_eq!(wire.reply_to("CONNECT").await.status(), 200);
    let mut wire = scene.agent.secure(wire, TARGET, Hello::default()).await.unwrap();
    wire.send(get("/")).await;
    assert_passed(&wire.reply().await, 200);

    let record = only_refusal_recorded(&scene.postern, "caller_unknown").await;
    assert!(record["deployment"].is_null(), "{record}");
    assert_eq!(record["host"], HOST, "{record}");
}

#[tokio::test]
async fn caller_unknown_without_a_login() {
    let scene = scene().await;
    let stranger = scene.agent.without_login();
    is_unknown_until_logged_in(scene, stranger).await;
}

#[tokio::test]
async fn caller_unknown_with_a_wrong_key() {
    let scene = scene().await;
    let stranger = scene.agent.with_login("bot", "pst_wrong");
    is_unknown_until_logged_in(scene, stranger).await;
}

#[tokio::test]
async fn caller_unknown_when_the_name_contradicts_its_key() {
    let origin = upstream(HOST).await;
    let settings = postern().deployment("other").bound("notion", &origin);
    let scene = scene_of(origin, settings).await;
    let stranger = scene.agent.with_login("other", &key_of(&scene.agent));
    is_unknown_until_logged_in(scene, stranger).await;
}

#[tokio::test]
async fn caller_unknown_over_plain_http_keeps_the_socket_open() {
    let scene = scene().await;
    let mut wire = scene.agent.socket().await;
    wire.send(format!("GET http://{HOST}/ HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
    assert_refused(&wire.reply().await, 407, "caller_unknown");
    wire.send(format!("GET http://{HOST}/ HTTP/1.1\r\nHost: {HOST}\r\n{}\r\n", scene.agent.login())).await;
    assert_eq!(wire.reply().await.status(), 403);
}

// --- what the binding says ---

#[tokio::test]
async fn binding_missing_says_which_line_would_make_the_request_work() {
    let origin = upstream(HOST).await;
    let settings = postern().connection("notion", &["elsewhere.test"]).reached_with(&["notion"], &origin);
    let scene = scene_of(origin, settings).await;
    let reply = scene.agent.get(URL).await;
    let record = scene.refused(&reply, 403, "binding_missing").await;
    assert_eq!(record["path"], "/v1/users");

    let hint = body(&reply)["hint"].as_str().unwrap().replace("CONNECTION", "notion");
    let line = hint.strip_prefix("- ").unwrap();
    scene.postern.rewrite(scene.postern.settings().binding(line).yaml());
    let reply = eventually_answered(&scene.agent, URL, |reply| code(reply) != Some("binding_missing")).await;
    assert_passed(&reply, 200);
}

#[tokio::test]
async fn binding_missing_names_a_port_that_is_not_the_schemes_own() {
    let scene = scene().await;
    let reply = scene.agent.get("https://api.notion.test:8443/").await;
    scene.refused_at("api.notion.test:8443", &reply, 403, "binding_missing").await;
    assert!(body(&reply)["hint"].as_str().unwrap().contains("\"api.notion.test:8443\""), "{reply}");
}

#[tokio::test]
async fn request_forbidden_by_its_method() {
    let scene = scene_bound_as("{deployment: bot, connection: notion, methods: [GET]}").await;
    let reply = scene.agent.call("DELETE", URL, "").await;
    let record = scene.refused(&reply, 403, "request_forbidden").await;
    assert_eq!((&record["method"], &body(&reply)["connection"]), (&"DELETE".into(), &"notion".into()));
    assert_passed(&scene.agent.get(URL).await, 200);
}

#[tokio::test]
async fn request_forbidden_by_its_path() {
    let scene = scene_bound_as("{deployment: bot, connection: notion, paths: [\"/v1/**\"]}").await;
    scene.refused(&scene.agent.get("https://api.notion.test/v2/users").await, 403, "request_forbidden").await;
    assert_passed(&scene.agent.get(URL).await, 200);
}

#[tokio::test]
async fn request_forbidden_for_a_path_that_changes_under_normalisation() {
    let scene = scene_bound_as("{deployment: bot, connection: notion, paths: [\"/v1/**\"]}").await;
    scene.refused(&scene.agent.get("https://api.notion.test/v1/../admin").await, 403, "request_forbidden").await;
    assert!(scene.upstream.requests().is_empty());
}

#[tokio::test]
async fn connection_inactive_leads_to_a_page_that_says_what_to_do() {
    let origin = upstream(HOST).await;
    let keys = "auth: {type: bearer, token: {env: TOKEN_NOTION}}, active: false";
    let settings = postern()
        .connection_with("notion", &[HOST], keys)
        .binding("{deployment: bot, connection: notion}")
        .reached_with(&[], &origin);
    let scene = scene_of(origin, settings).await;
    let reply = scene.agent.get(URL).await;
    scene.refused(&reply, 403, "connection_inactive").await;
    let connect_url = body(&reply)["connect_url"].as_str().unwrap().to_owned();
    let (authority, path) = connect_url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    assert_eq!(authority, scene.postern.admin().to_string());
    let page = admin_page(&scene.postern, &format!("/{path}")).await;
    assert_eq!(page.status(), 200);
    assert!(page.text().contains("notion"), "{page}");
}

#[tokio::test]
async fn plaintext_forbidden_unless_the_binding_allows_it() {
    let origin = Upstream::of(&[HOST]).plain().start().await;
    let settings = postern()
        .connection("notion", &["api.notion.test:80"])
        .binding("{deployment: bot, connection: notion}")
        .reached_with(&["notion"], &origin);
    let scene = scene_of(origin, settings).await;
    let url = "http://api.notion.test/";
    let reply = scene.agent.get(url).await;
    scene.refused(&reply, 403, "plaintext_forbidden").await;
    assert!(scene.upstream.connections().is_empty());

    let allowing = "{deployment: bot, connection: notion, allow_plaintext: true}";
    scene.postern.rewrite(scene.postern.settings().without_bindings().binding(allowing).yaml());
    let reply = eventually_answered(&scene.agent, url, |reply| code(reply) != Some("plaintext_forbidden")).await;
    assert_passed(&reply, 200);
}

#[tokio::test]
async fn connection_ambiguous_until_the_request_names_one() {
    let origin = upstream(HOST).await;
    let settings = postern()
        .connection("one", &[HOST])
        .connection("two", &[HOST])
        .binding("{deployment: bot, connection: one}")
        .binding("{deployment: bot, connection: two}")
        .reached_with(&["two"], &origin);
    let scene = scene_of(origin, settings).await;
    let reply = scene.agent.get(URL).await;
    scene.refused(&reply, 409, "connection_ambiguous").await;
    assert_eq!(body(&reply)["connections"], serde_json::json!(["one", "two"]));

    assert_passed(&scene.agent.call("GET", URL, "x-postern-connection: two\r\n").await, 200);
    let request = scene.upstream.only_request();
    let bearer = format!("Bearer {}", scene.postern.token("two"));
    assert_eq!(request.field("authorization"), Some(bearer.as_str()));
    assert_eq!(request.field("x-postern-connection"), None, "{request}");
}

#[tokio::test]
async fn rate_limited_says_when_to_come_back() {
    let scene = scene_bound_as("{deployment: bot, connection: notion, rate: {per_second: 1, burst: 1}}").await;
    assert_passed(&scene.agent.get(URL).await, 200);
    let reply = scene.agent.get(URL).await;
    scene.refused(&reply, 429, "rate_limited").await;
    assert_eq!(retry_after(&reply), 1);
    eventually_answered(&scene.agent, URL, |reply| reply.status() == 200).await;
}

// --- where it would go ---

#[tokio::test]
async fn destination_forbidden_for_a_private_literal() {
    let origin = upstream(HOST).await;
    let settings = postern().bound("notion", &origin).allow_addresses(&[]);
    let scene = scene_of(origin, settings).await;
    let reply = scene.agent.get("https://169.254.169.254/latest/meta-data").await;
    scene.refused_at("169.254.169.254", &reply, 403, "destination_forbidden").await;
}

#[tokio::test]
async fn destination_forbidden_for_a_name_that_leads_to_a_private_address() {
    let origin = Upstream::of(&["localhost"]).start().await;
    let host = format!("localhost:{}", origin.address().port());
    let settings =
        postern().allow_addresses(&[]).connection("notion", &[&host]).binding("{deployment: bot, connection: notion}");
    let scene = scene_of(origin, settings).await;
    let reply = scene.agent.get(&format!("https://{host}/")).await;
    scene.refused_at(&host, &reply, 403, "destination_forbidden").await;
    assert!(scene.upstream.connections().is_empty(), "it was dialled");
}

#[tokio::test]
async fn destination_forbidden_for_its_own_proxy_listener() {
    let scene = scene().await;
    let own = scene.postern.proxy().to_string();
    let reply = scene.agent.get(&format!("https://{own}/")).await;
    scene.refused_at(&own, &reply, 403, "destination_forbidden").await;
}

#[tokio::test]
async fn destination_forbidden_for_its_own_admin_listener_under_a_bound_name() {
    let scene = scene().await;
    let settings = scene.postern.settings().connect_to(TARGET, scene.postern.admin());
    scene.postern.rewrite(settings.yaml());
    let reply = eventually_answered(&scene.agent, URL, |reply| reply.status() != 200).await;
    scene.refused(&reply, 403, "destination_forbidden").await;
}

#[tokio::test]
async fn destination_mismatch_when_the_host_is_not_the_tunnels() {
    let scene = scene().await;
    let reply = scene.exchange("GET / HTTP/1.1\r\nHost: evil.test\r\n\r\n").await;
    scene.refused(&reply, 421, "destination_mismatch").await;
    assert!(scene.upstream.requests().is_empty());
}

#[tokio::test]
async fn loop_detected_when_the_request_bears_the_proxys_own_mark() {
    let scene = scene().await;
    assert_passed(&scene.agent.get(URL).await, 200);
    let via = scene.upstream.only_request().field("via").unwrap().to_owned();
    let reply = scene.agent.call("GET", URL, &format!("Via: 1.1 elsewhere, {via}\r\n")).await;
    scene.refused(&reply, 508, "loop_detected").await;
}

// --- what it looks like ---

async fn is_malformed(scene: Scene, bytes: impl AsRef<[u8]>, status: u16) {
    let reply = scene.exchange(bytes).await;
    scene.refused(&reply, status, "request_malformed").await;
    assert!(scene.upstream.requests().is_empty());
}

#[tokio::test]
async fn request_malformed_400_for_ambiguous_framing() {
    let both = "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n";
    is_malformed(scene().await, format!("POST / HTTP/1.1\r\nHost: {HOST}\r\n{both}\r\n0\r\n\r\n"), 400).await;
}

#[tokio::test]
async fn request_malformed_414_for_a_target_that_is_too_long() {
    is_malformed(scene_limited("target_bytes_max", "1KiB").await, get(&format!("/{}", "a".repeat(1024))), 414).await;
}

#[tokio::test]
async fn request_malformed_417_for_an_unknown_expectation() {
    is_malformed(scene().await, format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nExpect: magic\r\n\r\n"), 417).await;
}

#[tokio::test]
async fn request_malformed_431_for_a_head_that_is_too_large() {
    let field = format!("X-Long: {}\r\n", "a".repeat(4096));
    let head = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n{field}\r\n");
    is_malformed(scene_limited("head_bytes_max", "2KiB").await, head, 431).await;
}

#[tokio::test]
async fn request_malformed_501_for_another_transfer_coding() {
    let head = format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n");
    is_malformed(scene().await, head, 501).await;
}

#[tokio::test]
async fn method_refused_for_trace() {
    let scene = scene().await;
    let reply = scene.exchange(format!("TRACE / HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
    scene.refused(&reply, 405, "method_refused").await;
    assert!(reply.field("allow").is_some(), "{reply}");
}

#[tokio::test]
async fn method_refused_for_track() {
    let scene = scene().await;
    let reply = scene.exchange(format!("TRACK / HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
    scene.refused(&reply, 405, "method_refused").await;
}

#[tokio::test]
async fn upgrade_refused_for_what_is_not_a_websocket() {
    let scene = scene().await;
    let upgrade = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n";
    let reply = scene.exchange(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n{upgrade}\r\n")).await;
    scene.refused(&reply, 501, "upgrade_refused").await;
}

// --- what the proxy lacks ---

#[tokio::test]
async fn credential_unavailable_while_its_variable_is_not_set() {
    let origin = upstream(HOST).await;
    let settings = postern()
        .connection_with("notion", &[HOST], "auth: {type: bearer, token: {env: NOT_SET}}")
        .binding("{deployment: bot, connection: notion}")
        .reached_with(&[], &origin);
    let scene = scene_of(origin, settings).await;
    let reply = scene.agent.get(URL).await;
    scene.refused(&reply, 503, "credential_unavailable").await;
    assert_eq!(retry_after(&reply), 30);
    assert_eq!(body(&reply)["connection"], "notion");
    assert!(!reply.text().contains("NOT_SET"), "the agent is told where the secret is:\n{reply}");

    let status = beside(&scene.postern, &["status", "--json"]).run().json();
    let connection = &status["connections"][0];
    assert_eq!((&connection["id"], &connection["state"]), (&"notion".into(), &"error".into()));
    assert!(connection["problem"].as_str().unwrap().contains("NOT_SET"), "{connection}");
}

#[tokio::test]
async fn credential_unavailable_until_the_secret_is_set_without_a_restart() {
    let origin = upstream(HOST).await;
    let settings = postern()
        .connection_with("notion", &[HOST], "auth: {type: bearer, token: {sealed: notion-token}}")
        .binding("{deployment: bot, connection: notion}")
        .reached_with(&["notion"], &origin);
    let scene = scene_of(origin, settings).await;
    let reply = scene.agent.get(URL).await;
    scene.refused(&reply, 503, "credential_unavailable").await;

    let token = scene.postern.token("notion").to_owned();
    beside(&scene.postern, &["secret", "set", "notion-token"]).input(&token).run().answer();
    assert_passed(&scene.agent.get(URL).await, 200);
    let bearer = format!("Bearer {token}");
    assert_eq!(scene.upstream.only_request().field("authorization"), Some(bearer.as_str()));
}

#[tokio::test]
async fn overloaded_beyond_the_sockets_of_one_deployment() {
    let scene = scene_limited("deployment_sockets_max", "1").await;
    let first = scene.tunnel().await;
    let reply = scene.agent.connect(TARGET).await;
    assert_refused(&reply, 503, "overloaded");
    assert_eq!(retry_after(&reply), 1);
    drop(first);
    support::within("the first socket's end", async { while scene.agent.connect(TARGET).await.status() != 200 {} })
        .await;
    let body = body(&reply);
    let ours = |record: &Value| record["request_id"] == body["request_id"];
    let record = scene.postern.wait_for_record(ours).await;
    assert_eq!((&record["error"], &record["status"]), (&"overloaded".into(), &503.into()), "{record}");
    assert_eq!((&record["deployment"], &record["host"]), (&"bot".into(), &HOST.into()), "{record}");
    assert_eq!((&body["deployment"], &body["host"]), (&"bot".into(), &HOST.into()), "{reply}");
}

#[tokio::test]
async fn overloaded_beyond_the_sockets_of_all_agents() {
    let scene = scene_limited("sockets_max", "1").await;
    let first = scene.tunnel().await;
    // It says why even to an agent that has spoken first.
    let reply = scene.agent.connect(TARGET).await;
    assert_refused(&reply, 503, "overloaded");
    assert_eq!(retry_after(&reply), 1);
    let record = scene.postern.wait_for_record(|record| record["error"] == "overloaded").await;
    assert_eq!((&record["status"], &record["request_id"]), (&503.into(), &body(&reply)["request_id"]), "{record}");
    drop(first);
}

// --- the destination's side ---

#[tokio::test]
async fn upstream_unreachable_when_it_refuses_the_connection() {
    let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let scene = scene_leading_to(closed).await;
    let reply = scene.agent.get(URL).await;
    scene.refused(&reply, 502, "upstream_unreachable").await;
    assert_eq!(reply.field("proxy-status"), Some("postern; error=connection_refused"));
}

#[tokio::test]
async fn upstream_unreachable_when_its_name_does_not_resolve() {
    let origin = upstream(HOST).await;
    let settings = postern()
        .connection("notion", &["nowhere.invalid"])
        .binding("{deployment: bot, connection: notion}")
        .limit("connect_in", "2s");
    let scene = scene_of(origin, settings).await;
    let reply = scene.agent.get("https://nowhere.invalid/").await;
    scene.refused_at("nowhere.invalid", &reply, 502, "upstream_unreachable").await;
}

#[tokio::test]
async fn upstream_unreachable_when_it_stays_silent_on_its_socket() {
    // Accepted by the kernel and by nobody else.
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let origin = upstream(HOST).await;
    let settings = postern()
        .bound("notion", &origin)
        .connect_to(TARGET, silent.local_addr().unwrap())
        .limit("connect_in", "200ms");
    let scene = scene_of(origin, settings).await;
    let reply = scene.agent.get(URL).await;
    scene.refused(&reply, 502, "upstream_unreachable").await;
    assert_eq!(reply.field("proxy-status"), Some("postern; error=connection_timeout"));
}

#[tokio::test]
async fn upstream_tls_when_nobody_vouches_for_its_certificate() {
    let stranger = Authority::root("nobody knows it").chain(&[HOST]);
    let scene = scene_with(Upstream::of(&[HOST]).chain(stranger).start().await).await;
    let reply = scene.agent.get(URL).await;
    scene.refused(&reply, 502, "upstream_tls").await;
    assert!(scene.upstream.bytes().is_empty(), "something was sent to it");
}

#[tokio::test]
async fn upstream_invalid_when_its_answer_is_not_http() {
    let scene = scene_with(Upstream::of(&[HOST]).answer(|_| b"220 smtp ready\r\n\r\n".to_vec()).start().await).await;
    let reply = scene.agent.get(URL).await;
    scene.refused(&reply, 502, "upstream_invalid").await;
}

#[tokio::test]
async fn upstream_timeout_when_it_is_silent_past_the_limit() {
    let origin = Upstream::of(&[HOST])
        .script(|mut conversation| async move {
            conversation.request().await;
            conversation.closed().await;
        })
        .start()
        .await;
    let settings = postern().bound("notion", &origin).limit("response_silence_in", "200ms");
    let scene = scene_of(origin, settings).await;
    let reply = scene.agent.get(URL).await;
    let record = scene.refused(&reply, 504, "upstream_timeout").await;
    assert!(record["duration_ms"].as_f64().unwrap() >= 200.0, "{record}");
}

/// The bound host, dialled there.
async fn scene_leading_to(address: SocketAddr) -> Scene {
    let origin = upstream(HOST).await;
    let settings = postern().bound("notion", &origin).connect_to(TARGET, address);
    scene_of(origin, settings).await
}

#[tokio::test]
async fn a_refusal_leaves_its_socket_usable() {
    let origin = Upstream::of(&[HOST]).answer(|_| answer("200 OK", "", "ok")).start().await;
    let settings = postern()
        .connection("notion", &[HOST])
        .reached_with(&["notion"], &origin)
        .binding("{deployment: bot, connection: notion, paths: [\"/v1/**\"]}");
    let scene = scene_of(origin, settings).await;
    let mut wire = scene.tunnel().await;
    wire.send(get("/v2")).await;
    assert_refused(&wire.reply().await, 403, "request_forbidden");
    wire.send(get("/v1")).await;
    assert_passed(&wire.reply().await, 200);
}
