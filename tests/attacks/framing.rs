//! Group A, framing: where a body ends, what CONNECT carries, what a pipeline is. One message in is one message out, or
//! the connection dies.

use support::{Upstream, Wire, answer, assert_passed, assert_refused, client_hello};

use crate::scene::{HOST, TARGET, code, postern, scene, scene_bound_as, scene_of, scene_with};

/// A POST with these further lines, which bring their own line ends, and this content as it stands.
fn post(lines: &str, body: &str) -> String {
    format!("POST /x HTTP/1.1\r\nHost: {HOST}\r\n{lines}\r\n{body}")
}

/// A chunked POST with this content as it stands.
fn chunked(body: &str) -> String {
    post("Transfer-Encoding: chunked\r\n", body)
}

#[tokio::test]
async fn a01_content_length_then_transfer_encoding_is_refused() {
    let scene = scene().await;
    let lines = "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n";
    scene.all_malformed([post(lines, "0\r\n\r\nX"), post(lines, "")]).await;
}

#[tokio::test]
async fn a02_transfer_encoding_then_content_length_is_refused() {
    let scene = scene().await;
    let lines = "Transfer-Encoding: chunked\r\nContent-Length: 6\r\n";
    scene.all_malformed([post(lines, "0\r\n\r\nX"), post(lines, "0\r\n\r\n")]).await;
}

#[tokio::test]
async fn a02_content_lengths_that_could_be_read_in_two_ways_are_refused() {
    let scene = scene().await;
    let cases = [
        "Content-Length: 2\r\nContent-Length: 2\r\n",
        "Content-Length: 2\r\nContent-Length: 3\r\n",
        "Content-Length: 2, 2\r\n",
        "Content-Length: +2\r\n",
        "Content-Length: -2\r\n",
        "Content-Length: 0x2\r\n",
        "Content-Length: 2 2\r\n",
        "Content-Length: 2.0\r\n",
        "Content-Length:\r\n",
        "Content-Length: 18446744073709551618\r\n",
    ];
    scene.all_malformed(cases.map(|lines| post(lines, "hi"))).await;
}

#[tokio::test]
async fn a03_an_unknown_transfer_coding_is_refused() {
    let scene = scene().await;
    let codings = ["xchunked", "chunkedx", "\u{b}chunked", "\"chunked\"", "chunked;q=1", "chunked\u{a0}", "x"];
    scene.all_malformed(codings.map(|coding| post(&format!("Transfer-Encoding: {coding}\r\n"), "0\r\n\r\n"))).await;
}

#[tokio::test]
async fn a04_two_transfer_encoding_lines_are_refused() {
    let scene = scene().await;
    let cases = [("chunked", "identity"), ("identity", "chunked"), ("chunked", "chunked"), ("gzip", "chunked")];
    let lines = |(first, second)| format!("Transfer-Encoding: {first}\r\nTransfer-Encoding: {second}\r\n");
    scene.all_malformed(cases.map(|case| post(&lines(case), "0\r\n\r\n"))).await;
}

#[tokio::test]
async fn a05_only_chunked_is_a_transfer_coding() {
    let scene = scene().await;
    let codings = ["identity, chunked", "chunked, chunked", "identity", "chunked, gzip", "chunked,", ", chunked", ""];
    scene.all_malformed(codings.map(|coding| post(&format!("Transfer-Encoding: {coding}\r\n"), "0\r\n\r\n"))).await;
    let gzip = post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n");
    scene.refused_and_closed(gzip, 501, "request_malformed").await;
    scene.nothing_reached_the_origin().await;
}

#[tokio::test]
async fn a05_chunked_in_any_case_is_chunked() {
    let scene = scene().await;
    assert_passed(&scene.exchange(post("Transfer-Encoding: Chunked\r\n", "2\r\nhi\r\n0\r\n\r\n")).await, 200);
    assert_eq!(scene.upstream.only_request().text(), "hi");
}

