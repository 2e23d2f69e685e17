//! The life of an agent's socket: head after head, each CONNECT into its tunnel, everything else to hyper. It judges
//! nothing itself.

use std::sync::Arc;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::House;
use crate::agree::Door;
use crate::connect::{ESTABLISHED, Opening, Refused, open};
use crate::exchange::{Arrival, exchange};
use crate::intercept::intercept;
use crate::relay::relay;
use crate::wire::{Front, Role, Wire};

/// Room in hyper's buffer beside the longest head.
const BUFFER_SLACK_BYTES: usize = 8 * 1024;

/// The fields that hyper takes unless told otherwise.
const HYPER_FIELDS_MAX: usize = 100;

/// Serves one socket of the proxy's listener.
pub(crate) async fn serve(house: Arc<House>, socket: TcpStream, arrival: Arrival) {
    let arrival = Arc::new(arrival);
    let limits = Arc::clone(house.snapshot().limits());
    let mut wire = Wire::new(socket, Role::Door, limits, house.draining.clone());
    loop {
        match wire.next_head().await {
            Ok(Front::Connect(head)) => match open(&house, &arrival, &head).await {
                Ok(opening) => return Box::pin(tunnel(house, arrival, opening, wire)).await,
                Err(Refused { bytes, keep_open }) => {
                    if wire.write_all(&bytes).await.is_err() || !keep_open {
                        return wire.end().await;
                    }
                }
            },
            Ok(Front::Http) => match serve_http(&house, &arrival, Door::Open, wire).await {
                // The socket comes back only when a CONNECT follows on it.
                Some(back) => wire = back,
                None => return,
            },
            Ok(Front::Closed) | Err(_) => return,
        }
    }
}

async fn tunnel(house: Arc<House>, arrival: Arc<Arrival>, opening: Opening, mut wire: Wire<TcpStream>) {
    if wire.write_all(ESTABLISHED).await.is_err() {
        return;
    }
    let (socket, early) = wire.into_parts();
    match opening {
        Opening::Intercept { presence, authority, bound } => {
            intercept(house, arrival, presence, authority, bound, socket, early).await;
        }
        Opening::Relay { presence, upstream, record } => {
            let idle_in = house.snapshot().limits().tunnel_idle_in;
            relay(presence, socket, early, upstream, record, idle_in).await;
        }
    }
}

/// Serves HTTP on the wire until it ends; gives it back if a CONNECT stands at its front.
pub(crate) async fn serve_http<IO>(
    house: &Arc<House>,
    arrival: &Arc<Arrival>,
    door: Door,
    wire: Wire<IO>,
) -> Option<Wire<IO>>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let limits = Arc::clone(house.snapshot().limits());
    let pulse = Arc::clone(wire.pulse());
    let door = Arc::new(door);
    let service = service_fn(|request| {
        let parts = (Arc::clone(house), Arc::clone(arrival), Arc::clone(&door), Arc::clone(&pulse));
        Box::pin(exchange(parts.0, parts.1, parts.2, parts.3, request))
    });
    // The wire has judged each head; hyper's own bounds only have to be wider. Deadlines are the wire's too.
    let mut builder = http1::Builder::new();
    builder.half_close(true).max_buf_size(limits.head_bytes_max + BUFFER_SLACK_BYTES).header_read_timeout(None);
    if limits.head_fields_max > HYPER_FIELDS_MAX {
        // Beyond its own bound hyper parses on the heap.
        builder.max_headers(limits.head_fields_max);
    }
    let connection = builder.serve_connection(TokioIo::new(wire), service);
    match connection.without_shutdown().await {
        Ok(parts) => {
            let wire = parts.io.into_inner();
            if wire.awaits_connect() {
                return Some(wire);
            }
            wire.end().await;
        }
        Err(error) => tracing::debug!(%error, "an agent's socket ended"),
    }
    None
}
