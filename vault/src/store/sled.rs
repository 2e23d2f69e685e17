//! The embedded engine: sled, made durable by a real fsync after every change and kept usable after a failed one. It
//! is the only file that names sled, and it never lets one of sled's panics out.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};
use std::thread;
use std::time::Duration;

use sled::{Batch, Config, Db, Mode};

use super::engine::{Change, Engine, EngineError, Pair};
use super::{Fault, folder};

/// A sled database in a folder of its own.
pub(super) struct SledEngine {
    folder: PathBuf,
    state: RwLock<State>,
}

impl SledEngine {
    /// Opens the database in `folder`, or makes one there.
    pub(super) fn open(folder: &Path) -> Result<Self, EngineError> {
        let database = Database::open(folder)?;
        Ok(Self { folder: folder.to_owned(), state: RwLock::new(State::Sound(database)) })
    }

    fn with<T>(&self, read: impl Fn(&Database) -> Result<T, EngineError>) -> Result<T, EngineError> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        if let State::Sound(database) | State::Wounded(database) = &*state {
            return guarded(|| read(database));
        }
        drop(state);
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let database = state.revive(&self.folder)?;
        guarded(|| read(database))
    }
}

impl Engine for SledEngine {
    fn read(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        self.with(|database| database.read(key))
    }

    fn scan(&self, prefix: &[u8]) -> Result<Vec<Pair>, EngineError> {
        self.with(|database| database.scan(prefix))
    }

    fn apply(&self, changes: &[Change]) -> Result<(), EngineError> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let database = state.revive(&self.folder)?;
        guarded(|| database.apply(changes)).inspect_err(|_| state.wound())
    }
}

/// sled takes no more writes after one has failed, and an fsync must not be asked twice: what the first one lost the
/// second one does not report. So a failed write wounds the database, and the next one opens it anew from the disk.
enum State {
    Sound(Database),
    /// A write has failed. Reads still work, from this database.
    Wounded(Database),
    /// The wounded database was closed and could not be opened again yet.
    Closed,
}

impl State {
    fn wound(&mut self) {
        if let Self::Sound(database) = mem::replace(self, Self::Closed) {
            *self = Self::Wounded(database);
        }
    }

    fn revive(&mut self, folder: &Path) -> Result<&Database, EngineError> {
        if let Self::Wounded(_) = self {
            // On a disk that is still full it would not open, and reads would fail as well.
            probe_room(folder)?;
            let wounded = mem::replace(self, Self::Closed);
            guarded(move || {
                drop(wounded);
                Ok(())
            })?;
        }
        if let Self::Closed = self {
            *self = Self::Sound(Database::open(folder)?);
        }
        match self {
            Self::Sound(database) | Self::Wounded(database) => Ok(database),
            Self::Closed => Err(io::Error::other("the database is closed").into()),
        }
    }
}

/// sled's handle, and the database file once more for the fsync that sled's own flush leaves out.
struct Database {
    entries: Db,
    file: File,
}

impl Database {
    fn open(folder: &Path) -> Result<Self, EngineError> {
        folder::ensure(folder)?;
        let entries = open_unlocked(folder)?;
        let file = File::open(folder.join(DATABASE_FILE))?;
        file.sync_all()?;
        for made in ["conf", "blobs", "."] {
            folder::sync(&folder.join(made))?;
        }
        Ok(Self { entries, file })
    }

    fn read(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        let mut found = None;
        for part in self.entries.scan_prefix(key) {
            let (_, value) = part?;
            found.get_or_insert_with(Vec::new).extend_from_slice(&value);
        }
        Ok(found)
    }

    fn scan(&self, prefix: &[u8]) -> Result<Vec<Pair>, EngineError> {
        let mut found: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        for part in self.entries.scan_prefix(prefix) {
            let (part_key, value) = part?;
            let key = &part_key[..part_key.len().saturating_sub(PART_NUMBER_BYTES)];
            found.entry(key.to_owned()).or_default().extend_from_slice(&value);
        }
        Ok(found.into_iter().collect())
    }

    fn apply(&self, changes: &[Change]) -> Result<(), EngineError> {
        let mut batch = Batch::default();
        for change in changes {
            let (Change::Put { key, .. } | Change::Remove { key }) = change;
            for part_key in self.entries.scan_prefix(key).keys() {
                batch.remove(part_key?);
            }
            if let Change::Put { key, value } = change {
                put_parts(&mut batch, key, value)?;
            }
        }
        self.entries.apply_batch(batch)?;
        self.entries.flush()?;
        self.file.sync_all()?;
        Ok(())
    }
}

impl From<sled::Error> for EngineError {
    fn from(error: sled::Error) -> Self {
        let fault = match &error {
            sled::Error::Io(source) if is_lock_refusal(source) => Fault::InUse,
            sled::Error::Io(source) => Fault::of(source),
            sled::Error::Corruption { .. } | sled::Error::ReportableBug(_) | sled::Error::CollectionNotFound(_) => {
                Fault::Damaged
            }
            sled::Error::Unsupported(_) => Fault::Failed,
        };
        Self { fault, source: Box::new(error) }
    }
}

