//! Every answer that postern itself gives instead of a destination's: its stable code, its status and its calm sentence.
//! It never holds a secret, a header's value or an internal detail.

use std::time::Duration;

use crate::authority::Destination;
use crate::name::{ConnectionName, DeploymentName};

/// A decision against a request, or a failure on its way. The only thing that becomes an answer of postern's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// No or wrong proxy credentials.
    CallerUnknown,
    /// No binding of this deployment covers the destination.
    BindingMissing {
        /// Who asked.
        deployment: DeploymentName,
        /// For what.
        destination: Destination,
        /// The connection that the request named but that is not bound here.
        named: Option<String>,
    },
    /// Bound, but the method or path is outside the binding.
    RequestForbidden {
        /// The connection that is bound.
        connection: ConnectionName,
        /// Which part is outside.
        reason: Forbidden,
    },
    /// The connection is switched off.
    ConnectionInactive {
        /// The connection.
        connection: ConnectionName,
    },
    /// Nobody has authorised the account yet.
    NotConnected {
        /// The connection.
        connection: ConnectionName,
    },
    /// The provider refuses the refresh token: somebody must authorise the account anew.
    NeedsReauth {
        /// The connection.
        connection: ConnectionName,
    },
    /// The address is private, loopback, link-local or postern's own, and not allowed.
    DestinationForbidden,
    /// A credential would travel over `http://`.
    PlaintextForbidden {
        /// The connection.
        connection: ConnectionName,
    },
    /// Several connections fit and the request names none.
    ConnectionAmbiguous {
        /// Those that fit.
        connections: Vec<ConnectionName>,
    },
    /// Not valid HTTP, ambiguous framing, a bad authority, or too long.
    RequestMalformed(Malformed),
    /// TRACE, TRACK, or CONNECT inside a tunnel.
    MethodRefused,
    /// An upgrade that is not offered.
    UpgradeRefused,
    /// Host differs from the CONNECT authority.
    DestinationMismatch,
    /// The binding's rate is used up.
    RateLimited {
        /// When a request will pass again.
        retry_in: Duration,
    },
    /// No usable credential at the moment.
    CredentialUnavailable {
        /// The connection.
        connection: ConnectionName,
        /// When to try again.
        retry_in: Duration,
    },
    /// A limit on sockets or requests is reached.
    Overloaded {
        /// When to try again.
        retry_in: Duration,
    },
    /// No socket to the destination.
    UpstreamUnreachable(Unreachable),
    /// The destination's certificate does not verify, or the handshake failed.
    UpstreamTls,
    /// The destination's answer is not valid HTTP.
    UpstreamInvalid,
    /// The destination stayed silent past a limit that was set.
    UpstreamTimeout,
    /// The request came through this proxy already.
    LoopDetected,
    /// A bug.
    Internal,
}

/// Which part of a request is outside its binding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forbidden {
    /// The method is not among the binding's.
    Method,
    /// The path matches none of the binding's.
    Path,
    /// The path could be read as another one, and the binding restricts paths.
    AmbiguousPath,
}

/// What is wrong with a request, and the status that RFC 9110 or 6585 names for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// The head breaks the grammar of RFC 9112.
    Head,
    /// The end of the body is ambiguous (RFC 9112 §6.3).
    Framing,
    /// A transfer coding other than `chunked`: 501 (RFC 9112 §6.1).
    TransferCoding,
    /// Host or target is missing, repeated or invalid.
    Authority,
    /// A body that needs a length and has none: 411.
    LengthRequired,
    /// The target is longer than the limit: 414.
    TargetTooLong,
    /// An expectation other than `100-continue`: 417.
    Expectation,
    /// The head is longer than the limit: 431.
    HeadTooLarge,
}

/// Why no socket could be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreachable {
    /// The name does not resolve.
    Dns,
    /// Every address refused or failed.
    Refused,
    /// No address answered in time.
    Timeout,
    /// The socket broke before an answer began.
    Closed,
}

