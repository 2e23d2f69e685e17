//! Group G: TLS on both sides. No bad chain gets a token, every leaf is what clients accept, and no handshake holds a
//! socket for long.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use rustls::AlertDescription;
use support::{
    Authority, Chain, Hello, Message, Postern, Upstream, alert_of, answer, assert_passed, assert_refused, authority,
    client_hello, client_hello_naming, upstream,
};
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::scene::{HOST, TARGET, code, eventually_answered, postern, scene, scene_of, scene_with};
use crate::zoo::{Animal, Zoo, zoo};

const URL: &str = "https://api.notion.test/";
const HOUR: i64 = 3600;

#[tokio::test]
async fn g01_no_token_is_written_to_a_chain_that_does_not_verify() {
    let Zoo { bad, good, root } = zoo(HOST);
    let settings =
        postern().connection("notion", &[HOST]).binding("{deployment: bot, connection: notion}").trust(&root);
    let postern = settings.start().await;
    for Animal { kind, chain } in bad {
        let (reply, origin) = presented(&postern, &[], chain).await;
        assert_eq!((reply.status(), code(&reply)), (502, Some("upstream_tls")), "{kind}:\n{reply}");
        assert_refused(&reply, 502, "upstream_tls");
        assert_eq!(origin.bytes(), b"", "{kind}");
        assert!(origin.connections().iter().all(|connection| !connection.ready), "{kind}");
    }
    for Animal { kind, chain } in good {
        let (reply, _) = presented(&postern, &["notion"], chain).await;
        assert_eq!((reply.status(), code(&reply)), (200, None), "{kind}:\n{reply}");
    }
}

/// What the agent gets when an origin with this chain is where the bound host leads to from now on.
async fn presented(postern: &Postern, connections: &[&str], chain: Chain) -> (Message, Upstream) {
    let origin =
        Upstream::of(&[HOST]).chain(chain).answer(|_| answer("200 OK", "Connection: close\r\n", "ok")).start().await;
    postern.rewrite(postern.settings().reached_with(connections, &origin).yaml());
    postern.hang_up();
    let reply = eventually_answered(&postern.agent("bot"), URL, |_| !origin.connections().is_empty()).await;
    (reply, origin)
}

#[tokio::test]
async fn g01_an_address_needs_a_certificate_for_the_address() {
    for (names, status) in [(&["localhost"][..], 502), (&["127.0.0.1"][..], 200)] {
        let origin = Upstream::of(&["127.0.0.1"]).chain(authority().chain(names)).start().await;
        let host = format!("127.0.0.1:{}", origin.address().port());
        let settings = postern()
            .connection("local", &[&host])
            .binding("{deployment: bot, connection: local}")
            .reached_with(&["local"], &origin);
        let scene = scene_of(origin, settings).await;
        let reply = scene.agent.get(&format!("https://{host}/")).await;
        assert_eq!(reply.status(), status, "{names:?}:\n{reply}");
    }
}

#[tokio::test]
async fn g01_a_destination_that_speaks_no_tls_gets_no_token() {
    let origin = Upstream::of(&[HOST])
        .plain()
        .script(|mut conversation| async move {
            conversation.bytes(1).await;
            conversation.send(answer("400 Bad Request", "", "this is HTTP")).await;
            conversation.finish().await;
        })
        .start()
        .await;
    let address = origin.address();
    let settings = postern().bound("notion", &origin).connect_to(TARGET, address);
    let scene = scene_of(origin, settings).await;
    assert_refused(&scene.agent.get(URL).await, 502, "upstream_tls");
    assert_eq!(scene.upstream.requests(), []);
}

#[test]
fn g03_no_code_and_no_setting_turns_verification_off() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for room in ["model/src", "ca/src", "vault/src", "proxy/src", "admin/src", "cli"] {
        for file in rust_files(&root.join(room)) {
            let text = std::fs::read_to_string(&file).unwrap();
            assert!(!text.contains(".dangerous()"), "{} turns verification off", file.display());
        }
    }
    let settings = postern();
    for key in ["insecure_skip_verify", "insecure", "verify", "tls_verify", "skip_verify"] {
        let output = settings.check(format!("{}  {key}: true\n", settings.yaml()));
        assert!(!output.status.success(), "`upstream.{key}` was accepted");
    }
}

