//! A token in compact form, parsed: nothing of it is proven.

use std::fmt;

use serde_json::Value;

use crate::access_token::member;
use crate::base64url;
use crate::claims::{Claims, IssuerClaims};
use crate::identifier::KeyId;
use crate::member::{HeaderKeyId, Present, Word};
use crate::object::{self, Unknown, members};
use crate::rejection::{Part, Rejection};

members! {
    /// The header members that decide something. Embedded keys and their addresses (`jwk`, `jku`,
    /// `x5u`, `x5c`, `x5t`) are not among them: they come from the sender and are never looked at.
    struct Header {
        "alg" => algorithm: Word,
        "kid" => key_id: HeaderKeyId,
        "typ" => token_type: Word,
        "nonce" => nonce: Present,
        "crit" => critical: Present,
        "b64" => base64_payload: Present,
        "zip" => compression: Present,
        "enc" => encryption: Present,
    }
}

/// A parsed token of which nothing is proven: what it says may be a lie.
///
/// [`parse`](Self::parse) checks what holds for every issuer: size, three segments, strict
/// base64url, JSON objects without twin members, a key id, and no header member that would change
/// how the token is read. Whether to believe it is for a [`Validator`](crate::Validator) to say.
pub struct Unverified<'a> {
    compact: &'a [u8],
    signing_input: &'a [u8],
    signature: Vec<u8>,
    pub(crate) payload_text: String,
    pub(crate) algorithm: Option<Word>,
    pub(crate) token_type: Option<Word>,
    pub(crate) has_nonce: bool,
    pub(crate) key_id: KeyId,
    pub(crate) claims: Claims,
    /// A claim has a type that Entra never writes; then only the issuer is in `claims`.
    pub(crate) type_fault: Option<Rejection>,
    pub(crate) tenant_is_ambiguous: bool,
}

/// Which key a token asks for: what is needed to fetch keys between the two phases.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct KeyRef<'a> {
    /// The unverified `iss`, if there is one.
    pub issuer: Option<&'a str>,
    /// The header's `kid`.
    pub key_id: &'a KeyId,
}

impl<'a> Unverified<'a> {
    /// The longest token that [`parse`](Self::parse) accepts, in bytes: 16 KiB. A token with 200
    /// groups, the most that Entra puts into one, has about 12 KB.
    pub const DEFAULT_MAX_LENGTH: usize = 16 * 1024;

    /// Parses a token of at most [`DEFAULT_MAX_LENGTH`](Self::DEFAULT_MAX_LENGTH) bytes.
    ///
    /// # Errors
    /// The first fault that is found.
    pub fn parse(token: &'a str) -> Result<Self, Rejection> {
        Self::parse_up_to(token, Self::DEFAULT_MAX_LENGTH)
    }

    /// Parses a token of at most `limit` bytes.
    ///
    /// # Errors
    /// The first fault that is found.
    pub fn parse_up_to(token: &'a str, limit: usize) -> Result<Self, Rejection> {
        Self::parse_bytes(token.as_bytes(), limit)
    }

    /// Parses a token of at most `limit` bytes, as a header of a request has it: what is no text is
    /// no token either, and need not be looked for before.
    ///
    /// # Errors
    /// The first fault that is found.
    pub fn parse_bytes(token: &'a [u8], limit: usize) -> Result<Self, Rejection> {
        if token.len() > limit {
            return Err(Rejection::TooLarge {
                length: token.len(),
                limit,
            });
        }
        let ([header, claims, signature], signing_input) = segments(token)?;

        let header_text = decode(header, Part::Header)?;
        let payload_text = decode(claims, Part::Payload)?;
        let signature = base64url::decode(signature).ok_or(Rejection::InvalidBase64 {
            part: Part::Signature,
        })?;

        let (header, _): (Header, _) = object::read(&header_text, Part::Header)?;
        if let Some(member) = header.unsupported() {
            return Err(Rejection::UnsupportedHeader { member });
        }
        let payload = Payload::read(&payload_text)?;

        Ok(Self {
            compact: token,
            signing_input,
            signature,
            algorithm: header.algorithm,
            token_type: header.token_type,
            has_nonce: header.nonce.is_some(),
            key_id: header.key_id.ok_or(Rejection::MissingKeyId)?.0,
            payload_text,
            claims: payload.claims,
            type_fault: payload.type_fault,
            tenant_is_ambiguous: payload.tenant_is_ambiguous,
        })
    }

