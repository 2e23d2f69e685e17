//! Files made to hurt: too large, too deep, too much repetition. Each is refused, and soon.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use super::{accepted, refused};

/// Generous for a busy machine; a parser with quadratic time needs half a minute.
const SOON: Duration = Duration::from_secs(if cfg!(debug_assertions) { 10 } else { 1 });

fn refused_soon(text: &str, message: &str) {
    let begun_at = Instant::now();
    let diagnostics = refused(text).to_string();
    assert!(begun_at.elapsed() < SOON, "{:?}", begun_at.elapsed());
    assert!(diagnostics.contains(message), "{diagnostics}");
    assert!(diagnostics.len() < 100_000, "{} bytes", diagnostics.len());
}

#[test]
fn deep_nesting_is_refused() {
    refused_soon(&"[".repeat(100_000), "the nesting is too deep");
    refused_soon(&"{a: ".repeat(100_000), "the nesting is too deep");
    refused_soon(&"- ".repeat(100_000), "the nesting is too deep");
    let blocks: String = (0..1000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    refused_soon(&blocks, "the nesting is too deep");
}

#[test]
fn an_alias_bomb_is_refused() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..10 {
        let previous = format!("*a{}, ", level - 1).repeat(9);
        writeln!(bomb, "a{level}: &a{level} [{}]", previous.trim_end_matches(", ")).unwrap();
    }
    refused_soon(&bomb, "the aliases (\"*…\") repeat too much");
}

#[test]
fn a_file_beyond_the_limit_is_not_even_parsed() {
    let text = format!("version: 1\nbindings: []\n{}", "#".repeat(super::super::FILE_BYTES_MAX));
    refused_soon(&text, "the file is larger than 4194304 bytes");
}

#[test]
fn very_many_entries_are_refused() {
    refused_soon(&format!("[{}]", "1,".repeat(1_100_000)), "the file holds too many entries");
}

#[test]
fn very_many_mistakes_are_counted_and_not_all_shown() {
    let mut text = "version: 1\nbindings:\n".to_owned();
    for number in 0..5_000 {
        writeln!(text, "  - {{deployment: bot-{number}, connection: none}}").unwrap();
    }
    refused_soon(&text, "9900 more mistakes are not shown");
}

#[test]
fn one_very_long_line_is_cut() {
    refused_soon(&format!("version: 1\nbindings: []\n{}: 1\n", "k".repeat(1_000)), "unknown key ***");
    refused_soon(&format!("version: 1\nbindings: [{}]", "a.test, ".repeat(100_000)), "expected a map, found a text");
}

#[test]
fn an_early_nul_is_refused() {
    refused_soon("version: 1\0\nbindings: []", "1:11");
}

#[test]
fn twenty_thousand_bindings_are_read() {
    let mut text = "version: 1\nconnections:\n".to_owned();
    for number in 0..1_000 {
        writeln!(text, "  c{number}: {{hosts: [h{number}.test], auth: {{type: bearer, token: {{env: X}}}}}}").unwrap();
    }
    text.push_str("deployments:\n");
    for number in 0..20 {
        writeln!(text, "  d{number}: {{identify: [{{source: 10.0.{number}.0/24}}], tunnel: [t.test]}}").unwrap();
    }
    text.push_str("bindings:\n");
    for number in 0..20_000 {
        let (deployment, connection) = (number % 20, number / 20);
        writeln!(
            text,
            "  - {{deployment: d{deployment}, connection: c{connection}, paths: [\"/v1/**\"], methods: [GET, POST], rate: {{per_second: 5}}}}"
        )
        .unwrap();
    }
    let begun_at = Instant::now();
    assert!(accepted(&text).warnings.is_empty());
    let limit = if cfg!(debug_assertions) { 10 } else { 1 };
    assert!(begun_at.elapsed() < Duration::from_secs(limit), "{:?}", begun_at.elapsed());
    println!("{} bytes in {:?}", text.len(), begun_at.elapsed());
}
