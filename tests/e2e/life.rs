//! The life of a serving process: it takes changes up under load, drains, dies and comes back. No request fails because
//! of any of it.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use support::{Message, Postern, Upstream, answer, assert_passed, assert_refused, eventually, upstream, within};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::bulk::{After, BulkDoor, bulk};
use crate::program::beside;
use crate::scene::{
    HOST, Scene, URL, admin_page, admin_page_as, code, eventually_answered, get, postern, scene, scene_of,
};

/// Agents that ask at once.
const AGENTS: u64 = 8;

// --- changes under load ---

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn none_of_ten_thousand_requests_fails_over_fifty_reloads_of_good_and_bad_files() {
    const REQUESTS: u64 = 10_000;
    const RELOADS: u64 = 50;
    let (postern, _origin) = bulk().await;
    let done = Arc::new(AtomicU64::new(0));
    let over = Arc::new(AtomicBool::new(false));
    let mut agents = JoinSet::new();
    for number in 0..AGENTS {
        let (door, done, over) = (BulkDoor::of(&postern), Arc::clone(&done), Arc::clone(&over));
        agents.spawn(async move {
            let mut agent = door.open().await.unwrap().unwrap();
            while !over.load(Ordering::Relaxed) {
                assert_eq!(agent.request().await.unwrap(), After::Open);
                let count = done.fetch_add(1, Ordering::Relaxed);
                // Some come anew, and find what is in force then.
                if count % 100 == number {
                    agent = door.open().await.unwrap().unwrap();
                }
            }
        });
    }
    let good = postern.settings().yaml();
    for reload in 0..RELOADS {
        eventually("the agents", || (done.load(Ordering::Relaxed) >= reload * REQUESTS / RELOADS).then_some(())).await;
        let bad = reload % 2 == 0;
        postern.rewrite(if bad { good.replace("bindings:", "bindigns:") } else { format!("{good}# {reload}\n") });
        postern.hang_up();
        eventually("the reload", || (problem(&postern).is_null() != bad).then_some(())).await;
    }
    eventually("the last requests", || (done.load(Ordering::Relaxed) >= REQUESTS).then_some(())).await;
    over.store(true, Ordering::Relaxed);
    while let Some(ended) = agents.join_next().await {
        ended.expect("no request fails");
    }
    let failed = postern.records().into_iter().find(|record| record["outcome"] != "complete");
    assert_eq!(failed, None);
}

