//! Who may use which connection where: the binding table and its two questions, "is anything bound there" and "may this
//! request use it". A [`Grant`] can only be made here; nothing here dials or sees a credential.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use crate::authority::{Authority, Destination, DnsName, Host, Scheme};
use crate::config::{Connection, Deployment, Unbound};
use crate::guard;
use crate::name::{ConnectionName, DeploymentName};
use crate::path::{PathPattern, is_ambiguous};
use crate::pattern::{HostPattern, PatternHost, Specificity};
use crate::refusal::{Forbidden, Refusal};

/// One line of the operator's table: this deployment may use this connection there.
#[derive(Debug, Clone)]
pub struct Binding {
    /// A short stable name for records and `explain`: `deployment/connection`, with `#2` and so on for further ones.
    pub id: String,
    /// Who.
    pub deployment: DeploymentName,
    /// With which account.
    pub connection: Arc<Connection>,
    /// Where: the binding's own hosts, or the connection's.
    pub hosts: Vec<HostPattern>,
    /// The paths it is limited to; empty means all.
    pub paths: Vec<PathPattern>,
    /// The methods it is limited to; empty means all.
    pub methods: Vec<String>,
    /// How often it may be used.
    pub rate: Option<Rate>,
    /// An account that is not connected does not make the deployment unready.
    pub optional: bool,
    /// Chosen where several connections fit and the request names none.
    pub default: bool,
    /// The credential may travel over `http://`.
    pub allow_plaintext: bool,
    /// What the agent is given in place of a token; the integration's if none is named.
    pub placeholder: Option<String>,
    /// Whether the secret is replaced where an answer repeats it.
    pub scrub: Scrub,
    /// What happens to cookies.
    pub cookies: Cookies,
    /// Whether WebSocket upgrades pass.
    pub websocket: WebSocket,
}

/// Whether a binding's secret is replaced where an answer repeats it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scrub {
    /// It is.
    #[default]
    On,
    /// Answers pass as they are.
    Off,
}

/// What happens to `Cookie` from the agent and `Set-Cookie` to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Cookies {
    /// They pass.
    #[default]
    Keep,
    /// They are removed.
    Strip,
}

/// Whether WebSocket upgrades pass (RFC 6455, RFC 8441).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WebSocket {
    /// They pass.
    #[default]
    Allow,
    /// They are refused.
    Deny,
}

/// A token bucket: `burst` requests at once, then `per_second`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Requests per second, sustained.
    pub per_second: NonZeroU32,
    /// Requests at once.
    pub burst: NonZeroU32,
}

/// What a request asks for, as far as policy looks at it.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// The method, as sent: methods compare byte for byte (RFC 9110 §9.1).
    pub method: &'a str,
    /// The path, without the query.
    pub path: &'a str,
    /// The connection that `x-postern-connection` names.
    pub connection: Option<&'a str>,
}

/// What happens at the door of a destination, before any request is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// Decrypted and judged request by request; `bound` says whether any binding covers the host.
    Intercept {
        /// Whether any binding covers the host.
        bound: bool,
    },
    /// Relayed untouched.
    Tunnel,
}

/// The binding table, indexed by deployment and host.
#[derive(Debug, Default)]
pub struct Policy {
    bindings: Vec<Arc<Binding>>,
    deployments: HashMap<DeploymentName, Table>,
}

#[derive(Debug, Default)]
struct Table {
    exact: HashMap<Host, Vec<Row>>,
    below: HashMap<DnsName, Vec<Row>>,
    tunnel: Vec<HostPattern>,
    unbound: Unbound,
}

#[derive(Debug, Clone)]
struct Row {
    port: HostPattern,
    specificity: Specificity,
    binding: Arc<Binding>,
}

/// A destination at which the deployment has bindings: those of the narrowest matching host.
#[derive(Debug)]
pub struct Bound {
    destination: Destination,
    bindings: Vec<Arc<Binding>>,
}

/// The permission to use one connection for one request. The vault hands out a credential only against it.
#[derive(Debug, Clone)]
pub struct Grant {
    destination: Destination,
    binding: Arc<Binding>,
}

impl Grant {
    /// Where the request may go, and nowhere else.
    #[must_use]
    pub fn destination(&self) -> &Destination {
        &self.destination
    }

    /// The binding that allows it.
    #[must_use]
    pub fn binding(&self) -> &Arc<Binding> {
        &self.binding
    }
}

