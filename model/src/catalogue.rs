//! The built-in catalogue: the providers that a connection can name without defining them. It is read once from
//! `catalogue.yaml`; an integration of the operator's file with the same name replaces an entry as a whole.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::LazyLock;

use crate::authority::DnsName;
use crate::config::Integration;
use crate::file::{Definition, Entry, entries};
use crate::name::IntegrationName;

const TEXT: &str = include_str!("../catalogue.yaml");

static PROVIDERS: LazyLock<Vec<Provider>> = LazyLock::new(|| {
    // A test reads the same text.
    let entries = entries(TEXT, "catalogue.yaml").unwrap_or_default();
    let mut providers: Vec<Provider> = entries.into_iter().map(Provider::from).collect();
    providers.sort_by(|one, other| one.id.cmp(&other.id));
    providers
});

/// Every provider, by the order of its name.
#[must_use]
pub fn all() -> &'static [Provider] {
    &PROVIDERS
}

/// The provider of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Provider> {
    let at = PROVIDERS.binary_search_by(|provider| provider.id.as_str().cmp(name)).ok()?;
    PROVIDERS.get(at)
}

/// A provider of the catalogue.
pub struct Provider {
    /// Its name, for `integration:`.
    pub id: IntegrationName,
    /// Its own name.
    pub title: String,
    /// What kind of credential it takes first of all.
    pub kind: Kind,
    /// What a connection must say about its account, by name.
    pub context: BTreeMap<String, Variable>,
    /// What an operator must know.
    pub note: Option<String>,
    definition: Definition,
}

impl Provider {
    /// The provider as a connection with this context sees it.
    ///
    /// # Errors
    /// [`ContextError`] where a part of the context is missing, unknown or not what it must look like.
    pub fn integration(&self, context: &BTreeMap<String, String>) -> Result<Integration, ContextError> {
        let fault = |name: &str, problem: String| ContextError {
            provider: self.id.clone(),
            variable: name.to_owned(),
            problem,
        };
        if let Some(unknown) = context.keys().find(|name| !self.context.contains_key(*name)) {
            return Err(fault(unknown, "is not asked for".to_owned()));
        }
        let mut values = BTreeMap::new();
        for (name, variable) in &self.context {
            let given = context.get(name);
            if let Some(given) = given {
                variable.check(given).map_err(|problem| fault(name, format!("is {problem}")))?;
            }
            let value = given.or(variable.default.as_ref());
            if value.is_none() && !variable.optional {
                return Err(fault(name, format!("is missing, for example {}", variable.example)));
            }
            values.insert(name.as_str(), value.map(String::as_str));
        }
        let integration = self.definition.integration(&self.id, &values);
        integration.map_err(|diagnostics| fault("", diagnostics.to_string()))
    }
}

impl From<Entry> for Provider {
    fn from(entry: Entry) -> Self {
        let Entry { id, title, kind, context, note, definition } = entry;
        Self { id, title, kind, context, note, definition }
    }
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Provider({})", self.id)
    }
}

/// What kind of credential a provider takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A token by OAuth 2.0: any of the grants that it has endpoints for.
    Oauth,
    /// A key without end: `bearer`, which is presented as the provider takes its keys.
    ApiKey,
    /// `google_service_account`.
    GoogleServiceAccount,
    /// `github_app`.
    GithubApp,
    /// `aws_sigv4`.
    AwsSigv4,
}

/// One part of a connection's context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// What it looks like.
    pub shape: Shape,
    /// What it is if the connection does not say it.
    pub default: Option<String>,
    /// Whether it may be missing; what needs it is then left out.
    pub optional: bool,
    /// An example.
    pub example: String,
}

impl Variable {
    /// Whether a value can stand in the templates, where nothing but itself may become of it.
    ///
    /// # Errors
    /// What it is instead, to be said behind "is".
    pub fn check(&self, value: &str) -> Result<(), String> {
        match &self.shape {
            Shape::Label if value.contains('.') || DnsName::parse(value).is_err() => {
                Err("not one label of a host's name: letters, digits and hyphens".to_owned())
            }
            Shape::Host { below } => check_host(value, below),
            Shape::Id if !is_id(value) => {
                Err("not an identifier: 1 to 255 letters, digits, \"-\", \"_\" and \".\", not beginning with \".\""
                    .to_owned())
            }
            Shape::Label | Shape::Id => Ok(()),
        }
    }
}

/// What a part of a context looks like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    /// One label of a host's name.
    Label,
    /// A host's whole name.
    Host {
        /// The domains one of which it must lie below; empty for any.
        below: Vec<DnsName>,
    },
    /// Letters, digits, `-`, `_` and `.`.
    Id,
}

/// Why a context does not fit a provider.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the context of integration \"{provider}\" does not fit: \"{variable}\" {problem}")]
pub struct ContextError {
    /// The provider.
    pub provider: IntegrationName,
    /// The part of the context.
    pub variable: String,
    problem: String,
}

fn check_host(value: &str, below: &[DnsName]) -> Result<(), String> {
    let Ok(name) = DnsName::parse(value) else { return Err("not a host's name".to_owned()) };
    let is_below = |suffix: &DnsName| {
        let front = name.as_str().strip_suffix(suffix.as_str());
        front.is_some_and(|front| front.len() > 1 && front.ends_with('.'))
    };
    if below.is_empty() || below.iter().any(is_below) {
        return Ok(());
    }
    let below: Vec<&str> = below.iter().map(DnsName::as_str).collect();
    Err(format!("not a host below {}", below.join(" or ")))
}

fn is_id(value: &str) -> bool {
    (1..=255).contains(&value.len())
        && !value.starts_with('.')
        && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

#[cfg(test)]
mod tests;
