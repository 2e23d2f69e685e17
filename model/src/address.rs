//! Which addresses may be dialled: public ones, and the private ranges that the operator allows. It judges the address
//! that will be connected to, after unwrapping every form in which IPv6 carries an IPv4 address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// The operator's exceptions to "public addresses only" (`upstream.allow_addresses`).
#[derive(Debug, Clone, Default)]
pub struct AddressPolicy {
    allowed: Vec<IpNet>,
}

impl AddressPolicy {
    /// A policy that also allows these networks.
    #[must_use]
    pub fn new(allowed: Vec<IpNet>) -> Self {
        Self { allowed }
    }

    /// Whether the address may be dialled.
    #[must_use]
    pub fn permits(&self, address: IpAddr) -> bool {
        let embedded = unwrap(address);
        let allowed = |ip: IpAddr| self.allowed.iter().any(|network| network.contains(&ip));
        if is_public(address) && is_public(embedded) {
            return true;
        }
        // An exception must cover what is really reached, not the wrapping.
        allowed(embedded)
    }
}

/// Follows IPv4-mapped, IPv4-compatible, NAT64, 6to4 and Teredo addresses to the IPv4 address they reach.
#[must_use]
pub fn unwrap(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    let [a, b, c, d, e, f, g, h] = v6.segments();
    let last = || IpAddr::V4(from_segments(g, h));
    match (a, b) {
        // ::ffff:0:0/96 mapped (RFC 4291 §2.5.5.2) and ::/96 compatible (§2.5.5.1); :: and ::1 stay IPv6.
        (0, 0) if c == 0 && d == 0 && e == 0 && (f == 0xffff || (f == 0 && (g != 0 || h > 1))) => last(),
        // 64:ff9b::/96 (RFC 6052) and 64:ff9b:1::/48 (RFC 8215).
        (0x64, 0xff9b) => last(),
        // 2002::/16 (RFC 3056).
        (0x2002, _) => IpAddr::V4(from_segments(b, c)),
        // 2001::/32 Teredo (RFC 4380 §4): the client's address, inverted.
        (0x2001, 0) => IpAddr::V4(from_segments(!g, !h)),
        _ => address,
    }
}

fn from_segments(high: u16, low: u16) -> Ipv4Addr {
    let [a, b] = high.to_be_bytes();
    let [c, d] = low.to_be_bytes();
    Ipv4Addr::new(a, b, c, d)
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

/// The special-purpose registry of RFC 6890, plus multicast and the reserved class E.
fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !matches!(
        (a, b, c),
        (0 | 10 | 127, _, _)
            | (100, 64..=127, _)
            | (169, 254, _)
            | (172, 16..=31, _)
            | (192, 0, 0 | 2)
            | (192, 88, 99)
            | (192, 168, _)
            | (198, 18 | 19, _)
            | (198, 51, 100)
            | (203, 0, 113)
            | (224..=255, _, _)
    )
}

/// Global unicast (2000::/3) less its documentation, benchmarking and protocol assignments, and NAT64's own prefix,
/// whose embedded address is judged besides.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, c, ..] = address.segments();
    if (a, b) == (0x64, 0xff9b) {
        return c == 0;
    }
    if a == 0 {
        // Mapped and compatible forms: judged by the address inside.
        return !matches!(unwrap(IpAddr::V6(address)), IpAddr::V6(_));
    }
    let documentation = (a, b) == (0x2001, 0xdb8) || (a == 0x3fff && b < 0x1000);
    let protocol = a == 0x2001 && (0x1..0x200).contains(&b);
    (0x2000..0x4000).contains(&a) && !documentation && !protocol
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permits(address: &str, allowed: &[&str]) -> bool {
        let allowed = allowed.iter().map(|network| network.parse().unwrap()).collect();
        AddressPolicy::new(allowed).permits(address.parse().unwrap())
    }

    #[test]
    fn public_addresses_may_be_dialled() {
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "192.0.1.1",
            "100.63.0.1",
            "172.32.0.1",
            "2606:4700::1111",
            "64:ff9b::808:808",
            "::ffff:1.1.1.1",
            "2002:101:101::1",
        ] {
            assert!(permits(address, &[]), "{address}");
        }
    }

    #[test]
    fn private_and_special_addresses_may_not_in_any_wrapping() {
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "127.0.0.1",
            "127.9.9.9",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.1.1.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "::a9fe:a9fe",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::808:808",
            "2002:7f00:1::",
            "2002:a00:1::1",
            "2001:0:4136:e378:8000:63bf:80ff:fffe",
            "100::1",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "2001:db8::1",
            "2001:2::1",
            "3fff::1",
            "5f00::1",
            "4000::1",
        ] {
            assert!(!permits(address, &[]), "{address}");
        }
    }

    #[test]
    fn an_exception_covers_what_is_really_reached() {
        assert!(permits("10.20.3.4", &["10.20.0.0/16"]));
        assert!(!permits("10.21.3.4", &["10.20.0.0/16"]));
        assert!(permits("::ffff:10.20.3.4", &["10.20.0.0/16"]));
        assert!(permits("64:ff9b::a14:304", &["10.20.0.0/16"]));
        assert!(permits("::1", &["::1/128"]));
        assert!(!permits("2002:7f00:1::", &["2002::/16"]));
    }

    /// Teredo's embedded client address is inverted; a private one inside is refused although 2001::/32 looks global.
    #[test]
    fn teredo_is_judged_by_its_client() {
        assert_eq!(unwrap("2001:0:1:2:3:4:f5ff:fffe".parse().unwrap()), "10.0.0.1".parse::<IpAddr>().unwrap());
    }
}
