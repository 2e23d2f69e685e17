//! Starts that fail: one clear message that tells the operator what to do, and an exit code that scripts can rely on.
//! What fails changes nothing.

use std::fs;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use support::assert_passed;

use crate::life::problem;
use crate::program::{alone, over};
use crate::scene::{HOST, URL, postern, scene};

/// A `serve` that harms nobody.
const SERVE: [&str; 5] = ["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];

/// `serve` over this place fails with this one message.
fn does_not_start(config: &Path, data: &Path, said: &str) {
    let ended = over(config, data, &SERVE).run();
    let stderr = ended.failed(1);
    assert!(stderr.contains(said), "{said:?} is not said:\n{stderr}");
    assert_eq!(stderr.matches("postern: ").count(), 1, "not one message:\n{stderr}");
    assert_eq!(ended.stdout(), "");
}

#[tokio::test]
async fn a_second_process_over_the_same_data_is_refused_and_the_first_goes_on() {
    let scene = scene().await;
    let (config, data) = (scene.postern.config_path(), scene.postern.data());
    does_not_start(&config, &data, "another postern is using");
    let said = over(&config, &data, &SERVE).run().failed(1);
    assert_eq!(said.matches("could not acquire lock").count(), 1, "the cause is not said once:\n{said}");
    assert_passed(&scene.agent.get(URL).await, 200);
    assert!(problem(&scene.postern).is_null());
}

#[tokio::test]
async fn a_busy_port_is_named() {
    let scene = scene().await;
    let busy = scene.postern.proxy().to_string();
    for (proxy, admin) in [(busy.as_str(), "127.0.0.1:0"), ("127.0.0.1:0", busy.as_str())] {
        let data = scene.postern.folder().join("other");
        let arguments = ["serve", "--listen", proxy, "--admin", admin];
        let said = over(&scene.postern.config_path(), &data, &arguments).run().failed(1);
        assert!(said.contains(&busy) && said.contains("in use"), "{said}");
        assert!(!data.exists(), "something was made before the port was had");
    }
}

#[test]
fn a_data_folder_that_takes_no_files_is_named() {
    let settings = postern();
    let config = settings.folder().join("bindings.yaml");
    fs::write(&config, settings.yaml()).unwrap();
    // Nobody can write there, not even root.
    does_not_start(&config, Path::new("/sys/kernel"), "/sys/kernel");
}

#[test]
fn a_file_in_the_data_folders_place_is_named() {
    let settings = postern();
    let config = settings.folder().join("bindings.yaml");
    fs::write(&config, settings.yaml()).unwrap();
    does_not_start(&config, &config, "bindings.yaml");
}

#[test]
fn a_master_key_that_others_can_read_is_refused() {
    let settings = postern();
    let config = settings.folder().join("bindings.yaml");
    fs::write(&config, settings.yaml()).unwrap();
    let data = settings.folder().join("data");
    fs::create_dir(&data).unwrap();
    let mut options = fs::OpenOptions::new();
    options.create(true).write(true).mode(0o644);
    std::io::Write::write_all(&mut options.open(data.join("master.key")).unwrap(), &[b'A'; 43]).unwrap();
    does_not_start(&config, &data, "master.key");
}

#[tokio::test]
async fn another_master_key_is_one_clear_error() {
    let mut scene = scene().await;
    scene.postern.terminate().await;
    let (config, data) = (scene.postern.config_path(), scene.postern.data());
    let key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let said = over(&config, &data, &SERVE).env("POSTERN_MASTER_KEY", key).run().failed(1);
    assert!(said.contains("master_key_mismatch"), "{said}");
    scene.postern.restart().await.expect("nothing was changed");
}

#[test]
fn a_missing_configuration_is_named() {
    let settings = postern();
    let data = settings.folder().join("data");
    does_not_start(&settings.folder().join("nowhere.yaml"), &data, "nowhere.yaml");
    // A folder, too, is no file.
    does_not_start(settings.folder(), &data, "not a plain file");
    let ended = alone(&["check"]).folder(settings.folder()).env("HOME", settings.folder()).run();
    let said = ended.failed(1);
    assert!(said.contains("--config") && said.contains("bindings.yaml"), "{said}");
}

/// `check` and `serve` both refuse this text with this one message, which shows where it is.
fn is_refused(text: &str, said: &str) {
    let settings = postern();
    let config = settings.folder().join("bindings.yaml");
    fs::write(&config, text).unwrap();
    let data = settings.folder().join("data");
    for command in [&["check"][..], &SERVE] {
        let ended = over(&config, &data, command).run();
        let stderr = ended.failed(1);
        assert!(stderr.contains(said), "{said:?} is not said:\n{stderr}");
        assert_eq!(stderr.matches(": error: ").count(), 1, "not one message:\n{stderr}");
        assert!(stderr.contains("bindings.yaml:"), "no place is shown:\n{stderr}");
        assert_eq!(ended.stdout(), "");
    }
}

#[test]
fn an_empty_file_is_refused() {
    is_refused("", "the file is empty");
    is_refused("# nothing but a remark\n", "the file is empty");
}

#[test]
fn a_file_that_is_not_yaml_is_refused() {
    is_refused("version: 1\nbindings: [\n", "error: ");
    is_refused("version: 1\n\tbindings: []\n", "error: ");
}

#[test]
fn a_bomb_of_aliases_is_refused() {
    let mut text = String::from("version: 1\na0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let before = format!("*a{}", level - 1);
        text += &format!("a{level}: &a{level} [{}]\n", vec![before; 10].join(", "));
    }
    is_refused(&text, "error: ");
}

/// A good file with this line in its section.
fn with(section: &str, line: &str) -> String {
    let settings = postern()
        .connection_with("notion", &[HOST], "auth: {type: bearer, token: {sealed: token}}")
        .binding("{deployment: bot, connection: notion}");
    settings.yaml().replacen(&format!("{section}:\n"), &format!("{section}:\n{line}\n"), 1)
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_one() {
    is_refused(&with("bindings", "  - {deployment: bot, connection: notion, pahts: [/v1]}"), "\"paths\"");
    is_refused(&with("bindings", "").replace("version: 1\n", "version: 1\nlimit: {}\n"), "\"limits\"");
}

#[test]
fn a_name_that_stands_twice_is_refused() {
    let line = "  notion: {hosts: [b.test], auth: {type: bearer, token: {sealed: token}}}";
    is_refused(&with("connections", line), "notion");
}

#[test]
fn a_wildcard_in_the_wrong_place_is_refused() {
    for host in ["api.*.test", "*api.test", "*", "api.*"] {
        let line = format!("  other: {{hosts: [{host:?}], auth: {{type: bearer, token: {{sealed: token}}}}}}");
        is_refused(&with("connections", &line), host);
    }
}

#[test]
fn a_binding_of_what_is_not_there_is_refused() {
    is_refused(&with("bindings", "  - {deployment: bot, connection: nowhere}"), "nowhere");
    is_refused(&with("bindings", "  - {deployment: nobody, connection: notion}"), "nobody");
}

/// `check` warns of this secret and passes; `check --strict` fails.
fn is_warned_of(auth: &str, said: &str) {
    let settings = postern().connection_with("notion", &[HOST], auth);
    let config = settings.folder().join("bindings.yaml");
    fs::write(&config, settings.yaml()).unwrap();
    let data = config.with_file_name("data");
    for (command, code) in [(&["check"][..], 0), (&["check", "--strict"], 1)] {
        let stderr = over(&config, &data, command).run().failed(code);
        assert!(stderr.contains(said), "{stderr}");
        assert_eq!(stderr.matches("warning: ").count(), 1, "not one message:\n{stderr}");
    }
}

#[test]
fn a_variable_that_is_not_set_is_warned_of() {
    is_warned_of("auth: {type: bearer, token: {env: NOT_SET_ANYWHERE}}", "NOT_SET_ANYWHERE is not set");
}

#[test]
fn a_secret_file_that_cannot_be_read_is_warned_of() {
    is_warned_of("auth: {type: bearer, token: {file: /nowhere/token}}", "/nowhere/token cannot be read");
}

#[test]
fn a_command_line_that_makes_no_sense_ends_with_2() {
    for arguments in [
        &[][..],
        &["frobnicate"],
        &["serve", "--bogus"],
        &["serve", "--listen", "nowhere"],
        &["serve", "--drain", "banana"],
        &["explain", "https://api.notion.test/"],
        &["run", "--deployment", "bot"],
        &["deployment", "key", "revoke", "bot"],
        &["completions", "tcl"],
        &["env", "--deployment", "bot", "--format", "csv"],
    ] {
        let ended = alone(arguments).run();
        let said = ended.failed(2);
        assert!(said.contains("Usage: ") || said.contains("--help"), "{arguments:?}:\n{said}");
        assert_eq!(ended.stdout(), "", "{arguments:?}");
    }
}
