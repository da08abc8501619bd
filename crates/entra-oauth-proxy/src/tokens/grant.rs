//! Grants: that a user lets a client use the resource, and the tokens that come of it.

use std::time::Duration;

use entra_confidential_client::TokenResponse;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Value, json};

use crate::endpoints::consent::Asked;
use crate::engine::Engine;
use crate::keys::format::{self, Format, Kept, Unread};
use crate::keys::keyring::{Purpose, base64url, from_base64url, hash, random_text};
use crate::tokens::ends::Numbers;
use crate::tokens::user::User;

/// Entra's tokens of a user: never handed to anybody, unless passing them through is set.
#[derive(Clone, Deserialize, Serialize)]
pub(crate) struct Upstream {
    pub(crate) access_token: String,
    /// In seconds since 1970.
    pub(crate) expires_at: u64,
    pub(crate) refresh_token: Option<String>,
}

impl Upstream {
    /// The longest time between two questions at Entra whether the user still counts, in seconds: the longest
    /// lifetime that it gives to tokens of clients without continuous access evaluation
    /// (<https://learn.microsoft.com/entra/identity-platform/configurable-token-lifetimes>).
    const MOST: u64 = 90 * 60;

    /// The time before the end of its access token from which on it is renewed, in seconds.
    const LAST: u64 = 5 * 60;

    pub(crate) fn of(tokens: &TokenResponse, now: u64) -> Self {
        let lifetime = tokens.expires_in.as_secs().min(Self::MOST);
        Self {
            access_token: tokens.access_token.expose().to_owned(),
            expires_at: now.saturating_add(lifetime),
            refresh_token: tokens
                .refresh_token
                .as_ref()
                .map(|token| token.expose().to_owned()),
        }
    }

    /// Returns whether Entra has to be asked again: its token ends soon, or later than any that this version
    /// keeps, on whichever instance's clock.
    pub(crate) fn is_due(&self, now: u64, skew: u64) -> bool {
        let left = self.expires_at.saturating_sub(now);
        left < Self::LAST || left > Self::MOST.saturating_add(skew)
    }
}

/// A grant, as it is stored (encrypted).
#[derive(Clone, Deserialize, Serialize)]
pub(crate) struct Grant {
    pub(crate) client: String,
    pub(crate) may_refresh: bool,
    /// The scopes that were asked for, and how they were written.
    pub(crate) names: Vec<String>,
    pub(crate) shown: Vec<String>,
    pub(crate) user: User,
    pub(crate) upstream: Upstream,
    /// How often the refresh token was replaced.
    pub(crate) generation: u32,
    /// When it was last, in seconds since 1970.
    pub(crate) rotated_at: u64,
    /// The process that did so, by a random name. Since version 2.
    #[serde(default)]
    pub(crate) rotated_by: String,
    /// When it ends, whatever happens.
    pub(crate) ends_at: u64,
    /// True if the record of its user has a reference to it. Since version 1: before, none had.
    #[serde(default)]
    pub(crate) is_referred_to: bool,
    #[serde(default)]
    pub(crate) numbers: Numbers,
}

impl Kept for Grant {
    const FORMAT: Format = format::GRANT;
}

/// An authorization code, as it is stored, by its hash.
#[derive(Deserialize, Serialize)]
pub(crate) enum CodeRecord {
    /// It has not been used.
    Fresh(Box<Fresh>),
    /// It came to this grant.
    Used { grant: String, asked: Box<Asked> },
}

impl Kept for CodeRecord {
    const FORMAT: Format = format::CODE;
}

impl CodeRecord {
    /// To whom it was given, and what proves it.
    pub(crate) fn asked(&self) -> &Asked {
        match self {
            Self::Fresh(fresh) => &fresh.asked,
            Self::Used { asked, .. } => asked,
        }
    }
}

#[derive(Deserialize, Serialize)]
pub(crate) struct Fresh {
    pub(crate) asked: Asked,
    pub(crate) user: User,
    pub(crate) upstream: Upstream,
    #[serde(default)]
    pub(crate) numbers: Numbers,
}

/// A refresh token, read: nothing of it is stored anywhere.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct RefreshToken {
    pub(crate) grant: String,
    pub(crate) generation: u32,
}

/// Where a grant is kept.
pub(crate) fn grant_key(id: &str) -> String {
    format!("grant/{id}")
}

/// Where a code is kept: whoever reads the store learns no code.
pub(crate) fn code_key(code: &str) -> String {
    format!("code/{}", hash(code))
}

/// How many characters of a grant's id there are in a refresh token.
const ID_LEN: usize = 24;

/// The length of its tag, in bytes.
const TAG_LEN: usize = 32;

