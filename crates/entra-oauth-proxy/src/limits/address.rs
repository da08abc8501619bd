//! Whose address a request counts for.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use http::request::Parts;
use http::{Extensions, HeaderMap, HeaderName};
use ipnet::{IpNet, Ipv4Net};
use tower_entra_auth::entra_jwt_core::ShownUrl;

/// `X-Forwarded-For`. `Forwarded` (RFC 7239) is not read: who sends it sends this one too.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The reverse proxies whose word is taken for where a request came from.
#[derive(Clone, Debug, Default)]
pub(crate) struct TrustedProxies(Vec<IpNet>);

/// Where a request came from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Origin {
    pub(crate) address: IpAddr,
    /// Whether somebody says that it came from elsewhere, whose word is not taken.
    pub(crate) is_disputed: bool,
}

impl TrustedProxies {
    /// Those that are addresses or networks, and what is wrong with the others.
    pub(crate) fn parse(entries: &[String]) -> (Self, Vec<String>) {
        let (mut networks, mut wrong) = (Vec::new(), Vec::new());
        for entry in entries {
            match network(entry.trim()) {
                Ok(network) => networks.push(network),
                Err(fault) => wrong.push(format!(
                    "\"{}\" {fault}; good are 192.0.2.7, 10.0.0.0/8 and fd00::/8",
                    ShownUrl(entry)
                )),
            }
        }
        (Self(networks), wrong)
    }

    /// Where a request came from, if the server says by whom it was sent. What stands in
    /// `X-Forwarded-For` is read from the right, as each proxy adds there by whom it was asked: the
    /// first that is none of ours is the client, and everything before it what the client says.
    pub(crate) fn origin(&self, head: &Parts) -> Option<Origin> {
        let mut address = peer(&head.extensions)?;
        if !self.are(address) {
            return Some(Origin {
                address,
                is_disputed: head.headers.contains_key(FORWARDED_FOR),
            });
        }
        for forwarded in forwarded_for(&head.headers) {
            // What cannot be read was not written by a proxy of ours.
            let Some(forwarded) = forwarded else { break };
            address = forwarded;
            if !self.are(address) {
                break;
            }
        }
        Some(Origin {
            address,
            is_disputed: false,
        })
    }

