//! What can be wrong with the disk under the store, sorted by what the operator has to do about it. It repairs
//! nothing, and a fault it does not know keeps the system's own words.

use std::io;
use std::path::Path;

/// A trouble of the disk or the database files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Another process holds the database.
    InUse,
    /// The file system is mounted read-only.
    ReadOnly,
    /// The process may not read or write the files.
    Forbidden,
    /// The disk or the quota is full.
    Full,
    /// The database files do not hold together.
    Damaged,
    /// Anything else; the source tells more.
    Failed,
}

impl Fault {
    /// Sorts an error of the operating system.
    pub(crate) fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::ResourceBusy => Self::InUse,
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly,
            io::ErrorKind::PermissionDenied => Self::Forbidden,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full,
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => Self::Damaged,
            _ => Self::Failed,
        }
    }

    /// What is wrong with the data folder `data`, and what to do about it.
    pub(crate) fn advice(self, data: &Path) -> String {
        let data = data.display();
        match self {
            Self::InUse => {
                format!("another postern is using {data}; stop it or talk to it through {data}/admin.sock")
            }
            Self::ReadOnly => {
                format!("{data} is on a read-only file system; mount it writable, or choose another folder with --data")
            }
            Self::Forbidden => {
                format!(
                    "postern's user may not write in {data}; give it the folder (chown -R), or choose another with --data"
                )
            }
            Self::Full => format!("the disk that holds {data} is full; free some space there"),
            Self::Damaged => {
                format!("the database in {data}/store is damaged; keep a copy of {data} and put its last backup back")
            }
            Self::Failed => format!("the database in {data}/store cannot be used"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(kind: io::ErrorKind) -> Fault {
        Fault::of(&io::Error::from(kind))
    }

    #[test]
    fn each_error_of_the_system_finds_its_fault() {
        assert_eq!(sorted(io::ErrorKind::ReadOnlyFilesystem), Fault::ReadOnly);
        assert_eq!(sorted(io::ErrorKind::PermissionDenied), Fault::Forbidden);
        assert_eq!(sorted(io::ErrorKind::StorageFull), Fault::Full);
        assert_eq!(sorted(io::ErrorKind::QuotaExceeded), Fault::Full);
        assert_eq!(sorted(io::ErrorKind::WouldBlock), Fault::InUse);
        assert_eq!(sorted(io::ErrorKind::UnexpectedEof), Fault::Damaged);
        assert_eq!(sorted(io::ErrorKind::ConnectionReset), Fault::Failed);
    }

    #[test]
    fn a_store_in_use_names_the_socket_to_talk_to() {
        let advice = Fault::InUse.advice(Path::new("/var/lib/postern"));
        assert_eq!(
            advice,
            "another postern is using /var/lib/postern; stop it or talk to it through /var/lib/postern/admin.sock"
        );
    }

    #[test]
    fn every_fault_names_the_folder() {
        for fault in [Fault::InUse, Fault::ReadOnly, Fault::Forbidden, Fault::Full, Fault::Damaged, Fault::Failed] {
            assert!(fault.advice(Path::new("/data")).contains("/data"), "{fault:?}");
        }
    }
}
