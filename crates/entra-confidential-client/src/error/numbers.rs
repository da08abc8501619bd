//! The table of Entra's words: what a caller does after a refusal with one of these AADSTS numbers
//! or suberrors.
//!
//! Most numbers do not count, because Microsoft changes them. The table has those for which `error`
//! says too little: `invalid_grant` stands for an ended sign-in, for an action of the user, for a
//! refusal for good, and for too many requests. Each row has its source: the page of that month, or
//! a report. *List* is Microsoft's list of error codes,
//! <https://learn.microsoft.com/entra/identity-platform/reference-error-codes>, as of April 2024,
//! read in December 2026.

use super::kind::TokenErrorKind::{
    self, AccessDenied, ConsentRequired, InteractionRequired, InvalidGrant, Throttled, Unavailable,
};

/// The number of a client that repeats a request too often, in Microsoft's words "LoopDetected".
pub(super) const LOOP: u64 = 50_196;

/// The numbers.
#[rustfmt::skip]
const NUMBERS: &[(u64, TokenErrorKind)] = &[
    // Retry later. As far as a report shows how Entra sends the number, it is named.

    // LoopDetected, sent as `invalid_grant` for 15 requests in 5 minutes:
    // https://learn.microsoft.com/entra/identity-platform/reference-breaking-changes (March 2019).
    // It passes: https://github.com/pnp/powershell/issues/2995 (April 2023).
    (LOOP, Throttled),
    // TenantThrottlingError, "too many incoming requests": list.
    (90_055, Throttled),
    // RetryableError, "a transient error": list. Sent as `temporarily_unavailable`:
    // https://github.com/AzureAD/microsoft-authentication-library-for-js/issues/4019 (August 2021).
    (50_033, Unavailable),
    // ClaimsTransformationTimeout, "a retry of the request may succeed": list.
    (501_621, Unavailable),
    // ExternalServerRetryableError, "temporarily unavailable": list.
    (90_006, Unavailable),
    // RequestBudgetExceededError, "a transient error has occurred. Try again": list.
    (90_024, Unavailable),
    // MsodsServiceUnavailable: list. Sent as `temporarily_unavailable` with 503:
    // https://github.com/Azure/azure-sdk-for-python/issues/14241 (September 2020).
    (90_033, Unavailable),
    // GraphRetryableError, "temporarily unavailable": list.
    (90_090, Unavailable),

    // Sign in again.

    // The session ended with the password: list.
    (50_132, InvalidGrant),
    (50_133, InvalidGrant),
    // FreshTokenNeeded, revoked, "have the user sign in again": list.
    (50_173, InvalidGrant),
    // The refresh token has expired: list.
    (70_008, InvalidGrant),
    (700_082, InvalidGrant),
    (700_084, InvalidGrant),
    // BadTokenDueToSignInFrequency: list. Sent as `invalid_grant`:
    // https://github.com/nais/device/issues/45 (June 2020).
    (70_043, InvalidGrant),
    // The password has expired; the user can reset it at the sign-in: list.
    (50_055, InteractionRequired),
    // A second factor must be set up, is missing or too old: list. 50079 was sent as
    // `invalid_grant`:
    // https://github.com/AzureAD/microsoft-authentication-library-for-dotnet/issues/559 (May 2018).
    (50_072, InteractionRequired),
    (50_074, InteractionRequired),
    (50_076, InteractionRequired),
    (50_078, InteractionRequired),
    (50_079, InteractionRequired),
    // ExternalSecurityChallenge: list.
    (50_158, InteractionRequired),
    // DelegationDoesNotExist: list. Sent as `invalid_grant`: the issue of 50079.
    (65_001, ConsentRequired),

    // Over: to sign in again does not help until an administrator changes something.

    // UserDisabled: list. Sent as `invalid_grant`:
    // https://github.com/Azure/azure-cli/issues/18945 (July 2021).
    (50_057, AccessDenied),
    // EntitlementGrantsNotFound, not assigned: list.
    (50_105, AccessDenied),
    // BlockedByConditionalAccess: list.
    (53_003, AccessDenied),
];

/// The suberrors.
///
/// Source, except where another is named:
/// <https://learn.microsoft.com/dotnet/api/microsoft.identity.client.uirequiredexceptionclassification>
/// (December 2026).
#[rustfmt::skip]
const SUBERRORS: &[(&str, TokenErrorKind)] = &[
    // Sign in again.
    ("basic_action", InteractionRequired),
    ("additional_action", InteractionRequired),
    ("user_password_expired", InteractionRequired),
    ("consent_required", ConsentRequired),
    // https://github.com/AzureAD/microsoft-authentication-library-for-js/issues/6852
    // (January 2024).
    ("bad_token", InvalidGrant),
    // The issue of 70043.
    ("token_expired", InvalidGrant),

    // Over: "Issue cannot be resolved".
    ("message_only", AccessDenied),
];

/// Returns the kind of a refusal with this suberror and these numbers, whose `error` alone makes it
/// the kind `by_error`.
///
/// - A refusal passes by itself if a number says so, and if no other row of the table speaks
///   against it. The first number decides.
/// - An `invalid_grant` is what the suberror, or else the first number, says of those that do not
///   pass by themselves.
pub(super) fn refine(
    by_error: TokenErrorKind,
    suberror: Option<&str>,
    codes: &[u64],
) -> TokenErrorKind {
    let mut kinds = rows(suberror, codes);
    let first = kinds.next().filter(|kind| passes(*kind));
    if let Some(first) = first.filter(|_| kinds.all(passes)) {
        return first;
    }
    match by_error {
        InvalidGrant => {
            let lasting = rows(suberror, codes).find(|kind| !passes(*kind));
            lasting.unwrap_or(by_error)
        }
        _ => by_error,
    }
}

/// Returns the kinds of the rows for a refusal, that of the suberror first.
fn rows(suberror: Option<&str>, codes: &[u64]) -> impl Iterator<Item = TokenErrorKind> {
    let by_suberror = suberror.and_then(|suberror| of(SUBERRORS, &suberror));
    let by_number = codes.iter().filter_map(|code| of(NUMBERS, code));
    by_suberror.into_iter().chain(by_number)
}

fn of<T: PartialEq>(table: &[(T, TokenErrorKind)], key: &T) -> Option<TokenErrorKind> {
    let row = table.iter().find(|(name, _)| name == key);
    row.map(|(_, kind)| *kind)
}

fn passes(kind: TokenErrorKind) -> bool {
    matches!(kind, Throttled | Unavailable)
}