impl Policy {
    /// Builds the table. References were checked by the reader of the file.
    #[must_use]
    pub fn new<'a>(
        deployments: impl IntoIterator<Item = &'a Arc<Deployment>>,
        bindings: impl IntoIterator<Item = Arc<Binding>>,
    ) -> Self {
        let mut tables: HashMap<DeploymentName, Table> = HashMap::new();
        for deployment in deployments {
            let table = Table { tunnel: deployment.tunnel.clone(), unbound: deployment.unbound, ..Table::default() };
            tables.insert(deployment.name.clone(), table);
        }
        let bindings: Vec<Arc<Binding>> = bindings.into_iter().collect();
        for binding in &bindings {
            let table = tables.entry(binding.deployment.clone()).or_default();
            for pattern in &binding.hosts {
                let row =
                    Row { port: pattern.clone(), specificity: pattern.specificity(), binding: Arc::clone(binding) };
                match pattern.host() {
                    PatternHost::Exact(host) => table.exact.entry(host.clone()).or_default().push(row),
                    PatternHost::Below(suffix) => table.below.entry(suffix.clone()).or_default().push(row),
                }
            }
        }
        Self { bindings, deployments: tables }
    }

    /// All bindings, in the order of the file.
    #[must_use]
    pub fn bindings(&self) -> &[Arc<Binding>] {
        &self.bindings
    }

    /// What happens at the door: a host that is bound is intercepted even where a wider `tunnel` pattern covers it.
    #[must_use]
    pub fn route(&self, deployment: &DeploymentName, authority: &Authority) -> Route {
        let Some(table) = self.deployments.get(deployment) else { return Route::Intercept { bound: false } };
        let destination = Destination { scheme: Scheme::Https, authority: authority.clone() };
        let in_clear = Destination { scheme: Scheme::Http, authority: authority.clone() };
        let bound = [&destination, &in_clear].into_iter().filter_map(|door| table.narrowest(door)).max();
        let tunnel = table.tunnel.iter().filter(|pattern| pattern.matches(&destination) || pattern.matches(&in_clear));
        match (bound, tunnel.map(HostPattern::specificity).max()) {
            (Some(bound), Some(tunnel)) if tunnel > bound => Route::Tunnel,
            (Some(_), _) => Route::Intercept { bound: true },
            (None, Some(_)) => Route::Tunnel,
            (None, None) if table.unbound == Unbound::Tunnel => Route::Tunnel,
            (None, None) => Route::Intercept { bound: false },
        }
    }

    /// The bindings of the deployment at the destination.
    ///
    /// # Errors
    /// [`Refusal::BindingMissing`] when there is none.
    pub fn bind(&self, deployment: &DeploymentName, destination: Destination) -> Result<Bound, Refusal> {
        let bindings = self.deployments.get(deployment).map(|table| table.rows(&destination)).unwrap_or_default();
        if bindings.is_empty() {
            return Err(Refusal::BindingMissing { deployment: deployment.clone(), destination, named: None });
        }
        Ok(Bound { destination, bindings })
    }
}

impl Table {
    fn narrowest(&self, destination: &Destination) -> Option<Specificity> {
        self.matching(destination).map(|row| row.specificity).max()
    }

    fn rows(&self, destination: &Destination) -> Vec<Arc<Binding>> {
        let Some(narrowest) = self.narrowest(destination) else { return Vec::new() };
        let mut bindings: Vec<Arc<Binding>> = Vec::new();
        for row in self.matching(destination).filter(|row| row.specificity == narrowest) {
            if !bindings.iter().any(|binding| Arc::ptr_eq(binding, &row.binding)) {
                bindings.push(Arc::clone(&row.binding));
            }
        }
        bindings
    }

    fn matching<'a>(&'a self, destination: &'a Destination) -> impl Iterator<Item = &'a Row> {
        let host = destination.authority.host();
        let exact = self.exact.get(host).into_iter().flatten();
        let below = suffixes(host).filter_map(|suffix| self.below.get(suffix)).flatten();
        exact.chain(below).filter(move |row| row.port.matches(destination))
    }
}

/// `b.c` and `c` for `a.b.c`; nothing for an address.
fn suffixes(host: &Host) -> impl Iterator<Item = &str> {
    let name = match host {
        Host::Name(name) => name.as_str(),
        Host::Ip(_) => "",
    };
    name.match_indices('.').map(|(at, _)| &name[at + 1..])
}

impl Bound {
    /// The destination.
    #[must_use]
    pub fn destination(&self) -> &Destination {
        &self.destination
    }

    /// The bindings that cover the destination, before the request is looked at.
    #[must_use]
    pub fn bindings(&self) -> &[Arc<Binding>] {
        &self.bindings
    }

