//! Who is at the other end.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use axum::extract::Request;
use http::HeaderMap;
use ipnet::IpNet;

/// The address that a request comes from, as an extension of the request:
/// the connection's, or what trusted proxies say of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Peer(pub IpAddr);

impl Default for Peer {
    /// Nobody knows where.
    fn default() -> Self {
        Self(IpAddr::V6(Ipv6Addr::UNSPECIFIED))
    }
}

/// Puts the client's address in the place of the connection's.
pub(super) fn resolve(request: &mut Request, trusted: &[IpNet]) {
    let Some(Peer(connection)) = request.extensions().get().copied() else {
        return;
    };
    let client = client(connection, request.headers(), trusted);
    request.extensions_mut().insert(Peer(client));
}

/// Goes back along `x-forwarded-for`, from the connection's own address to
/// the first one that is no trusted proxy: what stands further left is that
/// one's claim alone. A word that is no address ends the way as well.
fn client(connection: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: &IpAddr| trusted.iter().any(|net| net.contains(address));
    let mut client = connection.to_canonical();
    let lines = headers.get_all("x-forwarded-for").iter().rev();
    let mut hops = lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
    while is_trusted(&client) {
        match hops.next().and_then(address) {
            Some(hop) => client = hop,
            None => break,
        }
    }
    client
}

/// An address, with a port or without.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let parsed = bare.parse().or_else(|_| text.parse::<SocketAddr>().map(|socket| socket.ip()));
    parsed.ok().map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(connection: &str, forwarded: &[&str], expected: &str) {
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append("x-forwarded-for", line.parse().unwrap());
        }
        let trusted = ["10.0.0.0/8", "fd00::/8", "192.0.2.7/32"].map(|net| net.parse().unwrap());
        let found = client(connection.parse().unwrap(), &headers, &trusted);
        assert_eq!(found, expected.parse::<IpAddr>().unwrap(), "{forwarded:?}");
    }

    #[test]
    fn a_stranger_is_who_it_is_whatever_it_claims() {
        check("198.51.100.1", &["203.0.113.5"], "198.51.100.1");
        check("198.51.100.1", &[], "198.51.100.1");
    }

    #[test]
    fn the_rightmost_untrusted_address_counts() {
        check("10.0.0.1", &["203.0.113.5"], "203.0.113.5");
        check("10.0.0.1", &["1.1.1.1, 203.0.113.5"], "203.0.113.5");
        check("10.0.0.1", &["1.1.1.1, 203.0.113.5, 192.0.2.7", "10.2.3.4"], "203.0.113.5");
        check("fd00::1", &["2001:db8::5"], "2001:db8::5");
    }

    #[test]
    fn ports_and_mapped_addresses_are_understood() {
        check("::ffff:10.0.0.1", &["203.0.113.5:1234"], "203.0.113.5");
        check("10.0.0.1", &["[2001:db8::5]:443"], "2001:db8::5");
        check("10.0.0.1", &["[2001:db8::5]"], "2001:db8::5");
        check("10.0.0.1", &["203.0.113.5, ::ffff:10.9.9.9"], "203.0.113.5");
    }

    #[test]
    fn where_the_way_ends_the_last_proxy_is_the_client() {
        check("10.0.0.1", &[], "10.0.0.1");
        check("10.0.0.1", &["10.0.0.2, 10.0.0.3"], "10.0.0.2");
        check("10.0.0.1", &["203.0.113.5, unknown, 10.0.0.3"], "10.0.0.3");
        check("10.0.0.1", &[""], "10.0.0.1");
    }
}
