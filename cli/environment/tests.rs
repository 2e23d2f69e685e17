//! What every format and every runtime must see, hostile values included.

use std::process::Command;

use super::*;

const HOSTILE: [&str; 10] = [
    "it's \"quoted\"",
    "$(touch owned)`touch owned`",
    "$HOME ${HOME} $POSTERN_KEY $$ $",
    r"back\slash\' \\ \n",
    "'; touch owned; '",
    "  spaces  at both ends  ",
    "# no comment & | < > ( ) * ? ! ~ { } = %s",
    "-n",
    "schlüssel – 鍵",
    "",
];

fn recipe(key: KeyText) -> Recipe {
    Recipe {
        proxy: ProxyEndpoint { host: "gate.test".into(), port: 3128, deployment: "support-bot".into(), key },
        java_proxy: None,
        trust: TrustFiles::in_folder("/etc/postern"),
        no_proxy: Vec::new(),
        placeholders: Vec::new(),
    }
}

fn with_placeholder(value: &str) -> Recipe {
    Recipe { placeholders: vec![("TOKEN".into(), value.into())], ..recipe(KeyText::Reference) }
}

fn value_of(recipe: &Recipe, name: &str) -> String {
    let variables = variables(recipe).unwrap();
    variables.iter().find(|variable| variable.name == name).unwrap().expose().unwrap().to_owned()
}

/// The proxy URL, one plain value, one that needs care: enough to show a format.
fn sample() -> Vec<Variable> {
    let wanted = ["HTTPS_PROXY", "NODE_USE_ENV_PROXY", "TOKEN"];
    let mut sample = variables(&with_placeholder("a $b \"c\"")).unwrap();
    sample.retain(|variable| wanted.contains(&variable.name()));
    sample
}

fn sh(script: &str) -> Vec<u8> {
    let empty = tempfile::tempdir().unwrap();
    let output = Command::new("/bin/sh")
        .args(["-euc", script])
        .env_clear()
        .env(KEY_VARIABLE, "pst_`touch owned`$(touch owned)\"'")
        .current_dir(empty.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    assert_eq!(std::fs::read_dir(empty.path()).unwrap().count(), 0, "the script ran a value");
    output.stdout
}

#[test]
fn every_runtime_is_covered_in_a_fixed_order() {
    let shell = render(Format::Shell, &variables(&recipe(KeyText::Reference)).unwrap()).unwrap();
    assert_eq!(
        shell,
        r#"export HTTPS_PROXY="http://support-bot:$POSTERN_KEY@gate.test:3128"
export https_proxy="http://support-bot:$POSTERN_KEY@gate.test:3128"
export HTTP_PROXY="http://support-bot:$POSTERN_KEY@gate.test:3128"
export http_proxy="http://support-bot:$POSTERN_KEY@gate.test:3128"
export NO_PROXY='localhost,127.0.0.1,::1,169.254.169.254,gate.test'
export no_proxy='localhost,127.0.0.1,::1,169.254.169.254,gate.test'
export NODE_USE_ENV_PROXY='1'
export NODE_EXTRA_CA_CERTS='/etc/postern/ca.pem'
export SSL_CERT_FILE='/etc/postern/bundle.pem'
export REQUESTS_CA_BUNDLE='/etc/postern/bundle.pem'
export CURL_CA_BUNDLE='/etc/postern/bundle.pem'
export AWS_CA_BUNDLE='/etc/postern/bundle.pem'
export PIP_CERT='/etc/postern/bundle.pem'
export GIT_SSL_CAINFO='/etc/postern/bundle.pem'
export CARGO_HTTP_CAINFO='/etc/postern/bundle.pem'
export npm_config_cafile='/etc/postern/bundle.pem'
export DENO_CERT='/etc/postern/ca.pem'
export GRPC_DEFAULT_SSL_ROOTS_FILE_PATH='/etc/postern/bundle.pem'
export JAVA_TOOL_OPTIONS='-Djavax.net.ssl.trustStore=/etc/postern/trust.p12 -Djavax.net.ssl.trustStoreType=PKCS12 -Djavax.net.ssl.trustStorePassword=changeit'
"#
    );
}

#[test]
fn dotenv_leaves_the_key_to_the_reader_and_quotes_the_rest() {
    assert_eq!(
        render(Format::Dotenv, &sample()).unwrap(),
        "HTTPS_PROXY=http://support-bot:${POSTERN_KEY}@gate.test:3128\nNODE_USE_ENV_PROXY=1\nTOKEN='a $b \"c\"'\n"
    );
}

#[test]
fn docker_takes_every_value_as_it_stands() {
    assert_eq!(
        render(Format::Docker, &sample()).unwrap(),
        "# Docker expands nothing here: replace $POSTERN_KEY by the deployment's key.\n\
             HTTPS_PROXY=http://support-bot:$POSTERN_KEY@gate.test:3128\nNODE_USE_ENV_PROXY=1\nTOKEN=a $b \"c\"\n"
    );
}

#[test]
fn kubernetes_takes_the_key_from_a_secret_and_expands_nothing_else() {
    assert_eq!(
        render(Format::K8s, &sample()).unwrap(),
        r#"- name: POSTERN_KEY
  valueFrom:
    secretKeyRef:
      name: postern-key
      key: key
- name: HTTPS_PROXY
  value: "http://support-bot:$(POSTERN_KEY)@gate.test:3128"
- name: NODE_USE_ENV_PROXY
  value: "1"
- name: TOKEN
  value: "a $$b \"c\""
"#
    );
}

#[test]
fn json_keeps_the_order() {
    assert_eq!(
        render(Format::Json, &sample()).unwrap(),
        r#"{
  "HTTPS_PROXY": "http://support-bot:$POSTERN_KEY@gate.test:3128",
  "NODE_USE_ENV_PROXY": "1",
  "TOKEN": "a $b \"c\""
}
"#
    );
}

