//! Where the master keys come from: a file the operator names, a value he gives, or `DATA/master.key`, made at the
//! first start. It never makes a key where sealed records already wait for another one, and never uses a key file of
//! its own that others can read.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

use super::{KeyRing, MasterKey, RingTextError};
use crate::random::NoRandomness;
use crate::store;

/// Name of the key file that postern makes for itself, below the data folder.
pub const MASTER_KEY_FILE: &str = "master.key";

/// Longest key file that is read, in bytes; it holds some hundred keys.
pub const KEY_FILE_BYTES_MAX: u64 = 16 * 1024;

/// Where the operator put the master key. With neither given, `DATA/master.key` is used.
#[derive(Debug, Default)]
pub struct MasterKeySource {
    /// A file to read, from `POSTERN_MASTER_KEY_FILE`; it wins over `value`.
    pub file: Option<PathBuf>,
    /// The key itself, from `POSTERN_MASTER_KEY`.
    pub value: Option<SecretString>,
}

impl KeyRing {
    /// Loads the ring for the data folder `data`: from the named file, else the given value, else `data/master.key`,
    /// which is made (mode 0600, fsynced) where neither it nor a database exists yet.
    ///
    /// # Errors
    /// [`RingError`] tells which of the three was used and what to do about it.
    pub fn load(data: &Path, source: &MasterKeySource) -> Result<Self, RingError> {
        if let Some(path) = &source.file {
            return mounted(path);
        }
        if let Some(value) = &source.value {
            return Self::from_text(value.expose_secret())
                .map_err(|source| RingError::Malformed { origin: Origin::Value, source });
        }
        match own(data)? {
            Some(ring) => Ok(ring),
            None if store::holds_database(data) => Err(RingError::Lost { data: data.to_owned() }),
            None => make(data),
        }
    }
}

/// Which of its three places a key was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The file that `POSTERN_MASTER_KEY_FILE` names.
    Mounted(PathBuf),
    /// The value of `POSTERN_MASTER_KEY`.
    Value,
    /// The file postern made for itself.
    Own(PathBuf),
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mounted(path) => write!(out, "POSTERN_MASTER_KEY_FILE ({})", path.display()),
            Self::Value => out.write_str("POSTERN_MASTER_KEY"),
            Self::Own(path) => write!(out, "{}", path.display()),
        }
    }
}

/// Why there is no key ring.
#[derive(Debug, thiserror::Error)]
pub enum RingError {
    /// The text is not a list of keys.
    #[error("the master key in {origin} cannot be used: {source}")]
    Malformed {
        /// Where it was read.
        origin: Origin,
        /// What is wrong with it.
        source: RingTextError,
    },
    /// The named file does not exist.
    #[error("POSTERN_MASTER_KEY_FILE names {}, which does not exist; correct the path or mount the file there", path.display())]
    Missing {
        /// The path that was named.
        path: PathBuf,
    },
    /// The file exists and cannot be read.
    #[error("the master key in {origin} cannot be read: {source}; make it a file that postern's user may read")]
    Unreadable {
        /// Where it should have been read.
        origin: Origin,
        /// What the system said.
        source: io::Error,
    },
    /// The file is longer than [`KEY_FILE_BYTES_MAX`].
    #[error("{origin} is longer than {KEY_FILE_BYTES_MAX} bytes, so it is no key file; it holds one base64 key a line")]
    TooLong {
        /// Where it was read.
        origin: Origin,
    },
    /// Postern's own key file can be read by others.
    #[error(
        "{} has mode {mode:04o}, so other users can read the master key; run `chmod 600 {0}`, and replace the key if they may have",
        path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A database is there and the key that sealed it is not.
    #[error(
        "{0} holds a database but no {MASTER_KEY_FILE}, and no master key was given; put the file back from your backup, or give \
         the key with POSTERN_MASTER_KEY_FILE or POSTERN_MASTER_KEY (a new key could not open what is sealed there)",
        data.display()
    )]
    Lost {
        /// The data folder.
        data: PathBuf,
    },
    /// The first key could not be written.
    #[error("a first master key cannot be written to {}: {source}; make the folder writable for postern's user, or give a key with POSTERN_MASTER_KEY_FILE", path.display())]
    NotMade {
        /// The file that was to be made.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No randomness to make a key from.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
}

