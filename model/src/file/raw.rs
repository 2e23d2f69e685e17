//! bindings.yaml as the operator writes it: one struct for each map, one field for each key. The doc comments are the
//! operator's documentation (`postern schema`); nothing here says what the values mean together.

use std::num::NonZeroU32;

use super::auth::RawAuth;
use super::node::At;
use super::read::{Item, Named, choice, raw};
use super::units::{Size, Span, SpanOrOff};

raw! {
    /// Which agent may use which account at which destination.
    struct RawFile {
        /// The version of this format: 1.
        version: At<u32>,
        /// Accept secrets that are written into this file. Off unless it says true; better keep them out of it.
        allow_literal_secrets: Option<bool>,
        /// Providers: their hosts and endpoints, for connections to name.
        integrations: Option<Named<RawIntegration>>,
        /// Accounts: how each one authenticates and where its secret comes from.
        connections: Option<Named<RawConnection>>,
        /// Agents: how each one is recognised.
        deployments: Option<Named<RawDeployment>>,
        /// Which deployment may use which connection, and where. Without an entry here nothing is allowed.
        bindings: Vec<Item<RawBinding>>,
        /// How destinations are reached.
        upstream: Option<RawUpstream>,
        /// Bounds on sockets, messages and time.
        limits: Option<RawLimits>,
    }
    later "proxy_protocol_from";

    /// A provider.
    struct RawIntegration {
        /// The hosts of its API: exact names or "*.suffix", each with or without a port (443 if none).
        hosts: Option<Vec<At<String>>>,
        /// Where a browser is sent to authorise an account (OAuth 2.0).
        authorization_url: Option<At<String>>,
        /// Where tokens are issued and refreshed (OAuth 2.0).
        token_url: Option<At<String>>,
        /// Where a machine without a browser begins (RFC 8628).
        device_authorization_url: Option<At<String>>,
        /// Where tokens are revoked on disconnect (RFC 7009).
        revocation_url: Option<At<String>>,
        /// Where the name of an authorised account is found.
        identity: Option<RawAccountSource>,
        /// How postern presents its client id and secret at the token endpoint (RFC 6749 §2.3.1): basic if not given.
        client_auth: Option<RawClientAuth>,
        /// The format of requests to the token endpoint: form if not given.
        token_request: Option<RawTokenRequest>,
        /// The scopes that are asked for where a connection names none.
        scopes: Option<Vec<At<String>>>,
        /// What stands between scopes: a space if not given.
        scope_separator: Option<At<String>>,
        /// Further parameters of the authorization request, as in {access_type: offline}.
        authorize_params: Option<Named<String>>,
        /// Further parameters of every token request.
        token_params: Option<Named<String>>,
    }

    /// Where the name of an authorised account is found.
    struct RawAccountSource {
        /// The URL that describes the account.
        url: At<String>,
        /// The field of its JSON answer that names the account, or a JSON pointer (RFC 6901).
        account: String,
        /// The same, for the provider's own identifier of the account.
        id: Option<String>,
        /// JSON to be posted there. Without it the URL is fetched with GET.
        body: Option<String>,
        /// The scheme of the Authorization header there, if it is another one.
        scheme: Option<String>,
    }

    /// An account.
    struct RawConnection {
        /// The integration it belongs to: one of "integrations", or of the built-in catalogue.
        integration: Option<At<String>>,
        /// What distinguishes this account at its provider, as in {subdomain: acme}. The integration says what it needs.
        context: Option<At<Named<String>>>,
        /// Where it may be used, if a binding names no hosts of its own. Replaces the integration's hosts.
        hosts: Option<Vec<At<String>>>,
        /// How it authenticates.
        auth: At<RawAuth>,
        /// When its token is fetched anew.
        refresh: Option<At<RawRefresh>>,
        /// False switches it off: requests get 403 connection_inactive.
        active: Option<bool>,
        /// The customer it belongs to; only deployments of the same customer can be bound to it.
        tenant: Option<At<String>>,
    }

    /// When a token is fetched anew.
    struct RawRefresh {
        /// So long before it expires: 60s if not given. A token of short life is fetched when a tenth of it is left.
        early: Option<Span>,
        /// So often even while nothing uses it, or off: 24h if not given.
        keep_alive: Option<SpanOrOff>,
    }

    /// An agent: a container, a job, a service.
    struct RawDeployment {
        /// How it is recognised. Keys that were issued with "postern deployment key new" count besides these.
        identify: Option<Vec<Item<RawIdentity>>>,
        /// What happens at hosts without a binding: deny if not given.
        unbound: Option<RawUnbound>,
        /// Hosts that are relayed untouched and never decrypted.
        tunnel: Option<Vec<At<String>>>,
        /// The customer it belongs to.
        tenant: Option<At<String>>,
    }

    /// One way to recognise a deployment. Exactly one key.
    #[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
    struct RawIdentity {
        /// A proxy key, by its digest.
        key: Option<RawKey>,
        /// The network its requests come from, as 10.1.4.0/24.
        source: Option<At<String>>,
        /// A listener of its own, as 127.0.0.1:3200: for clients that cannot log in to a proxy.
        listen: Option<At<String>>,
    }
    later "unix" "spiffe" "jwt";

    /// A proxy key.
    struct RawKey {
        /// The SHA-256 of the key, as 64 hexadecimal digits.
        sha256: At<String>,
    }

    /// One permission: this deployment may use this connection there.
    struct RawBinding {
        /// The deployment.
        deployment: At<String>,
        /// The connection.
        connection: At<String>,
        /// Where: exact names or "*.suffix", with or without a port. The connection's hosts if not given.
        hosts: Option<At<Vec<At<String>>>>,
        /// The paths it is limited to: "*" within one segment, "**" for any number. All if not given.
        paths: Option<At<Vec<At<String>>>>,
        /// The methods it is limited to. All if not given.
        methods: Option<At<Vec<At<String>>>>,
        /// How often it may be used. Without bound if not given.
        rate: Option<RawRate>,
        /// True: the deployment counts as ready even while this account is not connected.
        optional: Option<bool>,
        /// True: chosen where several connections fit and the request names none.
        default: Option<bool>,
        /// True: the credential may travel over http://.
        allow_plaintext: Option<bool>,
        /// True: the agent may fetch the token itself. Not supported by this version yet.
        vend: Option<At<bool>>,
        /// What "postern env" gives the agent in place of a token. Not used by this version yet.
        placeholder: Option<At<String>>,
        /// Whether the secret is replaced where an answer repeats it. Not done by this version yet.
        scrub: Option<At<RawScrub>>,
        /// What happens to Cookie and Set-Cookie: keep if not given.
        cookies: Option<RawCookies>,
        /// Whether WebSocket upgrades pass. None passes in this version yet.
        websocket: Option<At<RawWebSocket>>,
    }

    /// A token bucket.
    struct RawRate {
        /// Requests per second, sustained.
        per_second: NonZeroU32,
        /// Requests at once; as many as per second if not given.
        burst: Option<NonZeroU32>,
    }

    /// How destinations are reached.
    struct RawUpstream {
        /// A PEM file with certificate authorities that are trusted besides the system's.
        ca_file: Option<At<String>>,
        /// Private networks that may be dialled, as 10.20.0.0/16. None if not given.
        allow_addresses: Option<Vec<At<String>>>,
        /// Where to dial instead, host:port to host:port. Name and certificate check stay those of the first.
        connect_to: Option<Named<String>>,
    }
    later "proxy";

    /// Bounds on sockets, messages and time.
    struct RawLimits {
        /// The longest request head.
        head_bytes_max: Option<Size>,
        /// The most fields in one request head.
        head_fields_max: Option<NonZeroU32>,
        /// The longest request target; a longer one is answered 414.
        target_bytes_max: Option<Size>,
        /// Time for a started request head to be complete.
        head_in: Option<Span>,
        /// Time for a TLS handshake with the agent.
        handshake_in: Option<Span>,
        /// Time a fresh socket may stay silent before its first request.
        first_request_in: Option<Span>,
        /// Time a socket may stay silent between requests.
        idle_in: Option<Span>,
        /// Time a request body may stall while the destination waits for it.
        body_stall_in: Option<Span>,
        /// Time the agent may take no byte of an answer that is ready for it.
        write_stall_in: Option<Span>,
        /// Time for the destination's socket, TLS handshake included.
        connect_in: Option<Span>,
        /// Silence of the destination before and within its answer, or off: never cut a thinking model off.
        response_silence_in: Option<SpanOrOff>,
        /// Silence in both directions after which a blind tunnel is closed.
        tunnel_idle_in: Option<Span>,
        /// Time an unused socket to a destination is kept.
        pool_idle_in: Option<Span>,
        /// Unused sockets kept for one deployment, connection and destination; 0 keeps none.
        pool_idle_sockets_max: Option<u32>,
        /// Sockets from agents, in all.
        sockets_max: Option<NonZeroU32>,
        /// Sockets from one deployment.
        deployment_sockets_max: Option<NonZeroU32>,
        /// Certificates made for unbound names, for each deployment and second; 0 makes none.
        unbound_mints_per_second: Option<u32>,
        /// Certificates kept.
        leaf_cache_entries_max: Option<NonZeroU32>,
    }
}

