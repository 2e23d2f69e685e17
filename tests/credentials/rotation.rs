//! Tokens of a real provider: fetched when first needed, renewed after their end, and never lost by a crash, although
//! the provider ends the whole family when a refresh token comes twice.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use support::{Canary, Postern, Upstream, assert_passed, eventually};

use crate::endpoint::REFRESH;
use crate::provider::Provider;
use crate::scene::{
    ACCOUNT, CLIENT_SECRET, HOST, LOGIN, URL, account, bearer, client_credentials, eventually_answered,
    origin_refusing, refresh_token, standing,
};

/// Kills and refreshes in a row.
const GENERATIONS: u64 = 50;

async fn housed(origin: &Upstream, auth: &str, life_seconds: u32) -> (Provider, Postern) {
    let settings = account(auth);
    let mut provider = Provider::start(&settings, life_seconds);
    let first = provider.mint();
    let settings = settings
        .environment("FIRST", &first)
        .reached_with(&[ACCOUNT], origin)
        .connect_to(&format!("{LOGIN}:443"), provider.address());
    (provider, settings.start().await)
}

async fn a_token_is_fetched_and_renewed_once(auth: &str) {
    let origin = support::upstream(HOST).await;
    let (mut provider, postern) = housed(&origin, auth, 4).await;
    let agent = postern.agent("bot");

    assert_passed(&agent.get(URL).await, 200);
    let first = bearer(&origin.last_request());
    assert!(first.starts_with(postern.token(ACCOUNT)), "no token of the provider's arrived");
    assert_passed(&agent.get(URL).await, 200);
    assert_eq!(provider.count(), (1, 0), "a valid token was fetched again");

    let reply = eventually_answered(&agent, |_| bearer(&origin.last_request()) != first).await;
    assert_passed(&reply, 200);
    assert_eq!(provider.count(), (2, 0), "not exactly one renewal");
    assert_eq!(standing(&postern, ACCOUNT)["state"], "connected");
    postern.finish();
}

#[tokio::test]
async fn a_clients_own_token_is_fetched_at_the_first_call_and_renewed_once_after_its_end() {
    a_token_is_fetched_and_renewed_once(&client_credentials()).await;
}

#[tokio::test]
async fn a_refresh_token_is_used_at_the_first_call_and_again_once_after_the_tokens_end() {
    a_token_is_fetched_and_renewed_once(&refresh_token()).await;
}

#[tokio::test]
async fn no_command_and_no_page_shows_a_token() {
    let origin = support::upstream(HOST).await;
    let (_provider, postern) = housed(&origin, &refresh_token(), 3600).await;
    assert_passed(&postern.agent("bot").get(URL).await, 200);

    let mut shown = Vec::new();
    for arguments in [
        &["status"][..],
        &["status", "--json"],
        &["check", "--json"],
        &["explain", "--deployment", "bot", URL],
        &["explain", "--deployment", "bot", "--json", URL],
        &["secret", "list", "--json"],
        &["env", "--deployment", "bot"],
    ] {
        let output = postern.run(arguments);
        shown.extend([output.stdout, output.stderr].concat());
    }
    for path in ["/healthz", "/readyz", "/metrics", "/connect/acme"] {
        let mut wire = postern.agent("bot").at(postern.admin()).socket().await;
        wire.send(format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", postern.admin())).await;
        shown.extend(wire.reply().await.raw);
    }
    let secrets =
        [("the access token", postern.token(ACCOUNT)), ("a refresh token", REFRESH), ("the client's", CLIENT_SECRET)];
    assert_eq!(Canary::new(secrets).sweep("commands and pages", &shown), [""; 0]);
    postern.finish();
}

#[tokio::test]
async fn no_kill_loses_a_rotated_refresh_token_and_none_is_ever_used_twice() {
    // What the origin has accepted once it refuses from the next generation on, so that each needs a refresh.
    let stale: Arc<Mutex<HashSet<String>>> = Arc::default();
    let refused = Arc::clone(&stale);
    let origin = origin_refusing(move |token| refused.lock().unwrap().contains(token)).start().await;
    let (mut provider, mut postern) = housed(&origin, &refresh_token(), 3600).await;

    for generation in 1..=GENERATIONS {
        let agent = postern.agent("bot");
        let request = tokio::spawn(async move { agent.get(URL).await });
        // The moment at which the new token arrives is the earliest at which its refresh token must be safe.
        let fresh = eventually("a fresh token", || {
            let tokens = origin.requests().iter().map(bearer).collect::<Vec<_>>();
            tokens.into_iter().find(|token| !stale.lock().unwrap().contains(token))
        })
        .await;
        stale.lock().unwrap().insert(fresh);
        request.abort();
        let _ = request.await;
        postern.kill();
        assert_eq!(provider.count(), (generation, 0), "generation {generation}: (token requests, refused ones)");
        postern.restart().await.unwrap();
    }

    assert_passed(&postern.agent("bot").get(URL).await, 200);
    assert_eq!(provider.count(), (GENERATIONS + 1, 0));
    postern.finish();
}
