//! Reads certificates.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use aws_lc_rs::signature::{ParsedPublicKey, RSA_PSS_2048_8192_SHA256};

use super::Certificate;
use crate::text::base64url;

/// Reads a certificate in DER. Returns `None` unless its key is an RSA key of 2048 to 8192 bits.
pub(super) fn from_der(der: &[u8]) -> Option<Certificate> {
    let public_key = public_key(der)?.to_vec();
    ParsedPublicKey::new(&RSA_PSS_2048_8192_SHA256, &public_key).ok()?;
    Some(Certificate {
        sha1: base64url(digest(&SHA1_FOR_LEGACY_USE_ONLY, der).as_ref()),
        sha256: base64url(digest(&SHA256, der).as_ref()),
        public_key,
    })
}

/// Returns the key of a certificate.
///
/// It is the member after version, serial number, algorithm, issuer, validity and subject. The
/// version is optional (RFC 5280 §4.1).
fn public_key(certificate: &[u8]) -> Option<&[u8]> {
    const SEQUENCE: u8 = 0x30;
    const VERSION: u8 = 0xa0;
    let certificate = Element::first_of(certificate)?;
    let to_be_signed = Element::first_of(certificate.content)?;
    if (certificate.tag, to_be_signed.tag) != (SEQUENCE, SEQUENCE) {
        return None;
    }
    let mut member = Element::first_of(to_be_signed.content)?;
    if member.tag == VERSION {
        member = Element::first_of(member.rest)?;
    }
    for _ in 0..5 {
        member = Element::first_of(member.rest)?;
    }
    (member.tag == SEQUENCE).then_some(member.whole)
}

/// An element of DER, and the bytes after it.
struct Element<'d> {
    tag: u8,
    content: &'d [u8],
    whole: &'d [u8],
    rest: &'d [u8],
}

impl<'d> Element<'d> {
    fn first_of(input: &'d [u8]) -> Option<Self> {
        let (&[tag, first], after) = input.split_first_chunk::<2>()?;
        let (length, after) = match first {
            0..=0x7f => (usize::from(first), after),
            // The next bytes hold the length. 0x80 would mean an indefinite length, which DER does
            // not have.
            0x81..=0x84 => {
                let (bytes, after) = after.split_at_checked(usize::from(first & 0x7f))?;
                let length = bytes
                    .iter()
                    .fold(0_usize, |length, byte| length << 8 | usize::from(*byte));
                (length, after)
            }
            _ => return None,
        };
        let (content, rest) = after.split_at_checked(length)?;
        Some(Self {
            tag,
            content,
            whole: &input[..input.len() - rest.len()],
            rest,
        })
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;
    use crate::keys::SigningKey;

    #[test]
    fn a_certificates_key_and_thumbprints_are_read() {
        let key = SigningKey::attacker();
        let der = STANDARD.decode(&key.certificate).unwrap();
        let certificate = from_der(&der).unwrap();
        assert_eq!(certificate.sha1, key.id);
        assert!(certificate.public_key.ends_with(key.public_der()));
    }

    #[test]
    fn whatever_is_cut_off_is_no_certificate() {
        let key = SigningKey::attacker();
        let der = STANDARD.decode(&key.certificate).unwrap();
        for length in 0..der.len() {
            assert!(from_der(&der[..length]).is_none(), "{length}");
        }
    }
}
