//! The database and its journal as one engine: every change goes into both, and what the one lost the other restores.
//! It never takes a database that came up short for a whole one, and never throws a damaged one away.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::engine::{Change, Engine, EngineError, Pair};
use super::journal::{self, Journal, Recorded, Tail};
use super::sled::SledEngine;
use super::{Fault, folder};

/// A database with a journal beside it.
pub(super) struct Mirrored {
    database: Box<dyn Engine>,
    progress: Mutex<Progress>,
}

impl Mirrored {
    /// Opens the database in `database` and the journal `journal`, and mends the one from the other: sled cuts its log
    /// off at the first damaged byte and comes up without a word, so a database behind its journal is built anew.
    pub(super) fn open(database: &Path, journal: &Path) -> Result<Self, EngineError> {
        let recorded = journal::read(journal)?;
        let opened = SledEngine::open(database).and_then(|engine| Ok((sequence_of(&engine)?, engine)));
        let (sequence, engine) = match opened {
            Ok(opened) => opened,
            Err(error) if error.fault == Fault::Damaged => {
                let Some(recorded) = recorded else {
                    return Err(error);
                };
                return rebuild(database, journal, recorded, &error.to_string());
            }
            Err(error) => return Err(error),
        };
        match recorded {
            // The sound part of the journal reaches no further than the database: the lost part may have.
            Some(recorded) if recorded.tail == Tail::Damaged && sequence <= recorded.sequence => Err(both_damaged()),
            Some(recorded) if sequence < recorded.sequence => {
                drop(engine);
                rebuild(database, journal, recorded, "it has lost its latest writes")
            }
            Some(recorded) if sequence == recorded.sequence && recorded.tail == Tail::Clean => {
                Ok(Self::new(Box::new(engine), sequence, Journal::resume(journal, &recorded)?))
            }
            _ => Self::with_new_journal(Box::new(engine), sequence, journal),
        }
    }

    fn new(database: Box<dyn Engine>, sequence: u64, journal: Journal) -> Self {
        Self { database, progress: Mutex::new(Progress { sequence, journal, in_doubt: false }) }
    }

    fn with_new_journal(database: Box<dyn Engine>, sequence: u64, journal: &Path) -> Result<Self, EngineError> {
        let mut journal = Journal::unwritten(journal);
        let pairs = database.scan(b"")?;
        // Nothing has been written: a journal now could outlive a first start that fails.
        if !pairs.is_empty() {
            journal.rewrite(sequence, &pairs)?;
        }
        Ok(Self::new(database, sequence, journal))
    }
}

impl Engine for Mirrored {
    fn read(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        self.database.read(key)
    }

    fn scan(&self, prefix: &[u8]) -> Result<Vec<Pair>, EngineError> {
        let mut pairs = self.database.scan(prefix)?;
        pairs.retain(|(key, _)| key != SEQUENCE_KEY);
        Ok(pairs)
    }

    fn apply(&self, changes: &[Change]) -> Result<(), EngineError> {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        let sequence = progress.sequence + 1;
        let mut changes = changes.to_vec();
        changes.push(Change::Put { key: SEQUENCE_KEY.to_vec(), value: sequence.to_be_bytes().to_vec() });

        // Until both have the change, neither is known to be what the other one is.
        let in_doubt = std::mem::replace(&mut progress.in_doubt, true);
        self.database.apply(&changes)?;
        progress.sequence = sequence;
        if in_doubt || progress.journal.wants_rewrite() {
            progress.journal.rewrite(sequence, &self.database.scan(b"")?)?;
        } else {
            progress.journal.append(sequence, &changes)?;
        }
        progress.in_doubt = false;
        Ok(())
    }
}

/// How far a mirrored engine has come.
struct Progress {
    /// The number of the last change that the database has.
    sequence: u64,
    journal: Journal,
    /// A change has failed on the way, and only the database can tell whether it was made.
    in_doubt: bool,
}

/// The database's own note of its last change. Keys of records begin with a zero byte and cannot meet it.
const SEQUENCE_KEY: &[u8] = b"sequence";

