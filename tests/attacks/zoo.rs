//! A zoo of certificate chains: those that no verifier may accept for the host they are presented for, and their good
//! twins. It makes them; it judges nothing.

use std::path::Path;
use std::process::Command;

use rcgen::{BasicConstraints, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, NameConstraints, SanType};
use support::{Authority, Chain, authority};
use time::{Duration, OffsetDateTime};

/// One animal: what it is, and the chain for a host.
pub(crate) struct Animal {
    pub(crate) kind: &'static str,
    pub(crate) chain: Chain,
}

/// All animals for one host.
pub(crate) struct Zoo {
    /// Chains with one flaw each.
    pub(crate) bad: Vec<Animal>,
    /// Chains made in the same ways, without the flaw.
    pub(crate) good: Vec<Animal>,
    /// The PEM of a further root, without which some would have a second flaw.
    pub(crate) root: String,
}

pub(crate) fn zoo(host: &str) -> Zoo {
    let mut bad = vec![
        animal("expired", spoilt(host, |params| params.not_after = now() - Duration::days(1))),
        animal("not yet valid", spoilt(host, |params| params.not_before = now() + Duration::days(1))),
        animal("self-signed", Chain::self_signed(&[host])),
        animal("signed by an unknown authority", Authority::root("stranger").chain(&[host])),
        animal("signed by an authority of the same name", Authority::root("test origins").chain(&[host])),
        animal("for another host", authority().chain(&["evil.test"])),
        animal("for the parent", authority().chain(&["notion.test"])),
        animal("for a host below", authority().chain(&["x.api.notion.test"])),
        animal("a wildcard one label too high", authority().chain(&["*.test"])),
        animal("a wildcard one label too low", authority().chain(&["*.api.notion.test"])),
        animal("a wildcard inside a label", authority().chain(&["a*.notion.test"])),
        animal("for an address only", authority().chain(&["127.0.0.1"])),
        animal("common name only", common_name_only(host)),
        animal("for client authentication only", for_clients(host)),
        animal("issued by an end entity", below(Authority::leaf_params(&["intermediate.test"]), host)),
        animal("issued by CA:FALSE", below(not_an_authority(), host)),
        animal("outside its issuer's name constraints", below(constrained_to("other.test"), host)),
        animal("inside its issuer's excluded names", below(excluding(host), host)),
        animal("a path longer than its issuer allows", too_long(host)),
        animal("issued by an expired authority", below(expired_authority(), host)),
        animal("without its intermediate", without_its_intermediate(host)),
    ];
    let folder = tempfile::TempDir::with_prefix("zoo-").unwrap();
    let root = openssl_root(folder.path());
    let made = |bits, digest| openssl_chain(folder.path(), host, bits, digest);
    bad.push(animal("signed with SHA-1", made("2048", "-sha1")));
    bad.push(animal("signed with MD5", made("2048", "-md5")));
    bad.push(animal("issued under RSA-1024", made("1024", "-sha256")));
    let good = vec![
        animal("direct", authority().chain(&[host])),
        animal("by one of several names", authority().chain(&["evil.test", host])),
        animal("by wildcard", authority().chain(&["*.notion.test"])),
        animal("under an intermediate", below(Authority::params("intermediate"), host)),
        animal("inside its issuer's name constraints", below(constrained_to(host), host)),
        animal("under RSA-2048 with SHA-256", made("2048", "-sha256")),
    ];
    Zoo { bad, good, root }
}

fn animal(kind: &'static str, chain: Chain) -> Animal {
    Animal { kind, chain }
}

fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

fn spoilt(host: &str, spoil: impl FnOnce(&mut rcgen::CertificateParams)) -> Chain {
    let mut params = Authority::leaf_params(&[host]);
    spoil(&mut params);
    authority().sign(&params)
}

fn common_name_only(host: &str) -> Chain {
    spoilt(host, |params| {
        params.subject_alt_names = Vec::<SanType>::new();
        params.distinguished_name.push(DnType::CommonName, host);
    })
}