    /// Chooses the binding for one request and checks it: connection state, path, method, scheme. The request's own
    /// choice counts first, then the longer path prefix, then `default: true`. The token endpoints of the connection's own
    /// provider are never covered.
    ///
    /// # Errors
    /// The [`Refusal`] that the first failed check names.
    pub fn authorize(self, ask: &Ask<'_>) -> Result<Grant, Refusal> {
        let named = self.named(ask)?;
        if let [only, rest @ ..] = named.as_slice()
            && rest.iter().all(|other| other.connection.name == only.connection.name)
        {
            check_active(only)?;
        }
        let on_path = narrowest_paths(&named, ask.path)?;
        let binding = choose(&on_path, ask.method)?;
        check_active(binding)?;
        if let Some(reason) = guard::refusal(&binding.connection.guarded, &self.destination, ask.path) {
            return Err(forbidden(binding, reason));
        }
        if self.destination.scheme == Scheme::Http && !binding.allow_plaintext {
            return Err(Refusal::PlaintextForbidden { connection: binding.connection.name.clone() });
        }
        Ok(Grant { binding: Arc::clone(binding), destination: self.destination })
    }

    fn named(&self, ask: &Ask<'_>) -> Result<Vec<&Arc<Binding>>, Refusal> {
        let Some(name) = ask.connection else { return Ok(self.bindings.iter().collect()) };
        let named: Vec<_> = self.bindings.iter().filter(|binding| binding.connection.name.as_str() == name).collect();
        let Some(any) = self.bindings.first().filter(|_| named.is_empty()) else { return Ok(named) };
        Err(Refusal::BindingMissing {
            deployment: any.deployment.clone(),
            destination: self.destination.clone(),
            // An agent's own text is repeated only where it is a name.
            named: Some(ConnectionName::parse(name).map_or_else(|_| "?".to_owned(), |name| name.to_string())),
        })
    }
}

fn check_active(binding: &Binding) -> Result<(), Refusal> {
    if binding.connection.active {
        return Ok(());
    }
    Err(Refusal::ConnectionInactive { connection: binding.connection.name.clone() })
}

fn forbidden(binding: &Binding, reason: Forbidden) -> Refusal {
    Refusal::RequestForbidden { connection: binding.connection.name.clone(), reason }
}

/// The bindings whose paths cover the request, and of these the ones with the longest literal prefix.
fn narrowest_paths<'a>(bindings: &[&'a Arc<Binding>], path: &str) -> Result<Vec<&'a Arc<Binding>>, Refusal> {
    let ambiguous = bindings.iter().any(|binding| !binding.paths.is_empty()) && is_ambiguous(path);
    let prefix = |binding: &Binding| match binding.paths.as_slice() {
        [] => Some(0),
        _ if ambiguous => None,
        paths => paths.iter().filter(|pattern| pattern.matches(path)).map(PathPattern::literal_prefix_bytes).max(),
    };
    // Where any binding restricts paths, an ambiguous one must not slip through a wider binding beside it.
    if ambiguous && let Some(binding) = bindings.iter().find(|binding| !binding.paths.is_empty()) {
        return Err(forbidden(binding, Forbidden::AmbiguousPath));
    }
    let ranked: Vec<_> = bindings.iter().filter_map(|binding| prefix(binding).map(|bytes| (bytes, *binding))).collect();
    let Some(longest) = ranked.iter().map(|(bytes, _)| *bytes).max() else {
        return Err(bindings.first().map_or(Refusal::Internal, |binding| forbidden(binding, Forbidden::Path)));
    };
    Ok(ranked.into_iter().filter(|(bytes, _)| *bytes == longest).map(|(_, binding)| binding).collect())
}

