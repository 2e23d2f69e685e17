//! The reader of bindings.yaml: text in, [`Config`] or [`Diagnostics`] out. It does no I/O, reads no secret, and reports
//! everything that is wrong at once, without ever showing what may be a secret.

mod auth;
mod diagnostic;
mod limits;
mod mask;
mod nearest;
mod node;
mod provider;
mod raw;
mod read;
mod report;
mod resolve;
mod schema;
mod secret;
#[cfg(test)]
mod tests;
mod units;
mod vocabulary;
mod yaml;

pub use diagnostic::{Diagnostic, Diagnostics, Severity};
pub(crate) use provider::{Definition, Entry, entries};
pub use schema::schema;

use crate::config::Config;
use node::{Node, Place, Value};
use raw::RawFile;
use read::Read;
use report::Report;

/// The largest file that is read, in bytes.
pub const FILE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A file that can be used.
#[derive(Debug)]
pub struct Loaded {
    /// What the program uses.
    pub config: Config,
    /// What is probably a mistake.
    pub warnings: Diagnostics,
}

/// Reads the text of a bindings.yaml. The name is only for the messages.
///
/// # Errors
/// Everything that is wrong, if anything is; warnings are among it.
pub fn read(text: &str, file_name: &str) -> Result<Loaded, Diagnostics> {
    // The mark is no part of the document (RFC 8259 §8.1, YAML 1.2 §5.2); columns count without it.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut report = Report::new(text, file_name);
    let config = config(text, &mut report);
    let errors = report.errors();
    let findings = report.finish();
    match config {
        Some(config) if errors == 0 => Ok(Loaded { config, warnings: findings }),
        _ => Err(findings),
    }
}

fn config(text: &str, report: &mut Report<'_>) -> Option<Config> {
    let node = parse(text, report)?;
    if matches!(node.value, Value::Null) {
        // An emptied or half-written file must never mean "no bindings".
        let help = "a file that binds nothing says \"version: 1\" and \"bindings: []\"".to_owned();
        report.error(Place::START, "the file is empty", Some(help));
        return None;
    }
    let file = RawFile::read(&node, report)?;
    Some(resolve::config(file, report))
}

fn parse(text: &str, report: &mut Report<'_>) -> Option<Node> {
    if text.len() > FILE_BYTES_MAX {
        let message = format!("the file is larger than {FILE_BYTES_MAX} bytes");
        report.error(Place::START, message, None);
        return None;
    }
    let fault = match yaml::parse(text) {
        Ok(node) => return Some(node),
        Err(fault) => fault,
    };
    report.error(fault.place, fault.message, fault.help.map(str::to_owned));
    None
}
