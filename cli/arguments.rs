//! The command line: what can be said, with help for each word. It does nothing.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use crate::environment::Format;

/// A transparent credential-injecting forward proxy: agents call APIs, the credential never reaches them.
#[derive(Debug, Parser)]
#[command(name = "postern", version, about, max_term_width = 100, arg_required_else_help = true)]
#[command(after_help = "Start here:  postern demo\nDocumentation: README.md, docs/errors.md")]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Where configuration and data are. Every subcommand takes these.
#[derive(Debug, Clone, Args)]
pub(crate) struct Place {
    /// The bindings file [default: ./bindings.yaml, then the user's and the system's]
    #[arg(long, short, global = true, env = "POSTERN_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The folder of the sealed store, the admin socket and the records
    #[arg(long, short, global = true, env = "POSTERN_DATA", value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// A file with the master key (32 bytes, base64); POSTERN_MASTER_KEY holds the key itself
    #[arg(long, global = true, env = "POSTERN_MASTER_KEY_FILE", value_name = "FILE")]
    pub(crate) master_key_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the proxy
    Serve(Serve),
    /// Check a bindings file and say everything that is wrong with it
    Check(Check),
    /// Say which binding a request would use, and why
    Explain(Explain),
    /// Show how the running postern, its connections and its deployments are
    Status(Json),
    /// Authorise a connection's account, in a browser or on a device
    Connect(Connect),
    /// End a connection's account: revoke its tokens at the provider and delete them here
    Disconnect {
        /// The connection
        name: String,
    },
    /// Make, list and revoke the keys of deployments
    Deployment {
        #[command(subcommand)]
        command: Deployment,
    },
    /// Keep, list and delete secrets in the sealed store
    Secret {
        #[command(subcommand)]
        command: Secret,
    },
    /// The providers that are known without being described in the bindings file
    Integrations {
        #[command(subcommand)]
        command: Integrations,
    },
    /// The certificate authority that agents must trust
    Ca {
        #[command(subcommand)]
        command: Ca,
    },
    /// Print the variables that send a container's traffic through postern
    Env(Env),
    /// Run a program behind postern: it holds neither a key nor a credential
    Run(Run),
    /// Show postern at work, offline, in a few seconds
    Demo,
    /// Print the JSON Schema of the bindings file
    Schema,
    /// Print a completion script for a shell
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// Print the manual, or write one page for each command into a folder
    Man {
        /// The folder
        folder: Option<PathBuf>,
    },
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Serve {
    /// Where agents connect
    #[arg(long, env = "POSTERN_LISTEN", value_name = "ADDR", default_value = "127.0.0.1:3128")]
    pub(crate) listen: SocketAddr,
    /// Where operators and health checks connect
    #[arg(long, env = "POSTERN_ADMIN", value_name = "ADDR", default_value = "127.0.0.1:3129")]
    pub(crate) admin: SocketAddr,
    /// Where a browser reaches the admin listener, if elsewhere
    #[arg(long, env = "POSTERN_PUBLIC_URL", value_name = "URL")]
    pub(crate) public_url: Option<String>,
    /// Where access records go; - is standard output [default: DATA/access.jsonl]
    #[arg(long, env = "POSTERN_ACCESS_LOG", value_name = "FILE")]
    pub(crate) access_log: Option<PathBuf>,
    /// How long running requests may take to end after SIGTERM
    #[arg(long, env = "POSTERN_DRAIN", value_name = "SPAN", default_value = "30s", value_parser = span)]
    pub(crate) drain: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct Connect {
    /// The connection
    #[arg(required_unless_present = "all")]
    pub(crate) name: Option<String>,
    /// Every connection that is not connected, one after another
    #[arg(long, conflicts_with = "name")]
    pub(crate) all: bool,
    /// Type a code on another device instead of using a browser here
    #[arg(long)]
    pub(crate) device: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Json {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// The file to check, instead of --config
    pub(crate) file: Option<PathBuf>,
    /// Fail on warnings too, and on secrets that cannot be read
    #[arg(long)]
    pub(crate) strict: bool,
    #[command(flatten)]
    pub(crate) output: Json,
}

#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// Who would ask
    #[arg(long, value_name = "NAME")]
    pub(crate) deployment: String,
    /// With which method
    #[arg(long, short = 'X', value_name = "METHOD", default_value = "GET")]
    pub(crate) method: String,
    /// The connection that the request would name in x-postern-connection
    #[arg(long, value_name = "NAME")]
    pub(crate) connection: Option<String>,
    /// For what, as in https://api.notion.com/v1/users
    pub(crate) url: String,
    #[command(flatten)]
    pub(crate) output: Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Deployment {
    /// A deployment's keys
    Key {
        #[command(subcommand)]
        command: Key,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Key {
    /// Make a key and print it; it is never shown again
    New {
        /// The deployment
        name: String,
        #[command(flatten)]
        output: Json,
    },
    /// List keys: id, when made, when last used
    List {
        /// Only this deployment's
        name: Option<String>,
        #[command(flatten)]
        output: Json,
    },
    /// Revoke a key at once; tunnels that it opened are cut
    Revoke {
        /// The deployment
        name: String,
        /// The key's id, as `key list` shows it
        id: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Secret {
    /// Keep a secret; its value is read from standard input
    Set {
        /// What {sealed: NAME} in the bindings file calls it
        name: String,
    },
    /// List the names of all secrets
    List(Json),
    /// Delete a secret
    Delete {
        /// Its name
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Integrations {
    /// List them all
    List(Json),
    /// Show one: hosts, endpoints, what a connection must say about its account
    Show {
        /// Its name
        name: String,
        #[command(flatten)]
        output: Json,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Ca {
    /// Print the certificate that agents must trust, as PEM
    Export {
        /// Print the system's roots too, for programs whose setting replaces them
        #[arg(long)]
        bundle: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Env {
    /// Whose traffic
    #[arg(long, value_name = "NAME")]
    pub(crate) deployment: String,
    /// In which form
    #[arg(long, value_enum, default_value_t = Format::Shell)]
    pub(crate) format: Format,
    /// Make a key and put it in; without it the text refers to $POSTERN_KEY
    #[arg(long)]
    pub(crate) new_key: bool,
    /// Where the container reaches the proxy, as HOST:PORT [default: where it listens]
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) proxy: Option<String>,
    /// The folder in which the container finds the CA files [default: DATA/trust, where they are written]
    #[arg(long, value_name = "DIR")]
    pub(crate) trust_dir: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// As which deployment
    #[arg(long, value_name = "NAME")]
    pub(crate) deployment: String,
    /// As which user; a child of postern's own user could read the data folder
    #[arg(long, value_name = "USER")]
    pub(crate) user: Option<String>,
    /// The program and its arguments
    #[arg(trailing_var_arg = true, required = true, allow_hyphen_values = true, value_name = "CMD")]
    pub(crate) command: Vec<std::ffi::OsString>,
}

/// A span of time: 30s, 2m, 500ms.
fn span(text: &str) -> Result<Duration, String> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| "write a number and a unit, as in 30s".to_owned())?;
    match unit {
        "ms" => Ok(Duration::from_millis(number)),
        "s" | "" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(number * 60)),
        "h" => Ok(Duration::from_secs(number * 3600)),
        _ => Err("the unit is ms, s, m or h, as in 30s".to_owned()),
    }
}
