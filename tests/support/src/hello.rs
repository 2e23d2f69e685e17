//! ClientHello messages as bytes: one from a real client, and one whose name is any bytes at all. It completes no
//! handshake.

use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use crate::secret::random;

/// The ClientHello that a real client sends to this host.
#[must_use]
pub fn client_hello(host: &str) -> Vec<u8> {
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider supports them")
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let name = ServerName::try_from(host.to_owned()).expect("the host is a name");
    let mut client = ClientConnection::new(Arc::new(config), name).expect("the configuration is valid");
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).expect("a vector takes all");
    bytes
}

/// A well-formed ClientHello whose `server_name` extension (RFC 6066 §3) holds exactly these bytes.
#[must_use]
pub fn client_hello_naming(name: &[u8]) -> Vec<u8> {
    let entry = [&[0][..], &sized16(name)].concat();
    let key_share = [&[0x00, 0x1d][..], &sized16(&random::<32>())].concat();
    let extensions = [
        extension(0x0000, &sized16(&entry)),
        extension(0x000a, &sized16(&[0x00, 0x1d, 0x00, 0x17])),
        extension(0x000d, &sized16(&[0x04, 0x03, 0x08, 0x04, 0x04, 0x01])),
        extension(0x002b, &[4, 0x03, 0x04, 0x03, 0x03]),
        extension(0x0033, &sized16(&key_share)),
    ]
    .concat();
    let body = [
        &[0x03, 0x03][..],
        &random::<32>(),
        &[32],
        &random::<32>(),
        &sized16(&[0x13, 0x01, 0x13, 0x02, 0xc0, 0x2b, 0xc0, 0x2f]),
        &[1, 0],
        &sized16(&extensions),
    ]
    .concat();
    let handshake = [&[0x01, 0x00][..], &sized16(&body)].concat();
    [&[0x16, 0x03, 0x01][..], &sized16(&handshake)].concat()
}

fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &sized16(content)].concat()
}

fn sized16(content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).expect("a short content");
    [&length.to_be_bytes()[..], content].concat()
}
