//! Group C: who is meant. CONNECT, SNI, Host and the certificate agree, or no credential moves; every spelling of a host
//! is either the one canonical or refused.

use rustls::AlertDescription;
use support::{
    Authority, End, Hello, Upstream, alert_of, answer, assert_passed, assert_refused, authority, client_hello_naming,
    upstream,
};

use crate::scene::{HOST, TARGET, code, postern, scene, scene_of};

const EVIL: &str = "evil.test";

#[tokio::test]
async fn c01_a_host_that_is_not_the_tunnels_is_refused_and_no_token_moves() {
    let bound = upstream(HOST).await;
    let evil = upstream(EVIL).await;
    let settings = postern().bound("notion", &bound).reachable(&evil);
    let scene = scene_of(bound, settings).await;
    let mut wire = scene.agent.intercepted("evil.test:443").await;
    wire.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
    assert_refused(&wire.reply().await, 421, "destination_mismatch");
    assert_eq!(evil.connections().len(), 0);
    scene.nothing_reached_the_origin().await;
}

#[tokio::test]
async fn c01_a_name_in_the_clienthello_that_is_not_the_tunnels_ends_the_handshake() {
    let bound = upstream(HOST).await;
    let evil = upstream(EVIL).await;
    let settings = postern().bound("notion", &bound).reachable(&evil);
    let scene = scene_of(bound, settings).await;
    for (target, name) in
        [("evil.test:443", HOST), (TARGET, EVIL), (TARGET, "xapi.notion.test"), (TARGET, "notion.test")]
    {
        let error = scene.agent.handshake(target, Hello::naming(name)).await.err().expect("no handshake");
        assert_eq!(alert_of(&error), Some(AlertDescription::UnrecognisedName), "{target} {name}: {error}");
    }
    assert_eq!(evil.connections().len(), 0);
    scene.nothing_reached_the_origin().await;
}

#[tokio::test]
async fn c01_a_connect_whose_host_contradicts_its_target_is_refused() {
    let scene = scene().await;
    for (target, host) in [(TARGET, EVIL), ("evil.test:443", HOST), (TARGET, "api.notion.test:444")] {
        let mut wire = scene.agent.socket().await;
        wire.send(format!("CONNECT {target} HTTP/1.1\r\nHost: {host}\r\n{}\r\n", scene.agent.login())).await;
        assert_refused(&wire.reply_to("CONNECT").await, 421, "destination_mismatch");
    }
    scene.nothing_reached_the_origin().await;
}

#[tokio::test]
async fn c01_a_connect_whose_host_has_no_port_is_fine() {
    let scene = scene().await;
    let mut wire = scene.agent.socket().await;
    wire.send(format!("CONNECT {TARGET} HTTP/1.1\r\nHost: {HOST}\r\n{}\r\n", scene.agent.login())).await;
    assert_eq!(wire.reply_to("CONNECT").await.status(), 200);
}

#[tokio::test]
async fn c02_the_same_name_in_another_case_is_the_same_name() {
    let scene = scene().await;
    assert!(scene.agent.handshake("API.Notion.TEST:443", Hello::naming(HOST)).await.is_ok());
}

#[tokio::test]
async fn c05_a_clienthello_without_a_name_is_served_for_the_tunnels_host() {
    let scene = scene().await;
    let mut wire = scene.agent.handshake(TARGET, Hello::nameless()).await.unwrap();
    wire.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
    assert_passed(&wire.reply().await, 200);
}

#[tokio::test]
async fn c05_a_name_that_is_no_name_ends_the_handshake() {
    let scene = scene().await;
    let long = "a".repeat(300);
    let names: [&[u8]; 5] = [b"api.notion.test\0.evil.test", long.as_bytes(), b"api.notion.test:443", b"a b", b""];
    for name in names {
        let mut wire = scene.agent.tunnel(TARGET).await;
        wire.send(client_hello_naming(name)).await;
        let (rest, _) = wire.rest().await;
        // Nothing, or one fatal alert (RFC 8446 §6): record type 21, level 2.
        let alert = rest.first() == Some(&21) && rest.get(5) == Some(&2);
        assert!(rest.is_empty() || alert, "{:?} was answered with {rest:?}", String::from_utf8_lossy(name));
    }
    scene.nothing_reached_the_origin().await;
}

