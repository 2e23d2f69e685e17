//! The journal beside the database: a snapshot of all sealed entries and every change since, each frame with its
//! checksum. It tells when the database has lost writes and holds what it takes to build it again; it judges neither
//! keys nor values.
//!
//! A frame is: payload length (8 bytes, big-endian), checksum (16, of SHA-256), payload. A payload is a sequence
//! number (8), then entries: `P` key value, or `R` key, each part behind its length. The first frame is the snapshot.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::engine::{Change, Pair};
use super::folder;
use crate::framing;

/// A journal that is written to.
pub(super) struct Journal {
    path: PathBuf,
    /// `None` where the file cannot be trusted to take a further frame.
    file: Option<File>,
    bytes: u64,
    rewrite_at_bytes: u64,
}

impl Journal {
    /// The journal at `path`, which takes no frame until it has been rewritten.
    pub(super) fn unwritten(path: &Path) -> Self {
        Self { path: path.to_owned(), file: None, bytes: 0, rewrite_at_bytes: 0 }
    }

    /// The journal at `path`, to which frames are appended behind the `recorded` ones.
    pub(super) fn resume(path: &Path, recorded: &Recorded) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).open(path)?;
        let bytes = recorded.bytes;
        Ok(Self { path: path.to_owned(), file: Some(file), bytes, rewrite_at_bytes: rewrite_at(bytes) })
    }

    /// Whether the next change must be written by [`Journal::rewrite`].
    pub(super) fn wants_rewrite(&self) -> bool {
        self.file.is_none() || self.bytes >= self.rewrite_at_bytes
    }

    /// Appends `changes` as the frame `sequence` and makes it durable. After an error it wants to be rewritten.
    pub(super) fn append(&mut self, sequence: u64, changes: &[Change]) -> io::Result<()> {
        // Taken out, so that an error on the way leaves none: what a failed fsync lost, no later one reports.
        let Some(mut file) = self.file.take() else {
            return Err(io::Error::other("the journal must be rewritten first"));
        };
        let frame = frame(sequence, changes.iter().map(entry_of));
        file.write_all(&frame)?;
        file.sync_data()?;
        self.bytes += frame.len() as u64;
        self.file = Some(file);
        Ok(())
    }

    /// Puts a new journal in the place of the old one, with nothing but a snapshot of `pairs` at `sequence`.
    pub(super) fn rewrite(&mut self, sequence: u64, pairs: &[Pair]) -> io::Result<()> {
        self.file = None;
        let frame = frame(sequence, pairs.iter().map(|(key, value)| (key.as_slice(), Some(value.as_slice()))));
        let draft = self.path.with_extension(DRAFT_EXTENSION);
        let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(FILE_MODE).open(&draft)?;
        file.write_all(&frame)?;
        file.sync_all()?;
        fs::rename(&draft, &self.path)?;
        if let Some(parent) = self.path.parent() {
            folder::sync(parent)?;
        }
        self.bytes = frame.len() as u64;
        self.rewrite_at_bytes = rewrite_at(self.bytes);
        self.file = Some(file);
        Ok(())
    }
}

/// What a journal holds.
pub(super) struct Recorded {
    /// The number of the last sound frame.
    pub(super) sequence: u64,
    /// All entries as they were after it.
    pub(super) entries: BTreeMap<Vec<u8>, Vec<u8>>,
    /// What follows it.
    pub(super) tail: Tail,
    bytes: u64,
}

/// What follows the last sound frame of a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tail {
    /// Nothing.
    Clean,
    /// The beginning of a frame, as a crash leaves it; nobody was told that it was written.
    Torn,
    /// Bytes that no crash leaves there.
    Damaged,
}

