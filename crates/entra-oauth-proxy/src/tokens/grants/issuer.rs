//! Writes the tokens that clients receive, and reads refresh tokens.

use serde::{Serialize, Serializer};
use serde_json::{Value, json};
use tower_entra_auth::entra_jwt_core::token::Unverified;

use super::super::RefreshToken;
use super::{FoundGrant, Grants};
use crate::crypto::{base64url, from_base64url, random_text};
use crate::entra::User;
use crate::keys::{Keyring, Purpose, Unreadable};
use crate::oauth::{GrantedScopes, MAX_CLIENT_ID, OAuthError};

/// Version of the refresh tokens that this server writes.
const VERSION: u8 = 1;

/// Length of a grant's id in a refresh token, in characters.
const ID_LEN: usize = 24;

/// Length of a refresh token's tag, in bytes.
const TAG_LEN: usize = 32;

/// Maximum length of an access token's payload, in bytes of JSON.
///
/// In base64, with header and signature, the token must be short enough for the Layer.
const MAX_PAYLOAD: usize = (Unverified::DEFAULT_MAX_LENGTH - 160) / 4 * 3;

/// Space for the names, numbers and ids of fixed length in this server's own claims, in bytes.
const OWN: usize = 350;

/// Returns the space for a user's claims and the scopes together, in bytes of JSON.
///
/// Within it, the Layer reads the token of every client, however long the client's id is.
pub(crate) fn room_for_claims((issuer, resource): (&str, &str)) -> usize {
    let text = |text: &str| json!(text).to_string().len();
    MAX_PAYLOAD.saturating_sub(OWN + MAX_CLIENT_ID + text(issuer) + text(resource))
}

/// Builds the response with the tokens of a grant.
pub(super) fn tokens(
    grants: &Grants,
    client_id: &str,
    found: &FoundGrant,
    scopes: &GrantedScopes,
) -> Result<Value, OAuthError> {
    let (now, FoundGrant { id, grant, .. }) = (grants.clock.now(), found);
    let (access_token, expires_in) = match grants.issued_lifetime {
        None => {
            let (tokens, left) = (&grant.upstream, grant.upstream.left(now));
            // Entra may have taken its time.
            let token = Some(tokens.access_token().to_owned()).filter(|_| left > 0);
            (token, left)
        }
        Some(lifetime) => {
            // The token must not outlive the sign-in.
            let left = grant.ends_at.saturating_sub(now);
            let lifetime = lifetime.as_secs().min(left);
            let of = (client_id, &**id);
            let token = access_token(grants, of, &grant.user, &scopes.names, now, lifetime);
            (token, lifetime)
        }
    };
    let access_token = access_token.ok_or_else(|| OAuthError::unavailable(None))?;
    let mut response = json!({
        "token_type": "Bearer",
        "access_token": access_token,
        "expires_in": expires_in,
        "scope": scopes.shown.join(" "),
    });
    if grant.may_refresh {
        let token = write_refresh_token(&grants.keys, id, grant.current);
        response["refresh_token"] = json!(token);
    }
    Ok(response)
}

/// Writes a refresh token, which depends on the grant and the token's number only.
///
/// It contains its version, its number, the grant's id, and the tag of these three. Every
/// version begins with its number and ends with the tag of everything before. The first version had
/// no number. Its length identifies it, because no other version has this length.
fn write_refresh_token(keys: &Keyring, grant: &str, number: u32) -> String {
    let number = number.to_be_bytes();
    let message = [&[VERSION], &number[..], grant.as_bytes()].concat();
    let tag = keys.tag(Purpose::RefreshToken, &message);
    base64url(&[message, tag].concat())
}

/// Reads a refresh token, if it was made here.
pub(super) fn read_refresh_token(keys: &Keyring, text: &str) -> Result<RefreshToken, Unreadable> {
    let bytes = from_base64url(text).ok_or(Unreadable::Malformed)?;
    let length = bytes.len().checked_sub(TAG_LEN);
    let (message, tag) = length
        .and_then(|length| bytes.split_at_checked(length))
        .ok_or(Unreadable::Malformed)?;
    if !keys.has_tag(Purpose::RefreshToken, message, tag) {
        return Err(Unreadable::Malformed);
    }
    let message = match message.split_first() {
        _ if message.len() == 4 + ID_LEN => message,
        Some((&1, message)) => message,
        Some((version, _)) if *version > VERSION => {
            keys.warn_of_later("refresh token", VERSION);
            return Err(Unreadable::Later);
        }
        _ => return Err(Unreadable::Malformed),
    };
    let read = || {
        let (number, grant) = message.split_at_checked(4)?;
        Some(RefreshToken {
            grant: String::from_utf8(grant.to_vec()).ok()?,
            number: u32::from_be_bytes(number.try_into().ok()?),
        })
    };
    read().ok_or(Unreadable::Malformed)
}

/// Builds an access token of this server (RFC 9068); `None` if it cannot be signed.
fn access_token(
    grants: &Grants,
    (client_id, grant_id): (&str, &str),
    user: &User,
    scopes: &[String],
    now: u64,
    lifetime: u64,
) -> Option<String> {
    let of_user = |name: &str| user.claims().get(name).cloned();
    let own = [
        ("iss", json!(grants.issuer)),
        ("aud", json!(grants.resource)),
        // Entra's `sub`, which identifies the user for this application.
        (
            "sub",
            of_user("sub")
                .or_else(|| of_user("oid"))
                .unwrap_or_default(),
        ),
        ("client_id", json!(client_id)),
        ("scope", json!(scopes.join(" "))),
        ("iat", json!(now)),
        ("exp", json!(now.saturating_add(lifetime))),
        ("jti", json!(random_text::<18>())),
        ("gid", json!(grant_id)),
    ];
    let mut claims = Vec::with_capacity(2_048);
    serde_json::to_writer(&mut claims, &Claims { own, user }).ok()?;
    grants.keys.token("at+jwt", &claims)
}

/// The claims of a token: this server's own, and those of the user that have other names.
struct Claims<'a> {
    own: [(&'static str, Value); 9],
    user: &'a User,
}

impl Serialize for Claims<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let is_own = |name: &str| self.own.iter().any(|(own, _)| *own == name);
        let of_user = self.user.claims().iter().filter(|(name, _)| !is_own(name));
        let of_user = of_user.map(|(name, value)| (&**name, value));
        let own = self.own.iter().map(|(name, value)| (*name, value));
        serializer.collect_map(of_user.chain(own))
    }
}