#[tokio::test]
async fn c06_the_case_of_a_host_is_no_difference() {
    let scene = scene().await;
    for target in ["API.Notion.TEST:443", "api.notion.test.:443"] {
        let mut wire = scene.agent.handshake(target, Hello::naming(HOST)).await.unwrap();
        wire.send("GET / HTTP/1.1\r\nHost: Api.Notion.Test\r\n\r\n").await;
        assert_passed(&wire.reply().await, 200);
    }
    assert!(scene.upstream.requests().iter().all(|request| request.field("host") == Some(HOST)));
}

#[tokio::test]
async fn c08_only_canonical_a_labels_are_names() {
    let scene = scene().await;
    for target in [
        "b\u{fc}cher.test:443",
        "\u{ff41}pi.notion.test:443",
        "\u{212a}.test:443",
        "xn--api-.notion.test:443",
        "xn--abc.test:443",
        "xn--.test:443",
    ] {
        let reply = scene.agent.connect(target).await;
        assert_eq!((reply.status(), code(&reply)), (400, Some("request_malformed")), "{target}:\n{reply}");
    }
}

#[tokio::test]
async fn c08_a_binding_in_unicode_is_the_one_in_a_labels() {
    let origin = upstream("xn--bcher-kva.test").await;
    let settings = postern()
        .connection("books", &["b\u{fc}cher.test"])
        .binding("{deployment: bot, connection: books}")
        .reached_with(&["books"], &origin);
    let scene = scene_of(origin, settings).await;
    assert_passed(&scene.agent.get("https://xn--bcher-kva.test/").await, 200);
}

#[tokio::test]
async fn c10_a_connect_target_is_a_plain_host_and_port() {
    let scene = scene().await;
    for target in [
        "u@api.notion.test:443",
        "user:pw@api.notion.test:443",
        "api.notion.test:443@evil.test:443",
        "http://api.notion.test",
        "https://api.notion.test:443",
        "/api.notion.test:443",
        "api.notion.test",
        "api.notion.test:",
        "api.notion.test:0",
        "api.notion.test:65536",
        "api.notion.test:-1",
        "api.notion.test:+443",
        "api.notion.test:443x",
        "api.notion.test,evil.test:443",
        "api.notion.test:443,evil.test:443",
        ":443",
        "*:443",
        "*",
        "/",
        "api..notion.test:443",
        ".api.notion.test:443",
        "api.notion.test%00:443",
        "api%2enotion.test:443",
        "api.notion.test#:443",
        "api.notion.test?:443",
        "api.notion.test\\:443",
    ] {
        let mut wire = scene.agent.socket().await;
        wire.send(format!("CONNECT {target} HTTP/1.1\r\n{}\r\n", scene.agent.login())).await;
        let reply = wire.reply_to("CONNECT").await;
        assert_eq!((reply.status(), code(&reply)), (400, Some("request_malformed")), "{target}:\n{reply}");
        assert_refused(&reply, 400, "request_malformed");
    }
    scene.nothing_reached_the_origin().await;
}

#[tokio::test]
async fn c10_a_login_in_an_absolute_target_is_refused() {
    let scene = scene().await;
    for target in ["http://u@api.notion.test/", "http://u:p@api.notion.test/", "http://api.notion.test@evil.test/"] {
        let mut wire = scene.agent.socket().await;
        wire.send(format!("GET {target} HTTP/1.1\r\nHost: {HOST}\r\n{}\r\n", scene.agent.login())).await;
        let reply = wire.reply().await;
        assert_eq!((reply.status(), code(&reply)), (400, Some("request_malformed")), "{target}:\n{reply}");
    }
}

#[tokio::test]
async fn c11_an_ipv6_literal_has_no_zone_and_nothing_behind_it() {
    let scene = scene().await;
    for target in [
        "[::1]a:443",
        "[fe80::1%25eth0]:443",
        "[fe80::1%eth0]:443",
        "[::1:443",
        "::1:443",
        "[]:443",
        "[::g]:443",
        "[127.0.0.1]:443",
        "[::1]443",
        "[[::1]]:443",
        "[v1.x]:443",
    ] {
        let reply = scene.agent.connect(target).await;
        assert_eq!((reply.status(), code(&reply)), (400, Some("request_malformed")), "{target}:\n{reply}");
    }
}

