//! The first entries of a store: its format version and id in the clear, and a sealed canary that tells the right key
//! ring from a wrong one. A store that it cannot vouch for is never written to.

use std::path::Path;

use super::engine::{Change, Engine, EngineError};
use super::{Fault, OpenError, key_of};
use crate::random;
use crate::ring::KeyRing;
use crate::seal::{self, OpenFailure, Shelf, StoreId};

/// The store format that is written, and the latest that is read.
pub const FORMAT: u32 = 1;

/// Checks that `ring` opens the store behind `engine`, or writes a header where the store is quite empty. `data` is
/// the folder that errors name.
pub(super) fn check_or_make(engine: &dyn Engine, ring: &KeyRing, data: &Path) -> Result<StoreId, OpenError> {
    let disk = |error: EngineError| OpenError::disk(data, error);
    let Some(format) = engine.read(FORMAT_KEY).map_err(disk)? else {
        // The header is written in one piece before anything else: records without one are a damaged store.
        let empty = engine.scan(b"").map_err(disk)?.is_empty();
        return if empty { make(engine, ring, data) } else { Err(damaged(data, "it has records but no header")) };
    };
    let Ok(format) = <[u8; 4]>::try_from(format) else {
        return Err(damaged(data, "its format version is unreadable"));
    };
    let format = u32::from_be_bytes(format);
    if format > FORMAT {
        return Err(OpenError::NewerFormat { data: data.to_owned(), found: format });
    }

    let store_id = engine.read(STORE_ID_KEY).map_err(disk)?.and_then(|id| id.try_into().ok()).map(StoreId);
    let canary = engine.read(&key_of(CANARY)).map_err(disk)?;
    let (Some(store_id), Some(canary)) = (store_id, canary) else {
        return Err(damaged(data, "its header is incomplete"));
    };
    match seal::open(ring, store_id, CANARY, &canary) {
        Ok(_) => Ok(store_id),
        Err(OpenFailure::UnknownKey(sealed_by)) => {
            Err(OpenError::MasterKeyMismatch { data: data.to_owned(), sealed_by, given: ring.sealing().id() })
        }
        Err(failure) => Err(damaged(data, failure)),
    }
}

// The keys of records begin with a length, and so with a zero byte; these two cannot meet them.
const FORMAT_KEY: &[u8] = b"format";
const STORE_ID_KEY: &[u8] = b"store-id";
const CANARY: Shelf<'static> = Shelf { tree: "store", record: "canary", field: "" };

fn make(engine: &dyn Engine, ring: &KeyRing, data: &Path) -> Result<StoreId, OpenError> {
    let store_id = StoreId(random::bytes()?);
    let canary = seal::seal(ring, store_id, CANARY, 1, b"")?;
    let header = [
        Change::Put { key: FORMAT_KEY.to_vec(), value: FORMAT.to_be_bytes().to_vec() },
        Change::Put { key: STORE_ID_KEY.to_vec(), value: store_id.0.to_vec() },
        Change::Put { key: key_of(CANARY), value: canary },
    ];
    engine.apply(&header).map_err(|error| OpenError::disk(data, error))?;
    Ok(store_id)
}

fn damaged(data: &Path, why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> OpenError {
    OpenError::Disk { data: data.to_owned(), fault: Fault::Damaged, source: why.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::MasterKey;
    use crate::store::sled::SledEngine;

    fn engine() -> (tempfile::TempDir, SledEngine) {
        let folder = tempfile::tempdir().unwrap();
        let engine = SledEngine::open(folder.path()).unwrap();
        (folder, engine)
    }

    fn ring() -> KeyRing {
        KeyRing::new(MasterKey::generate().unwrap(), Vec::new())
    }

    fn check(engine: &SledEngine, ring: &KeyRing) -> Result<StoreId, OpenError> {
        check_or_make(engine, ring, Path::new("/data"))
    }

    #[test]
    fn an_empty_store_gets_a_header_and_keeps_it() {
        let (_folder, engine) = engine();
        let ring = ring();
        let store_id = check(&engine, &ring).unwrap();
        assert_eq!(check(&engine, &ring).unwrap(), store_id);
    }

    #[test]
    fn a_newer_format_is_refused_by_name() {
        let (_folder, engine) = engine();
        let ring = ring();
        check(&engine, &ring).unwrap();
        let newer = Change::Put { key: FORMAT_KEY.to_vec(), value: 2_u32.to_be_bytes().to_vec() };
        engine.apply(&[newer]).unwrap();
        let error = check(&engine, &ring).unwrap_err();
        assert!(matches!(error, OpenError::NewerFormat { found: 2, .. }), "{error}");
    }

    #[test]
    fn records_without_a_header_are_a_damaged_store_and_not_an_empty_one() {
        let (_folder, engine) = engine();
        engine.apply(&[Change::Put { key: b"stray".to_vec(), value: vec![1] }]).unwrap();
        let error = check(&engine, &ring()).unwrap_err();
        assert!(matches!(error, OpenError::Disk { fault: Fault::Damaged, .. }), "{error}");
    }

    #[test]
    fn a_header_without_its_canary_is_a_damaged_store() {
        let (_folder, engine) = engine();
        let ring = ring();
        check(&engine, &ring).unwrap();
        engine.apply(&[Change::Remove { key: key_of(CANARY) }]).unwrap();
        let error = check(&engine, &ring).unwrap_err();
        assert!(matches!(error, OpenError::Disk { fault: Fault::Damaged, .. }), "{error}");
    }

    #[test]
    fn an_exchanged_store_id_is_a_damaged_store() {
        let (_folder, engine) = engine();
        let ring = ring();
        check(&engine, &ring).unwrap();
        engine.apply(&[Change::Put { key: STORE_ID_KEY.to_vec(), value: vec![0; 16] }]).unwrap();
        let error = check(&engine, &ring).unwrap_err();
        assert!(matches!(error, OpenError::Disk { fault: Fault::Damaged, .. }), "{error}");
    }
}