#[tokio::test]
async fn g04_an_origin_that_asks_for_a_certificate_gets_none() {
    let origin = Upstream::of(&[HOST]).asking_for_a_certificate().start().await;
    assert_passed(&scene_with(origin).await.agent.get(URL).await, 200);
}

#[tokio::test]
async fn g04_an_origin_that_insists_on_a_certificate_is_a_tls_failure() {
    let origin = Upstream::of(&[HOST]).requiring_a_certificate().start().await;
    let scene = scene_with(origin).await;
    let reply = scene.agent.get(URL).await;
    // In TLS 1.3 the refusal comes after our side of the handshake (RFC 8446 §4.4.2.4).
    assert!(["upstream_tls", "upstream_unreachable"].contains(&code(&reply).unwrap_or_default()), "{reply}");
    assert_eq!(scene.upstream.requests(), []);
}

#[tokio::test]
async fn g05_what_is_in_the_data_folder_is_its_owners_only() {
    let scene = scene().await;
    assert_passed(&scene.agent.get(URL).await, 200);
    let data = scene.postern.data();
    let entries = std::fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().path());
    for path in entries.chain([data.clone()]) {
        let mode = path.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{} has mode {mode:o}", path.display());
    }
}

#[tokio::test]
async fn g05_a_master_key_that_others_can_read_is_refused_at_start() {
    let mut postern = postern().start().await;
    postern.terminate().await;
    let key = postern.data().join("master.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let failed = postern.restart().await.expect_err("it starts with a key that others can read");
    assert!(failed.stderr.contains("master.key"), "{failed}");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    postern.restart().await.unwrap();
}

#[tokio::test]
async fn g05_no_private_key_lies_in_the_clear() {
    let scene = scene().await;
    assert_passed(&scene.agent.get(URL).await, 200);
    // PEM, and the beginning of an unencrypted PKCS #8 key on P-256 (RFC 5958 §2).
    let pkcs8 = b"\x02\x01\x00\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01";
    for path in files_below(&scene.postern.data()) {
        let bytes = std::fs::read(&path).unwrap();
        for pattern in [&b"PRIVATE KEY"[..], pkcs8] {
            let exposed = bytes.windows(pattern.len()).any(|window| window == pattern);
            assert!(!exposed, "{} holds a private key in the clear", path.display());
        }
    }
}

#[tokio::test]
async fn g05_the_root_is_served_without_its_key() {
    let scene = scene().await;
    let reply = scene.agent.get("http://postern.internal/ca.pem").await;
    assert_passed(&reply, 200);
    assert_eq!(reply.text().trim(), scene.postern.root_pem().trim());
    assert!(!reply.text().contains("PRIVATE"));
}

#[tokio::test]
async fn g07_a_leaf_is_what_every_client_accepts() {
    let scene = scene().await;
    let wire = scene.tunnel().await;
    let now = i64::try_from(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()).unwrap();
    let (_, leaf) = X509Certificate::from_der(&wire.certificates[0]).unwrap();
    let names = leaf.subject_alternative_name().unwrap().unwrap().value;
    assert_eq!(names.general_names, [GeneralName::DNSName(HOST)]);
    let purposes = leaf.extended_key_usage().unwrap().unwrap().value;
    assert!(purposes.server_auth && !purposes.client_auth && !purposes.any);
    assert!(!leaf.is_ca());
    assert_eq!(leaf.public_key().parsed().unwrap().key_size(), 256);
    let serial = leaf.raw_serial();
    assert!((8..=20).contains(&serial.len()) && serial[0] < 0x80, "{serial:?}");
    let validity = leaf.validity();
    let (from, to) = (validity.not_before.timestamp(), validity.not_after.timestamp());
    assert!(from <= now - HOUR, "a client whose clock is an hour behind would refuse it");
    assert!(to > now + HOUR && to <= now + 72 * HOUR, "it ends {} hours from now", (to - now) / HOUR);
    let key_id = |certificate: &X509Certificate<'_>| {
        certificate.iter_extensions().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
            _ => None,
        })
    };
    let issuer_id = leaf.iter_extensions().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(id) => id.key_identifier.as_ref().map(|id| id.0.to_vec()),
        _ => None,
    });
    let (_, pem) = x509_parser::pem::parse_x509_pem(scene.postern.root_pem().as_bytes()).unwrap();
    let root = pem.parse_x509().unwrap();
    assert!(key_id(&leaf).is_some());
    assert!(issuer_id.is_some());
    assert_eq!(issuer_id, key_id(&root));
    assert!(root.is_ca() && root.key_usage().unwrap().unwrap().value.key_cert_sign());
}

