//! Reads a secret from where the operator said it is: environment, file, sealed store. It keeps nothing and names only
//! the place, never the value.

use std::io::Read;
use std::path::{Path, PathBuf};

use model::SecretSource;
use secrecy::SecretString;

/// The longest secret, in bytes.
pub const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// Why a secret could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The environment variable is not set, or empty.
    #[error("the environment variable {0} is not set (or is empty, or not UTF-8): set it where postern is started")]
    Variable(String),
    /// The file cannot be read.
    #[error("the file {path} cannot be read: {error}")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The file is empty, too long, not a plain file or not UTF-8.
    #[error("the file {path} {problem}")]
    Content {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The store has no such secret.
    #[error("there is no sealed secret \"{0}\": set it with `postern secret set {0}`")]
    Sealed(String),
    /// The store failed.
    #[error("the sealed secret \"{name}\" cannot be read: {problem}")]
    Store {
        /// Which secret.
        name: String,
        /// What the store said.
        problem: String,
    },
}

/// Looks up a variable of the process's environment.
pub type Environment<'a> = dyn Fn(&str) -> Option<String> + Sync + 'a;
/// Looks up a secret of the sealed store.
pub type Sealed<'a> = dyn Fn(&str) -> Result<Option<SecretString>, String> + Sync + 'a;

/// The places that secrets come from.
pub struct Sources<'a> {
    /// The process's environment.
    pub environment: &'a Environment<'a>,
    /// The sealed store.
    pub sealed: &'a Sealed<'a>,
}

impl Sources<'_> {
    /// Reads one secret.
    ///
    /// # Errors
    /// [`SourceError`] names the place and what is wrong with it.
    pub fn read(&self, source: &SecretSource) -> Result<SecretString, SourceError> {
        match source {
            SecretSource::Env(name) => {
                let value = (self.environment)(name).filter(|value| !value.is_empty());
                value.map(SecretString::from).ok_or_else(|| SourceError::Variable(name.clone()))
            }
            SecretSource::File(path) => read_file(path),
            SecretSource::Sealed(name) => match (self.sealed)(name) {
                Ok(Some(secret)) => Ok(secret),
                Ok(None) => Err(SourceError::Sealed(name.clone())),
                Err(problem) => Err(SourceError::Store { name: name.clone(), problem }),
            },
            SecretSource::Literal(secret) => Ok(secret.clone()),
        }
    }
}

fn read_file(path: &Path) -> Result<SecretString, SourceError> {
    let failed = |error| SourceError::File { path: path.to_owned(), error };
    let unusable = |problem| SourceError::Content { path: path.to_owned(), problem };
    // Judged before it is opened: opening a FIFO would wait for a writer.
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(unusable("is not a plain file"));
    }
    let mut text = zeroize::Zeroizing::new(String::new());
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(SECRET_BYTES_MAX + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > SECRET_BYTES_MAX {
        return Err(unusable("is longer than 64 KiB, which no secret is"));
    }
    let secret = text.trim_end_matches(['\r', '\n']);
    if secret.is_empty() {
        return Err(unusable("is empty"));
    }
    Ok(SecretString::from(secret))
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn read(source: SecretSource) -> Result<String, String> {
        let sources = Sources {
            environment: &|name| (name == "SET").then(|| "from-env".to_owned()),
            sealed: &|name| {
                if name == "broken" { Err("damaged".into()) } else { Ok((name == "kept").then(|| "from-store".into())) }
            },
        };
        sources.read(&source).map(|secret| secret.expose_secret().to_owned()).map_err(|error| error.to_string())
    }

    #[test]
    fn each_place_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "from-file\r\n").unwrap();
        assert_eq!(read(SecretSource::Env("SET".into())).unwrap(), "from-env");
        assert_eq!(read(SecretSource::File(path)).unwrap(), "from-file");
        assert_eq!(read(SecretSource::Sealed("kept".into())).unwrap(), "from-store");
        assert_eq!(read(SecretSource::Literal("plain".into())).unwrap(), "plain");
    }

    #[test]
    fn a_missing_secret_names_its_place_and_the_next_step() {
        assert!(read(SecretSource::Env("UNSET".into())).unwrap_err().contains("UNSET"));
        assert!(read(SecretSource::Sealed("gone".into())).unwrap_err().contains("postern secret set gone"));
        assert!(read(SecretSource::Sealed("broken".into())).unwrap_err().contains("damaged"));
        assert!(read(SecretSource::File("/nonexistent/token".into())).unwrap_err().contains("/nonexistent/token"));
        assert!(read(SecretSource::File("/dev".into())).unwrap_err().contains("not a plain file"));
    }
}
