//! Everything that may wait has a limit with a name, and ends there; a destination that thinks for long has none unless
//! the operator sets one. Each test sets the limit that it waits for and leaves the others far away.

use std::sync::Arc;
use std::time::{Duration, Instant};

use support::{Message, Upstream, Wire, assert_passed, assert_refused, client_hello};
use tokio::sync::Notify;

use crate::bulk::{BulkOrigin, bound_to, bulk_agent};
use crate::scene::{HOST, Scene, TARGET, get, postern, scene_limited, scene_of};

/// What every limit is set to here.
const LIMIT: Duration = Duration::from_millis(300);
/// As `limits:` spells it.
const LIMIT_TEXT: &str = "300ms";

/// The proxy ends the socket, no sooner than the limit allows; what it still said.
async fn ends_at_the_limit(wire: &mut Wire, began_at: Instant) -> Vec<u8> {
    let (said, _) = wire.rest().await;
    let took = began_at.elapsed();
    assert!(took >= LIMIT, "it ended after {took:?} already");
    said
}

#[tokio::test]
async fn a_fresh_socket_that_says_nothing_ends_at_first_request_in() {
    let scene = scene_limited("first_request_in", LIMIT_TEXT).await;
    let began_at = Instant::now();
    let mut wire = scene.agent.socket().await;
    assert_eq!(ends_at_the_limit(&mut wire, began_at).await, b"");
}

#[tokio::test]
async fn a_tunnel_in_which_no_request_comes_ends_at_first_request_in() {
    let scene = scene_limited("first_request_in", LIMIT_TEXT).await;
    let began_at = Instant::now();
    let mut wire = scene.tunnel().await;
    assert_eq!(ends_at_the_limit(&mut wire, began_at).await, b"");
}

#[tokio::test]
async fn a_tunnel_that_is_silent_between_requests_ends_at_idle_in() {
    let scene = scene_limited("idle_in", LIMIT_TEXT).await;
    let mut wire = scene.tunnel().await;
    for _ in 0..3 {
        wire.send(get("/x")).await;
        assert_passed(&wire.reply().await, 200);
    }
    let began_at = Instant::now();
    assert_eq!(ends_at_the_limit(&mut wire, began_at).await, b"");
}

#[tokio::test]
async fn a_client_hello_that_never_comes_ends_at_handshake_in() {
    let scene = scene_limited("handshake_in", LIMIT_TEXT).await;
    let began_at = Instant::now();
    let mut wire = scene.agent.tunnel(TARGET).await;
    assert_eq!(ends_at_the_limit(&mut wire, began_at).await, b"");
}

#[tokio::test]
async fn a_client_hello_that_breaks_off_ends_at_handshake_in() {
    let scene = scene_limited("handshake_in", LIMIT_TEXT).await;
    let hello = client_hello(HOST);
    let began_at = Instant::now();
    let mut wire = scene.agent.tunnel(TARGET).await;
    wire.send(&hello[..hello.len() / 2]).await;
    ends_at_the_limit(&mut wire, began_at).await;
}

#[tokio::test]
async fn a_handshake_that_breaks_off_ends_at_handshake_in() {
    let scene = scene_limited("handshake_in", LIMIT_TEXT).await;
    let began_at = Instant::now();
    let mut wire = scene.agent.tunnel(TARGET).await;
    wire.send(client_hello(HOST)).await;
    let said = ends_at_the_limit(&mut wire, began_at).await;
    assert_eq!(said.first(), Some(&0x16), "its own half of the handshake");
}

#[tokio::test]
async fn a_head_that_breaks_off_ends_at_head_in() {
    let scene = scene_limited("head_in", LIMIT_TEXT).await;
    let began_at = Instant::now();
    let mut wire = scene.tunnel().await;
    wire.send("GET / HTTP/1.1\r\nHost: ").await;
    ends_at_the_limit(&mut wire, began_at).await;
    assert!(scene.upstream.connections().is_empty());
}

#[tokio::test]
async fn a_head_that_comes_byte_by_byte_ends_at_head_in_all_the_same() {
    let scene = scene_limited("head_in", LIMIT_TEXT).await;
    let began_at = Instant::now();
    let mut wire = scene.tunnel().await;
    wire.send("GET / HTTP/1.1\r\nX: ").await;
    let mut tick = tokio::time::interval(LIMIT / 10);
    // Twice as many bytes as fit into the limit; each is sent long before any silence could count.
    for _ in 0..20 {
        tick.tick().await;
        wire.send("x").await;
    }
    let (_, _) = wire.rest().await;
    let took = began_at.elapsed();
    assert!(took >= LIMIT, "it ended after {took:?} already");
}

#[tokio::test]
async fn a_head_at_the_proxys_own_door_that_breaks_off_ends_at_head_in() {
    let scene = scene_limited("head_in", LIMIT_TEXT).await;
    let began_at = Instant::now();
    let mut wire = scene.agent.socket().await;
    wire.send(format!("CONNECT {TARGET} HTT")).await;
    ends_at_the_limit(&mut wire, began_at).await;
}

#[tokio::test]
async fn a_body_that_stalls_ends_at_body_stall_in() {
    for framing in ["Content-Length: 10\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"] {
        let origin = reading_only().await;
        let settings = postern().bound("notion", &origin).limit("body_stall_in", LIMIT_TEXT);
        let scene = scene_of(origin, settings).await;
        let mut wire = scene.tunnel().await;
        let began_at = Instant::now();
        wire.send(format!("POST / HTTP/1.1\r\nHost: {HOST}\r\n{framing}")).await;
        ends_at_the_limit(&mut wire, began_at).await;
        scene.upstream.wait_until("its socket to end", |all| all.iter().all(|one| !one.open)).await;
        let record = scene.postern.wait_for_record(|record| record["method"] == "POST").await;
        assert_ne!(record["outcome"], "complete", "{record}");
    }
}

