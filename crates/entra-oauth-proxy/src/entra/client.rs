//! Requests to Entra, by browsers and by this server, and the validation of its responses.

use std::sync::Arc;
use std::time::Duration;

use entra_confidential_client::{
    AuthorizationCode, ConfidentialClient, Secret, TokenError, TokenErrorKind, TokenRequest,
    TokenResponse,
};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tower_entra_auth::{Caller, EntraAuth};
use tracing::Instrument as _;
use tracing::field::Empty;
use url::form_urlencoded::Serializer;

use super::{
    EntraTokens, MAX_CLAIMS, NoUser, User, mismatch, missing_scope, not_accepted,
    refused_authorization, refused_tokens, refused_user, too_long,
};
use crate::crypto::{from_base64url, is_same};
use crate::oauth::{ErrorCode, OAuthError, Parameters, Scopes};
use crate::telemetry::{Event, ThrottledLog, count, throttled};
use crate::time::Clock;

/// Access to Entra, where this server is one confidential client.
pub(crate) struct Entra {
    auth: EntraAuth,
    client: ConfidentialClient,
    scopes: Arc<Scopes>,
    clock: Clock,
    /// Start of the URLs of Entra's endpoints.
    endpoints: String,
    redirect_uri: String,
    prompt: Option<&'static str>,
    /// Maximum size of a user's claims and scope names together, in bytes of JSON. `None` if this
    /// server issues no tokens with them.
    room: Option<usize>,
    /// Limit on calls that redeem a code.
    redeeming: Bulkhead,
    /// Limit on calls that renew tokens. It is separate, because any browser can bring a code.
    renewing: Bulkhead,
    log: ThrottledLog,
}

/// Cause of a failure to get tokens for a user.
pub(crate) enum NoTokens {
    /// Entra demands more of the user, with this claims request.
    Demanded(String),
    /// The user may not sign in, or no longer may.
    Denied(OAuthError),
    /// Any other failure, which says nothing about the user.
    Failed(OAuthError),
}

impl From<OAuthError> for NoTokens {
    fn from(error: OAuthError) -> Self {
        match error.code() {
            ErrorCode::AccessDenied => Self::Denied(error),
            _ => Self::Failed(error),
        }
    }
}

impl Entra {
    /// Creates the client.
    ///
    /// Browsers return to `redirect_uri`. `prompt` is what Entra asks a user who is already signed
    /// in. `room` is the [room](crate::tokens::room_for_claims) for claims in a token. `max_calls`
    /// is the maximum number of concurrent calls of each kind.
    pub(crate) fn new(
        (auth, client): (EntraAuth, ConfidentialClient),
        clock: Clock,
        scopes: Arc<Scopes>,
        redirect_uri: String,
        prompt: Option<&'static str>,
        room: Option<usize>,
        max_calls: usize,
    ) -> Self {
        let endpoints = format!("{}/oauth2/v2.0", auth.authority_url());
        Self {
            endpoints,
            auth,
            client,
            scopes,
            clock,
            redirect_uri,
            prompt,
            room,
            redeeming: Bulkhead::new("sign-ins", max_calls),
            renewing: Bulkhead::new("renewals", max_calls),
            log: ThrottledLog::default(),
        }
    }

    /// Returns the URL where Entra signs a browser out and sends it back
    /// (<https://learn.microsoft.com/entra/identity-platform/v2-protocols-oidc#send-a-sign-out-request>).
    pub(crate) fn sign_out_url(&self, back: &str) -> String {
        let mut query = Serializer::new(String::new());
        query.append_pair("post_logout_redirect_uri", back);
        format!("{}/logout?{}", self.endpoints, query.finish())
    }

    /// Returns the URL where a browser signs in for these scopes.
    ///
    /// It never contains `resource`, which Entra refuses. It never contains the client's `prompt`,
    /// which may demand what only an administrator can give.
    pub(crate) fn authorize_url(&self, names: &[String], parameters: &[(&str, &str)]) -> String {
        let scopes = self.scopes.for_authorization(names).join(" ");
        let mut query = Serializer::new(String::new());
        query
            .append_pair("client_id", self.client.client_id())
            .append_pair("response_type", "code")
            .append_pair("redirect_uri", &self.redirect_uri)
            // With `form_post`, the return would be a form from another site, without the cookie.
            .append_pair("response_mode", "query")
            .append_pair("scope", &scopes)
            .extend_pairs(parameters)
            .extend_pairs(self.prompt.map(|prompt| ("prompt", prompt)));
        format!("{}/authorize?{}", self.endpoints, query.finish())
    }

