//! A token in the compact serialization, parsed, with nothing proven.

use std::borrow::Cow;
use std::fmt;

use super::caller::{is_agent, is_guest};
use super::claims::ClaimMembers;
use super::object::{self, UnknownNames, members};
use super::{Claims, HeaderKeyId, NumericDate, Present, Text};
use crate::base64url;
use crate::identifier::{ClientId, KeyId, TenantId};
use crate::json::JsonStr;
use crate::refusal::{InvalidToken, TokenFault, TokenPart};

members! {
    /// The header members that decide something.
    ///
    /// Embedded keys and their addresses (`jwk`, `jku`, `x5u`, `x5c`, `x5t`) are not among them:
    /// they come from the sender, and are never read.
    struct Header {
        "alg" => algorithm: Text,
        "kid" => key_id: HeaderKeyId,
        "typ" => token_type: Text,
        "nonce" => nonce: Present,
        "crit" => critical: Present,
        "b64" => base64_payload: Present,
        "zip" => compression: Present,
        "enc" => encryption: Present,
    }
}

/// A number of unknown members that no header of Entra exceeds. One such member is `x5t`.
const USUAL_IN_HEADER: usize = 4;

/// A number of unknown claims that no token of Entra exceeds.
const USUAL_CLAIMS: usize = 24;

/// A parsed token of which nothing is proven: its content may be a lie.
///
/// [`parse`](Self::parse) checks the rules that hold for every issuer:
///
/// - The token does not exceed the maximum size.
/// - It has three segments of strict base64url.
/// - Header and payload are JSON objects, in which no decisive member occurs twice.
/// - There is a key id.
/// - No header member would change how the token is read.
///
/// A [`Validator`](crate::Validator) decides whether to believe the token.
///
/// The value holds the three decoded segments. Of their content it copies only the `kid`, of at
/// most 256 bytes, and the beginning of an `iss` that is written with escapes. Reading an `aud`,
/// `tid` or `typ` that is written with escapes copies at most 1,024 characters of it. Repeated
/// names of other members are detected only after the signature is verified.
pub struct Unverified<'a> {
    compact: &'a [u8],
    signing_input: &'a [u8],
    signature: Vec<u8>,
    header_text: String,
    payload_text: String,
    header: Header,
    key_id: KeyId,
    pub(super) claims: ClaimMembers,
    /// The value of `iss`, if it is written with escapes.
    unescaped_issuer: Option<Box<str>>,
    /// Fault of a claim that has a type that Entra never writes. `claims` then holds only the
    /// issuer.
    pub(crate) type_error: Option<TokenFault>,
    unknown_in_header: UnknownNames<USUAL_IN_HEADER>,
    unknown_claims: UnknownNames<USUAL_CLAIMS>,
}

/// A token's reference to its key, needed to fetch keys between parsing and verification.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct KeyRef<'a> {
    /// The unverified `iss`, if there is one.
    pub issuer: Option<&'a str>,
    /// The header's `kid`.
    pub key_id: &'a KeyId,
}

impl<'a> Unverified<'a> {
    /// Maximum length of a token that [`parse`](Self::parse) accepts, in bytes: 16 KiB.
    ///
    /// A token with 200 groups, the most that Entra puts into one, has about 12 KB.
    pub const DEFAULT_MAX_LENGTH: usize = 16 * 1024;

    /// Parses a token of at most [`DEFAULT_MAX_LENGTH`](Self::DEFAULT_MAX_LENGTH) bytes.
    ///
    /// # Errors
    /// Returns the first fault that is found.
    pub fn parse(token: &'a str) -> Result<Self, InvalidToken> {
        Self::parse_up_to(token, Self::DEFAULT_MAX_LENGTH)
    }

    /// Parses a token of at most `limit` bytes.
    ///
    /// # Errors
    /// Returns the first fault that is found.
    pub fn parse_up_to(token: &'a str, limit: usize) -> Result<Self, InvalidToken> {
        Self::parse_bytes(token.as_bytes(), limit)
    }

    /// Parses a token of at most `limit` bytes, from the bytes of a request header.
    ///
    /// Bytes that are not text are not a token either, so the caller need not check for text.
    ///
    /// # Errors
    /// Returns the first fault that is found.
    pub fn parse_bytes(token: &'a [u8], limit: usize) -> Result<Self, InvalidToken> {
        Ok(Self::read(token, limit)?)
    }