fn sequence_of(engine: &dyn Engine) -> Result<u64, EngineError> {
    let Some(noted) = engine.read(SEQUENCE_KEY)? else {
        return Ok(0);
    };
    match noted.try_into() {
        Ok(bytes) => Ok(u64::from_be_bytes(bytes)),
        Err(_) => Err(damaged("the number of its last change is unreadable")),
    }
}

fn rebuild(database: &Path, journal: &Path, recorded: Recorded, why: &str) -> Result<Mirrored, EngineError> {
    if recorded.tail == Tail::Damaged {
        return Err(both_damaged());
    }
    let aside = move_aside(database)?;
    let engine = SledEngine::open(database)?;
    let entries: Vec<Change> = recorded.entries.into_iter().map(|(key, value)| Change::Put { key, value }).collect();
    engine.apply(&entries)?;
    tracing::warn!(
        why,
        damaged = %aside.display(),
        entries_at = recorded.sequence,
        "the database was damaged and has been built anew from its journal; nothing that was acknowledged is missing"
    );
    Mirrored::with_new_journal(Box::new(engine), recorded.sequence, journal)
}

fn move_aside(database: &Path) -> io::Result<PathBuf> {
    let mut number = 1;
    let aside = loop {
        let aside = database.with_extension(format!("damaged-{number}"));
        if !aside.exists() {
            break aside;
        }
        number += 1;
    };
    fs::rename(database, &aside)?;
    if let Some(parent) = database.parent() {
        folder::sync(parent)?;
    }
    Ok(aside)
}

fn both_damaged() -> EngineError {
    damaged("and so is the journal from which it could have been built anew")
}

