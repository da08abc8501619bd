//! Reads the two needed parts of a certificate: its RSA key and its expiry.
//!
//! The certificate is not verified. It is the operator's own, and Entra compares it with the
//! registered one.

/// The needed parts of a certificate (RFC 5280 §4.1).
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Parsed<'c> {
    /// The public key: `RSAPublicKey` (RFC 8017 §A.1.1), or the format of another algorithm.
    pub(super) public_key: &'c [u8],
    /// Time of expiry in seconds since 1970, or `None` if it cannot be read.
    pub(super) not_after: Option<u64>,
}

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;

/// Parses a certificate in DER.
pub(super) fn parse(der: &[u8]) -> Option<Parsed<'_>> {
    let mut certificate = Reader(Reader(der).read(SEQUENCE)?);
    let mut body = Reader(certificate.read(SEQUENCE)?);
    if body.next_tag() == Some(VERSION) {
        body.read(VERSION)?;
    }
    let (_serial, _signature) = (body.read(INTEGER)?, body.read(SEQUENCE)?);
    let (_issuer, validity, _subject) = (
        body.read(SEQUENCE)?,
        body.read(SEQUENCE)?,
        body.read(SEQUENCE)?,
    );
    let mut key_info = Reader(body.read(SEQUENCE)?);
    let _algorithm = key_info.read(SEQUENCE)?;
    let (unused_bits, public_key) = key_info.read(BIT_STRING)?.split_first()?;
    (*unused_bits == 0).then(|| Parsed {
        public_key,
        not_after: not_after(validity),
    })
}

fn not_after(validity: &[u8]) -> Option<u64> {
    let mut validity = Reader(validity);
    let _not_before = validity.read_any()?;
    let (tag, text) = validity.read_any()?;
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let (year, rest) = match tag {
        // RFC 5280 §4.1.2.5.1: 50 to 99 are years of the 20th century.
        UTC_TIME => {
            let (year, rest) = text.split_at_checked(2)?;
            let year = number(year)?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        GENERALIZED_TIME => {
            let (year, rest) = text.split_at_checked(4)?;
            (number(year)?, rest)
        }
        _ => return None,
    };
    let field = |index: usize| number(rest.get(index..index + 2)?);
    let is_whole = rest.len() == 10;
    let (month, day) = (field(0)?, field(2)?);
    let seconds = (field(4)? * 60 + field(6)?) * 60 + field(8)?;
    let is_date = (1..=12).contains(&month) && (1..=31).contains(&day) && year >= 1970;
    (is_whole && is_date).then(|| days_since_1970(year, month, day) * 86_400 + seconds)
}

fn number(digits: &str) -> Option<u64> {
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().ok())?
}

/// Returns the number of days from 1970-01-01 to this date.
///
/// The calendar repeats every 400 years, which have 146 097 days. In this calculation years begin
/// in March, so that the leap day is the last day of a year.
fn days_since_1970(year: u64, month: u64, day: u64) -> u64 {
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let before_year = year * 365 + year / 4 - year / 100 + year / 400;
    let before_month = (month * 153 + 2) / 5;
    before_year + before_month + day - 1 - 719_468
}

/// A reader of DER values, one after another.
struct Reader<'d>(&'d [u8]);

impl<'d> Reader<'d> {
    fn next_tag(&self) -> Option<u8> {
        self.0.first().copied()
    }

    fn read(&mut self, expected: u8) -> Option<&'d [u8]> {
        let (tag, value) = self.read_any()?;
        (tag == expected).then_some(value)
    }

    fn read_any(&mut self) -> Option<(u8, &'d [u8])> {
        let (&[tag, first], rest) = self.0.split_first_chunk()?;
        let (length, rest) = if first < 0x80 {
            (usize::from(first), rest)
        } else {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            if !(1..=3).contains(&bytes.len()) {
                return None;
            }
            let length = bytes.iter();
            (
                length.fold(0, |length, byte| length << 8 | usize::from(*byte)),
                rest,
            )
        };
        let (value, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, value))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256, date_time_ymd};

    use super::*;

    fn certificate(year: i32, month: u8, day: u8) -> Vec<u8> {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let mut params = CertificateParams::default();
        params.not_after = date_time_ymd(year, month, day);
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn the_end_of_a_certificate_is_found_in_both_notations() {
        for (year, month, day) in [
            (1970, 1, 1),
            (1999, 12, 31),
            (2000, 2, 29),
            (2024, 2, 29),
            (2026, 3, 1),
            (2049, 12, 31),
            (2050, 1, 1),
            (2100, 3, 1),
            (9999, 12, 31),
        ] {
            let expected = date_time_ymd(year, month, day).unix_timestamp();
            let der = certificate(year, month, day);
            let found = parse(&der).unwrap().not_after;
            assert_eq!(found, u64::try_from(expected).ok(), "{year}-{month}-{day}");
        }
    }

    #[test]
    fn the_key_of_a_certificate_is_found() {
        let key = KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap();
        let der = CertificateParams::default().self_signed(&key).unwrap();
        let parsed = parse(der.der()).unwrap();
        assert_eq!(parsed.public_key, rcgen::PublicKeyData::der_bytes(&key));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes: Vec<u8>, place: prop::sample::Index, byte: u8) {
            let _ = parse(&bytes);
            let mut der = certificate(2030, 1, 1);
            *place.get_mut(&mut der) = byte;
            let _ = parse(&der);
        }
    }
}
