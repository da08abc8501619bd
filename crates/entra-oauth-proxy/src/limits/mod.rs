//! How much one address and one client may ask for, and how much is asked of Entra at a time.
//!
//! [`Limits`] are the settings. [`gate`] lets requests through or not: by [`buckets`](bucket), whose
//! keys are the [addresses](address) of clients, clients and sign-ins, and by [bulkheads](bulkhead)
//! before Entra.

mod address;
mod bucket;
mod bulkhead;
mod gate;

pub(crate) use self::address::TrustedProxies;
pub(crate) use self::gate::{Gate, Group};

use self::bucket::Rate;
use crate::tokens::user_record::Caps;

/// Limits of requests by address, client, sign-in and user, of the sign-ins that are kept of a user, and
/// of calls to Entra at a time; for [`EntraOAuthProxyBuilder::limits`](crate::EntraOAuthProxyBuilder::limits).
///
/// ```
/// use entra_oauth_proxy::{EntraOAuthProxy, Limits};
///
/// let settings = EntraOAuthProxy::builder()
///     .limits(Limits::default().registrations_per_address(20, 10))
///     .trusted_proxies(["10.0.0.0/8"]);
/// ```
///
/// What each is for, and what a client is told: [Limits](crate::operations#limits).
///
/// # Defaults
///
/// Requests at once, and requests a minute from then on:
///
/// | setting | what is counted | at once | a minute |
/// |---|---|---|---|
/// | [`registrations_per_address`](Self::registrations_per_address) | `/register` | 200 | 120 |
/// | [`sign_ins_per_address`](Self::sign_ins_per_address) | `/authorize`, `/consent` and `/callback`: three make a sign-in; `/sign-out` and `/signed-out` | 600 | 600 |
/// | [`token_requests_per_address`](Self::token_requests_per_address) | `/token` and `/revoke` | 1 000 | 3 000 |
/// | [`token_requests_per_client`](Self::token_requests_per_client) | `/token`, once the code or refresh token is proven | 5 000 | 30 000 |
/// | [`refreshes_per_sign_in`](Self::refreshes_per_sign_in) | `/token`, once the refresh token is proven | 120 | 60 |
/// | [`sign_ins_per_user`](Self::sign_ins_per_user) | `/callback`, once Entra has said who it is | 60 | 10 |
///
/// | setting | default |
/// |---|---|
/// | [`grants_per_user`](Self::grants_per_user) | 50 sign-ins |
/// | [`grants_per_user_and_client`](Self::grants_per_user_and_client) | 10 of them by one client |
/// | [`entra_calls`](Self::entra_calls) | 64 at a time for sign-ins, and 64 for renewals |
#[derive(Clone, Debug, Eq, PartialEq)]
#[must_use = "they count once they are given to the builder"]
pub struct Limits {
    registrations: Option<Rate>,
    sign_ins: Option<Rate>,
    token_requests: Option<Rate>,
    of_client: Option<Rate>,
    of_sign_in: Option<Rate>,
    of_user: Option<Rate>,
    grants: Caps,
    entra_calls: usize,
}

/// The most that a cap of grants may be: the record of a user has a reference to each, and stays below
/// 64 KiB.
pub(crate) const MOST_GRANTS: usize = 300;

impl Default for Limits {
    fn default() -> Self {
        Self::none()
            .registrations_per_address(200, 120)
            .sign_ins_per_address(600, 600)
            .token_requests_per_address(1_000, 3_000)
            .token_requests_per_client(5_000, 30_000)
            .refreshes_per_sign_in(120, 60)
            .sign_ins_per_user(60, 10)
    }
}

impl Limits {
    const ENTRA_CALLS: usize = 64;

    const GRANTS: Caps = Caps {
        of_user: 50,
        of_client: 10,
    };

    /// Returns limits without any of requests by address, client, sign-in or user: for a server behind
    /// something that has them. Those that are set after this count. The calls to Entra at a time, and
    /// the sign-ins that are kept of one user, stay limited.
    pub fn none() -> Self {
        Self {
            registrations: None,
            sign_ins: None,
            token_requests: None,
            of_client: None,
            of_sign_in: None,
            of_user: None,
            grants: Self::GRANTS,
            entra_calls: Self::ENTRA_CALLS,
        }
    }

    /// How often clients may be registered from one address: `burst` at once, `per_minute` from then
    /// on; each 1 to 1 000 000.
    ///
    /// An address is an IPv4 address or an IPv6 network of 64 bits, here as below.
    pub fn registrations_per_address(mut self, burst: u32, per_minute: u32) -> Self {
        self.registrations = Some(Rate { burst, per_minute });
        self
    }

