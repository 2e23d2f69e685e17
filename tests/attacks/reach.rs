//! Group E: where postern dials, and where never. No decision, no dial; the address that was vetted is the one dialled.

use std::net::SocketAddr;

use support::{Upstream, answer, assert_passed, assert_refused, upstream};

use crate::scene::{HOST, code, eventually_answered, postern, scene_of};

#[tokio::test]
async fn e03_private_and_special_literals_are_forbidden() {
    let postern = postern().allow_addresses(&[]).start().await;
    let agent = postern.agent("bot");
    for host in [
        "127.0.0.1",
        "127.255.255.254",
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "100.127.255.255",
        "192.0.0.1",
        "192.0.2.1",
        "198.18.0.1",
        "198.19.255.255",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "[::]",
        "[::1]",
        "[::7f00:1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::ffff:10.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[64:ff9b::10.0.0.1]",
        "[64:ff9b:1::7f00:1]",
        "[2002:7f00:1::]",
        "[2002:a00:1::1]",
        "[2001:0:4136:e378:8000:63bf:80ff:fffe]",
        "[fe80::1]",
        "[fec0::1]",
        "[fc00::1]",
        "[fd00::1]",
        "[100::1]",
        "[ff02::1]",
        "[2001:db8::1]",
    ] {
        let reply = agent.get(&format!("http://{host}/")).await;
        assert_eq!((reply.status(), code(&reply)), (403, Some("destination_forbidden")), "{host}:\n{reply}");
        assert_refused(&reply, 403, "destination_forbidden");
    }
}

#[tokio::test]
async fn e03_a_forbidden_literal_is_refused_inside_the_tunnel() {
    let postern = postern().allow_addresses(&[]).start().await;
    for host in ["127.0.0.1", "169.254.169.254", "[::1]", "[64:ff9b::7f00:1]"] {
        let reply = postern.agent("bot").get(&format!("https://{host}:443/")).await;
        assert_eq!((reply.status(), code(&reply)), (403, Some("destination_forbidden")), "{host}:\n{reply}");
    }
}

#[tokio::test]
async fn e03_names_that_resolvers_read_as_addresses_are_no_names() {
    let postern = postern().allow_addresses(&[]).start().await;
    for host in ["127.1", "0x7f000001", "2130706433", "0177.0.0.1", "0x7f.1", "127.0.0.1.", "1.2.3.256", "127.0.0.01"] {
        let reply = postern.agent("bot").connect(&format!("{host}:443")).await;
        assert_eq!((reply.status(), code(&reply)), (400, Some("request_malformed")), "{host}:\n{reply}");
        let reply = postern.agent("bot").get(&format!("http://{host}/")).await;
        assert_eq!((reply.status(), code(&reply)), (400, Some("request_malformed")), "{host}:\n{reply}");
    }
}

#[tokio::test]
async fn e03_an_exception_covers_what_is_reached_not_how_it_is_wrapped() {
    let postern = postern().allow_addresses(&["2002::/16", "64:ff9b::/96"]).start().await;
    for host in ["[2002:7f00:1::]", "[64:ff9b::7f00:1]"] {
        let reply = postern.agent("bot").get(&format!("http://{host}/")).await;
        assert_eq!((reply.status(), code(&reply)), (403, Some("destination_forbidden")), "{host}:\n{reply}");
    }
}

#[tokio::test]
async fn e03_a_bound_name_that_leads_to_a_private_address_is_forbidden() {
    let origin = upstream(HOST).await;
    let settings = postern().bound("notion", &origin).allow_addresses(&[]);
    let scene = scene_of(origin, settings).await;
    assert_refused(&scene.agent.get("https://api.notion.test/").await, 403, "destination_forbidden");
    assert_eq!(scene.upstream.connections().len(), 0);
}

