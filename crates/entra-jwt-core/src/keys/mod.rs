//! The keys that tokens are signed with, read from JWKS documents (RFC 7517).

mod key;
mod key_set;
mod roca;

use std::borrow::Cow;

pub use self::key::{Key, UnusableKey};
pub use self::key_set::{InvalidKeySet, KeySet};
use crate::identifier::KeyId;
use crate::json;

/// The only algorithm that Entra signs with.
///
/// Entra's keys carry no `alg`, so the algorithm is pinned here, and never taken from a token.
pub(crate) const RS256: &str = "RS256";

/// The algorithm of an authorization server in front of Entra: see [`Key::es256`].
pub(crate) const ES256: &str = "ES256";

/// An entry of a JWKS document, as far as it matters (RFC 7517 §4, RFC 7518 §6).
///
/// The fields are the JSON texts of the members that make up a signing key. Each is read on its
/// own: an exotic value of one member hides no other.
#[derive(Default)]
struct Jwk<'a> {
    kty: Option<&'a str>,
    usage: Option<&'a str>,
    key_ops: Option<&'a str>,
    alg: Option<&'a str>,
    kid: Option<&'a str>,
    n: Option<&'a str>,
    e: Option<&'a str>,
    issuer: Option<&'a str>,
    cloud_instance_name: Option<&'a str>,
    /// Set if the private half is published as well, even as `null`.
    is_private: bool,
    /// Set if one of the fields above occurs twice.
    ///
    /// RFC 7517 §4 lets a reader refuse such an entry or take the last value. Another reader may
    /// have taken the first value, and so another key. So the entry is refused.
    has_duplicates: bool,
}

/// Members that make an entry private: those of an RSA key (RFC 7518 §6.3.2), or of a symmetric key
/// (§6.4).
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

impl<'a> Jwk<'a> {
    /// Reads an entry. Returns `None` if the entry is not a JSON object.
    fn read(entry: &'a str) -> Option<Self> {
        let mut jwk = Self::default();
        for member in json::members(entry)? {
            let (name, value) = member.ok()?;
            if let Some(name) = json::string(name) {
                jwk.keep(&name, value);
            }
        }
        Some(jwk)
    }

    fn keep(&mut self, name: &str, value: &'a str) {
        let field = match name {
            "kty" => &mut self.kty,
            "use" => &mut self.usage,
            "key_ops" => &mut self.key_ops,
            "alg" => &mut self.alg,
            "kid" => &mut self.kid,
            "n" => &mut self.n,
            "e" => &mut self.e,
            "issuer" => &mut self.issuer,
            "cloud_instance_name" => &mut self.cloud_instance_name,
            _ => {
                self.is_private |= PRIVATE.contains(&name);
                return;
            }
        };
        self.has_duplicates |= field.replace(value).is_some();
    }

    /// Returns the name of the key, if it has a usable one.
    fn id(&self) -> Option<KeyId> {
        text(self.kid).ok()?.as_deref().and_then(KeyId::new)
    }
}

/// Returns the value of a member that must be a string if present. `null` counts as absent.
fn text(member: Option<&str>) -> Result<Option<Cow<'_, str>>, UnusableKey> {
    match member {
        None | Some("null") => Ok(None),
        Some(value) => json::string(value).map(Some).ok_or(UnusableKey::Malformed),
    }
}