#[tokio::test]
async fn c11_a_public_literal_needs_a_binding_of_its_own() {
    let scene = scene().await;
    let mut wire = scene.agent.intercepted("[2606:4700::1111]:443").await;
    wire.send("GET / HTTP/1.1\r\nHost: [2606:4700::1111]\r\n\r\n").await;
    assert_refused(&wire.reply().await, 403, "binding_missing");
}

#[tokio::test]
async fn c13_a_wildcard_matches_whole_labels_below_its_suffix_and_nothing_else() {
    let names = ["x.a.test", "x.y.a.test", "a.test", "evila.test", "a.test.evil"];
    let origin = Upstream::of(&names).start().await;
    let settings = postern()
        .connection("acme", &["*.a.test"])
        .binding("{deployment: bot, connection: acme}")
        .reached_with(&["acme"], &origin);
    let scene = scene_of(origin, settings).await;
    for name in ["x.a.test", "x.y.a.test"] {
        assert_passed(&scene.agent.get(&format!("https://{name}/")).await, 200);
    }
    for name in ["a.test", "evila.test", "a.test.evil"] {
        let reply = scene.agent.get(&format!("https://{name}/")).await;
        assert_eq!(code(&reply), Some("binding_missing"), "{name}:\n{reply}");
    }
    assert_eq!(scene.upstream.requests().len(), 2);
}

#[tokio::test]
async fn c14_the_most_specific_binding_wins() {
    let origin = Upstream::of(&["api.a.test", "other.a.test", "deep.b.a.test"])
        .answer(|request| answer("200 OK", "", request.target()))
        .start()
        .await;
    let connections = ["exact", "wide", "narrow", "scoped"];
    let settings = postern()
        .connection("exact", &["api.a.test"])
        .connection("wide", &["*.a.test"])
        .connection("narrow", &["*.b.a.test"])
        .connection("scoped", &["api.a.test"])
        .binding("{deployment: bot, connection: wide}")
        .binding("{deployment: bot, connection: exact}")
        .binding("{deployment: bot, connection: narrow}")
        .binding("{deployment: bot, connection: scoped, paths: [\"/v1/**\"]}")
        .reached_with(&connections, &origin);
    let scene = scene_of(origin, settings).await;
    for (url, connection) in [
        ("https://api.a.test/", "exact"),
        ("https://api.a.test/v1/x", "scoped"),
        ("https://api.a.test/v2/x", "exact"),
        ("https://other.a.test/v1/x", "wide"),
        ("https://deep.b.a.test/", "narrow"),
    ] {
        assert_passed(&scene.agent.get(url).await, 200);
        let request = scene.upstream.last_request();
        let expected = format!("Bearer {}", scene.postern.token(connection));
        let used = connections.iter().find(|name| {
            request.field("authorization") == Some(format!("Bearer {}", scene.postern.token(name)).as_str())
        });
        assert_eq!(request.field("authorization"), Some(expected.as_str()), "{url} used {used:?}, not {connection}");
    }
}

#[tokio::test]
async fn c14_a_tie_is_decided_by_the_request_or_by_the_default_or_refused() {
    let origin = upstream(HOST).await;
    let settings =
        postern().connection("one", &[HOST]).connection("two", &[HOST]).reached_with(&["one", "two"], &origin);
    let tied = settings.binding("{deployment: bot, connection: one}").binding("{deployment: bot, connection: two}");
    let with_default = tied
        .clone()
        .without_bindings()
        .binding("{deployment: bot, connection: one}")
        .binding("{deployment: bot, connection: two, default: true}")
        .yaml();
    let scene = scene_of(origin, tied).await;
    let url = "https://api.notion.test/";
    let reply = scene.agent.get(url).await;
    assert_refused(&reply, 409, "connection_ambiguous");
    assert!(reply.text().contains("one") && reply.text().contains("two"), "the names are missing:\n{reply}");
    let reply = scene.agent.call("GET", url, "x-postern-connection: one\r\n").await;
    assert_passed(&reply, 200);
    let request = scene.upstream.only_request();
    assert_eq!(request.field("authorization"), Some(format!("Bearer {}", scene.postern.token("one")).as_str()));
    assert_eq!(request.field("x-postern-connection"), None);

    scene.postern.rewrite(with_default);
    scene.postern.hang_up();
    crate::scene::eventually_answered(&scene.agent, url, |reply| reply.status() == 200).await;
    let request = scene.upstream.last_request();
    assert_eq!(request.field("authorization"), Some(format!("Bearer {}", scene.postern.token("two")).as_str()));
}