fn damaged(why: &'static str) -> EngineError {
    EngineError { fault: Fault::Damaged, source: why.into() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs::OpenOptions;
    use std::os::unix::fs::FileExt as _;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    struct Files {
        folder: tempfile::TempDir,
    }

    impl Files {
        fn new() -> Self {
            Self { folder: tempfile::tempdir().unwrap() }
        }

        fn database(&self) -> PathBuf {
            self.folder.path().join("store")
        }

        fn journal(&self) -> PathBuf {
            self.folder.path().join("store.journal")
        }

        fn open(&self) -> Result<Mirrored, EngineError> {
            Mirrored::open(&self.database(), &self.journal())
        }

        /// A store with the fifty entries of `fifty`, closed.
        fn filled() -> Self {
            let files = Self::new();
            let engine = files.open().unwrap();
            for (key, value) in fifty() {
                engine.apply(&[Change::Put { key, value }]).unwrap();
            }
            files
        }

        fn copy(&self) -> Self {
            let copy = Self::new();
            fs::create_dir_all(copy.database().join("blobs")).unwrap();
            for name in ["store/db", "store/conf", "store.journal"] {
                fs::copy(self.folder.path().join(name), copy.folder.path().join(name)).unwrap();
            }
            copy
        }
    }

    fn fifty() -> Vec<Pair> {
        (0..50).map(|number| (vec![number], vec![number; 300])).collect()
    }

    fn spoil(path: &Path, at: u64) {
        let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[!byte[0]], at).unwrap();
    }

    fn put(key: &[u8], value: &[u8]) -> [Change; 1] {
        [Change::Put { key: key.to_vec(), value: value.to_vec() }]
    }

    /// sled alone comes up with fewer entries, and says nothing, wherever its log is damaged.
    #[test]
    fn a_database_damaged_anywhere_is_built_anew_from_the_journal() {
        let filled = Files::filled();
        let log_bytes = fs::metadata(filled.database().join("db")).unwrap().len();
        let mut rebuilt = 0;
        for at in (0..log_bytes).step_by(2_003) {
            let files = filled.copy();
            spoil(&files.database().join("db"), at);
            let engine = files.open().unwrap();
            assert_eq!(engine.scan(b"").unwrap(), fifty(), "spoilt at {at}");
            rebuilt += usize::from(files.folder.path().join("store.damaged-1").exists());
        }
        assert!(rebuilt > 0);
    }

    #[test]
    fn a_deleted_database_is_built_anew_and_goes_on() {
        let files = Files::filled();
        fs::remove_dir_all(files.database()).unwrap();
        let engine = files.open().unwrap();
        engine.apply(&put(b"new", b"1")).unwrap();
        drop(engine);
        assert_eq!(files.open().unwrap().scan(b"").unwrap().len(), 51);
    }

    #[test]
    fn a_damaged_or_missing_journal_is_written_anew_from_the_database() {
        let filled = Files::filled();
        let journal_bytes = fs::metadata(filled.journal()).unwrap().len();
        for at in (0..journal_bytes).step_by(997) {
            let files = filled.copy();
            spoil(&files.journal(), at);
            assert_eq!(files.open().unwrap().scan(b"").unwrap(), fifty(), "spoilt at {at}");
            assert_eq!(journal::read(&files.journal()).unwrap().unwrap().tail, Tail::Clean);
        }
        fs::remove_file(filled.journal()).unwrap();
        drop(filled.open().unwrap());
        assert_eq!(journal::read(&filled.journal()).unwrap().unwrap().sequence, 50);
    }

    #[test]
    fn where_both_are_damaged_the_store_does_not_open() {
        let files = Files::filled();
        spoil(&files.journal(), 2_000);
        spoil(&files.database().join("db"), 300);
        let error = files.open().err().unwrap();
        assert_eq!(error.fault, Fault::Damaged);
        assert!(files.database().join("db").exists());
    }

    #[test]
    fn an_unused_store_leaves_no_journal_behind() {
        let files = Files::new();
        drop(files.open().unwrap());
        assert!(!files.journal().exists());
    }

    #[test]
    fn a_crash_between_the_two_writes_is_mended_at_the_next_opening() {
        let files = Files::filled();
        let older = fs::read(files.journal()).unwrap();
        files.open().unwrap().apply(&put(b"late", b"1")).unwrap();
        fs::write(files.journal(), &older[..older.len() - 5]).unwrap();
        let engine = files.open().unwrap();
        assert_eq!(engine.read(b"late").unwrap().unwrap(), b"1");
        assert_eq!(journal::read(&files.journal()).unwrap().unwrap().sequence, 51);
    }

    #[derive(Clone, Default)]
    struct Fragile {
        entries: Arc<Mutex<BTreeMap<Vec<u8>, Vec<u8>>>>,
        failing: Arc<AtomicBool>,
    }

    impl Engine for Fragile {
        fn read(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
            Ok(self.entries.lock().unwrap().get(key).cloned())
        }

        fn scan(&self, prefix: &[u8]) -> Result<Vec<Pair>, EngineError> {
            let entries = self.entries.lock().unwrap();
            Ok(entries.iter().filter(|(key, _)| key.starts_with(prefix)).map(|(k, v)| (k.clone(), v.clone())).collect())
        }

        /// Fails after the change was made, as a lost fsync would.
        fn apply(&self, changes: &[Change]) -> Result<(), EngineError> {
            for change in changes {
                match change {
                    Change::Put { key, value } => drop(self.entries.lock().unwrap().insert(key.clone(), value.clone())),
                    Change::Remove { key } => drop(self.entries.lock().unwrap().remove(key)),
                }
            }
            if self.failing.load(Ordering::SeqCst) {
                return Err(io::Error::from(io::ErrorKind::StorageFull).into());
            }
            Ok(())
        }
    }

    #[test]
    fn after_a_write_in_doubt_the_journal_is_what_the_database_is() {
        let files = Files::new();
        let fragile = Fragile::default();
        let engine = Mirrored::with_new_journal(Box::new(fragile.clone()), 0, &files.journal()).unwrap();
        engine.apply(&put(b"a", b"1")).unwrap();
        fragile.failing.store(true, Ordering::SeqCst);
        assert_eq!(engine.apply(&put(b"b", b"2")).unwrap_err().fault, Fault::Full);
        fragile.failing.store(false, Ordering::SeqCst);
        engine.apply(&put(b"c", b"3")).unwrap();
        let recorded = journal::read(&files.journal()).unwrap().unwrap();
        assert_eq!(recorded.entries, *fragile.entries.lock().unwrap());
        assert_eq!(recorded.entries.len(), 4);
    }
}
