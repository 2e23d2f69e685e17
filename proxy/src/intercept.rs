//! The inside of a CONNECT tunnel that postern decrypts: TLS with a leaf minted for the destination, or plain HTTP, told
//! apart by the first byte. It serves no name but the one the tunnel was opened to.

use std::io;
use std::sync::Arc;

use bytes::BytesMut;
use model::{Authority, Destination, DnsName, Host, Scheme};
use rustls::server::Acceptor;
use rustls::{AlertDescription, Error as TlsError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use crate::House;
use crate::agree::Door;
use crate::callers::Presence;
use crate::exchange::Arrival;
use crate::forward::server_name;
use crate::front::serve_http;
use crate::rewound::Rewound;
use crate::snapshot::Snapshot;
use crate::wire::{Role, Wire};

/// The first byte of a TLS record that carries a handshake (RFC 8446 §5.1).
const TLS_HANDSHAKE: u8 = 0x16;
/// A fatal `unrecognized_name` alert (RFC 6066 §3) in a record of its own, as it goes before any ServerHello.
const UNRECOGNIZED_NAME: [u8; 7] = [0x15, 3, 3, 0, 2, 2, 112];
/// Bytes asked for in the first read.
const FIRST_READ_BYTES: usize = 4 * 1024;

/// Why a tunnel ended before its first request.
#[derive(Debug, thiserror::Error)]
enum NotServed {
    #[error("the agent sent nothing in time")]
    Silent,
    #[error("the agent asked for another name than it opened the tunnel to")]
    OtherName,
    #[error("the deployment's rate of certificates for unbound names is used up")]
    TooManyNames,
    #[error(transparent)]
    Mint(#[from] ca::Error),
    #[error("the name makes no certificate")]
    Name,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Serves the tunnel until either side ends it.
pub(crate) async fn intercept(
    house: Arc<House>,
    arrival: Arc<Arrival>,
    presence: Presence,
    authority: Authority,
    bound: bool,
    socket: TcpStream,
    early: BytesMut,
) {
    let serving = serve(&house, &arrival, &presence, &authority, bound, socket, early);
    let outcome = tokio::select! {
        outcome = serving => outcome,
        () = presence.cut() => return,
    };
    if let Err(reason) = outcome {
        let deployment = presence.caller().deployment();
        if distrusts(&reason) {
            tracing::warn!(%deployment, host = %authority, "the agent does not trust postern's CA: give it the file of `postern ca export`");
        } else {
            tracing::debug!(%deployment, host = %authority, %reason, "a tunnel ended before its first request");
        }
    }
}

async fn serve(
    house: &Arc<House>,
    arrival: &Arc<Arrival>,
    presence: &Presence,
    authority: &Authority,
    bound: bool,
    mut socket: TcpStream,
    mut early: BytesMut,
) -> Result<(), NotServed> {
    let snapshot = house.snapshot();
    let deadline = Instant::now() + snapshot.limits().handshake_in;
    if early.is_empty() {
        early.reserve(FIRST_READ_BYTES);
        let read = timeout_at(deadline, socket.read_buf(&mut early)).await.map_err(|_| NotServed::Silent)??;
        if read == 0 {
            return Ok(());
        }
    }
    let limits = Arc::clone(snapshot.limits());
    let door = |scheme| Door::Tunnel {
        caller: presence.caller().clone(),
        destination: Destination { scheme, authority: authority.clone() },
    };
    if early.first() != Some(&TLS_HANDSHAKE) {
        let wire = Wire::resume(socket, early, Role::Inside, limits, house.draining.clone());
        serve_http(house, arrival, door(Scheme::Http), wire).await;
        return Ok(());
    }
    let accepting = accept(house, &snapshot, presence, authority, bound, Rewound::new(early, socket));
    let stream = timeout_at(deadline, accepting).await.map_err(|_| NotServed::Silent)??;
    drop(snapshot);
    let wire = Wire::new(stream, Role::Inside, limits, house.draining.clone());
    serve_http(house, arrival, door(Scheme::Https), wire).await;
    Ok(())
}

async fn accept(
    house: &House,
    snapshot: &Snapshot,
    presence: &Presence,
    authority: &Authority,
    bound: bool,
    socket: Rewound<TcpStream>,
) -> Result<TlsStream<Rewound<TcpStream>>, NotServed> {
    let mut start = LazyConfigAcceptor::new(Acceptor::default(), socket).await?;
    if !names(start.client_hello().server_name(), authority.host()) {
        start.io.write_all(&UNRECOGNIZED_NAME).await?;
        start.io.shutdown().await?;
        return Err(NotServed::OtherName);
    }
    let destination = Destination { scheme: Scheme::Https, authority: authority.clone() };
    let name = server_name(&destination).map_err(|_| NotServed::Name)?;
    let minted = bound || house.minter.holds(&name);
    if !minted && !snapshot.rates().admit_mint(presence.caller().deployment()) {
        return Err(NotServed::TooManyNames);
    }
    let leaf = house.minter.leaf(&name)?;
    Ok(start.into_stream(Arc::clone(leaf.server_config())).await?)
}

/// Whether the SNI is the tunnel's host. A client may leave it out (RFC 6066 §3 allows no address there).
fn names(sni: Option<&str>, host: &Host) -> bool {
    match (sni, host) {
        (None, _) => true,
        (Some(sni), Host::Name(name)) => DnsName::parse(sni).is_ok_and(|sni| sni == *name),
        (Some(_), Host::Ip(_)) => false,
    }
}

/// Whether the agent ended the handshake because it does not know who signed the leaf.
fn distrusts(reason: &NotServed) -> bool {
    let NotServed::Io(error) = reason else { return false };
    let alert = error.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>());
    matches!(
        alert,
        Some(TlsError::AlertReceived(
            AlertDescription::UnknownCA | AlertDescription::BadCertificate | AlertDescription::CertificateUnknown
        ))
    )
}
