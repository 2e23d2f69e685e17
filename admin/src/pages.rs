//! The few pages that need no sign-in. They hold names that operators chose and nothing else; no script, no outside
//! resource.

/// Header fields of every answer of the admin listener.
pub(crate) const PROTECTION: [(&str, &str); 4] = [
    (
        "content-security-policy",
        "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cache-control", "no-store"),
];

const STYLE: &str = "body{font:1rem/1.5 system-ui,sans-serif;max-width:38rem;margin:3rem auto;padding:0 1rem;color-scheme:light dark}\
code,pre{font:.95em ui-monospace,monospace}pre{padding:.8rem;border:1px solid;border-radius:.4rem;overflow:auto}";

/// How to supply a new credential for a connection. `name` is a slug, so nothing in it needs escaping.
pub(crate) fn connect(name: &str) -> String {
    page(
        &format!("Connection {name}"),
        "<p>An agent was refused because this connection cannot be used at the moment.</p>\
         <p>See why, on the machine that runs postern:</p><pre>postern status</pre>\
         <p>Supply a new token where <code>bindings.yaml</code> says it comes from. For a sealed one:</p>\
         <pre>postern secret set NAME</pre>\
         <p>If it is switched off, set <code>active: true</code> in the connection's entry. Both take effect without a \
         restart.</p>",
    )
}

/// For a name that is no connection's.
pub(crate) fn unknown() -> String {
    page("Unknown connection", "<p>There is no connection of that name.</p>")
}

fn page(title: &str, body: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title} - postern</title><style>{STYLE}</style><main><h1>{title}</h1>{body}</main></html>\n"
    )
}