    /// Redeems the code that a browser brought back, and returns the user and Entra's tokens.
    ///
    /// If Entra demands more of the user and `may_demand` is true, the error is
    /// [`NoTokens::Demanded`].
    pub(crate) async fn redeem(
        &self,
        (code, issuer): (&str, Option<&str>),
        (verifier, nonce): (&str, &str),
        names: &[String],
        sign_in: &str,
        may_demand: bool,
    ) -> Result<(User, EntraTokens), NoTokens> {
        let now = self.clock.now();
        let code = AuthorizationCode::new(code)
            .redirect_uri(&self.redirect_uri)
            .code_verifier(verifier);
        let request = TokenRequest::authorization_code(code, self.scopes.for_tokens(names));
        let request = request.correlation_id(sign_in);
        let asked = self.ask("authorization_code", request, None);
        let tokens = self.redeeming.call(asked).await??.map_err(|error| {
            match error.claims().filter(|_| may_demand) {
                Some(demanded) => NoTokens::Demanded(demanded.to_owned()),
                None => refused_tokens(&self.log, &error).into(),
            }
        })?;
        let caller = self.verify(&tokens).await?;
        self.check_id_token(issuer, tokens.id_token.as_ref(), nonce, &caller)?;
        let user = self.user(names, &caller)?;
        Ok((user, EntraTokens::of(&tokens, now)))
    }

