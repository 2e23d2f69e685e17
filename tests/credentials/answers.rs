//! What token endpoints answer besides what the RFC says: what can be used is used, what cannot is an outage with a
//! bound, and nothing of it reaches the agent.

use serde_json::{Value, json};
use support::{Message, answer, assert_passed};

use crate::endpoint::{JSON, REFRESH, ok, refresh};
use crate::scene::{
    ACCOUNT, LOGIN, Scene, URL, assert_needs_reauth, assert_unavailable, client_credentials, eventually_answered,
    refresh_token, scene_where, standing,
};

/// A scene whose endpoint answers so, made of the access tokens' common beginning.
async fn answering(auth: &str, reply: impl Fn(&str, usize) -> Vec<u8> + Send + 'static) -> Scene {
    scene_where(auth, |endpoint| endpoint.answers_with(reply)).await
}

/// A token of this answer is used by several requests and fetched once.
async fn is_used(answer: Value) {
    let scene = answering(&client_credentials(), move |access, number| {
        let mut answer = answer.clone();
        answer["access_token"] = format!("{access}.{number}").into();
        ok(&answer)
    })
    .await;
    is_used_in(scene).await;
}

async fn is_used_in(scene: Scene) {
    for _ in 0..3 {
        assert_passed(&scene.agent.get(URL).await, 200);
        assert_eq!(scene.arrived(), scene.endpoint.token(1));
    }
    assert_eq!(scene.endpoint.asked(), 1);
    scene.postern.finish();
}

/// No token comes of this answer, and what stands in it is told to nobody.
async fn is_an_outage(bytes: Vec<u8>) -> Scene {
    let scene = answering(&client_credentials(), move |_, _| bytes.clone()).await;
    assert_unavailable(&scene.agent.get(URL).await);
    let standing = standing(&scene.postern, ACCOUNT);
    assert_eq!(standing["state"], "error", "{standing}");
    assert!(standing["problem"].as_str().unwrap().len() < 500, "{standing}");
    assert!(scene.origin.requests().is_empty());
    scene
}

#[tokio::test]
async fn a_token_without_expires_in_is_used() {
    is_used(json!({})).await;
}

#[tokio::test]
async fn an_expires_in_that_is_a_string_is_read() {
    is_used(json!({"token_type": "Bearer", "expires_in": "3600"})).await;
}

#[tokio::test]
async fn an_expires_in_of_zero_makes_no_loop() {
    is_used(json!({"token_type": "Bearer", "expires_in": 0})).await;
}

#[tokio::test]
async fn a_token_of_a_type_that_nobody_knows_is_used() {
    is_used(json!({"token_type": "bot", "expires_in": 3600.5, "scope": ["a", "b"], "error": null})).await;
}

#[tokio::test]
async fn a_token_in_a_form_is_used() {
    let scene = answering(&client_credentials(), |access, number| {
        let access = access.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
        let body = format!("access_token={access}.{number}&expires_in=3600&token_type=bearer");
        answer("200 OK", "Content-Type: application/x-www-form-urlencoded\r\n", &body)
    })
    .await;
    is_used_in(scene).await;
}

#[tokio::test]
async fn an_answer_without_a_refresh_token_leaves_the_old_one_in_use() {
    let scene = answering(&refresh_token(), |access, number| {
        let mut answer = json!({"access_token": format!("{access}.{number}"), "expires_in": 1});
        if number == 2 {
            answer["refresh_token"] = refresh(number).into();
        }
        ok(&answer)
    })
    .await;
    scene.wait_for_token(4).await;
    let used = scene.endpoint.refresh_tokens();
    assert_eq!(used[..4], [refresh("first"), refresh("first"), refresh(2), refresh(2)]);
    scene.postern.finish();
}

#[tokio::test]
async fn a_rotated_refresh_token_in_an_answer_without_an_access_token_is_kept() {
    let mut scene = answering(&refresh_token(), |access, number| match number {
        1 => ok(&json!({"refresh_token": refresh(1)})),
        _ => ok(&json!({"access_token": format!("{access}.{number}"), "refresh_token": refresh(number)})),
    })
    .await;
    assert_unavailable(&scene.agent.get(URL).await);
    scene.restart().await;
    eventually_answered(&scene.agent, |reply| reply.status() == 200).await;
    assert_eq!(scene.endpoint.refresh_tokens(), [refresh("first"), refresh(1)]);
    scene.postern.finish();
}

#[tokio::test]
async fn a_200_with_an_error_is_an_error() {
    let body =
        r#"{"error":"bad_refresh_token","error_description":"The refresh token passed is incorrect or expired."}"#;
    let scene = answering(&refresh_token(), |_, _| answer("200 OK", JSON, body)).await;
    assert_needs_reauth(&scene.agent.get(URL).await);
    scene.postern.finish();

    let scene = is_an_outage(answer("200 OK", JSON, r#"{"error":"temporarily_unavailable"}"#)).await;
    scene.postern.finish();
}

#[tokio::test]
async fn an_answer_that_is_garbage_is_an_outage() {
    for (kind, body) in [(JSON, "{\"access_token\":"), (JSON, "[]"), (JSON, "{}"), ("", ""), ("", "<h1>Welcome</h1>")] {
        is_an_outage(answer("200 OK", kind, body)).await.postern.finish();
    }
    is_an_outage(b"what?\r\n\r\n".to_vec()).await.postern.finish();
}

#[tokio::test]
async fn a_token_that_no_field_can_carry_is_an_outage() {
    for token in ["a\r\nX-Evil: 1", "\u{e9}", ""] {
        is_an_outage(ok(&json!({"access_token": token}))).await.postern.finish();
    }
}

#[tokio::test]
async fn an_answer_of_a_mebibyte_is_not_read_to_its_end() {
    let long = json!({"access_token": "a", "padding": "x".repeat(1024 * 1024)});
    let scene = is_an_outage(ok(&long)).await;
    assert!(standing(&scene.postern, ACCOUNT)["problem"].as_str().unwrap().contains("too long"));
    scene.postern.finish();
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    for status in ["302 Found", "307 Temporary Redirect", "308 Permanent Redirect"] {
        let location = format!("Location: https://{LOGIN}/elsewhere\r\n");
        let scene = is_an_outage(answer(status, &location, "")).await;
        assert_eq!(scene.endpoint.upstream().only_request().target(), "/token");
        assert!(standing(&scene.postern, ACCOUNT)["problem"].as_str().unwrap().contains("redirect"));
        scene.postern.finish();
    }
}

#[tokio::test]
async fn a_provider_that_repeats_what_it_was_sent_shows_it_to_nobody() {
    let echo = |_, request: &Message| {
        let words = format!("{} {} {REFRESH}", request.text(), request.field("authorization").unwrap_or_default());
        let words = format!("{words} {}", crate::endpoint::unescaped(&request.text()));
        answer("400 Bad Request", JSON, &json!({"error": "invalid_request", "error_description": words}).to_string())
    };
    let scene = scene_where(&refresh_token(), |endpoint| endpoint.answers(echo)).await;
    assert_unavailable(&scene.agent.get(URL).await);
    let status = scene.postern.run(&["status"]);
    let shown = format!("{}{}", String::from_utf8_lossy(&status.stdout), standing(&scene.postern, ACCOUNT));
    assert!(shown.contains("invalid_request"), "{shown}");
    let canary = support::Canary::new([("a refresh token", REFRESH), ("the client's", crate::scene::CLIENT_SECRET)]);
    assert_eq!(canary.sweep("status", shown.as_bytes()), [""; 0]);
    scene.postern.finish();
}
