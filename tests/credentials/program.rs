//! Tokens that a program of the operator's prints: it gets what it may have and nothing else, and no longer than it may.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use support::assert_passed;
use tempfile::TempDir;

use crate::scene::{ACCOUNT, CLIENT_SECRET, URL, assert_unavailable, scene, standing};

/// A program of the operator's.
fn program(folder: &Path, text: &str) -> String {
    let path = folder.join("helper");
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path.display().to_string()
}

#[tokio::test]
async fn a_program_prints_the_token_and_knows_only_what_it_may() {
    let folder = TempDir::new().unwrap();
    let seen = folder.path().join("seen");
    let helper = program(
        folder.path(),
        &format!(
            "/usr/bin/env >{seen:?}; echo \"$1 $2\" >>{seen:?}\n\
             printf '{{\"access_token\": \"%s.1\", \"expires_in\": 3600}}' \"$TOKEN_ACME\"\necho noise >&2"
        ),
    );
    let scene = scene(&format!("type: exec, command: [{helper:?}, one, \"$HOME\"], env: [TOKEN_ACME]")).await;
    assert_passed(&scene.agent.get(URL).await, 200);
    assert_passed(&scene.agent.get(URL).await, 200);
    assert_eq!(scene.arrived(), scene.endpoint.token(1));
    let seen = fs::read_to_string(seen).unwrap();
    assert!(seen.contains("one $HOME"), "{seen}");
    for name in ["CLIENT_SECRET", "FIRST", "POSTERN_", "HOME="] {
        assert!(!seen.contains(name), "the program knows {name}");
    }
    scene.postern.finish();
}

#[tokio::test]
async fn a_program_that_gives_no_token_is_an_outage_and_ended_in_time() {
    let secret = format!("printf '{CLIENT_SECRET}'; printf '{CLIENT_SECRET}' >&2; ");
    for (text, timeout) in [
        (format!("{secret} exit 3"), "5s"),
        (secret.clone(), "5s"),
        ("exec yes token".into(), "5s"),
        (format!("{secret} exec tail -f /dev/null"), "1s"),
        ("timeout 3 tail -f /dev/null & exit 0".into(), "1s"),
    ] {
        let folder = TempDir::new().unwrap();
        let helper = program(folder.path(), &text);
        let scene = scene(&format!("type: exec, command: [{helper:?}], timeout: {timeout}")).await;
        assert_unavailable(&scene.agent.get(URL).await);
        assert_eq!(standing(&scene.postern, ACCOUNT)["state"], "error");
        scene.postern.finish();
    }
}
