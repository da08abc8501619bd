//! Issuers that are trusted in addition to Entra.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use entra_http::{Problems, secure_url};
use entra_jwt_core::{Cloud, KeySet, Validator, ids::Audience, integration::EscapedUrl};

use crate::authenticate::Issuer;
use crate::caller::{Caller, OnChallenge};
use crate::keys::{KeyStore, Source};
use crate::policy::Rule;
use crate::respond::ClaimsChallenge;

/// An issuer other than Entra whose tokens are accepted, for
/// [`EntraAuthBuilder::trust`](crate::EntraAuthBuilder::trust).
///
/// It is an authorization server in front of Entra, such as `entra-oauth-proxy`, which issues its
/// own tokens in place of Entra's (RFC 9068). These tokens are signed with ES256, and have the type
/// `at+jwt`, one issuer and one audience. They have their scopes in `scope`, the id of their grant
/// (sign-in) in `gid` and their client in `client_id`. `entra_iat` is the time at which Entra
/// issued the token from which they were reissued. They also have `tid`, `oid` and the other claims
/// that the server copies from Entra's token. The same rules apply to them:
/// [`Validator::reissued`](entra_jwt_core::Validator::reissued).
///
/// For Entra, the server is the client of all these tokens. So they differ from tokens of Entra:
///
/// - [`client_id`](crate::token::AccessToken::client_id) is `None`.
///   [`registered_client`](crate::token::AccessToken::registered_client) names the client.
/// - [`issued_at`](crate::token::AccessToken::issued_at) is the time of `entra_iat`.
/// - [`allowed_clients`](crate::EntraAuthBuilder::allowed_clients) applies to the server.
/// - The server [receives the challenges](Self::on_challenge).
#[derive(Clone)]
#[must_use = "it does nothing until it is passed to the builder"]
pub struct TrustedIssuer {
    issuer: String,
    audience: String,
    keys: KeySet,
    grant_rule: Option<Rule<Arc<str>>>,
    on_challenge: Option<Arc<OnChallenge>>,
}

/// An issuer, the rule about its grants, and the function that receives its challenges.
type TrustedParts = (Issuer, Option<Rule<Arc<str>>>, Option<Arc<OnChallenge>>);

impl TrustedIssuer {
    /// Maximum cache time of a yes of the [`grant_rule`](Self::grant_rule).
    pub const MAX_GRANT_TTL: Duration = Duration::from_secs(5 * 60);

    /// Trusts an authorization server in front of Entra: tokens of this issuer, for this audience,
    /// signed with one of these keys.
    ///
    /// Issuer and audience are compared byte for byte, except for a slash at the end of the
    /// audience. Both have at most 1,000 bytes.
    pub fn oauth_proxy(
        issuer: impl Into<String>,
        audience: impl Into<String>,
        keys: KeySet,
    ) -> Self {
        Self {
            issuer: issuer.into(),
            audience: audience.into(),
            keys,
            grant_rule: None,
            on_challenge: None,
        }
    }

    /// Sets a rule that decides whether the grant (sign-in) of a token, `gid`, is still valid or
    /// was revoked.
    ///
    /// The Layer calls the rule about each verified token that the
    /// [`tenant_rule`](crate::EntraAuthBuilder::tenant_rule) admits. `Ok(false)` refuses the token
    /// (`grant_ended`). If the rule returns an error, or no answer within 5 s, the client receives
    /// 503 (`grant_rule_unavailable`).
    ///
    /// A yes is cached for `ttl`, at most [5 minutes](Self::MAX_GRANT_TTL), from the call. A no is
    /// cached for a second. For streams that [`end_at_expiry`](crate::EntraAuth::end_at_expiry)
    /// watches, the rule is called again after that, at most every 5 s. The rule is cloned for each
    /// call. Default: every grant is valid while its tokens live.
    pub fn grant_rule<F, R, E>(mut self, ttl: Duration, rule: F) -> Self
    where
        F: FnOnce(Arc<str>) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = Result<bool, E>> + Send + 'static,
        E: fmt::Display,
    {
        let rule = Rule::about_grants(rule).with_ttl(ttl.min(Self::MAX_GRANT_TTL));
        self.grant_rule = Some(rule);
        self
    }