#[tokio::test]
async fn e04_the_proxys_own_listeners_cannot_be_reached_through_it() {
    let postern = postern()
        .allow_addresses(&["0.0.0.0/0", "::/0"])
        .connection("self", &["proxy.test", "admin.test", "127.0.0.1:1"])
        .binding("{deployment: bot, connection: self, allow_plaintext: true}")
        .start()
        .await;
    let (proxy, admin) = (postern.proxy(), postern.admin());
    let literal = |address: SocketAddr| address.to_string();
    let at = |host: &str, address: SocketAddr| format!("{host}:{}", address.port());
    let hosts = [
        literal(proxy),
        literal(admin),
        at("0.0.0.0", proxy),
        at("[::]", proxy),
        at("[::ffff:127.0.0.1]", admin),
        at("[::127.0.0.1]", admin),
        at("localhost", proxy),
        at("localhost", admin),
    ];
    let mut settings = postern.settings();
    for (name, address) in [("proxy.test", proxy), ("admin.test", admin)] {
        settings = settings.connect_to(&format!("{name}:80"), address).connect_to(&format!("{name}:443"), address);
    }
    let bound: Vec<&str> = hosts.iter().map(String::as_str).chain(["proxy.test", "admin.test"]).collect();
    postern.rewrite(settings.connection("self", &bound).yaml());
    postern.hang_up();
    let agent = postern.agent("bot");
    let last = format!("http://{}/", hosts[7]);
    eventually_answered(&agent, &last, |reply| code(reply) != Some("binding_missing")).await;
    for host in hosts.iter().map(String::as_str).chain(["proxy.test", "admin.test"]) {
        for scheme in ["http", "https"] {
            let reply = agent.get(&format!("{scheme}://{host}/healthz")).await;
            assert_eq!(
                (reply.status(), code(&reply)),
                (403, Some("destination_forbidden")),
                "{scheme}://{host}:\n{reply}"
            );
        }
    }
}

#[tokio::test]
async fn e05_a_name_is_judged_by_the_address_it_resolves_to() {
    let origin = Upstream::of(&["localhost"]).start().await;
    let host = format!("localhost:{}", origin.address().port());
    let url = format!("https://{host}/");
    let settings = postern()
        .connection("local", &[&host])
        .binding("{deployment: bot, connection: local}")
        .reached_with(&["local"], &origin)
        .allow_addresses(&["::1/128"]);
    let allowed = settings.clone().allow_addresses(&["127.0.0.0/8"]).yaml();
    let scene = scene_of(origin, settings).await;
    let reply = scene.agent.get(&url).await;
    assert_eq!(scene.upstream.connections().len(), 0, "{reply}");
    assert_refused(&reply, 403, "destination_forbidden");
    scene.postern.rewrite(allowed);
    scene.postern.hang_up();
    eventually_answered(&scene.agent, &url, |reply| reply.status() == 200).await;
}

#[tokio::test]
async fn e08_a_redirect_is_the_agents_to_follow() {
    let trap = Upstream::of(&["trap.test"]).plain().start().await;
    let location = format!("Location: http://{}/\r\n", trap.address());
    let origin = Upstream::of(&[HOST]).answer(move |_| answer("302 Found", &location, "")).start().await;
    let settings = postern().bound("notion", &origin).reachable(&trap);
    let scene = scene_of(origin, settings).await;
    let reply = scene.agent.get("https://api.notion.test/").await;
    assert_passed(&reply, 302);
    assert_eq!(reply.field("location"), Some(format!("http://{}/", trap.address()).as_str()));
    assert_eq!(trap.connections().len(), 0);
}

#[tokio::test]
async fn e08_an_alternative_service_is_not_used() {
    let trap = Upstream::of(&[HOST]).start().await;
    let fields = format!("Alt-Svc: h2=\"{0}\"; ma=60, http/1.1=\"{0}\"\r\nConnection: close\r\n", trap.address());
    let origin = Upstream::of(&[HOST]).answer(move |_| answer("200 OK", &fields, "ok")).start().await;
    let settings = postern().bound("notion", &origin);
    let scene = scene_of(origin, settings).await;
    for _ in 0..2 {
        assert_passed(&scene.agent.get("https://api.notion.test/").await, 200);
    }
    assert_eq!((scene.upstream.requests().len(), trap.connections().len()), (2, 0));
}