#[test]
fn without_a_reference_no_format_mentions_the_key_variable() {
    let variables = variables(&recipe(KeyText::Given("pst_abc".into()))).unwrap();
    for format in [Format::Shell, Format::Dotenv, Format::Docker, Format::K8s, Format::Json] {
        let text = render(format, &variables).unwrap();
        assert!(!text.contains(KEY_VARIABLE), "{format:?}");
        assert!(text.contains("http://support-bot:pst_abc@gate.test:3128"), "{format:?}");
    }
}

#[test]
fn a_shell_sees_hostile_values_unchanged() {
    for value in HOSTILE {
        let export = render(Format::Shell, &variables(&with_placeholder(value)).unwrap()).unwrap();
        let seen = sh(&format!("{export}printf %s \"$TOKEN\""));
        assert_eq!(String::from_utf8(seen).unwrap(), value);
    }
}

#[test]
fn a_shell_expands_the_key_once_and_runs_nothing_in_it() {
    let export = render(Format::Shell, &variables(&recipe(KeyText::Reference)).unwrap()).unwrap();
    let seen = sh(&format!("{export}printf %s \"$https_proxy\""));
    let expected = "http://support-bot:pst_`touch owned`$(touch owned)\"'@gate.test:3128";
    assert_eq!(String::from_utf8(seen).unwrap(), expected);
}

#[test]
fn json_and_kubernetes_carry_hostile_values_unchanged() {
    for value in HOSTILE {
        let variables = variables(&with_placeholder(value)).unwrap();
        let object = render(Format::Json, &variables).unwrap();
        let object: serde_json::Value = serde_json::from_str(&object).unwrap();
        assert_eq!(object["TOKEN"], value);

        let list = render(Format::K8s, &variables).unwrap();
        let last = list.lines().last().unwrap().strip_prefix("  value: ").unwrap();
        let last: String = serde_json::from_str(last).unwrap();
        assert_eq!(last.replace("$$", "$"), value);
    }
}

#[test]
fn dotenv_refuses_what_its_readers_understand_differently() {
    for value in ["it's", r"back\slash", "${HOME}"] {
        let refusal = render(Format::Dotenv, &variables(&with_placeholder(value)).unwrap()).unwrap_err();
        assert!(refusal.to_string().contains("TOKEN"), "{refusal}");
    }
}

#[test]
fn a_line_break_is_refused_in_every_value() {
    for value in ["a\nb", "a\rb", "a\0b", "a\u{85}b"] {
        assert!(variables(&with_placeholder(value)).is_err(), "{value:?}");
    }
    let trust = TrustFiles::in_folder("/etc/pos\ntern");
    assert!(variables(&Recipe { trust, ..recipe(KeyText::Unneeded) }).is_err());
}

#[test]
fn a_listener_that_identifies_its_caller_needs_no_login_and_serves_java_too() {
    let mut recipe = recipe(KeyText::Unneeded);
    recipe.proxy.host = "::1".into();
    recipe.no_proxy = vec!["corp.test".into(), "10.0.0.0/8".into(), "10.9.0.0/20".into()];
    assert_eq!(value_of(&recipe, "https_proxy"), "http://[::1]:3128");
    assert_eq!(
        value_of(&recipe, "JAVA_TOOL_OPTIONS"),
        "-Dhttps.proxyHost=::1 -Dhttps.proxyPort=3128 -Dhttp.proxyHost=::1 -Dhttp.proxyPort=3128 \
             -Dhttp.nonProxyHosts=localhost|127.0.0.1|[::1]|169.254.169.254|corp.test|*.corp.test|10.* \
             -Djavax.net.ssl.trustStore=/etc/postern/trust.p12 -Djavax.net.ssl.trustStoreType=PKCS12 \
             -Djavax.net.ssl.trustStorePassword=changeit"
    );
}

