//! No mistake makes the reader tell a secret: every small corruption of files that hold one is read, and everything that
//! is said about it is searched.

use super::super::{FILE_BYTES_MAX, read};

const SECRET: &str = "sk-live-Zq7Xw9Kv";
/// A piece of it is bad enough.
const PIECE_CHARS: usize = 7;

const FILES: &[&str] = &[
    // One line, flow style, the literal allowed.
    "version: 1\nallow_literal_secrets: true\nconnections:\n  api: {hosts: [a.test], auth: {type: bearer, token: sk-live-Zq7Xw9Kv}, active: true}\ndeployments:\n  bot: {}\nbindings:\n  - {deployment: bot, connection: api}\n",
    // Block style, not allowed: an error stands at the secret itself.
    "version: 1\nconnections:\n  api:\n    hosts: [a.test]\n    auth:\n      type: bearer\n      token: sk-live-Zq7Xw9Kv\n    active: true\ndeployments:\n  bot:\n    tunnel: [b.test]\nbindings:\n  - deployment: bot\n    connection: api\n    paths: [\"/v1/**\"]\n",
    // A block scalar, a quoted text over several lines, a flow map over several lines.
    "version: 1\nconnections:\n  api:\n    hosts: [a.test]\n    auth:\n      type: bearer\n      token: |\n        line one\n        sk-live-Zq7Xw9Kv\n  two:\n    auth: {type: bearer, token: \"line one\n      sk-live-Zq7Xw9Kv\"}\n    hosts: [b.test]\n  three:\n    auth: {\n      type: bearer,\n      token: 'sk-live-Zq7Xw9Kv'\n    }\n    hosts: [c.test]\nbindings: []\n",
    // Places where nobody should put one.
    "version: 1\nconnections:\n  api:\n    auth: {type: beaer, token: [sk-live-Zq7Xw9Kv], sk-live-Zq7Xw9Kv: x}\n  two:\n    auth: sk-live-Zq7Xw9Kv\n  three:\n    auth: {type: sk-live-Zq7Xw9Kv, token: {env: sk-live-Zq7Xw9Kv=}}\n    hosts: [a.test] # sk-live-Zq7Xw9Kv\ndeployments:\n  bot:\n    identify:\n      - key: {sha256: sk-live-Zq7Xw9Kv}\n      - key: sk-live-Zq7Xw9Kv\nbindings:\n  - {deployment: bot, connection: api, placeholder: sk-live-Zq7Xw9Kv ä}\nupstream:\n  proxy: http://user:sk-live-Zq7Xw9Kv@proxy.test\n",
    // Every other key that holds a secret, allowed and not.
    "version: 1\nallow_literal_secrets: true\nconnections:\n  api: {hosts: [a.test], context: {subdomain: x}, auth: {type: header, headers: {X-A: \"{a}\", X-B: \"b\"}, values: {a: sk-live-Zq7Xw9Kv}}, refresh: {early: 1s}}\n  two:\n    integration: xero\n    auth:\n      type: refresh_token\n      client_id: x\n      client_secret: sk-live-Zq7Xw9Kv\n      refresh_token: sk-live-Zq7Xw9Kv\n      token_params: {a: sk-live-Zq7Xw9Kv}\n    refresh: {keep_alive: off}\nbindings: []\n",
    "version: 1\nconnections:\n  api:\n    auth:\n      type: token_exchange\n      subject_token: sk-live-Zq7Xw9Kv\n      subject_token_type: sk-live-Zq7Xw9Kv\n      actor_token: sk-live-Zq7Xw9Kv\n      token_url: https://a.test/\n    hosts: [a.test]\n    context:\n      subdomain: x\n  aws: {auth: {type: aws_sigv4, access_key_id: x, secret_access_key: sk-live-Zq7Xw9Kv, session_token: sk-live-Zq7Xw9Kv, region: sk-live-Zq7Xw9Kv}}\n  app: {auth: {type: github_app, app_id: 1, installation_id: 1, private_key: \"line one\n    sk-live-Zq7Xw9Kv\"}}\nbindings: []\n",
    "version: 1\nconnections:\n  run:\n    auth: {type: exec, command: [/bin/x, --key, sk-live-Zq7Xw9Kv], timeout: 1s, env: [sk-live-Zq7Xw9Kv=]}\n  ask:\n    auth:\n      type: broker\n      url: https://a.test/\n      token: sk-live-Zq7Xw9Kv\n    hosts: [a.test]\n  log:\n    auth:\n      type: basic\n      username: sk-live-Zq7Xw9Kv\n      password: sk-live-Zq7Xw9Kv\n    refresh:\n      early: 1s\n  ask-by:\n    auth: {type: query, name: sk-live-Zq7Xw9Kv?, value: sk-live-Zq7Xw9Kv}\n  sign:\n    auth: {type: google_service_account, key: {file: x}, scopes: [sk-live-Zq7Xw9Kv ä], subject: sk-live-Zq7Xw9Kv}\nbindings: []\n",
];

