//! The certificate files that agents are pointed at: postern's own CA, and that CA beside the system's roots as a PEM
//! bundle and as a Java trust store. It writes certificates only, never a key, and never leaves a half-written file.

use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use p12_keystore::{Certificate, KeyStore, KeyStoreEntry, Pkcs12ImportPolicy};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

/// Only postern's CA, for runtimes that add it to the roots they have.
pub(crate) const CA_FILE: &str = "ca.pem";
/// The system's roots and postern's CA, for runtimes that trust nothing besides the file they are given.
pub(crate) const BUNDLE_FILE: &str = "bundle.pem";
/// What [`BUNDLE_FILE`] holds, as a PKCS#12 trust store that Java reads (8u301, 11.0.12, 17 and later).
pub(crate) const TRUSTSTORE_FILE: &str = "trust.p12";
/// The password of [`TRUSTSTORE_FILE`]. It is public, Java's own default, and guards nothing: the store holds only
/// certificates, and PKCS#12 merely wants a password.
pub(crate) const TRUSTSTORE_PASSWORD: &str = "changeit";

/// Most certificates of our own: the present CA, and earlier or later ones while it is being replaced.
const OWN_CERTIFICATES_MAX: usize = 8;
/// Most roots taken from the system; distributions ship about 150.
const SYSTEM_ROOTS_MAX: usize = 2000;
/// Largest trust file that is read back for comparison, in bytes.
const TRUST_FILE_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// Everybody may read certificates; agents often run as another user.
const TRUST_FILE_MODE: u32 = 0o644;
/// RFC 7468 §2: base64 lines of 64 characters.
const PEM_LINE_CHARACTERS: usize = 64;

/// The certificates an agent should trust: ours, then the system's roots.
#[derive(Debug)]
pub(crate) struct TrustAnchors {
    ours: Vec<Certificate>,
    system: Vec<Certificate>,
    warnings: Vec<String>,
}

impl TrustAnchors {
    /// Reads the system's roots (`SSL_CERT_FILE` and `SSL_CERT_DIR` first, as OpenSSL does) and puts our CA beside
    /// them. Anything but certificates in `ca_pem` is dropped, a private key above all.
    ///
    /// # Errors
    /// When `ca_pem` holds no certificate, too many, or a broken one. Trouble with the system's roots is no error: see
    /// [`warnings`](Self::warnings).
    pub(crate) fn beside_system_roots(ca_pem: &str) -> Result<Self> {
        let system = rustls_native_certs::load_native_certs();
        let mut anchors = Self::new(ca_pem, system.certs)?;
        if let Some(first) = system.errors.first() {
            let count = system.errors.len();
            anchors.warnings.push(format!("{count} of the system's certificate files were not readable: {first}"));
        }
        Ok(anchors)
    }

    /// What the operator should hear about the system's roots, in sentences.
    pub(crate) fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Our certificates only, as PEM.
    pub(crate) fn ca_pem(&self) -> String {
        self.ours.iter().map(pem).collect()
    }

    /// Our certificates, then the system's roots, as PEM.
    pub(crate) fn bundle_pem(&self) -> String {
        self.ours.iter().chain(&self.system).map(pem).collect()
    }

