//! The variables that send every common runtime through the proxy and make it trust the proxy's certificates, and how
//! shells, dotenv files, Docker, Kubernetes and programs spell them. It reads no file and no environment, never switches
//! certificate verification off, and refuses a value that a format cannot carry unchanged.

use std::collections::HashSet;
use std::net::IpAddr;

use anyhow::{Context as _, Result, bail, ensure};
use secrecy::{ExposeSecret as _, SecretString};

use crate::trust;

/// The variable that holds a deployment's key where the proxy URL only refers to it.
pub(crate) const KEY_VARIABLE: &str = "POSTERN_KEY";

/// Longest value accepted, in bytes; the kernel allows an environment string 128 KiB.
const VALUE_BYTES_MAX: usize = 32 * 1024;
/// Most variables in one environment, and most entries in one `NO_PROXY`.
const ENTRIES_MAX: usize = 1024;

/// What an agent's environment is made from.
#[derive(Clone, Debug)]
pub(crate) struct Recipe {
    /// Where the agent reaches the proxy, and as whom.
    pub(crate) proxy: ProxyEndpoint,
    /// A listener that identifies the agent by itself, for Java, which cannot log in to a proxy. Not needed where
    /// `proxy` is one.
    pub(crate) java_proxy: Option<JavaEndpoint>,
    /// The certificates to trust, as the agent sees the files.
    pub(crate) trust: TrustFiles,
    /// Destinations to reach directly besides this machine and the metadata address: a domain (`corp.test`,
    /// `.corp.test` and `*.corp.test` all mean it and everything below), an address, or a network such as
    /// `10.0.0.0/8` (which httpx and Node do not understand: list the plain addresses too).
    pub(crate) no_proxy: Vec<String>,
    /// Variables that SDKs want to see set, as (name, value). Of two with one name the first wins.
    pub(crate) placeholders: Vec<(String, String)>,
}

/// Where the agent reaches the proxy, and as whom.
#[derive(Clone, Debug)]
pub(crate) struct ProxyEndpoint {
    /// A host name or an address; an IPv6 address may stand in brackets or not.
    pub(crate) host: String,
    /// The proxy listener's TCP port.
    pub(crate) port: u16,
    /// The deployment the agent logs in as.
    pub(crate) deployment: String,
    /// The password of that login.
    pub(crate) key: KeyText,
}

/// The password in the proxy URL.
#[derive(Clone, Debug)]
pub(crate) enum KeyText {
    /// The key itself.
    Given(SecretString),
    /// A reference to [`KEY_VARIABLE`], for a key that is not known here.
    Reference,
    /// No login at all: the listener identifies its caller by itself.
    Unneeded,
}

/// A listener that identifies its caller by itself.
#[derive(Clone, Debug)]
pub(crate) struct JavaEndpoint {
    /// A host name or an address.
    pub(crate) host: String,
    /// The listener's TCP port.
    pub(crate) port: u16,
}

/// The certificate files, as absolute paths in the agent's own file system.
#[derive(Clone, Debug)]
pub(crate) struct TrustFiles {
    /// Only the proxy's certificate, for runtimes that add it to what they already trust.
    pub(crate) ca_pem: String,
    /// The system's roots and the proxy's certificate, for runtimes that trust nothing else once told.
    pub(crate) bundle_pem: String,
    /// The same as `bundle_pem`, as a PKCS#12 trust store for Java.
    pub(crate) truststore_p12: String,
    /// The password of `truststore_p12`; it guards nothing secret.
    pub(crate) truststore_password: String,
}

impl TrustFiles {
    /// The files as [`trust::TrustAnchors::write_to`] names them, in `folder`.
    pub(crate) fn in_folder(folder: &str) -> Self {
        let folder = folder.trim_end_matches('/');
        Self {
            ca_pem: format!("{folder}/{}", trust::CA_FILE),
            bundle_pem: format!("{folder}/{}", trust::BUNDLE_FILE),
            truststore_p12: format!("{folder}/{}", trust::TRUSTSTORE_FILE),
            truststore_password: trust::TRUSTSTORE_PASSWORD.to_owned(),
        }
    }
}

/// One variable of an agent's environment. Its value may hold a key, so `Debug` does not show it.
#[derive(Clone, Debug)]
pub(crate) struct Variable {
    name: String,
    value: Value,
}