fn for_clients(host: &str) -> Chain {
    spoilt(host, |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth])
}

/// A good certificate for the host under an intermediate with these parameters.
fn below(intermediate: rcgen::CertificateParams, host: &str) -> Chain {
    authority().intermediate(intermediate).chain(&[host])
}

fn not_an_authority() -> rcgen::CertificateParams {
    let mut params = Authority::params("not an authority");
    params.is_ca = IsCa::ExplicitNoCa;
    params
}

fn expired_authority() -> rcgen::CertificateParams {
    let mut params = Authority::params("expired authority");
    params.not_after = now() - Duration::days(1);
    params
}

fn constrained_to(name: &str) -> rcgen::CertificateParams {
    let mut params = Authority::params("constrained");
    let permitted = vec![GeneralSubtree::DnsName(name.to_owned())];
    params.name_constraints = Some(NameConstraints { permitted_subtrees: permitted, excluded_subtrees: Vec::new() });
    params
}

fn excluding(name: &str) -> rcgen::CertificateParams {
    let mut params = Authority::params("excluding");
    let excluded = vec![GeneralSubtree::DnsName(name.to_owned())];
    params.name_constraints = Some(NameConstraints { permitted_subtrees: Vec::new(), excluded_subtrees: excluded });
    params
}

fn too_long(host: &str) -> Chain {
    let mut last = Authority::params("last");
    last.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority().intermediate(last).intermediate(Authority::params("one too many")).chain(&[host])
}

fn without_its_intermediate(host: &str) -> Chain {
    let mut chain = below(Authority::params("missing"), host);
    chain.certificates.truncate(1);
    chain
}

/// An RSA root by OpenSSL, which still signs with algorithms that nothing else offers. Its PEM is returned, its key
/// stays in the folder.
fn openssl_root(folder: &Path) -> String {
    let arguments = "req -x509 -newkey rsa:2048 -nodes -keyout root.key -out root.pem -days 30 -subj /CN=zoo \
                     -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign";
    openssl(folder, arguments);
    std::fs::read_to_string(folder.join("root.pem")).unwrap()
}

/// A certificate for the host, under an intermediate with an RSA key of so many bits, signed with this digest.
fn openssl_chain(folder: &Path, host: &str, bits: &str, digest: &str) -> Chain {
    std::fs::write(folder.join("ca.ext"), "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\n")
        .unwrap();
    let leaf = format!("subjectAltName=DNS:{host}\nextendedKeyUsage=serverAuth\nkeyUsage=critical,digitalSignature\n");
    std::fs::write(folder.join("leaf.ext"), leaf).unwrap();
    openssl(folder, &format!("req -newkey rsa:{bits} -nodes -keyout mid.key -out mid.csr -subj /CN=mid"));
    openssl(
        folder,
        "x509 -req -in mid.csr -CA root.pem -CAkey root.key -CAcreateserial -days 20 -extfile ca.ext -out mid.pem",
    );
    openssl(folder, "req -newkey rsa:2048 -nodes -keyout leaf.key -out leaf.csr -subj /CN=leaf");
    let sign = "x509 -req -in leaf.csr -CA mid.pem -CAkey mid.key -CAcreateserial -days 10 -extfile leaf.ext";
    openssl(folder, &format!("{sign} {digest} -outform DER -out leaf.der"));
    openssl(folder, "x509 -in mid.pem -outform DER -out mid.der");
    openssl(folder, "pkcs8 -topk8 -nocrypt -in leaf.key -outform DER -out leaf.p8");
    let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
    Chain::from_der(vec![read("leaf.der"), read("mid.der")], read("leaf.p8"))
}

fn openssl(folder: &Path, arguments: &str) {
    let output = Command::new("openssl")
        .current_dir(folder)
        .args(arguments.split_whitespace())
        .output()
        .unwrap_or_else(|error| panic!("openssl does not start ({error}): the Debian package openssl has it"));
    assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}
