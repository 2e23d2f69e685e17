//! One long day of a process that talks as much as it can, and then a search for its secrets in every byte that it gave
//! away. What it may know comes from files and the sealed store; its environment is searched too.

use std::fs;
use std::path::Path;

use support::{Agent, Canary, Postern, Upstream, answer, assert_passed, assert_refused, client_hello};

use crate::program::{Ended, beside};
use crate::scene::{HOST, TARGET, URL, admin_page, eventually_answered, get, postern};

const SEALED: &str = "canary-sealed+0123456789abcdef/AB==";
const IN_FILE: &str = "canary-in-file+fedcba9876543210/CD==";
const NEXT_SEALED: &str = "canary-next-sealed+00112233445566/EF==";
const LITERAL: &str = "canary-literal+66778899aabbccdd/GH==";
const PLAIN_HOST: &str = "plain.notion.test";

/// What was given away so far, with where it was.
struct Day {
    postern: Postern,
    found: Vec<(String, Vec<u8>)>,
}

impl Day {
    fn heard(&mut self, ended: &Ended) {
        self.found.push(("a command's output".into(), [ended.stdout(), ended.stderr()].concat().into_bytes()));
    }

    fn run(&mut self, arguments: &[&str]) {
        let ended = beside(&self.postern, arguments).run();
        self.heard(&ended);
    }
}

#[tokio::test]
async fn no_secret_is_found_in_anything_that_a_talkative_process_gave_away() {
    let origin = Upstream::of(&[HOST]).answer(|_| answer("200 OK", "Set-Cookie: a=b\r\n", "ok")).start().await;
    let strange = Upstream::of(&["strange.test"]).answer(|_| b"what?\r\n\r\n".to_vec()).start().await;
    let settings = postern();
    let token = settings.folder().join("token");
    fs::write(&token, IN_FILE).unwrap();
    let connections = format!(
        "connections:\n  sealed: {{hosts: [{HOST}], auth: {{type: bearer, token: {{sealed: token}}}}}}\n  \
         file: {{hosts: [{PLAIN_HOST}, strange.test, nowhere.test], auth: {{type: bearer, token: {{file: {token:?}}}}}}}"
    );
    let settings = settings
        .top(&connections)
        .binding("{deployment: bot, connection: sealed}")
        .binding("{deployment: bot, connection: file}")
        .connect_to(TARGET, origin.address())
        .connect_to("strange.test:443", strange.address())
        .connect_to("nowhere.test:443", "127.0.0.1:1".parse().unwrap());
    let mut day = Day { postern: settings.start().await, found: Vec::new() };

    day.heard(&beside(&day.postern, &["secret", "set", "token"]).input(SEALED).run());
    let key = day.postern.issue_key("bot");
    let agent = day.postern.agent_with_key("bot", &key);
    serve_and_refuse(&agent).await;
    change(&mut day, &agent).await;
    let seen = origin.bytes();
    for secret in [SEALED, NEXT_SEALED] {
        assert!(!Canary::new([("", secret)]).sweep("", &seen).is_empty(), "{secret} was never used");
    }
    ask_everything(&mut day).await;

    let (pid, data) = (day.postern.pid(), day.postern.data());
    for name in ["environ", "cmdline"] {
        day.found.push((name.into(), fs::read(format!("/proc/{pid}/{name}")).unwrap()));
    }
    assert_eq!(day.postern.terminate().await.code(), Some(0));
    day.found.push(("standard error".into(), day.postern.stderr().into_bytes()));
    collect(&data, &mut day.found);
    assert!(day.postern.stderr().contains("TRACE"), "the process did not talk as much as it can");

    let bot = crate::scene::key_of(&day.postern.agent("bot"));
    let secrets = [
        ("sealed", SEALED),
        ("in a file", IN_FILE),
        ("sealed next", NEXT_SEALED),
        ("literal", LITERAL),
        ("issued key", &key),
        ("key of bot", &bot),
    ];
    let canary = Canary::new(secrets);
    let findings: Vec<String> = day.found.iter().flat_map(|(place, bytes)| canary.sweep(place, bytes)).collect();
    assert!(findings.is_empty(), "{}", findings.join("\n"));
}

