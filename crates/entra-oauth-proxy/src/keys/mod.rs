//! The proxy's own keys.
//!
//! Each key has one purpose and is derived from a root key. There are several root keys during a
//! rotation.
//!
//! Every value that is kept outside this process's memory begins with one byte, the version of its
//! format, inside the encryption. Values from before this byte existed are JSON, begin with a
//! brace, and count as version 0. Versions stay below 32, so that no other first byte is mistaken
//! for a version.

mod keyring;

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) use self::keyring::Keyring;
use crate::crypto::random;

/// The proxy's root keys: secrets of 32 bytes, from which a key for each purpose is derived (HKDF,
/// RFC 5869).
///
/// The first root key signs and encrypts. The others only verify and decrypt.
///
/// To rotate a key with several instances, add the new key at the end of the list on all of them.
/// Then move it to the front on all of them. In this order, no instance receives a value that it
/// cannot read. Remove the old key once everything made under it has expired. Client registrations
/// and sign-ins that were made under the old key end with it.
///
/// These keys have nothing to do with Entra's credential. Replacing the credential signs no user
/// out.
#[derive(Clone)]
pub struct ProxyKeys {
    roots: Vec<[u8; 32]>,
    is_generated: bool,
}

/// An invalid list of keys.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{}", .0)]
pub struct InvalidKeys(KeyFault);

#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
enum KeyFault {
    /// The list contains no key.
    #[error("no key; make one with: openssl rand -base64 32")]
    Missing,
    /// A key is not 32 bytes in base64.
    #[error("key {number} is not 32 bytes in base64; make one with: openssl rand -base64 32")]
    Malformed { number: usize },
    /// A key repeats bytes as no random key does. It is most likely an example.
    #[error("key {number} is not random; make one with: openssl rand -base64 32")]
    NotRandom { number: usize },
}

impl ProxyKeys {
    /// Parses keys in base64, separated by commas or white space.
    ///
    /// The first key signs and encrypts. A line that begins with `#` is a comment.
    ///
    /// # Errors
    /// If there is no key, or if one of them is not 32 random bytes.
    pub fn from_base64(text: &str) -> Result<Self, InvalidKeys> {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let texts = lines.flat_map(|line| line.split(|c: char| c == ',' || c.is_whitespace()));
        let texts = texts.filter(|text| !text.is_empty());
        let roots: Vec<[u8; 32]> = texts
            .enumerate()
            .map(|(index, text)| root(text, index + 1))
            .collect::<Result<_, _>>()?;
        if roots.is_empty() {
            return Err(InvalidKeys(KeyFault::Missing));
        }
        Ok(Self {
            roots,
            is_generated: false,
        })
    }

    /// Parses keys from an environment variable, such as `ENTRA_PROXY_KEYS`.
    ///
    /// # Errors
    /// As [`from_base64`](Self::from_base64). A variable that is not set has no key.
    pub fn from_env(variable: &str) -> Result<Self, InvalidKeys> {
        Self::from_base64(&std::env::var(variable).unwrap_or_default())
    }

    /// Generates a key that exists only in this process.
    ///
    /// After a restart, no client is known, and all users must sign in again. Some clients register
    /// again. Others [fail](crate::_guide::connecting_clients#what-clients-do) until their users remove
    /// this server from them and add it again. A second instance does not know the key. A [data
    /// directory](crate::EntraOAuthProxyBuilder::data_directory) keeps its keys over a restart.
    #[must_use]
    pub fn generate() -> Self {
        Self {
            roots: vec![random()],
            is_generated: true,
        }
    }

    pub(crate) fn is_generated(&self) -> bool {
        self.is_generated
    }
}

impl fmt::Debug for ProxyKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ProxyKeys")
            .field("keys", &self.roots.len())
            .finish_non_exhaustive()
    }
}

fn root(text: &str, number: usize) -> Result<[u8; 32], InvalidKeys> {
    let engines = [&STANDARD, &URL_SAFE, &STANDARD_NO_PAD, &URL_SAFE_NO_PAD];
    let bytes = engines.iter().find_map(|engine| engine.decode(text).ok());
    let root: [u8; 32] = bytes
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or(InvalidKeys(KeyFault::Malformed { number }))?;
    let mut different = root.to_vec();
    different.sort_unstable();
    different.dedup();
    match different.len() < 12 {
        true => Err(InvalidKeys(KeyFault::NotRandom { number })),
        false => Ok(root),
    }
}

/// Purpose of an encrypted or authenticated value.
///
/// A value for one purpose is invalid for any other.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Purpose {
    /// The registration in a client id.
    ClientId,
    /// The secret of a client.
    ClientSecret,
    /// The request that the user is asked to consent to, in the page's form.
    Consent,
    /// The sign-in in progress at Entra, in the browser's cookie.
    SignIn,
    /// A record in the store.
    Record,
    /// A refresh token.
    RefreshToken,
}

