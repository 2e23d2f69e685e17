//! The built-in catalogue as it stands in its file: the keys of an integration and those that only the catalogue needs,
//! with templates such as `{subdomain}` in its texts. It fills them in only whole and never guesses a value.

use std::collections::BTreeMap;
use std::time::Duration;

use super::node::{At, Entry as MapEntry, Node, Value};
use super::raw::{RawClientAuth, RawIntegration};
use super::read::{Fields, Item, Keyed, Named, choice, raw};
use super::report::Report;
use super::resolve;
use super::units::Span;
use super::{Diagnostics, yaml};
use crate::authority::DnsName;
use crate::catalogue::{Kind, Shape, Variable};
use crate::config::{
    ClientAuth, HeaderTemplate, Integration, Lifetimes, Presentation, RefreshClock, RevocationForm, Rotation,
};
use crate::guard::Guarded;
use crate::name::IntegrationName;
use crate::pattern::HostPattern;
use crate::template::Template;

/// One provider: what is known of it without a connection, and the definition that a connection completes.
pub(crate) struct Entry {
    pub(crate) id: IntegrationName,
    pub(crate) title: String,
    pub(crate) kind: Kind,
    pub(crate) context: BTreeMap<String, Variable>,
    pub(crate) note: Option<String>,
    pub(crate) definition: Definition,
}

/// A definition with templates.
pub(crate) struct Definition(Node);

raw! {
    /// What the catalogue says besides an integration's own keys.
    struct RawProvider {
        /// The provider's own name.
        title: String,
        /// What kind of credential it takes first of all.
        kind: RawKind,
        /// What the templates of this entry name.
        context: Option<Named<RawVariable>>,
        /// How tokens are revoked, where not as RFC 7009 says.
        revocation: Option<RawRevocation>,
        /// Its own name for client_id.
        client_id_param: Option<String>,
        /// How a token is put on a request.
        presentation: Option<RawPresentation>,
        /// The same, by host.
        presentation_at: Option<Named<RawPresentation>>,
        /// Headers that are added where the agent sent none.
        headers: Option<Named<String>>,
        /// The life of its tokens.
        lifetimes: Option<RawLifetimes>,
        /// Paths, by host, where no binding ever uses a connection.
        guarded: Option<Named<Vec<At<String>>>>,
        /// What an agent is given in place of a token.
        placeholder: Option<String>,
        /// The environment variables where its SDKs look for a token.
        token_variables: Option<Vec<String>>,
        /// What an operator must know.
        note: Option<String>,
    }

    /// One part of a connection's context.
    struct RawVariable {
        /// What it looks like.
        shape: RawShape,
        /// The domains that it must lie below.
        below: Option<Vec<At<String>>>,
        /// What it is if the connection does not say it.
        default: Option<String>,
        /// True: what names it is left out where the connection does not say it.
        optional: Option<bool>,
        /// An example.
        example: String,
    }

    /// A revocation that is not RFC 7009's.
    struct RawRevocation {
        /// Its form.
        form: Option<RawRevocationForm>,
        /// How the client presents itself there.
        client_auth: Option<RawClientAuth>,
    }

    /// How a token is put on a request: a header, or the user name that it is the password of.
    struct RawPresentation {
        /// The header.
        header: Option<String>,
        /// What stands before the token in it.
        scheme: Option<String>,
        /// The user name.
        username: Option<String>,
    }

    /// The life of tokens.
    struct RawLifetimes {
        /// Of an access token.
        access: Option<Span>,
        /// Of a refresh token.
        refresh: Option<Span>,
        /// Of a refresh token that nobody uses.
        refresh_idle: Option<Span>,
        /// From when the life of a refresh token counts.
        counts_from: Option<RawClock>,
        /// Whether a refresh brings a new refresh token.
        rotates: Option<RawRotation>,
    }
}

choice! {
    /// What kind of credential a provider takes.
    enum RawKind {
        /// Tokens by OAuth 2.0.
        Oauth = "oauth",
        /// A key without end.
        ApiKey = "api_key",
        /// A Google service account.
        GoogleServiceAccount = "google_service_account",
        /// A GitHub App.
        GithubApp = "github_app",
        /// A signature.
        AwsSigv4 = "aws_sigv4",
    }

    /// What a part of a context looks like.
    enum RawShape {
        /// One label of a host's name.
        Label = "label",
        /// A host's whole name.
        Host = "host",
        /// Letters, digits, "-", "_" and ".".
        Id = "id",
    }

    /// The form of a revocation.
    enum RawRevocationForm {
        /// A form with the token.
        Rfc7009 = "rfc7009",
        /// JSON with the token.
        Json = "json",
        /// POST with the token as the credential.
        PostAsBearer = "post_as_bearer",
        /// DELETE with the token as the credential.
        DeleteAsBearer = "delete_as_bearer",
    }

    /// From when a life counts.
    enum RawClock {
        /// The token's issue.
        Issue = "issue",
        /// The operator's consent.
        Consent = "consent",
    }

    /// Whether a refresh brings a new refresh token.
    enum RawRotation {
        /// Every time.
        Always = "always",
        /// Not every time.
        Sometimes = "sometimes",
        /// The first one stays.
        Never = "never",
    }
}

