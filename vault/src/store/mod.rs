//! The sealed store: named values, each sealed for its shelf and durable before its write returns. It keeps nothing in
//! the clear but names, and it never opens a database under a key that did not seal it.
//!
//! Every call blocks; an async caller runs it on a thread that may.

mod engine;
mod error;
mod fault;
mod folder;
mod header;
mod journal;
mod mirrored;
mod sled;

pub use error::{OpenError, StoreError};
pub use fault::Fault;
pub use header::FORMAT;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use zeroize::Zeroizing;

use self::engine::{Change, Engine, EngineError};
use self::mirrored::Mirrored;
use crate::framing;
use crate::ring::KeyRing;
use crate::seal::{self, Opened, Shelf, StoreId};

/// Name of the database's folder, below the data folder.
pub const STORE_FOLDER: &str = "store";

/// Name of the sealed journal beside it, from which a damaged database is built anew.
pub const JOURNAL_FILE: &str = "store.journal";

/// Longest value of a record, in bytes.
pub const VALUE_BYTES_MAX: usize = 1024 * 1024;

/// Whether the data folder `data` holds a database already, in whatever state.
#[must_use]
pub fn holds_database(data: &Path) -> bool {
    let stored = std::fs::read_dir(data.join(STORE_FOLDER)).is_ok_and(|mut entries| entries.next().is_some());
    stored || data.join(JOURNAL_FILE).exists()
}

/// An open store. Clones share it; it closes with the last of them.
#[derive(Clone)]
pub struct Store {
    room: Arc<Room>,
}

struct Room {
    data: PathBuf,
    engine: Box<dyn Engine>,
    ring: KeyRing,
    store_id: StoreId,
    /// Held while a change reads what it is about to write.
    writing: Mutex<()>,
}

/// A value as it was read.
pub struct Stored {
    /// The value, wiped when dropped.
    pub value: Zeroizing<Vec<u8>>,
    /// How often the shelf had been written when this value was: 1 for the first. A value whose generation is lower
    /// than one seen before was put back from a copy.
    pub generation: u64,
}

impl fmt::Debug for Stored {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Stored").field("generation", &self.generation).finish_non_exhaustive()
    }
}

/// One entry of a listing: where it is, and what it holds or why it does not open.
#[derive(Debug)]
pub struct Listed {
    /// The record's name.
    pub record: String,
    /// The field within the record.
    pub field: String,
    /// The value, or the failure that is this entry's alone.
    pub value: Result<Stored, StoreError>,
}

impl Store {
    /// Opens the store below the data folder `data`, making both (mode 0700) where they are missing.
    ///
    /// # Errors
    /// [`OpenError`]; with any of them nothing was written over.
    pub fn open(data: &Path, ring: KeyRing) -> Result<Self, OpenError> {
        folder::ensure(data).map_err(|error| OpenError::disk(data, error.into()))?;
        let engine = Mirrored::open(&data.join(STORE_FOLDER), &data.join(JOURNAL_FILE))
            .map_err(|error| OpenError::disk(data, error))?;
        let store_id = header::check_or_make(&engine, &ring, data)?;
        let room = Room { data: data.to_owned(), engine: Box::new(engine), ring, store_id, writing: Mutex::new(()) };
        Ok(Self { room: Arc::new(room) })
    }

    /// The random id that this store was given when it was made.
    #[must_use]
    pub fn id(&self) -> StoreId {
        self.room.store_id
    }

    /// Reads the value on `shelf`, or `None` where there is none.
    ///
    /// # Errors
    /// [`StoreError::Unopened`] where it does not open, [`StoreError::Disk`] where it cannot be read.
    pub fn read(&self, shelf: Shelf<'_>) -> Result<Option<Stored>, StoreError> {
        match self.room.read_sealed(shelf)? {
            Some(sealed) => self.room.open(shelf, &sealed).map(Some),
            None => Ok(None),
        }
    }

