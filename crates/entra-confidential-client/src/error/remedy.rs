//! The remedies: what an operator can do about a failed request.
//!
//! The kind decides; AADSTS numbers only choose the words, and lose nothing if they change.

use super::kind::TokenErrorKind;
use crate::text::VALUE_NOT_ID;

/// Returns the remedy for an error of this kind with these AADSTS numbers, in one sentence.
pub(super) fn remedy(kind: TokenErrorKind, codes: &[u64]) -> &'static str {
    let specific = codes.iter().find_map(|code| by_code(kind, *code));
    specific.unwrap_or_else(|| by_kind(kind))
}

fn by_kind(kind: TokenErrorKind) -> &'static str {
    match kind {
        TokenErrorKind::InvalidGrant => {
            "let the user sign in again; if every sign-in ends so, redirect_uri or code_verifier \
             differ from what was sent to the authorization endpoint"
        }
        TokenErrorKind::InteractionRequired => {
            "let the user sign in again, with the claims of this answer if it has any"
        }
        TokenErrorKind::ConsentRequired => {
            "grant consent under API permissions of the app registration, or let the user sign in \
             and consent"
        }
        TokenErrorKind::AccessDenied => {
            "nothing, if the user declined; else assign the user to the enterprise application, or \
             look the correlation id up in Entra's sign-in log"
        }
        TokenErrorKind::InvalidClient => {
            "compare client id, tenant and credential with the app registration"
        }
        TokenErrorKind::Misconfigured => {
            "compare the scopes with API permissions of the app registration: in full, such as \
             api://<client id>/<name>, and of one API"
        }
        TokenErrorKind::CredentialUnavailable => {
            "make the file or the identity provider of the credential available"
        }
        TokenErrorKind::Throttled => "send fewer requests, and keep tokens until they expire",
        TokenErrorKind::Unavailable => "wait, and look at Microsoft's service health",
        TokenErrorKind::NoResponse => {
            "check DNS, proxy (HTTPS_PROXY), firewall and CA certificates between this machine and \
             the token endpoint"
        }
        TokenErrorKind::InvalidResponse => {
            "check that the authority is Entra's, and that no proxy answers in its place"
        }
    }
}

/// Returns the remedy for a number of Microsoft's list of error codes.
fn by_code(kind: TokenErrorKind, code: u64) -> Option<&'static str> {
    Some(match (kind, code) {
        (TokenErrorKind::InvalidClient, 7_000_222) => {
            "the client secret has expired: add a new one under Certificates & secrets of the app \
             registration, and configure its Value"
        }
        (TokenErrorKind::InvalidClient, 7_000_215) => VALUE_NOT_ID,
        (TokenErrorKind::InvalidClient, 7_000_218) => {
            "the app registration wants a credential: a secret, a certificate or a federated one"
        }
        (TokenErrorKind::InvalidClient, 700_025) => {
            "the app registration is a public client: register the redirect URI under the platform \
             Web, not as mobile, desktop or single-page application"
        }
        (TokenErrorKind::InvalidClient, 700_016 | 700_038) => {
            "client id and tenant do not belong together: copy Application (client) ID and \
             Directory (tenant) ID from the app registration's Overview page"
        }
        (
            TokenErrorKind::InvalidClient,
            700_027 | 7_000_214 | 7_000_274 | 7_000_277 | 1_000_502,
        ) => {
            "add this certificate to Certificates & secrets of the app registration, and check \
             that it has not expired"
        }
        (TokenErrorKind::InvalidClient, 700_024) => {
            "the clock of this machine is wrong: the assertion is not good at Entra's time"
        }
        (TokenErrorKind::InvalidClient, 70_021 | 700_211 | 700_212 | 700_213) => {
            "add a federated credential to the app registration whose issuer, subject and audience \
             are exactly those of the assertion"
        }
        (TokenErrorKind::Misconfigured, 28_000 | 700_022) => "request scopes of one API at a time",
        (TokenErrorKind::Misconfigured, 500_011) => {
            "the API of the scopes is not known in this tenant: check its App ID URI, and that an \
             administrator of the tenant has consented"
        }
        (TokenErrorKind::Misconfigured, 90_002) => {
            "the authority or the request names a tenant that does not exist in this cloud"
        }
        (TokenErrorKind::Misconfigured, 1_002_012) => {
            "client_credentials takes one scope, of the form <App ID URI>/.default"
        }
        (TokenErrorKind::InvalidGrant, 700_082) => {
            "the refresh token was not used for 90 days: let the user sign in again"
        }
        (TokenErrorKind::InvalidGrant, 50_173) => {
            "the user's tokens were revoked, as by a new password: let the user sign in again"
        }
        (TokenErrorKind::InvalidGrant, 50_105) => {
            "assign the user, or a group of the user, to the enterprise application"
        }
        (TokenErrorKind::InvalidGrant, 500_131) => {
            "the assertion must be an access token whose audience is this application"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_changes_the_words_only_within_its_kind() {
        let expired = remedy(TokenErrorKind::InvalidClient, &[7_000_222]);
        assert!(expired.contains("expired"), "{expired}");
        let other = remedy(TokenErrorKind::InvalidGrant, &[7_000_222]);
        assert_eq!(other, by_kind(TokenErrorKind::InvalidGrant));
        let unknown = remedy(TokenErrorKind::InvalidClient, &[1, 7_000_222]);
        assert_eq!(unknown, expired);
    }
}