/// Reads the journal at `path`; `None` where there is none, or none that begins with a sound snapshot.
pub(super) fn read(path: &Path) -> io::Result<Option<Recorded>> {
    match fs::read(path) {
        Ok(bytes) => Ok(replay(&bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// A journal shorter than this is not worth rewriting, in bytes.
const REWRITE_BYTES_MIN: u64 = 4 * 1024 * 1024;
const CHECKSUM_BYTES: usize = 16;
const DRAFT_EXTENSION: &str = "draft";
const FILE_MODE: u32 = 0o600;
const PUT: u8 = b'P';
const REMOVE: u8 = b'R';

/// A key, and its value or none for a removal.
type Entry<'a> = (&'a [u8], Option<&'a [u8]>);

fn rewrite_at(snapshot_bytes: u64) -> u64 {
    snapshot_bytes.saturating_mul(2).max(REWRITE_BYTES_MIN)
}

fn entry_of(change: &Change) -> Entry<'_> {
    match change {
        Change::Put { key, value } => (key, Some(value)),
        Change::Remove { key } => (key, None),
    }
}

fn frame<'a>(sequence: u64, entries: impl Iterator<Item = Entry<'a>>) -> Vec<u8> {
    let mut payload = sequence.to_be_bytes().to_vec();
    for (key, value) in entries {
        payload.push(if value.is_some() { PUT } else { REMOVE });
        payload.extend(framing::join(&[key]));
        payload.extend(value.map(|value| framing::join(&[value])).unwrap_or_default());
    }
    let mut frame = (payload.len() as u64).to_be_bytes().to_vec();
    frame.extend_from_slice(&checksum(&payload));
    frame.append(&mut payload);
    frame
}

fn checksum(payload: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut checksum = [0; CHECKSUM_BYTES];
    checksum.copy_from_slice(&Sha256::digest(payload)[..CHECKSUM_BYTES]);
    checksum
}

fn replay(bytes: &[u8]) -> Option<Recorded> {
    let mut rest = bytes;
    let mut recorded: Option<Recorded> = None;
    let mut tail = Tail::Clean;
    while !rest.is_empty() {
        let (payload, after) = match take_payload(rest) {
            Ok(taken) => taken,
            Err(found) => {
                tail = found;
                break;
            }
        };
        let expected = recorded.as_ref().map(|recorded| recorded.sequence + 1);
        let entries = recorded.as_mut().map(|recorded| std::mem::take(&mut recorded.entries)).unwrap_or_default();
        // A frame with a right checksum was written by this code; one that does not fit was put there by a hand.
        let (sequence, entries) = apply(payload, expected, entries)?;
        rest = after;
        recorded = Some(Recorded { sequence, entries, tail, bytes: (bytes.len() - rest.len()) as u64 });
    }
    recorded.map(|recorded| Recorded { tail, ..recorded })
}

fn take_payload(bytes: &[u8]) -> Result<(&[u8], &[u8]), Tail> {
    let (length, rest) = bytes.split_first_chunk().ok_or(Tail::Torn)?;
    let (expected, rest) = rest.split_first_chunk::<CHECKSUM_BYTES>().ok_or(Tail::Torn)?;
    let length = usize::try_from(u64::from_be_bytes(*length)).map_err(|_| Tail::Damaged)?;
    let (payload, after) = rest.split_at_checked(length).ok_or(Tail::Torn)?;
    if checksum(payload) == *expected {
        return Ok((payload, after));
    }
    // A frame's length can reach the disk before all of its bytes do, but only as the last one.
    Err(if after.is_empty() { Tail::Torn } else { Tail::Damaged })
}

type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

fn apply(payload: &[u8], expected: Option<u64>, mut entries: Entries) -> Option<(u64, Entries)> {
    let (sequence, mut rest) = payload.split_first_chunk()?;
    let sequence = u64::from_be_bytes(*sequence);
    if expected.is_some_and(|expected| expected != sequence) {
        return None;
    }
    while let Some((kind, after)) = rest.split_first() {
        let (key, after) = framing::take(after)?;
        rest = after;
        match *kind {
            PUT => {
                let (value, after) = framing::take(rest)?;
                entries.insert(key.to_owned(), value.to_owned());
                rest = after;
            }
            REMOVE => drop(entries.remove(key)),
            _ => return None,
        }
    }
    Some((sequence, entries))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn put(key: &[u8], value: &[u8]) -> Change {
        Change::Put { key: key.to_vec(), value: value.to_vec() }
    }

    fn written(folder: &Path) -> PathBuf {
        let path = folder.join("store.journal");
        let mut journal = Journal::unwritten(&path);
        journal.rewrite(5, &[(b"a".to_vec(), b"1".to_vec()), (b"b".to_vec(), b"".to_vec())]).unwrap();
        journal.append(6, &[put(b"a", b"2"), put(b"c", b"3")]).unwrap();
        let mut journal = Journal::resume(&path, &read(&path).unwrap().unwrap()).unwrap();
        journal.append(7, &[Change::Remove { key: b"b".to_vec() }]).unwrap();
        path
    }

    #[test]
    fn a_snapshot_and_the_changes_after_it_are_replayed() {
        let folder = tempfile::tempdir().unwrap();
        let recorded = read(&written(folder.path())).unwrap().unwrap();
        assert_eq!((recorded.sequence, recorded.tail), (7, Tail::Clean));
        let entries: Vec<Pair> = recorded.entries.into_iter().collect();
        assert_eq!(entries, [(b"a".to_vec(), b"2".to_vec()), (b"c".to_vec(), b"3".to_vec())]);
    }

    #[test]
    fn a_missing_journal_is_none() {
        assert!(read(Path::new("/nowhere/store.journal")).unwrap().is_none());
    }

    #[test]
    fn a_cut_journal_ends_with_its_last_whole_frame() {
        let folder = tempfile::tempdir().unwrap();
        let bytes = fs::read(written(folder.path())).unwrap();
        for length in 1..bytes.len() {
            let Some(recorded) = replay(&bytes[..length]) else { continue };
            assert!(recorded.sequence < 7);
            let ends_with_a_frame = recorded.bytes == length as u64;
            assert_eq!(recorded.tail, if ends_with_a_frame { Tail::Clean } else { Tail::Torn }, "cut to {length}");
        }
    }

    #[test]
    fn a_frame_spoilt_before_the_last_is_told_from_a_torn_one() {
        let folder = tempfile::tempdir().unwrap();
        let mut bytes = fs::read(written(folder.path())).unwrap();
        let first = 8 + usize::try_from(u64::from_be_bytes(bytes[..8].try_into().unwrap())).unwrap() + CHECKSUM_BYTES;
        bytes[first + 8 + CHECKSUM_BYTES + 3] ^= 1;
        let recorded = replay(&bytes).unwrap();
        assert_eq!((recorded.sequence, recorded.tail), (5, Tail::Damaged));
    }

    #[test]
    fn a_journal_that_failed_once_takes_nothing_before_it_is_rewritten() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::unwritten(&folder.path().join("store.journal"));
        assert!(journal.wants_rewrite());
        assert!(journal.append(1, &[]).is_err());
        journal.rewrite(1, &[]).unwrap();
        assert!(!journal.wants_rewrite());
    }

    #[test]
    fn a_journal_that_grew_long_wants_a_rewrite() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::unwritten(&folder.path().join("store.journal"));
        journal.rewrite(1, &[]).unwrap();
        journal.append(2, &[put(b"a", &vec![0; usize::try_from(REWRITE_BYTES_MIN).unwrap()])]).unwrap();
        assert!(journal.wants_rewrite());
        journal.rewrite(2, &[]).unwrap();
        assert!(!journal.wants_rewrite());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            let _ = replay(&bytes);
        }
    }
}
