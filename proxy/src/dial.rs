//! Opens a socket to a destination: resolves, vets every address, dials the very address that was vetted. It never
//! resolves twice, and never reaches postern itself.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use model::config::Upstream;
use model::refusal::Unreachable;
use model::{Authority, Destination, Host, Refusal};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

/// Silence on an open socket after which the kernel asks whether the other side is still there.
const TCP_KEEPALIVE_AFTER: Duration = Duration::from_secs(60);

/// The listeners of this process, which no request may reach through it.
#[derive(Debug, Default)]
pub struct OwnListeners {
    addresses: ArcSwap<Vec<SocketAddr>>,
}

impl OwnListeners {
    /// Adds a listener.
    pub fn add(&self, address: SocketAddr) {
        self.addresses.rcu(|known| {
            let mut known = Vec::clone(known);
            known.push(address);
            known
        });
    }

    /// Forgets a listener that was closed.
    pub fn remove(&self, address: SocketAddr) {
        self.addresses.rcu(|known| known.iter().filter(|other| **other != address).copied().collect::<Vec<_>>());
    }

    /// Whether dialling the address would reach one of them.
    fn reached_by(&self, address: SocketAddr) -> bool {
        let ip = model::address::unwrap(address.ip());
        let addresses = self.addresses.load();
        let mut same_port = addresses.iter().filter(|own| own.port() == address.port()).peekable();
        if same_port.peek().is_none() {
            return false;
        }
        let local = is_local(ip);
        same_port.any(|own| {
            own.ip().to_canonical() == ip || (own.ip().is_unspecified() && local) || (ip.is_unspecified() && local)
        })
    }
}

/// Whether the address is one of this machine's: only then can a socket be bound to it.
fn is_local(ip: IpAddr) -> bool {
    ip.is_unspecified() || ip.is_loopback() || UdpSocket::bind((ip, 0)).is_ok()
}

/// Whether a destination that is an address literal is refused before anything else is looked at.
pub(crate) fn forbids_literal(destination: &Destination, upstream: &Upstream, own: &OwnListeners) -> bool {
    let Host::Ip(_) = destination.authority.host() else { return false };
    let Host::Ip(ip) = target(&destination.authority, upstream).host() else { return false };
    let address = SocketAddr::new(*ip, target(&destination.authority, upstream).port());
    !is_allowed(address, upstream, own)
}

/// A connected socket to the authority, within the deadline.
pub(crate) async fn dial(
    authority: &Authority,
    upstream: &Upstream,
    own: &Arc<OwnListeners>,
    deadline: Instant,
) -> Result<TcpStream, Refusal> {
    let timed_out = |_| Refusal::UpstreamUnreachable(Unreachable::Timeout);
    let found = timeout_at(deadline, resolve(target(authority, upstream))).await.map_err(timed_out)??;
    dial_found(found, upstream, own, deadline).await
}

/// Vets addresses and dials those that pass. It knows no name, so what is dialled is what was vetted, whatever the name
/// resolves to by then.
async fn dial_found(
    found: Vec<SocketAddr>,
    upstream: &Upstream,
    own: &OwnListeners,
    deadline: Instant,
) -> Result<TcpStream, Refusal> {
    let vetted: Vec<SocketAddr> = found.into_iter().filter(|address| is_allowed(*address, upstream, own)).collect();
    if vetted.is_empty() {
        return Err(Refusal::DestinationForbidden);
    }
    let mut outcome = Unreachable::Refused;
    for (position, address) in vetted.iter().enumerate() {
        // The time left is shared by the addresses left, so that a silent first one does not eat it all.
        let now = Instant::now();
        let share = deadline.saturating_duration_since(now) / u32::try_from(vetted.len() - position).unwrap_or(1);
        match timeout_at(now + share, TcpStream::connect(address)).await {
            Ok(Ok(socket)) => return Ok(tuned(socket)),
            Ok(Err(error)) => {
                tracing::debug!(%address, %error, "dialling failed");
                outcome = Unreachable::Refused;
            }
            Err(_) => outcome = Unreachable::Timeout,
        }
    }
    Err(Refusal::UpstreamUnreachable(outcome))
}

