//! An origin that refuses a token with a 401: one forced renewal, and one repetition where the request can be repeated.

use std::sync::atomic::{AtomicUsize, Ordering};

use support::{Upstream, answer, assert_passed, within};
use tokio::task::JoinSet;

use crate::endpoint::{ok, pair};
use crate::scene::{
    ACCOUNT, ASK_EVERY, HOST, Scene, TARGET, URL, account, bearer, client_credentials, origin_refusing, refresh_token,
    scene_at, scene_of,
};

/// A scene whose origin refuses the endpoint's first token, and the origin's requests as the numbers of their tokens.
async fn refusing_the_first() -> Scene {
    scene_at(origin_refusing(|token| token.ends_with(".1")), &refresh_token()).await
}

impl Scene {
    fn tokens_arrived(&self) -> Vec<String> {
        let numbers = self.origin.requests();
        numbers.iter().map(|request| bearer(request).rsplit_once('.').unwrap().1.to_owned()).collect()
    }

    async fn post(&self, length: usize) -> support::Message {
        let body = "x".repeat(length);
        let request =
            format!("POST /v1/pages HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {length}\r\nX-Kept: 1\r\n\r\n{body}");
        self.agent.intercepted(TARGET).await.exchange(request).await
    }
}

#[tokio::test]
async fn a_refused_get_is_repeated_once_with_a_new_token() {
    let scene = refusing_the_first().await;
    assert_passed(&scene.agent.get(URL).await, 200);
    assert_eq!(scene.tokens_arrived(), ["1", "2"]);
    assert_eq!(scene.endpoint.asked(), 2);
    scene.postern.finish();
}

#[tokio::test]
async fn a_refused_post_is_repeated_with_its_whole_body_up_to_64_kib() {
    for length in [0, 1, 64 * 1024] {
        let scene = refusing_the_first().await;
        assert_passed(&scene.post(length).await, 200);
        assert_eq!(scene.tokens_arrived(), ["1", "2"]);
        let [first, again] = scene.origin.requests().try_into().unwrap();
        assert_eq!(again.body.len(), length);
        assert_eq!(first.canonical().replace("==.1\n", "==.2\n"), again.canonical());
        scene.postern.finish();
    }
}

#[tokio::test]
async fn a_refused_post_of_unknown_length_is_repeated_with_its_whole_body_if_that_is_short() {
    let scene = refusing_the_first().await;
    let head = format!("POST /v1/pages HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n");
    let reply = scene.agent.intercepted(TARGET).await.exchange(format!("{head}2\r\nab\r\n1\r\nc\r\n0\r\n\r\n")).await;
    assert_passed(&reply, 200);
    let bodies: Vec<String> = scene.origin.requests().iter().map(support::Message::text).collect();
    assert_eq!(bodies, ["abc", "abc"]);
    scene.postern.finish();
}

#[tokio::test]
async fn a_refused_post_of_a_mebibyte_is_not_repeated_and_the_401_passes() {
    let scene = refusing_the_first().await;
    let reply = scene.post(1024 * 1024).await;
    assert_passed(&reply, 401);
    assert_eq!(reply.text(), "no");
    assert_eq!(scene.tokens_arrived(), ["1"]);
    assert_passed(&scene.agent.get(URL).await, 200);
    assert_eq!(scene.endpoint.asked(), 2);
    scene.postern.finish();
}

#[tokio::test]
async fn an_agent_that_sends_only_long_bodies_is_not_refused_for_ever() {
    let scene = refusing_the_first().await;
    assert_passed(&scene.post(64 * 1024 + 1).await, 401);
    scene.endpoint.wait_until_asked(2).await;
    let mut tick = tokio::time::interval(ASK_EVERY);
    within("a post to succeed", async {
        while scene.post(64 * 1024 + 1).await.status() != 200 {
            tick.tick().await;
        }
    })
    .await;
    assert_eq!(scene.endpoint.asked(), 2);
    scene.postern.finish();
}

#[tokio::test]
async fn a_refusal_that_stays_is_passed_on_and_makes_no_loop() {
    let scene = scene_at(origin_refusing(|_| true), &client_credentials()).await;
    let reply = scene.agent.get(URL).await;
    assert_passed(&reply, 401);
    assert_eq!(reply.field("www-authenticate"), Some("Bearer error=\"invalid_token\""));
    assert_eq!(scene.tokens_arrived(), ["1", "2"]);
    for _ in 0..10 {
        assert_passed(&scene.agent.get(URL).await, 401);
    }
    assert_eq!((scene.endpoint.asked(), scene.origin.requests().len()), (2, 12));
    scene.postern.finish();
}

#[tokio::test]
async fn many_refusals_at_once_make_one_renewal() {
    let scene = refusing_the_first().await;
    let mut calls = JoinSet::new();
    for _ in 0..50 {
        let agent = scene.agent.clone();
        calls.spawn(async move { agent.get(URL).await });
    }
    while let Some(reply) = calls.join_next().await {
        assert_passed(&reply.unwrap(), 200);
    }
    assert_eq!(scene.endpoint.asked(), 2);
    scene.postern.finish();
}

#[tokio::test]
async fn a_fixed_token_that_is_refused_is_not_tried_again() {
    let origin = origin_refusing(|_| true).start().await;
    let settings = account("type: bearer, token: {env: TOKEN_ACME}").reached_with(&[ACCOUNT], &origin);
    let postern = settings.start().await;
    assert_passed(&postern.agent("bot").get(URL).await, 401);
    assert_eq!(origin.requests().len(), 1);
    postern.finish();
}

#[tokio::test]
async fn a_renewal_that_fails_leaves_the_token_in_use() {
    let calls = AtomicUsize::new(0);
    let origin = Upstream::of(&[HOST]).answer(move |_| match calls.fetch_add(1, Ordering::Relaxed) {
        0 => answer("401 Unauthorized", "", "no"),
        _ => answer("200 OK", "", "ok"),
    });
    let settings = account(&client_credentials());
    let scene = scene_of(origin.start().await, settings).await;
    scene.endpoint.answers_with(|access, number| match number {
        1 => ok(&pair(access, 1, 3600)),
        _ => answer("500 Internal Server Error", "", ""),
    });
    assert_passed(&scene.agent.get(URL).await, 401);
    assert_passed(&scene.agent.get(URL).await, 200);
    assert_eq!(scene.tokens_arrived(), ["1", "1"]);
    assert_eq!(scene.endpoint.asked(), 2);
    scene.postern.finish();
}