const INSERTED: &[char] = &[
    ' ', '\n', '\t', ':', '-', '#', '{', '}', '[', ']', ',', '"', '\'', '&', '*', '!', '|', '>', '?', '%', '@', '`',
    '~', '\\', '\r', '\0', 'x', 'ä',
];

/// Unoptimised, one in this many corruptions is tried; `cargo test --release` tries them all.
const SAMPLED: usize = if cfg!(debug_assertions) { 7 } else { 1 };

/// Counts corruptions and lets those through that are tried.
#[derive(Default)]
struct Trials(usize);

impl Trials {
    fn assert_silent(&mut self, text: impl FnOnce() -> String) {
        self.0 += 1;
        if self.0.is_multiple_of(SAMPLED) {
            assert_silent(&text());
        }
    }
}

fn assert_silent(text: &str) {
    let findings = match read(text, "bindings.yaml") {
        Ok(loaded) => loaded.warnings,
        Err(findings) => findings,
    };
    let said = format!("{findings}\n{findings:?}\n{}", findings.to_json());
    // A corruption inside the secret leaves one half of it whole.
    let secret: Vec<char> = SECRET.chars().collect();
    for piece in secret.windows(PIECE_CHARS).skip(1) {
        let piece: String = piece.iter().collect();
        assert!(!said.contains(&piece), "{piece} is told of:\n{text}\n---\n{said}");
    }
}

#[test]
fn no_single_corruption_makes_a_secret_known() {
    let mut trials = Trials::default();
    for file in FILES {
        assert!(file.contains(SECRET) && file.len() < FILE_BYTES_MAX);
        assert_silent(file);
        for (at, character) in file.char_indices() {
            let (before, rest) = file.split_at(at);
            let after = &rest[character.len_utf8()..];
            trials.assert_silent(|| before.to_owned());
            trials.assert_silent(|| format!("{before}{after}"));
            for inserted in INSERTED {
                trials.assert_silent(|| format!("{before}{inserted}{rest}"));
                trials.assert_silent(|| format!("{before}{inserted}{after}"));
            }
        }
    }
}

#[test]
fn no_lost_or_moved_line_makes_a_secret_known() {
    let mut trials = Trials::default();
    for file in FILES {
        let lines: Vec<&str> = file.lines().collect();
        for at in 0..lines.len() {
            let mut without = lines.clone();
            let line = without.remove(at);
            trials.assert_silent(|| without.join("\n"));
            for to in 0..=without.len() {
                for indent in 0..10 {
                    let indented = format!("{}{}", " ".repeat(indent), line.trim_start());
                    let mut moved = without.clone();
                    moved.insert(to, &indented);
                    trials.assert_silent(|| moved.join("\n"));
                }
            }
        }
    }
}

/// Several corruptions at once, from a small generator with a fixed seed, so that a failure can be repeated.
#[test]
fn no_three_corruptions_make_a_secret_known() {
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut below = |bound: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % u64::try_from(bound).unwrap()).unwrap()
    };
    for round in 0..40_000 / SAMPLED {
        let mut text: Vec<char> = FILES[round % FILES.len()].chars().collect();
        for _ in 0..3 {
            let at = below(text.len());
            match below(3) {
                0 => drop(text.remove(at)),
                1 => text.insert(at, INSERTED[below(INSERTED.len())]),
                _ => text[at] = INSERTED[below(INSERTED.len())],
            }
        }
        assert_silent(&text.into_iter().collect::<String>());
    }
}