fn target<'a>(authority: &'a Authority, upstream: &'a Upstream) -> &'a Authority {
    upstream.connect_to.get(authority).unwrap_or(authority)
}

fn is_allowed(address: SocketAddr, upstream: &Upstream, own: &OwnListeners) -> bool {
    upstream.addresses.permits(address.ip()) && !own.reached_by(address)
}

async fn resolve(authority: &Authority) -> Result<Vec<SocketAddr>, Refusal> {
    let name = match authority.host() {
        Host::Ip(ip) => return Ok(vec![SocketAddr::new(*ip, authority.port())]),
        Host::Name(name) => name.as_str(),
    };
    let found = tokio::net::lookup_host((name, authority.port())).await;
    let found: Vec<SocketAddr> = found
        .map_err(|error| {
            tracing::debug!(%name, %error, "the name does not resolve");
            Refusal::UpstreamUnreachable(Unreachable::Dns)
        })?
        .collect();
    if found.is_empty() { Err(Refusal::UpstreamUnreachable(Unreachable::Dns)) } else { Ok(found) }
}

/// No Nagle delay; a dead peer is noticed. Neither failing is a reason not to use the socket.
fn tuned(socket: TcpStream) -> TcpStream {
    let _ = socket.set_nodelay(true);
    let keepalive = socket2::TcpKeepalive::new().with_time(TCP_KEEPALIVE_AFTER);
    let _ = socket2::SockRef::from(&socket).set_tcp_keepalive(&keepalive);
    socket
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(addresses: &[&str]) -> OwnListeners {
        let own = OwnListeners::default();
        for address in addresses {
            own.add(address.parse().unwrap());
        }
        own
    }

    #[test]
    fn the_proxy_itself_is_not_reached_under_any_name_of_this_machine() {
        let exact = own(&["127.0.0.1:3128"]);
        assert!(exact.reached_by("127.0.0.1:3128".parse().unwrap()));
        assert!(exact.reached_by("[::ffff:127.0.0.1]:3128".parse().unwrap()));
        assert!(exact.reached_by("0.0.0.0:3128".parse().unwrap()));
        assert!(!exact.reached_by("127.0.0.1:3129".parse().unwrap()));
        let everywhere = own(&["0.0.0.0:3128", "[::]:3129"]);
        assert!(everywhere.reached_by("127.0.0.9:3128".parse().unwrap()));
        assert!(everywhere.reached_by("127.0.0.1:3129".parse().unwrap()));
        assert!(!everywhere.reached_by("1.1.1.1:3128".parse().unwrap()));
    }

    #[tokio::test]
    async fn e05_only_an_address_that_was_vetted_is_dialled() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let allowed = listener.local_addr().unwrap();
        let forbidden = tokio::net::TcpListener::bind("127.0.0.2:0").await.unwrap();
        let elsewhere = forbidden.local_addr().unwrap();
        let addresses = model::address::AddressPolicy::new(vec!["127.0.0.1/32".parse().unwrap()]);
        let upstream = Upstream { addresses, ..Upstream::default() };
        let deadline = Instant::now() + Duration::from_secs(10);

        let socket = dial_found(vec![elsewhere, allowed], &upstream, &own(&[]), deadline).await.unwrap();
        assert_eq!(socket.peer_addr().unwrap(), allowed);
        let refused = dial_found(vec![elsewhere], &upstream, &own(&[]), deadline).await.unwrap_err();
        assert_eq!(refused, Refusal::DestinationForbidden);
        let refused = dial_found(vec![allowed], &upstream, &own(&[&allowed.to_string()]), deadline).await.unwrap_err();
        assert_eq!(refused, Refusal::DestinationForbidden, "its own listener was dialled");
        let nobody = tokio::time::timeout(Duration::ZERO, forbidden.accept()).await;
        assert!(nobody.is_err(), "the forbidden address was dialled");
    }
}
