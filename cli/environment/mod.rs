//! The variables that send every common runtime through the proxy and make it trust the proxy's certificates. It reads no
//! file and no environment, and never switches certificate verification off.

mod bypass;
mod dialect;
#[cfg(test)]
mod tests;

use anyhow::{Result, bail, ensure};
use secrecy::{ExposeSecret as _, SecretString};

use crate::trust;
use bypass::{Bypass, Host, bypasses, spelled};

pub(crate) use dialect::{Format, render};

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

/// RFC 3986 §2.3, and at least one character.
fn is_unreserved(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b))
}

fn is_identifier(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}