choice! {
    /// How postern presents its client id and secret.
    enum RawClientAuth {
        /// In the Authorization header.
        Basic = "basic",
        /// In the request's body.
        Post = "post",
        /// Only the client id, in the body: a public client has no secret.
        None = "none",
    }

    /// The format of requests to the token endpoint.
    enum RawTokenRequest {
        /// A form.
        Form = "form",
        /// JSON.
        Json = "json",
    }

    /// What happens at hosts without a binding.
    enum RawUnbound {
        /// 403 binding_missing.
        Deny = "deny",
        /// Relayed untouched, never decrypted, without a credential.
        Tunnel = "tunnel",
    }

    /// Whether the secret is replaced where an answer repeats it.
    enum RawScrub {
        /// Where an answer repeats the secret, it is replaced.
        On = "on",
        /// The stricter form. Not supported by this version yet.
        Full = "full",
        /// Answers pass as they are.
        Off = "off",
    }

    /// What happens to cookies.
    enum RawCookies {
        /// They pass.
        Keep = "keep",
        /// Cookie is removed from requests, Set-Cookie from answers.
        Strip = "strip",
    }

    /// Whether WebSocket upgrades pass.
    enum RawWebSocket {
        /// They pass.
        Allow = "allow",
        /// They are refused.
        Deny = "deny",
    }
}