    /// How many requests of browsers on the way of a sign-in there may be from one address: `burst` at
    /// once, `per_minute` from then on; each 1 to 1 000 000. Three make a sign-in.
    pub fn sign_ins_per_address(mut self, burst: u32, per_minute: u32) -> Self {
        self.sign_ins = Some(Rate { burst, per_minute });
        self
    }

    /// How many requests for tokens, and to revoke them, there may be from one address: `burst` at
    /// once, `per_minute` from then on; each 1 to 1 000 000. A hosted client has few addresses for all
    /// its users.
    pub fn token_requests_per_address(mut self, burst: u32, per_minute: u32) -> Self {
        self.token_requests = Some(Rate { burst, per_minute });
        self
    }

    /// How often one client may get tokens, whosever and from wherever: `burst` at once, `per_minute`
    /// from then on; each 1 to 1 000 000. Only requests count that have a code or a refresh token of
    /// that client's, so that nobody else can use them up.
    pub fn token_requests_per_client(mut self, burst: u32, per_minute: u32) -> Self {
        self.of_client = Some(Rate { burst, per_minute });
        self
    }

    /// How often one sign-in may be refreshed: `burst` at once, `per_minute` from then on; each 1 to
    /// 1 000 000. It ends the loop of one user's client before it costs the others of that client
    /// anything.
    pub fn refreshes_per_sign_in(mut self, burst: u32, per_minute: u32) -> Self {
        self.of_sign_in = Some(Rate { burst, per_minute });
        self
    }

    /// Limits the sign-ins of one user, by all clients and from all addresses: `burst` at once,
    /// `per_minute` from then on; each 1 to 1 000 000. Each sign-in leaves a record for half an hour,
    /// whatever becomes of it: that its code was used. One of which Entra demanded more at the last
    /// refresh counts twice.
    pub fn sign_ins_per_user(mut self, burst: u32, per_minute: u32) -> Self {
        self.of_user = Some(Rate { burst, per_minute });
        self
    }

    /// Sets the number of sign-ins of one user that are kept: 1 to 300. With the next one the longest
    /// unused of the user's ends. So nobody fills the store for the others.
    pub fn grants_per_user(mut self, most: usize) -> Self {
        self.grants.of_user = most;
        self
    }

    /// Sets the number of them that are kept by one client: 1 to 300. With the next one the longest unused of the
    /// user's by that client ends. A client that registers itself is one for each installation; one that
    /// is [known in advance](crate::FixedClient), or hosted, is one for all its installations, and a
    /// user may have it on several devices.
    pub fn grants_per_user_and_client(mut self, most: usize) -> Self {
        self.grants.of_client = most;
        self
    }

    pub(crate) const fn caps(&self) -> Caps {
        self.grants
    }

    /// How many calls to Entra there may be at a time: 1 to 10 000, for sign-ins and, apart from them,
    /// for renewals, so that neither waits for the other. Four times as many may wait, for 2 s; then,
    /// and for whoever comes beyond, it is as if Entra did not answer.
    pub fn entra_calls(mut self, most: usize) -> Self {
        self.entra_calls = most;
        self
    }

    /// What is wrong with them.
    pub(crate) fn problems(&self) -> Vec<String> {
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
        let mut problems: Vec<String> = rates
            .into_iter()
            .filter_map(|(setting, rate, good)| {
                let (rate, good) = (rate.filter(is_wrong)?, good?);
                Some(format!(
                    "{setting}({}, {}) is not of two numbers from 1 to 1000000; good is \
                     {setting}({}, {})",
                    rate.burst, rate.per_minute, good.burst, good.per_minute
                ))
            })
            .collect();
        for (setting, most, good) in [
            ("grants_per_user", self.grants.of_user, good.grants.of_user),
            (
                "grants_per_user_and_client",
                self.grants.of_client,
                good.grants.of_client,
            ),
        ] {
            if !(1..=MOST_GRANTS).contains(&most) {
                problems.push(format!(
                    "{setting}({most}) is not from 1 to {MOST_GRANTS}; good is {setting}({good})"
                ));
            }
        }
        if !(1..=10_000).contains(&self.entra_calls) {
            problems.push(format!(
                "entra_calls({}) is not from 1 to 10000; good is entra_calls({})",
                self.entra_calls,
                Self::ENTRA_CALLS
            ));
        }
        problems
    }
}