    /// Reads all of `tree`, ordered by record and field. An entry that does not open leaves the others as they are.
    ///
    /// # Errors
    /// [`StoreError::Disk`] where the database cannot be read.
    pub fn list(&self, tree: &str) -> Result<Vec<Listed>, StoreError> {
        let prefix = framing::join(&[tree.as_bytes()]);
        let pairs = self.room.engine.scan(&prefix).map_err(|error| self.room.disk(error))?;
        let mut listed: Vec<Listed> =
            pairs.iter().filter_map(|(key, sealed)| self.room.listed(tree, key, sealed)).collect();
        listed.sort_by(|one, other| (&one.record, &one.field).cmp(&(&other.record, &other.field)));
        Ok(listed)
    }

    /// Seals `value` onto `shelf`, over what is there, and returns its generation once it is durable.
    ///
    /// # Errors
    /// [`StoreError`]; the shelf may then hold the old value or the new one.
    pub fn put(&self, shelf: Shelf<'_>, value: &[u8]) -> Result<u64, StoreError> {
        self.change(|changes| changes.put(shelf, value))
    }

    /// Empties `shelf` and tells, once that is durable, whether anything was on it.
    ///
    /// # Errors
    /// [`StoreError`]; the shelf may then be empty or not.
    pub fn remove(&self, shelf: Shelf<'_>) -> Result<bool, StoreError> {
        self.change(|changes| changes.remove(shelf))
    }

    /// Runs `work` while no other change can happen, then makes all that it asked for durable in one piece. Where
    /// `work` fails, nothing is changed.
    ///
    /// # Errors
    /// The error of `work`, or the [`StoreError`] of the write.
    pub fn change<T, E: From<StoreError>>(&self, work: impl FnOnce(&mut Changes<'_>) -> Result<T, E>) -> Result<T, E> {
        let _writing = self.room.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changes = Changes { room: &self.room, pending: Vec::new() };
        let outcome = work(&mut changes)?;
        if !changes.pending.is_empty() {
            self.room.engine.apply(&changes.pending).map_err(|error| self.room.disk(error))?;
        }
        Ok(outcome)
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Store({})", self.room.data.display())
    }
}

/// A change in the making: reads see the store as it was before, writes happen together at the end.
pub struct Changes<'a> {
    room: &'a Room,
    pending: Vec<Change>,
}

impl Changes<'_> {
    /// Reads the value on `shelf` as it was before this change.
    ///
    /// # Errors
    /// As for [`Store::read`].
    pub fn read(&self, shelf: Shelf<'_>) -> Result<Option<Stored>, StoreError> {
        match self.room.read_sealed(shelf)? {
            Some(sealed) => self.room.open(shelf, &sealed).map(Some),
            None => Ok(None),
        }
    }

    /// Whether anything lies on `shelf`, readable or not.
    ///
    /// # Errors
    /// [`StoreError::Disk`] where the database cannot be read.
    pub fn holds(&self, shelf: Shelf<'_>) -> Result<bool, StoreError> {
        Ok(self.room.read_sealed(shelf)?.is_some())
    }

    /// Seals `value` for `shelf` and returns the generation it will have.
    ///
    /// # Errors
    /// [`StoreError::TooLong`], [`StoreError::Unsealed`], or [`StoreError::Disk`].
    pub fn put(&mut self, shelf: Shelf<'_>, value: &[u8]) -> Result<u64, StoreError> {
        if value.len() > VALUE_BYTES_MAX {
            return Err(StoreError::TooLong { shelf: shelf.to_string(), bytes: value.len() });
        }
        let before = self.room.read_sealed(shelf)?;
        let generation = before.as_deref().map_or(0, seal::claimed_generation).saturating_add(1);
        let sealed = seal::seal(&self.room.ring, self.room.store_id, shelf, generation, value)
            .map_err(|failure| StoreError::Unsealed { shelf: shelf.to_string(), failure })?;
        self.pending.push(Change::Put { key: key_of(shelf), value: sealed });
        Ok(generation)
    }

    /// Marks `shelf` to be emptied and tells whether anything is on it.
    ///
    /// # Errors
    /// [`StoreError::Disk`] where the database cannot be read.
    pub fn remove(&mut self, shelf: Shelf<'_>) -> Result<bool, StoreError> {
        let there = self.holds(shelf)?;
        if there {
            self.pending.push(Change::Remove { key: key_of(shelf) });
        }
        Ok(there)
    }
}