#[tokio::test]
async fn g07_a_leaf_key_belongs_to_the_process_and_not_to_the_host() {
    let mut scene = scene().await;
    let first = scene.tunnel().await.certificates;
    let other = scene.agent.intercepted("evil.test:443").await.certificates;
    let (first, other) = (parts(&first[0]), parts(&other[0]));
    assert_ne!(first.serial, other.serial);
    scene.postern.terminate().await;
    scene.postern.restart().await.unwrap();
    let again = scene.postern.agent("bot").intercepted(TARGET).await.certificates;
    let again = parts(&again[0]);
    assert_ne!(first.key, again.key, "the key of a leaf can be predicted from its host");
    assert_ne!(first.serial, again.serial);
}

#[tokio::test]
async fn g08_names_are_minted_for_known_callers_only() {
    let scene = scene().await;
    for agent in [scene.agent.without_login(), scene.agent.with_login("bot", "pst_wrong")] {
        for target in [TARGET, "unbound.test:443"] {
            assert_refused(&agent.connect(target).await, 407, "caller_unknown");
        }
    }
    scene.nothing_reached_the_origin().await;
}

#[tokio::test]
async fn g08_an_unbound_name_is_minted_so_that_its_refusal_can_be_read() {
    let scene = scene().await;
    let reply = scene.agent.get("https://unbound.test/").await;
    assert_refused(&reply, 403, "binding_missing");
    let body: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!((&body["host"], &body["deployment"]), (&"unbound.test".into(), &"bot".into()));
    assert!(body["hint"].as_str().is_some_and(|hint| hint.contains("unbound.test")), "{body}");
}

#[tokio::test]
async fn g08_a_flood_of_unbound_names_is_cut_off_and_disturbs_nobody_else() {
    let origin = upstream(HOST).await;
    let settings = postern().deployment("other").bound("notion", &origin).limit("unbound_mints_per_second", "2");
    let scene = scene_of(origin, settings).await;
    let other = scene.postern.agent("other");
    let mut minted = 0;
    let began_at = Instant::now();
    for number in 0..40 {
        let mut wire = scene.agent.socket().await;
        let target = format!("flood-{number}.test:443");
        wire.send(scene.agent.connect_request(&target)).await;
        let accepted = wire.try_reply_to("CONNECT").await.is_ok_and(|reply| reply.status() == 200);
        if accepted && scene.agent.secure(wire, &target, Hello::default()).await.is_ok() {
            minted += 1;
        }
    }
    let allowed = 2 * (began_at.elapsed().as_secs() + 2);
    assert!(minted >= 1 && minted <= allowed, "{minted} names were minted, {allowed} are allowed");
    assert_passed(&scene.agent.get(URL).await, 200);
    assert_refused(&other.get("https://elsewhere.test/").await, 403, "binding_missing");
}

#[tokio::test]
async fn g10_a_clienthello_that_comes_byte_by_byte_is_served() {
    let scene = scene().await;
    let mut wire = scene.agent.handshake(TARGET, Hello::default().bytewise()).await.unwrap();
    wire.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
    assert_passed(&wire.reply().await, 200);
}