    fn read(token: &'a [u8], limit: usize) -> Result<Self, TokenFault> {
        if token.len() > limit {
            return Err(TokenFault::TooLarge {
                length: token.len(),
                limit,
            });
        }
        let ([header, claims, signature], signing_input) = segments(token)?;

        let named = |fault: TokenFault| fault.or_sent_instead(token);
        let header_text = decode(header, TokenPart::Header).map_err(named)?;
        let payload_text = decode(claims, TokenPart::Payload).map_err(named)?;
        let signature = base64url::decode(signature).ok_or(TokenFault::InvalidBase64 {
            part: TokenPart::Signature,
        });
        let signature = signature.map_err(named)?;

        let (header, unknown_in_header, _) =
            object::read::<Header, _>(&header_text, TokenPart::Header, |_| true)?;
        if let Some(member) = header.unsupported() {
            return Err(TokenFault::UnsupportedHeader { member });
        }
        // If a claim has a type that Entra never writes, only the issuer is read. The rules of the
        // chosen issuer then refuse the token, so that a token of another issuer is refused as
        // such.
        let is_of_issuer: fn(&str) -> bool = |claim| matches!(claim, "iss" | "tid");
        let (claims, unknown_claims, type_error) =
            object::read::<ClaimMembers, _>(&payload_text, TokenPart::Payload, is_of_issuer)?;
        let key_id = header.key_id.and_then(|key_id| key_id.of(&header_text));
        let issuer = claims.issuer.map(|issuer| issuer.of(&payload_text));
        let unescaped_issuer = issuer.and_then(|issuer| match issuer.short() {
            Cow::Borrowed(_) => None,
            Cow::Owned(issuer) => Some(issuer.into()),
        });

        Ok(Self {
            compact: token,
            signing_input,
            signature,
            key_id: key_id.ok_or(TokenFault::MissingKeyId)?,
            unescaped_issuer,
            header_text,
            payload_text,
            header,
            claims: match type_error {
                None => claims,
                Some(_) => claims.of_issuer_alone(),
            },
            type_error,
            unknown_in_header,
            unknown_claims,
        })
    }

    /// Returns the token's reference to its key.
    #[must_use]
    pub fn key_ref(&self) -> KeyRef<'_> {
        KeyRef {
            issuer: self.issuer(),
            key_id: &self.key_id,
        }
    }

    /// Returns the whole token. Each of its segments was decoded, so all of it is ASCII.
    pub(super) fn compact(&self) -> &str {
        std::str::from_utf8(self.compact).unwrap_or_default()
    }

    pub(crate) fn signing_input(&self) -> &[u8] {
        self.signing_input
    }

    pub(crate) fn signature(&self) -> &[u8] {
        &self.signature
    }

    pub(crate) fn key_id(&self) -> &KeyId {
        &self.key_id
    }

    pub(crate) fn into_key_id(self) -> KeyId {
        self.key_id
    }

    pub(crate) fn algorithm(&self) -> Option<JsonStr<'_>> {
        Some(self.header.algorithm?.of(&self.header_text))
    }

    pub(crate) fn token_type(&self) -> Option<JsonStr<'_>> {
        Some(self.header.token_type?.of(&self.header_text))
    }

    pub(crate) fn has_nonce(&self) -> bool {
        self.header.nonce.is_some()
    }

    /// Returns `iss`.
    pub(crate) fn issuer(&self) -> Option<&str> {
        match &self.unescaped_issuer {
            Some(issuer) => Some(issuer),
            None => self.claims.issuer?.of(&self.payload_text).plain(),
        }
    }

    /// Returns `tid`, for comparison only: it may be cut.
    pub(crate) fn tenant(&self) -> Option<Cow<'_, str>> {
        self.claims.tenant.map(|tenant| self.text(tenant).short())
    }

    /// Returns `aud`, for comparison only: it may be cut.
    pub(crate) fn audience(&self) -> Option<Cow<'_, str>> {
        let audience = self.claims.audience;
        audience.map(|audience| self.text(audience).short())
    }

    /// Returns whether another claim is named like `tid`, in another case.
    pub(crate) fn tenant_is_ambiguous(&self) -> bool {
        self.unknown_claims.has_tid
    }

    /// Returns `exp` and `nbf`.
    pub(crate) fn lifetime(&self) -> (Option<NumericDate>, Option<NumericDate>) {
        (self.claims.expires_at, self.claims.not_before)
    }

    /// Returns whether the token is bound to a key of its holder (`cnf`).
    pub(crate) fn is_bound(&self) -> bool {
        self.claims.confirmation.is_some()
    }

    /// Returns whether the token has a claim that only id tokens have.
    pub(crate) fn has_mark_of_id_token(&self) -> bool {
        let claims = &self.claims;
        claims.nonce.is_some() || claims.code_hash.is_some() || claims.access_token_hash.is_some()
    }

    /// Returns the client application, as [`Claims::client`] does.
    pub(crate) fn client(&self) -> Option<ClientId> {
        self.claims.client()
    }

    /// Returns `sub`.
    pub(crate) fn subject(&self) -> Option<JsonStr<'_>> {
        self.claims.subject.map(|subject| self.text(subject))
    }

    fn text(&self, claim: Text) -> JsonStr<'_> {
        claim.of(&self.payload_text)
    }

    pub(crate) fn payload_text(&self) -> &str {
        &self.payload_text
    }

    /// Checks that no member occurs twice, among those that [`parse`](Self::parse) has not checked.
    pub(crate) fn check_names(&self) -> Result<(), TokenFault> {
        self.unknown_in_header
            .check(&self.header_text, TokenPart::Header)?;
        self.unknown_claims
            .check(&self.payload_text, TokenPart::Payload)
    }

    /// Returns the claims. A reissued token has its scopes in `scope` (RFC 9068 §2.2.3).
    pub(crate) fn own_claims(&self, is_reissued: bool) -> Claims {
        let mut claims = self.claims.own(&self.payload_text);
        if is_reissued {
            let scopes = self.claims.reissued_scopes;
            let scopes = scopes.and_then(|scopes| scopes.of(&self.payload_text));
            claims.scopes = scopes.map(|scopes| scopes.to_cow().into());
        }
        claims
    }

    /// Returns whether the claims mark a guest of the tenant.
    pub(crate) fn is_of_guest(&self, tenant: TenantId) -> bool {
        let value = |claim| self.text(claim).to_cow();
        is_guest(
            self.claims.identity_relations.map(value).as_deref(),
            self.claims.account_status,
            self.claims.identity_provider.map(value).as_deref(),
            tenant,
        )
    }

    /// Returns whether the claims mark an agent.
    pub(crate) fn is_of_agent(&self) -> bool {
        let value = |claim| self.text(claim).to_cow();
        is_agent(
            self.claims.agent_blueprint.is_some(),
            self.claims.actor_facets.map(value).as_deref(),
            self.claims.subject_facets.map(value).as_deref(),
        )
    }

    /// Returns `client_id` of a reissued token (RFC 9068 §2.2), if it is not empty.
    pub(crate) fn registered_client(&self) -> Option<JsonStr<'_>> {
        let client = self.claims.registered_client?.of(&self.payload_text);
        client.filter(|client| *client != *"")
    }
}

