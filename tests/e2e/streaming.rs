//! What flows through: bodies of any length in constant memory, answers of every framing, and the warm sockets below.
//! Nothing is held back, nothing is repeated that might have been acted on.

use std::sync::Arc;

use support::{Conversation, End, Message, Postern, Upstream, answer, assert_passed, assert_refused, upstream};
use tokio::sync::Notify;

use crate::bulk::{bulk, bulk_agent};
use crate::program::beside;
use crate::scene::{HOST, Scene, URL, eventually_answered, get, postern, scene, scene_of, scene_with};

const MIB: u64 = 1024 * 1024;
const GIB: u64 = 1024 * MIB;
/// How much a body of any length may add to the greatest memory that the process ever had.
const GROWTH_BYTES_MAX: u64 = 16 * MIB;

// --- long bodies ---

/// The greatest memory that the process ever had, in bytes.
fn memory_bytes_max(postern: &Postern) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", postern.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gibibyte_comes_down_in_constant_memory() {
    let (postern, _origin) = bulk().await;
    let mut agent = bulk_agent(&postern).await;
    agent.download(MIB).await;
    let before = memory_bytes_max(&postern);
    agent.download(GIB).await;
    let grown = memory_bytes_max(&postern) - before;
    assert!(grown < GROWTH_BYTES_MAX, "it grew by {grown} bytes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gibibyte_of_chunks_goes_up_in_constant_memory() {
    let (postern, _origin) = bulk().await;
    let mut agent = bulk_agent(&postern).await;
    agent.upload(MIB).await;
    let before = memory_bytes_max(&postern);
    agent.upload(GIB).await;
    let grown = memory_bytes_max(&postern) - before;
    assert!(grown < GROWTH_BYTES_MAX, "it grew by {grown} bytes");
    let record = postern.wait_for_record(|record| record["bytes_in"] == GIB).await;
    assert_eq!(record["outcome"], "complete", "{record}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_follow_one_another_on_one_socket() {
    let (postern, _origin) = bulk().await;
    let mut agent = bulk_agent(&postern).await;
    for _ in 0..2 {
        agent.upload(64 * MIB).await;
        agent.download(MIB + 1).await;
        agent.download(0).await;
    }
}

// --- framing ---

/// An origin that gives this answer to everything.
async fn answering(reply: &'static str) -> Scene {
    scene_with(Upstream::of(&[HOST]).answer(move |_| reply.as_bytes().to_vec()).start().await).await
}

#[tokio::test]
async fn an_event_arrives_before_the_next_one_is_made() {
    let next = Arc::new(Notify::new());
    let script_next = Arc::clone(&next);
    let origin = Upstream::of(&[HOST])
        .script(move |mut conversation| {
            let next = Arc::clone(&script_next);
            async move {
                conversation.request().await;
                let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
                conversation.send(format!("{head}9\r\ndata: 1\n\n\r\n")).await;
                next.notified().await;
                conversation.send("9\r\ndata: 2\n\n\r\n0\r\n\r\n").await;
                conversation.closed().await;
            }
        })
        .start()
        .await;
    let scene = scene_with(origin).await;
    let mut wire = scene.tunnel().await;
    wire.send(get("/events")).await;
    assert_eq!(wire.reply_head().await.status(), 200);
    assert_eq!(wire.read(14).await, b"9\r\ndata: 1\n\n\r\n");
    next.notify_one();
    assert_eq!(wire.read(19).await, b"9\r\ndata: 2\n\n\r\n0\r\n\r\n");
}

#[tokio::test]
async fn trailers_of_an_answer_arrive() {
    let scene = answering(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 7\r\n\r\n",
    )
    .await;
    let reply = scene.agent.call("GET", URL, "TE: trailers\r\n").await;
    assert_eq!(reply.text(), "hi");
    assert_eq!(trailers(&reply), [("x-sum".to_owned(), "7".to_owned())], "{reply}");
}

/// A recipient may discard trailers (RFC 9112 §7.1.2); hyper sends only those that a `Trailer` field announces.
#[tokio::test]
async fn trailers_that_nobody_announced_are_left_out_and_harm_nothing() {
    let scene =
        answering("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 7\r\n\r\n").await;
    let reply = scene.agent.call("GET", URL, "TE: trailers\r\n").await;
    assert_passed(&reply, 200);
    assert_eq!((reply.text().as_str(), trailers(&reply)), ("hi", Vec::new()));
}

#[tokio::test]
async fn trailers_of_a_request_arrive() {
    let scene = scene().await;
    let fields = "Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n";
    let request = format!("POST / HTTP/1.1\r\nHost: {HOST}\r\n{fields}\r\n2\r\nhi\r\n0\r\nX-Sum: 7\r\n\r\n");
    assert_passed(&scene.exchange(request).await, 200);
    let request = scene.upstream.only_request();
    assert_eq!((request.text().as_str(), trailers(&request)), ("hi", vec![("x-sum".to_owned(), "7".to_owned())]));
}

fn trailers(message: &Message) -> Vec<(String, String)> {
    message.trailers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone())).collect()
}