impl Purpose {
    const ALL: [Self; 6] = [
        Self::ClientId,
        Self::ClientSecret,
        Self::Consent,
        Self::SignIn,
        Self::Record,
        Self::RefreshToken,
    ];

    const fn label(self) -> &'static str {
        match self {
            Self::ClientId => "client id",
            Self::ClientSecret => "client secret",
            Self::Consent => "consent",
            Self::SignIn => "sign-in",
            Self::Record => "record",
            Self::RefreshToken => "refresh token",
        }
    }
}

/// A value that is kept outside this process's memory, in a format that has a version.
///
/// To change a format, raise its version, and read what all earlier versions wrote (by serde
/// defaults, or by a separate type). Describe the change in the table of `docs/operations.md` and
/// in the changelog. A value that a later version wrote is never read or changed, and never treated
/// as stolen.
pub(crate) trait Versioned: Serialize + DeserializeOwned {
    /// Name in the log.
    const NAME: &'static str;
    /// Version that is written.
    const VERSION: u8;
}

/// Cause of an unreadable value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Unreadable {
    /// This server did not make the value, made it for something else, or made it under a key that
    /// is not in the list.
    Malformed,
    /// A later version of this server made the value.
    Later,
}

/// First byte of every value that was written before there was a version byte.
const BRACE: u8 = b'{';

/// Writes a value with its version.
fn write<T: Versioned>(value: &T, text: &mut Vec<u8>) -> Option<()> {
    text.push(T::VERSION);
    serde_json::to_writer(text, value).ok()
}

/// Reads a value that this version of the server or an earlier one wrote.
fn read<T: Versioned>(text: &[u8]) -> Result<T, Unreadable> {
    let (version, json) = match text.split_first() {
        None => return Err(Unreadable::Malformed),
        Some((&BRACE, _)) => (0, text),
        Some((version, json)) => (*version, json),
    };
    if version > T::VERSION {
        return Err(Unreadable::Later);
    }
    serde_json::from_slice(json).map_err(|_| Unreadable::Malformed)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[test]
    fn a_generated_key_is_random() {
        let [key] = ProxyKeys::generate().roots[..] else {
            panic!("more than one key");
        };
        assert!(root(&STANDARD.encode(key), 1).is_ok());
    }

    #[test]
    fn keys_that_are_none_are_refused() {
        let good = STANDARD.encode(random::<32>());
        assert!(ProxyKeys::from_base64(&format!("{good},{good}")).is_ok());
        for (text, expected) in [
            ("", InvalidKeys(KeyFault::Missing)),
            (" , ", InvalidKeys(KeyFault::Missing)),
            ("secret", InvalidKeys(KeyFault::Malformed { number: 1 })),
            (
                &*format!("{good},short"),
                InvalidKeys(KeyFault::Malformed { number: 2 }),
            ),
            (
                &*STANDARD.encode([7; 32]),
                InvalidKeys(KeyFault::NotRandom { number: 1 }),
            ),
        ] {
            assert_eq!(
                ProxyKeys::from_base64(text).unwrap_err(),
                expected,
                "{text}"
            );
        }
        let keys = ProxyKeys::from_base64(&good).unwrap();
        assert!(!format!("{keys:?}").contains(&good));
        // A random key practically always has at least 12 different bytes.
        for (different, is_good) in [(11, false), (12, true)] {
            let mut key = [0; 32];
            (1..different).for_each(|byte| key[usize::from(byte)] = byte);
            let keys = ProxyKeys::from_base64(&STANDARD.encode(key));
            assert_eq!(keys.is_ok(), is_good, "{different}");
        }
    }

    #[derive(Debug, Deserialize, PartialEq, Serialize)]
    struct Note {
        text: String,
        /// Added in version 2.
        #[serde(default)]
        is_read: bool,
    }

    impl Versioned for Note {
        const NAME: &'static str = "note";
        const VERSION: u8 = 2;
    }

    fn note(is_read: bool) -> Note {
        let text = "x".to_owned();
        Note { text, is_read }
    }

    #[test]
    fn every_version_up_to_this_one_is_read() {
        assert_eq!(read(br#"{"text":"x"}"#), Ok(note(false)));
        assert_eq!(read(b"\x01{\"text\":\"x\"}"), Ok(note(false)));
        let mut now = Vec::new();
        write(&note(true), &mut now).unwrap();
        assert_eq!(now, b"\x02{\"text\":\"x\",\"is_read\":true}");
        assert_eq!(read(&now), Ok(note(true)));
    }

    #[test]
    fn a_later_version_is_not_read_whatever_it_says() {
        for text in [&b"\x03{\"text\":\"x\"}"[..], b"\x03", b"\x1f\x00\x01"] {
            assert_eq!(read::<Note>(text), Err(Unreadable::Later), "{text:?}");
        }
    }

    #[test]
    fn what_is_no_value_is_malformed() {
        for text in [&b""[..], b"{", b"\x02", b"\x02{}", b"\x01[1]"] {
            assert_eq!(read::<Note>(text), Err(Unreadable::Malformed), "{text:?}");
        }
    }
}