#[tokio::test]
async fn a06_transfer_encoding_in_http_1_0_is_refused() {
    let scene = scene().await;
    let bytes = format!("POST /x HTTP/1.0\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    scene.all_malformed([bytes]).await;
}

#[tokio::test]
async fn a07_chunk_sizes_that_parsers_read_differently_are_refused() {
    let scene = scene().await;
    for body in [
        "0x2\r\nhi\r\n0\r\n\r\n",
        "+2\r\nhi\r\n0\r\n\r\n",
        "-2\r\nhi\r\n0\r\n\r\n",
        " 2\r\nhi\r\n0\r\n\r\n",
        "2 \r\nhi\r\n0\r\n\r\n",
        "2_0\r\nhi\r\n0\r\n\r\n",
        "\r\nhi\r\n0\r\n\r\n",
        "10000000000000002\r\nhi\r\n0\r\n\r\n",
        "2\nhi\n0\n\n",
        "2\r\nhi\n0\r\n\r\n",
        "2\r\nhiX0\r\n\r\n",
        "2\r\nhi\r\n0\n\r\n",
        "2\r\nhi\r\n0\r\n\n",
        "2;x\ny\r\nhi\r\n0\r\n\r\n",
        "2\rhi\r\n0\r\n\r\n",
    ] {
        let reply = scene.exchange(chunked(body)).await;
        assert_eq!((reply.status(), code(&reply)), (400, Some("request_malformed")), "{body:?}:\n{reply}");
    }
    assert_eq!(scene.upstream.requests(), [], "a body that is no body was completed");
}

#[tokio::test]
async fn a23_a_long_chunk_extension_is_refused() {
    let scene = scene().await;
    let reply = scene.exchange(chunked(&format!("2;{}\r\nhi\r\n0\r\n\r\n", "x".repeat(20_000)))).await;
    assert_refused(&reply, 400, "request_malformed");
    assert_eq!(scene.upstream.requests(), []);
}

#[tokio::test]
async fn a23_a_short_chunk_extension_stays_here() {
    let scene = scene().await;
    assert_passed(&scene.exchange(chunked("2;a=b\r\nhi\r\n0;c\r\n\r\n")).await, 200);
    let request = scene.upstream.only_request();
    assert_eq!(request.text(), "hi");
    assert!(!String::from_utf8_lossy(&request.raw).contains("a=b"), "{request}");
}

#[tokio::test]
async fn a23_a_million_one_byte_chunks_are_refused() {
    let scene = scene().await;
    let reply = scene.exchange(chunked(&"1\r\nx\r\n".repeat(1_000_000))).await;
    assert_refused(&reply, 400, "request_malformed");
    assert_eq!(scene.upstream.requests(), []);
}

#[tokio::test]
async fn a24_trailers_carry_no_field_of_a_head_in_either_direction() {
    let upstream = Upstream::of(&[HOST])
        .answer(|_| {
            let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n";
            format!("{head}2\r\nok\r\n0\r\nAuthorization: evil\r\nContent-Length: 9\r\nHost: evil.test\r\nSet-Cookie: a=b\r\nX-Sum: 1\r\n\r\n")
                .into_bytes()
        })
        .start()
        .await;
    let scene = scene_with(upstream).await;
    let trailers = "Authorization: evil\r\nContent-Length: 9\r\nHost: evil.test\r\nProxy-Authorization: evil\r\n";
    let reply = scene.exchange(chunked(&format!("2\r\nhi\r\n0\r\n{trailers}X-Sum: 1\r\n\r\n"))).await;
    assert_passed(&reply, 200);
    assert_eq!(reply.text(), "ok");
    let request = scene.upstream.only_request();
    assert_eq!(request.text(), "hi");
    for message in [&request, &reply] {
        for (name, _) in &message.trailers {
            assert!(name.eq_ignore_ascii_case("x-sum"), "the trailer {name} was forwarded:\n{message}");
        }
    }
    assert_eq!(request.field("authorization"), Some(format!("Bearer {}", scene.postern.token("notion")).as_str()));
}

#[tokio::test]
async fn a25_a_get_whose_body_is_a_request_stays_one_request() {
    let scene = scene().await;
    let inner = "GET /hidden HTTP/1.1\r\nHost: evil.test\r\n\r\n";
    let length = inner.len();
    let reply =
        scene.exchange(format!("GET /x HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {length}\r\n\r\n{inner}")).await;
    assert_passed(&reply, 200);
    let request = scene.upstream.only_request();
    assert_eq!((request.start.as_str(), request.text().as_str()), ("GET /x HTTP/1.1", inner));
}

#[tokio::test]
async fn a25_a_chunked_get_keeps_its_body() {
    let scene = scene().await;
    let head = format!("GET /x HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_passed(&scene.exchange(format!("{head}2\r\nhi\r\n0\r\n\r\n")).await, 200);
    assert_eq!(scene.upstream.only_request().text(), "hi");
}

#[tokio::test]
async fn a26_an_expectation_of_100_is_met_here_and_stays_here() {
    let scene = scene().await;
    let mut wire = scene.tunnel().await;
    wire.send(post("Content-Length: 2\r\nExpect: 100-continue\r\n", "")).await;
    assert_eq!(wire.reply().await.status(), 100);
    wire.send("hi").await;
    assert_passed(&wire.reply().await, 200);
    let request = scene.upstream.only_request();
    assert_eq!((request.field("expect"), request.text().as_str()), (None, "hi"));
}

#[tokio::test]
async fn a26_a_body_that_does_not_wait_for_100_is_taken() {
    let scene = scene().await;
    let mut wire = scene.tunnel().await;
    wire.send(post("Content-Length: 2\r\nExpect: 100-continue\r\n", "hi")).await;
    let mut reply = wire.reply().await;
    if reply.status() == 100 {
        reply = wire.reply().await;
    }
    assert_passed(&reply, 200);
    assert_eq!(scene.upstream.only_request().text(), "hi");
}

#[tokio::test]
async fn a26_another_expectation_is_417() {
    let scene = scene().await;
    for expectation in ["y 100-continue", "100-continue, y", "100-continue y", "\"100-continue\"", "x"] {
        let lines = format!("Content-Length: 2\r\nExpect: {expectation}\r\n");
        let reply = scene.exchange(post(&lines, "hi")).await;
        assert_eq!((reply.status(), code(&reply)), (417, Some("request_malformed")), "{expectation}:\n{reply}");
    }
    scene.nothing_reached_the_origin().await;
}

#[tokio::test]
async fn a26_an_early_answer_does_not_deadlock_and_its_socket_is_not_reused() {
    let upstream = Upstream::of(&[HOST])
        .script(|mut conversation| async move {
            while let Some(head) = conversation.head().await {
                if head.method() == "POST" {
                    // Answered at the head; the body was never read.
                    conversation.send(answer("401 Unauthorized", "", "early")).await;
                    return conversation.closed().await;
                }
                conversation.send(answer("200 OK", "", "ok")).await;
            }
        })
        .start()
        .await;
    let scene = scene_with(upstream).await;
    let mut wire = scene.tunnel().await;
    wire.send(post("Content-Length: 1000000\r\n", &"x".repeat(1000))).await;
    let reply = wire.reply().await;
    assert_passed(&reply, 401);
    assert_eq!(reply.text(), "early");
    drop(wire);
    assert_passed(&scene.agent.get(&format!("https://{HOST}/after")).await, 200);
    let targets: Vec<Vec<String>> = scene
        .upstream
        .connections()
        .iter()
        .map(|connection| connection.requests.iter().map(|request| request.target().to_owned()).collect())
        .collect();
    assert_eq!(targets, [["/x"], ["/after"]], "the socket with the unread body was used again");
}

#[tokio::test]
async fn a27_a_pipeline_is_answered_in_order_each_request_judged_by_itself() {
    let scene = {
        let upstream = Upstream::of(&[HOST]).answer(|request| answer("200 OK", "", request.target())).start().await;
        let settings = postern()
            .connection("notion", &[HOST])
            .reached_with(&["notion"], &upstream)
            .binding("{deployment: bot, connection: notion, paths: [\"/v1/**\"]}");
        scene_of(upstream, settings).await
    };
    const REQUESTS: usize = 1000;
    let path = |number: usize| if number % 10 == 3 { format!("/v2/{number}") } else { format!("/v1/{number}") };
    let pipeline: String =
        (0..REQUESTS).map(|number| format!("GET {} HTTP/1.1\r\nHost: {HOST}\r\n\r\n", path(number))).collect();
    let mut wire = scene.tunnel().await;
    let first = wire.exchange(pipeline).await;
    let mut replies = vec![first];
    while replies.len() < REQUESTS {
        replies.push(wire.reply().await);
    }
    for (number, reply) in replies.iter().enumerate() {
        if number % 10 == 3 {
            assert_refused(reply, 403, "request_forbidden");
        } else {
            assert_passed(reply, 200);
            assert_eq!(reply.text(), path(number));
        }
    }
}

#[tokio::test]
async fn a27_what_follows_a_malformed_request_is_never_read() {
    let scene = scene().await;
    let pipeline = post("Content-Length: 6\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\nGET /hidden HTTP/1.1\r\n\r\n");
    scene.refused_and_closed(pipeline, 400, "request_malformed").await;
    scene.nothing_reached_the_origin().await;
}

#[tokio::test]
async fn a30_a_connect_with_a_body_is_refused() {
    let scene = scene().await;
    for lines in
        ["Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n", "Content-Length: 0\r\nContent-Length: 0\r\n"]
    {
        let mut wire = scene.agent.socket().await;
        let login = scene.agent.login();
        wire.send(format!("CONNECT {TARGET} HTTP/1.1\r\nHost: {TARGET}\r\n{login}{lines}\r\nhello")).await;
        assert_refused(&wire.reply().await, 400, "request_malformed");
        wire.closed().await;
    }
    scene.nothing_reached_the_origin().await;
}

#[tokio::test]
async fn a30_a_clienthello_may_come_before_our_200() {
    let scene = scene().await;
    let mut wire = scene.agent.socket().await;
    let hello = client_hello(HOST);
    wire.send([scene.agent.connect_request(TARGET).as_bytes(), &hello].concat()).await;
    assert_eq!(wire.reply_to("CONNECT").await.status(), 200);
    // A handshake record, in it a ServerHello (RFC 8446 §4).
    let record = wire.read(6).await;
    assert_eq!((record[0], record[5]), (0x16, 0x02), "{record:?}");
}

#[tokio::test]
async fn a30_other_bytes_before_our_200_never_reach_a_destination() {
    let scene = scene().await;
    let inner = format!("GET /hidden HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    for early in [inner.as_str(), "\x16\x03\x01\0\x05hello", "SSH-2.0-x\r\n", "\0\0\0\0"] {
        let mut wire = scene.agent.socket().await;
        wire.send([scene.agent.connect_request(TARGET).as_bytes(), early.as_bytes()].concat()).await;
        wire.finish().await;
        let (rest, _) = wire.rest().await;
        let rest = String::from_utf8_lossy(&rest).into_owned();
        assert!(rest.matches("HTTP/1.1 2").count() <= 1, "after {early:?} more than the CONNECT was served:\n{rest}");
    }
    scene.nothing_reached_the_origin().await;
}

#[tokio::test]
async fn a30_connect_over_http_1_0_without_host_opens_a_tunnel() {
    let scene = scene().await;
    let mut wire = scene.agent.socket().await;
    wire.send(format!("CONNECT {TARGET} HTTP/1.0\r\n{}\r\n", scene.agent.login())).await;
    assert_eq!(wire.reply_to("CONNECT").await.status(), 200);
    let mut wire = scene.agent.secure(wire, TARGET, support::Hello::default()).await.unwrap();
    assert_passed(&get_over(&mut wire).await, 200);
}

#[tokio::test]
async fn a31_a_connect_inside_a_tunnel_is_refused_and_dials_nothing() {
    let scene = scene().await;
    let trap = Upstream::of(&["trap.test"]).plain().start().await;
    for target in [trap.address().to_string(), TARGET.to_owned(), "127.0.0.1:22".to_owned()] {
        let mut wire = scene.tunnel().await;
        wire.send(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n")).await;
        let reply = wire.reply_to("CONNECT").await;
        assert_refused(&reply, 405, "method_refused");
    }
    assert_eq!(trap.connections().len(), 0);
    scene.nothing_reached_the_origin().await;
}

#[tokio::test]
async fn a34_a_refused_method_with_a_body_does_not_turn_the_body_into_a_request() {
    let scene = scene_bound_as("{deployment: bot, connection: notion, methods: [GET]}").await;
    let inner = format!("GET /hidden HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    let mut wire = scene.tunnel().await;
    wire.send(post(&format!("Content-Length: {}\r\n", inner.len()), &inner)).await;
    assert_refused(&wire.reply().await, 403, "request_forbidden");
    scene.nothing_reached_the_origin().await;
}

async fn get_over(wire: &mut Wire) -> support::Message {
    wire.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
    wire.reply().await
}