/// The permission bits a key file must not have: anything for its group or for others.
const OTHERS: u32 = 0o077;
const KEY_FILE_MODE: u32 = 0o600;
const DATA_MODE: u32 = 0o700;

fn mounted(path: &Path) -> Result<KeyRing, RingError> {
    let origin = Origin::Mounted(path.to_owned());
    let file = File::open(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => RingError::Missing { path: path.to_owned() },
        _ => RingError::Unreadable { origin: origin.clone(), source },
    })?;
    let mode = mode_of(&file, &origin)?;
    if mode & OTHERS != 0 {
        tracing::warn!(
            path = %path.display(),
            mode = format_args!("{mode:04o}"),
            "other users can read the mounted master key; mount it with mode 0600 if your platform can"
        );
    }
    parse(file, origin)
}

fn own(data: &Path) -> Result<Option<KeyRing>, RingError> {
    let path = data.join(MASTER_KEY_FILE);
    let origin = Origin::Own(path.clone());
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(RingError::Unreadable { origin, source }),
    };
    let mode = mode_of(&file, &origin)?;
    if mode & OTHERS != 0 {
        return Err(RingError::Exposed { path, mode });
    }
    parse(file, origin).map(Some)
}

fn mode_of(file: &File, origin: &Origin) -> Result<u32, RingError> {
    match file.metadata() {
        Ok(metadata) => Ok(metadata.permissions().mode() & 0o7777),
        Err(source) => Err(RingError::Unreadable { origin: origin.clone(), source }),
    }
}

fn parse(file: File, origin: Origin) -> Result<KeyRing, RingError> {
    // Room for the longest file up front: a buffer that grows leaves unwiped copies behind.
    let mut text = Zeroizing::new(String::with_capacity(KEY_FILE_BYTES_MAX as usize + 1));
    if let Err(source) = file.take(KEY_FILE_BYTES_MAX + 1).read_to_string(&mut text) {
        return Err(RingError::Unreadable { origin, source });
    }
    if text.len() as u64 > KEY_FILE_BYTES_MAX {
        return Err(RingError::TooLong { origin });
    }
    KeyRing::from_text(&text).map_err(|source| RingError::Malformed { origin, source })
}

fn make(data: &Path) -> Result<KeyRing, RingError> {
    let key = MasterKey::generate()?;
    let path = data.join(MASTER_KEY_FILE);
    if let Err(source) = write_new(data, &path, &key) {
        return Err(RingError::NotMade { path, source });
    }
    tracing::info!(path = %path.display(), key = %key.id(), "made a master key; back it up apart from the data it opens");
    Ok(KeyRing::new(key, Vec::new()))
}