#[tokio::test]
async fn the_answer_to_head_keeps_its_length_and_has_no_body() {
    let scene = answering("HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n").await;
    let mut wire = scene.tunnel().await;
    for _ in 0..2 {
        wire.send(format!("HEAD /x HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
        let reply = wire.reply_to("HEAD").await;
        assert_passed(&reply, 200);
        assert_eq!(reply.field("content-length"), Some("12345"), "{reply}");
    }
    assert_eq!(scene.upstream.connections().len(), 1);
}

#[tokio::test]
async fn a_204_has_no_body_and_no_length() {
    let scene = answering("HTTP/1.1 204 No Content\r\nX-Kept: yes\r\n\r\n").await;
    let mut wire = scene.tunnel().await;
    for _ in 0..2 {
        wire.send(get("/x")).await;
        let reply = wire.reply().await;
        assert_passed(&reply, 204);
        assert_eq!((reply.field("content-length"), reply.field("transfer-encoding")), (None, None), "{reply}");
        assert_eq!(reply.field("x-kept"), Some("yes"));
    }
}

#[tokio::test]
async fn a_304_has_no_body_and_keeps_its_fields() {
    let scene = answering("HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nCache-Control: max-age=60\r\n\r\n").await;
    let mut wire = scene.tunnel().await;
    for _ in 0..2 {
        wire.send(get("/x")).await;
        let reply = wire.reply().await;
        assert_passed(&reply, 304);
        assert_eq!(reply.field("etag"), Some("\"a\""), "{reply}");
    }
}

#[tokio::test]
async fn early_hints_arrive_while_the_answer_is_awaited() {
    let next = Arc::new(Notify::new());
    let script_next = Arc::clone(&next);
    let origin = Upstream::of(&[HOST])
        .script(move |mut conversation| {
            let next = Arc::clone(&script_next);
            async move {
                conversation.request().await;
                conversation.send("HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n").await;
                next.notified().await;
                conversation.send(answer("200 OK", "", "ok")).await;
                conversation.closed().await;
            }
        })
        .start()
        .await;
    let scene = scene_with(origin).await;
    let mut wire = scene.tunnel().await;
    wire.send(get("/x")).await;
    let hints = wire.reply().await;
    assert_eq!((hints.status(), hints.field("link")), (103, Some("</style.css>; rel=preload")), "{hints}");
    next.notify_one();
    let reply = wire.reply().await;
    assert_passed(&reply, 200);
    assert_eq!(reply.text(), "ok");
}

#[tokio::test]
async fn an_expectation_is_met_before_the_body_is_sent() {
    let scene = scene().await;
    let mut wire = scene.tunnel().await;
    let fields = "Expect: 100-continue\r\nContent-Length: 5\r\n";
    wire.send(format!("POST / HTTP/1.1\r\nHost: {HOST}\r\n{fields}\r\n")).await;
    assert_eq!(wire.reply().await.status(), 100);
    wire.send("hello").await;
    assert_passed(&wire.reply().await, 200);
    assert_eq!(scene.upstream.only_request().text(), "hello");
}

#[tokio::test]
async fn an_expectation_is_not_met_where_the_request_is_refused() {
    let scene = scene().await;
    let mut wire = scene.agent.intercepted("unbound.test:443").await;
    let fields = "Expect: 100-continue\r\nContent-Length: 5\r\n";
    wire.send(format!("POST / HTTP/1.1\r\nHost: unbound.test\r\n{fields}\r\n")).await;
    assert_refused(&wire.reply().await, 403, "binding_missing");
}

#[tokio::test]
async fn an_answer_of_http_1_0_that_ends_with_its_socket_is_whole() {
    let origin = Upstream::of(&[HOST])
        .script(|mut conversation| async move {
            conversation.request().await;
            conversation.send("HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nhello").await;
            conversation.finish().await;
        })
        .start()
        .await;
    let scene = scene_with(origin).await;
    let mut wire = scene.tunnel().await;
    for _ in 0..2 {
        wire.send(get("/x")).await;
        let reply = wire.reply().await;
        assert_passed(&reply, 200);
        assert_eq!((reply.text().as_str(), &reply.broken), ("hello", &None));
    }
}

#[tokio::test]
async fn a_truncated_answer_is_visibly_broken_and_recorded_as_cut_off() {
    let origin = Upstream::of(&[HOST])
        .script(|mut conversation| async move {
            conversation.request().await;
            conversation.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello").await;
            conversation.finish().await;
        })
        .start()
        .await;
    let scene = scene_with(origin).await;
    let mut wire = scene.tunnel().await;
    wire.send(get("/x")).await;
    let reply = wire.reply().await;
    assert_eq!((reply.status(), reply.text().as_str()), (200, "hello"));
    assert!(reply.broken.is_some(), "it looks whole:\n{reply}");
    let record = scene.postern.wait_for_record(|record| record["status"] == 200).await;
    assert_eq!((&record["outcome"], &record["bytes_out"]), (&"cut_off".into(), &5.into()), "{record}");
}

#[tokio::test]
async fn an_answer_that_comes_before_the_end_of_a_long_upload_arrives() {
    let origin = Upstream::of(&[HOST])
        .script(|mut conversation| async move {
            conversation.head().await;
            conversation.send(answer("413 Content Too Large", "Connection: close\r\n", "too much")).await;
            conversation.finish().await;
        })
        .start()
        .await;
    let scene = scene_with(origin).await;
    let length = 8 * 1024 * 1024;
    let head = format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {length}\r\n\r\n");
    let reply = scene.exchange([head.into_bytes(), vec![b'x'; length]].concat()).await;
    assert_passed(&reply, 413);
    assert_eq!(reply.text(), "too much");
}

#[tokio::test]
async fn an_upload_that_the_agent_breaks_off_looks_whole_nowhere() {
    let origin = Upstream::of(&[HOST])
        .script(|mut conversation| async move {
            conversation.head().await;
            conversation.closed().await;
        })
        .start()
        .await;
    let scene = scene_with(origin).await;
    let mut wire = scene.tunnel().await;
    wire.send(format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")).await;
    scene.upstream.wait_until("the first chunk", |all| all.iter().any(|one| one.bytes.ends_with(b"hello\r\n"))).await;
    drop(wire);
    scene.upstream.wait_until("the end", |all| all.iter().all(|one| !one.open)).await;
    assert!(!scene.upstream.bytes().ends_with(b"0\r\n\r\n"), "the origin saw a proper end");
    let record = scene.postern.wait_for_record(|record| record["method"] == "POST").await;
    assert_ne!(record["outcome"], "complete", "{record}");
}

// --- sockets to the origin ---

/// Asserts that the origin got so many connections, and that none of them has seen two different tokens.
fn no_socket_is_shared(scene: &Scene, expected: usize) {
    let connections = scene.upstream.connections();
    assert_eq!(connections.len(), expected);
    for connection in &connections {
        let tokens: Vec<_> = connection.requests.iter().map(|request| request.field("authorization")).collect();
        assert!(tokens.iter().all(|token| *token == tokens[0]), "two accounts shared a socket");
    }
}

#[tokio::test]
async fn sockets_on_both_sides_serve_many_requests() {
    let scene = scene().await;
    let mut wire = scene.tunnel().await;
    for _ in 0..20 {
        wire.send(get("/x")).await;
        assert_passed(&wire.reply().await, 200);
    }
    assert_eq!(scene.upstream.connections().len(), 1);
}

#[tokio::test]
async fn an_agent_that_opens_a_tunnel_for_each_request_finds_a_warm_socket() {
    let scene = scene().await;
    for _ in 0..10 {
        assert_passed(&scene.agent.get(URL).await, 200);
    }
    assert_eq!(scene.upstream.connections().len(), 1);
}

#[tokio::test]
async fn two_deployments_never_share_a_socket() {
    let origin = upstream(HOST).await;
    let settings =
        postern().deployment("other").bound("notion", &origin).binding("{deployment: other, connection: notion}");
    let scene = scene_of(origin, settings).await;
    for _ in 0..3 {
        assert_passed(&scene.agent.get(URL).await, 200);
        assert_passed(&scene.postern.agent("other").get(URL).await, 200);
    }
    assert_eq!(scene.upstream.connections().len(), 2);
}

#[tokio::test]
async fn two_connections_never_share_a_socket() {
    let origin = upstream(HOST).await;
    let settings = postern()
        .connection("one", &[HOST])
        .connection("two", &[HOST])
        .binding("{deployment: bot, connection: one}")
        .binding("{deployment: bot, connection: two}")
        .reached_with(&["one", "two"], &origin);
    let scene = scene_of(origin, settings).await;
    let mut wire = scene.tunnel().await;
    for name in ["one", "two", "one", "two"] {
        wire.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nx-postern-connection: {name}\r\n\r\n")).await;
        assert_passed(&wire.reply().await, 200);
    }
    no_socket_is_shared(&scene, 2);
}

#[tokio::test]
async fn a_changed_secret_never_travels_over_the_sockets_of_the_old_one() {
    let origin = upstream(HOST).await;
    let settings = postern()
        .connection_with("notion", &[HOST], "auth: {type: bearer, token: {sealed: token}}")
        .binding("{deployment: bot, connection: notion}")
        .reached_with(&["notion"], &origin);
    let scene = scene_of(origin, settings).await;
    let mut wire = scene.tunnel().await;
    for secret in ["first-secret-0123456789", "second-secret-0123456789"] {
        beside(&scene.postern, &["secret", "set", "token"]).input(secret).run().answer();
        for _ in 0..2 {
            wire.send(get("/x")).await;
            assert_passed(&wire.reply().await, 200);
            let bearer = format!("Bearer {secret}");
            assert_eq!(scene.upstream.last_request().field("authorization"), Some(bearer.as_str()));
        }
    }
    no_socket_is_shared(&scene, 2);
}

#[tokio::test]
async fn a_socket_that_its_origin_keeps_for_long_is_used_again() {
    let scene = answering("HTTP/1.1 200 OK\r\nKeep-Alive: timeout=60, max=100\r\nContent-Length: 2\r\n\r\nok").await;
    for _ in 0..3 {
        assert_passed(&scene.agent.get(URL).await, 200);
    }
    assert_eq!(scene.upstream.connections().len(), 1);
}

#[tokio::test]
async fn a_socket_that_its_origin_closes_within_a_second_is_not_used_again() {
    let scene = answering("HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1\r\nContent-Length: 2\r\n\r\nok").await;
    for _ in 0..3 {
        assert_passed(&scene.agent.get(URL).await, 200);
    }
    assert_eq!(scene.upstream.connections().len(), 3);
}

#[tokio::test]
async fn a_socket_that_its_origin_says_it_closes_is_not_used_again() {
    let scene = answering("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok").await;
    let mut wire = scene.tunnel().await;
    for _ in 0..3 {
        wire.send(get("/x")).await;
        let reply = wire.reply().await;
        assert_passed(&reply, 200);
        assert_ne!(reply.field("connection"), Some("close"), "the agent's own socket stays:\n{reply}");
    }
    assert_eq!(scene.upstream.connections().len(), 3);
}

#[tokio::test]
async fn a_socket_that_its_origin_closed_meanwhile_fails_no_get() {
    let origin = Upstream::of(&[HOST]).script(one_answer).start().await;
    let scene = scene_with(origin).await;
    for _ in 0..10 {
        assert_passed(&scene.agent.get(URL).await, 200);
    }
}

async fn one_answer(mut conversation: Conversation) {
    conversation.request().await;
    conversation.send(answer("200 OK", "", "ok")).await;
    conversation.finish().await;
}

/// An origin that closes each connection upon its second request, without an answer.
async fn closing_upon_the_second_request() -> Scene {
    let origin = Upstream::of(&[HOST])
        .script(|mut conversation| async move {
            conversation.request().await;
            conversation.send(answer("200 OK", "", "ok")).await;
            conversation.request().await;
            conversation.finish().await;
        })
        .start()
        .await;
    scene_with(origin).await
}

#[tokio::test]
async fn a_get_on_a_socket_that_its_origin_was_about_to_close_is_repeated_on_a_fresh_one() {
    let scene = closing_upon_the_second_request().await;
    assert_passed(&scene.agent.get(URL).await, 200);
    assert_passed(&scene.agent.get(URL).await, 200);
    assert_eq!(scene.upstream.requests().len(), 3);
    assert_eq!(scene.upstream.connections().len(), 2);
}

#[tokio::test]
async fn a_post_that_may_have_been_acted_on_is_not_repeated() {
    let scene = closing_upon_the_second_request().await;
    assert_passed(&scene.agent.get(URL).await, 200);
    let request = format!("POST /pay HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 2\r\n\r\nhi");
    let reply = scene.exchange(request).await;
    scene.refused(&reply, 502, "upstream_unreachable").await;
    assert_eq!(scene.upstream.requests().len(), 2);
}

#[tokio::test]
async fn a_tunnel_that_is_only_relayed_carries_every_byte_both_ways() {
    let origin = Upstream::of(&["blind.test"])
        .plain()
        .script(|mut conversation| async move {
            let heard = conversation.bytes(6).await;
            conversation.send([b"you said: ", heard.as_slice()].concat()).await;
            conversation.finish().await;
        })
        .start()
        .await;
    let settings = postern().deployment_with("bot", ", unbound: tunnel").connect_to("blind.test:443", origin.address());
    let scene = scene_of(origin, settings).await;
    let mut wire = scene.agent.tunnel("blind.test:443").await;
    wire.send([0, 0xff, b'\r', b'\n', 0x16, 3]).await;
    wire.finish().await;
    let (said, end) = wire.rest().await;
    assert_eq!((said.as_slice(), end), (&b"you said: \x00\xff\r\n\x16\x03"[..], End::Clean));
    let record = scene.postern.wait_for_record(|record| record["kind"] == "tunnel").await;
    assert_eq!((&record["bytes_in"], &record["bytes_out"]), (&6.into(), &16.into()), "{record}");
    assert_eq!((&record["host"], &record["outcome"]), (&"blind.test".into(), &"complete".into()), "{record}");
}

#[tokio::test]
async fn a_credential_reaches_only_hosts_of_its_binding_over_a_reload() {
    let scene = scene().await;
    assert_passed(&scene.agent.get(URL).await, 200);
    scene.postern.rewrite(scene.postern.settings().without_bindings().yaml());
    let reply = eventually_answered(&scene.agent, URL, |reply| reply.status() != 200).await;
    assert_refused(&reply, 403, "binding_missing");
}
