//! A blind tunnel: bytes both ways, never looked at. It ends when both sides have, when both are silent for too long, or
//! when the caller is no longer known.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::callers::Presence;
use crate::record::OpenRecord;

/// The buffer of each direction, in bytes: one TLS record.
const RELAY_BUFFER_BYTES: usize = 16 * 1024;

/// Relays until the end.
pub(crate) async fn relay(
    presence: Presence,
    mut agent: TcpStream,
    early: BytesMut,
    mut upstream: TcpStream,
    mut record: OpenRecord,
    idle_in: Duration,
) {
    let up = record.uploaded();
    let down = AtomicU64::new(0);
    let (mut agent_reader, mut agent_writer) = agent.split();
    let (mut upstream_reader, mut upstream_writer) = upstream.split();
    let both = async {
        upstream_writer.write_all(&early).await?;
        up.fetch_add(early.len() as u64, Ordering::Relaxed);
        tokio::try_join!(
            pump(&mut agent_reader, &mut upstream_writer, &up),
            pump(&mut upstream_reader, &mut agent_writer, &down),
        )
    };
    let ended = tokio::select! {
        ended = both => ended.is_ok(),
        () = silence(idle_in, &up, &down) => false,
        () = presence.cut() => false,
    };
    record.count_out(down.into_inner());
    if ended {
        record.finish();
    }
}

async fn pump(
    reader: &mut (impl AsyncRead + Unpin),
    writer: &mut (impl AsyncWrite + Unpin),
    count: &AtomicU64,
) -> io::Result<()> {
    let mut buffer = vec![0; RELAY_BUFFER_BYTES];
    loop {
        let read = reader.read(&mut buffer).await?;
        if read == 0 {
            return writer.shutdown().await;
        }
        writer.write_all(&buffer[..read]).await?;
        count.fetch_add(read as u64, Ordering::Relaxed);
    }
}

/// Ends when neither count has moved for the span.
async fn silence(span: Duration, up: &AtomicU64, down: &AtomicU64) {
    let moved = || up.load(Ordering::Relaxed) + down.load(Ordering::Relaxed);
    let mut before = moved();
    loop {
        tokio::time::sleep(span).await;
        let now = moved();
        if now == before {
            return;
        }
        before = now;
    }
}