impl Variable {
    /// The variable's name, a portable shell identifier.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The value to put into a process's environment, or `None` where it refers to [`KEY_VARIABLE`] and so only means
    /// something to a reader that expands it.
    pub(crate) fn expose(&self) -> Option<&str> {
        match &self.value {
            Value::Literal(text) => Some(text.expose_secret()),
            Value::AroundKey { .. } => None,
        }
    }

    fn new(name: &str, text: impl Into<String>) -> Result<Self> {
        let text = text.into();
        ensure!(is_identifier(name), "{name:?} cannot name a variable; use letters, digits and _");
        ensure!(
            !text.chars().any(char::is_control),
            "the value of {name} holds a line break or another control character, which no format carries safely; \
             remove it"
        );
        ensure!(
            text.len() <= VALUE_BYTES_MAX,
            "the value of {name} is {} bytes long; shorten it to {VALUE_BYTES_MAX}",
            text.len()
        );
        Ok(Self { name: name.to_owned(), value: Value::Literal(text.into()) })
    }
}

/// How the variables are spelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// `export` lines for a POSIX shell, to be evaluated: eval "$(postern env …)"
    Shell,
    /// A .env file as Docker Compose and the dotenv libraries read it
    Dotenv,
    /// A file for `docker run --env-file`, which knows no quotes and expands nothing
    Docker,
    /// The entries of a Kubernetes container's `env:` list
    K8s,
    /// One JSON object
    Json,
}

/// Lists the variables for every common runtime, in a fixed order.
///
/// Both spellings of the proxy variables are set, because wget and gRPC read only the lower one and curl ignores
/// `HTTP_PROXY` for plain http. `ALL_PROXY` never is: clients would send what is not HTTP there.
///
/// # Errors
/// When the endpoint cannot be written in the one URL form that all runtimes read, when a `no_proxy` entry is none or
/// would switch the proxy off, or when a placeholder's name or value is unusable.
pub(crate) fn variables(recipe: &Recipe) -> Result<Vec<Variable>> {
    let proxy_host = Host::parse(&recipe.proxy.host)?;
    let bypasses = bypasses(&proxy_host, &recipe.no_proxy)?;
    let trust = &recipe.trust;

    let mut variables = Vec::new();
    for name in ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"] {
        variables.push(Variable { name: name.to_owned(), value: proxy_url(&recipe.proxy, &proxy_host)? });
    }
    let no_proxy = spelled(&bypasses, Bypass::for_environment, ",");
    for name in ["NO_PROXY", "no_proxy"] {
        variables.push(Variable::new(name, no_proxy.as_str())?);
    }
    for (name, value) in [
        ("NODE_USE_ENV_PROXY", "1"),
        ("NODE_EXTRA_CA_CERTS", &trust.ca_pem),
        ("SSL_CERT_FILE", &trust.bundle_pem), // OpenSSL and with it Ruby and Python; Go, Rust, Bun, curl, uv
        ("REQUESTS_CA_BUNDLE", &trust.bundle_pem),
        ("CURL_CA_BUNDLE", &trust.bundle_pem),
        ("AWS_CA_BUNDLE", &trust.bundle_pem),
        ("PIP_CERT", &trust.bundle_pem),
        ("GIT_SSL_CAINFO", &trust.bundle_pem),
        ("CARGO_HTTP_CAINFO", &trust.bundle_pem),
        ("npm_config_cafile", &trust.bundle_pem),
        ("DENO_CERT", &trust.ca_pem),
        ("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", &trust.bundle_pem),
    ] {
        variables.push(Variable::new(name, value)?);
    }
    variables.push(Variable::new("JAVA_TOOL_OPTIONS", java_options(recipe, &bypasses)?)?);

    push_placeholders(&mut variables, &recipe.placeholders)?;
    Ok(variables)
}

/// Spells `variables` in `format`, each line ended. The text holds the deployment's key where one was given.
///
/// A reference to the key becomes `$POSTERN_KEY` in a shell, `${POSTERN_KEY}` in a dotenv file, and in Kubernetes
/// `$(POSTERN_KEY)` after an entry that takes it from the field `key` of the secret `postern-key`. Docker's env files
/// and JSON expand nothing: there `$POSTERN_KEY` stands for whoever uses the text to replace, and Docker's says so.
///
/// # Errors
/// When a value has no spelling that all readers of `format` understand alike.
pub(crate) fn render(format: Format, variables: &[Variable]) -> Result<String> {
    match format {
        Format::Shell => Ok(variables.iter().map(shell_line).collect()),
        Format::Dotenv => variables.iter().map(dotenv_line).collect(),
        Format::Docker => Ok(docker_file(variables)),
        Format::K8s => Ok(k8s_list(variables)),
        Format::Json => Ok(json_object(variables)),
    }
}

