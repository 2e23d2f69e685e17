//! What each kind of static credential puts on a request, letter for letter, and when a connection counts as another.

use model::config::{Exec, Integration, OauthGrant};
use model::template::Template;

use super::*;
use crate::broker::tests::support::{Scripted, at, connection, named, oauth, with_secrets};

fn prepared(connection: &Connection, secrets: &[(&str, &str)]) -> Result<Prepared, Unavailable> {
    with_secrets(secrets, |sources| prepare(connection, sources, &Scripted::new([]).shared()))
}

fn made(connection: &Connection, presentation: &Presentation) -> Credential {
    match prepared(connection, &[]).unwrap_or_else(|reason| panic!("{reason}")) {
        Prepared::Fixed { make, .. } => make(presentation, 7).unwrap(),
        Prepared::Living { .. } => panic!("it is fetched"),
    }
}

fn fields(connection: &Connection) -> Vec<(String, String)> {
    let made = made(connection, &Presentation::Bearer);
    assert!(made.fields().iter().all(|(_, value)| value.is_sensitive()));
    made.fields().iter().map(|(name, value)| field(name.as_str(), value.to_str().unwrap())).collect()
}

fn field(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

fn marked(connection: &Connection, secrets: &[(&str, &str)]) -> [u8; 32] {
    match prepared(connection, secrets).unwrap_or_else(|reason| panic!("{reason}")) {
        Prepared::Fixed { mark, .. } | Prepared::Living { mark, .. } => mark,
    }
}

fn bearer() -> Connection {
    connection(Auth::Bearer { token: named("TOKEN") })
}

fn basic_auth(password: Option<&str>) -> Connection {
    connection(Auth::Basic { username: named("USER"), password: password.map(named) })
}

fn headers(templates: &[(&str, &str)], values: &[&str]) -> Connection {
    let header = |(name, template): &(&str, &str)| HeaderTemplate {
        name: (*name).to_owned(),
        template: Template::parse(template).unwrap(),
    };
    let values = values.iter().map(|name| ((*name).to_owned(), named(name))).collect();
    connection(Auth::Header { headers: templates.iter().map(header).collect(), values })
}

#[test]
fn a_bearer_token_stands_behind_its_scheme() {
    assert_eq!(fields(&bearer()), [field("authorization", "Bearer token")]);
}

#[test]
fn a_bearer_token_is_presented_as_the_provider_wants_it() {
    let in_field = Presentation::Header { name: "X-Api-Key".into(), scheme: None };
    let credential = made(&bearer(), &in_field);
    assert_eq!(credential.fields()[0].0.as_str(), "x-api-key");
    assert_eq!(credential.fields()[0].1, "token");
    let behind = Presentation::Header { name: "authorization".into(), scheme: Some("Token".into()) };
    assert_eq!(made(&bearer(), &behind).fields()[0].1, "Token token");
    let as_password = Presentation::Basic { username: "api".into() };
    assert_eq!(made(&bearer(), &as_password).fields()[0].1, "Basic YXBpOnRva2Vu");
}

#[test]
fn user_and_password_are_one_field_and_the_password_may_be_missing() {
    assert_eq!(fields(&basic_auth(Some("PASSWORD"))), [field("authorization", "Basic dXNlcjpwYXNzd29yZA==")]);
    assert_eq!(fields(&basic_auth(None)), [field("authorization", "Basic dXNlcjo=")]);
}

#[test]
fn templates_fill_two_fields_from_several_secrets() {
    let connection = headers(&[("X-Key", "Key {key};{{{id}}}"), ("X-Id", "{id}")], &["key", "id"]);
    assert_eq!(fields(&connection), [field("x-key", "Key key;{id}"), field("x-id", "id")]);
}

#[test]
fn a_parameter_of_the_query_touches_no_field() {
    let connection = connection(Auth::Query { name: "key".into(), value: named("VALUE") });
    let credential = made(&connection, &Presentation::Bearer);
    let (name, value) = credential.parameter().unwrap();
    assert_eq!((name, value.expose_secret()), ("key", "value"));
    assert!(credential.fields().is_empty());
}

#[test]
fn a_static_credential_has_no_successor() {
    let credential = made(&bearer(), &Presentation::Bearer);
    assert!(!credential.is_renewable());
    assert_eq!(credential.generation(), 7);
}

#[test]
fn a_secret_that_no_field_can_carry_is_told_without_showing_it() {
    let Ok(Prepared::Fixed { make, .. }) = prepared(&bearer(), &[("TOKEN", "canary\nx")]) else {
        panic!("the secret can be read");
    };
    let reason = make(&Presentation::Bearer, 1).unwrap_err();
    assert!(reason.to_string().contains("line end") && !format!("{reason:?}").contains("canary"), "{reason:?}");
}

#[test]
fn a_secret_that_is_not_set_is_named() {
    let Err(reason) = prepared(&bearer(), &[("TOKEN", "")]) else { panic!("it is not set") };
    assert!(reason.to_string().contains("TOKEN"), "{reason}");
}

#[test]
fn a_changed_secret_changes_the_mark_and_the_same_secret_does_not() {
    let kinds = [
        (bearer(), vec!["TOKEN"]),
        (basic_auth(Some("PASSWORD")), vec!["USER", "PASSWORD"]),
        (connection(Auth::Query { name: "key".into(), value: named("VALUE") }), vec!["VALUE"]),
        (connection(oauth(OauthGrant::RefreshToken { first: named("FIRST") })), vec!["ID", "SECRET", "FIRST"]),
    ];
    for (connection, names) in kinds {
        let before = marked(&connection, &[("OTHER", "one")]);
        assert_eq!(before, marked(&connection, &[("OTHER", "two")]));
        for name in names {
            assert_ne!(before, marked(&connection, &[(name, "changed")]), "{name}");
        }
    }
}

#[test]
fn what_moves_from_one_secret_to_the_next_changes_the_mark() {
    let connection = basic_auth(Some("PASSWORD"));
    let one = marked(&connection, &[("USER", "ab"), ("PASSWORD", "c")]);
    assert_ne!(one, marked(&connection, &[("USER", "a"), ("PASSWORD", "bc")]));
}

#[test]
fn changed_settings_change_the_mark() {
    let exec = |word: &str| {
        let command = vec!["/bin/echo".into(), word.into()];
        connection(Auth::Exec(Exec { command, answer_in: std::time::Duration::from_secs(1), environment: Vec::new() }))
    };
    assert_eq!(marked(&exec("a"), &[]), marked(&exec("a"), &[]));
    assert_ne!(marked(&exec("a"), &[]), marked(&exec("b"), &[]));
    let key = |integration: &mut Integration| {
        integration.presentation = Presentation::Header { name: "x-api-key".into(), scheme: None };
    };
    assert_ne!(marked(&at(bearer(), |_| ()), &[]), marked(&at(bearer(), key), &[]));
}
