//! Limits on requests by address, client, sign-in and user, on stored sign-ins, and on concurrent
//! calls.
//!
//! [`RateLimits`] and [`TrustedProxies`] are the settings. The trusted proxies decide for which
//! address a request counts. [`RateLimiter`] admits or refuses requests by token buckets, whose
//! keys are these addresses, clients, sign-ins and users.

mod rate_limiter;

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use http::request::Parts;
use http::{Extensions, HeaderMap, HeaderName};
use ipnet::{IpNet, Ipv4Net};
use tower_entra_auth::entra_jwt_core::integration::EscapedUrl;

pub(crate) use self::rate_limiter::{EndpointGroup, RateLimiter};

/// A rate of requests with a burst, for [`RateLimits`].
///
/// ```
/// use entra_oauth_proxy::Rate;
///
/// let rate = Rate::per_minute(60).burst(120);
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use = "a rate has no effect until it is passed to RateLimits"]
pub struct Rate {
    burst: u32,
    per_minute: u32,
}

impl Rate {
    /// Creates a rate of `requests` per minute, 1 to 1 000 000, with a burst of the same number.
    pub const fn per_minute(requests: u32) -> Self {
        Self {
            burst: requests,
            per_minute: requests,
        }
    }

    /// Sets the number of requests that may pass at the same time before the rate applies.
    ///
    /// It is 1 to 1 000 000. Default: the requests of one minute.
    pub const fn burst(mut self, requests: u32) -> Self {
        self.burst = requests;
        self
    }
}

/// Writes the rate as Rust code.
impl fmt::Display for Rate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "Rate::per_minute({}).burst({})",
            self.per_minute, self.burst
        )
    }
}

/// The header `X-Forwarded-For`. `Forwarded` (RFC 7239) is not read: a proxy that sends it also
/// sends this header.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Reverse proxies whose `X-Forwarded-For` is trusted.
#[derive(Clone, Debug, Default)]
struct TrustedProxies(Vec<IpNet>);

/// Origin of a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Origin {
    address: IpAddr,
    /// True if `X-Forwarded-For` names another origin, but the peer is no trusted proxy.
    is_disputed: bool,
}

/// Limits on requests, on the stored sign-ins of a user, and on concurrent calls to Entra.
///
/// Requests are limited by address, client, sign-in and user. Pass the limits to
/// [`EntraOAuthProxyBuilder::limits`](crate::EntraOAuthProxyBuilder::limits).
///
/// ```
/// use entra_oauth_proxy::{EntraOAuthProxy, Rate, RateLimits};
///
/// let settings = EntraOAuthProxy::builder()
///     .limits(RateLimits::default().registrations_per_address(Rate::per_minute(10).burst(20)))
///     .trusted_proxies(["10.0.0.0/8"]);
/// ```
///
/// [Limits](crate::_guide::operations#limits) explains the purpose of each limit, and the response
/// to a client that exceeds one.
///
/// # Defaults
///
/// Requests at the same time (burst), and requests per minute from then on:
///
/// | setting | counted requests | burst | per minute |
/// |---|---|---|---|
/// | [`registrations_per_address`](Self::registrations_per_address) | `/register` | 200 | 120 |
/// | [`sign_ins_per_address`](Self::sign_ins_per_address) | `/authorize`, `/consent` and `/callback`: a sign-in takes three requests; `/sign-out` and `/signed-out` | 600 | 600 |
/// | [`token_requests_per_address`](Self::token_requests_per_address) | `/token` and `/revoke` | 1 000 | 3 000 |
/// | [`token_requests_per_client`](Self::token_requests_per_client) | `/token`, once the client has proven its code or refresh token | 5 000 | 30 000 |
/// | [`refreshes_per_sign_in`](Self::refreshes_per_sign_in) | `/token`, once the client has proven its refresh token | 120 | 60 |
/// | [`sign_ins_per_user`](Self::sign_ins_per_user) | `/callback`, once Entra has identified the user | 60 | 10 |
///
/// | setting | default |
/// |---|---|
/// | [`grants_per_user`](Self::grants_per_user) | 50 sign-ins |
/// | [`grants_per_user_and_client`](Self::grants_per_user_and_client) | 10 sign-ins by one client |
/// | [`entra_calls`](Self::entra_calls) | 64 concurrent calls for sign-ins, and 64 for renewals |
#[derive(Clone, Debug, Eq, PartialEq)]
#[must_use = "rate limits have no effect until they are passed to the builder"]
pub struct RateLimits {
    registrations: Option<Rate>,
    sign_ins: Option<Rate>,
    token_requests: Option<Rate>,
    of_client: Option<Rate>,
    of_sign_in: Option<Rate>,
    of_user: Option<Rate>,
    grants_of_user: usize,
    grants_of_client: usize,
    entra_calls: usize,
}

impl Default for RateLimits {
    fn default() -> Self {
        Self::none()
            .registrations_per_address(Rate::per_minute(120).burst(200))
            .sign_ins_per_address(Rate::per_minute(600).burst(600))
            .token_requests_per_address(Rate::per_minute(3_000).burst(1_000))
            .token_requests_per_client(Rate::per_minute(30_000).burst(5_000))
            .refreshes_per_sign_in(Rate::per_minute(60).burst(120))
            .sign_ins_per_user(Rate::per_minute(10).burst(60))
    }
}