/// Why the file is not in force, as `status` tells.
pub(crate) fn problem(postern: &Postern) -> Value {
    beside(postern, &["status", "--json"]).run().json()["config"]["problem"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_is_lost_when_it_is_told_to_end_under_load() {
    let (mut postern, _origin) = bulk().await;
    let done = Arc::new(AtomicU64::new(0));
    let mut agents = JoinSet::new();
    for number in 0..AGENTS {
        let (door, done) = (BulkDoor::of(&postern), Arc::clone(&done));
        // Half of them keep their tunnels for as long as they may, half open one for each request.
        let stays = number % 2 == 0;
        agents.spawn(async move {
            while let Some(mut agent) = door.open().await.expect("a tunnel that was asked for is opened") {
                loop {
                    let after = agent.request().await.expect("a request that was sent is answered");
                    done.fetch_add(1, Ordering::Relaxed);
                    if after == After::Closed || !stays {
                        break;
                    }
                }
            }
        });
    }
    eventually("the load", || (done.load(Ordering::Relaxed) > 500).then_some(())).await;
    let status = postern.terminate().await;
    assert_eq!(status.code(), Some(0), "{status}");
    while let Some(ended) = within("the agents", agents.join_next()).await {
        ended.expect("nothing was lost");
    }
    let failed = postern.records().into_iter().find(|record| record["outcome"] != "complete");
    assert_eq!(failed, None);
}

#[tokio::test]
async fn sighup_reads_everything_anew_even_where_nothing_looks_changed() {
    let scene = scene().await;
    let reloads = || scene.postern.stderr().matches("the configuration was taken up").count();
    let before = reloads();
    scene.postern.hang_up();
    eventually("the reload", || (reloads() > before).then_some(())).await;
    assert_passed(&scene.agent.get(URL).await, 200);
}

#[tokio::test]
async fn a_changed_file_is_taken_up_without_a_signal() {
    let scene = scene().await;
    let mut wire = scene.tunnel().await;
    wire.send(get("/x")).await;
    assert_passed(&wire.reply().await, 200);
    scene.postern.rewrite(scene.postern.settings().without_bindings().yaml());
    eventually_answered(&scene.agent, URL, |reply| code(reply) == Some("binding_missing")).await;
    // The next request of an open tunnel sees it too.
    wire.send(get("/x")).await;
    assert_refused(&wire.reply().await, 403, "binding_missing");
}

#[tokio::test]
async fn a_bad_file_leaves_the_last_good_one_in_force_and_status_says_so() {
    let scene = scene().await;
    let good = scene.postern.settings().yaml();
    assert!(problem(&scene.postern).is_null());
    scene.postern.rewrite(good.replace("bindings:", "bindigns:"));
    let said = eventually("the complaint", || problem(&scene.postern).as_str().map(str::to_owned)).await;
    assert!(said.contains("bindings.yaml:") && said.contains("unknown key \"bindigns\""), "{said}");
    let status = beside(&scene.postern, &["status"]).run().answer();
    assert!(status.contains("NOT IN FORCE") && status.contains("bindigns"), "{status}");
    assert_passed(&scene.agent.get(URL).await, 200);
    assert_eq!(admin_page(&scene.postern, "/readyz").await.status(), 200);
    scene.postern.rewrite(good);
    eventually("the good file", || problem(&scene.postern).is_null().then_some(())).await;
}

#[tokio::test]
async fn a_secret_in_a_file_is_read_anew_when_it_changes() {
    let origin = upstream(HOST).await;
    let settings = postern();
    let file = settings.folder().join("token");
    let keys = format!("auth: {{type: bearer, token: {{file: {file:?}}}}}");
    fs::write(&file, "first-secret-0123456789\n").unwrap();
    let settings = settings
        .connection_with("notion", &[HOST], &keys)
        .binding("{deployment: bot, connection: notion}")
        .reached_with(&["notion"], &origin);
    let scene = scene_of(origin, settings).await;
    assert_passed(&scene.agent.get(URL).await, 200);
    let bearer = |scene: &Scene| scene.upstream.last_request().field("authorization").unwrap().to_owned();
    assert_eq!(bearer(&scene), "Bearer first-secret-0123456789");

    let next = scene.postern.folder().join("next-token");
    fs::write(&next, "second-secret-0123456789").unwrap();
    fs::rename(next, &file).unwrap();
    eventually_answered(&scene.agent, URL, |_| bearer(&scene) == "Bearer second-secret-0123456789").await;

    fs::remove_file(&file).unwrap();
    let reply = eventually_answered(&scene.agent, URL, |reply| reply.status() != 200).await;
    assert_refused(&reply, 503, "credential_unavailable");
}

// --- ends ---

/// An origin that answers when told to, and the words to tell it.
async fn patient() -> (Upstream, Arc<Notify>) {
    let told = Arc::new(Notify::new());
    let script_told = Arc::clone(&told);
    let origin = Upstream::of(&[HOST])
        .script(move |mut conversation| {
            let told = Arc::clone(&script_told);
            async move {
                conversation.request().await;
                told.notified().await;
                conversation.send(answer("200 OK", "", "at last")).await;
                conversation.closed().await;
            }
        })
        .start()
        .await;
    (origin, told)
}

fn terminate(postern: &Postern) {
    let pid = Pid::from_raw(i32::try_from(postern.pid()).unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
}

#[tokio::test]
async fn while_it_drains_it_is_alive_but_not_ready_and_the_running_request_ends_well() {
    let (origin, told) = patient().await;
    let settings = postern().bound("notion", &origin);
    let mut scene = scene_of(origin, settings).await;
    assert_eq!(admin_page(&scene.postern, "/readyz").await.status(), 200);
    let mut wire = scene.tunnel().await;
    wire.send(get("/slow")).await;
    scene.upstream.wait_until("the request", |all| all.iter().any(|one| !one.requests.is_empty())).await;

    terminate(&scene.postern);
    within("not to be ready", async { while admin_page(&scene.postern, "/readyz").await.status() != 503 {} }).await;
    assert_eq!(admin_page(&scene.postern, "/healthz").await.status(), 200);
    eventually("the listener to close", || std::net::TcpStream::connect(scene.postern.proxy()).err()).await;
    let status = beside(&scene.postern, &["status", "--json"]).run();
    status.failed(1);
    assert!(status.stdout().contains("\"draining\": true"), "{}", status.stdout());

    told.notify_one();
    let reply = wire.reply().await;
    assert_passed(&reply, 200);
    assert_eq!((reply.text().as_str(), reply.field("connection")), ("at last", Some("close")), "{reply}");
    wire.closed().await;
    assert_eq!(scene.postern.terminate().await.code(), Some(0));
}

#[tokio::test]
async fn what_still_runs_at_the_drains_deadline_is_cut_and_recorded() {
    let (origin, _told) = patient().await;
    let settings = postern().bound("notion", &origin).argument("--drain").argument("200ms");
    let mut scene = scene_of(origin, settings).await;
    let mut wire = scene.tunnel().await;
    wire.send(get("/slow")).await;
    scene.upstream.wait_until("the request", |all| all.iter().any(|one| !one.requests.is_empty())).await;
    assert_eq!(scene.postern.terminate().await.code(), Some(0));
    wire.closed().await;
    let records = scene.postern.records();
    assert_eq!(records.len(), 1, "{records:?}");
    assert_eq!((&records[0]["outcome"], &records[0]["path"]), (&"cut_off".into(), &"/slow".into()));
}

#[tokio::test]
async fn an_idle_process_ends_at_once() {
    let mut scene = scene().await;
    let _idle = (scene.agent.socket().await, scene.tunnel().await);
    assert_eq!(scene.postern.terminate().await.code(), Some(0));
    assert!(!scene.postern.data().join("admin.sock").exists(), "the admin socket is left behind");
}

#[tokio::test]
async fn killed_and_started_again_it_has_the_same_authority_keys_and_secrets() {
    let origin = upstream(HOST).await;
    let settings = postern()
        .connection_with("notion", &[HOST], "auth: {type: bearer, token: {sealed: token}}")
        .binding("{deployment: bot, connection: notion}")
        .reached_with(&["notion"], &origin);
    let mut scene = scene_of(origin, settings).await;
    for round in 0..3 {
        let key = scene.postern.issue_key("bot");
        let token = scene.postern.token("notion").to_owned();
        beside(&scene.postern, &["secret", "set", "token"]).input(&token).run().answer();
        scene.postern.kill();
        scene.postern.restart().await.unwrap();
        // The agent still trusts only the root of the first start.
        let agent = scene.postern.agent_with_key("bot", &key);
        assert_passed(&agent.get(URL).await, 200);
        assert_eq!(scene.upstream.requests().len(), round + 1);
    }
    let exported = beside(&scene.postern, &["ca", "export"]).run().answer();
    assert_eq!(exported, scene.postern.root_pem());
    let keys = beside(&scene.postern, &["deployment", "key", "list", "--json"]).run().json();
    assert_eq!(keys.as_array().unwrap().len(), 3, "{keys}");
}

// --- the admin listener ---

#[tokio::test]
async fn the_admin_listener_answers_only_to_its_own_names() {
    let postern = postern().start().await;
    let port = postern.admin().port();
    for host in [format!("127.0.0.1:{port}"), format!("localhost:{port}"), "localhost".into(), format!("[::1]:{port}")]
    {
        assert_eq!(admin_page_as(&postern, "/healthz", &host).await.status(), 200, "{host}");
    }
    for host in ["evil.test", "127.0.0.1.evil.test", "169.254.169.254", "localhost.evil.test:80", ""] {
        for path in ["/healthz", "/readyz", "/connect/notion", "/nowhere"] {
            let page = admin_page_as(&postern, path, host).await;
            assert!((400..500).contains(&page.status()), "{path} as {host:?}:\n{page}");
            assert_ne!(page.status(), 404, "{path} as {host:?}:\n{page}");
        }
    }
}

#[tokio::test]
async fn the_admin_listener_gives_nothing_away_without_a_token() {
    let postern = postern().start().await;
    for path in ["/", "/api/connections", "/v1/status", "/v1/keys", "/v1/secrets", "/v1/ca.pem"] {
        let page: Message = admin_page(&postern, path).await;
        assert!(matches!(page.status(), 401 | 404), "{path}:\n{page}");
    }
}
