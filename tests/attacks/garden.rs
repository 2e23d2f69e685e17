//! The small garden: what postern forwards is replayed to four parsers that share no code with it or each other. All of
//! them, and our own, must see the same requests.

use support::{Garden, Seen, assert_passed};

use crate::scene::{HOST, scene_with, shown};

/// Requests that postern accepts, each as it stands on the wire of an agent.
pub(crate) fn accepted() -> Vec<String> {
    let get = |lines: &str| format!("GET /x HTTP/1.1\r\nHost: {HOST}\r\n{lines}\r\n");
    let post = |lines: &str, body: &str| format!("POST /x HTTP/1.1\r\nHost: {HOST}\r\n{lines}\r\n{body}");
    let target = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    let inner = "GET /hidden HTTP/1.1\r\nHost: evil.test\r\n\r\n";
    let chunked = "Transfer-Encoding: chunked\r\n";
    let length = |length: usize| format!("Content-Length: {length}\r\n");
    vec![
        get(""),
        get("Connection: close\r\n"),
        get("Connection: keep-alive, Host, Content-Length\r\n"),
        get("Content-Length: 0\r\n"),
        get("Accept:\r\nX-Empty: \r\nX-Spaces:   a  b\t\r\n"),
        get("X: transfer-encoding: chunked\r\n"),
        get("Proxy-Connection: keep-alive\r\nTE: trailers\r\nKeep-Alive: 5\r\n"),
        format!("GET /x HTTP/1.0\r\nHost: {HOST}\r\n\r\n"),
        format!("GET https://{HOST}/x?y HTTP/1.1\r\nHost: {HOST}:443\r\n\r\n"),
        format!("\r\nGET /x HTTP/1.1\r\nHost: {HOST}\r\n\r\n"),
        format!("HEAD /x HTTP/1.1\r\nHost: {HOST}\r\n\r\n"),
        format!("DELETE /x HTTP/1.1\r\nHost: {HOST}\r\n\r\n"),
        target("//b.test/p"),
        target("/a/..//./b"),
        target("/a;b=c/%2e%2e/?q=%0d%0a#f"),
        get(&length(inner.len())) + inner,
        get(chunked) + &format!("{:x}\r\n{inner}\r\n0\r\n\r\n", inner.len()),
        post(&length(5), "hello"),
        post(&length(0), ""),
        post("", ""),
        post(&format!("content-LENGTH:\t{}  \r\n", inner.len()), inner),
        post(chunked, "0\r\n\r\n"),
        post(chunked, "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"),
        post(chunked, "00005;a=\"b\"\r\nhello\r\n00\r\n\r\n"),
        // No trailers here: the JDK's server refuses every body that has some.
        post("Transfer-Encoding:  CHUNKED\t\r\n", "A\r\n0\r\n\r\nGET /\r\n0\r\n\r\n"),
        post(&format!("{}Expect: 100-continue\r\n", length(5)), "hello"),
        format!("PUT /x HTTP/1.1\r\nHost: {HOST}\r\n{chunked}\r\n{:x}\r\n{}\r\n0\r\n\r\n", 70_000, "z".repeat(70_000)),
        get("") + &get("") + &post(&length(2), "hi") + &get(""),
    ]
}

#[tokio::test]
async fn every_parser_sees_the_same_requests_in_what_is_forwarded() {
    let garden = Garden::start().await;
    let cases = accepted();
    assert!(cases.len() >= 24);
    for case in cases {
        // A fresh origin and proxy for each case: all bytes that the origin got are this case's.
        let scene = scene_with(support::upstream(HOST).await).await;
        let requests = case.matches(" HTTP/1.").count() - case.matches("/hidden").count();
        let method = case.trim_start().split(' ').next().unwrap_or_default();
        let mut wire = scene.tunnel().await;
        wire.send(&case).await;
        let mut answered = 0;
        while answered < requests {
            let reply = wire.reply_to(method).await;
            if reply.status() != 100 {
                assert_passed(&reply, 200);
                answered += 1;
            }
        }
        let ours: Vec<Seen> = scene.upstream.requests().iter().map(Seen::of).collect();
        assert_eq!(ours.len(), requests, "{}", shown(case.as_bytes()));
        let forwarded = scene.upstream.bytes();
        for (parser, seen) in garden.replay(&forwarded).await {
            assert_eq!(seen, ours, "{parser} disagrees about {}", shown(&forwarded));
        }
    }
}