#[tokio::test]
async fn g10_a_clienthello_that_stalls_is_cut_off() {
    let origin = upstream(HOST).await;
    let settings = postern().bound("notion", &origin).limit("handshake_in", "300ms").limit("first_request_in", "300ms");
    let scene = scene_of(origin, settings).await;
    let hello = client_hello(HOST);
    for length in [0, 1, 5, 6, hello.len() / 2, hello.len() - 1] {
        let mut wire = scene.agent.tunnel(TARGET).await;
        wire.send(&hello[..length]).await;
        let (rest, _) = wire.rest().await;
        assert!(!rest.starts_with(&[0x16]), "{length} bytes of a ClientHello were answered with a handshake");
    }
    scene.nothing_reached_the_origin().await;
}

#[tokio::test]
async fn g10_a_clienthello_of_16_kilobytes_is_served_and_a_larger_one_never_blocks() {
    let scene = scene().await;
    for (protocols, must_pass) in [(1000, true), (3500, false)] {
        let names: Vec<String> = (0..protocols).map(|number| format!("protocol-{number:05}")).collect();
        let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
        names.push("http/1.1");
        let shaken = scene.agent.handshake(TARGET, Hello::default().offering(&names)).await;
        assert!(shaken.is_ok() || !must_pass, "{protocols}: {:?}", shaken.err());
    }
    assert_passed(&scene.agent.get(URL).await, 200);
}

#[tokio::test]
async fn g10_a_clienthello_without_an_end_is_cut_off_at_a_size() {
    let scene = scene().await;
    let mut wire = scene.agent.tunnel(TARGET).await;
    // A handshake message that claims 16 MiB, in full records.
    let mut record = vec![0x16, 0x03, 0x01, 0x40, 0x00, 0x01, 0xff, 0xff, 0xff];
    record.resize(5 + 0x4000, 0);
    let mut further = vec![0x16, 0x03, 0x01, 0x40, 0x00];
    further.resize(5 + 0x4000, 0);
    wire.send(&record).await;
    for _ in 0..100 {
        wire.send(&further).await;
    }
    wire.rest().await;
    assert_passed(&scene.agent.get(URL).await, 200);
}

#[tokio::test]
async fn g10_unknown_extensions_and_ciphers_are_ignored() {
    let scene = scene().await;
    // The handmade hello offers no post-quantum share and no application protocol.
    let mut wire = scene.agent.tunnel(TARGET).await;
    wire.send(client_hello_naming(HOST.as_bytes())).await;
    let record = wire.read(6).await;
    assert_eq!((record[0], record[5]), (0x16, 0x02), "{record:?}");
}

#[tokio::test]
async fn g10_bytes_that_only_begin_like_tls_are_cut_off() {
    let scene = scene().await;
    for bytes in [
        &b"\x16"[..],
        b"\x16\x03\x01\x00\x00",
        b"\x16\x03\x01\xff\xff",
        b"\x16\x03\x01\x00\x04\x02\x00\x00\x00",
        b"\x80\x2e\x01\x03\x01",
    ] {
        let mut wire = scene.agent.tunnel(TARGET).await;
        wire.send(bytes).await;
        wire.finish().await;
        let (rest, _) = wire.rest().await;
        assert!(!rest.starts_with(&[0x16]), "{bytes:?}");
    }
    scene.nothing_reached_the_origin().await;
}

#[tokio::test]
async fn g12_an_unknown_application_protocol_ends_the_handshake() {
    let scene = scene().await;
    for protocols in [&["ftp"][..], &["smtp", "imap"], &["http/1.0"], &["HTTP/1.1"]] {
        let error =
            scene.agent.handshake(TARGET, Hello::default().offering(protocols)).await.err().expect("no handshake");
        assert_eq!(alert_of(&error), Some(AlertDescription::NoApplicationProtocol), "{protocols:?}: {error}");
    }
    let wire = scene.agent.handshake(TARGET, Hello::default().offering(&["ftp", "http/1.1"])).await.unwrap();
    assert_eq!(wire.alpn.as_deref(), Some(&b"http/1.1"[..]));
}

