//! Where access records are written: a file that only its owner reads, or standard output.

use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use proxy::OpenSink;

/// Where access records go.
#[derive(Debug, Clone)]
pub(crate) enum Sink {
    /// Standard output.
    Output,
    /// A file, appended to.
    File(PathBuf),
    /// Nowhere.
    Nowhere,
}

impl Sink {
    pub(crate) fn opener(&self) -> OpenSink {
        match self.clone() {
            Self::Output => Box::new(|| Ok(Box::new(BufWriter::new(io::stdout())) as Box<dyn Write + Send>)),
            Self::Nowhere => Box::new(|| Ok(Box::new(io::sink()) as Box<dyn Write + Send>)),
            Self::File(path) => Box::new(move || {
                let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&path)?;
                Ok(Box::new(BufWriter::new(file)) as Box<dyn Write + Send>)
            }),
        }
    }
}
