//! A token endpoint that is down: while the token lives nobody notices, afterwards every agent is told to come back, and
//! when the provider is back nobody has to do anything.

use std::time::Duration;

use support::{Message, assert_passed, within};

use crate::provider::Provider;
use crate::scene::{
    ACCOUNT, HOST, LOGIN, Scene, TARGET, URL, account, assert_unavailable, bearer, client_credentials,
    eventually_answered, refresh_token, scene, standing,
};

/// The shortest life with a second left between the first attempt to renew (a tenth before its end) and the end.
const LIFE_SECONDS: u32 = 10;
/// Longer than the token endpoint's time to answer and a token's life together.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often the agent calls.
const CALL_EVERY: Duration = Duration::from_millis(20);

#[tokio::test]
async fn a_real_provider_that_fails_is_noticed_only_after_the_tokens_end_and_forgotten_when_it_is_back() {
    let origin = support::upstream(HOST).await;
    let settings = account(&refresh_token());
    let mut provider = Provider::start(&settings, LIFE_SECONDS);
    let first = provider.mint();
    let postern = settings
        .environment("FIRST", &first)
        .reached_with(&[ACCOUNT], &origin)
        .connect_to(&format!("{LOGIN}:443"), provider.address())
        .start()
        .await;
    let agent = postern.agent("bot");
    assert_passed(&agent.get(URL).await, 200);
    let token = bearer(&origin.last_request());
    provider.turn_to("fail");

    let mut served_in_outage = 0;
    let refused = patiently(async {
        let mut tick = tokio::time::interval(CALL_EVERY);
        loop {
            tick.tick().await;
            let reply = agent.get(URL).await;
            if reply.status() != 200 {
                return reply;
            }
            served_in_outage += u32::from(provider.count().0 > 1);
        }
    })
    .await;
    assert_unavailable(&refused);
    assert!(served_in_outage > 0, "no request was served after the first failed renewal");
    assert!(origin.requests().iter().all(|request| bearer(request) == token));
    let failing = standing(&postern, ACCOUNT);
    assert_eq!(failing["state"], "error", "{failing}");
    assert!(failing["problem"].as_str().unwrap().contains("HTTP 500"), "{failing}");

    provider.turn_to("serve");
    eventually_answered(&agent, |reply| reply.status() == 200).await;
    assert_ne!(bearer(&origin.last_request()), token);
    assert_eq!(standing(&postern, ACCOUNT)["state"], "connected");
    assert_eq!(provider.count().1, 0, "the provider refused a token request");
    postern.finish();
}

#[tokio::test]
async fn a_token_endpoint_that_hangs_keeps_nobody_waiting_while_the_token_lives_and_for_a_bounded_time_afterwards() {
    let scene = scene(&client_credentials()).await;
    scene.endpoint.gives_a_first_token_for(LIFE_SECONDS);
    scene.endpoint.holds_from(2);

    patiently(scene.endpoint_is_asked_twice_while_all_calls_succeed()).await;
    assert_passed(&scene.agent.get(URL).await, 200);
    assert_eq!(scene.arrived(), scene.endpoint.token(1));

    // This one outlives the token: it waits until the endpoint's time is up.
    let waiting = patiently(async {
        loop {
            let mut wire = scene.agent.intercepted(TARGET).await;
            wire.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
            match tokio::time::timeout(Duration::from_secs(1), wire.reply()).await {
                Ok(reply) => assert_passed(&reply, 200),
                Err(_) => return wire,
            }
        }
    })
    .await;
    let mut waiting = waiting;
    patiently(async {
        let mut tick = tokio::time::interval(CALL_EVERY);
        while !scene.postern.stderr().contains("did not answer in time") {
            tick.tick().await;
        }
    })
    .await;
    assert_unavailable(&waiting.reply().await);

    scene.endpoint.releases();
    eventually_answered(&scene.agent, |reply| reply.status() == 200).await;
    scene.postern.finish();
}

#[tokio::test]
async fn a_token_endpoint_that_fails_from_the_start_is_not_asked_by_every_request() {
    let scene = scene(&client_credentials()).await;
    scene.endpoint.fails();
    assert_unavailable(&scene.agent.get(URL).await);
    for _ in 0..20 {
        assert_unavailable(&scene.agent.get(URL).await);
    }
    assert!(scene.endpoint.asked() <= 2, "{} token requests for 21 calls", scene.endpoint.asked());
    assert!(scene.origin.requests().is_empty());

    scene.endpoint.gives_tokens_for(3600);
    eventually_answered(&scene.agent, |reply| reply.status() == 200).await;
    scene.postern.finish();
}

#[tokio::test]
async fn a_provider_that_says_when_to_come_back_is_not_asked_before() {
    let scene = scene(&client_credentials()).await;
    scene.endpoint.answers(|_, _| support::answer("429 Too Many Requests", "Retry-After: 120\r\n", ""));
    let reply = scene.agent.get(URL).await;
    assert_unavailable(&reply);
    let reply = scene.agent.get(URL).await;
    assert!(seconds(&reply) >= 110, "{reply}");
    assert_eq!(scene.endpoint.asked(), 1);
    scene.postern.finish();
}

impl Scene {
    async fn endpoint_is_asked_twice_while_all_calls_succeed(&self) {
        let mut tick = tokio::time::interval(CALL_EVERY);
        while self.endpoint.asked() < 2 {
            tick.tick().await;
            assert_passed(&within("an answer", self.agent.get(URL)).await, 200);
        }
    }
}

fn seconds(reply: &Message) -> u64 {
    reply.field("retry-after").unwrap().parse().unwrap()
}

async fn patiently<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it takes longer than all limits together")
}