type Raw = (RawIntegration, RawProvider);

/// Reads a catalogue.
///
/// # Errors
/// Everything that is wrong with it, but for what only filled templates show.
pub(crate) fn entries(text: &str, file_name: &str) -> Result<Vec<Entry>, Diagnostics> {
    let mut report = Report::new(text, file_name);
    let entries = match yaml::parse(text) {
        Ok(At { value: Value::Map(nodes), .. }) => read_entries(&nodes, &mut report),
        Ok(node) => {
            report.error(node.place, "a catalogue is a map from names", None);
            Vec::new()
        }
        Err(fault) => {
            report.error(fault.place, fault.message, None);
            Vec::new()
        }
    };
    if report.errors() == 0 { Ok(entries) } else { Err(report.finish()) }
}

fn read_entries(nodes: &[MapEntry], report: &mut Report<'_>) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::with_capacity(nodes.len());
    for MapEntry { key, value } in nodes {
        let Some(id) = report.parsed(key, IntegrationName::parse) else { continue };
        if entries.iter().any(|entry| entry.id == id) {
            report.error(key.place, "this provider is there already", None);
        }
        let Some(node) = extended(value, &entries, report) else { continue };
        let Some((_, raw)) = raw(&node, report) else { continue };
        let context = raw.context.map(|named| variables(named, report)).unwrap_or_default();
        let definition = Definition(node);
        entries.push(Entry { id, title: raw.title, kind: kind(raw.kind), context, note: raw.note, definition });
    }
    entries
}

fn raw(node: &Node, report: &mut Report<'_>) -> Option<Raw> {
    Raw::take(&Fields::of(node, &Raw::keys(), &[], report)?, report)
}

/// The entry, completed from the one that `extends:` names: keys that are not here are taken from there.
fn extended(node: &Node, earlier: &[Entry], report: &mut Report<'_>) -> Option<Node> {
    let Value::Map(own) = &node.value else { return Some(node.clone()) };
    let Some(extends) = own.iter().find(|entry| entry.key.value == "extends") else { return Some(node.clone()) };
    let base = earlier.iter().find(|entry| extends.value.value.as_text() == Some(entry.id.as_str()));
    let Some(Entry { definition: Definition(At { value: Value::Map(base), .. }), .. }) = base else {
        report.error(extends.value.place, "no earlier entry has this name", None);
        return None;
    };
    let inherited = base.iter().filter(|entry| !own.iter().any(|other| other.key.value == entry.key.value));
    let keys = own.iter().chain(inherited).filter(|entry| entry.key.value != "extends");
    Some(At { value: Value::Map(keys.cloned().collect()), place: node.place })
}

impl Definition {
    /// The integration with its templates filled in. A part of the context with `None` is left out, and with it every
    /// entry of a list or map that names it.
    ///
    /// # Errors
    /// What is wrong with the filled definition.
    pub(crate) fn integration(
        &self,
        name: &IntegrationName,
        context: &BTreeMap<&str, Option<&str>>,
    ) -> Result<Integration, Diagnostics> {
        let mut report = Report::new("", "catalogue.yaml");
        let node = fill(&self.0, context).unwrap_or(At { value: Value::Null, place: self.0.place });
        let integration = raw(&node, &mut report).map(|raw| integration(name, raw, &mut report));
        match integration {
            Some(integration) if report.errors() == 0 => Ok(integration),
            _ => Err(report.finish()),
        }
    }
}

fn fill(node: &Node, context: &BTreeMap<&str, Option<&str>>) -> Option<Node> {
    let value = match &node.value {
        Value::Text(text) => Value::Text(fill_text(text, context)?),
        Value::List(items) => Value::List(items.iter().filter_map(|item| fill(item, context)).collect()),
        Value::Map(entries) => Value::Map(entries.iter().filter_map(|entry| fill_entry(entry, context)).collect()),
        other => other.clone(),
    };
    Some(At { value, place: node.place })
}

fn fill_entry(entry: &MapEntry, context: &BTreeMap<&str, Option<&str>>) -> Option<MapEntry> {
    let key = At { value: fill_text(&entry.key.value, context)?, place: entry.key.place };
    Some(MapEntry { key, value: fill(&entry.value, context)? })
}

/// Braces around anything but a part of the context are left as they are: JSON has them too.
fn fill_text(text: &str, context: &BTreeMap<&str, Option<&str>>) -> Option<String> {
    let mut filled = text.to_owned();
    for (name, value) in context {
        let placeholder = format!("{{{name}}}");
        if filled.contains(&placeholder) {
            filled = filled.replace(&placeholder, (*value)?);
        }
    }
    Some(filled)
}

