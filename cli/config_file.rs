//! Reads the bindings file from the disk, guarded: a plain file of bearable size, and nothing that could make the reader
//! wait. What it says is [`model::file`]'s to judge.

use std::fs::Metadata;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use model::file::{Diagnostics, FILE_BYTES_MAX, Loaded};
use model::{Config, SecretSource};

/// Why the file is no use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// It cannot be read.
    #[error("{path} cannot be read: {problem}")]
    Unreadable { path: PathBuf, problem: String },
    /// It has errors.
    #[error("{0}")]
    Invalid(Diagnostics),
}

/// Reads and judges the file.
pub(crate) fn load(path: &Path) -> Result<Loaded, ConfigError> {
    let unreadable = |problem: String| ConfigError::Unreadable { path: path.to_owned(), problem };
    let metadata = std::fs::metadata(path).map_err(|error| unreadable(error.to_string()))?;
    // Judged before it is opened: opening a FIFO would wait for a writer.
    if !metadata.is_file() {
        return Err(unreadable("it is not a plain file".into()));
    }
    if metadata.len() > FILE_BYTES_MAX as u64 {
        return Err(unreadable(format!("it is larger than {FILE_BYTES_MAX} bytes")));
    }
    let file = std::fs::File::open(path).map_err(|error| unreadable(error.to_string()))?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(|error| unreadable(error.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|_| unreadable("it is not UTF-8 text".into()))?;
    model::file::read(&text, &path.display().to_string()).map_err(ConfigError::Invalid)
}

/// What tells one state of a file from another, without reading it. Following a link, as reading does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stamp(Option<(u64, u64, u64, i64, i64, i64, i64)>);

impl Stamp {
    pub(crate) fn of(path: &Path) -> Self {
        let facts = |file: Metadata| {
            (file.dev(), file.ino(), file.size(), file.mtime(), file.mtime_nsec(), file.ctime(), file.ctime_nsec())
        };
        Self(std::fs::metadata(path).ok().map(facts))
    }
}

/// The files besides the bindings file whose change matters: secrets and extra roots.
pub(crate) fn files_used(config: &Config) -> Vec<PathBuf> {
    let secrets = secret_sources(config).filter_map(|source| match source {
        SecretSource::File(path) => Some(path.clone()),
        SecretSource::Env(_) | SecretSource::Sealed(_) | SecretSource::Literal(_) => None,
    });
    secrets.chain(config.upstream.ca_file.clone()).collect()
}

/// The environment variables that hold secrets.
pub(crate) fn variables_used(config: &Config) -> Vec<String> {
    let variables = secret_sources(config).filter_map(|source| match source {
        SecretSource::Env(name) => Some(name.clone()),
        SecretSource::File(_) | SecretSource::Sealed(_) | SecretSource::Literal(_) => None,
    });
    variables.collect()
}

fn secret_sources(config: &Config) -> impl Iterator<Item = &SecretSource> {
    config.connections.values().flat_map(|connection| connection.auth.secret_sources())
}
