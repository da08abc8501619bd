//! Short descriptions of a token's values, for reports.

use std::borrow::Cow;

use super::{CheckContext, CheckName};
use crate::authority::TokenVersion;
use crate::json::JsonStr;
use crate::keys::Key;
use crate::refusal::TokenFault;
use crate::token::{CallerKind, Claims, Grant};

/// Returns a short description of the token's value for a check that passed.
pub(super) fn found(
    check: CheckName,
    context: &CheckContext<'_>,
    claims: &Claims,
) -> Option<String> {
    let token = context.token;
    let issued_by = context.issued_by().ok();
    let owned = |text: Option<&str>| text.map(str::to_owned);
    match check {
        CheckName::Nonce => Some("none".to_owned()),
        CheckName::Algorithm => owned(token.algorithm().map(JsonStr::to_cow).as_deref()),
        CheckName::Type => {
            let found = token.token_type().map(JsonStr::to_cow);
            Some(found.map_or_else(|| "none".to_owned(), Cow::into_owned))
        }
        CheckName::Key => context.key.map(|key| key.id().as_str().to_owned()),
        CheckName::Signature => Some("verified with that key".to_owned()),
        CheckName::Names => Some("no duplicates".to_owned()),
        CheckName::Claims => Some("all types correct".to_owned()),
        CheckName::Lifetime => {
            let (expires_at, _) = claims.lifetime();
            let left = expires_at?.seconds().saturating_sub(context.now.seconds());
            let skew = context.rules.clock_skew_seconds();
            Some(if left >= 0 {
                format!("expires in {}", in_largest_unit(left))
            } else {
                let (ago, skew) = (in_seconds(left.saturating_neg()), in_seconds(skew));
                format!("expired {ago} ago, within the clock skew of {skew}")
            })
        }
        CheckName::Issuer => owned(token.issuer()),
        CheckName::Tenant => issued_by.map(|(tenant, _)| tenant.to_string()),
        CheckName::Version => issued_by.map(|(_, version)| {
            match version {
                TokenVersion::V1 => "v1",
                TokenVersion::V2 => "v2",
            }
            .to_owned()
        }),
        CheckName::KeyIssuer => known_or_any(context.key, Key::issuer),
        CheckName::KeyCloud => known_or_any(context.key, Key::cloud_instance_name),
        CheckName::Audience => token.audience().map(Cow::into_owned),
        CheckName::Binding => Some("none (a bearer token)".to_owned()),
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
            let words = match (Grant::of(claims), claims.is_of_guest(tenant)) {
                (Grant::Delegated, true) => "a guest",
                (Grant::Delegated, false) => "a member",
                _ => "no user",
            };
            Some(words.to_owned())
        }
        CheckName::Agent => Some(match CallerKind::of(claims) {
            CallerKind::Agent => "an agent".to_owned(),
            _ => "no agent claims".to_owned(),
        }),
        CheckName::Form | CheckName::Permission | CheckName::Requirement => None,
    }
}

/// Returns the token's scopes and roles as text.
pub(super) fn permissions_of(claims: &Claims) -> Option<String> {
    let list = |label: &str, names: Vec<&str>| {
        (!names.is_empty()).then(|| format!("{label} {}", names.join(" ")))
    };
    let scopes = list("scp", claims.scopes().collect());
    let roles = list("roles", claims.roles().collect());
    let both: Vec<String> = scopes.into_iter().chain(roles).collect();
    Some(if both.is_empty() {
        "none (the client needs no permission)".to_owned()
    } else {
        both.join(", ")
    })
}

fn known_or_any(key: Option<&Key>, of: fn(&Key) -> Option<&str>) -> Option<String> {
    key.map(|key| of(key).unwrap_or("any").to_owned())
}

/// Returns the found and the expected time, if the fault is about the lifetime.
///
/// Both are in seconds if the found time can be compared with the clock skew. Otherwise the found
/// time is in its largest unit, and the expected one is not a time.
pub(super) fn times_of(fault: &TokenFault) -> Option<(String, String)> {
    /// Longer times are not caused by a clock skew.
    const COMPARABLE: i64 = 20 * 60;

    Some(match *fault {
        TokenFault::Expired { seconds_ago, skew } if seconds_ago < COMPARABLE => (
            format!("expired {} ago", in_seconds(seconds_ago)),
            format!("at most {} ago (the clock skew)", in_seconds(skew)),
        ),
        TokenFault::Expired { seconds_ago, .. } => (
            format!("expired {} ago", in_largest_unit(seconds_ago)),
            "a token that has not expired".to_owned(),
        ),
        TokenFault::NotYetValid {
            seconds_ahead,
            skew,
        } if seconds_ahead < COMPARABLE => (
            format!("valid in {}", in_seconds(seconds_ahead)),
            format!("in at most {} (the clock skew)", in_seconds(skew)),
        ),
        TokenFault::NotYetValid { seconds_ahead, .. } => (
            format!("valid in {}", in_largest_unit(seconds_ahead)),
            "a token that is valid already".to_owned(),
        ),
        _ => return None,
    })
}

/// Returns a time as people say it: in the largest unit of which there are at least two, or exactly
/// one.
fn in_largest_unit(seconds: i64) -> String {
    let seconds = seconds.unsigned_abs();
    let (count, name) = match seconds {
        86_400 | 172_800.. => (seconds / 86_400, "day"),
        3_600 | 7_200.. => (seconds / 3_600, "hour"),
        60 | 120.. => (seconds / 60, "minute"),
        _ => (seconds, "second"),
    };
    counted(count, name)
}

fn in_seconds(seconds: i64) -> String {
    counted(seconds.unsigned_abs(), "second")
}

fn counted(count: u64, unit: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {unit}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_the_largest_unit_of_which_there_are_two_or_exactly_one() {
        for (seconds, words) in [
            (1, "1 second"),
            (60, "1 minute"),
            (61, "61 seconds"),
            (120, "2 minutes"),
            (3_599, "59 minutes"),
            (3_600, "1 hour"),
            (7_200, "2 hours"),
            (86_400, "1 day"),
            (172_799, "47 hours"),
            (259_200, "3 days"),
        ] {
            assert_eq!(in_largest_unit(seconds), words, "{seconds}");
        }
    }

    #[test]
    fn a_time_and_the_clock_skew_are_in_one_unit() {
        let times = |fault| times_of(&fault).unwrap();
        let expired = |seconds_ago| {
            times(TokenFault::Expired {
                seconds_ago,
                skew: 1,
            })
        };
        let early = |seconds_ahead| {
            let skew = 300;
            times(TokenFault::NotYetValid {
                seconds_ahead,
                skew,
            })
        };
        for ((found, expected), words) in [
            (
                expired(400),
                [
                    "expired 400 seconds ago",
                    "at most 1 second ago (the clock skew)",
                ],
            ),
            (
                expired(3_600),
                ["expired 1 hour ago", "a token that has not expired"],
            ),
            (
                early(301),
                [
                    "valid in 301 seconds",
                    "in at most 300 seconds (the clock skew)",
                ],
            ),
            (
                early(1_200),
                ["valid in 20 minutes", "a token that is valid already"],
            ),
        ] {
            assert_eq!([&*found, &*expected], words);
        }
    }
}
