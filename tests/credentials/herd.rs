//! Many requests at one token: whoever comes while it is being fetched waits for the one answer.

use std::time::Duration;

use serde_json::Value;
use support::{Postern, Wire, assert_passed, within};
use tokio::task::JoinSet;

use crate::endpoint::Endpoint;
use crate::scene::{ACCOUNT, HOST, TARGET, URL, account, bearer, client_credentials, scene};

/// Requests at once.
const HERD: usize = 1000;
/// Sockets that this process opens for them, at both ends, and room for the rest.
const DESCRIPTORS: u64 = 4096;
/// How often `postern status` is asked for the number of sockets.
const LOOK_EVERY: Duration = Duration::from_millis(50);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_requests_at_an_ended_token_make_one_token_request_and_none_fails() {
    allow_descriptors();
    let origin = support::Upstream::of(&[HOST]).plain().start().await;
    let settings = account(&client_credentials()).without_bindings();
    let settings = settings.binding("{deployment: bot, connection: acme, allow_plaintext: true}");
    let endpoint = Endpoint::start(settings.token(ACCOUNT)).await;
    endpoint.gives_a_first_token_for(1);
    endpoint.holds_from(2);
    let postern = settings
        .reached_with(&[ACCOUNT], &origin)
        .connect_to("login.acme.test:443", endpoint.upstream().address())
        .start()
        .await;
    let agent = postern.agent("bot");
    let request = format!("GET http://{HOST}/ HTTP/1.1\r\nHost: {HOST}\r\n{}\r\n", agent.login());
    let mut wire = agent.socket().await;
    assert_passed(&wire.exchange(&request).await, 200);

    // It is asked again when the first token has ended; the herd comes meanwhile.
    endpoint.wait_until_asked(2).await;
    let mut wires = Vec::new();
    for _ in 0..HERD {
        let mut wire = agent.socket().await;
        wire.send(&request).await;
        wires.push(wire);
    }
    wait_for_sockets(&postern, HERD).await;
    assert_eq!(origin.requests().len(), 1, "a request went out with an ended token");
    endpoint.releases();

    all_succeed(wires).await;
    assert_eq!(endpoint.asked(), 2, "not exactly one renewal");
    let fresh = endpoint.token(2);
    assert!(origin.requests().iter().skip(1).all(|request| bearer(request) == fresh));
    assert_eq!(origin.requests().len(), HERD + 1);
    postern.finish();
}

#[tokio::test]
async fn an_agent_that_leaves_while_its_token_is_fetched_does_not_end_the_fetching() {
    let scene = scene(&client_credentials()).await;
    scene.endpoint.holds_from(1);
    let mut wire = scene.agent.intercepted(TARGET).await;
    wire.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
    scene.endpoint.wait_until_asked(1).await;
    drop(wire);
    scene.endpoint.releases();

    assert_passed(&scene.agent.get(URL).await, 200);
    assert_eq!((scene.endpoint.asked(), scene.arrived()), (1, scene.endpoint.token(1)));
    scene.postern.finish();
}

async fn all_succeed(wires: Vec<Wire>) {
    let mut replies = JoinSet::new();
    for mut wire in wires {
        replies.spawn(async move { wire.reply().await });
    }
    while let Some(reply) = replies.join_next().await {
        assert_passed(&reply.unwrap(), 200);
    }
}

async fn wait_for_sockets(postern: &Postern, wanted: usize) {
    let mut tick = tokio::time::interval(LOOK_EVERY);
    within("the herd to arrive", async {
        loop {
            tick.tick().await;
            let status: Value = serde_json::from_slice(&postern.run(&["status", "--json"]).stdout).unwrap();
            if status["sockets"].as_u64() >= Some(wanted as u64) {
                return;
            }
        }
    })
    .await;
}

/// postern inherits it.
fn allow_descriptors() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.current.map(|now| now.max(DESCRIPTORS).min(limit.maximum.unwrap_or(u64::MAX)));
    setrlimit(Resource::Nofile, limit).unwrap();
}
