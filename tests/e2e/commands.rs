//! The commands beside `serve`: what they print where, how they end, and that they do the same whether a process is
//! running or not. Answers are on standard output, talk is on standard error. Origins run on threads of their own here,
//! because a test waits for a command with its own.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use support::{Settings, assert_passed, assert_refused, eventually, upstream};

use crate::program::{Ended, alone, beside, over};
use crate::scene::{HOST, Scene, TARGET, URL, postern, scene, scene_bound_as, scene_of};

/// A place that no process serves.
struct Quiet {
    settings: Settings,
}

impl Quiet {
    fn new(settings: Settings) -> Self {
        fs::write(settings.folder().join("bindings.yaml"), settings.yaml()).unwrap();
        Self { settings }
    }

    fn data(&self) -> PathBuf {
        self.settings.folder().join("data")
    }

    fn program(&self, arguments: &[&str]) -> crate::program::Program {
        over(&self.settings.folder().join("bindings.yaml"), &self.data(), arguments)
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        self.program(arguments).run()
    }
}

// --- env ---

/// How curl, which knows of proxy and CA only through these variables, fares at the bound host.
fn curl_with(variables: &BTreeMap<String, String>) -> String {
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--write-out", " %{http_code}", URL])
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .envs(variables)
        .output()
        .unwrap();
    [output.stdout, output.stderr].concat().escape_ascii().to_string()
}

