//! The state of the keys, for operators; read without any I/O.

use std::fmt;
use std::time::Duration;

use entra_jwt_core::ids::KeyId;

use crate::unavailable::Unavailable;

/// A snapshot of the state of an [`EntraAuth`](crate::EntraAuth), from
/// [`EntraAuth::status`](crate::EntraAuth::status).
///
/// `Display` formats the snapshot for operators, with a line for each issuer, key and failure.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AuthStatus {
    /// The keys of each trusted issuer; at least one issuer.
    pub issuers: Vec<IssuerStatus>,
    /// The token cache; `None` if it is off.
    pub token_cache: Option<TokenCacheStatus>,
}

/// The state of the keys of one trusted issuer.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct IssuerStatus {
    /// The source of the keys: the host of the metadata endpoint, or the
    /// [name](crate::keys::KeySource::name) of the key source.
    pub source: String,
    /// `true` if tokens can be validated now: there are keys, and the last successful fetch is
    /// recent enough.
    pub is_ready: bool,
    /// The trusted keys, ordered by id.
    pub keys: Vec<KeyStatus>,
    /// Time since the last successful fetch of keys; `None` if there was none.
    pub last_success_ago: Option<Duration>,
    /// The last failed attempt, also if later attempts succeeded.
    pub last_failure: Option<FailureStatus>,
    /// The number of failed attempts since the last successful one.
    pub failures_in_a_row: u32,
    /// Time until the next attempt, at the latest.
    ///
    /// It is zero before the first request or [`ready`](crate::EntraAuth::ready), which start the
    /// first attempt.
    pub next_attempt_in: Duration,
}

/// A trusted key.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct KeyStatus {
    /// The key's `kid`.
    pub id: KeyId,
    /// Time since a fetch first returned this key.
    pub first_seen_ago: Duration,
    /// Time since a fetch last returned this key.
    pub last_seen_ago: Duration,
    /// Remaining time of trust for a key that is no longer published; `None` while the key is
    /// published.
    pub time_to_live: Option<Duration>,
}

/// A failed attempt to fetch keys.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FailureStatus {
    /// Time since the attempt ended.
    pub ago: Duration,
    /// The cause, with a [`code`](Unavailable::code) and a [`remedy`](Unavailable::remedy).
    pub cause: Unavailable,
}

/// The state of the token cache.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct TokenCacheStatus {
    /// The number of cached tokens.
    pub tokens: u64,
    /// Approximate size of the cached tokens, in bytes.
    pub bytes: u64,
    /// Maximum size of the cached tokens, in bytes.
    pub capacity: u64,
}

impl AuthStatus {
    /// Returns whether the tokens of all issuers can be validated now.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.issuers.iter().all(|issuer| issuer.is_ready)
    }
}

impl fmt::Display for AuthStatus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, issuer) in self.issuers.iter().enumerate() {
            if index > 0 {
                writeln!(formatter)?;
            }
            write!(formatter, "{issuer}")?;
        }
        if let Some(cache) = &self.token_cache {
            write!(
                formatter,
                "\n  tokens     {} cached, {} of {} KiB",
                cache.tokens,
                cache.bytes / 1024,
                cache.capacity / 1024
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for IssuerStatus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let readiness = if self.is_ready { "ready" } else { "not ready" };
        let count = self.keys.len();
        let plural = if count == 1 { "" } else { "s" };
        write!(
            formatter,
            "{readiness}: {count} key{plural} of {}",
            self.source
        )?;
        for key in &self.keys {
            let seen = Ago(key.last_seen_ago);
            write!(formatter, "\n  key        {}, seen {seen}", key.id.as_str())?;
            if let Some(left) = key.time_to_live {
                write!(
                    formatter,
                    ", no longer published, trusted for {}",
                    LargestUnit(left)
                )?;
            }
        }
        match self.last_success_ago {
            Some(ago) => write!(formatter, "\n  fetched    {}", Ago(ago))?,
            None => write!(formatter, "\n  fetched    never")?,
        }
        if let Some(failure) = &self.last_failure {
            write!(
                formatter,
                "\n  failed     {}: {} ({})\n             {}",
                Ago(failure.ago),
                failure.cause,
                failure.cause.code(),
                failure.cause.remedy()
            )?;
        }
        write!(
            formatter,
            "\n  next       in {}",
            LargestUnit(self.next_attempt_in)
        )
    }
}

/// A duration in its largest unit.
struct LargestUnit(Duration);

impl fmt::Display for LargestUnit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        match seconds {
            0..120 => write!(formatter, "{seconds} s"),
            120..7_200 => write!(formatter, "{} min", seconds / 60),
            _ => write!(formatter, "{} h", seconds / 3_600),
        }
    }
}

struct Ago(Duration);

impl fmt::Display for Ago {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ago", LargestUnit(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unavailable::Outage;

    #[test]
    fn it_prints_for_people() {
        let key = |id: &str, left: Option<u64>| KeyStatus {
            id: KeyId::new(id).unwrap(),
            first_seen_ago: Duration::from_secs(90_000),
            last_seen_ago: Duration::from_secs(119),
            time_to_live: left.map(Duration::from_secs),
        };
        let mut status = AuthStatus {
            issuers: vec![IssuerStatus {
                source: "login.microsoftonline.com".to_owned(),
                is_ready: true,
                keys: vec![key("a", None), key("b", Some(72_000))],
                last_success_ago: Some(Duration::from_secs(720)),
                last_failure: None,
                failures_in_a_row: 0,
                next_attempt_in: Duration::from_secs(2_880),
            }],
            token_cache: Some(TokenCacheStatus {
                tokens: 3,
                bytes: 12_000,
                capacity: 32 * 1024 * 1024,
            }),
        };
        assert_eq!(
            status.to_string(),
            "ready: 2 keys of login.microsoftonline.com\n  \
               key        a, seen 119 s ago\n  \
               key        b, seen 119 s ago, no longer published, trusted for 20 h\n  \
               fetched    12 min ago\n  \
               next       in 48 min\n  \
               tokens     3 cached, 11 of 32768 KiB"
        );
        status.token_cache = None;
        status.issuers[0] = IssuerStatus {
            is_ready: false,
            keys: Vec::new(),
            last_success_ago: None,
            last_failure: Some(FailureStatus {
                ago: Duration::from_secs(3),
                cause: Outage::Dns {
                    host: "login.microsoftonline.com".to_owned(),
                }
                .into(),
            }),
            ..status.issuers[0].clone()
        };
        let text = status.to_string();
        assert!(text.starts_with("not ready: 0 keys of"), "{text}");
        assert!(
            text.contains("\n  fetched    never\n  failed     3 s ago: "),
            "{text}"
        );
        assert!(
            text.contains("(dns)\n             check the name resolution"),
            "{text}"
        );
    }
}
