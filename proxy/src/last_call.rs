//! Closes a listener without losing anybody: what the kernel has accepted, or is about to, is still taken in. Closing at
//! once would reset those sockets, and requests that are already on them.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{SockFilter, SockRef};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

/// How long no socket must have come before the listener is closed: handshakes under way end within a round trip.
const QUIET_IN: Duration = Duration::from_millis(10);
/// The longest last call.
const LAST_CALL_IN: Duration = Duration::from_millis(500);
/// How often the queue is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// A packet filter over the TCP header: the first packet of a new connection (SYN without ACK, RFC 9293 §3.5) is dropped,
/// all others pass. Whoever sent it repeats it after a second, and is then refused.
fn no_new_connections() -> [SockFilter; 5] {
    const LOAD_BYTE: u16 = 0x30;
    const AND: u16 = 0x54;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const FLAGS_AT: u32 = 13;
    const SYN: u32 = 0x02;
    const SYN_OR_ACK: u32 = 0x12;
    [
        SockFilter::new(LOAD_BYTE, 0, 0, FLAGS_AT),
        SockFilter::new(AND, 0, 0, SYN_OR_ACK),
        SockFilter::new(JUMP_IF_EQUAL, 0, 1, SYN),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ]
}

/// Takes in everybody who is at the door, then closes it.
pub(crate) async fn last_call(listener: TcpListener, mut admit: impl FnMut(TcpStream, SocketAddr)) {
    let socket = SockRef::from(&listener);
    if let Err(error) = socket.attach_filter(&no_new_connections()) {
        // Then somebody who comes in this very moment may be reset; everybody else is still served.
        tracing::debug!(%error, "no packet filter on the listener");
    }
    let began_at = Instant::now();
    let mut quiet_since = began_at;
    while quiet_since.elapsed() < QUIET_IN && began_at.elapsed() < LAST_CALL_IN {
        // Asked of the kernel each time: tokio remembers that the queue was empty, not that it is.
        match socket.accept().and_then(adopt) {
            Ok((stream, source)) => {
                quiet_since = Instant::now();
                admit(stream, source);
            }
            Err(_) => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}

fn adopt((socket, _): (socket2::Socket, socket2::SockAddr)) -> io::Result<(TcpStream, SocketAddr)> {
    socket.set_nonblocking(true)?;
    let stream = TcpStream::from_std(socket.into())?;
    let source = stream.peer_addr()?;
    Ok((stream, source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_is_at_the_door_is_taken_in() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut at_the_door = Vec::new();
        for _ in 0..10 {
            at_the_door.push(TcpStream::connect(address).await.unwrap());
        }
        let mut taken_in = 0;
        last_call(listener, |_, _| taken_in += 1).await;
        assert_eq!(taken_in, 10);
        assert!(TcpStream::connect(address).await.is_err());
    }
}