/// The variables that a shell exports after this script.
fn exported(shell: &str, script: &str) -> BTreeMap<String, String> {
    let output = Command::new(shell)
        .args(["-c", &format!("{script}\nenv")])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    pairs.filter(|(name, _)| *name != "PATH").map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// `env` in this format with a new key.
fn env_with_new_key(scene: &Scene, format: &str) -> String {
    let arguments = ["env", "--deployment", "bot", "--format", format, "--new-key"];
    beside(&scene.postern, &arguments).run().answer()
}

#[tokio::test(flavor = "multi_thread")]
async fn env_for_a_shell_leads_curl_through_the_proxy() {
    let scene = scene().await;
    let text = env_with_new_key(&scene, "shell");
    for shell in ["sh", "bash"] {
        assert_eq!(curl_with(&exported(shell, &text)), "ok 200");
    }
    let bearer = format!("Bearer {}", scene.postern.token("notion"));
    assert_eq!(scene.upstream.last_request().field("authorization"), Some(bearer.as_str()));
}

#[tokio::test(flavor = "multi_thread")]
async fn env_without_a_new_key_refers_to_one() {
    let scene = scene().await;
    let ended = beside(&scene.postern, &["env", "--deployment", "bot"]).run();
    let text = ended.answer();
    assert!(ended.stderr().contains("$POSTERN_KEY"), "{}", ended.stderr());
    let key = crate::scene::key_of(&scene.agent);
    assert_eq!(curl_with(&exported("sh", &format!("POSTERN_KEY={key}\n{text}"))), "ok 200");
    let keys = beside(&scene.postern, &["deployment", "key", "list", "--json"]).run().json();
    assert_eq!(keys, serde_json::json!([]), "no key was made");
}

#[tokio::test(flavor = "multi_thread")]
async fn env_for_dotenv_leads_curl_through_the_proxy() {
    let scene = scene().await;
    let text = env_with_new_key(&scene, "dotenv");
    assert_eq!(curl_with(&exported("sh", &format!("set -a\n{text}"))), "ok 200");
}

#[tokio::test(flavor = "multi_thread")]
async fn env_for_docker_leads_curl_through_the_proxy() {
    let scene = scene().await;
    let text = env_with_new_key(&scene, "docker");
    // Docker takes a line as it is: no quotes, no expansion.
    let pairs = text.lines().map(|line| line.split_once('=').unwrap());
    assert_eq!(curl_with(&pairs.map(|(name, value)| (name.into(), value.into())).collect()), "ok 200");
    let file = scene.postern.folder().join("docker.env");
    fs::write(&file, &text).unwrap();
    let script = format!("while IFS= read -r line; do export \"$line\"; done < {}", file.display());
    assert_eq!(curl_with(&exported("sh", &script)), "ok 200");
}

#[tokio::test(flavor = "multi_thread")]
async fn env_for_kubernetes_leads_curl_through_the_proxy() {
    let scene = scene().await;
    let text = env_with_new_key(&scene, "k8s");
    let mut lines = text.lines();
    let mut variables = BTreeMap::new();
    while let Some(line) = lines.next() {
        let name = line.strip_prefix("- name: ").unwrap();
        let value = lines.next().unwrap().strip_prefix("  value: ").unwrap();
        let value: String = serde_json::from_str(value).unwrap();
        variables.insert(name.to_owned(), value.replace("$$", "$"));
    }
    assert_eq!(curl_with(&variables), "ok 200");
}

#[tokio::test(flavor = "multi_thread")]
async fn env_for_programs_leads_curl_through_the_proxy() {
    let scene = scene().await;
    let variables: BTreeMap<String, String> = serde_json::from_str(&env_with_new_key(&scene, "json")).unwrap();
    assert_eq!(curl_with(&variables), "ok 200");
    for name in ["HTTPS_PROXY", "https_proxy", "NODE_USE_ENV_PROXY", "SSL_CERT_FILE", "JAVA_TOOL_OPTIONS", "no_proxy"] {
        assert!(variables.contains_key(name), "{name} is missing");
    }
    assert!(!variables.contains_key("ALL_PROXY"));
    let bundle = fs::read_to_string(&variables["SSL_CERT_FILE"]).unwrap();
    assert!(bundle.contains(scene.postern.root_pem().trim()), "the bundle lacks the proxy's CA");
}

#[tokio::test(flavor = "multi_thread")]
async fn env_names_where_a_container_finds_proxy_and_files() {
    let scene = scene().await;
    let arguments =
        ["env", "--deployment", "bot", "--format", "json", "--proxy", "gate.test:3128", "--trust-dir", "/trust"];
    let variables = beside(&scene.postern, &arguments).run().json();
    assert_eq!(variables["HTTPS_PROXY"], "http://bot:$POSTERN_KEY@gate.test:3128");
    assert_eq!(variables["NODE_EXTRA_CA_CERTS"].as_str().unwrap().rsplit_once('/').unwrap().0, "/trust");
    let said = beside(&scene.postern, &["env", "--deployment", "nobody"]).run().failed(1);
    assert!(said.contains("no deployment \"nobody\""), "{said}");
}

// --- run ---

/// The child's script under `run`, beside a running process.
fn run_beside(scene: &Scene, script: &str) -> Ended {
    beside(&scene.postern, &["run", "--deployment", "bot", "--", "sh", "-c", script])
        .env("POSTERN_MASTER_KEY", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")
        .env("POSTERN_ANYTHING", "1")
        .env("TOKEN_NOTION", scene.postern.token("notion"))
        .env("KEPT", "kept")
        .run()
}

#[tokio::test(flavor = "multi_thread")]
async fn run_passes_the_childs_own_exit_code_on() {
    let scene = scene().await;
    for code in [0, 1, 7, 255] {
        assert_eq!(run_beside(&scene, &format!("exit {code}")).code(), Some(code));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn run_tells_what_cannot_be_started_as_shells_do() {
    let scene = scene().await;
    let ended = beside(&scene.postern, &["run", "--deployment", "bot", "--", "/nowhere/program"]).run();
    assert!(ended.failed(127).contains("/nowhere/program"));
    let file = scene.postern.config_path();
    let ended = beside(&scene.postern, &["run", "--deployment", "bot", "--", file.to_str().unwrap()]).run();
    assert!(ended.failed(126).contains("bindings.yaml"));
    let ended = beside(&scene.postern, &["run", "--deployment", "nobody", "--", "true"]).run();
    assert!(ended.failed(1).contains("nobody"));
}

#[tokio::test(flavor = "multi_thread")]
async fn run_tells_of_a_signal_that_ended_the_child_as_shells_do() {
    let scene = scene().await;
    assert_eq!(run_beside(&scene, "kill -KILL $$").code(), Some(128 + 9));
    assert_eq!(run_beside(&scene, "kill -HUP $$").code(), Some(128 + 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn run_passes_signals_on_to_the_child() {
    let scene = scene().await;
    for (signal, number) in [(Signal::TERM, 15), (Signal::HUP, 1)] {
        // The child tells that it is there, and then reads what never comes.
        let command = ["run", "--deployment", "bot", "--", "sh", "-c", "echo ready; exec cat"];
        let mut child = beside(&scene.postern, &command)
            .into_command()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "ready");
        kill_process(Pid::from_child(&child), signal).unwrap();
        let status = eventually("the end", || child.try_wait().unwrap()).await;
        assert_eq!(status.code(), Some(128 + number));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn run_hands_input_and_output_through() {
    let scene = scene().await;
    let ended = beside(&scene.postern, &["run", "--deployment", "bot", "--", "sh", "-c", "cat; echo talk >&2"])
        .input("said\n")
        .run();
    assert_eq!((ended.answer().as_str(), ended.stderr().as_str()), ("said\n", "talk\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn run_keeps_posterns_own_variables_and_secrets_from_the_child() {
    let scene = scene().await;
    let environment = run_beside(&scene, "env").answer();
    for absent in ["POSTERN_", "TOKEN_NOTION", scene.postern.token("notion"), &crate::scene::key_of(&scene.agent)] {
        assert!(!environment.contains(absent), "the child knows {absent}");
    }
    assert!(environment.contains("KEPT=kept\n") && environment.contains("HTTPS_PROXY=http://127.0.0.1:"));
}

#[tokio::test(flavor = "multi_thread")]
async fn run_lends_the_child_a_listener_that_knows_it_and_ends_with_it() {
    let scene = scene().await;
    let answered = run_beside(&scene, &format!("curl --silent --show-error {URL}; echo; echo $HTTPS_PROXY")).answer();
    let (answer, proxy) = answered.trim_end().split_once('\n').unwrap();
    assert_eq!(answer, "ok");
    let record = scene.postern.wait_for_record(|record| record["status"] == 200).await;
    assert_eq!((&record["deployment"], &record["host"]), (&"bot".into(), &HOST.into()));
    let address: SocketAddr = proxy.strip_prefix("http://").unwrap().parse().unwrap();
    assert_ne!(address, scene.postern.proxy());
    eventually("the listener to close", || TcpStream::connect(address).err()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn run_works_where_nothing_is_running() {
    let origin = upstream(HOST).await;
    let quiet = Quiet::new(postern().bound("notion", &origin));
    let script = format!("curl --silent --show-error {URL} && env");
    let ended = quiet
        .program(&["run", "--deployment", "bot", "--", "sh", "-c", &script])
        .env("TOKEN_NOTION", quiet.settings.token("notion"))
        .run();
    let answer = ended.answer();
    assert!(answer.starts_with("ok"), "{answer}");
    assert!(!answer.contains("TOKEN_NOTION") && !answer.contains(quiet.settings.token("notion")));
    let bearer = format!("Bearer {}", quiet.settings.token("notion"));
    assert_eq!(origin.only_request().field("authorization"), Some(bearer.as_str()));
    let records = fs::read_to_string(quiet.data().join("access.jsonl")).unwrap();
    assert_eq!(records.lines().count(), 1, "{records}");
}

#[tokio::test(flavor = "multi_thread")]
async fn run_shows_the_child_a_refusal() {
    let scene = scene().await;
    let answered = run_beside(&scene, "curl --silent https://unbound.test/").answer();
    let refusal: Value = serde_json::from_str(&answered).unwrap();
    assert_eq!((&refusal["error"], &refusal["deployment"]), (&"binding_missing".into(), &"bot".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn run_as_another_user_keeps_the_data_out_of_reach() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let scene = scene().await;
    fs::set_permissions(scene.postern.folder(), fs::Permissions::from_mode(0o755)).unwrap();
    let script = format!("id -u; ls {} && echo readable; curl --silent {URL}", scene.postern.data().display());
    let command = ["run", "--deployment", "bot", "--user", "nobody", "--", "sh", "-c", &script];
    let ended = beside(&scene.postern, &command).run();
    let answer = ended.answer();
    assert!(!answer.starts_with("0\n") && !answer.contains("readable") && answer.ends_with("ok"), "{answer}");
}

// --- explain ---

#[tokio::test(flavor = "multi_thread")]
async fn explain_says_which_binding_a_request_would_use_and_never_the_secret() {
    let scene = scene().await;
    let text = beside(&scene.postern, &["explain", "--deployment", "bot", URL]).run().answer();
    assert!(text.contains("allowed by binding bot/notion") && text.contains("authorization: Bearer ***"), "{text}");
    assert!(text.contains("its credential is at hand"), "{text}");
    let json = beside(&scene.postern, &["explain", "--deployment", "bot", "--json", URL]).run().json();
    assert_eq!((&json["decision"], &json["binding"]), (&"inject".into(), &"bot/notion".into()), "{json}");
    assert_eq!((&json["connection"], &json["path"]), (&"notion".into(), &"/v1/users".into()), "{json}");
    assert!(scene.upstream.connections().is_empty(), "it asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_says_no_as_the_proxy_does() {
    let binding = "{deployment: bot, connection: notion, methods: [GET], paths: [\"/v1/**\"]}";
    let scene = scene_bound_as(binding).await;
    for (method, url) in [
        ("GET", "https://unbound.test/"),
        ("DELETE", URL),
        ("GET", "https://api.notion.test/v2"),
        ("GET", "https://api.notion.test/v1/../v2"),
        ("GET", "http://api.notion.test/v1/users"),
        ("GET", URL),
    ] {
        let explained =
            beside(&scene.postern, &["explain", "--deployment", "bot", "-X", method, "--json", url]).run().json();
        let reply = scene.agent.call(method, url, "").await;
        let refusal = &explained["refusal"];
        assert_eq!(refusal["error"].as_str(), reply.field("x-postern-error"), "{method} {url}:\n{explained}");
        match refusal["status"].as_u64() {
            Some(status) => assert_eq!(status, u64::from(reply.status()), "{method} {url}"),
            None => assert_passed(&reply, 200),
        }
    }
}

#[test]
fn explain_needs_no_running_process() {
    let settings = postern()
        .deployment_with("bot", ", tunnel: [blind.test]")
        .connection("one", &[HOST])
        .connection("two", &[HOST])
        .binding("{deployment: bot, connection: one}")
        .binding("{deployment: bot, connection: two}");
    let quiet = Quiet::new(settings);
    let explain = |more: &[&str]| quiet.run(&[&["explain", "--deployment", "bot"], more].concat()).answer();
    assert!(explain(&[URL]).contains("409 connection_ambiguous"));
    assert!(explain(&["--connection", "two", URL]).contains("allowed by binding bot/two"));
    assert!(explain(&["https://blind.test/"]).contains("relayed untouched"));
    let said = quiet.run(&["explain", "--deployment", "nobody", URL]).failed(1);
    assert!(said.contains("it has: bot"), "{said}");
    assert!(quiet.run(&["explain", "--deployment", "bot", "api.notion.test"]).failed(1).contains("https://"));
    assert!(!quiet.data().exists(), "it made a data folder");
}

// --- check ---

#[test]
fn check_says_how_much_there_is_in_a_good_file() {
    let quiet = Quiet::new(postern().connection_with("notion", &[HOST], "auth: {type: bearer, token: {sealed: t}}"));
    let ended = quiet.run(&["check", "--strict"]);
    assert!(ended.answer().contains("valid; 1 connections, 1 deployments, 0 bindings"), "{}", ended.stdout());
    let json = quiet.run(&["check", "--json"]).json();
    assert_eq!((&json["valid"], &json["connections"]), (&true.into(), &1.into()), "{json}");
    assert!(!quiet.data().exists(), "it made a data folder");
}

#[test]
fn check_tells_programs_the_place_of_every_mistake() {
    let settings = postern();
    let yaml = settings.yaml().replace("bindings:", "bindigns:") + "limits: {head_in: soon}\n";
    let quiet = Quiet::new(settings.text(&yaml));
    let ended = quiet.run(&["check", "--json"]);
    ended.failed(1);
    let json: Value = serde_json::from_str(&ended.stdout()).unwrap();
    assert_eq!(json["valid"], false, "{json}");
    let mistakes = json["diagnostics"].as_array().unwrap();
    assert!(mistakes.len() >= 2, "{json}");
    for mistake in mistakes {
        assert!(mistake["line"].as_u64() > Some(0) && mistake["column"].as_u64() > Some(0), "{mistake}");
        assert!(mistake["message"].as_str().is_some_and(|message| !message.is_empty()), "{mistake}");
    }
}

#[test]
fn check_tells_programs_of_secrets_that_cannot_be_read() {
    let quiet = Quiet::new(postern().connection_with("notion", &[HOST], "auth: {type: bearer, token: {env: NOT_SET}}"));
    let json = quiet.run(&["check", "--json"]).json();
    assert_eq!((&json["valid"], &json["secrets"][0]["id"]), (&true.into(), &"notion".into()), "{json}");
    quiet.run(&["check", "--json", "--strict"]).failed(1);
    let set = quiet.program(&["check", "--strict"]).env("NOT_SET", "now-it-is").run();
    assert!(!set.answer().contains("now-it-is"));
}

#[test]
fn check_takes_a_file_instead_of_the_configured_one() {
    let quiet = Quiet::new(postern().text("nonsense"));
    let good = quiet.settings.folder().join("good.yaml");
    fs::write(&good, "version: 1\nbindings: []\n").unwrap();
    quiet.run(&["check"]).failed(1);
    assert!(quiet.run(&["check", good.to_str().unwrap()]).answer().contains("good.yaml"));
}

// --- secret ---

/// Sets, lists and deletes secrets with this command.
fn keeps_secrets(command: impl Fn(&[&str]) -> crate::program::Program) {
    let said = command(&["secret", "set", "token"]).input("s3cret-0123456789\n").run();
    assert_eq!(said.answer(), "");
    assert!(said.stderr().contains("{sealed: token}"), "{}", said.stderr());
    command(&["secret", "set", "other.one"]).input("x").run().answer();
    let rows = command(&["secret", "list", "--json"]).run().json();
    let names: Vec<&str> = rows.as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap()).collect();
    assert_eq!(names, ["other.one", "token"]);
    assert!(!rows.to_string().contains("s3cret"), "{rows}");
    assert!(command(&["secret", "list"]).run().answer().contains("token"));
    command(&["secret", "delete", "token"]).run().answer();
    assert!(command(&["secret", "delete", "token"]).run().failed(1).contains("token"));
    assert_eq!(command(&["secret", "list", "--json"]).run().json().as_array().unwrap().len(), 1);
    for (name, input) in [("empty", ""), ("blank", "\n"), ("a/b", "x"), ("..", "x"), ("", "x"), ("a b", "x")] {
        command(&["secret", "set", name]).input(input).run().failed(1);
    }
    command(&["secret", "set", "huge"]).input(&"x".repeat(65 * 1024)).run().failed(1);
    assert_eq!(command(&["secret", "list", "--json"]).run().json().as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_kept_beside_a_running_process() {
    let postern = postern().start().await;
    keeps_secrets(|arguments| beside(&postern, arguments));
}

#[test]
fn secrets_are_kept_where_nothing_is_running() {
    let quiet = Quiet::new(postern());
    keeps_secrets(|arguments| quiet.program(arguments));
    assert_eq!(fs::metadata(quiet.data()).unwrap().mode() & 0o777, 0o700);
    assert_eq!(fs::metadata(quiet.data().join("master.key")).unwrap().mode() & 0o777, 0o600);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_secret_is_used_no_more() {
    let origin = upstream(HOST).await;
    let settings = postern()
        .connection_with("notion", &[HOST], "auth: {type: bearer, token: {sealed: token}}")
        .binding("{deployment: bot, connection: notion}")
        .reached_with(&["notion"], &origin);
    let scene = scene_of(origin, settings).await;
    let token = scene.postern.token("notion").to_owned();
    beside(&scene.postern, &["secret", "set", "token"]).input(&token).run().answer();
    assert_passed(&scene.agent.get(URL).await, 200);
    beside(&scene.postern, &["secret", "delete", "token"]).run().answer();
    assert_refused(&scene.agent.get(URL).await, 503, "credential_unavailable");
}

// --- keys, CA, status ---

#[tokio::test(flavor = "multi_thread")]
async fn key_new_prints_just_the_key_and_ca_export_just_the_certificate() {
    let quiet = Quiet::new(postern());
    let key = quiet.run(&["deployment", "key", "new", "bot"]).answer();
    assert!(key.starts_with("pst_") && key.ends_with('\n') && key.lines().count() == 1, "{} bytes", key.len());
    let json = quiet.run(&["deployment", "key", "new", "bot", "--json"]).json();
    assert_eq!(json["deployment"], "bot");
    let pem = quiet.run(&["ca", "export"]).answer();
    assert!(pem.starts_with("-----BEGIN CERTIFICATE-----\n") && pem.ends_with("-----END CERTIFICATE-----\n"), "{pem}");
    assert_eq!(pem.matches("BEGIN CERTIFICATE").count(), 1);
    let bundle = quiet.run(&["ca", "export", "--bundle"]).answer();
    assert!(bundle.contains(pem.trim()) && bundle.len() > pem.len());

    // What was made while nothing ran is there when something does.
    let postern = quiet.settings.clone().start().await;
    assert_eq!(postern.root_pem(), pem);
    assert_eq!(postern.agent_with_key("bot", key.trim()).connect(TARGET).await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn status_tells_how_everything_is_and_fails_where_nothing_runs() {
    let scene = scene().await;
    assert_passed(&scene.agent.get(URL).await, 200);
    let json = beside(&scene.postern, &["status", "--json"]).run().json();
    assert_eq!((&json["ready"], &json["pid"]), (&true.into(), &scene.postern.pid().into()), "{json}");
    assert_eq!(json["proxy"], scene.postern.proxy().to_string());
    assert_eq!(
        (&json["connections"][0]["id"], &json["connections"][0]["state"]),
        (&"notion".into(), &"connected".into())
    );
    assert_eq!(json["deployments"][0]["id"], "bot");
    let text = beside(&scene.postern, &["status"]).run().answer();
    assert!(text.contains("is ready") && text.contains("notion"), "{text}");

    let quiet = Quiet::new(postern());
    assert!(quiet.run(&["status"]).failed(1).contains("no postern is running"));
    assert!(!quiet.data().exists(), "it made a data folder");
}

// --- texts ---

#[test]
fn schema_is_a_json_schema_of_the_file() {
    let schema = alone(&["schema"]).run().json();
    assert!(schema["$schema"].as_str().is_some_and(|draft| draft.contains("json-schema.org")), "{schema}");
    for key in ["version", "connections", "deployments", "bindings", "upstream", "limits"] {
        assert!(schema["properties"][key].is_object(), "{key} is missing");
    }
}

#[test]
fn completions_are_made_for_each_shell() {
    for shell in ["bash", "zsh", "fish"] {
        let script = alone(&["completions", shell]).run().answer();
        for word in ["serve", "explain", "deployment"] {
            assert!(script.contains(word), "{shell} is not told of {word}");
        }
    }
    let checked = Command::new("bash").args(["-n", "-c", &alone(&["completions", "bash"]).run().answer()]).output();
    assert!(checked.unwrap().status.success(), "bash does not read it");
}

#[test]
fn the_manual_has_a_page_for_each_command() {
    let page = alone(&["man"]).run().answer();
    assert!(page.contains(".TH postern") && page.contains(".SH"), "{page}");
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(alone(&["man", folder.path().to_str().unwrap()]).run().answer(), "");
    for command in ["serve", "check", "run", "deployment-key-new", "secret-set"] {
        assert!(folder.path().join(format!("postern-{command}.1")).exists(), "{command} has no page");
    }
}

#[test]
fn help_is_an_answer_and_lists_every_command() {
    let help = alone(&["--help"]).run().answer();
    for command in ["serve", "check", "explain", "status", "deployment", "secret", "ca", "env", "run", "demo"] {
        assert!(help.contains(&format!("  {command} ")), "{command} is missing in\n{help}");
    }
    assert!(alone(&["--version"]).run().answer().starts_with("postern "));
}

#[test]
fn the_demo_shows_a_200_a_403_and_a_407_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let ended = alone(&["demo"]).folder(folder.path()).env("HOME", folder.path()).env("TMPDIR", folder.path()).run();
    let text = ended.answer();
    for shown in ["200 {", "403 {\"error\":\"binding_missing\"", "407 {\"error\":\"caller_unknown\""] {
        assert!(text.contains(&format!("The agent got: {shown}")), "{shown} is missing in\n{text}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "something is left behind");
}

#[test]
fn integrations_are_listed_and_shown() {
    let rows = alone(&["integrations", "list", "--json"]).run().json();
    assert!(rows.as_array().is_some_and(|rows| rows.len() >= 70 && rows.iter().all(|row| row["id"].is_string())));
    let notion = alone(&["integrations", "show", "notion", "--json"]).run().json();
    assert_eq!(notion["hosts"][0], "api.notion.com");
    assert!(alone(&["integrations", "show", "nope"]).run().failed(1).contains("integrations list"));
}