fn write_new(data: &Path, path: &Path, key: &MasterKey) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(DATA_MODE).create(data)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(KEY_FILE_MODE).open(path)?;
    let written = file
        .write_all(key.to_base64().as_bytes())
        .and_then(|()| file.write_all(b"\n"))
        .and_then(|()| file.sync_all())
        .and_then(|()| File::open(data)?.sync_all());
    if written.is_err() {
        // Half a key would only puzzle the next start; nothing has been sealed with it yet.
        let _ = fs::remove_file(path);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::KeyTextError;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    fn key_file(path: &Path, text: &str, mode: u32) {
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn key_text() -> String {
        MasterKey::generate().unwrap().to_base64().to_string()
    }

    #[test]
    fn the_first_start_makes_a_key_only_its_owner_can_read_and_the_second_reads_it() {
        let root = folder();
        let data = root.path().join("not/yet/there");
        let made = KeyRing::load(&data, &MasterKeySource::default()).unwrap();
        let mode = fs::metadata(data.join(MASTER_KEY_FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
        assert_eq!(fs::metadata(&data).unwrap().permissions().mode() & 0o7777, 0o700);
        let read = KeyRing::load(&data, &MasterKeySource::default()).unwrap();
        assert_eq!(read.sealing().id(), made.sealing().id());
    }

    #[test]
    fn an_own_key_file_that_others_can_read_is_refused() {
        let data = folder();
        let path = data.path().join(MASTER_KEY_FILE);
        key_file(&path, &key_text(), 0o644);
        let error = KeyRing::load(data.path(), &MasterKeySource::default()).unwrap_err();
        assert!(matches!(error, RingError::Exposed { mode: 0o644, .. }), "{error}");
        assert!(error.to_string().contains("0644"), "{error}");
    }

    #[test]
    fn a_mounted_key_file_that_others_can_read_is_used() {
        let data = folder();
        let path = data.path().join("mounted");
        key_file(&path, &format!("{}\n{}\n", key_text(), key_text()), 0o644);
        let source = MasterKeySource { file: Some(path), value: None };
        assert!(KeyRing::load(data.path(), &source).is_ok());
        assert!(!data.path().join(MASTER_KEY_FILE).exists());
    }

    #[test]
    fn the_named_file_wins_over_the_value_and_the_value_over_the_own_file() {
        let data = folder();
        let (mounted, value, own) =
            (MasterKey::generate().unwrap(), MasterKey::generate().unwrap(), MasterKey::generate().unwrap());
        let path = data.path().join("mounted");
        key_file(&path, &mounted.to_base64(), 0o600);
        key_file(&data.path().join(MASTER_KEY_FILE), &own.to_base64(), 0o600);
        let mut source =
            MasterKeySource { file: Some(path), value: Some(SecretString::from(value.to_base64().as_str())) };
        assert_eq!(KeyRing::load(data.path(), &source).unwrap().sealing().id(), mounted.id());
        source.file = None;
        assert_eq!(KeyRing::load(data.path(), &source).unwrap().sealing().id(), value.id());
        source.value = None;
        assert_eq!(KeyRing::load(data.path(), &source).unwrap().sealing().id(), own.id());
    }

    #[test]
    fn a_named_file_that_is_missing_stops_the_start() {
        let data = folder();
        let source = MasterKeySource { file: Some(data.path().join("nowhere")), value: None };
        let error = KeyRing::load(data.path(), &source).unwrap_err();
        assert!(matches!(error, RingError::Missing { .. }), "{error}");
    }

    #[test]
    fn a_folder_in_place_of_the_file_is_unreadable() {
        let data = folder();
        let source = MasterKeySource { file: Some(data.path().to_owned()), value: None };
        let error = KeyRing::load(data.path(), &source).unwrap_err();
        assert!(matches!(error, RingError::Unreadable { .. }), "{error}");
    }

    #[test]
    fn a_value_of_the_wrong_length_is_refused_without_showing_it() {
        let data = folder();
        let source = MasterKeySource { file: None, value: Some(SecretString::from("c2hvcnQ=")) };
        let error = KeyRing::load(data.path(), &source).unwrap_err();
        let RingError::Malformed { origin: Origin::Value, source } = &error else { panic!("{error}") };
        assert_eq!(source.source, KeyTextError::WrongLength { bytes: 5 });
        assert!(!format!("{error} {error:?}").contains("c2hvcnQ"));
    }

    #[test]
    fn a_file_too_long_to_be_a_key_file_is_refused() {
        let data = folder();
        let path = data.path().join("big");
        key_file(&path, &"\n".repeat(KEY_FILE_BYTES_MAX as usize + 1), 0o600);
        let source = MasterKeySource { file: Some(path), value: None };
        let error = KeyRing::load(data.path(), &source).unwrap_err();
        assert!(matches!(error, RingError::TooLong { .. }), "{error}");
    }

    #[test]
    fn a_database_without_its_key_never_gets_a_new_one() {
        let data = folder();
        drop(
            store::Store::open(data.path(), KeyRing::load(data.path(), &MasterKeySource::default()).unwrap()).unwrap(),
        );
        fs::remove_file(data.path().join(MASTER_KEY_FILE)).unwrap();
        let error = KeyRing::load(data.path(), &MasterKeySource::default()).unwrap_err();
        assert!(matches!(error, RingError::Lost { .. }), "{error}");
        assert!(!data.path().join(MASTER_KEY_FILE).exists());
    }
}