/// Requests that succeed and requests that fail in every way.
async fn serve_and_refuse(agent: &Agent) {
    assert_passed(&agent.get(URL).await, 200);
    let own = "Authorization: Bearer mine\r\nCookie: a=b\r\n";
    assert_passed(&agent.call("GET", &format!("{URL}?access_token=mine"), own).await, 200);
    for (url, status, code) in [
        ("https://unbound.test/", 403, "binding_missing"),
        ("https://strange.test/", 502, "upstream_invalid"),
        ("https://nowhere.test/", 502, "upstream_unreachable"),
        ("http://api.notion.test/", 403, "plaintext_forbidden"),
        ("https://169.254.169.254/", 403, "destination_forbidden"),
    ] {
        assert_refused(&agent.get(url).await, status, code);
    }
    for (bytes, status) in [
        (format!("TRACE / HTTP/1.1\r\nHost: {HOST}\r\n\r\n"), 405),
        ("GET / HTTP/1.1\r\nHost: evil.test\r\n\r\n".into(), 421),
        (format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"), 501),
        (format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nA b: c\r\n\r\n"), 400),
        (format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nExpect: x\r\n\r\n"), 417),
    ] {
        assert_eq!(agent.intercepted(TARGET).await.exchange(&bytes).await.status(), status, "{bytes}");
    }
    assert_refused(&agent.with_login("nobody", "pst_wrong").connect(TARGET).await, 407, "caller_unknown");
    // Ends in the middle: of a hello, of a head, of a body.
    agent.tunnel(TARGET).await.send(&client_hello(HOST)[..40]).await;
    agent.intercepted(TARGET).await.send("GET / HT").await;
    agent
        .intercepted(TARGET)
        .await
        .send(format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 9\r\n\r\nx"))
        .await;
    assert!(agent.handshake(TARGET, support::Hello::naming("evil.test")).await.is_err());
}

/// Secrets, keys and files change, to good and to bad.
async fn change(day: &mut Day, agent: &Agent) {
    day.heard(&beside(&day.postern, &["secret", "set", "token"]).input(NEXT_SEALED).run());
    assert_passed(&agent.get(URL).await, 200);
    let good = day.postern.settings().yaml();
    let literal = good.replace("{sealed: token}", &format!("{LITERAL:?}"));
    for bad in [
        literal.clone(),
        literal.replace("type: bearer", "type: barer"),
        literal.replace("token:", "tokn:"),
        good.replace("token: {sealed: token}", &format!("token: [{LITERAL:?}]")),
        format!("{good}\n{LITERAL}"),
        good.replace("version: 1", "version: 1\nallow_literal_secrets: true\n\"x"),
    ] {
        let before = day.postern.complaints();
        day.postern.rewrite(&bad);
        day.postern.hang_up();
        day.postern.wait_for_complaint(before).await;
        day.run(&["check"]);
        day.run(&["check", "--json"]);
        day.run(&["status"]);
    }
    let allowed = literal.replace("version: 1", "version: 1\nallow_literal_secrets: true");
    day.postern.rewrite(allowed);
    day.postern.hang_up();
    eventually_answered(agent, URL, |reply| reply.status() == 200).await;
    day.run(&["check", "--json"]);
    day.postern.rewrite(good);
    day.postern.hang_up();

    let second = day.postern.issue_key("bot");
    let mut wire = day.postern.agent_with_key("bot", &second).intercepted(TARGET).await;
    wire.send(get("/x")).await;
    assert_passed(&wire.reply().await, 200);
    let rows = beside(&day.postern, &["deployment", "key", "list", "--json"]).run().json();
    for row in rows.as_array().unwrap().iter().skip(1) {
        day.run(&["deployment", "key", "revoke", "bot", row["id"].as_str().unwrap()]);
    }
}

/// Every question that can be asked.
async fn ask_everything(day: &mut Day) {
    for arguments in [
        &["status"][..],
        &["status", "--json"],
        &["check"],
        &["explain", "--deployment", "bot", URL],
        &["explain", "--deployment", "bot", "--json", URL],
        &["deployment", "key", "list"],
        &["deployment", "key", "list", "--json"],
        &["secret", "list"],
        &["secret", "list", "--json"],
        &["env", "--deployment", "bot"],
        &["ca", "export"],
        &["run", "--deployment", "bot", "--", "env"],
    ] {
        day.run(arguments);
    }
    for path in ["/healthz", "/readyz", "/connect/sealed", "/connect/file", "/nowhere"] {
        let page = admin_page(&day.postern, path).await;
        day.found.push((path.into(), page.raw));
    }
}

/// Every file below the folder.
fn collect(folder: &Path, into: &mut Vec<(String, Vec<u8>)>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => collect(&entry.path(), into),
            kind if kind.is_file() => {
                into.push((entry.path().display().to_string(), fs::read(entry.path()).unwrap()));
            }
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_process_that_serves_leaves_no_core_behind() {
    let postern = postern().start().await;
    let limits = fs::read_to_string(format!("/proc/{}/limits", postern.pid())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    let status = fs::read_to_string(format!("/proc/{}/status", postern.pid())).unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}\n{status}");
}
