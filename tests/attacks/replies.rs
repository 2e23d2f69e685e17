//! What a destination may not do to an agent: answers with ambiguous framing, unasked ones, surplus and missing bytes.
//! A broken answer is visibly broken, and its socket serves nobody else.

use support::{Conversation, End, Upstream, answer, assert_passed, assert_refused};

use crate::scene::{HOST, Scene, scene_with};

const URL: &str = "https://api.notion.test/x";

/// An origin that gives this answer to `/x` and keeps the socket open, and `200 fine` to everything else.
async fn answering_x_with(reply: &'static str) -> Scene {
    let upstream = Upstream::of(&[HOST]).script(move |conversation| serve(conversation, reply)).start().await;
    scene_with(upstream).await
}

async fn serve(mut conversation: Conversation, reply: &'static str) {
    while let Some(request) = conversation.request().await {
        let fine = answer("200 OK", "", "fine");
        conversation.send(if request.target() == "/x" { reply.as_bytes() } else { &fine }).await;
    }
}

/// A second request is served, and not over the socket of the first.
async fn another_socket_serves_the_next(scene: &Scene) {
    let reply = scene.agent.get("https://api.notion.test/next").await;
    assert_passed(&reply, 200);
    assert_eq!(reply.text(), "fine");
    for connection in scene.upstream.connections() {
        let targets: Vec<&str> = connection.requests.iter().map(support::Message::target).collect();
        assert!(targets.len() == 1, "one socket served {targets:?}");
    }
}

#[tokio::test]
async fn f08_bytes_after_an_answer_never_become_another_requests_answer() {
    let surplus = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";
    let scene = answering_x_with(surplus).await;
    let mut wire = scene.tunnel().await;
    wire.send(format!("GET /x HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
    assert_eq!(wire.reply().await.text(), "ok");
    another_socket_serves_the_next(&scene).await;
}

#[tokio::test]
async fn f09_an_answer_with_both_framings_is_invalid_and_its_socket_is_not_reused() {
    for reply in [
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhi!",
        "HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\nhi!",
        "HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 2\r\n\r\nhi",
        "SSH-2.0-OpenSSH_9.2\r\n\r\n",
    ] {
        let scene = answering_x_with(reply).await;
        let got = scene.agent.get(URL).await;
        assert_eq!(got.status(), 502, "after {reply:?}:\n{got}");
        assert_refused(&got, 502, "upstream_invalid");
        another_socket_serves_the_next(&scene).await;
    }
}

#[tokio::test]
async fn f09_an_unasked_101_is_invalid_and_its_socket_is_not_reused() {
    let scene =
        answering_x_with("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\npoison").await;
    assert_refused(&scene.agent.get(URL).await, 502, "upstream_invalid");
    another_socket_serves_the_next(&scene).await;
}

#[tokio::test]
async fn f09_the_connection_field_of_an_answer_is_rebuilt() {
    let fields = "Connection: close, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\n";
    let upstream = Upstream::of(&[HOST]).answer(move |_| answer("200 OK", fields, "ok")).start().await;
    let scene = scene_with(upstream).await;
    let reply = scene.agent.get(URL).await;
    assert_passed(&reply, 200);
    for name in ["x-hop", "keep-alive", "proxy-connection"] {
        assert_eq!(reply.field(name), None, "{reply}");
    }
}

#[tokio::test]
async fn r15_an_answer_cut_off_by_the_destination_is_visibly_broken() {
    for (reply, framing) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", "a length"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "chunks"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\nhello", "an open chunk"),
    ] {
        let upstream = Upstream::of(&[HOST])
            .script(move |mut conversation| async move {
                conversation.request().await;
                conversation.send(reply).await;
                conversation.finish().await;
            })
            .start()
            .await;
        let scene = scene_with(upstream).await;
        let mut wire = scene.tunnel().await;
        wire.send(format!("GET /x HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
        let got = wire.reply().await;
        assert_eq!(got.status(), 200);
        assert!(got.broken.is_some(), "an answer framed by {framing} was cut off, but looks whole:\n{got}");
        let record = scene.postern.wait_for_record(|record| record["status"] == 200).await;
        assert_eq!(record["outcome"], "cut_off", "{record}");
    }
}

#[tokio::test]
async fn r15_an_answer_reset_by_the_destination_is_visibly_broken() {
    let upstream = Upstream::of(&[HOST])
        .script(|mut conversation| async move {
            conversation.request().await;
            conversation.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello").await;
            conversation.reset();
        })
        .start()
        .await;
    let scene = scene_with(upstream).await;
    let mut wire = scene.tunnel().await;
    wire.send(format!("GET /x HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
    match wire.try_reply_to("GET").await {
        Ok(reply) if reply.status() == 200 => assert!(reply.broken.is_some(), "a reset answer looks whole:\n{reply}"),
        Ok(reply) => assert_refused(&reply, 502, "upstream_unreachable"),
        Err(_) => {}
    }
}

#[tokio::test]
async fn r15_an_answer_that_ends_with_its_socket_is_whole() {
    let upstream = Upstream::of(&[HOST])
        .script(|mut conversation| async move {
            conversation.request().await;
            conversation.send("HTTP/1.1 200 OK\r\n\r\nhello").await;
            conversation.finish().await;
        })
        .start()
        .await;
    let scene = scene_with(upstream).await;
    let reply = scene.agent.get(URL).await;
    assert_passed(&reply, 200);
    assert_eq!((reply.text().as_str(), &reply.broken), ("hello", &None));
}

#[tokio::test]
async fn g11_an_answer_without_close_notify_is_visibly_broken() {
    for reply in ["HTTP/1.1 200 OK\r\n\r\nhello", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"] {
        let upstream = Upstream::of(&[HOST])
            .script(move |mut conversation| async move {
                conversation.request().await;
                conversation.send(reply).await;
                conversation.cut().await;
            })
            .start()
            .await;
        let scene = scene_with(upstream).await;
        let mut wire = scene.tunnel().await;
        wire.send(format!("GET /x HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
        let got = wire.reply().await;
        assert_eq!(got.status(), 200);
        assert!(got.broken.is_some(), "truncated by an attacker, but looks whole:\n{got}");
        let (_, end) = wire.rest().await;
        assert_ne!(end, End::Clean, "the agent's TLS ended as if all had come");
    }
}

#[tokio::test]
async fn l09_an_agent_that_ends_its_side_still_gets_its_answer() {
    let scene = scene_with(support::upstream(HOST).await).await;
    for count in [1, 3] {
        let mut wire = scene.tunnel().await;
        wire.send(format!("GET /x HTTP/1.1\r\nHost: {HOST}\r\n\r\n").repeat(count)).await;
        wire.finish().await;
        for _ in 0..count {
            assert_passed(&wire.reply().await, 200);
        }
        let (rest, end) = wire.rest().await;
        assert_eq!((rest.as_slice(), end), (&b""[..], End::Clean));
    }
}