const DATABASE_FILE: &str = "db";

/// sled's page cache; its own default would be a gibibyte.
const CACHE_BYTES: u64 = 16 * 1024 * 1024;

/// Longest value that is given to sled in one piece, in bytes. sled keeps up to 17 entries on a page and writes pages
/// beyond 128 KiB to files of their own, which it does not fsync; parts of this length never make such a page.
const PART_BYTES: usize = 4096;
const PART_NUMBER_BYTES: usize = 2;

/// sled gives up its lock a moment after it was dropped, and a predecessor may be on its way out.
const LOCK_ATTEMPTS: u32 = 20;
const LOCK_RETRY_IN: Duration = Duration::from_millis(25);

/// Free space that must be there before a wounded database is closed: sled's next segment and some more, in bytes.
const ROOM_TO_REOPEN_BYTES: usize = 1024 * 1024;
const PROBE_FILE: &str = "room.probe";

fn open_unlocked(folder: &Path) -> Result<Db, EngineError> {
    let config = Config::new().path(folder).flush_every_ms(None).cache_capacity(CACHE_BYTES).mode(Mode::LowSpace);
    for _ in 1..LOCK_ATTEMPTS {
        match guarded(|| Ok(config.open()?)) {
            Err(error) if error.fault == Fault::InUse => thread::sleep(LOCK_RETRY_IN),
            opened => return opened,
        }
    }
    guarded(|| Ok(config.open()?))
}

/// Cuts a value into parts under numbered keys, which sort in their order right behind each other.
fn put_parts(batch: &mut Batch, key: &[u8], value: &[u8]) -> Result<(), EngineError> {
    let mut parts = value.chunks(PART_BYTES);
    let first = parts.next().unwrap_or_default();
    for (number, part) in std::iter::once(first).chain(parts).enumerate() {
        let number = u16::try_from(number).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
        batch.insert([key, &number.to_be_bytes()].concat(), part);
    }
    Ok(())
}

/// sled wraps the refused lock into an error of kind `Other` and leaves only the words.
fn is_lock_refusal(error: &io::Error) -> bool {
    let words = error.to_string();
    words.contains("could not acquire lock") && words.contains("WouldBlock")
}

/// A damaged file can make sled panic where it should return an error; both mean the same to the operator.
fn guarded<T>(work: impl FnOnce() -> Result<T, EngineError>) -> Result<T, EngineError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        Err(EngineError { fault: Fault::Damaged, source: "the database engine gave up on its files".into() })
    })
}

