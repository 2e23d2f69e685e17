//! Makes the folders that hold the store, for their owner only, and makes their entries durable. It changes nothing
//! about a folder that is there already.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

/// Makes `path` and the folders above it with mode 0700 where they are missing, and makes the new entry durable.
pub(super) fn ensure(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(path)?;
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync(parent),
        _ => Ok(()),
    }
}

/// Makes the contents of a file, or the entries of a folder, durable: fsync(2), and nothing less.
pub(super) fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

const FOLDER_MODE: u32 = 0o700;