impl Room {
    fn read_sealed(&self, shelf: Shelf<'_>) -> Result<Option<Vec<u8>>, StoreError> {
        self.engine.read(&key_of(shelf)).map_err(|error| self.disk(error))
    }

    fn open(&self, shelf: Shelf<'_>, sealed: &[u8]) -> Result<Stored, StoreError> {
        match seal::open(&self.ring, self.store_id, shelf, sealed) {
            Ok(Opened { plaintext, generation }) => Ok(Stored { value: plaintext, generation }),
            Err(failure) => Err(StoreError::Unopened { shelf: shelf.to_string(), failure }),
        }
    }

    /// `None` where the key is none of ours, which only a hand in the files could have brought about.
    fn listed(&self, tree: &str, key: &[u8], sealed: &[u8]) -> Option<Listed> {
        let (_, rest) = framing::take(key)?;
        let (record, rest) = framing::take(rest)?;
        let (field, _) = framing::take(rest)?;
        let (record, field) = (str::from_utf8(record).ok()?, str::from_utf8(field).ok()?);
        let value = self.open(Shelf { tree, record, field }, sealed);
        Some(Listed { record: record.to_owned(), field: field.to_owned(), value })
    }

    fn disk(&self, error: EngineError) -> StoreError {
        StoreError::Disk { data: self.data.clone(), fault: error.fault, source: error.source }
    }
}

