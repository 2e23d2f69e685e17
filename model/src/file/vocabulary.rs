//! Every key of bindings.yaml and whether what stands behind it may be shown. A key that is not here is treated as one
//! that holds a secret.

/// What stands behind a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// Something that is, or may be, a secret.
    Hidden,
    /// Texts, numbers and lists of them that hold no secret.
    Harmless,
    /// A map or list of maps whose own keys decide.
    Keys,
    /// A map from names that the operator chose.
    Names,
    /// A map from one harmless text to another.
    Pairs,
}

use Content::{Harmless, Hidden, Keys, Names, Pairs};

/// What stands behind the key, if it is one of ours.
pub(super) fn content_of(key: &str) -> Option<Content> {
    VOCABULARY.iter().find(|(word, _)| *word == key).map(|(_, content)| *content)
}

/// The keys. A test compares them with the schema.
pub(super) const VOCABULARY: &[(&str, Content)] = &[
    // The file itself.
    ("version", Harmless),
    ("allow_literal_secrets", Harmless),
    ("integrations", Names),
    ("connections", Names),
    ("deployments", Names),
    ("bindings", Keys),
    ("upstream", Keys),
    ("limits", Keys),
    ("proxy_protocol_from", Harmless),
    // An integration.
    ("hosts", Harmless),
    ("authorization_url", Harmless),
    ("token_url", Harmless),
    ("device_authorization_url", Harmless),
    ("revocation_url", Harmless),
    ("identity", Keys),
    ("url", Harmless),
    ("account", Harmless),
    ("id", Hidden),
    ("body", Hidden),
    ("scheme", Hidden),
    ("client_auth", Harmless),
    ("token_request", Harmless),
    ("scopes", Harmless),
    ("scope_separator", Harmless),
    ("authorize_params", Hidden),
    ("token_params", Hidden),
    // A connection.
    ("integration", Harmless),
    ("context", Hidden),
    ("active", Harmless),
    ("tenant", Harmless),
    ("refresh", Keys),
    ("early", Harmless),
    ("keep_alive", Harmless),
    ("auth", Hidden),
    ("type", Hidden),
    ("token", Hidden),
    ("username", Hidden),
    ("password", Hidden),
    ("secret", Hidden),
    ("name", Hidden),
    ("template", Hidden),
    ("client_id", Hidden),
    ("client_secret", Hidden),
    ("refresh_token", Hidden),
    ("subject_token", Hidden),
    ("subject_token_type", Hidden),
    ("actor_token", Hidden),
    ("actor_token_type", Hidden),
    ("resource", Hidden),
    ("headers", Hidden),
    ("value", Hidden),
    ("values", Hidden),
    ("app_id", Hidden),
    ("installation_id", Hidden),
    ("private_key", Hidden),
    ("api_url", Hidden),
    ("access_key_id", Hidden),
    ("secret_access_key", Hidden),
    ("session_token", Hidden),
    ("profile", Hidden),
    ("credentials_file", Hidden),
    ("region", Hidden),
    ("service", Hidden),
    ("command", Hidden),
    ("timeout", Hidden),
    ("env", Hidden),
    ("file", Hidden),
    ("sealed", Hidden),
    // A deployment.
    ("identify", Keys),
    ("key", Hidden),
    ("sha256", Hidden),
    ("source", Harmless),
    ("listen", Harmless),
    ("unix", Harmless),
    ("spiffe", Harmless),
    ("jwt", Keys),
    ("issuer", Harmless),
    ("audience", Harmless),
    ("subject", Harmless),
    ("unbound", Harmless),
    ("tunnel", Harmless),
    // A binding.
    ("deployment", Harmless),
    ("connection", Harmless),
    ("paths", Harmless),
    ("methods", Harmless),
    ("rate", Keys),
    ("per_second", Harmless),
    ("burst", Harmless),
    ("optional", Harmless),
    ("default", Harmless),
    ("allow_plaintext", Harmless),
    ("vend", Harmless),
    ("placeholder", Hidden),
    ("scrub", Harmless),
    ("cookies", Harmless),
    ("websocket", Harmless),
    // How destinations are reached; a proxy's URL may hold a login.
    ("ca_file", Harmless),
    ("allow_addresses", Harmless),
    ("connect_to", Pairs),
    ("proxy", Hidden),
    // Limits.
    ("head_bytes_max", Harmless),
    ("head_fields_max", Harmless),
    ("target_bytes_max", Harmless),
    ("head_in", Harmless),
    ("handshake_in", Harmless),
    ("first_request_in", Harmless),
    ("idle_in", Harmless),
    ("body_stall_in", Harmless),
    ("write_stall_in", Harmless),
    ("connect_in", Harmless),
    ("response_silence_in", Harmless),
    ("tunnel_idle_in", Harmless),
    ("pool_idle_in", Harmless),
    ("pool_idle_sockets_max", Harmless),
    ("sockets_max", Harmless),
    ("deployment_sockets_max", Harmless),
    ("unbound_mints_per_second", Harmless),
    ("leaf_cache_entries_max", Harmless),
];
