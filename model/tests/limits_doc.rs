//! Keeps the table of limits in docs/operating.md equal to the code: the same names, in the same order, each with its
//! default in the form that bindings.yaml takes.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use postern_model as model;

use model::Limits;

const PAPER: &str = include_str!("../../docs/operating.md");

/// The names of all fields; a new one does not compile until it stands here.
macro_rules! names {
    ($($name:ident)+) => {{
        let Limits { $($name: _),+ } = Limits::default();
        [$(stringify!($name)),+]
    }};
}

#[test]
fn the_table_has_every_limit_once_and_in_order() {
    let names = names!(
        head_bytes_max head_fields_max target_bytes_max head_in handshake_in first_request_in idle_in body_stall_in
        write_stall_in connect_in response_silence_in tunnel_idle_in pool_idle_in pool_idle_sockets_max sockets_max
        deployment_sockets_max unbound_mints_per_second leaf_cache_entries_max
    );
    let documented: Vec<String> = rows().into_iter().map(|(name, _)| name).collect();
    assert_eq!(documented, names);
}

#[test]
fn each_default_in_the_table_is_the_default() {
    for (name, default) in rows() {
        let text = format!("version: 1\nbindings: []\nlimits:\n  {name}: {default}\n");
        let loaded = model::file::read(&text, "docs/operating.md").unwrap_or_else(|found| panic!("{found}"));
        assert_eq!(loaded.config.limits, Limits::default(), "{name}: {default}");
    }
}

/// Name and default of each row.
fn rows() -> Vec<(String, String)> {
    let mut lines = PAPER.lines().skip_while(|line| !line.starts_with("| limit | default |"));
    assert!(lines.next().is_some(), "docs/operating.md has no table of limits");
    let rows = lines.skip(1).take_while(|line| line.starts_with('|'));
    let cell = |text: Option<&str>| text.unwrap().trim().replace('`', "");
    rows.map(|line| {
        let mut cells = line.trim_matches('|').split('|');
        (cell(cells.next()), cell(cells.next()))
    })
    .collect()
}
