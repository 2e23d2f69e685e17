//! Group K: the configuration as an enemy. A bad file leaves the last good one in force and says so; an empty one never
//! means "no bindings"; a good one takes effect without a restart.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;
use std::time::{Duration, Instant};

use support::{Settings, assert_passed, assert_refused, upstream};

use crate::scene::{HOST, Scene, code, eventually_answered, postern, scene, scene_of};

const URL: &str = "https://api.notion.test/";

/// How long a hostile file may keep `check` busy. Some YAML parsers need over twenty seconds.
const CHECK_IN: Duration = Duration::from_secs(2);

/// Puts a bad file in place by the given act: postern complains, the old bindings hold; a good file afterwards counts.
async fn stays_as_it_was(scene: &Scene, what: &str, spoil: impl FnOnce()) {
    let before = scene.postern.complaints();
    spoil();
    scene.postern.hang_up();
    scene.postern.wait_for_complaint(before).await;
    let reply = scene.agent.get(URL).await;
    assert_eq!(reply.status(), 200, "after {what} the old bindings did not hold:\n{reply}");
}

/// The watcher is still alive: taking the binding away and giving it back both take effect.
async fn still_reloads(scene: &Scene) {
    let settings = scene.postern.settings();
    scene.postern.rewrite(settings.clone().without_bindings().yaml());
    eventually_answered(&scene.agent, URL, |reply| code(reply) == Some("binding_missing")).await;
    scene.postern.rewrite(settings.yaml());
    eventually_answered(&scene.agent, URL, |reply| reply.status() == 200).await;
}

#[tokio::test]
async fn k01_a_file_with_a_mistake_changes_nothing_and_the_log_shows_where_it_is() {
    let scene = scene().await;
    let good = scene.postern.settings().yaml();
    for (mistake, shown) in [
        (good.replace("bindings:", "bindigns:"), "bindigns"),
        (good.replace("version: 1", "version: one"), "version"),
        (good.replace("version: 1", "version: 99"), "version"),
        (good.replace("bindings:\n", "bindings: 7\nx:\n"), "bindings"),
        (format!("{good}: : :\n\t- ]"), "bindings.yaml"),
        (good.replace("connection: notion}", "connection: nobody}"), "nobody"),
        (good.replace("{deployment: bot,", "{deployment: nobody,"), "nobody"),
    ] {
        let before = scene.postern.stderr().len();
        stays_as_it_was(&scene, "a mistake", || scene.postern.rewrite(&mistake)).await;
        let said = scene.postern.stderr().split_off(before);
        assert!(said.contains(shown), "the log does not show {shown:?}");
    }
    still_reloads(&scene).await;
}

#[tokio::test]
async fn k01_an_unknown_key_is_shown_with_its_line_and_the_nearest_valid_one() {
    let settings = postern();
    let output = settings.check(settings.yaml().replace("bindings:", "bindigns:"));
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let line = settings.yaml().lines().position(|line| line.starts_with("bindings:")).unwrap() + 1;
    assert!(said.contains(&format!("checked.yaml:{line}:1")), "no file, line and column {line}:1 in\n{said}");
    assert!(said.contains("bindigns") && said.contains("bindings"), "{said}");
}

#[tokio::test]
async fn k01_a_rejected_reload_shows_in_the_metrics() {
    let scene = scene().await;
    let good = scene.postern.settings().yaml();
    stays_as_it_was(&scene, "a mistake", || scene.postern.rewrite(good.replace("bindings:", "bindigns:"))).await;
    let metrics = admin_page(&scene, "/metrics").await;
    let gauge = metrics.lines().find(|line| line.starts_with("postern_config_reload_failed"));
    assert!(gauge.is_some_and(|line| line.ends_with(" 1")), "{gauge:?}");
}

