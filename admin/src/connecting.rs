//! Authorising accounts from a browser or a device: one-time links, the way to the provider and back, and who waits for
//! the outcome. A link opens this one flow and nothing else; a callback counts only in the browser that began it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use model::config::Connection;
use model::{ConnectionName, IntegrationName};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::watch;
use vault::Broker;

use crate::wire::{Outcome, Ticket};

/// How long a link, and the way to the provider and back, may take.
const TICKET_LIFE_IN: Duration = Duration::from_secs(600);
/// Links that are open at once.
const TICKETS_MAX: usize = 1000;

/// Why a flow cannot go on. The text is for the person in front of the browser.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FlowError {
    /// The link was used, is too old, or never was one.
    #[error("This link was used already, or it is too old. Ask for a new one.")]
    Stale,
    /// The callback came to another browser than the one that began.
    #[error("This answer does not belong to this browser. Begin again with a new link.")]
    Foreign,
    /// Too many at once.
    #[error("Too many links are open. Try again in a few minutes.")]
    TooMany,
    /// It failed, in words.
    #[error("{0}")]
    Failed(String),
}

/// All flows under way.
#[derive(Default)]
pub(crate) struct Connecting {
    tickets: Mutex<HashMap<String, Open>>,
    pending: Mutex<HashMap<String, Pending>>,
}

struct Open {
    connection: ConnectionName,
    made_at: Instant,
    started: bool,
    outcome: watch::Sender<Outcome>,
}

struct Pending {
    connection: Arc<Connection>,
    ticket: String,
    session: SecretString,
    verifier: SecretString,
    redirect_uri: String,
    made_at: Instant,
}

/// Where the browser goes next, and what it must bring back.
pub(crate) struct Departure {
    pub(crate) url: String,
    pub(crate) session: SecretString,
}

/// What the provider sent the browser back with.
pub(crate) struct Arrival<'a> {
    pub(crate) integration: &'a str,
    pub(crate) state: &'a str,
    pub(crate) session: Option<&'a str>,
    /// The code, or the provider's error in its words.
    pub(crate) answer: Result<SecretString, String>,
}

impl Connecting {
    /// Makes a one-time link for a connection.
    pub(crate) fn invite(&self, connection: &ConnectionName, public_url: &str) -> Result<Ticket, FlowError> {
        let mut tickets = lock(&self.tickets);
        tickets.retain(|_, open| open.made_at.elapsed() < TICKET_LIFE_IN);
        if tickets.len() >= TICKETS_MAX {
            return Err(FlowError::TooMany);
        }
        let id = random()?.expose_secret().to_owned();
        let url = format!("{public_url}/connect/{connection}?ticket={id}");
        let outcome = watch::Sender::new(Outcome::Pending);
        let open = Open { connection: connection.clone(), made_at: Instant::now(), started: false, outcome };
        tickets.insert(id.clone(), open);
        Ok(Ticket { id, url, user_code: None, verification_url: None })
    }

    /// Whether the link can still be used for this connection.
    pub(crate) fn is_open(&self, ticket: &str, connection: &ConnectionName) -> bool {
        let tickets = lock(&self.tickets);
        tickets.get(ticket).is_some_and(|open| {
            open.connection == *connection && !open.started && open.made_at.elapsed() < TICKET_LIFE_IN
        })
    }

    /// Uses the link: the browser's way to the provider.
    pub(crate) fn depart(
        &self,
        ticket: &str,
        connection: &Arc<Connection>,
        broker: &Broker,
        public_url: &str,
    ) -> Result<Departure, FlowError> {
        if !self.is_open(ticket, &connection.name) {
            return Err(FlowError::Stale);
        }
        let redirect_uri = format!("{public_url}/oauth/callback/{}", provider(connection));
        let begun = broker.begin(connection, &redirect_uri).map_err(|error| FlowError::Failed(error.to_string()))?;
        let session = random()?;
        if let Some(open) = lock(&self.tickets).get_mut(ticket) {
            open.started = true;
        }
        let mut pending = lock(&self.pending);
        pending.retain(|_, flow| flow.made_at.elapsed() < TICKET_LIFE_IN);
        pending.insert(
            begun.state.expose_secret().to_owned(),
            Pending {
                connection: Arc::clone(connection),
                ticket: ticket.to_owned(),
                session: session.clone(),
                verifier: begun.verifier,
                redirect_uri,
                made_at: Instant::now(),
            },
        );
        Ok(Departure { url: begun.url, session })
    }