#[tokio::test]
async fn g12_an_origin_that_chooses_another_protocol_gets_no_token() {
    let origin = Upstream::of(&[HOST]).alpn(&["smtp"]).start().await;
    let scene = scene_with(origin).await;
    assert_refused(&scene.agent.get(URL).await, 502, "upstream_tls");
    assert_eq!(scene.upstream.bytes(), b"");
}

#[tokio::test]
async fn g13_other_protocols_are_no_http() {
    let scene = scene().await;
    for greeting in ["EHLO evil.test\r\n\r\n", "USER a\r\nPASS b\r\n\r\n", "SSH-2.0-x\r\n\r\n", "\0\0\0\0\r\n\r\n"] {
        let mut wire = scene.tunnel().await;
        wire.send(greeting).await;
        assert_refused(&wire.reply().await, 400, "request_malformed");
        wire.closed().await;
        let mut wire = scene.agent.tunnel(TARGET).await;
        wire.send(greeting).await;
        wire.rest().await;
    }
    scene.nothing_reached_the_origin().await;
}

#[tokio::test]
async fn g14_trusted_roots_are_read_again_on_sighup() {
    let stranger = Authority::root("stranger");
    let origin = Upstream::of(&[HOST])
        .chain(stranger.chain(&[HOST]))
        .answer(|_| answer("200 OK", "Connection: close\r\n", "ok"))
        .start()
        .await;
    let settings = postern().bound("notion", &origin);
    let ca_file = settings.ca_file();
    let scene = scene_of(origin, settings).await;
    assert_refused(&scene.agent.get(URL).await, 502, "upstream_tls");
    std::fs::write(&ca_file, stranger.pem()).unwrap();
    scene.postern.hang_up();
    eventually_answered(&scene.agent, URL, |reply| reply.status() == 200).await;
    std::fs::write(&ca_file, authority().pem()).unwrap();
    scene.postern.hang_up();
    eventually_answered(&scene.agent, URL, |reply| code(reply) == Some("upstream_tls")).await;
}

#[tokio::test]
async fn g14_a_root_that_was_taken_away_ends_warm_sockets_too() {
    let origin = upstream(HOST).await;
    let settings = postern().bound("notion", &origin);
    let ca_file = settings.ca_file();
    let scene = scene_of(origin, settings).await;
    assert_passed(&scene.agent.get(URL).await, 200);
    std::fs::write(&ca_file, Authority::root("another").pem()).unwrap();
    scene.postern.hang_up();
    eventually_answered(&scene.agent, URL, |reply| code(reply) == Some("upstream_tls")).await;
}

#[tokio::test]
async fn h01_a_silent_destination_does_not_hold_a_connect_for_ever() {
    // A listener that never accepts: the kernel completes the TCP handshake, nobody speaks TLS.
    let silent = std::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let settings = postern()
        .connection("notion", &[HOST])
        .binding("{deployment: bot, connection: notion}")
        .connect_to(TARGET, silent.local_addr().unwrap())
        .limit("connect_in", "300ms");
    let postern = settings.start().await;
    let began_at = Instant::now();
    let reply = postern.agent("bot").get(URL).await;
    assert!(
        ["upstream_unreachable", "upstream_tls", "upstream_timeout"].contains(&code(&reply).unwrap_or_default()),
        "{reply}"
    );
    assert!(began_at.elapsed() < Duration::from_secs(5));
}

struct Parts {
    key: Vec<u8>,
    serial: Vec<u8>,
}

fn parts(der: &[u8]) -> Parts {
    let (_, leaf) = X509Certificate::from_der(der).unwrap();
    Parts { key: leaf.public_key().raw.to_vec(), serial: leaf.raw_serial().to_vec() }
}

fn rust_files(folder: &Path) -> Vec<std::path::PathBuf> {
    files_below(folder).into_iter().filter(|path| path.extension().is_some_and(|kind| kind == "rs")).collect()
}

fn files_below(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => files.extend(files_below(&entry.path())),
            kind if kind.is_file() => files.push(entry.path()),
            _ => {}
        }
    }
    files
}