    /// Brings [`CA_FILE`], [`BUNDLE_FILE`] and [`TRUSTSTORE_FILE`] in `folder` up to date, each replaced at once or
    /// left alone where it already says the same. The folder is made if missing.
    ///
    /// Returns the names of the files that changed.
    ///
    /// # Errors
    /// When the folder or a file in it cannot be written.
    pub(crate) fn write_to(&self, folder: &Path) -> Result<Vec<&'static str>> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
        let mut changed = Vec::new();
        for (name, text) in [(CA_FILE, self.ca_pem()), (BUNDLE_FILE, self.bundle_pem())] {
            let present = read_public(&folder.join(name));
            if present.is_none_or(|present| present != text.as_bytes()) {
                replace(folder, name, text.as_bytes())?;
                changed.push(name);
            }
        }
        // Each writing salts the store anew, so what it holds is compared, not its bytes.
        let store = self.truststore();
        let present = read_public(&folder.join(TRUSTSTORE_FILE));
        if present.is_none_or(|present| !holds_same(&present, &store)) {
            let bytes = store.writer(TRUSTSTORE_PASSWORD).write().context("cannot encode the Java trust store")?;
            replace(folder, TRUSTSTORE_FILE, &bytes)?;
            changed.push(TRUSTSTORE_FILE);
        }
        Ok(changed)
    }

    fn new(ca_pem: &str, system: Vec<CertificateDer<'static>>) -> Result<Self> {
        let ours = own_certificates(ca_pem)?;
        let mut anchors = Self { ours, system: Vec::new(), warnings: Vec::new() };
        anchors.adopt(system);
        Ok(anchors)
    }

    /// A root that bears our CA's name but is not ours is one of its predecessors, left in the system's store or in a
    /// bundle of ours that `SSL_CERT_FILE` still points at; it must not live on in what we write.
    fn adopt(&mut self, roots: Vec<CertificateDer<'static>>) {
        let mut seen: BTreeSet<Vec<u8>> = self.ours.iter().map(|own| own.as_der().to_vec()).collect();
        let mut broken = 0_usize;
        let mut surplus = 0_usize;
        for der in roots {
            if !seen.insert(der.to_vec()) {
                continue;
            }
            let Ok(root) = Certificate::from_der(&der) else {
                broken += 1;
                continue;
            };
            if self.ours.iter().any(|own| own.subject() == root.subject()) {
                continue;
            }
            if self.system.len() == SYSTEM_ROOTS_MAX {
                surplus += 1;
                continue;
            }
            self.system.push(root);
        }
        if broken > 0 {
            self.warnings.push(format!("{broken} of the system's root certificates are malformed and were left out"));
        }
        if surplus > 0 {
            self.warnings.push(format!(
                "this system trusts more than {SYSTEM_ROOTS_MAX} roots; {surplus} were left out, so hosts that rely \
                 on them will not be trusted"
            ));
        }
        if self.system.is_empty() {
            self.warnings.push(format!(
                "no root certificate was found on this system, so {BUNDLE_FILE} and {TRUSTSTORE_FILE} hold only \
                 postern's own CA and hosts that are tunnelled will not be trusted; install the ca-certificates \
                 package or point SSL_CERT_FILE at the roots"
            ));
        }
    }

    /// Java folds the case of aliases and PKCS#12 wants them in UCS-2, hence plain numbers.
    fn truststore(&self) -> KeyStore {
        let mut store = KeyStore::new();
        for (prefix, certificates) in [("postern", &self.ours), ("system", &self.system)] {
            for (number, certificate) in (1..).zip(certificates) {
                store.add_entry(&format!("{prefix}-{number:04}"), KeyStoreEntry::Certificate(certificate.clone()));
            }
        }
        store
    }
}

fn own_certificates(ca_pem: &str) -> Result<Vec<Certificate>> {
    const REMEDY: &str = "restore it from a backup, or start over with a new data folder";
    let mut ours: Vec<Certificate> = Vec::new();
    for der in CertificateDer::pem_slice_iter(ca_pem.as_bytes()) {
        let der = der.with_context(|| format!("postern's CA certificate is not valid PEM; {REMEDY}"))?;
        let certificate = Certificate::from_der(&der)
            .with_context(|| format!("postern's CA certificate is not valid X.509; {REMEDY}"))?;
        if !ours.contains(&certificate) {
            ours.push(certificate);
        }
        ensure!(ours.len() <= OWN_CERTIFICATES_MAX, "more than {OWN_CERTIFICATES_MAX} CA certificates; {REMEDY}");
    }
    ensure!(!ours.is_empty(), "there is no certificate where postern's CA should be; {REMEDY}");
    Ok(ours)
}