impl RateLimits {
    const ENTRA_CALLS: usize = 64;

    /// Maximum value of a limit on grants (sign-ins).
    ///
    /// The record of a user has a reference to each grant, and must stay below 64 KiB.
    pub(crate) const MAX_GRANTS: usize = 300;

    /// Returns limits without any limit by address, client, sign-in or user.
    ///
    /// They are for a server behind a gateway that limits requests itself. Limits that are set on
    /// the result apply. Concurrent calls to Entra, and the stored sign-ins of one user, stay
    /// limited.
    pub fn none() -> Self {
        Self {
            registrations: None,
            sign_ins: None,
            token_requests: None,
            of_client: None,
            of_sign_in: None,
            of_user: None,
            grants_of_user: 50,
            grants_of_client: 10,
            entra_calls: Self::ENTRA_CALLS,
        }
    }

    /// Limits the registrations from one address.
    ///
    /// Here and below, an address is an IPv4 address or an IPv6 network of 64 bits.
    pub fn registrations_per_address(mut self, rate: Rate) -> Self {
        self.registrations = Some(rate);
        self
    }

    /// Limits the requests that browsers send from one address to sign in or out.
    ///
    /// A sign-in takes three requests.
    pub fn sign_ins_per_address(mut self, rate: Rate) -> Self {
        self.sign_ins = Some(rate);
        self
    }

    /// Limits the token requests and revocations from one address.
    ///
    /// A hosted client has few addresses for all its users.
    pub fn token_requests_per_address(mut self, rate: Rate) -> Self {
        self.token_requests = Some(rate);
        self
    }

    /// Limits the token requests of one client, for all users and from all addresses.
    ///
    /// Only requests with a code or a refresh token of that client count, so that no other client
    /// can use up the limit.
    pub fn token_requests_per_client(mut self, rate: Rate) -> Self {
        self.of_client = Some(rate);
        self
    }

    /// Limits the refreshes of one sign-in.
    ///
    /// The limit stops the loop of one user's client before this affects the client's other users.
    pub fn refreshes_per_sign_in(mut self, rate: Rate) -> Self {
        self.of_sign_in = Some(rate);
        self
    }

    /// Limits the sign-ins of one user, by all clients and from all addresses.
    ///
    /// Each sign-in leaves a record for half an hour that its code was used, even if the sign-in
    /// ends earlier. A sign-in for which Entra demanded more at the last refresh counts twice.
    pub fn sign_ins_per_user(mut self, rate: Rate) -> Self {
        self.of_user = Some(rate);
        self
    }

    /// Sets the maximum number of stored grants (sign-ins) of one user: 1 to 300.
    ///
    /// The next sign-in ends the user's longest unused one. So no user can fill the store for the
    /// others.
    pub fn grants_per_user(mut self, most: usize) -> Self {
        self.grants_of_user = most;
        self
    }

    /// Sets the maximum number of stored grants (sign-ins) of one user by one client: 1 to 300.
    ///
    /// The next sign-in ends the user's longest unused one by that client. A client that registers
    /// itself is a separate client for each installation. A client that is [known in
    /// advance](crate::PreregisteredClient) or hosted is one client for all its installations, and
    /// a user may have it on several devices.
    pub fn grants_per_user_and_client(mut self, most: usize) -> Self {
        self.grants_of_client = most;
        self
    }

    /// Returns the maximum number of grants (sign-ins) of a user, and of a user by one client.
    pub(crate) const fn grant_caps(&self) -> [usize; 2] {
        [self.grants_of_user, self.grants_of_client]
    }

    /// Returns the maximum number of concurrent calls to Entra.
    pub(crate) const fn max_entra_calls(&self) -> usize {
        self.entra_calls
    }

    /// Limits the concurrent calls to Entra: 1 to 10 000.
    ///
    /// The limit applies separately to sign-ins and to renewals, so that neither waits for the
    /// other. Four times as many calls may wait, for up to 2 s. A call that waits longer, or finds
    /// no place to wait, fails as if Entra did not respond.
    pub fn entra_calls(mut self, most: usize) -> Self {
        self.entra_calls = most;
        self
    }