impl Refusal {
    /// The stable code (`x-postern-error`).
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::CallerUnknown => "caller_unknown",
            Self::BindingMissing { .. } => "binding_missing",
            Self::RequestForbidden { .. } => "request_forbidden",
            Self::ConnectionInactive { .. } => "connection_inactive",
            Self::NotConnected { .. } => "not_connected",
            Self::NeedsReauth { .. } => "needs_reauth",
            Self::DestinationForbidden => "destination_forbidden",
            Self::PlaintextForbidden { .. } => "plaintext_forbidden",
            Self::ConnectionAmbiguous { .. } => "connection_ambiguous",
            Self::RequestMalformed(_) => "request_malformed",
            Self::MethodRefused => "method_refused",
            Self::UpgradeRefused => "upgrade_refused",
            Self::DestinationMismatch => "destination_mismatch",
            Self::RateLimited { .. } => "rate_limited",
            Self::CredentialUnavailable { .. } => "credential_unavailable",
            Self::Overloaded { .. } => "overloaded",
            Self::UpstreamUnreachable(_) => "upstream_unreachable",
            Self::UpstreamTls => "upstream_tls",
            Self::UpstreamInvalid => "upstream_invalid",
            Self::UpstreamTimeout => "upstream_timeout",
            Self::LoopDetected => "loop_detected",
            Self::Internal => "internal",
        }
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::CallerUnknown => 407,
            Self::BindingMissing { .. }
            | Self::RequestForbidden { .. }
            | Self::ConnectionInactive { .. }
            | Self::NotConnected { .. }
            | Self::NeedsReauth { .. }
            | Self::DestinationForbidden
            | Self::PlaintextForbidden { .. } => 403,
            Self::ConnectionAmbiguous { .. } => 409,
            Self::RequestMalformed(malformed) => malformed.status(),
            Self::MethodRefused => 405,
            Self::UpgradeRefused => 501,
            Self::DestinationMismatch => 421,
            Self::RateLimited { .. } => 429,
            Self::CredentialUnavailable { .. } | Self::Overloaded { .. } => 503,
            Self::UpstreamUnreachable(_) | Self::UpstreamTls | Self::UpstreamInvalid => 502,
            Self::UpstreamTimeout => 504,
            Self::LoopDetected => 508,
            Self::Internal => 500,
        }
    }

    /// The error type of RFC 9209 §2.3 for `proxy-status`.
    #[must_use]
    pub fn proxy_status(&self) -> &'static str {
        match self {
            Self::CallerUnknown
            | Self::BindingMissing { .. }
            | Self::RequestForbidden { .. }
            | Self::ConnectionInactive { .. }
            | Self::NotConnected { .. }
            | Self::NeedsReauth { .. }
            | Self::PlaintextForbidden { .. }
            | Self::ConnectionAmbiguous { .. }
            | Self::MethodRefused
            | Self::DestinationMismatch => "http_request_denied",
            Self::DestinationForbidden => "destination_ip_prohibited",
            Self::RequestMalformed(_) => "http_request_error",
            Self::UpgradeRefused => "http_upgrade_failed",
            Self::RateLimited { .. } | Self::Overloaded { .. } => "connection_limit_reached",
            Self::CredentialUnavailable { .. } => "proxy_configuration_error",
            Self::UpstreamUnreachable(Unreachable::Dns) => "dns_error",
            Self::UpstreamUnreachable(Unreachable::Refused) => "connection_refused",
            Self::UpstreamUnreachable(Unreachable::Timeout) => "connection_timeout",
            Self::UpstreamUnreachable(Unreachable::Closed) => "connection_terminated",
            Self::UpstreamTls => "tls_certificate_error",
            Self::UpstreamInvalid => "http_protocol_error",
            Self::UpstreamTimeout => "http_response_timeout",
            Self::LoopDetected => "proxy_loop_detected",
            Self::Internal => "proxy_internal_error",
        }
    }

    /// When a repetition of the same request may succeed by itself; `None` where it cannot, or nobody knows when.
    #[must_use]
    pub fn retry_in(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_in }
            | Self::CredentialUnavailable { retry_in, .. }
            | Self::Overloaded { retry_in } => Some(*retry_in),
            _ => None,
        }
    }

    /// Whether a client that repeats the request unchanged only wastes its time.
    #[must_use]
    pub fn retry_is_useless(&self) -> bool {
        match self {
            Self::RateLimited { .. }
            | Self::CredentialUnavailable { .. }
            | Self::Overloaded { .. }
            | Self::UpstreamUnreachable(_)
            | Self::UpstreamInvalid
            | Self::UpstreamTimeout
            | Self::Internal => false,
            Self::CallerUnknown
            | Self::BindingMissing { .. }
            | Self::RequestForbidden { .. }
            | Self::ConnectionInactive { .. }
            | Self::NotConnected { .. }
            | Self::NeedsReauth { .. }
            | Self::DestinationForbidden
            | Self::PlaintextForbidden { .. }
            | Self::ConnectionAmbiguous { .. }
            | Self::RequestMalformed(_)
            | Self::MethodRefused
            | Self::UpgradeRefused
            | Self::DestinationMismatch
            | Self::UpstreamTls
            | Self::LoopDetected => true,
        }
    }

    /// The connection it is about, where it is about one.
    #[must_use]
    pub fn connection(&self) -> Option<&ConnectionName> {
        match self {
            Self::RequestForbidden { connection, .. }
            | Self::ConnectionInactive { connection }
            | Self::NotConnected { connection }
            | Self::NeedsReauth { connection }
            | Self::PlaintextForbidden { connection }
            | Self::CredentialUnavailable { connection, .. } => Some(connection),
            _ => None,
        }
    }

    /// What the agent is told, in a sentence with the next step.
    #[must_use]
    pub fn message(&self) -> String {
        match self {
            Self::CallerUnknown => {
                "The proxy does not know this caller: send the deployment's name and key as proxy credentials.".into()
            }
            Self::BindingMissing { deployment, destination, named: None } => format!(
                "Deployment \"{deployment}\" has no binding for {}. Ask the operator to add one.",
                destination.host_text()
            ),
            Self::BindingMissing { deployment, destination, named: Some(named) } => format!(
                "Deployment \"{deployment}\" has no binding of connection \"{named}\" for {}.",
                destination.host_text()
            ),
            Self::RequestForbidden { connection, reason } => match reason {
                Forbidden::Method => {
                    format!("The binding of connection \"{connection}\" does not allow this method here.")
                }
                Forbidden::Path => format!("The binding of connection \"{connection}\" does not cover this path."),
                Forbidden::AmbiguousPath => format!(
                    "The binding of connection \"{connection}\" restricts paths, and this path changes under normalisation: send it in its plain form."
                ),
            },
            Self::ConnectionInactive { connection } => format!("Connection \"{connection}\" is switched off."),
            Self::NotConnected { connection } => {
                format!("Connection \"{connection}\" has not been authorised yet. The operator connects it.")
            }
            Self::NeedsReauth { connection } => {
                format!(
                    "The provider no longer accepts connection \"{connection}\". The operator must connect it anew."
                )
            }
            Self::DestinationForbidden => {
                "This address is private, link-local or the proxy's own, and the operator has not allowed it.".into()
            }
            Self::PlaintextForbidden { connection } => {
                format!("The credential of connection \"{connection}\" does not travel over http://. Use https://.")
            }
            Self::ConnectionAmbiguous { connections } => {
                let names: Vec<&str> = connections.iter().map(ConnectionName::as_str).collect();
                format!("Several connections fit: {}. Name one with the header x-postern-connection.", names.join(", "))
            }
            Self::RequestMalformed(malformed) => malformed.message().into(),
            Self::MethodRefused => "The proxy does not forward this method.".into(),
            Self::UpgradeRefused => "The proxy does not carry this upgrade.".into(),
            Self::DestinationMismatch => "The request's host is not the one this connection was opened to.".into(),
            Self::RateLimited { .. } => "The binding's rate is used up. Wait and try again.".into(),
            Self::CredentialUnavailable { connection, .. } => {
                format!(
                    "Connection \"{connection}\" has no usable credential at the moment. The operator sees why in its status."
                )
            }
            Self::Overloaded { .. } => "The proxy is at one of its limits. Wait and try again.".into(),
            Self::UpstreamUnreachable(unreachable) => match unreachable {
                Unreachable::Dns => "The destination's name does not resolve.".into(),
                Unreachable::Refused => "The destination refused the connection.".into(),
                Unreachable::Timeout => "The destination did not answer the connection in time.".into(),
                Unreachable::Closed => "The destination closed the connection before answering.".into(),
            },
            Self::UpstreamTls => {
                "The destination's TLS certificate does not verify, or the handshake failed. Nothing was sent.".into()
            }
            Self::UpstreamInvalid => "The destination's answer is not valid HTTP.".into(),
            Self::UpstreamTimeout => "The destination stayed silent for too long.".into(),
            Self::LoopDetected => "The request has passed through this proxy already.".into(),
            Self::Internal => "The proxy failed. The operator finds the reason under this request id.".into(),
        }
    }
}

impl Malformed {
    fn status(self) -> u16 {
        match self {
            Self::Head | Self::Framing | Self::Authority => 400,
            Self::LengthRequired => 411,
            Self::TargetTooLong => 414,
            Self::Expectation => 417,
            Self::HeadTooLarge => 431,
            Self::TransferCoding => 501,
        }
    }

    fn message(self) -> &'static str {
        match self {
            Self::Head => "The request is not valid HTTP/1.1.",
            Self::Framing => "The request's length is ambiguous.",
            Self::TransferCoding => "The only transfer coding is chunked.",
            Self::Authority => "The request's host or target is missing, repeated or not valid.",
            Self::LengthRequired => "The request needs a Content-Length.",
            Self::TargetTooLong => "The request's target is too long.",
            Self::Expectation => "The only expectation is 100-continue.",
            Self::HeadTooLarge => "The request's head is too large.",
        }
    }
}