/// An origin that takes everything and answers nothing.
async fn reading_only() -> Upstream {
    Upstream::of(&[HOST])
        .script(|mut conversation| async move {
            conversation.head().await;
            conversation.closed().await;
        })
        .start()
        .await
}

#[tokio::test]
async fn an_agent_that_reads_nothing_is_cut_at_write_stall_in() {
    let origin = BulkOrigin::start().await;
    let postern = bound_to(&origin).limit("write_stall_in", LIMIT_TEXT).start().await;
    let mut agent = bulk_agent(&postern).await;
    let began_at = Instant::now();
    agent.ask(1 << 30).await;
    let record = postern.wait_for_record(|record| record["status"] == 200).await;
    let took = began_at.elapsed();
    assert!(took >= LIMIT, "it ended after {took:?} already");
    assert_eq!(record["outcome"], "cut_off", "{record}");
    assert!(record["bytes_out"].as_u64().unwrap() < 64 << 20, "it was buffered: {record}");
}

#[tokio::test]
async fn an_origin_that_falls_silent_within_its_answer_is_cut_at_response_silence_in() {
    let origin = Upstream::of(&[HOST])
        .script(|mut conversation| async move {
            conversation.request().await;
            conversation.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello").await;
            conversation.closed().await;
        })
        .start()
        .await;
    let settings = postern().bound("notion", &origin).limit("response_silence_in", LIMIT_TEXT);
    let scene = scene_of(origin, settings).await;
    let mut wire = scene.tunnel().await;
    let began_at = Instant::now();
    wire.send(get("/x")).await;
    let reply = wire.reply().await;
    assert!(began_at.elapsed() >= LIMIT);
    assert_eq!((reply.status(), reply.text().as_str()), (200, "hello"));
    assert!(reply.broken.is_some(), "it looks whole:\n{reply}");
    let record = scene.postern.wait_for_record(|record| record["status"] == 200).await;
    assert_eq!(record["outcome"], "cut_off", "{record}");
}

#[tokio::test]
async fn a_relayed_tunnel_that_is_silent_both_ways_ends_at_tunnel_idle_in() {
    let origin = Upstream::of(&["blind.test"])
        .plain()
        .script(|mut conversation| async move {
            conversation.send("hello").await;
            conversation.closed().await;
        })
        .start()
        .await;
    let settings = postern()
        .deployment_with("bot", ", tunnel: [blind.test]")
        .connect_to("blind.test:443", origin.address())
        .limit("tunnel_idle_in", LIMIT_TEXT);
    let scene = scene_of(origin, settings).await;
    let began_at = Instant::now();
    let mut wire = scene.agent.tunnel("blind.test:443").await;
    assert_eq!(ends_at_the_limit(&mut wire, began_at).await, b"hello");
    scene.upstream.wait_until("its socket to end", |all| all.iter().all(|one| !one.open)).await;
}

#[tokio::test]
async fn a_warm_socket_that_nobody_uses_ends_at_pool_idle_in() {
    let scene = scene_limited("pool_idle_in", LIMIT_TEXT).await;
    let began_at = Instant::now();
    assert_passed(&scene.agent.get("https://api.notion.test/").await, 200);
    scene.upstream.wait_until("its socket to end", |all| all.iter().all(|one| !one.open)).await;
    assert!(began_at.elapsed() >= LIMIT);
    assert_passed(&scene.agent.get("https://api.notion.test/").await, 200);
    assert_eq!(scene.upstream.connections().len(), 2);
}

#[tokio::test]
async fn a_long_silence_before_an_answer_and_within_it_is_not_cut() {
    let told = Arc::new(Notify::new());
    let script_told = Arc::clone(&told);
    let origin = Upstream::of(&[HOST])
        .script(move |mut conversation| {
            let told = Arc::clone(&script_told);
            async move {
                conversation.request().await;
                told.notified().await;
                conversation.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello").await;
                told.notified().await;
                conversation.send("world").await;
                conversation.closed().await;
            }
        })
        .start()
        .await;
    let mut settings = postern().bound("notion", &origin);
    for name in [
        "head_in",
        "handshake_in",
        "first_request_in",
        "idle_in",
        "body_stall_in",
        "write_stall_in",
        "tunnel_idle_in",
        "pool_idle_in",
    ] {
        settings = settings.limit(name, LIMIT_TEXT);
    }
    let scene = scene_of(origin, settings).await;
    let mut wire = scene.tunnel().await;
    wire.send(format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 2\r\n\r\nhi")).await;
    for _ in 0..2 {
        three_limits_pass(&scene).await;
        told.notify_one();
    }
    let reply: Message = wire.reply().await;
    assert_passed(&reply, 200);
    assert_eq!((reply.text().as_str(), &reply.broken), ("helloworld", &None));
}

/// Sockets that say nothing live and die, one after the other: so much time has passed.
async fn three_limits_pass(scene: &Scene) {
    for _ in 0..3 {
        scene.agent.socket().await.closed().await;
    }
}

#[tokio::test]
async fn the_answer_to_a_request_that_was_refused_does_not_wait_for_its_body() {
    let scene = scene_limited("body_stall_in", "1h").await;
    let mut wire = scene.agent.intercepted("unbound.test:443").await;
    wire.send("POST / HTTP/1.1\r\nHost: unbound.test\r\nContent-Length: 1000000\r\n\r\nx").await;
    assert_refused(&wire.reply().await, 403, "binding_missing");
}
