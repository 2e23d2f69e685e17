//! How a secret is put on a request: the field and its value, made once and used for many. It chooses nothing.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{self, HeaderName, HeaderValue};
use model::config::Presentation;
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::broker::{Credential, Unavailable};

/// The token as a provider wants it.
pub(crate) fn present(
    presentation: &Presentation,
    token: &SecretString,
    generation: u64,
) -> Result<Credential, Unavailable> {
    let token = token.expose_secret();
    let (name, text) = match presentation {
        Presentation::Bearer => (header::AUTHORIZATION, format!("Bearer {token}")),
        Presentation::Header { name, scheme } => {
            let text = scheme.as_ref().map_or_else(|| token.to_owned(), |scheme| format!("{scheme} {token}"));
            (field_name(name)?, text)
        }
        Presentation::Basic { username } => (header::AUTHORIZATION, basic(username, token)),
    };
    let text = Zeroizing::new(text);
    Ok(Credential::in_fields(vec![(name, field_value(&text)?)], generation))
}

/// `Basic` and the pair (RFC 7617 §2).
pub(crate) fn basic(username: &str, password: &str) -> String {
    let pair = Zeroizing::new(format!("{username}:{password}"));
    format!("Basic {}", STANDARD.encode(pair.as_bytes()))
}

/// A field's name that the configuration has checked.
pub(crate) fn field_name(name: &str) -> Result<HeaderName, Unavailable> {
    HeaderName::from_bytes(name.as_bytes()).map_err(|_| Unavailable::broken("the name of its field is not valid"))
}

/// A field's value, marked sensitive so that no log or index of a library keeps it.
pub(crate) fn field_value(text: &str) -> Result<HeaderValue, Unavailable> {
    let mut value = HeaderValue::from_str(text).map_err(|_| {
        Unavailable::broken("its secret holds a character that no header field can carry (a line end inside it?)")
    })?;
    value.set_sensitive(true);
    Ok(value)
}
