//! Names that operators choose: deployments, connections, integrations, tenants. A name that exists is a valid slug;
//! nothing here knows what a name refers to.

use std::fmt;
use std::sync::Arc;

/// The longest name, in bytes: one DNS label, so that a name can become a host or a Kubernetes object.
pub const NAME_BYTES_MAX: usize = 63;

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{text}\" is not a name: use 1 to {NAME_BYTES_MAX} lower-case letters, digits and hyphens, beginning and ending with a letter or digit"
)]
pub struct NameError {
    text: String,
}

macro_rules! name {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Parses a slug of `[a-z0-9-]`.
            ///
            /// # Errors
            /// [`NameError`] when the text is empty, too long or has another character.
            pub fn parse(text: &str) -> Result<Self, NameError> {
                if is_slug(text) { Ok(Self(Arc::from(text))) } else { Err(NameError { text: text.to_owned() }) }
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

name!(
    /// The identity of an agent that calls through the proxy: a container, a job, a service.
    DeploymentName
);
name!(
    /// One authorised account at one integration. Never a socket.
    ConnectionName
);
name!(
    /// A provider's definition: endpoints, API hosts, how its credential is presented.
    IntegrationName
);
name!(
    /// A customer whose deployments and connections are never mixed with another's.
    TenantName
);

fn is_slug(text: &str) -> bool {
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    bytes.len() <= NAME_BYTES_MAX
        && *first != b'-'
        && *last != b'-'
        && bytes.iter().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slug_is_a_name_and_anything_else_is_not() {
        for good in ["a", "support-bot", "7x", "a--b"] {
            assert!(DeploymentName::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a_b", "a.b", "ä", "a b", &"x".repeat(64)] {
            assert!(DeploymentName::parse(bad).is_err(), "{bad}");
        }
    }
}
