//! The formats of everything that is kept outside this process's memory, with their versions, in one
//! place.
//!
//! Every sealed or stored value begins with one byte, its version, inside the encryption. Values from
//! before there was such a byte are JSON, begin with a brace, and count as version 0.
//! Versions stay below 32, so that nothing else looks like one.
//!
//! To change a format: raise its version here, read what all earlier versions wrote (by defaults of
//! serde, or by a type of their own), and say in the table of `docs/operations.md` and in the changelog
//! what becomes of it. What a later version wrote is never read, changed, or taken for a theft.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::keys::keyring::{Keyring, Purpose};
use crate::telemetry::log::throttled;

/// A format, and the version of it that is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Format {
    /// For the log.
    pub(crate) name: &'static str,
    pub(crate) version: u8,
}

pub(crate) const GRANT: Format = Format::new("grant", 2);
pub(crate) const CODE: Format = Format::new("code", 2);
pub(crate) const USER: Format = Format::new("user", 1);
pub(crate) const STANDING: Format = Format::new("standing", 1);
pub(crate) const CLIENT: Format = Format::new("client", 1);
pub(crate) const REGISTRATION: Format = Format::new("client id", 1);
pub(crate) const CONSENT: Format = Format::new("consent form", 1);
pub(crate) const SIGN_IN: Format = Format::new("sign-in cookie", 1);
/// Not JSON: see [`Engine::refresh_token`](crate::engine::Engine::refresh_token).
pub(crate) const REFRESH_TOKEN: Format = Format::new("refresh token", 1);

/// The file of a [`DiskStore`](crate::DiskStore): its tables, not what is in the records.
#[cfg(feature = "redb")]
pub(crate) const DISK: u64 = 1;

/// The file `keys` of a data directory.
#[cfg(feature = "redb")]
pub(crate) const KEYS_FILE: u64 = 1;

impl Format {
    const fn new(name: &'static str, version: u8) -> Self {
        Self { name, version }
    }
}

/// A value of which the format has a version.
pub(crate) trait Kept: Serialize + DeserializeOwned {
    const FORMAT: Format;
}

/// A record that is changed by whoever finds it, and cleans itself then.
pub(crate) trait Changing: Kept + Default {
    /// Takes away what is over by time.
    fn clean(&mut self, now: u64);

    /// Returns its time to live from this moment on, in seconds: as long as anything in it.
    fn time_to_live(&self, now: u64) -> u64;
}

/// The reason for which a value cannot be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Unread {
    /// It was not made here, for this, or under a key that is in the list.
    Malformed,
    /// A later version of this server made it.
    Later,
}

/// The first byte of everything that was written before there was a version byte.
const BRACE: u8 = b'{';

fn write<T: Kept>(value: &T, text: &mut Vec<u8>) -> Option<()> {
    text.push(T::FORMAT.version);
    serde_json::to_writer(text, value).ok()
}

fn read<T: Kept>(text: &[u8]) -> Result<T, Unread> {
    let (version, json) = match text.split_first() {
        None => return Err(Unread::Malformed),
        Some((&BRACE, _)) => (0, text),
        Some((version, json)) => (*version, json),
    };
    if version > T::FORMAT.version {
        return Err(Unread::Later);
    }
    serde_json::from_slice(json).map_err(|_| Unread::Malformed)
}

impl Keyring {
    /// Encrypts the value with its version: see [`seal`](Self::seal).
    pub(crate) fn seal_versioned<T: Kept>(
        &self,
        purpose: Purpose,
        context: &[u8],
        value: &T,
    ) -> Option<Vec<u8>> {
        self.seal(purpose, context, |text| write(value, text))
    }

    /// Decrypts what was [sealed](Self::seal_versioned), by this version of the server or an earlier one.
    pub(crate) fn open_versioned<T: Kept>(
        &self,
        purpose: Purpose,
        context: &[u8],
        sealed: &[u8],
    ) -> Result<T, Unread> {
        let text = self.open(purpose, context, sealed);
        let value = read(&text.ok_or(Unread::Malformed)?);
        if matches!(value, Err(Unread::Later)) {
            self.warn_of_later(T::FORMAT);
        }
        value
    }

    /// Says in the log, at most once a minute, that a later version was at work.
    pub(crate) fn warn_of_later(&self, format: Format) {
        throttled!(
            error,
            self.later,
            ("written by a later version", format.name),
            format = format.name,
            reads_up_to = format.version,
            "written by a later version of this server; it is left as it is: start that version \
             again, or wait until all instances run it"
        );
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq, Serialize)]
    struct Note {
        text: String,
        /// Since version 2.
        #[serde(default)]
        is_read: bool,
    }

    impl Kept for Note {
        const FORMAT: Format = Format::new("note", 2);
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
            assert_eq!(read::<Note>(text), Err(Unread::Later), "{text:?}");
        }
    }

    #[test]
    fn what_is_no_value_is_malformed() {
        for text in [&b""[..], b"{", b"\x02", b"\x02{}", b"\x01[1]"] {
            assert_eq!(read::<Note>(text), Err(Unread::Malformed), "{text:?}");
        }
    }
}