/// The database key of a shelf. It begins with the framed tree, by which a listing finds it.
fn key_of(shelf: Shelf<'_>) -> Vec<u8> {
    framing::join(&[shelf.tree.as_bytes(), shelf.record.as_bytes(), shelf.field.as_bytes()])
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::process::Command;

    use super::*;
    use crate::ring::MasterKey;
    use crate::seal::OpenFailure;

    fn ring(byte: u8) -> KeyRing {
        KeyRing::new(key(byte), Vec::new())
    }

    fn key(byte: u8) -> MasterKey {
        MasterKey::from_bytes(Zeroizing::new([byte; 32]))
    }

    fn shelf(record: &str) -> Shelf<'_> {
        Shelf { tree: "secrets", record, field: "value" }
    }

    fn value(store: &Store, record: &str) -> Option<Vec<u8>> {
        store.read(shelf(record)).unwrap().map(|stored| stored.value.to_vec())
    }

    #[test]
    fn what_was_put_is_read_until_it_is_removed() {
        let data = tempfile::tempdir().unwrap();
        let store = Store::open(data.path(), ring(1)).unwrap();
        assert_eq!(value(&store, "a"), None);
        assert_eq!(store.put(shelf("a"), b"1").unwrap(), 1);
        assert_eq!(store.put(shelf("a"), b"2").unwrap(), 2);
        assert_eq!(value(&store, "a").unwrap(), b"2");
        assert!(store.remove(shelf("a")).unwrap());
        assert!(!store.remove(shelf("a")).unwrap());
        assert_eq!(value(&store, "a"), None);
    }

    #[test]
    fn a_restart_keeps_everything() {
        let data = tempfile::tempdir().unwrap();
        let store = Store::open(data.path(), ring(1)).unwrap();
        let id = store.id();
        store.put(shelf("a"), b"1").unwrap();
        drop(store);
        let store = Store::open(data.path(), ring(1)).unwrap();
        assert_eq!(store.id(), id);
        assert_eq!(value(&store, "a").unwrap(), b"1");
    }

    #[test]
    fn the_folders_are_for_their_owner_only() {
        let root = tempfile::tempdir().unwrap();
        let data = root.path().join("data");
        let _store = Store::open(&data, ring(1)).unwrap();
        for folder in [data.clone(), data.join(STORE_FOLDER)] {
            assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o7777, 0o700, "{}", folder.display());
        }
    }

    #[test]
    fn a_listing_is_in_order_and_knows_only_its_tree() {
        let data = tempfile::tempdir().unwrap();
        let store = Store::open(data.path(), ring(1)).unwrap();
        for record in ["ccc", "b", "aa"] {
            store.put(shelf(record), record.as_bytes()).unwrap();
        }
        store.put(Shelf { tree: "secretsx", record: "other", field: "" }, b"").unwrap();
        let listed = store.list("secrets").unwrap();
        let names: Vec<&str> = listed.iter().map(|entry| entry.record.as_str()).collect();
        assert_eq!(names, ["aa", "b", "ccc"]);
        assert_eq!(&**listed[2].value.as_ref().unwrap().value, b"ccc");
        assert_eq!(listed[2].field, "value");
    }

    #[test]
    fn a_wrong_master_key_is_one_clear_error_and_changes_nothing() {
        let data = tempfile::tempdir().unwrap();
        let store = Store::open(data.path(), ring(1)).unwrap();
        store.put(shelf("a"), b"1").unwrap();
        drop(store);
        let error = Store::open(data.path(), ring(2)).unwrap_err();
        assert!(matches!(error, OpenError::MasterKeyMismatch { .. }), "{error}");
        assert!(error.to_string().starts_with("master_key_mismatch: "), "{error}");
        assert_eq!(value(&Store::open(data.path(), ring(1)).unwrap(), "a").unwrap(), b"1");
    }

    #[test]
    fn a_ring_with_a_newer_first_key_opens_old_records_and_seals_new_ones_with_it() {
        let data = tempfile::tempdir().unwrap();
        Store::open(data.path(), ring(1)).unwrap().put(shelf("old"), b"1").unwrap();
        let store = Store::open(data.path(), KeyRing::new(key(2), vec![key(1)])).unwrap();
        store.put(shelf("new"), b"2").unwrap();
        assert_eq!(value(&store, "old").unwrap(), b"1");
        drop(store);
        let store = Store::open(data.path(), ring(1)).unwrap();
        let error = store.read(shelf("new")).unwrap_err();
        assert!(
            matches!(error, StoreError::Unopened { failure: OpenFailure::UnknownKey(id), .. } if id == key(2).id()),
            "{error}"
        );
    }

    #[test]
    fn a_value_moved_to_another_shelf_does_not_open_and_leaves_the_rest_readable() {
        let data = tempfile::tempdir().unwrap();
        let store = Store::open(data.path(), ring(1)).unwrap();
        for record in ["a", "b", "c"] {
            store.put(shelf(record), record.as_bytes()).unwrap();
        }
        let engine = &store.room.engine;
        let (a, b) =
            (engine.read(&key_of(shelf("a"))).unwrap().unwrap(), engine.read(&key_of(shelf("b"))).unwrap().unwrap());
        let swap =
            [Change::Put { key: key_of(shelf("a")), value: b }, Change::Put { key: key_of(shelf("b")), value: a }];
        engine.apply(&swap).unwrap();

        let listed = store.list("secrets").unwrap();
        let opened: Vec<bool> = listed.iter().map(|entry| entry.value.is_ok()).collect();
        assert_eq!(opened, [false, false, true]);
        let error = store.read(shelf("a")).unwrap_err();
        assert!(matches!(error, StoreError::Unopened { failure: OpenFailure::NotAuthentic, .. }), "{error}");
        store.put(shelf("a"), b"set anew").unwrap();
        assert_eq!(value(&store, "a").unwrap(), b"set anew");
    }

    #[test]
    fn a_value_of_another_store_under_the_same_key_does_not_open() {
        let (data, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let store = Store::open(data.path(), ring(1)).unwrap();
        let foreign = Store::open(other.path(), ring(1)).unwrap();
        foreign.put(shelf("a"), b"1").unwrap();
        let sealed = foreign.room.engine.read(&key_of(shelf("a"))).unwrap().unwrap();
        store.room.engine.apply(&[Change::Put { key: key_of(shelf("a")), value: sealed }]).unwrap();
        assert!(store.read(shelf("a")).is_err());
    }

    #[test]
    fn a_change_whose_work_fails_changes_nothing() {
        let data = tempfile::tempdir().unwrap();
        let store = Store::open(data.path(), ring(1)).unwrap();
        let outcome: Result<(), StoreError> = store.change(|changes| {
            changes.put(shelf("a"), b"1")?;
            Err(StoreError::Unknown { shelf: String::new() })
        });
        assert!(outcome.is_err());
        assert_eq!(value(&store, "a"), None);
    }

    #[test]
    fn a_value_beyond_the_limit_is_refused() {
        let data = tempfile::tempdir().unwrap();
        let store = Store::open(data.path(), ring(1)).unwrap();
        store.put(shelf("a"), &vec![7; VALUE_BYTES_MAX]).unwrap();
        assert_eq!(value(&store, "a").unwrap().len(), VALUE_BYTES_MAX);
        let error = store.put(shelf("a"), &vec![7; VALUE_BYTES_MAX + 1]).unwrap_err();
        assert!(matches!(error, StoreError::TooLong { .. }), "{error}");
    }

    #[test]
    fn the_files_hold_no_value_in_the_clear() {
        let data = tempfile::tempdir().unwrap();
        let store = Store::open(data.path(), ring(1)).unwrap();
        let canary = b"canary-4f1d0c55-refresh-token";
        store.put(shelf("a"), canary).unwrap();
        drop(store);
        let mut folders = vec![data.path().to_owned()];
        let mut files = 0;
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let bytes = fs::read(&path).unwrap();
                assert!(!bytes.windows(canary.len()).any(|window| window == canary), "{}", path.display());
                files += 1;
            }
        }
        assert!(files > 0);
    }

    #[test]
    fn a_second_postern_on_the_same_folder_is_sent_to_the_first() {
        let data = tempfile::tempdir().unwrap();
        let _first = Store::open(data.path(), ring(1)).unwrap();
        let error = Store::open(data.path(), ring(1)).unwrap_err();
        assert!(matches!(error, OpenError::Disk { fault: Fault::InUse, .. }), "{error}");
        assert!(error.to_string().contains("another postern is using"), "{error}");
    }

    /// The test binary runs this one test again, in a second process, on a folder that the first one holds.
    #[test]
    fn a_second_process_on_the_same_folder_is_sent_to_the_first() {
        const HELD: &str = "POSTERN_TEST_HELD_FOLDER";
        if let Some(held) = std::env::var_os(HELD) {
            let error = Store::open(Path::new(&held), ring(1)).unwrap_err();
            assert!(matches!(error, OpenError::Disk { fault: Fault::InUse, .. }), "{error}");
            return;
        }
        let data = tempfile::tempdir().unwrap();
        let _first = Store::open(data.path(), ring(1)).unwrap();
        let second = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::tests::a_second_process_on_the_same_folder_is_sent_to_the_first"])
            .env(HELD, data.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&second.stdout);
        assert!(second.status.success() && said.contains("1 passed"), "{said}");
    }

    #[test]
    fn a_damaged_database_is_built_anew_or_without_a_journal_is_one_clear_error() {
        let data = tempfile::tempdir().unwrap();
        let store = Store::open(data.path(), ring(1)).unwrap();
        store.put(shelf("a"), b"1").unwrap();
        drop(store);
        let spoilt = data.path().join(STORE_FOLDER).join("conf");
        fs::write(&spoilt, b"not what was written there").unwrap();
        let store = Store::open(data.path(), ring(1)).unwrap();
        assert_eq!(value(&store, "a").unwrap(), b"1");
        drop(store);
        fs::write(&spoilt, b"not what was written there").unwrap();
        fs::remove_file(data.path().join(JOURNAL_FILE)).unwrap();
        let error = Store::open(data.path(), ring(1)).unwrap_err();
        assert!(matches!(error, OpenError::Disk { fault: Fault::Damaged, .. }), "{error}");
        assert!(error.to_string().contains("put its last backup back"), "{error}");
    }

    #[test]
    fn a_file_where_the_data_folder_should_be_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        let data = root.path().join("data");
        fs::write(&data, b"").unwrap();
        assert!(matches!(Store::open(&data, ring(1)).unwrap_err(), OpenError::Disk { .. }));
    }

    #[test]
    fn a_store_is_shared_between_threads() {
        let data = tempfile::tempdir().unwrap();
        let store = Store::open(data.path(), ring(1)).unwrap();
        std::thread::scope(|scope| {
            for record in ["a", "b", "c", "d"] {
                let store = store.clone();
                scope.spawn(move || (0..10).all(|_| store.put(shelf(record), b"x").is_ok()));
            }
        });
        let listed = store.list("secrets").unwrap();
        assert!(listed.iter().all(|entry| entry.value.as_ref().unwrap().generation == 10));
        assert_eq!(listed.len(), 4);
    }
}