fn pem(certificate: &Certificate) -> String {
    let base64 = STANDARD.encode(certificate.as_der());
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    for (position, character) in base64.char_indices() {
        if position > 0 && position % PEM_LINE_CHARACTERS == 0 {
            text.push('\n');
        }
        text.push(character);
    }
    text + "\n-----END CERTIFICATE-----\n"
}

/// What the file says, or `None` where it should be written again: missing, unreadable, oversized or of another mode.
fn read_public(path: &Path) -> Option<Vec<u8>> {
    let metadata = fs::symlink_metadata(path).ok()?;
    if !metadata.is_file() || metadata.permissions().mode() & 0o7777 != TRUST_FILE_MODE {
        return None;
    }
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(TRUST_FILE_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// Reading strictly, so that an entry which Java would not trust counts as missing.
fn holds_same(bytes: &[u8], wanted: &KeyStore) -> bool {
    KeyStore::from_pkcs12(bytes, TRUSTSTORE_PASSWORD, Pkcs12ImportPolicy::Strict)
        .is_ok_and(|present| present.entries().eq(wanted.entries()))
}

fn replace(folder: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    let cannot = || format!("cannot write {}", folder.join(name).display());
    let mut file = tempfile::Builder::new().prefix(&format!(".{name}.")).tempfile_in(folder).with_context(cannot)?;
    file.write_all(bytes).with_context(cannot)?;
    file.as_file().set_permissions(Permissions::from_mode(TRUST_FILE_MODE)).with_context(cannot)?; // whatever the umask
    file.as_file().sync_all().with_context(cannot)?;
    file.persist(folder.join(name)).with_context(cannot)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Output};

    use tempfile::TempDir;

    use super::*;
    use crate::environment::{self, KeyText, ProxyEndpoint, Recipe, TrustFiles};

    const OURS: &str = "\
-----BEGIN CERTIFICATE-----
MIIBwDCCAWWgAwIBAgIUcaAQKKh1bdxgTY5tNf015+BY/fcwCgYIKoZIzj0EAwIw
LDEQMA4GA1UECgwHcG9zdGVybjEYMBYGA1UEAwwPcG9zdGVybiB0ZXN0IENBMCAX
DTI2MTEyMTIzNDgxN1oYDzIxMjYxMDI4MjM0ODE3WjAsMRAwDgYDVQQKDAdwb3N0
ZXJuMRgwFgYDVQQDDA9wb3N0ZXJuIHRlc3QgQ0EwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAARlmUaQPEMbxYUu9G+SpBfCi2Kmmjf4SjFNxPJtjbREsuoVhP2SfYnh
mky/grTiNfweUJizWSTLXhRxVKMiOZ5Oo2MwYTAdBgNVHQ4EFgQUirz1RmdFV4fS
sKnEddtiDl1MYGQwHwYDVR0jBBgwFoAUirz1RmdFV4fSsKnEddtiDl1MYGQwDwYD
VR0TAQH/BAUwAwEB/zAOBgNVHQ8BAf8EBAMCAgQwCgYIKoZIzj0EAwIDSQAwRgIh
APWUXmv9uM0Ufki58ZpjVzhYCnYMGdeZpz9zA3JI0CMxAiEAzCDyyGxS5ntQI8MR
HsExjYdQMaOhfuFs0he/T2znffU=
-----END CERTIFICATE-----
";
    /// Of the same name as `OURS`, with another key.
    const PREDECESSOR: &str = "\
-----BEGIN CERTIFICATE-----
MIIBvjCCAWWgAwIBAgIUHLdzi1K3UCTWl0Fa1x+dgSaijC8wCgYIKoZIzj0EAwIw
LDEQMA4GA1UECgwHcG9zdGVybjEYMBYGA1UEAwwPcG9zdGVybiB0ZXN0IENBMCAX
DTI2MTEyMTIzNDgxN1oYDzIxMjYxMDI4MjM0ODE3WjAsMRAwDgYDVQQKDAdwb3N0
ZXJuMRgwFgYDVQQDDA9wb3N0ZXJuIHRlc3QgQ0EwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAARQh2qlal5LIOEeHaqkMEN+DmlTEww1wUHrI+Mu0JxcqCszAt29x0Re
/gWUnUBJWJl/X338ytahMixsfTDaXESeo2MwYTAdBgNVHQ4EFgQUb5elWYo+sLUK
rm/4UifbPvRBtmswHwYDVR0jBBgwFoAUb5elWYo+sLUKrm/4UifbPvRBtmswDwYD
VR0TAQH/BAUwAwEB/zAOBgNVHQ8BAf8EBAMCAgQwCgYIKoZIzj0EAwIDRwAwRAIg
TVaiGlRoP8sKtBLoiythBMlY9+FX4Im2FQH8R31zuZ4CIFwy5NxIFibLsh8YFrcD
E2wsRnXWiQME2Z27BL4wH31S
-----END CERTIFICATE-----
";
    const ELSEWHERE: &str = "\
-----BEGIN CERTIFICATE-----
MIIBujCCAV+gAwIBAgIUCmBXdRJkfkYLiU59oDQUEk2GydYwCgYIKoZIzj0EAwIw
KTESMBAGA1UECgwJRWxzZXdoZXJlMRMwEQYDVQQDDApPdGhlciBSb290MCAXDTI2
MTEyMTIzNDgxN1oYDzIxMjYxMDI4MjM0ODE3WjApMRIwEAYDVQQKDAlFbHNld2hl
cmUxEzARBgNVBAMMCk90aGVyIFJvb3QwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNC
AASvzvhytK3UeNIr2ZT2/U0cyta956Ua1Qy0uoUozgLcLVQEAflLI2CE928ZS65K
exSqFEThr6T2Srw/f1QoQayZo2MwYTAdBgNVHQ4EFgQUUk9XoepPXOuJY8sQFE7e
5NkuMqowHwYDVR0jBBgwFoAUUk9XoepPXOuJY8sQFE7e5NkuMqowDwYDVR0TAQH/
BAUwAwEB/zAOBgNVHQ8BAf8EBAMCAgQwCgYIKoZIzj0EAwIDSQAwRgIhALQQ/Pjz
X7pM90k6LAvov9g8fT4GulLLyvYhzBkbx/EhAiEAlRnWwLv401dzniSyIG4pZ9ai
TIhcnh7E8JxF+jTxLb4=
-----END CERTIFICATE-----
";

    fn der(pem: &str) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
    }

    fn anchors() -> TrustAnchors {
        TrustAnchors::new(OURS, vec![der(ELSEWHERE)]).unwrap()
    }

    fn written(anchors: &TrustAnchors) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        anchors.write_to(folder.path()).unwrap();
        folder
    }

    /// What a program of this machine says; scripts/test installs those that are needed.
    fn answer(command: &mut Command) -> String {
        let program = command.get_program().to_owned();
        let Output { status, stdout, stderr } =
            command.output().unwrap_or_else(|missing| panic!("{program:?} is needed here: {missing}"));
        let text = String::from_utf8(stdout).unwrap();
        assert!(status.success(), "{text} {}", String::from_utf8_lossy(&stderr));
        text
    }

    #[test]
    fn the_first_writing_makes_all_files_and_the_second_none() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(anchors().write_to(folder.path()).unwrap(), [CA_FILE, BUNDLE_FILE, TRUSTSTORE_FILE]);
        assert!(anchors().write_to(folder.path()).unwrap().is_empty());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
    }

    #[test]
    fn ca_pem_holds_ours_only_and_the_bundle_all() {
        let folder = written(&anchors());
        assert_eq!(fs::read_to_string(folder.path().join(CA_FILE)).unwrap(), OURS);
        assert_eq!(fs::read_to_string(folder.path().join(BUNDLE_FILE)).unwrap(), format!("{OURS}{ELSEWHERE}"));
    }

    #[test]
    fn everybody_may_read_the_files() {
        let folder = written(&anchors());
        fs::set_permissions(folder.path().join(BUNDLE_FILE), Permissions::from_mode(0o600)).unwrap();
        assert_eq!(anchors().write_to(folder.path()).unwrap(), [BUNDLE_FILE]);
        for name in [CA_FILE, BUNDLE_FILE, TRUSTSTORE_FILE] {
            let mode = fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o7777, 0o644, "{name}");
        }
    }

    #[test]
    fn a_damaged_missing_or_outdated_trust_store_is_written_again() {
        let folder = written(&anchors());
        let store = folder.path().join(TRUSTSTORE_FILE);
        fs::write(&store, b"damaged").unwrap();
        assert_eq!(anchors().write_to(folder.path()).unwrap(), [TRUSTSTORE_FILE]);
        fs::remove_file(&store).unwrap();
        assert_eq!(anchors().write_to(folder.path()).unwrap(), [TRUSTSTORE_FILE]);
        let grown = TrustAnchors::new(OURS, Vec::new()).unwrap();
        assert_eq!(grown.write_to(folder.path()).unwrap(), [BUNDLE_FILE, TRUSTSTORE_FILE]);
    }

    #[test]
    fn a_link_is_replaced_and_what_it_points_at_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let elsewhere = folder.path().join("elsewhere");
        fs::write(&elsewhere, OURS).unwrap();
        std::os::unix::fs::symlink(&elsewhere, folder.path().join(CA_FILE)).unwrap();
        let renewed = TrustAnchors::new(PREDECESSOR, Vec::new()).unwrap();
        renewed.write_to(folder.path()).unwrap();
        assert_eq!(fs::read_to_string(&elsewhere).unwrap(), OURS);
        assert_eq!(fs::read_to_string(folder.path().join(CA_FILE)).unwrap(), PREDECESSOR);
    }

    #[test]
    fn a_key_beside_the_certificate_never_reaches_the_files() {
        let key = "-----BEGIN PRIVATE KEY-----\nbm90IGEga2V5\n-----END PRIVATE KEY-----\n";
        let anchors = TrustAnchors::new(&format!("{key}{OURS}{key}"), Vec::new()).unwrap();
        assert_eq!(anchors.ca_pem(), OURS);
        assert_eq!(anchors.bundle_pem(), OURS);
    }

    #[test]
    fn nothing_is_listed_twice() {
        let anchors = TrustAnchors::new(&format!("{OURS}{OURS}"), vec![der(ELSEWHERE), der(OURS), der(ELSEWHERE)]);
        assert_eq!(anchors.unwrap().bundle_pem(), format!("{OURS}{ELSEWHERE}"));
    }

    #[test]
    fn a_predecessor_of_our_ca_does_not_live_on_in_the_bundle() {
        let anchors = TrustAnchors::new(OURS, vec![der(PREDECESSOR), der(ELSEWHERE)]).unwrap();
        assert_eq!(anchors.bundle_pem(), format!("{OURS}{ELSEWHERE}"));
    }

    #[test]
    fn two_certificates_of_ours_are_both_trusted_while_one_replaces_the_other() {
        let anchors = TrustAnchors::new(&format!("{OURS}{PREDECESSOR}"), vec![der(PREDECESSOR)]).unwrap();
        assert_eq!(anchors.ca_pem(), format!("{OURS}{PREDECESSOR}"));
        assert_eq!(anchors.truststore().entries_len(), 2);
    }

    #[test]
    fn a_system_without_roots_is_a_warning_and_ours_is_written_all_the_same() {
        let anchors = TrustAnchors::new(OURS, Vec::new()).unwrap();
        assert!(anchors.warnings()[0].contains("no root certificate was found"), "{:?}", anchors.warnings());
        assert_eq!(fs::read_to_string(written(&anchors).path().join(BUNDLE_FILE)).unwrap(), OURS);
    }

    #[test]
    fn a_malformed_root_is_left_out_with_a_warning() {
        let anchors = TrustAnchors::new(OURS, vec![CertificateDer::from(vec![0x30, 0x00]), der(ELSEWHERE)]).unwrap();
        assert_eq!(anchors.bundle_pem(), format!("{OURS}{ELSEWHERE}"));
        assert!(anchors.warnings()[0].starts_with("1 of the system's root certificates"), "{:?}", anchors.warnings());
    }

    #[test]
    fn a_missing_or_broken_ca_is_an_error() {
        let broken = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
        for ca_pem in ["", "no certificate", broken, "-----BEGIN CERTIFICATE-----\n"] {
            assert!(TrustAnchors::new(ca_pem, Vec::new()).is_err(), "{ca_pem:?}");
        }
    }

    #[test]
    fn openssl_verifies_our_certificate_against_each_pem_file() {
        let folder = written(&anchors());
        for name in [CA_FILE, BUNDLE_FILE] {
            let verdict = answer(
                Command::new("openssl")
                    .args(["verify", "-no_check_time", "-CAfile", name, CA_FILE])
                    .current_dir(folder.path()),
            );
            assert_eq!(verdict, "ca.pem: OK\n");
        }
    }

    #[test]
    fn keytool_lists_every_certificate_as_trusted() {
        let anchors = TrustAnchors::beside_system_roots(&format!("{OURS}{ELSEWHERE}")).unwrap();
        let folder = written(&anchors);
        let store = folder.path().join(TRUSTSTORE_FILE);
        let listing = answer(
            Command::new("keytool")
                .args(["-list", "-storetype", "PKCS12", "-storepass", TRUSTSTORE_PASSWORD, "-keystore"])
                .arg(store),
        );
        assert_eq!(listing.matches("trustedCertEntry").count(), anchors.ours.len() + anchors.system.len());
        assert!(listing.lines().any(|line| line.starts_with("postern-0001, ") && line.contains("trustedCertEntry")));
    }

    #[test]
    fn a_java_program_trusts_our_ca_from_its_environment_alone() {
        const PROGRAM: &str = r#"
            import java.io.FileInputStream;
            import java.security.KeyStore;
            import java.security.cert.*;
            import javax.net.ssl.*;
            public class Trusts {
                public static void main(String[] arguments) throws Exception {
                    TrustManagerFactory factory = TrustManagerFactory.getInstance("PKIX");
                    factory.init((KeyStore) null);
                    X509TrustManager trust = (X509TrustManager) factory.getTrustManagers()[0];
                    Certificate ours = CertificateFactory.getInstance("X.509")
                        .generateCertificate(new FileInputStream(arguments[0]));
                    System.out.println(java.util.Arrays.asList(trust.getAcceptedIssuers()).contains(ours));
                    System.out.println(trust.getAcceptedIssuers().length);
                    System.out.println(java.net.ProxySelector.getDefault()
                        .select(java.net.URI.create("https://api.acme.test/")));
                    System.out.println(java.net.ProxySelector.getDefault()
                        .select(java.net.URI.create("https://a.corp.test/")));
                }
            }"#;
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("it's a \"folder\"");
        anchors().write_to(&folder).unwrap();
        let program = parent.path().join("Trusts.java");
        fs::write(&program, PROGRAM).unwrap();
        let recipe = Recipe {
            proxy: ProxyEndpoint {
                host: "gate.test".into(),
                port: 3128,
                deployment: "support-bot".into(),
                key: KeyText::Unneeded,
            },
            java_proxy: None,
            trust: TrustFiles::in_folder(folder.to_str().unwrap()),
            no_proxy: vec!["corp.test".into()],
            placeholders: Vec::new(),
        };
        let variables = environment::variables(&recipe).unwrap();
        let options = variables.iter().find(|variable| variable.name() == "JAVA_TOOL_OPTIONS").unwrap();

        let said = answer(
            Command::new("java")
                .arg(program)
                .arg(folder.join(CA_FILE))
                .env("JAVA_TOOL_OPTIONS", options.expose().unwrap()),
        );
        let said: Vec<&str> = said.lines().collect();
        assert_eq!(said[..2], ["true", "2"]);
        assert!(said[2].starts_with("[HTTP @ gate.test") && said[2].ends_with(":3128]"), "{said:?}");
        assert_eq!(said[3], "[DIRECT]");
    }
}
