//! Accepts sockets from agents, within the limit on them, and drains them at the end. It looks at no byte.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use model::{Caller, Refusal};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::House;
use crate::answer::{answer, on_the_wire};
use crate::exchange::{Arrival, Findings};
use crate::front;
use crate::last_call::last_call;
use crate::record::Kind;
use crate::wire::linger;

/// Pause after a failed accept: out of file descriptors, most likely, which only time mends.
const ACCEPT_RETRY_IN: Duration = Duration::from_millis(50);
/// Time for the answer to a socket that is one too many.
const TURN_AWAY_IN: Duration = Duration::from_secs(2);
/// When a socket that was one too many may be tried again.
const OVERLOAD_RETRY_IN: Duration = Duration::from_secs(1);

impl House {
    /// Accepts agents on the listener until `stop` or the drain. `private` makes every socket this caller's.
    ///
    /// # Errors
    /// When the listener has no local address.
    pub async fn listen(
        self: Arc<Self>,
        listener: TcpListener,
        private: Option<Caller>,
        stop: CancellationToken,
    ) -> io::Result<()> {
        let address = listener.local_addr()?;
        let _open = self.listeners.token();
        self.own.add(address);
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = stop.cancelled() => break,
                () = self.draining.cancelled() => break,
            };
            match accepted {
                Ok((socket, source)) => self.admit(socket, source, address, private.clone(), &stop),
                Err(error) => {
                    tracing::warn!(%error, "accepting failed");
                    tokio::time::sleep(ACCEPT_RETRY_IN).await;
                }
            }
        }
        last_call(listener, |socket, source| self.admit(socket, source, address, private.clone(), &stop)).await;
        self.own.remove(address);
        Ok(())
    }

    /// Stops accepting, lets running requests end, and cuts what is left at the deadline. True when nothing was cut.
    pub async fn drain(&self, within: Duration) -> bool {
        self.draining.cancel();
        self.listeners.close();
        self.listeners.wait().await;
        self.sockets.close();
        if tokio::time::timeout(within, self.sockets.wait()).await.is_ok() {
            return true;
        }
        // What is cut still closes its record.
        self.cut.cancel();
        self.sockets.wait().await;
        false
    }

    fn admit(
        self: &Arc<Self>,
        socket: TcpStream,
        source: SocketAddr,
        listener: SocketAddr,
        private: Option<Caller>,
        stop: &CancellationToken,
    ) {
        let _ = socket.set_nodelay(true);
        if self.sockets.len() >= self.snapshot().limits().sockets_max {
            tokio::spawn(tokio::time::timeout(TURN_AWAY_IN, turn_away(Arc::clone(self), socket, source.ip())));
            return;
        }
        let arrival = Arrival { source: source.ip().to_canonical(), listener, private };
        let (house, stop) = (Arc::clone(self), stop.clone());
        self.sockets.spawn(async move {
            // The sockets of a private listener end with it; those of a shared one outlive it.
            let ends_with_listener = arrival.private.is_some();
            tokio::select! {
                () = front::serve(Arc::clone(&house), socket, arrival) => {}
                () = stop.cancelled(), if ends_with_listener => {}
                () = house.cut.cancelled() => {}
            }
        });
    }
}

async fn turn_away(house: Arc<House>, mut socket: TcpStream, source: IpAddr) {
    let refusal = Refusal::Overloaded { retry_in: OVERLOAD_RETRY_IN };
    let mut record = house.recorder.open(Kind::Tunnel, source.to_canonical());
    record.note_refusal(&refusal);
    let bytes = on_the_wire(&answer(&refusal, &Findings::default().known(&record, &house)), false);
    if socket.write_all(&bytes).await.is_ok() && socket.shutdown().await.is_ok() {
        record.finish();
        linger(&mut socket).await;
    }
}
