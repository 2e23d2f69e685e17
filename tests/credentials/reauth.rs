//! A provider that says that an authorisation is dead: it is believed at once, it is not asked again, and a new first
//! token is all that it takes.

use std::fs;

use support::{answer, assert_passed};

use crate::endpoint::{Endpoint, JSON, ok, pair, refresh};
use crate::scene::{
    ACCOUNT, LOGIN, URL, account, assert_needs_reauth, client_credentials, eventually_answered, origin_refusing,
    refresh_token, scene, scene_prepared, scene_where, standing,
};

#[tokio::test]
async fn a_dead_refresh_token_is_used_once_and_a_new_one_in_the_file_heals_it() {
    let first = tempfile::NamedTempFile::new().unwrap();
    fs::write(first.path(), refresh("first")).unwrap();
    let auth = refresh_token().replace("{env: FIRST}", &format!("{{file: {:?}}}", first.path()));
    let mut scene = scene_where(&auth, Endpoint::refuses_the_grant).await;

    for _ in 0..5 {
        assert_needs_reauth(&scene.agent.get(URL).await);
    }
    let standing_now = standing(&scene.postern, ACCOUNT);
    assert_eq!(standing_now["state"], "needs_reauth", "{standing_now}");
    assert!(standing_now["problem"].as_str().unwrap().contains("invalid_grant"), "{standing_now}");
    scene.restart().await;
    assert_needs_reauth(&scene.agent.get(URL).await);
    assert_eq!(standing(&scene.postern, ACCOUNT)["state"], "needs_reauth");
    scene.postern.hang_up();
    assert_needs_reauth(&scene.agent.get(URL).await);
    assert_eq!(scene.endpoint.asked(), 1, "a dead refresh token was used again");

    scene.endpoint.gives_tokens_for(3600);
    fs::write(first.path(), refresh("second")).unwrap();
    scene.postern.hang_up();
    eventually_answered(&scene.agent, |reply| reply.status() == 200).await;
    assert_eq!(scene.endpoint.refresh_tokens(), [refresh("first"), refresh("second")]);
    assert_eq!(standing(&scene.postern, ACCOUNT)["state"], "connected");
    scene.postern.finish();
}

#[tokio::test]
async fn a_dead_refresh_token_ends_even_a_token_that_the_origin_refuses() {
    let origin = origin_refusing(|_| true).start().await;
    let scene = scene_prepared(origin, account(&refresh_token()), |endpoint| {
        endpoint.answers_with(|access, number| match number {
            1 => ok(&pair(access, 1, 3600)),
            _ => answer("400 Bad Request", JSON, r#"{"error":"invalid_grant"}"#),
        });
    })
    .await;
    // The origin's own answer passes; what became of the forced renewal is the next request's matter.
    assert_passed(&scene.agent.get(URL).await, 401);
    assert_needs_reauth(&scene.agent.get(URL).await);
    assert_eq!((scene.endpoint.asked(), scene.origin.requests().len()), (2, 1));
    scene.postern.finish();
}

#[tokio::test]
async fn a_client_that_was_refused_is_tried_again_with_another_secret() {
    let secret = tempfile::NamedTempFile::new().unwrap();
    fs::write(secret.path(), "outdated").unwrap();
    let auth = client_credentials().replace("{env: CLIENT_SECRET}", &format!("{{file: {:?}}}", secret.path()));
    let scene = scene(&auth).await;
    for code in ["invalid_client", "unauthorized_client", "invalid_grant"] {
        let refusal = format!(r#"{{"error":"{code}"}}"#);
        scene.endpoint.answers(move |_, _| answer("401 Unauthorized", JSON, &refusal));
        fs::write(secret.path(), format!("refused as {code}")).unwrap();
        scene.postern.hang_up();
        eventually_answered(&scene.agent, |_| {
            standing(&scene.postern, ACCOUNT)["problem"].as_str().unwrap_or_default().contains(code)
        })
        .await;
        scene.endpoint.gives_tokens_for(1);
        fs::write(secret.path(), format!("good after {code}")).unwrap();
        scene.postern.hang_up();
        eventually_answered(&scene.agent, |reply| reply.status() == 200).await;
    }
    assert!(!scene.postern.stderr().contains(&format!("{LOGIN}/token?")));
    scene.postern.finish();
}
