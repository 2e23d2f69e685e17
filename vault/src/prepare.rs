//! Turns a connection's settings and secrets into what the broker keeps: a credential that stays, or the means to fetch
//! one. It reads secrets and keeps none beyond what it returns.

use std::sync::Arc;

use model::config::{Auth, Connection, HeaderTemplate, Presentation};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use zeroize::Zeroizing;

use crate::account::{Obtain, Timing};
use crate::broker::{Credential, Unavailable};
use crate::fetch::Fetch;
use crate::grants::{self, Seed};
use crate::presentation::{basic, field_name, field_value, present};
use crate::source::Sources;

/// Makes a credential as a provider wants to be presented with it, under a generation.
pub(crate) type Make = Box<dyn Fn(&Presentation, u64) -> Result<Credential, Unavailable>>;

/// A connection, ready to be used. `mark` tells its settings and secrets from others.
pub(crate) enum Prepared {
    /// Its credential stays the same.
    Fixed { mark: [u8; 32], make: Make },
    /// Its token is fetched and ends.
    Living { mark: [u8; 32], origin: [u8; 32], obtain: Box<dyn Obtain>, timing: Timing, first: Seed },
}

/// Reads a connection's secrets and prepares it.
pub(crate) fn prepare(
    connection: &Connection,
    sources: &Sources<'_>,
    fetch: &Arc<dyn Fetch>,
) -> Result<Prepared, Unavailable> {
    let (mark, origin) = digests(connection, sources)?;
    let read = |source| sources.read(source).map_err(|error| Unavailable::broken(&error.to_string()));
    let fixed = |make: Make| Ok(Prepared::Fixed { mark, make });
    match &connection.auth {
        Auth::Bearer { token } => {
            let token = read(token)?;
            fixed(Box::new(move |presentation, generation| present(presentation, &token, generation)))
        }
        Auth::Basic { username, password } => {
            let username = read(username)?;
            let password = password.as_ref().map(read).transpose()?.unwrap_or_default();
            fixed(Box::new(move |_, generation| {
                let text = Zeroizing::new(basic(username.expose_secret(), password.expose_secret()));
                Ok(Credential::in_fields(vec![(http::header::AUTHORIZATION, field_value(&text)?)], generation))
            }))
        }
        Auth::Header { headers, values } => {
            let values =
                values.iter().map(|(name, source)| Ok((name.clone(), read(source)?))).collect::<Result<_, _>>()?;
            let headers = headers.clone();
            fixed(Box::new(move |_, generation| templated(&headers, &values, generation)))
        }
        Auth::Query { name, value } => {
            let (name, value) = (name.clone(), read(value)?);
            fixed(Box::new(move |_, generation| Ok(Credential::in_query(name.clone(), value.clone(), generation))))
        }
        Auth::AwsSigv4(_) => Err(Unavailable::broken("auth type \"aws_sigv4\" is not supported by this version yet")),
        Auth::Oauth(_) | Auth::GoogleServiceAccount(_) | Auth::GithubApp(_) | Auth::Exec(_) | Auth::Broker(_) => {
            let (obtain, first) = grants::obtain(connection, sources, fetch)?;
            let seconds = |span: std::time::Duration| i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
            let timing = Timing {
                early: seconds(connection.refresh.early_in),
                keep_alive: connection.refresh.keep_alive_in.map(seconds),
            };
            Ok(Prepared::Living { mark, origin, obtain, timing, first })
        }
    }
}

fn templated(
    headers: &[HeaderTemplate],
    values: &BTreeMap<String, SecretString>,
    generation: u64,
) -> Result<Credential, Unavailable> {
    let fields = headers.iter().map(|header| {
        let filled = header.template.fill(|name| values.get(name).map(|value| value.expose_secret()));
        let text = Zeroizing::new(filled.map_err(|unfilled| Unavailable::broken(&unfilled.to_string()))?);
        Ok((field_name(&header.name)?, field_value(&text)?))
    });
    Ok(Credential::in_fields(fields.collect::<Result<_, Unavailable>>()?, generation))
}

/// Digests over the settings (which print no secret) and the secrets: all of them, and those alone that say whose the
/// account is and who asks for its tokens.
fn digests(connection: &Connection, sources: &Sources<'_>) -> Result<([u8; 32], [u8; 32]), Unavailable> {
    let mut digest = Sha256::new();
    digest.update(format!("{:?}{:?}", connection.auth, connection.integration));
    for source in connection.auth.secret_sources() {
        let secret = sources.read(source).map_err(|error| Unavailable::broken(&error.to_string()))?;
        digest.update(secret.expose_secret().len().to_be_bytes());
        digest.update(secret.expose_secret().as_bytes());
    }
    let origin = digest.clone().finalize().into();
    digest.update(format!("{:?}", connection.refresh));
    Ok((digest.finalize().into(), origin))
}

#[cfg(test)]
mod tests;
