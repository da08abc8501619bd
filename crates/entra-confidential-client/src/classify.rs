//! Of which kind a refusal is.

use http::StatusCode;

use crate::error::TokenErrorKind;

/// By status, `error`, `suberror` and whether there are `claims` (Microsoft identity platform,
/// "Handling error codes in your application").
pub(crate) fn classify(
    status: StatusCode,
    error: Option<&str>,
    suberror: Option<&str>,
    has_claims: bool,
) -> TokenErrorKind {
    match status {
        StatusCode::TOO_MANY_REQUESTS => return TokenErrorKind::Throttled,
        StatusCode::REQUEST_TIMEOUT => return TokenErrorKind::Unavailable,
        status if status.is_server_error() => return TokenErrorKind::Unavailable,
        // There are no others that a token endpoint refuses with.
        status if !status.is_client_error() => return TokenErrorKind::BadAnswer,
        _ => {}
    }
    let Some(error) = error else {
        return TokenErrorKind::BadAnswer;
    };
    if error == "consent_required" || suberror == Some("consent_required") {
        return TokenErrorKind::ConsentRequired;
    }
    if has_claims {
        return TokenErrorKind::InteractionRequired;
    }
    match error {
        "interaction_required" | "login_required" | "account_selection_required" => {
            TokenErrorKind::InteractionRequired
        }
        "invalid_grant" => TokenErrorKind::InvalidGrant,
        "invalid_client" | "unauthorized_client" => TokenErrorKind::ClientRefused,
        "access_denied" => TokenErrorKind::Denied,
        "temporarily_unavailable" | "server_error" => TokenErrorKind::Unavailable,
        "invalid_scope" | "invalid_resource" | "invalid_target" | "invalid_request" => {
            TokenErrorKind::Misconfigured
        }
        error if error.starts_with("unsupported_") => TokenErrorKind::Misconfigured,
        _ => TokenErrorKind::BadAnswer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: u16, error: &str, suberror: &str, has_claims: bool) -> TokenErrorKind {
        let text = |text| Some(text).filter(|text: &&str| !text.is_empty());
        let status = StatusCode::from_u16(status).unwrap();
        classify(status, text(error), text(suberror), has_claims)
    }

    #[test]
    fn each_refusal_has_its_kind() {
        use TokenErrorKind as Kind;
        for (status, error, suberror, has_claims, expected) in [
            (400, "invalid_grant", "", false, Kind::InvalidGrant),
            (400, "invalid_grant", "bad_token", false, Kind::InvalidGrant),
            (
                400,
                "invalid_grant",
                "consent_required",
                false,
                Kind::ConsentRequired,
            ),
            (
                400,
                "invalid_grant",
                "consent_required",
                true,
                Kind::ConsentRequired,
            ),
            (400, "consent_required", "", false, Kind::ConsentRequired),
            (
                400,
                "interaction_required",
                "",
                true,
                Kind::InteractionRequired,
            ),
            (
                400,
                "interaction_required",
                "basic_action",
                false,
                Kind::InteractionRequired,
            ),
            (400, "login_required", "", false, Kind::InteractionRequired),
            (400, "invalid_grant", "", true, Kind::InteractionRequired),
            (401, "invalid_client", "", false, Kind::ClientRefused),
            (400, "unauthorized_client", "", false, Kind::ClientRefused),
            (400, "access_denied", "", false, Kind::Denied),
            (400, "invalid_scope", "", false, Kind::Misconfigured),
            (400, "invalid_resource", "", false, Kind::Misconfigured),
            (400, "invalid_request", "", false, Kind::Misconfigured),
            (
                400,
                "unsupported_grant_type",
                "",
                false,
                Kind::Misconfigured,
            ),
            (429, "invalid_grant", "", true, Kind::Throttled),
            (429, "", "", false, Kind::Throttled),
            (503, "", "", false, Kind::Unavailable),
            (500, "invalid_grant", "", false, Kind::Unavailable),
            (408, "", "", false, Kind::Unavailable),
            (400, "temporarily_unavailable", "", false, Kind::Unavailable),
            (400, "server_error", "", false, Kind::Unavailable),
            (400, "something_new", "", false, Kind::BadAnswer),
            (400, "", "", false, Kind::BadAnswer),
            (404, "", "", false, Kind::BadAnswer),
            (302, "", "", false, Kind::BadAnswer),
            (302, "invalid_grant", "", false, Kind::BadAnswer),
        ] {
            let found = of(status, error, suberror, has_claims);
            assert_eq!(found, expected, "{status} {error} {suberror} {has_claims}");
        }
    }
}