#[tokio::test]
async fn e09_a_bound_host_is_bound_at_its_port_only() {
    let origin = upstream(HOST).await;
    let settings = ["22", "25", "6379", "8443"].iter().fold(postern().bound("notion", &origin), |settings, port| {
        settings.connect_to(&format!("{HOST}:{port}"), origin.address())
    });
    let scene = scene_of(origin, settings).await;
    for port in ["22", "25", "6379", "8443"] {
        let reply = scene.agent.get(&format!("https://{HOST}:{port}/")).await;
        assert_eq!((reply.status(), code(&reply)), (403, Some("binding_missing")), "{port}:\n{reply}");
    }
    assert_eq!(scene.upstream.connections().len(), 0);
}

#[tokio::test]
async fn e09_bytes_that_are_no_http_never_reach_a_bound_hosts_other_ports() {
    let origin = Upstream::of(&[HOST]).plain().start().await;
    let settings = postern().bound("notion", &origin).connect_to(&format!("{HOST}:25"), origin.address());
    let scene = scene_of(origin, settings).await;
    let mut wire = scene.agent.tunnel("api.notion.test:25").await;
    wire.send("EHLO evil.test\r\nMAIL FROM:<a@evil.test>\r\n\r\n").await;
    wire.finish().await;
    wire.rest().await;
    assert_eq!(scene.upstream.connections().len(), 0);
}

#[tokio::test]
async fn e10_a_request_that_came_through_this_proxy_already_is_refused() {
    let origin = upstream(HOST).await;
    let settings = postern().bound("notion", &origin);
    let scene = scene_of(origin, settings).await;
    assert_passed(&scene.agent.get("https://api.notion.test/").await, 200);
    let request = scene.upstream.only_request();
    let via = request.field("via").expect("the request says that it came through a proxy").to_owned();
    for lines in [
        format!("Via: {via}\r\n"),
        format!("Via: 1.1 other, {via}\r\n"),
        format!("Via: 1.0 a\r\nVia: {via}, 1.1 b\r\n"),
    ] {
        let reply = scene.agent.call("GET", "https://api.notion.test/", &lines).await;
        assert_eq!((reply.status(), code(&reply)), (508, Some("loop_detected")), "{lines}:\n{reply}");
        assert_refused(&reply, 508, "loop_detected");
    }
    assert_passed(&scene.agent.call("GET", "https://api.notion.test/", "Via: 1.1 other\r\n").await, 200);
    assert_eq!(scene.upstream.requests().len(), 2);
}

#[tokio::test]
async fn e10_two_proxies_in_a_row_are_no_loop() {
    let origin = upstream(HOST).await;
    let first = postern().bound("notion", &origin).start().await;
    assert_passed(&first.agent("bot").get("https://api.notion.test/").await, 200);
    let via = origin.only_request().field("via").unwrap().to_owned();
    let second = postern().bound("notion", &origin).start().await;
    let reply = second.agent("bot").call("GET", "https://api.notion.test/", &format!("Via: {via}\r\n")).await;
    drop(first);
    assert_passed(&reply, 200);
}

#[tokio::test]
async fn e11_proxy_variables_of_its_own_environment_are_ignored() {
    let trap = Upstream::of(&["trap.test"]).plain().start().await;
    let origin = upstream(HOST).await;
    let mut settings = postern().bound("notion", &origin).reachable(&trap);
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"] {
        settings = settings.environment(name, &format!("http://{}", trap.address()));
    }
    let scene = scene_of(origin, settings).await;
    assert_passed(&scene.agent.get("https://api.notion.test/").await, 200);
    assert_eq!(trap.connections().len(), 0);
}