    fn are(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// Who sent it, as the server put it there.
fn peer(extensions: &Extensions) -> Option<IpAddr> {
    let peer = extensions.get::<SocketAddr>();
    #[cfg(feature = "axum")]
    let peer = peer.or_else(|| {
        let info = extensions.get::<axum::extract::ConnectInfo<SocketAddr>>();
        info.map(|info| &info.0)
    });
    peer.map(|peer| peer.ip().to_canonical())
}

/// The addresses of the header, or headers, from the right.
fn forwarded_for(headers: &HeaderMap) -> impl Iterator<Item = Option<IpAddr>> {
    let lines = headers.get_all(FORWARDED_FOR).into_iter().rev();
    let entries = lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
    entries.map(|entry| read(std::str::from_utf8(entry).ok()?.trim()))
}

/// An address, also with a port, as Azure's Application Gateway writes them.
fn read(entry: &str) -> Option<IpAddr> {
    let with_port = || entry.parse::<SocketAddr>().ok().map(|with| with.ip());
    let in_brackets = || entry.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let address = entry.parse().ok().or_else(with_port).or_else(in_brackets);
    address.map(|address: IpAddr| address.to_canonical())
}

fn network(entry: &str) -> Result<IpNet, &'static str> {
    let network = entry.parse::<IpAddr>().map(IpNet::from);
    let network = network.or_else(|_| entry.parse::<IpNet>());
    match network.map(mapped_as_ipv4) {
        Err(_) => Err("is neither an address nor a network"),
        Ok(all) if all.prefix_len() == 0 => {
            Err("is everybody, and anybody could say of a request that it came from anywhere")
        }
        Ok(network) => Ok(network),
    }
}

/// IPv4 addresses count as such however they are written.
fn mapped_as_ipv4(network: IpNet) -> IpNet {
    let IpNet::V6(mapped) = network else {
        return network;
    };
    let ipv4 = mapped.addr().to_ipv4_mapped();
    let length = mapped.prefix_len().checked_sub(96);
    let ipv4 = ipv4
        .zip(length)
        .and_then(|(address, length)| Ipv4Net::new(address, length).ok());
    ipv4.map_or(network, IpNet::V4)
}

/// What one who is at this address has: with IPv6 a whole network of 64 bits.
pub(crate) fn counted(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => {
            let network = u128::from(address) >> 64 << 64;
            Ipv6Addr::from(network).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn proxies(entries: &[&str]) -> TrustedProxies {
        let entries: Vec<String> = entries.iter().map(ToString::to_string).collect();
        let (proxies, wrong) = TrustedProxies::parse(&entries);
        assert!(wrong.is_empty(), "{wrong:?}");
        proxies
    }

    /// The address, of a peer and what it says.
    fn seen(proxies: &TrustedProxies, peer: &str, lines: &[&[u8]]) -> String {
        let mut request = Request::new(());
        let peer: IpAddr = peer.parse().unwrap();
        request.extensions_mut().insert(SocketAddr::from((peer, 1)));
        for line in lines {
            let line = http::HeaderValue::from_bytes(line).unwrap();
            request.headers_mut().append(FORWARDED_FOR, line);
        }
        let (head, ()) = request.into_parts();
        proxies.origin(&head).unwrap().address.to_string()
    }

    #[test]
    fn nobody_is_believed_who_is_not_trusted() {
        let proxies = proxies(&["10.0.0.0/8"]);
        assert_eq!(seen(&proxies, "192.0.2.1", &[b"198.51.100.1"]), "192.0.2.1");
        assert_eq!(
            seen(&TrustedProxies::default(), "127.0.0.1", &[b"198.51.100.1"]),
            "127.0.0.1"
        );
    }

    #[test]
    fn what_trusted_proxies_say_is_read_from_the_right_to_the_first_stranger() {
        let proxies = proxies(&["10.0.0.0/8", "fd00::/8", "192.0.2.7"]);
        for (lines, address) in [
            (&[&b"198.51.100.1"[..]][..], "198.51.100.1"),
            (&[b"203.0.113.9, 198.51.100.1"], "198.51.100.1"),
            (&[b"203.0.113.9,198.51.100.1, 10.1.2.3"], "198.51.100.1"),
            (&[b"203.0.113.9", b"198.51.100.1,fd00::1"], "198.51.100.1"),
            (&[b"198.51.100.1, 192.0.2.7"], "198.51.100.1"),
            (&[b"198.51.100.1, 192.0.2.8"], "192.0.2.8"),
            // As several write them.
            (&[b"198.51.100.1:50000"], "198.51.100.1"),
            (&[b"[2001:db8::1]:50000"], "2001:db8::1"),
            (&[b"[2001:db8::1]"], "2001:db8::1"),
            (&[b"2001:db8::1"], "2001:db8::1"),
            (&[b"198.51.100.1, ::ffff:10.0.0.2"], "198.51.100.1"),
            (&[b"::ffff:198.51.100.1"], "198.51.100.1"),
            // Nothing to read: the last that could be.
            (&[], "10.0.0.1"),
            (&[b""], "10.0.0.1"),
            (&[b"198.51.100.1, unknown"], "10.0.0.1"),
            (&[b"198.51.100.1, _hidden, 10.0.0.2"], "10.0.0.2"),
            (&[b"198.51.100.1, \xff\xfe, 10.0.0.2"], "10.0.0.2"),
            (&[b"\xff\xfe, 198.51.100.1"], "198.51.100.1"),
            (&[b"198.51.100.1,"], "10.0.0.1"),
            (&[b"10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ] {
            assert_eq!(seen(&proxies, "10.0.0.1", lines), address, "{lines:?}");
            assert_eq!(
                seen(&proxies, "::ffff:10.0.0.1", lines),
                address,
                "{lines:?}"
            );
        }
    }

    #[test]
    fn a_request_without_a_peer_has_no_address_whatever_it_says() {
        let request = Request::builder().header(FORWARDED_FOR, "198.51.100.1");
        let (head, ()) = request.body(()).unwrap().into_parts();
        assert_eq!(proxies(&["10.0.0.0/8"]).origin(&head), None);
    }

    #[cfg(feature = "axum")]
    #[test]
    fn axum_says_who_the_peer_is() {
        let mut request = Request::new(());
        let peer: SocketAddr = "192.0.2.1:1".parse().unwrap();
        let info = axum::extract::ConnectInfo(peer);
        request.extensions_mut().insert(info);
        let (head, ()) = request.into_parts();
        let origin = TrustedProxies::default().origin(&head).unwrap();
        assert_eq!(origin.address, peer.ip());
    }

    #[test]
    fn an_ipv6_address_counts_as_its_network_of_64_bits() {
        let as_counted = |text: &str| counted(text.parse().unwrap()).to_string();
        assert_eq!(as_counted("192.0.2.1"), "192.0.2.1");
        assert_eq!(as_counted("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_ne!(as_counted("2001:db8:1:2::1"), as_counted("2001:db8:1:3::1"));
    }

    #[test]
    fn networks_are_read_as_people_write_them_and_nobody_trusts_everybody() {
        let parsed = |text| network(text).map(|network| network.to_string());
        assert_eq!(parsed("10.0.0.1").unwrap(), "10.0.0.1/32");
        assert_eq!(parsed("::ffff:10.0.0.0/104").unwrap(), "10.0.0.0/8");
        assert_eq!(parsed("fd00::/8").unwrap(), "fd00::/8");
        for wrong in ["", "10.0.0.0/33", "10.0.0.0/", "nginx", "10.0.0", "*"] {
            assert!(parsed(wrong).unwrap_err().contains("neither"), "{wrong}");
        }
        for all in ["0.0.0.0/0", "::/0", "::ffff:0.0.0.0/96"] {
            assert!(parsed(all).unwrap_err().contains("everybody"), "{all}");
        }
    }
}
