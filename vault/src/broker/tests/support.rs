//! Connections without a file, a provider that answers by a script over [`Fetch`], and secrets by name. It judges nothing.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use model::config::{Auth, ClientAuth, Endpoints, Integration, Oauth, OauthGrant, Refresh, TokenRequest};
use model::{Connection, ConnectionName, IntegrationName, SecretSource};
use secrecy::SecretString;
use tokio::sync::Semaphore;

use crate::fetch::{Fetch, FetchError, Fetching};
use crate::source::Sources;

/// What the script says to one request: a status and a body.
pub(crate) type Line = Result<(u16, &'static str), FetchError>;

/// A provider that answers line by line; without a line it waits until there is one.
#[derive(Clone)]
pub(crate) struct Scripted(Arc<Script>);

struct Script {
    lines: Mutex<VecDeque<Line>>,
    written: Semaphore,
    requests: Mutex<Vec<http::Request<Vec<u8>>>>,
}

impl Scripted {
    pub(crate) fn new(lines: impl IntoIterator<Item = Line>) -> Self {
        let written = Semaphore::new(0);
        let script = Self(Arc::new(Script { lines: Mutex::default(), written, requests: Mutex::default() }));
        lines.into_iter().for_each(|line| script.write(line));
        script
    }

    pub(crate) fn write(&self, line: Line) {
        self.0.lines.lock().unwrap().push_back(line);
        self.0.written.add_permits(1);
    }

    pub(crate) fn shared(&self) -> Arc<dyn Fetch> {
        Arc::new(self.clone())
    }

    pub(crate) fn calls(&self) -> usize {
        self.0.requests.lock().unwrap().len()
    }

    /// A request's `Authorization` field, and its body.
    pub(crate) fn sent(&self, number: usize) -> (Option<String>, String) {
        let requests = self.0.requests.lock().unwrap();
        let authorization = requests[number].headers().get("authorization");
        let text = authorization.map(|value| value.to_str().unwrap().to_owned());
        (text, String::from_utf8(requests[number].body().clone()).unwrap())
    }

    pub(crate) fn url(&self, number: usize) -> String {
        self.0.requests.lock().unwrap()[number].uri().to_string()
    }
}

impl fmt::Debug for Scripted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scripted(..)")
    }
}

impl Fetch for Scripted {
    fn fetch(&self, request: http::Request<Vec<u8>>) -> Fetching<'_> {
        self.0.requests.lock().unwrap().push(request);
        Box::pin(async {
            self.0.written.acquire().await.unwrap().forget();
            let (status, body) = self.0.lines.lock().unwrap().pop_front().unwrap()?;
            let response = http::Response::builder().status(status).header("content-type", "application/json");
            Ok(response.body(body.as_bytes().to_vec()).unwrap())
        })
    }
}

/// A connection named `acme` without an integration.
pub(crate) fn connection(auth: Auth) -> Connection {
    Connection {
        name: ConnectionName::parse("acme").unwrap(),
        tenant: None,
        integration: None,
        context: BTreeMap::new(),
        hosts: Vec::new(),
        active: true,
        auth,
        refresh: Refresh { early_in: Duration::from_secs(60), keep_alive_in: None },
        guarded: Vec::new(),
    }
}

/// The same connection, of an integration.
pub(crate) fn at(connection: Connection, change: impl FnOnce(&mut Integration)) -> Connection {
    let mut integration = Integration::new(IntegrationName::parse("acme").unwrap());
    change(&mut integration);
    Connection { integration: Some(Arc::new(integration)), ..connection }
}

pub(crate) fn oauth(grant: OauthGrant) -> Auth {
    Auth::Oauth(Box::new(Oauth {
        grant,
        client_id: Some(named("ID")),
        client_secret: Some(named("SECRET")),
        endpoints: Endpoints { token_url: "https://login.acme.test/token".into(), revocation: None },
        client_auth: ClientAuth::Post,
        token_request: TokenRequest::Form,
        scopes: vec!["read".into(), "write".into()],
        scope_separator: ' ',
        authorize_params: BTreeMap::new(),
        token_params: BTreeMap::new(),
        client_id_param: None,
    }))
}

/// The secret of that name.
pub(crate) fn named(name: &str) -> SecretSource {
    SecretSource::Env(name.to_owned())
}

/// Secrets by name; a name of which nothing is said is itself the secret, in lower case. An empty one is not set.
pub(crate) fn with_secrets<T>(secrets: &[(&str, &str)], act: impl FnOnce(&Sources<'_>) -> T) -> T {
    let secrets: HashMap<&str, &str> = secrets.iter().copied().collect();
    let environment = |name: &str| Some(secrets.get(name).map_or_else(|| name.to_lowercase(), ToString::to_string));
    let sealed = |_: &str| -> Result<Option<SecretString>, String> { Ok(None) };
    act(&Sources { environment: &environment, sealed: &sealed })
}
