//! What happens to a token when something changes around it: the settings, the client, the process. A refresh token is
//! never used twice for it, and a token never outlives the client that it was given to.

use std::collections::HashSet;
use std::fs;

use support::{assert_passed, assert_refused};

use crate::endpoint::{parameter, refresh};
use crate::scene::{
    ACCOUNT, HOST, Scene, TARGET, URL, client_credentials, eventually_answered, refresh_token, reload, scene,
    scene_where,
};

#[tokio::test]
async fn a_reload_of_the_same_settings_keeps_the_token() {
    let scene = scene(&client_credentials()).await;
    assert_passed(&scene.agent.get(URL).await, 200);
    reload(&scene.postern, &format!("{}\n# changed\n", scene.postern.settings().yaml())).await;
    assert_passed(&scene.agent.get(URL).await, 200);
    assert_eq!((scene.endpoint.asked(), scene.arrived()), (1, scene.endpoint.token(1)));
    scene.postern.finish();
}

#[tokio::test]
async fn a_restart_keeps_the_token() {
    let mut scene = scene(&client_credentials()).await;
    assert_passed(&scene.agent.get(URL).await, 200);
    scene.restart().await;
    assert_passed(&scene.agent.get(URL).await, 200);
    assert_eq!((scene.endpoint.asked(), scene.arrived()), (1, scene.endpoint.token(1)));
    scene.postern.finish();
}

#[tokio::test]
async fn a_token_is_not_used_for_another_client() {
    let scene = scene(&client_credentials()).await;
    assert_passed(&scene.agent.get(URL).await, 200);
    let yaml = scene.postern.settings().yaml().replace("client_id: service", "client_id: another");
    reload(&scene.postern, &yaml).await;
    assert_passed(&scene.agent.get(URL).await, 200);
    assert_eq!(scene.arrived(), scene.endpoint.token(2));
    scene.postern.finish();
}

#[tokio::test]
async fn a_token_is_not_used_for_another_client_after_a_restart() {
    let secret = tempfile::NamedTempFile::new().unwrap();
    fs::write(secret.path(), "the first client's secret").unwrap();
    let auth = client_credentials().replace("{env: CLIENT_SECRET}", &format!("{{file: {:?}}}", secret.path()));
    let mut scene = scene(&auth).await;
    assert_passed(&scene.agent.get(URL).await, 200);
    fs::write(secret.path(), "the second client's secret").unwrap();
    scene.restart().await;
    assert_passed(&scene.agent.get(URL).await, 200);
    assert_eq!(scene.arrived(), scene.endpoint.token(2));
    scene.postern.finish();
}

#[tokio::test]
async fn a_token_is_not_used_for_other_scopes() {
    let auth = format!("{}, scopes: [read, write]", client_credentials());
    let scene = scene(&auth).await;
    assert_passed(&scene.agent.get(URL).await, 200);
    assert_eq!(parameter(&scene.endpoint.upstream().last_request(), "scope").as_deref(), Some("read write"));
    reload(&scene.postern, &scene.postern.settings().yaml().replace("[read, write]", "[read]")).await;
    assert_passed(&scene.agent.get(URL).await, 200);
    assert_eq!(scene.arrived(), scene.endpoint.token(2));
    assert_eq!(parameter(&scene.endpoint.upstream().last_request(), "scope").as_deref(), Some("read"));
    scene.postern.finish();
}

#[tokio::test]
async fn a_reload_in_the_midst_of_a_renewal_does_not_use_the_refresh_token_again() {
    let scene = scene_where(&refresh_token(), |endpoint| endpoint.holds_from(1)).await;
    let mut first = scene.agent.intercepted(TARGET).await;
    first.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
    scene.endpoint.wait_until_asked(1).await;

    // Other settings of the same account: the token that is on its way still belongs to it.
    let yaml = scene.postern.settings().yaml();
    reload(&scene.postern, &yaml.replace("auth: {type", "refresh: {early: 30s}, auth: {type")).await;
    let mut second = scene.agent.intercepted(TARGET).await;
    second.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
    scene.endpoint.releases();

    assert_passed(&first.reply().await, 200);
    assert_passed(&second.reply().await, 200);
    let mut used = scene.endpoint.refresh_tokens();
    used.dedup();
    assert_eq!(used.len(), scene.endpoint.asked(), "a refresh token was used twice: {used:?}");
    scene.postern.finish();
}

#[tokio::test]
async fn another_client_secret_does_not_bring_back_the_first_refresh_token() {
    let secret = tempfile::NamedTempFile::new().unwrap();
    fs::write(secret.path(), "the first secret").unwrap();
    let auth = refresh_token().replace("{env: CLIENT_SECRET}", &format!("{{file: {:?}}}", secret.path()));
    let scene = scene_where(&auth, |endpoint| endpoint.gives_tokens_for(1)).await;
    scene.wait_for_token(2).await;
    fs::write(secret.path(), "the second secret").unwrap();
    scene.postern.hang_up();
    scene.serves_further_tokens().await;
    scene.postern.finish();
}

#[tokio::test]
async fn a_connection_that_was_away_goes_on_with_its_newest_refresh_token() {
    let scene = scene_where(&refresh_token(), |endpoint| endpoint.gives_tokens_for(1)).await;
    scene.wait_for_token(2).await;
    let yaml = scene.postern.settings().yaml();
    reload(&scene.postern, &scene.postern.settings().without_bindings().yaml().replace("  acme: {", "  other: {"))
        .await;
    assert_refused(&scene.agent.get(URL).await, 403, "binding_missing");
    reload(&scene.postern, &yaml).await;
    scene.serves_further_tokens().await;
    scene.postern.finish();
}

impl Scene {
    /// Two more renewals, and no refresh token was used twice.
    async fn serves_further_tokens(&self) {
        let before = self.endpoint.asked();
        eventually_answered(&self.agent, |reply| {
            assert_passed(reply, 200);
            self.endpoint.asked() >= before + 2
        })
        .await;
        let used = self.endpoint.refresh_tokens();
        let different: HashSet<&String> = used.iter().collect();
        assert_eq!(different.len(), used.len(), "a refresh token was used twice: {used:?}");
    }
}

#[tokio::test]
async fn an_end_in_the_midst_of_a_renewal_keeps_what_it_brings() {
    let mut scene = scene_where(&refresh_token(), |endpoint| endpoint.holds_from(1)).await;
    let mut wire = scene.agent.intercepted(TARGET).await;
    wire.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
    scene.endpoint.wait_until_asked(1).await;
    drop(wire);
    let (ended, ()) = tokio::join!(scene.postern.terminate(), async { scene.endpoint.releases() });
    assert_eq!(ended.code(), Some(0));

    scene.postern.restart().await.unwrap();
    scene.agent = scene.postern.agent("bot");
    eventually_answered(&scene.agent, |reply| reply.status() == 200).await;
    let used = scene.endpoint.refresh_tokens();
    assert!(used == [refresh("first")] || used == [refresh("first"), refresh(1)], "used twice: {used:?}");
    assert!(scene.arrived().starts_with(scene.postern.token(ACCOUNT)));
    scene.postern.finish();
}