impl Header {
    /// Returns a header member that this crate does not support.
    ///
    /// Ignoring it could mean something else than the issuer said (RFC 7515 §4.1.11, RFC 7797,
    /// RFC 7516).
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
            .field("algorithm", &self.algorithm().map(JsonStr::short))
            .field("issuer", &self.issuer())
            .finish_non_exhaustive()
    }
}

/// Returns the three segments of the compact serialization (RFC 7515 §3.1), and the first two with
/// their dot.
///
/// Nothing behind the sixth dot is read.
fn segments(token: &[u8]) -> Result<([&[u8]; 3], &[u8]), TokenFault> {
    let mut dots = memchr::memchr_iter(b'.', token).take(6);
    let (first, second) = (dots.next(), dots.next());
    if let (Some(first), Some(second)) = (first, second) {
        match dots.count() {
            0 => {
                let (signing_input, signature) = split_at_dot(token, second);
                let (header, payload) = split_at_dot(signing_input, first);
                return Ok(([header, payload, signature], signing_input));
            }
            2 => return Err(TokenFault::Encrypted.or_sent_instead(token)),
            more => {
                let count = more.saturating_add(3).min(6);
                return Err(TokenFault::not_a_token(token, count));
            }
        }
    }
    let count = if first.is_some() { 2 } else { 1 };
    Err(TokenFault::not_a_token(token, count))
}

/// Returns the text before the dot at this position, and the text behind it.
fn split_at_dot(text: &[u8], dot: usize) -> (&[u8], &[u8]) {
    let (before, behind) = text.split_at(dot);
    (before, behind.strip_prefix(b".").unwrap_or(behind))
}

/// Decodes a segment into the text that it encodes.
pub(super) fn decode(segment: impl AsRef<[u8]>, part: TokenPart) -> Result<String, TokenFault> {
    let bytes = base64url::decode(segment).ok_or(TokenFault::InvalidBase64 { part })?;
    String::from_utf8(bytes).map_err(|_| TokenFault::InvalidJson { part })
}