    /// Which key the token asks for.
    #[must_use]
    pub fn key_ref(&self) -> KeyRef<'_> {
        KeyRef {
            issuer: self.claims.issuer.as_deref(),
            key_id: &self.key_id,
        }
    }

    /// The whole token. Each of its segments was decoded, so all of it is ASCII.
    pub(crate) fn compact(&self) -> &str {
        std::str::from_utf8(self.compact).unwrap_or_default()
    }

    /// A claim that is no member of [`Claims`], if it is there and a string.
    pub(crate) fn text(&self, claim: &str) -> Option<Box<str>> {
        match member(&self.payload_text, claim)? {
            Value::String(text) => Some(text.into()),
            _ => None,
        }
    }

    pub(crate) fn signing_input(&self) -> &[u8] {
        self.signing_input
    }

    pub(crate) fn signature(&self) -> &[u8] {
        &self.signature
    }
}

impl Header {
    /// A member that none of our readings honours; ignoring it could mean something else than the
    /// issuer said (RFC 7515 §4.1.11, RFC 7797, RFC 7516).
    fn unsupported(&self) -> Option<&'static str> {
        [
            ("crit", self.critical),
            ("b64", self.base64_payload),
            ("zip", self.compression),
            ("enc", self.encryption),
        ]
        .into_iter()
        .find_map(|(name, member)| member.map(|_| name))
    }
}

impl fmt::Debug for Unverified<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Unverified")
            .field("key_id", &self.key_id)
            .field("algorithm", &self.algorithm)
            .field("issuer", &self.claims.issuer)
            .finish_non_exhaustive()
    }
}

/// The three segments of the compact form (RFC 7515 §3.1) and the first two with their dot, without
/// reading past the sixth dot.
fn segments(token: &[u8]) -> Result<([&[u8]; 3], &[u8]), Rejection> {
    let mut dots = memchr::memchr_iter(b'.', token).take(6);
    let (first, second) = (dots.next(), dots.next());
    if let (Some(first), Some(second)) = (first, second) {
        match dots.count() {
            0 => {
                let (signing_input, signature) = split_at_dot(token, second);
                let (header, payload) = split_at_dot(signing_input, first);
                return Ok(([header, payload, signature], signing_input));
            }
            2 => return Err(Rejection::Encrypted),
            more => {
                return Err(Rejection::NotAToken {
                    found: more.saturating_add(3).min(6),
                });
            }
        }
    }
    Err(Rejection::NotAToken {
        found: if first.is_some() { 2 } else { 1 },
    })
}

/// What stands before the dot at this place, and what behind it.
fn split_at_dot(text: &[u8], dot: usize) -> (&[u8], &[u8]) {
    let (before, behind) = text.split_at(dot);
    (before, behind.strip_prefix(b".").unwrap_or(behind))
}

/// What the payload says.
struct Payload {
    claims: Claims,
    type_fault: Option<Rejection>,
    tenant_is_ambiguous: bool,
}

impl Payload {
    /// Reads the claims. If one has a type that Entra never writes, only the issuer is read: it
    /// is the chosen issuer's rules that refuse it, so that a token of somebody else is called
    /// that.
    fn read(text: &str) -> Result<Self, Rejection> {
        match object::read::<Claims>(text, Part::Payload) {
            Ok((claims, others)) => Ok(Self::new(claims, &others, None)),
            Err(fault @ Rejection::WrongType { .. }) => {
                // Fails where the issuer itself has the wrong type, or behind a graver fault.
                let (claims, others) = object::read::<IssuerClaims>(text, Part::Payload)?;
                Ok(Self::new(claims.into(), &others, Some(fault)))
            }
            Err(other) => Err(other),
        }
    }

    fn new(claims: Claims, others: &[Unknown<'_>], type_fault: Option<Rejection>) -> Self {
        Self {
            claims,
            type_fault,
            tenant_is_ambiguous: others
                .iter()
                .any(|other| other.name.eq_ignore_ascii_case("tid")),
        }
    }
}

/// A segment as the text that it encodes.
pub(crate) fn decode(segment: impl AsRef<[u8]>, part: Part) -> Result<String, Rejection> {
    let bytes = base64url::decode(segment).ok_or(Rejection::InvalidBase64 { part })?;
    String::from_utf8(bytes).map_err(|_| Rejection::InvalidJson { part })
}