    /// Returns all problems with the limits, each with its setting.
    fn problems(&self) -> Vec<(&'static str, String)> {
        let good = Self::default();
        let rates = [
            (
                "registrations_per_address",
                self.registrations,
                good.registrations,
            ),
            ("sign_ins_per_address", self.sign_ins, good.sign_ins),
            (
                "token_requests_per_address",
                self.token_requests,
                good.token_requests,
            ),
            ("token_requests_per_client", self.of_client, good.of_client),
            ("refreshes_per_sign_in", self.of_sign_in, good.of_sign_in),
            ("sign_ins_per_user", self.of_user, good.of_user),
        ];
        let is_wrong = |rate: &Rate| {
            let is_good = |number: u32| (1..=1_000_000).contains(&number);
            !is_good(rate.burst) || !is_good(rate.per_minute)
        };
        let mut problems: Vec<_> = rates
            .into_iter()
            .filter_map(|(setting, rate, good)| {
                let (rate, good) = (rate.filter(is_wrong)?, good?);
                let text = format!(
                    "{rate}: both numbers must be from 1 to 1000000; for example {setting}({good})"
                );
                Some((setting, text))
            })
            .collect();
        for (setting, most, good) in [
            ("grants_per_user", self.grants_of_user, good.grants_of_user),
            (
                "grants_per_user_and_client",
                self.grants_of_client,
                good.grants_of_client,
            ),
        ] {
            if !(1..=Self::MAX_GRANTS).contains(&most) {
                let text = format!(
                    "{most} is not from 1 to {}; for example {setting}({good})",
                    Self::MAX_GRANTS
                );
                problems.push((setting, text));
            }
        }
        if !(1..=10_000).contains(&self.entra_calls) {
            let text = format!(
                "{} is not from 1 to 10000; for example entra_calls({})",
                self.entra_calls,
                Self::ENTRA_CALLS
            );
            problems.push(("entra_calls", text));
        }
        problems
    }
}

impl TrustedProxies {
    /// Parses addresses and networks, and returns a problem for each invalid entry.
    fn parse(entries: &[String]) -> (Self, Vec<String>) {
        let (mut networks, mut wrong) = (Vec::new(), Vec::new());
        for entry in entries {
            match network(entry.trim()) {
                Ok(network) => networks.push(network),
                Err(fault) => wrong.push(format!(
                    "\"{}\" {fault}; for example 192.0.2.7, 10.0.0.0/8 or fd00::/8",
                    EscapedUrl(entry)
                )),
            }
        }
        (Self(networks), wrong)
    }

    /// Returns the origin of a request, if the HTTP server provides the peer's address.
    ///
    /// `X-Forwarded-For` is read from the right, because each proxy appends the address of its own
    /// peer. The first address that is no trusted proxy is the client. Everything before this
    /// address is ignored, because the client may have written it.
    fn origin(&self, head: &Parts) -> Option<Origin> {
        let mut address = peer(&head.extensions)?;
        if !self.are(address) {
            return Some(Origin {
                address,
                is_disputed: head.headers.contains_key(FORWARDED_FOR),
            });
        }
        for forwarded in forwarded_for(&head.headers) {
            // A trusted proxy would not write an unreadable entry, so stop here.
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

/// Returns the address of the peer, which the HTTP server put into the extensions.
fn peer(extensions: &Extensions) -> Option<IpAddr> {
    let peer = extensions.get::<SocketAddr>();
    #[cfg(feature = "axum")]
    let peer = peer.or_else(|| {
        let info = extensions.get::<axum::extract::ConnectInfo<SocketAddr>>();
        info.map(|info| &info.0)
    });
    peer.map(|peer| peer.ip().to_canonical())
}

/// Returns the addresses of all lines of the header, from the right. `None` is an unreadable one.
fn forwarded_for(headers: &HeaderMap) -> impl Iterator<Item = Option<IpAddr>> {
    let lines = headers.get_all(FORWARDED_FOR).into_iter().rev();
    let entries = lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
    entries.map(|entry| read(std::str::from_utf8(entry).ok()?.trim()))
}

/// Parses an address with or without a port. Azure's Application Gateway writes one with a port.
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
            Err("contains every address, so every client could forge X-Forwarded-For")
        }
        Ok(network) => Ok(network),
    }
}

/// Returns an IPv4-mapped IPv6 network as an IPv4 network, and any other network unchanged.
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

    /// Returns the address of the origin, for a peer and its lines of `X-Forwarded-For`.
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
            // With a port or brackets, as several proxies write them.
            (&[b"198.51.100.1:50000"], "198.51.100.1"),
            (&[b"[2001:db8::1]:50000"], "2001:db8::1"),
            (&[b"[2001:db8::1]"], "2001:db8::1"),
            (&[b"2001:db8::1"], "2001:db8::1"),
            (&[b"198.51.100.1, ::ffff:10.0.0.2"], "198.51.100.1"),
            (&[b"::ffff:198.51.100.1"], "198.51.100.1"),
            // No entry, or an unreadable one: the last readable address counts.
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
    fn networks_are_read_as_people_write_them_and_nobody_trusts_everybody() {
        let parsed = |text| network(text).map(|network| network.to_string());
        assert_eq!(parsed("10.0.0.1").unwrap(), "10.0.0.1/32");
        assert_eq!(parsed("::ffff:10.0.0.0/104").unwrap(), "10.0.0.0/8");
        assert_eq!(parsed("fd00::/8").unwrap(), "fd00::/8");
        for wrong in ["", "10.0.0.0/33", "10.0.0.0/", "nginx", "10.0.0", "*"] {
            assert!(parsed(wrong).unwrap_err().contains("neither"), "{wrong}");
        }
        for all in ["0.0.0.0/0", "::/0", "::ffff:0.0.0.0/96"] {
            assert!(parsed(all).unwrap_err().contains("every address"), "{all}");
        }
    }
}