    /// Returns the code that a browser brought back, and its issuer (RFC 9207) if one is named.
    pub(crate) fn read<'p>(
        &self,
        brought: &'p Parameters,
    ) -> Result<(&'p str, Option<&'p str>), OAuthError> {
        let read = || {
            if let Some(error) = brought.one("error")? {
                let description = brought.one("error_description").ok().flatten();
                let subcode = brought.one("error_subcode").ok().flatten();
                return Ok(Err((error, subcode, description)));
            }
            Ok::<_, OAuthError>(Ok((brought.required("code")?, brought.one("iss")?)))
        };
        match read() {
            Ok(Ok(read)) => Ok(read),
            Ok(Err((error, subcode, description))) => Err(refused_authorization(
                &self.log,
                error,
                subcode,
                description,
            )),
            Err(_) => Err(mismatch(&self.log, "the redirect from Entra is malformed")),
        }
    }

    /// Renews the tokens of a user.
    ///
    /// `demanded` are the claims to request, and `patience` is the maximum wait for Entra, if it is
    /// shorter than usual. The request names the scopes. Without them, Entra guesses the scopes and
    /// refuses the request. If Entra refuses the user, the error has the claims that Entra demands,
    /// or else those that were requested.
    pub(crate) async fn renew(
        &self,
        (user, tokens): (&User, &EntraTokens),
        names: &[String],
        (demanded, patience): (Option<&str>, Option<Duration>),
        grant: &str,
    ) -> Result<(User, EntraTokens), NoTokens> {
        let over = || OAuthError::new(ErrorCode::AccessDenied, "the sign-in has ended");
        let refresh_token = tokens.refresh_token.clone().ok_or_else(over)?;
        let mut request = TokenRequest::refresh_token(refresh_token, self.scopes.for_tokens(names));
        if let Some(demanded) = demanded {
            request = request.claims(demanded);
        }
        let asked = self.ask("refresh_token", request, patience);
        let renewed = self.renewing.call(asked).await??.map_err(|error| {
            let claims = error.claims().or(demanded);
            match (refused_tokens(&self.log, &error).into(), claims) {
                (NoTokens::Denied(_), Some(claims)) => NoTokens::Demanded(claims.to_owned()),
                (refused, _) => refused,
            }
        })?;
        let renewed_user = self.user(names, &self.verify(&renewed).await?)?;
        if !renewed_user.is_same_person(user) {
            tracing::error!(
                grant,
                "Entra renewed a user's tokens with tokens of another user"
            );
            return Err(not_accepted().into());
        }
        let renewed = tokens.renewed(&renewed, self.clock.now());
        Ok((renewed_user, renewed))
    }

    /// Sends a token request, and records it in a span and in the metrics.
    ///
    /// The outer error says that Entra took longer than `patience`.
    async fn ask(
        &self,
        grant_type: &'static str,
        request: TokenRequest,
        patience: Option<Duration>,
    ) -> Result<Result<TokenResponse, TokenError>, OAuthError> {
        let span = tracing::info_span!("entra_token_request", grant_type, outcome = Empty);
        let began = Instant::now();
        let sent = self.client.send(request).instrument(span.clone());
        let result = match patience {
            None => Ok(sent.await),
            Some(patience) => timeout(patience, sent).await.map_err(|_| {
                let what = "Entra did not respond to a refresh in time; its last token serves";
                throttled!(warn, self.log, (what, ""), "{what}");
                OAuthError::unavailable(None)
            }),
        };
        let outcome = match &result {
            Ok(Ok(_)) => "ok",
            Ok(Err(error)) => error.code(),
            Err(_) => TokenErrorKind::NoResponse.code(),
        };
        span.record("outcome", outcome);
        count(Event::EntraRequest {
            grant_type,
            outcome,
            took: began.elapsed(),
        });
        result
    }

    /// Verifies an access token of Entra by the rules of the Layer.
    async fn verify(&self, tokens: &TokenResponse) -> Result<Caller, OAuthError> {
        match self.auth.verify(tokens.access_token.expose_secret()).await {
            Ok(caller) if caller.grant_id().is_none() => Ok(caller),
            Ok(_) => {
                tracing::error!("Entra sent a token that this server issued");
                Err(not_accepted())
            }
            Err(refusal) => Err(refused_user(&self.log, &refusal)),
        }
    }

    /// Checks that the tokens belong to the sign-in with this nonce, and to one user.
    fn check_id_token(
        &self,
        issuer: Option<&str>,
        id_token: Option<&Secret>,
        nonce: &str,
        caller: &Caller,
    ) -> Result<(), OAuthError> {
        let mismatch = |what| Err(mismatch(&self.log, what));
        let Some(id_token) = id_token.and_then(|token| payload(token.expose_secret())) else {
            return mismatch("the response has no id token");
        };
        let says = |claim: &str| id_token[claim].as_str();
        if !says("nonce").is_some_and(|said| is_same(said, nonce)) {
            return mismatch("the id token has a different nonce");
        }
        if says("aud") != Some(self.client.client_id()) {
            return mismatch("the id token is for another application");
        }
        let object = caller.object_id().map(|id| id.to_string());
        let tenant = caller.tenant_id().to_string();
        if says("tid") != Some(&*tenant) || object.is_none() || says("oid") != object.as_deref() {
            return mismatch("the id token and the access token belong to different users");
        }
        let is_issuer = |issuer: &str| issuer == caller.issuer() || says("iss") == Some(issuer);
        if !issuer.is_none_or(is_issuer) {
            return mismatch("the code and the tokens have different issuers");
        }
        Ok(())
    }

    /// Builds the user from an access token, with the requested scopes that Entra granted.
    fn user(&self, asked: &[String], caller: &Caller) -> Result<User, OAuthError> {
        if !caller.is_delegated() {
            let what = "the access token does not belong to a user";
            return Err(mismatch(&self.log, what));
        }
        let scopes = self.scopes.granted_by_entra(asked, || caller.scopes());
        let scopes = scopes.map_err(|missing| missing_scope(&self.log, missing))?;
        let room = self.room.map_or(usize::MAX, |room| {
            let text = json!(scopes.join(" ")).to_string();
            room.saturating_sub(text.len()).min(MAX_CLAIMS)
        });
        User::of(caller, scopes, room).map_err(|no_user| match no_user {
            NoUser::Nobody => mismatch(&self.log, "the access token does not identify its user"),
            NoUser::TooLong { claim, bytes } => too_long(&self.log, claim, bytes),
        })
    }
}