#[derive(Clone, Debug)]
enum Value {
    Literal(SecretString),
    AroundKey { before: String, after: String },
}

impl Value {
    fn with_key_as(&self, reference: &str) -> String {
        match self {
            Self::Literal(text) => text.expose_secret().to_owned(),
            Self::AroundKey { before, after } => format!("{before}{reference}{after}"),
        }
    }
}

/// A host in the forms that URLs and bypass lists want.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    Address(IpAddr),
    Name(String),
}

impl Host {
    fn parse(text: &str) -> Result<Self> {
        let unbracketed = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        if let Ok(address) = unbracketed.parse() {
            return Ok(Self::Address(address));
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        ensure!(
            is_domain(name),
            "{text:?} is neither a host name nor an address; write it without scheme, port or path"
        );
        Ok(Self::Name(name.to_ascii_lowercase()))
    }

    fn plain(&self) -> String {
        match self {
            Self::Address(address) => address.to_string(),
            Self::Name(name) => name.clone(),
        }
    }

    fn bracketed(&self) -> String {
        match self {
            Self::Address(IpAddr::V6(address)) => format!("[{address}]"),
            Self::Address(IpAddr::V4(_)) | Self::Name(_) => self.plain(),
        }
    }
}

/// A destination that is reached without the proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Bypass {
    Host(Host),
    DomainAndBelow(String),
    Network(IpAddr, u8),
}

impl Bypass {
    fn parse(entry: &str) -> Result<Self> {
        let entry = entry.trim();
        if let Some((address, prefix)) = entry.split_once('/') {
            let address: IpAddr = address.parse().context("the part before / is not an address")?;
            let prefix: u8 = prefix.parse().context("the part after / is not a prefix length")?;
            let longest = if address.is_ipv4() { 32 } else { 128 };
            ensure!(prefix <= longest, "the prefix is longer than {longest} bits");
            ensure!(prefix > 0, "this would switch the proxy off for every address");
            return Ok(Self::Network(address, prefix));
        }
        ensure!(entry != "*", "this would switch the proxy off for every destination");
        let base = entry.strip_prefix('*').unwrap_or(entry);
        let base = base.strip_prefix('.').unwrap_or(base);
        match Host::parse(base)? {
            Host::Name(name) => Ok(Self::DomainAndBelow(name)),
            address @ Host::Address(_) => {
                ensure!(base == entry, "an address has nothing below it");
                Ok(Self::Host(address))
            }
        }
    }

    /// There is no standard for `NO_PROXY`. `.name` covers what is below in every runtime, axios needs the bare name
    /// besides, and `*.name` is misread by most.
    fn for_environment(&self) -> Vec<String> {
        match self {
            Self::Host(host) => vec![host.plain()],
            Self::DomainAndBelow(name) => vec![name.clone(), format!(".{name}")],
            Self::Network(address, prefix) => vec![format!("{address}/{prefix}")],
        }
    }

    /// `http.nonProxyHosts` knows only names with a `*` at either end, so a network appears where it ends at a dot.
    fn for_java(&self) -> Vec<String> {
        match self {
            Self::Host(host) => vec![host.bracketed()],
            Self::DomainAndBelow(name) => vec![name.clone(), format!("*.{name}")],
            Self::Network(IpAddr::V4(address), 32) => vec![address.to_string()],
            Self::Network(IpAddr::V4(address), prefix @ (8 | 16 | 24)) => {
                let octets = address.octets();
                let kept = octets.iter().take(usize::from(prefix / 8));
                vec![kept.map(|octet| format!("{octet}.")).collect::<String>() + "*"]
            }
            Self::Network(..) => Vec::new(),
        }
    }
}