    /// Sets a function that receives each claims challenge, so that callers with tokens of this
    /// issuer can be challenged.
    ///
    /// The server can then request the claims from Entra when the client refreshes or signs in
    /// again.
    ///
    /// Entra knows only the server, so no `xms_cc` says whether a client can respond to a
    /// challenge. No client needs to: the server responds. With this function, every caller of
    /// these tokens is challenged (401, `insufficient_claims`), and clients then get a new token.
    /// Without it, they are refused (403). This applies to a required
    /// [authentication context](crate::require::AuthenticationContext), to
    /// [`Caller::challenge`](crate::Caller::challenge) and to
    /// [`RefusalContext::challenge`](crate::refusal::RefusalContext::challenge).
    ///
    /// The function is called once for each challenge that is sent, before the response, on the
    /// thread that serves the request. It must not block. If it panics, the log says so, and the
    /// challenge is sent all the same. Default: none.
    ///
    /// ```
    /// # fn tokens(tokens: tower_entra_auth::issuer::TrustedIssuer) -> tower_entra_auth::issuer::TrustedIssuer {
    /// tokens.on_challenge(|caller, claims| {
    ///     // Kept by user and client until the next refresh.
    ///     let wanted = (caller.id().to_string(), caller.registered_client(), claims.json());
    /// #   drop(wanted);
    /// })
    /// # }
    /// ```
    pub fn on_challenge<F>(mut self, function: F) -> Self
    where
        F: Fn(&Caller, &ClaimsChallenge) + Send + Sync + 'static,
    {
        self.on_challenge = Some(Arc::new(function));
        self
    }

    /// Adds every problem of this issuer, also with the issuers that were set before it.
    pub(super) fn check(&self, before: &[Self], problems: &mut Problems) {
        let mut problem = |text: String| problems.add("trust", text);
        if let Err(error) = secure_url(&self.issuer, false) {
            problem(format!(
                "the issuer \"{}\" {error}; for example https://mcp.example.com",
                EscapedUrl(&self.issuer)
            ));
        } else if self.issuer.len() > Audience::MAX_LENGTH {
            problem(format!(
                "the issuer \"{}\" is longer than {} bytes",
                EscapedUrl(&self.issuer),
                Audience::MAX_LENGTH
            ));
        }
        if let Err(error) = Audience::new(&self.audience) {
            problem(format!(
                "the audience \"{}\": {error}",
                EscapedUrl(&self.audience)
            ));
        }
        if is_entras(host_of(&self.issuer)) {
            problem(format!(
                "the issuer \"{}\" is one of Entra's; the tenant setting decides about Entra's \
                 tokens",
                EscapedUrl(&self.issuer)
            ));
        }
        if self.keys.is_empty() {
            problem("there is no key to verify its tokens with".to_owned());
        }
        if before.iter().any(|other| other.issuer == self.issuer) {
            problem("two trusted issuers have the same issuer URL; remove one of them".to_owned());
        }
    }

    /// Returns the issuer, for the log.
    pub(super) fn shown(&self) -> String {
        EscapedUrl(&self.issuer).to_string()
    }

    /// Returns the parts, made with the rules for Entra's own tokens; `None` if the settings are
    /// not valid.
    pub(super) fn into_parts(
        self,
        entra: &Validator,
        refresh_interval: Duration,
        max_staleness: Duration,
    ) -> Option<TrustedParts> {
        let validator = entra.reissued(&self.issuer, &self.audience).ok()?;
        let source = Source::fixed(self.keys, host_of(&self.issuer));
        let keys = KeyStore::new(source, refresh_interval, max_staleness);
        let issuer = Issuer::new(validator, keys, true);
        Some((issuer, self.grant_rule, self.on_challenge))
    }
}

/// Returns the host of an issuer.
fn host_of(issuer: &str) -> &str {
    issuer.split('/').nth(2).unwrap_or_default()
}

/// Returns whether Entra has issuers on this host.
fn is_entras(host: &str) -> bool {
    let is_of_v1 = ["sts.windows.net", "sts.chinacloudapi.cn"].contains(&host);
    is_of_v1
        || host.ends_with(".ciamlogin.com")
        || Cloud::ALL.iter().any(|cloud| cloud.is_host(host))
}

impl fmt::Debug for TrustedIssuer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("TrustedIssuer")
            .field("issuer", &EscapedUrl(&self.issuer))
            .field("audience", &EscapedUrl(&self.audience))
            .finish_non_exhaustive()
    }
}