fn probe_room(folder: &Path) -> io::Result<()> {
    let path = folder.join(PROBE_FILE);
    let written = File::create(&path).and_then(|mut probe| {
        probe.write_all(&vec![0; ROOM_TO_REOPEN_BYTES])?;
        probe.sync_all()
    });
    let removed = fs::remove_file(&path);
    written.and(removed)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use super::*;

    fn put(key: &[u8], value: &[u8]) -> Change {
        Change::Put { key: key.to_vec(), value: value.to_vec() }
    }

    fn fault_of<T>(result: Result<T, EngineError>) -> Fault {
        result.err().expect("an error").fault
    }

    #[test]
    fn a_change_is_there_after_the_database_was_closed() {
        let folder = tempfile::tempdir().unwrap();
        let engine = SledEngine::open(folder.path()).unwrap();
        engine.apply(&[put(b"a", b"1"), put(b"b", b"")]).unwrap();
        drop(engine);
        let engine = SledEngine::open(folder.path()).unwrap();
        assert_eq!(engine.read(b"a").unwrap().unwrap(), b"1");
        assert_eq!(engine.read(b"b").unwrap().unwrap(), b"");
        assert!(engine.read(b"c").unwrap().is_none());
    }

    #[test]
    fn a_second_opening_is_told_that_the_folder_is_in_use() {
        let folder = tempfile::tempdir().unwrap();
        let _first = SledEngine::open(folder.path()).unwrap();
        assert_eq!(fault_of(SledEngine::open(folder.path())), Fault::InUse);
    }

    #[test]
    fn long_values_survive_whole_shrink_whole_and_never_make_a_blob() {
        let folder = tempfile::tempdir().unwrap();
        let engine = SledEngine::open(folder.path()).unwrap();
        let value: Vec<u8> = (0..100_000_u32).map(|n| (n % 251) as u8).collect();
        for number in 0..40_u8 {
            engine.apply(&[put(&[b'k', number], &value)]).unwrap();
        }
        assert_eq!(engine.read(&[b'k', 7]).unwrap().unwrap(), value);
        assert_eq!(fs::read_dir(folder.path().join("blobs")).unwrap().count(), 0);

        engine.apply(&[put(&[b'k', 7], b"short"), Change::Remove { key: vec![b'k', 8] }]).unwrap();
        let scanned = engine.scan(b"k").unwrap();
        assert_eq!(scanned.len(), 39);
        assert_eq!(scanned[7], (vec![b'k', 7], b"short".to_vec()));
        assert_eq!(scanned[8], (vec![b'k', 9], value));
    }

    #[test]
    fn a_wounded_database_still_reads_and_heals_at_the_next_write() {
        let folder = tempfile::tempdir().unwrap();
        let engine = SledEngine::open(folder.path()).unwrap();
        engine.apply(&[put(b"a", b"1")]).unwrap();
        engine.state.write().unwrap().wound();
        assert_eq!(engine.read(b"a").unwrap().unwrap(), b"1");
        engine.apply(&[put(b"b", b"2")]).unwrap();
        assert!(matches!(*engine.state.read().unwrap(), State::Sound(_)));
        assert_eq!(engine.scan(b"").unwrap().len(), 2);
    }

    #[test]
    fn a_closed_database_opens_again_for_a_read() {
        let folder = tempfile::tempdir().unwrap();
        let engine = SledEngine::open(folder.path()).unwrap();
        engine.apply(&[put(b"a", b"1")]).unwrap();
        *engine.state.write().unwrap() = State::Closed;
        assert_eq!(engine.read(b"a").unwrap().unwrap(), b"1");
    }

    #[test]
    fn a_panic_of_the_engine_becomes_an_error() {
        assert_eq!(fault_of(guarded::<()>(|| panic!("sled"))), Fault::Damaged);
    }

    #[test]
    fn damaged_files_are_an_error_or_do_not_matter_but_never_a_panic() {
        let folder = tempfile::tempdir().unwrap();
        let engine = SledEngine::open(folder.path()).unwrap();
        for number in 0..50_u8 {
            engine.apply(&[put(&[number], &[number; 300])]).unwrap();
        }
        drop(engine);
        let whole = fs::read(folder.path().join(DATABASE_FILE)).unwrap();
        for at in (0..40_000).step_by(1_003) {
            let copy = tempfile::tempdir().unwrap();
            fs::create_dir(copy.path().join("blobs")).unwrap();
            fs::copy(folder.path().join("conf"), copy.path().join("conf")).unwrap();
            let file = File::create(copy.path().join(DATABASE_FILE)).unwrap();
            file.write_all_at(&whole, 0).unwrap();
            file.write_all_at(&[!whole[at]; 3], at as u64).unwrap();
            drop(file);
            if let Err(error) = SledEngine::open(copy.path()).and_then(|engine| engine.scan(b"")) {
                assert_eq!(error.fault, Fault::Damaged, "{error}");
            }
        }
    }

    /// Runs itself again inside a mount namespace of its own, on a file system of 4 MB.
    #[test]
    fn a_full_disk_keeps_reads_and_heals_when_there_is_room_again() {
        const SELF: &str = "store::sled::tests::a_full_disk_keeps_reads_and_heals_when_there_is_room_again";
        if let Some(disk) = std::env::var_os("POSTERN_SMALL_DISK") {
            return full_disk(Path::new(&disk));
        }
        let folder = tempfile::tempdir().unwrap();
        let script = "mount -t tmpfs -o size=4m tmpfs \"$1\" && POSTERN_SMALL_DISK=$1 exec \"$2\" --exact \"$3\"";
        let inner = std::process::Command::new("unshare")
            .args(["--map-root-user", "--mount", "--", "sh", "-c", script, "sh"])
            .args([folder.path(), &std::env::current_exe().unwrap(), Path::new(SELF)])
            .output()
            .expect("unshare, of the Debian package util-linux");
        let told = String::from_utf8_lossy(&inner.stdout);
        assert!(
            inner.status.success() && told.contains("1 passed"),
            "{told}{}",
            String::from_utf8_lossy(&inner.stderr)
        );
    }

    fn full_disk(disk: &Path) {
        let engine = SledEngine::open(&disk.join("store")).unwrap();
        engine.apply(&[put(b"a", b"1")]).unwrap();
        let ballast = disk.join("ballast");
        let mut file = File::create(&ballast).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
        drop(file);
        let mut failure = None;
        for number in 0..2_000_u32 {
            let written = engine.apply(&[put(&number.to_be_bytes(), &[1; 4000])]);
            if let Err(error) = written {
                failure = Some(error);
                break;
            }
        }
        assert_eq!(failure.unwrap().fault, Fault::Full);
        assert_eq!(engine.read(b"a").unwrap().unwrap(), b"1");
        assert_eq!(fault_of(engine.apply(&[put(b"b", b"2")])), Fault::Full);
        assert_eq!(engine.read(b"a").unwrap().unwrap(), b"1");
        fs::remove_file(ballast).unwrap();
        engine.apply(&[put(b"b", b"2")]).unwrap();
        drop(engine);
        let engine = SledEngine::open(&disk.join("store")).unwrap();
        assert_eq!(engine.read(b"b").unwrap().unwrap(), b"2");
    }
}