/// Always this machine, the cloud's metadata address and the proxy itself, then what the operator adds.
fn bypasses(proxy_host: &Host, extra: &[String]) -> Result<Vec<Bypass>> {
    ensure!(extra.len() <= ENTRIES_MAX, "{} no_proxy entries; keep them to {ENTRIES_MAX}", extra.len());
    let mut bypasses = Vec::new();
    for always in ["localhost", "127.0.0.1", "::1", "169.254.169.254"] {
        bypasses.push(Bypass::Host(Host::parse(always)?));
    }
    bypasses.push(Bypass::Host(proxy_host.clone()));
    for entry in extra {
        bypasses.push(Bypass::parse(entry).with_context(|| {
            format!("no_proxy entry {entry:?} is unusable; write a domain, an address or a network such as 10.0.0.0/8")
        })?);
    }
    Ok(bypasses)
}

fn spelled(bypasses: &[Bypass], spell: fn(&Bypass) -> Vec<String>, separator: &str) -> String {
    let mut seen = HashSet::new();
    let entries = bypasses.iter().flat_map(spell).filter(|entry| seen.insert(entry.clone()));
    entries.collect::<Vec<_>>().join(separator)
}

/// `http://USER:PASSWORD@HOST:PORT`, both parts present and free of escapes: the only login that every runtime sends
/// (undici wants both parts, requests drops a lone user, axios sends percent escapes as they stand).
fn proxy_url(proxy: &ProxyEndpoint, host: &Host) -> Result<Value> {
    ensure!(proxy.port != 0, "the proxy's port is 0; give the port it listens on");
    let authority = format!("{}:{}", host.bracketed(), proxy.port);
    let literal = |text: String| Ok(Value::Literal(text.into()));
    if let KeyText::Unneeded = proxy.key {
        return literal(format!("http://{authority}"));
    }
    let deployment = &proxy.deployment;
    ensure!(
        is_unreserved(deployment),
        "the deployment name {deployment:?} cannot stand in a proxy URL; use letters, digits and . _ ~ -"
    );
    match &proxy.key {
        KeyText::Given(key) if is_unreserved(key.expose_secret()) => {
            literal(format!("http://{deployment}:{}@{authority}", key.expose_secret()))
        }
        KeyText::Given(_) => bail!(
            "the key cannot stand in a proxy URL; use one that postern issued, or letters, digits and . _ ~ - only"
        ),
        KeyText::Reference | KeyText::Unneeded => {
            Ok(Value::AroundKey { before: format!("http://{deployment}:"), after: format!("@{authority}") })
        }
    }
}

/// Java reads no proxy variable and sends no login for tunnels, so it is sent only to a listener that identifies the
/// agent; elsewhere it gets the trust store alone.
fn java_options(recipe: &Recipe, bypasses: &[Bypass]) -> Result<String> {
    let identifying = match (&recipe.java_proxy, &recipe.proxy.key) {
        (Some(java), _) => Some((Host::parse(&java.host)?, java.port)),
        (None, KeyText::Unneeded) => Some((Host::parse(&recipe.proxy.host)?, recipe.proxy.port)),
        (None, KeyText::Given(_) | KeyText::Reference) => None,
    };
    let mut options = Vec::new();
    if let Some((host, port)) = identifying {
        ensure!(port != 0, "the port of Java's proxy is 0; give the port it listens on");
        for scheme in ["https", "http"] {
            options.push(java_property(&format!("{scheme}.proxyHost"), &host.plain()));
            options.push(java_property(&format!("{scheme}.proxyPort"), &port.to_string()));
        }
        let direct = spelled(bypasses, Bypass::for_java, "|"); // of https too: there is no https.nonProxyHosts
        options.push(java_property("http.nonProxyHosts", &direct));
    }
    options.push(java_property("javax.net.ssl.trustStore", &recipe.trust.truststore_p12));
    options.push(java_property("javax.net.ssl.trustStoreType", "PKCS12"));
    options.push(java_property("javax.net.ssl.trustStorePassword", &recipe.trust.truststore_password));
    Ok(options.join(" "))
}

