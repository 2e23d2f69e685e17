//! A key for signed assertions, made and judged by openssl: it shares no code with the signer under test.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use tempfile::TempDir;

use crate::tools::{run, tool};

/// An RSA key that openssl made, and how it judges what was signed with it.
pub(crate) struct RsaKey {
    folder: TempDir,
}

impl RsaKey {
    /// A fresh one.
    pub(crate) fn make() -> Self {
        let key = Self { folder: TempDir::new().unwrap() };
        run(Command::new(tool("openssl", "openssl"))
            .args(["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out"])
            .arg(key.path("key.pem")));
        run(Command::new(tool("openssl", "openssl"))
            .args(["pkey", "-pubout", "-in"])
            .arg(key.path("key.pem"))
            .arg("-out")
            .arg(key.path("public.pem")));
        key
    }

    /// Where the file of this name is or will be; the private key is `key.pem`.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The private key.
    pub(crate) fn pem(&self) -> String {
        fs::read_to_string(self.path("key.pem")).unwrap()
    }

    /// Header and claims of an assertion whose RS256 signature is right (RFC 7515 §5.2, RFC 7518 §3.3).
    #[track_caller]
    pub(crate) fn opened(&self, assertion: &str) -> (Value, Value) {
        let [header, claims, signature] = assertion.split('.').collect::<Vec<_>>().try_into().unwrap();
        fs::write(self.path("signed"), format!("{header}.{claims}")).unwrap();
        fs::write(self.path("signature"), URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();
        run(Command::new(tool("openssl", "openssl"))
            .args(["dgst", "-sha256", "-verify"])
            .arg(self.path("public.pem"))
            .arg("-signature")
            .arg(self.path("signature"))
            .arg(self.path("signed")));
        let read = |part| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
        (read(header), read(claims))
    }
}
