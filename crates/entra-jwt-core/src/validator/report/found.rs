//! What a token has where a check passed, in few words.

use std::borrow::Cow;
use std::time::Duration;

use crate::authority::TokenVersion;
use crate::json::JsonStr;
use crate::keys::Key;
use crate::requirement::Permissions;
use crate::token::Claims;
use crate::token::Unverified;
use crate::token::{CallerKind, Grant, is_guest};
use crate::validator::checks::{CheckName, Facts};

pub(super) fn form(token: &str) -> String {
    format!("{} bytes", token.len())
}

/// What there is to be checked, where it cannot be.
pub(super) fn unchecked(check: CheckName, token: &Unverified<'_>) -> Option<String> {
    (check == CheckName::Key).then(|| token.key_ref().key_id.as_str().to_owned())
}

pub(super) fn of(check: CheckName, facts: &Facts<'_>, claims: &Claims) -> Option<String> {
    let token = facts.token;
    let issued_by = facts.issued_by().ok();
    let owned = |text: Option<&str>| text.map(str::to_owned);
    match check {
        CheckName::Nonce => Some("none".to_owned()),
        CheckName::Algorithm => owned(token.algorithm().map(JsonStr::to_cow).as_deref()),
        CheckName::Type => {
            let found = token.token_type().map(JsonStr::to_cow);
            Some(found.map_or_else(|| "none".to_owned(), Cow::into_owned))
        }
        CheckName::Key => facts.key.map(|key| key.id().as_str().to_owned()),
        CheckName::Signature => Some("verified with that key".to_owned()),
        CheckName::Names => Some("each once".to_owned()),
        CheckName::Claims => Some("each of its type".to_owned()),
        CheckName::Lifetime => {
            let left = claims
                .expires_at?
                .seconds()
                .saturating_sub(facts.now.seconds());
            let skew = facts.rules.clock_skew_seconds();
            Some(if left >= 0 {
                format!("expires in {}", span(left))
            } else {
                format!(
                    "expired {} ago, within the clock skew of {}",
                    span(left.saturating_neg()),
                    span(skew)
                )
            })
        }
        CheckName::Issuer => owned(claims.issuer.as_deref()),
        CheckName::Tenant => issued_by.map(|(tenant, _)| tenant.to_string()),
        CheckName::Version => issued_by.map(|(_, version)| {
            match version {
                TokenVersion::V1 => "v1",
                TokenVersion::V2 => "v2",
            }
            .to_owned()
        }),
        CheckName::KeyIssuer => known_or_any(facts.key, Key::issuer),
        CheckName::KeyCloud => known_or_any(facts.key, Key::cloud_instance_name),
        CheckName::Audience => owned(claims.audience.as_deref()),
        CheckName::Binding => Some("none, a bearer token".to_owned()),
        CheckName::Kind => Some(match (CallerKind::of(claims), Grant::of(claims)) {
            (CallerKind::Agent, Grant::AppOnly) => "access token of an agent".to_owned(),
            (CallerKind::Agent, _) => "access token of an agent with a user".to_owned(),
            (CallerKind::App, _) => "access token of an application".to_owned(),
            (CallerKind::User, _) => "access token of a user".to_owned(),
            (CallerKind::Unknown, _) => {
                "access token of neither a user nor an application".to_owned()
            }
        }),
        CheckName::Client => claims.client().map(|client| client.to_string()),
        CheckName::Guest => {
            let (tenant, _) = issued_by?;
            let words = match (Grant::of(claims), is_guest(claims, tenant)) {
                (Grant::Delegated, true) => "a guest",
                (Grant::Delegated, false) => "a member",
                _ => "no user",
            };
            Some(words.to_owned())
        }
        CheckName::Form | CheckName::Permission | CheckName::Requirement => None,
    }
}

/// The scopes and roles.
pub(super) fn permission(permissions: &Permissions<'_>) -> Option<String> {
    let list = |label: &str, names: Vec<&str>| {
        (!names.is_empty()).then(|| format!("{label} {}", names.join(" ")))
    };
    let scopes = list("scp", permissions.claims.scopes().collect());
    let roles = list("roles", permissions.claims.roles().collect());
    let both: Vec<String> = scopes.into_iter().chain(roles).collect();
    Some(if both.is_empty() {
        "an exempt client".to_owned()
    } else {
        both.join(", ")
    })
}

fn known_or_any(key: Option<&Key>, of: fn(&Key) -> Option<&str>) -> Option<String> {
    key.map(|key| of(key).unwrap_or("any").to_owned())
}

/// A time as people say it: its largest unit.
fn span(seconds: i64) -> String {
    let whole = Duration::from_secs(seconds.unsigned_abs()).as_secs();
    match whole {
        0..120 => format!("{whole} s"),
        120..7_200 => format!("{} min", whole / 60),
        7_200..172_800 => format!("{} h", whole / 3_600),
        _ => format!("{} days", whole / 86_400),
    }
}