    /// The browser is back: exchanges the code, once, and tells whoever waits. Returns the connection and its account.
    pub(crate) async fn arrive(
        &self,
        arrival: Arrival<'_>,
        broker: &Broker,
    ) -> Result<(ConnectionName, Option<String>), FlowError> {
        let flow = lock(&self.pending).remove(arrival.state).ok_or(FlowError::Stale)?;
        if flow.made_at.elapsed() > TICKET_LIFE_IN || provider(&flow.connection) != arrival.integration {
            return Err(FlowError::Stale);
        }
        let same = |session: &str| {
            bool::from(subtle::ConstantTimeEq::ct_eq(session.as_bytes(), flow.session.expose_secret().as_bytes()))
        };
        if !arrival.session.is_some_and(same) {
            self.tell(&flow.ticket, Outcome::Failed { problem: "the answer came to another browser".into() });
            return Err(FlowError::Foreign);
        }
        let finished = match arrival.answer {
            Ok(code) => broker
                .finish(&flow.connection, code, flow.redirect_uri, flow.verifier)
                .await
                .map_err(|error| error.to_string()),
            Err(told) => Err(format!("the provider said: {told}")),
        };
        match finished {
            Ok(authorised) => {
                self.tell(&flow.ticket, Outcome::Connected { account: authorised.account.clone() });
                Ok((flow.connection.name.clone(), authorised.account))
            }
            Err(problem) => {
                self.tell(&flow.ticket, Outcome::Failed { problem: problem.clone() });
                Err(FlowError::Failed(problem))
            }
        }
    }

    /// Begins on a device, and asks the provider until somebody has typed the code.
    pub(crate) async fn on_device(
        self: &Arc<Self>,
        connection: &Arc<Connection>,
        broker: &Arc<Broker>,
    ) -> Result<Ticket, FlowError> {
        let failed = |error: vault::connect::ConnectError| FlowError::Failed(error.to_string());
        let mut start = broker.begin_device(connection).await.map_err(failed)?;
        let mut ticket = self.invite(&connection.name, "")?;
        ticket.url = start.verification_uri_complete.clone().unwrap_or_else(|| start.verification_uri.clone());
        ticket.user_code = Some(start.user_code.clone());
        ticket.verification_url = Some(start.verification_uri.clone());
        let (flows, broker, connection, id) =
            (Arc::clone(self), Arc::clone(broker), Arc::clone(connection), ticket.id.clone());
        tokio::spawn(async move {
            let outcome = loop {
                tokio::time::sleep(start.interval).await;
                match broker.poll_device(&connection, &mut start).await {
                    Ok(None) if lock(&flows.tickets).contains_key(&id) => {}
                    Ok(None) => break Outcome::Failed { problem: "nobody typed the code in time".into() },
                    Ok(Some(authorised)) => break Outcome::Connected { account: authorised.account },
                    Err(error) => break Outcome::Failed { problem: error.to_string() },
                }
            };
            flows.tell(&id, outcome);
        });
        Ok(ticket)
    }

    /// Waits for the outcome of a link, or tells after the span that there is none yet.
    pub(crate) async fn outcome(&self, ticket: &str, span: Duration) -> Option<Outcome> {
        let mut outcome = lock(&self.tickets).get(ticket)?.outcome.subscribe();
        let settled = tokio::time::timeout(span, outcome.wait_for(|outcome| *outcome != Outcome::Pending)).await;
        match settled {
            Ok(Ok(found)) => Some(found.clone()),
            Ok(Err(_)) => None,
            Err(_) => Some(Outcome::Pending),
        }
    }

    fn tell(&self, ticket: &str, outcome: Outcome) {
        if let Some(open) = lock(&self.tickets).get(ticket) {
            open.outcome.send_replace(outcome);
        }
    }
}

/// What the callback's path names: the integration, or the connection where it has none.
fn provider(connection: &Connection) -> String {
    let integration = connection.integration.as_ref().map(|integration| integration.name.clone());
    integration.map_or_else(|| connection.name.to_string(), |name: IntegrationName| name.to_string())
}

fn random() -> Result<SecretString, FlowError> {
    vault::random_text().map_err(|error| FlowError::Failed(error.to_string()))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