#[tokio::test]
async fn c15_the_default_port_is_no_difference_and_every_other_is() {
    let scene = scene().await;
    for host in [HOST, "api.notion.test:443"] {
        assert_passed(&scene.exchange(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).await, 200);
    }
    for host in ["api.notion.test:80", "api.notion.test:8443", "api.notion.test:444"] {
        let reply = scene.exchange(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        assert_refused(&reply, 421, "destination_mismatch");
    }
    assert_eq!(scene.upstream.requests().len(), 2);
}

#[tokio::test]
async fn c16_every_request_of_a_tunnel_is_judged() {
    let scene = scene().await;
    let mut wire = scene.tunnel().await;
    wire.send(format!("GET /1 HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
    assert_passed(&wire.reply().await, 200);
    wire.send("GET /2 HTTP/1.1\r\nHost: evil.test\r\n\r\n").await;
    assert_refused(&wire.reply().await, 421, "destination_mismatch");
    assert_eq!(scene.upstream.only_request().target(), "/1");
}

#[tokio::test]
async fn c16_an_absolute_target_inside_a_tunnel_agrees_with_it_or_is_refused() {
    let scene = scene().await;
    for target in ["https://evil.test/", "http://api.notion.test/", "https://api.notion.test:8443/"] {
        let reply = scene.exchange(format!("GET {target} HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
        assert_eq!((reply.status(), code(&reply)), (421, Some("destination_mismatch")), "{target}:\n{reply}");
    }
    let reply = scene.exchange(format!("GET https://{HOST}/same?a HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
    assert_passed(&reply, 200);
    assert_eq!(scene.upstream.only_request().start, "GET /same?a HTTP/1.1");
}

#[tokio::test]
async fn c17_a_credential_does_not_travel_in_the_clear() {
    let origin = Upstream::of(&[HOST]).plain().start().await;
    let settings = postern().bound("notion", &origin);
    let scene = scene_of(origin, settings).await;
    assert_refused(&scene.agent.get("http://api.notion.test/v1").await, 403, "plaintext_forbidden");
    assert_eq!(scene.upstream.connections().len(), 0);
}

#[tokio::test]
async fn c17_plain_http_inside_a_tunnel_is_judged_as_http() {
    let origin = Upstream::of(&[HOST]).plain().start().await;
    let settings = postern().bound("notion", &origin);
    let scene = scene_of(origin, settings).await;
    let mut wire = scene.agent.tunnel("api.notion.test:80").await;
    wire.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
    assert_refused(&wire.reply().await, 403, "plaintext_forbidden");
    assert_eq!(scene.upstream.connections().len(), 0);
}

#[tokio::test]
async fn c17_the_operator_may_let_a_credential_travel_in_the_clear() {
    let origin = Upstream::of(&[HOST]).plain().start().await;
    let settings = postern()
        .connection("notion", &[HOST])
        .binding("{deployment: bot, connection: notion, allow_plaintext: true}")
        .reached_with(&["notion"], &origin);
    let scene = scene_of(origin, settings).await;
    assert_passed(&scene.agent.get("http://api.notion.test/v1?a").await, 200);
    let token = scene.postern.token("notion");
    assert_eq!(
        scene.upstream.only_request().canonical(),
        format!("GET /v1?a HTTP/1.1\nauthorization: Bearer {token}\nhost: {HOST}\n\n")
    );
}

#[tokio::test]
async fn c18_forwarding_fields_decide_nothing() {
    let bound = upstream(HOST).await;
    let evil = upstream(EVIL).await;
    let settings = postern().bound("notion", &bound).reachable(&evil);
    let scene = scene_of(bound, settings).await;
    let naming = |host: &str| {
        format!(
            "X-Forwarded-Host: {host}\r\nForwarded: host={host}\r\nX-Original-URL: https://{host}/\r\n\
             X-Rewrite-URL: https://{host}/\r\nX-Host: {host}\r\nX-Forwarded-Server: {host}\r\n"
        )
    };
    let reply = scene.agent.call("GET", "https://evil.test/", &naming(HOST)).await;
    assert_refused(&reply, 403, "binding_missing");
    let reply = scene.agent.call("GET", "https://api.notion.test/", &naming(EVIL)).await;
    assert_passed(&reply, 200);
    assert_eq!((evil.connections().len(), scene.upstream.requests().len()), (0, 1));
}

#[tokio::test]
async fn c18_a_method_override_does_not_undo_a_bindings_methods() {
    let scene = crate::scene::scene_bound_as("{deployment: bot, connection: notion, methods: [GET]}").await;
    let overrides = "X-HTTP-Method-Override: DELETE\r\nX-HTTP-Method: DELETE\r\nX-Method-Override: DELETE\r\n";
    assert_passed(&scene.agent.call("GET", "https://api.notion.test/", overrides).await, 200);
    let request = scene.upstream.only_request();
    for name in ["x-http-method-override", "x-http-method", "x-method-override"] {
        assert_eq!(request.field(name), None, "{request}");
    }
    for method in ["DELETE", "POST", "get", "GETX"] {
        let reply = scene.agent.call(method, "https://api.notion.test/", "").await;
        assert_eq!((reply.status(), code(&reply)), (403, Some("request_forbidden")), "{method}:\n{reply}");
    }
}

#[tokio::test]
async fn c18_a_target_override_does_not_undo_a_bindings_paths() {
    let scene = crate::scene::scene_bound_as("{deployment: bot, connection: notion, paths: [\"/v1/**\"]}").await;
    let overrides = "X-Original-URL: /admin\r\nX-Rewrite-URL: /admin\r\n";
    assert_passed(&scene.agent.call("GET", "https://api.notion.test/v1/x", overrides).await, 200);
    let request = scene.upstream.only_request();
    assert_eq!((request.field("x-original-url"), request.field("x-rewrite-url")), (None, None), "{request}");
}

#[tokio::test]
async fn c19_a_name_that_leads_to_anothers_address_gets_no_token() {
    // The attacker controls the bound name's DNS and has a valid certificate, but for a name of its own.
    let attacker = Upstream::of(&[HOST]).chain(authority().chain(&[EVIL])).start().await;
    let settings =
        postern().connection("notion", &[HOST]).binding("{deployment: bot, connection: notion}").reachable(&attacker);
    let scene = scene_of(attacker, settings).await;
    assert_refused(&scene.agent.get("https://api.notion.test/").await, 502, "upstream_tls");
    assert_eq!(scene.upstream.bytes(), b"");
    assert!(scene.upstream.connections().iter().all(|connection| !connection.ready));
}

#[tokio::test]
async fn c20_a_mismatch_never_reaches_the_wire_of_an_unknown_authority() {
    // The tunnel's host is bound, its origin is signed by somebody unknown, and the request names yet another host.
    let stranger = Upstream::of(&[HOST]).chain(Authority::root("stranger").chain(&[HOST])).start().await;
    let settings =
        postern().connection("notion", &[HOST]).binding("{deployment: bot, connection: notion}").reachable(&stranger);
    let scene = scene_of(stranger, settings).await;
    let mut wire = scene.tunnel().await;
    wire.send("GET / HTTP/1.1\r\nHost: evil.test\r\n\r\n").await;
    assert_refused(&wire.reply().await, 421, "destination_mismatch");
    let (_, end) = {
        wire.finish().await;
        wire.rest().await
    };
    assert_ne!(end, End::Aborted);
    assert_eq!(scene.upstream.connections().len(), 0);
}