/// The JVM splits `JAVA_TOOL_OPTIONS` at white space and drops quotes of either kind; it knows no escapes.
fn java_property(name: &str, value: &str) -> String {
    if !value.contains(|c: char| c.is_whitespace() || c == '"' || c == '\'') {
        return format!("-D{name}={value}");
    }
    format!("-D{name}=\"{}\"", value.replace('"', r#""'"'""#))
}

fn push_placeholders(variables: &mut Vec<Variable>, placeholders: &[(String, String)]) -> Result<()> {
    let total = variables.len() + placeholders.len();
    ensure!(total <= ENTRIES_MAX, "{total} variables; keep them to {ENTRIES_MAX}");
    let ours = variables.len();
    for (name, value) in placeholders {
        ensure!(
            !name.to_ascii_uppercase().starts_with("POSTERN_")
                && !variables.iter().take(ours).any(|variable| variable.name == *name),
            "the placeholder {name} would replace a variable that postern sets itself; give it another name"
        );
        if !variables.iter().any(|variable| variable.name == *name) {
            variables.push(Variable::new(name, value.as_str())?);
        }
    }
    Ok(())
}

fn shell_line(variable: &Variable) -> String {
    let word = match &variable.value {
        Value::Literal(text) => format!("'{}'", text.expose_secret().replace('\'', r"'\''")),
        Value::AroundKey { before, after } => {
            format!("\"{}${KEY_VARIABLE}{}\"", in_double_quotes(before), in_double_quotes(after))
        }
    };
    format!("export {}={word}\n", variable.name)
}

fn in_double_quotes(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if matches!(character, '"' | '\\' | '$' | '`') {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

/// Readers of dotenv files agree on bare words and on single quotes without escapes, and on nothing else; some expand
/// `${…}` even there.
fn dotenv_line(variable: &Variable) -> Result<String> {
    let name = &variable.name;
    let value = variable.value.with_key_as(&format!("${{{KEY_VARIABLE}}}"));
    if matches!(variable.value, Value::AroundKey { .. }) || value.bytes().all(is_bare_byte) {
        return Ok(format!("{name}={value}\n"));
    }
    ensure!(
        !value.contains(['\'', '\\']) && !value.contains("${"),
        "the value of {name} holds a single quote, a backslash or ${{, which readers of dotenv files understand \
         differently; change it or use another --format"
    );
    Ok(format!("{name}='{value}'\n"))
}

fn docker_file(variables: &[Variable]) -> String {
    let mut file = String::new();
    if refer_to_key(variables) {
        file += &format!("# Docker expands nothing here: replace ${KEY_VARIABLE} by the deployment's key.\n");
    }
    for Variable { name, value } in variables {
        file += &format!("{name}={}\n", value.with_key_as(&format!("${KEY_VARIABLE}")));
    }
    file
}

fn k8s_list(variables: &[Variable]) -> String {
    let mut list = String::new();
    if refer_to_key(variables) {
        // Kubernetes expands only what stands above.
        list += &format!(
            "- name: {KEY_VARIABLE}\n  valueFrom:\n    secretKeyRef:\n      name: postern-key\n      key: key\n"
        );
    }
    for Variable { name, value } in variables {
        let value = match value {
            Value::Literal(text) => text.expose_secret().replace('$', "$$"),
            Value::AroundKey { before, after } => {
                format!("{}$({KEY_VARIABLE}){}", before.replace('$', "$$"), after.replace('$', "$$"))
            }
        };
        list += &format!("- name: {name}\n  value: {}\n", json_string(&value)); // a JSON string is a YAML string
    }
    list
}

fn json_object(variables: &[Variable]) -> String {
    let members = variables.iter().map(|Variable { name, value }| {
        format!("  {}: {}", json_string(name), json_string(&value.with_key_as(&format!("${KEY_VARIABLE}"))))
    });
    format!("{{\n{}\n}}\n", members.collect::<Vec<_>>().join(",\n"))
}

fn json_string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn refer_to_key(variables: &[Variable]) -> bool {
    variables.iter().any(|variable| matches!(variable.value, Value::AroundKey { .. }))
}

/// RFC 3986 §2.3, and at least one character.
fn is_unreserved(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b))
}

fn is_identifier(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn is_domain(name: &str) -> bool {
    let is_label =
        |label: &str| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    name.len() <= 253 && name.split('.').all(is_label)
}

fn is_bare_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_-./:,@%+=~".contains(&byte)
}

#[cfg(test)]
mod tests {
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
        for entry in ["*", "0.0.0.0/0", "::/0", "", ".", "a,b", "a b", "https://a", "a:80", "10.0.0.0/33", "*.10.1.2.3"]
        {
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
        for name in ["HTTPS_PROXY", "no_proxy", "JAVA_TOOL_OPTIONS", "POSTERN_KEY", "postern_x", "A=B", "1A", "A B", ""]
        {
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
}