fn choose<'a>(bindings: &[&'a Arc<Binding>], method: &str) -> Result<&'a Arc<Binding>, Refusal> {
    let allows =
        |binding: &Binding| binding.methods.is_empty() || binding.methods.iter().any(|allowed| allowed == method);
    let fitting: Vec<&'a Arc<Binding>> = bindings.iter().copied().filter(|binding| allows(binding)).collect();
    let Some(first) = fitting.first() else {
        return Err(bindings.first().map_or(Refusal::Internal, |binding| forbidden(binding, Forbidden::Method)));
    };
    let mut connections: Vec<ConnectionName> = fitting.iter().map(|binding| binding.connection.name.clone()).collect();
    connections.sort();
    connections.dedup();
    if connections.len() == 1 {
        return Ok(first);
    }
    let default = fitting.iter().find(|binding| binding.default);
    default.copied().ok_or(Refusal::ConnectionAmbiguous { connections })
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;
    use crate::config::{Auth, Refresh, SecretSource};
    use crate::guard::Guarded;

    fn connection(name: &str, active: bool) -> Arc<Connection> {
        Arc::new(Connection {
            name: ConnectionName::parse(name).unwrap(),
            tenant: None,
            integration: None,
            context: Default::default(),
            hosts: Vec::new(),
            active,
            auth: Auth::Bearer { token: SecretSource::Literal(SecretString::from("x")) },
            refresh: Refresh::default(),
            guarded: Guarded::of_endpoint("https://guarded.test/oauth/token").into_iter().collect(),
        })
    }

    fn binding(name: &str, host: &str) -> Binding {
        Binding {
            id: format!("bot/{name}"),
            deployment: DeploymentName::parse("bot").unwrap(),
            connection: connection(name, true),
            hosts: vec![HostPattern::parse(host).unwrap()],
            paths: Vec::new(),
            methods: Vec::new(),
            rate: None,
            optional: false,
            default: false,
            allow_plaintext: false,
            placeholder: None,
            scrub: Scrub::On,
            cookies: Cookies::Keep,
            websocket: WebSocket::Allow,
        }
    }

    fn on_paths(mut binding: Binding, paths: &[&str]) -> Binding {
        binding.paths = paths.iter().map(|path| PathPattern::parse(path).unwrap()).collect();
        binding
    }

    fn policy(bindings: Vec<Binding>, tunnel: &[&str]) -> Policy {
        let deployment = Arc::new(Deployment {
            name: DeploymentName::parse("bot").unwrap(),
            tenant: None,
            unbound: Unbound::Deny,
            tunnel: tunnel.iter().map(|text| HostPattern::parse(text).unwrap()).collect(),
            listen: Vec::new(),
        });
        Policy::new([&deployment], bindings.into_iter().map(Arc::new))
    }

    fn ask(policy: &Policy, method: &str, url: &str, connection: Option<&str>) -> Result<String, Refusal> {
        let (scheme, rest) = url.split_once("://").unwrap();
        let scheme = if scheme == "http" { Scheme::Http } else { Scheme::Https };
        let (host, path) = rest.split_at(rest.find('/').unwrap());
        let authority = Authority::parse_with_default(host, scheme.default_port()).unwrap();
        let bound = policy.bind(&DeploymentName::parse("bot").unwrap(), Destination { scheme, authority })?;
        let grant = bound.authorize(&Ask { method, path, connection })?;
        Ok(grant.binding().connection.name.to_string())
    }

    fn code(result: Result<String, Refusal>) -> &'static str {
        result.unwrap_err().code()
    }

    #[test]
    fn the_narrowest_host_wins_and_keeps_the_request() {
        let read_only = Binding { methods: vec!["GET".into()], ..binding("exact", "api.a.test") };
        let policy = policy(vec![binding("wide", "*.a.test"), read_only, binding("eu", "*.eu.a.test")], &[]);
        assert_eq!(ask(&policy, "GET", "https://api.a.test/", None).unwrap(), "exact");
        assert_eq!(ask(&policy, "GET", "https://x.a.test/", None).unwrap(), "wide");
        assert_eq!(ask(&policy, "GET", "https://x.eu.a.test/", None).unwrap(), "eu");
        // The wider binding would allow it; the narrower one still decides.
        assert_eq!(code(ask(&policy, "POST", "https://api.a.test/", None)), "request_forbidden");
        assert_eq!(code(ask(&policy, "GET", "https://a.test/", None)), "binding_missing");
        assert_eq!(code(ask(&policy, "GET", "https://api.a.test:8443/", None)), "binding_missing");
    }

    #[test]
    fn the_longer_path_prefix_wins() {
        let policy = policy(
            vec![
                binding("all", "a.test"),
                on_paths(binding("v1", "a.test"), &["/v1/**"]),
                on_paths(binding("x", "a.test"), &["/v1/x/*"]),
            ],
            &[],
        );
        assert_eq!(ask(&policy, "GET", "https://a.test/other", None).unwrap(), "all");
        assert_eq!(ask(&policy, "GET", "https://a.test/v1/y", None).unwrap(), "v1");
        assert_eq!(ask(&policy, "GET", "https://a.test/v1/x/1", None).unwrap(), "x");
        assert_eq!(ask(&policy, "GET", "https://a.test/v1/x/1", Some("all")).unwrap(), "all");
        assert_eq!(code(ask(&policy, "GET", "https://a.test/v1/../other", None)), "request_forbidden");
    }

    #[test]
    fn a_path_outside_every_binding_is_forbidden() {
        let policy = policy(vec![on_paths(binding("v1", "a.test"), &["/v1/**"])], &[]);
        assert_eq!(code(ask(&policy, "GET", "https://a.test/v2", None)), "request_forbidden");
        assert_eq!(code(ask(&policy, "GET", "https://a.test/v1/%2e%2e/v2", None)), "request_forbidden");
    }

    #[test]
    fn a_tie_is_decided_by_the_request_or_the_default_or_not_at_all() {
        let tied =
            |default| policy(vec![binding("one", "a.test"), Binding { default, ..binding("two", "a.test") }], &[]);
        let undecided = ask(&tied(false), "GET", "https://a.test/", None).unwrap_err();
        let Refusal::ConnectionAmbiguous { connections } = undecided else { panic!("{undecided:?}") };
        assert_eq!(connections.len(), 2);
        assert_eq!(ask(&tied(false), "GET", "https://a.test/", Some("one")).unwrap(), "one");
        assert_eq!(ask(&tied(true), "GET", "https://a.test/", None).unwrap(), "two");
        assert_eq!(code(ask(&tied(true), "GET", "https://a.test/", Some("three"))), "binding_missing");
    }

    #[test]
    fn bindings_of_one_connection_split_by_method() {
        let get = Binding { methods: vec!["GET".into()], ..binding("one", "a.test") };
        let post = Binding { methods: vec!["POST".into()], ..binding("two", "a.test") };
        let policy = policy(vec![get, post], &[]);
        assert_eq!(ask(&policy, "GET", "https://a.test/", None).unwrap(), "one");
        assert_eq!(ask(&policy, "POST", "https://a.test/", None).unwrap(), "two");
        assert_eq!(code(ask(&policy, "PUT", "https://a.test/", None)), "request_forbidden");
    }

    #[test]
    fn the_connections_state_is_judged_before_method_and_path() {
        let off =
            Binding { connection: connection("off", false), methods: vec!["GET".into()], ..binding("off", "a.test") };
        let policy = policy(vec![on_paths(off, &["/v1/**"])], &[]);
        assert_eq!(code(ask(&policy, "POST", "https://a.test/v2", None)), "connection_inactive");
    }

    #[test]
    fn a_binding_never_covers_the_token_endpoint_of_its_own_provider() {
        let everything = on_paths(binding("everything", "guarded.test"), &["/**"]);
        let policy = policy(vec![everything, binding("wide", "*.test")], &[]);
        assert_eq!(ask(&policy, "GET", "https://guarded.test/v1", None).unwrap(), "everything");
        assert_eq!(ask(&policy, "GET", "https://x.test/oauth/token", None).unwrap(), "wide");
        for path in ["/oauth/token", "/oauth/token/", "/OAuth/token", "/x/../oauth/token"] {
            let refused = ask(&policy, "POST", &format!("https://guarded.test{path}"), None);
            assert_eq!(code(refused), "request_forbidden", "{path}");
        }
    }

    #[test]
    fn a_credential_does_not_travel_in_the_clear_unless_told() {
        let clear = Binding { allow_plaintext: true, ..binding("clear", "b.test") };
        let policy = policy(vec![binding("one", "a.test"), clear], &[]);
        assert_eq!(code(ask(&policy, "GET", "http://a.test/", None)), "plaintext_forbidden");
        assert_eq!(code(ask(&policy, "GET", "http://a.test:443/", None)), "plaintext_forbidden");
        assert_eq!(ask(&policy, "GET", "http://b.test/", None).unwrap(), "clear");
    }

    #[test]
    fn a_bound_host_is_intercepted_even_below_a_tunnel_wildcard() {
        let policy = policy(
            vec![binding("one", "api.cdn.test"), binding("wide", "*.a.test")],
            &["*.cdn.test", "status.a.test", "status.test:8443"],
        );
        let bot = DeploymentName::parse("bot").unwrap();
        let route = |text: &str| policy.route(&bot, &Authority::parse(text).unwrap());
        assert_eq!(route("api.cdn.test:443"), Route::Intercept { bound: true });
        assert_eq!(route("img.cdn.test:443"), Route::Tunnel);
        assert_eq!(route("status.a.test:443"), Route::Tunnel);
        assert_eq!(route("status.test:443"), Route::Intercept { bound: false });
        assert_eq!(route("status.test:8443"), Route::Tunnel);
        assert_eq!(route("a.test:22"), Route::Intercept { bound: false });
    }
}