#[tokio::test]
async fn k02_an_alias_bomb_is_refused_quickly() {
    let mut bomb = String::from("version: 1\na0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..9 {
        let aliases = vec![format!("*a{}", level - 1); 9].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    refused_quickly(&bomb);
}

#[tokio::test]
async fn k03_deep_nesting_is_refused_quickly() {
    refused_quickly(&"[".repeat(100_000));
    refused_quickly(&"{a: ".repeat(100_000));
    refused_quickly(&format!("version: 1\nbindings: {}", "[".repeat(100_000)));
}

#[tokio::test]
async fn k04_a_file_that_is_still_being_written_changes_nothing() {
    let scene = scene().await;
    let good = scene.postern.settings().yaml();
    let path = scene.postern.config_path();
    let cut = good.find("bindings:").unwrap();
    for (what, text) in [
        ("an empty file", ""),
        ("a file of blanks", "\n\n  \n"),
        ("a file of comments", "# soon\n"),
        ("a file that ends before its bindings", &good[..cut]),
        ("a file with a version alone", "version: 1\n"),
        ("a file without a version", &good.replace("version: 1\n", "")),
        ("a null", "~\n"),
    ] {
        stays_as_it_was(&scene, what, || fs::write(&path, text).unwrap()).await;
    }
    still_reloads(&scene).await;
}

#[tokio::test]
async fn k04_taking_all_bindings_away_is_obeyed() {
    let scene = scene().await;
    assert_passed(&scene.agent.get(URL).await, 200);
    scene.postern.rewrite(scene.postern.settings().without_bindings().yaml());
    let reply = eventually_answered(&scene.agent, URL, |reply| reply.status() != 200).await;
    assert_refused(&reply, 403, "binding_missing");
}

#[tokio::test]
async fn k04_a_change_reaches_tunnels_that_are_open() {
    let scene = scene().await;
    let mut wire = scene.tunnel().await;
    wire.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
    assert_passed(&wire.reply().await, 200);
    scene.postern.rewrite(scene.postern.settings().without_bindings().yaml());
    eventually_answered(&scene.agent, URL, |reply| reply.status() != 200).await;
    wire.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
    assert_refused(&wire.reply().await, 403, "binding_missing");
}

#[tokio::test]
async fn k05_a_key_that_stands_twice_is_an_error() {
    let settings = postern().connection("notion", &[HOST]).binding("{deployment: bot, connection: notion}");
    let good = settings.yaml();
    assert!(settings.check(&good).status.success());
    for twice in [
        format!("{good}\nbindings: []\n"),
        format!("{good}\nversion: 1\n"),
        good.replace(
            "connections:\n",
            "connections:\n  notion: {hosts: [evil.test], auth: {type: bearer, token: {env: T}}}\n",
        ),
        good.replace(
            "{deployment: bot, connection: notion}",
            "{deployment: bot, connection: notion, connection: notion}",
        ),
    ] {
        assert_ne!(twice, good);
        assert_eq!(settings.check(&twice).status.code(), Some(1), "a repeated key was accepted:\n{twice}");
    }
}

#[tokio::test]
async fn k07_yaml_beyond_plain_data_is_refused() {
    let settings = postern().connection("notion", &[HOST]).binding("{deployment: bot, connection: notion}");
    let good = settings.yaml();
    let bot = "{deployment: bot, connection: notion}";
    for (what, text) in [
        ("a tag", good.replace("version: 1", "version: !!python/object:os.system 1")),
        ("a tag on a map", good.replace(bot, &format!("!!python/object/apply:os.system {bot}"))),
        ("a second document", format!("{good}---\n{good}")),
        ("a NUL", format!("{good}\0")),
        (
            "a merge key",
            format!("{good}\nx: &x {{a: 1}}\n").replace(bot, "{deployment: bot, connection: notion, <<: *x}"),
        ),
    ] {
        assert_eq!(settings.check(&text).status.code(), Some(1), "{what} was accepted:\n{text}");
    }
    assert!(settings.check(format!("\u{feff}{good}")).status.success(), "a byte order mark is no mistake");
}

#[tokio::test]
async fn k09_a_file_that_is_no_file_changes_nothing_and_blocks_nobody() {
    let scene = scene().await;
    let path = scene.postern.config_path();
    stays_as_it_was(&scene, "a missing file", || fs::remove_file(&path).unwrap()).await;
    stays_as_it_was(&scene, "a folder", || fs::create_dir(&path).unwrap()).await;
    fs::remove_dir(&path).unwrap();
    stays_as_it_was(&scene, "a FIFO", || {
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    })
    .await;
    fs::remove_file(&path).unwrap();
    stays_as_it_was(&scene, "a link to nowhere", || symlink("nowhere.yaml", &path).unwrap()).await;
    fs::remove_file(&path).unwrap();
    stays_as_it_was(&scene, "a link to an endless file", || symlink("/dev/zero", &path).unwrap()).await;
    fs::remove_file(&path).unwrap();
    stays_as_it_was(&scene, "two gigabytes", || {
        fs::File::create(&path).unwrap().set_len(2 << 30).unwrap();
    })
    .await;
    still_reloads(&scene).await;
}

#[tokio::test]
async fn k10_a_configmap_that_swaps_its_data_link_is_followed() {
    let origin = upstream(HOST).await;
    let settings = postern().bound("notion", &origin);
    let folder = settings.folder().to_owned();
    let write = |version: &str, settings: &Settings| {
        fs::create_dir(folder.join(version)).unwrap();
        fs::write(folder.join(version).join("bindings.yaml"), settings.yaml()).unwrap();
        symlink(version, folder.join("..next")).unwrap();
        fs::rename(folder.join("..next"), folder.join("..data")).unwrap();
    };
    write("..v1", &settings);
    symlink("..data/bindings.yaml", folder.join("bindings.yaml")).unwrap();
    let scene = scene_of(origin, settings).await;
    assert_passed(&scene.agent.get(URL).await, 200);
    write("..v2", &scene.postern.settings().without_bindings());
    eventually_answered(&scene.agent, URL, |reply| code(reply) == Some("binding_missing")).await;
    write("..v3", &scene.postern.settings());
    eventually_answered(&scene.agent, URL, |reply| reply.status() == 200).await;
}

#[tokio::test]
async fn k12_of_many_changes_in_a_row_the_last_one_wins() {
    let scene = scene().await;
    let with = scene.postern.settings().yaml();
    let without = scene.postern.settings().without_bindings().yaml();
    for _ in 0..500 {
        scene.postern.rewrite(&without);
        scene.postern.rewrite(&with);
        scene.postern.hang_up();
    }
    scene.postern.rewrite(&without);
    eventually_answered(&scene.agent, URL, |reply| code(reply) == Some("binding_missing")).await;
    still_reloads(&scene).await;
}

#[tokio::test]
async fn k12_no_request_fails_because_of_a_reload() {
    let scene = scene().await;
    let yaml = scene.postern.settings().yaml();
    for number in 0..100 {
        scene.postern.rewrite(format!("{yaml}# {number}\n"));
        scene.postern.hang_up();
        assert_passed(&scene.agent.get(URL).await, 200);
    }
}

#[tokio::test]
async fn k13_a_literal_secret_is_refused_and_never_shown() {
    const SECRET: &str = "canary-literal-0123456789abcdef";
    let keys = format!("auth: {{type: bearer, token: \"{SECRET}\"}}");
    let settings = postern().connection_with("notion", &[HOST], &keys).secret("literal", SECRET);
    let output = settings.check(settings.yaml());
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(!said.contains(SECRET), "the secret is shown:\n{said}");
    assert!(said.contains("allow_literal_secrets") || said.contains("env"), "no way out is shown:\n{said}");
    // A mistake on the secret's own line and one beside it: both show the line, neither the value.
    for mistake in [
        settings.yaml().replace("token:", "tokn:"),
        settings.yaml().replace("type: bearer", "type: bearr"),
        settings.yaml().replace("connections:", "conections:"),
        settings.yaml().replace(&format!("\"{SECRET}\""), &format!("[{SECRET}]")),
    ] {
        let output = settings.check(format!("allow_literal_secrets: true\n{mistake}"));
        let said = [output.stdout, output.stderr].concat();
        assert_eq!(output.status.code(), Some(1));
        assert!(!String::from_utf8_lossy(&said).contains(SECRET), "{}", String::from_utf8_lossy(&said));
    }
}

#[tokio::test]
async fn k13_a_literal_secret_works_where_the_operator_allows_it() {
    const SECRET: &str = "canary-literal-0123456789abcdef";
    let origin = upstream(HOST).await;
    let keys = format!("auth: {{type: bearer, token: \"{SECRET}\"}}");
    let settings = postern()
        .top("allow_literal_secrets: true")
        .connection_with("notion", &[HOST], &keys)
        .binding("{deployment: bot, connection: notion}")
        .reached_with(&["notion"], &origin);
    let scene = scene_of(origin, settings).await;
    assert_passed(&scene.agent.get(URL).await, 200);
    assert_eq!(scene.upstream.only_request().field("authorization"), Some(format!("Bearer {SECRET}").as_str()));
}

#[tokio::test]
async fn k13_a_secret_that_cannot_be_read_stops_one_connection_only() {
    let origin = support::Upstream::of(&[HOST, "b.test"]).start().await;
    let settings = postern()
        .connection("notion", &[HOST])
        .connection_with("broken", &["b.test"], "auth: {type: bearer, token: {env: NOT_SET}}")
        .binding("{deployment: bot, connection: notion}")
        .binding("{deployment: bot, connection: broken}")
        .reached_with(&["notion"], &origin);
    let scene = scene_of(origin, settings).await;
    assert_passed(&scene.agent.get(URL).await, 200);
    assert_refused(&scene.agent.get("https://b.test/").await, 503, "credential_unavailable");
    assert_eq!(scene.upstream.requests().len(), 1);
}

/// `check` refuses the text, with exit status 1, before the time is up.
fn refused_quickly(text: &str) {
    let settings = postern();
    let began_at = Instant::now();
    let output = settings.check(text);
    let took = began_at.elapsed();
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(took < CHECK_IN, "it took {took:?}");
    let said = output.stderr.len() + output.stdout.len();
    assert!(said < 64 * 1024, "the diagnostic has {said} bytes");
}

/// A page of the admin listener.
async fn admin_page(scene: &Scene, path: &str) -> String {
    let admin = scene.postern.admin();
    let mut wire = scene.agent.at(admin).socket().await;
    wire.send(format!("GET {path} HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n")).await;
    wire.reply().await.text()
}