fn integration(name: &IntegrationName, (base, raw): Raw, report: &mut Report<'_>) -> Integration {
    let mut integration = resolve::integration(name.clone(), base, report);
    if let (Some(revocation), Some(raw)) = (&mut integration.revocation, raw.revocation) {
        revocation.form = raw.form.map(revocation_form).unwrap_or_default();
        revocation.client_auth = raw.client_auth.map(|raw| match raw {
            RawClientAuth::Basic => ClientAuth::Basic,
            RawClientAuth::Post => ClientAuth::Post,
            RawClientAuth::None => ClientAuth::None,
        });
    }
    let by_host = raw.presentation_at.map(|named| named.0).unwrap_or_default();
    let by_host = by_host.into_iter().filter_map(|(host, raw)| {
        let host = report.parsed(&host, HostPattern::parse)?;
        Some((host, presentation(raw?.value)))
    });
    let presentation_at = by_host.collect();
    Integration {
        client_id_param: raw.client_id_param,
        presentation: raw.presentation.map(presentation).unwrap_or_default(),
        presentation_at,
        headers: raw.headers.map(|named| headers(named, report)).unwrap_or_default(),
        lifetimes: raw.lifetimes.map(lifetimes).unwrap_or_default(),
        guarded: raw.guarded.map(|named| guarded(named, report)).unwrap_or_default(),
        placeholder: raw.placeholder,
        token_variables: raw.token_variables.unwrap_or_default(),
        ..integration
    }
}

fn headers(named: Named<String>, report: &mut Report<'_>) -> Vec<HeaderTemplate> {
    let header = |(name, text): (At<String>, Option<Item<String>>)| {
        let text = text.map(|text| At { value: text.value, place: text.place })?;
        Some(HeaderTemplate { name: name.value, template: report.parsed(&text, Template::parse)? })
    };
    named.0.into_iter().filter_map(header).collect()
}

fn guarded(named: Named<Vec<At<String>>>, report: &mut Report<'_>) -> Vec<Guarded> {
    let mut guarded = Vec::new();
    for (host, paths) in named.0 {
        let Some(host) = report.parsed(&host, HostPattern::parse) else { continue };
        for path in paths.map(|paths| paths.value).unwrap_or_default() {
            guarded.extend(report.parsed(&path, |path| Guarded::new(host.clone(), path)));
        }
    }
    guarded
}

fn variables(named: Named<RawVariable>, report: &mut Report<'_>) -> BTreeMap<String, Variable> {
    let variable = |(name, raw): (At<String>, Option<Item<RawVariable>>)| {
        let raw = raw?.value;
        let below = raw.below.unwrap_or_default();
        let below = below.iter().filter_map(|text| report.parsed(text, DnsName::parse)).collect();
        let shape = match raw.shape {
            RawShape::Label => Shape::Label,
            RawShape::Host => Shape::Host { below },
            RawShape::Id => Shape::Id,
        };
        let optional = raw.optional.unwrap_or(false);
        Some((name.value, Variable { shape, default: raw.default, optional, example: raw.example }))
    };
    named.0.into_iter().filter_map(variable).collect()
}

fn kind(raw: RawKind) -> Kind {
    match raw {
        RawKind::Oauth => Kind::Oauth,
        RawKind::ApiKey => Kind::ApiKey,
        RawKind::GoogleServiceAccount => Kind::GoogleServiceAccount,
        RawKind::GithubApp => Kind::GithubApp,
        RawKind::AwsSigv4 => Kind::AwsSigv4,
    }
}

fn revocation_form(raw: RawRevocationForm) -> RevocationForm {
    match raw {
        RawRevocationForm::Rfc7009 => RevocationForm::Rfc7009,
        RawRevocationForm::Json => RevocationForm::Json,
        RawRevocationForm::PostAsBearer => RevocationForm::PostAsBearer,
        RawRevocationForm::DeleteAsBearer => RevocationForm::DeleteAsBearer,
    }
}

fn presentation(raw: RawPresentation) -> Presentation {
    match (raw.header, raw.username) {
        (_, Some(username)) => Presentation::Basic { username },
        (Some(name), None) => Presentation::Header { name, scheme: raw.scheme },
        (None, None) => Presentation::Bearer,
    }
}

fn lifetimes(raw: RawLifetimes) -> Lifetimes {
    Lifetimes {
        access_in: raw.access.map(Duration::from),
        refresh_in: raw.refresh.map(Duration::from),
        refresh_idle_in: raw.refresh_idle.map(Duration::from),
        refresh_clock: match raw.counts_from {
            None | Some(RawClock::Issue) => RefreshClock::Issue,
            Some(RawClock::Consent) => RefreshClock::Consent,
        },
        rotation: match raw.rotates {
            Some(RawRotation::Always) => Rotation::Always,
            None | Some(RawRotation::Sometimes) => Rotation::Sometimes,
            Some(RawRotation::Never) => Rotation::Never,
        },
    }
}
