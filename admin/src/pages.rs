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
        &format!(
            "<p>An agent was refused because this connection cannot be used at the moment.</p>\
             <p>See why, on the machine that runs postern:</p><pre>postern status</pre>\
             <p>Authorise its account, for the first time or anew:</p><pre>postern connect {name}</pre>\
             <p>Or supply a new token where <code>bindings.yaml</code> says it comes from. For a sealed one:</p>\
             <pre>postern secret set NAME</pre>\
             <p>If it is switched off, set <code>active: true</code> in the connection's entry. All of these take effect \
             without a restart.</p>"
        ),
    )
}

/// The page behind a one-time link: one step to the provider. `name` is a slug and `ticket` made of URL-safe letters.
pub(crate) fn authorise(name: &str, ticket: &str) -> String {
    page(
        &format!("Connect {name}"),
        &format!(
            "<p>You will be sent to the provider. Sign in there with the account that agents shall use, and allow access.</p>\
             <p><a href=\"/connect/{name}/start?ticket={ticket}\">Go to the provider</a></p>\
             <p>This link works once, and for ten minutes.</p>"
        ),
    )
}

/// The account is authorised.
pub(crate) fn connected(name: &str, account: Option<&str>) -> String {
    let whose = account.map(|account| format!(" as <b>{}</b>", escaped(account))).unwrap_or_default();
    page(&format!("{name} is connected"), &format!("<p>Connected{whose}. You can close this window.</p>"))
}

/// Something went wrong; the text may hold a provider's words.
pub(crate) fn failed(problem: &str) -> String {
    page("Not connected", &format!("<p>{}</p>", escaped(problem)))
}

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars().take(500) {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            letter if letter.is_control() => safe.push(' '),
            letter => safe.push(letter),
        }
    }
    safe
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