/// Returns the claims of an id token.
///
/// The token comes from Entra itself over TLS, so verifying its signature would prove nothing more
/// (OpenID Connect Core §3.1.3.7).
fn payload(id_token: &str) -> Option<Value> {
    serde_json::from_slice(&from_base64url(id_token.split('.').nth(1)?)?).ok()
}

/// A limit on concurrent calls of one kind, with a queue in front of it.
struct Bulkhead {
    /// Name of the calls in the log.
    calls: &'static str,
    places: Semaphore,
    queue: Semaphore,
    refused: ThrottledLog,
}

impl Bulkhead {
    /// Maximum time that a call waits for a place.
    const LONGEST_WAIT: Duration = Duration::from_secs(2);

    /// Number of calls that may wait for each place. Entra takes a fraction of a second for a call,
    /// so more would wait without success.
    const WAITING: usize = 4;

    fn new(calls: &'static str, places: usize) -> Self {
        Self {
            calls,
            places: Semaphore::new(places),
            queue: Semaphore::new(places.saturating_mul(Self::WAITING)),
            refused: ThrottledLog::default(),
        }
    }

    /// Runs a call in a place of its own.
    ///
    /// Without a place, nothing is sent, and the error is that of Entra not responding.
    async fn call<C: Future>(&self, call: C) -> Result<C::Output, OAuthError> {
        let _place = match self.places.try_acquire() {
            Ok(place) => place,
            Err(_) => {
                let waiting = self.queue.try_acquire().map_err(|_| self.full())?;
                let place = timeout(Self::LONGEST_WAIT, self.places.acquire()).await;
                drop(waiting);
                // The semaphore is never closed.
                place.ok().and_then(Result::ok).ok_or_else(|| self.full())?
            }
        };
        Ok(call.await)
    }

    fn full(&self) -> OAuthError {
        if let Some(count) = self.refused.due((self.calls, "")) {
            tracing::warn!(
                calls = self.calls,
                count,
                "too many calls to Entra in progress, so this call was not made; if Entra responds \
                 as fast as usual, increase RateLimits::entra_calls(..)"
            );
        }
        OAuthError::unavailable(None)
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::Arc;

    use tokio::task::yield_now;
    use tokio::time::{Instant, sleep};

    use super::*;

    async fn occupied(places: usize, calls: usize) -> Arc<Bulkhead> {
        let bulkhead = Arc::new(Bulkhead::new("of a test", places));
        for _ in 0..calls {
            let bulkhead = Arc::clone(&bulkhead);
            tokio::spawn(async move { bulkhead.call(pending::<()>()).await });
        }
        yield_now().await;
        bulkhead
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_finds_no_place_waits_two_seconds() {
        let bulkhead = occupied(2, 2).await;
        let begun = Instant::now();
        assert!(bulkhead.call(async {}).await.is_err());
        assert_eq!(begun.elapsed(), Bulkhead::LONGEST_WAIT);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_finds_no_place_to_wait_is_told_at_once() {
        let bulkhead = occupied(2, 2 + 8).await;
        let begun = Instant::now();
        let told = bulkhead.call(async {}).await.unwrap_err();
        assert_eq!(begun.elapsed(), Duration::ZERO);
        assert_eq!(told.code().as_str(), "temporarily_unavailable");
        assert!(told.response().headers().contains_key("retry-after"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_is_free_again_when_the_call_is_done_or_given_up() {
        let bulkhead = Bulkhead::new("of a test", 1);
        assert_eq!(bulkhead.call(async { 1 }).await, Ok(1));
        let given_up = timeout(Duration::from_secs(1), bulkhead.call(pending::<()>()));
        assert!(given_up.await.is_err());
        assert_eq!(bulkhead.call(async { 2 }).await, Ok(2));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_gets_the_place_that_becomes_free() {
        let bulkhead = Arc::new(Bulkhead::new("of a test", 1));
        let first = Arc::clone(&bulkhead);
        tokio::spawn(async move { first.call(sleep(Duration::from_secs(1))).await });
        yield_now().await;
        let begun = Instant::now();
        assert!(bulkhead.call(async {}).await.is_ok());
        assert_eq!(begun.elapsed(), Duration::from_secs(1));
    }
}
