//! What OpenSSL, by far the most used verifier among agents, thinks of our certificates in its
//! strictest mode. The tests refuse to pass where the `openssl` program is missing: they would
//! prove nothing.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::SystemTime;

use tempfile::TempDir;

use crate::key::LeafKey;
use crate::root::pem;
use crate::testing::{now, root, server_name};
use crate::validity::utc;
use crate::{Error, Root, leaf};

/// Runs `openssl` and returns what it printed.
fn openssl(arguments: &[&str]) -> Output {
    Command::new("openssl")
        .args(arguments)
        .output()
        .expect("these tests need the `openssl` program on PATH: install the package `openssl`")
}

/// Verifies a leaf for `name` under `root` at the fixed present as a TLS client would, with
/// `expectation` (`-verify_hostname` or `-verify_ip`) of `expected`.
fn verify(root: &Root, name: &str, expectation: &str, expected: &str) -> Result<(), String> {
    verify_at(now(), root, name, expectation, expected)
}

fn verify_at(at: SystemTime, root: &Root, name: &str, expectation: &str, expected: &str) -> Result<(), String> {
    let at = utc(at).unwrap();
    let key = LeafKey::generate().unwrap();
    let leaf = leaf::issue(root, &key.public, &server_name(name), at).unwrap();

    let directory = TempDir::new().unwrap();
    let root_file = write(&directory, "root.pem", root.certificate_pem().as_bytes());
    let leaf_file = write(&directory, "leaf.pem", pem(&leaf.certificate).as_bytes());
    let at_seconds = at.unix_timestamp().to_string();
    let output = openssl(&[
        "verify",
        "-x509_strict",
        "-check_ss_sig",
        "-purpose",
        "sslserver",
        "-attime",
        &at_seconds,
        "-no-CApath",
        "-no-CAstore",
        "-CAfile",
        text(&root_file),
        expectation,
        expected,
        text(&leaf_file),
    ]);
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}

fn write(directory: &TempDir, name: &str, content: &[u8]) -> PathBuf {
    let path = directory.path().join(name);
    std::fs::write(&path, content).unwrap();
    path
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A root made by OpenSSL with `subject`, as an operator would bring one: certificate and PKCS#8
/// key, both DER. It begins at the real present, as older versions of the program know no other.
fn foreign_root(subject: &str) -> (Vec<u8>, Vec<u8>) {
    let directory = TempDir::new().unwrap();
    let file = |name| directory.path().join(name);
    let (key_pem, key, certificate) = (file("key.pem"), file("key.der"), file("root.der"));
    for line in [
        format!("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out {}", text(&key_pem)),
        format!("pkcs8 -topk8 -nocrypt -in {} -outform DER -out {}", text(&key_pem), text(&key)),
    ] {
        let output = openssl(&line.split(' ').collect::<Vec<_>>());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let output = openssl(&[
        "req",
        "-new",
        "-x509",
        "-days",
        "3650",
        "-key",
        text(&key_pem),
        "-subj",
        subject,
        "-addext",
        "keyUsage=critical,keyCertSign",
        "-outform",
        "DER",
        "-out",
        text(&certificate),
    ]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    (std::fs::read(&certificate).unwrap(), std::fs::read(&key).unwrap())
}

#[test]
fn openssl_accepts_a_leaf_for_a_dns_name() {
    let root = root();
    for name in ["api.acme.test", "xn--bcher-kva.test"] {
        assert_eq!(verify(&root, name, "-verify_hostname", name), Ok(()));
    }
}

#[test]
fn openssl_accepts_a_leaf_for_a_name_longer_than_a_common_name() {
    let name = format!("{}.{}.acme.test", "a".repeat(63), "b".repeat(63));
    assert_eq!(verify(&root(), &name, "-verify_hostname", &name), Ok(()));
}

#[test]
fn openssl_accepts_a_leaf_for_an_ip_address() {
    let root = root();
    for name in ["192.0.2.7", "2001:db8::7"] {
        assert_eq!(verify(&root, name, "-verify_ip", name), Ok(()));
    }
}

#[test]
fn openssl_refuses_a_leaf_under_another_name() {
    let refused = verify(&root(), "api.acme.test", "-verify_hostname", "www.acme.test").unwrap_err();
    assert!(refused.contains("hostname mismatch"), "{refused}");
    let refused = verify(&root(), "192.0.2.7", "-verify_ip", "192.0.2.8").unwrap_err();
    assert!(refused.contains("IP address mismatch"), "{refused}");
}

#[test]
fn openssl_prints_the_same_fingerprint() {
    let root = root();
    let directory = TempDir::new().unwrap();
    let file = write(&directory, "root.pem", root.certificate_pem().as_bytes());
    let output = openssl(&["x509", "-in", text(&file), "-noout", "-fingerprint", "-sha256"]);
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(printed.trim_end().ends_with(&format!("={}", root.fingerprint())), "{printed}");
}

#[test]
fn a_root_made_by_openssl_signs_leaves_that_openssl_accepts() {
    let (certificate, key) = foreign_root("/C=CH/O=Acme/OU=Platform/CN=Acme agents");
    let present = SystemTime::now();
    let root = Root::from_parts(&certificate, &key, present).unwrap();
    assert_eq!(root.key_pkcs8().as_slice(), key);
    let verdict = verify_at(present, &root, "api.acme.test", "-verify_hostname", "api.acme.test");
    assert_eq!(verdict, Ok(()));
}

/// rcgen keeps one value per attribute, so such a root would have signed leaves that no verifier
/// chains to it.
#[test]
fn a_root_whose_subject_cannot_be_copied_is_refused() {
    let (certificate, key) = foreign_root("/O=Acme/OU=Platform/OU=Agents/CN=Acme agents");
    let error = Root::from_parts(&certificate, &key, SystemTime::now()).unwrap_err();
    assert!(matches!(error, Error::SubjectNotCopyable), "{error}");
}