pub(crate) fn new_grant_id() -> String {
    random_text::<18>()
}

impl Grant {
    pub(crate) fn new(fresh: &Fresh, engine: &Engine, now: u64) -> Self {
        let Fresh {
            asked,
            user,
            upstream,
            numbers,
        } = fresh;
        Self {
            client: asked.client.clone(),
            may_refresh: asked.may_refresh,
            names: asked.names.clone(),
            shown: asked.shown.clone(),
            user: user.clone(),
            upstream: upstream.clone(),
            generation: 0,
            rotated_at: now,
            rotated_by: engine.process.clone(),
            ends_at: now.saturating_add(engine.lifetimes.session.as_secs()),
            is_referred_to: true,
            numbers: *numbers,
        }
    }

    /// Returns its time to live from this moment on, in seconds. Without refresh tokens it lasts as long as its
    /// only access token.
    pub(crate) fn time_to_live(&self, engine: &Engine, now: u64) -> u64 {
        match self.may_refresh {
            true => self.left(engine.lifetimes.idle, now),
            false => self.first_time_to_live(engine, now),
        }
    }

    /// Returns the time to live, in seconds, of one whose client has not been answered yet: as long as its first
    /// access token.
    pub(crate) fn first_time_to_live(&self, engine: &Engine, now: u64) -> u64 {
        const MORE: Duration = Duration::from_secs(600);
        self.left(engine.lifetimes.access_token.saturating_add(MORE), now)
    }

    fn left(&self, span: Duration, now: u64) -> u64 {
        self.ends_at.saturating_sub(now).min(span.as_secs())
    }
}

impl Engine {
    /// Writes the token with its tag, which depends on nothing but the grant and its generation.
    ///
    /// It has its version, its generation, the grant's id, and the tag of all that. Every version begins with
    /// its number and ends with the tag of all that is before. The first had no number, and is known by
    /// its length, which no other version has.
    pub(crate) fn refresh_token(&self, token: &RefreshToken) -> String {
        let message = message(token);
        let tag = self.keys.tag(Purpose::RefreshToken, &message);
        base64url(&[message, tag].concat())
    }

    /// The token, if it was made here.
    pub(crate) fn read_refresh_token(&self, text: &str) -> Result<RefreshToken, Unread> {
        let bytes = from_base64url(text).ok_or(Unread::Malformed)?;
        let length = bytes.len().checked_sub(TAG_LEN);
        let (message, tag) = length
            .and_then(|length| bytes.split_at_checked(length))
            .ok_or(Unread::Malformed)?;
        if !self.keys.has_tag(Purpose::RefreshToken, message, tag) {
            return Err(Unread::Malformed);
        }
        let message = match message.split_first() {
            _ if message.len() == 4 + ID_LEN => message,
            Some((&1, message)) => message,
            Some((version, _)) if *version > format::REFRESH_TOKEN.version => {
                self.keys.warn_of_later(format::REFRESH_TOKEN);
                return Err(Unread::Later);
            }
            _ => return Err(Unread::Malformed),
        };
        let read = || {
            let (generation, grant) = message.split_at_checked(4)?;
            Some(RefreshToken {
                grant: String::from_utf8(grant.to_vec()).ok()?,
                generation: u32::from_be_bytes(generation.try_into().ok()?),
            })
        };
        read().ok_or(Unread::Malformed)
    }

    /// An access token of our own (RFC 9068); `None` if it cannot be signed.
    pub(crate) fn access_token(
        &self,
        (client_id, grant_id): (&str, &str),
        user: &User,
        scopes: &[String],
        now: u64,
        lifetime: u64,
    ) -> Option<String> {
        let of_user = |name: &str| user.claims.get(name).cloned();
        let own = [
            ("iss", json!(self.urls.public)),
            ("aud", json!(self.resource.url)),
            // Entra's, which is the user's for this application.
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
        self.keys.token("at+jwt", &claims)
    }
}

/// The claims of a token: our own, and the user's under other names.
struct Claims<'a> {
    own: [(&'static str, Value); 9],
    user: &'a User,
}

impl Serialize for Claims<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let is_own = |name: &str| self.own.iter().any(|(own, _)| *own == name);
        let of_user = self.user.claims.iter().filter(|(name, _)| !is_own(name));
        let of_user = of_user.map(|(name, value)| (&**name, value));
        let own = self.own.iter().map(|(name, value)| (*name, value));
        serializer.collect_map(of_user.chain(own))
    }
}

fn message(token: &RefreshToken) -> Vec<u8> {
    let version = [format::REFRESH_TOKEN.version];
    let generation = token.generation.to_be_bytes();
    [&version[..], &generation, token.grant.as_bytes()].concat()
}