#[test]
fn java_is_sent_to_its_own_listener_where_the_others_log_in() {
    let java_proxy = Some(JavaEndpoint { host: "gate.test".into(), port: 3200 });
    let options = value_of(&Recipe { java_proxy, ..recipe(KeyText::Reference) }, "JAVA_TOOL_OPTIONS");
    assert!(options.starts_with("-Dhttps.proxyHost=gate.test -Dhttps.proxyPort=3200 "), "{options}");
}

#[test]
fn java_paths_with_spaces_and_quotes_stay_one_option() {
    assert_eq!(java_property("p", "/a b/c"), r#"-Dp="/a b/c""#);
    assert_eq!(java_property("p", r#"/it's "it""#), r#"-Dp="/it's "'"'"it"'"'"""#);
}

#[test]
fn no_proxy_is_written_in_the_dialect_that_all_runtimes_read() {
    let no_proxy = ["*.corp.test", "Corp.test.", ".svc", "10.1.2.3", "10.0.0.0/8", "fd00::/8", "[fd00::7]"];
    let no_proxy = no_proxy.map(String::from).to_vec();
    assert_eq!(
        value_of(&Recipe { no_proxy, ..recipe(KeyText::Unneeded) }, "NO_PROXY"),
        "localhost,127.0.0.1,::1,169.254.169.254,gate.test,corp.test,.corp.test,svc,.svc,10.1.2.3,10.0.0.0/8,\
             fd00::/8,fd00::7"
    );
}

#[test]
fn a_no_proxy_entry_that_is_none_or_covers_everything_is_refused() {
    for entry in ["*", "0.0.0.0/0", "::/0", "", ".", "a,b", "a b", "https://a", "a:80", "10.0.0.0/33", "*.10.1.2.3"] {
        let no_proxy = vec![entry.to_owned()];
        assert!(variables(&Recipe { no_proxy, ..recipe(KeyText::Unneeded) }).is_err(), "{entry:?}");
    }
}

#[test]
fn an_endpoint_that_some_runtime_would_misread_is_refused() {
    let edits: [fn(&mut ProxyEndpoint); 8] = [
        |proxy| proxy.deployment = String::new(),
        |proxy| proxy.deployment = "bot@home".into(),
        |proxy| proxy.key = KeyText::Given("".into()),
        |proxy| proxy.key = KeyText::Given("s@cret%40".into()),
        |proxy| proxy.host = "http://gate.test".into(),
        |proxy| proxy.host = "gate.test:3128".into(),
        |proxy| proxy.host = String::new(),
        |proxy| proxy.port = 0,
    ];
    for (number, edit) in edits.into_iter().enumerate() {
        let mut recipe = recipe(KeyText::Reference);
        edit(&mut recipe.proxy);
        assert!(variables(&recipe).is_err(), "edit {number}");
    }
}

#[test]
fn a_placeholder_cannot_replace_a_variable_of_ours() {
    for name in ["HTTPS_PROXY", "no_proxy", "JAVA_TOOL_OPTIONS", "POSTERN_KEY", "postern_x", "A=B", "1A", "A B", ""] {
        let placeholders = vec![(name.to_owned(), "x".to_owned())];
        assert!(variables(&Recipe { placeholders, ..recipe(KeyText::Unneeded) }).is_err(), "{name:?}");
    }
}

#[test]
fn of_two_placeholders_with_one_name_the_first_wins() {
    let placeholders = vec![("TOKEN".into(), "first".into()), ("TOKEN".into(), "second".into())];
    let recipe = Recipe { placeholders, ..recipe(KeyText::Unneeded) };
    assert_eq!(value_of(&recipe, "TOKEN"), "first");
    assert_eq!(variables(&recipe).unwrap().iter().filter(|variable| variable.name() == "TOKEN").count(), 1);
}

#[test]
fn debug_output_and_refusals_never_show_the_key() {
    let recipe = recipe(KeyText::Given("pst_topsecret".into()));
    let shown = format!("{recipe:?} {:?}", variables(&recipe).unwrap());
    assert!(!shown.contains("topsecret"), "{shown}");

    let mut unusable = recipe;
    unusable.proxy.key = KeyText::Given("pst_top secret".into());
    let refusal = format!("{:?}", variables(&unusable).unwrap_err());
    assert!(!refusal.contains("top secret"), "{refusal}");
}
