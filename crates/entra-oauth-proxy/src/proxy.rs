//! The proxy: the engine, with the store and Entra to carry out what it decides.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use entra_confidential_client::{
    AuthorizationCode, ConfidentialClient, Secret, TokenError, TokenRequest,
};
use http::{HeaderMap, StatusCode};
use serde_json::Value;
use tower_entra_auth::{Caller, EntraAuth, HandlerRefusal, RequireLayer, ResourceMetadata};

use crate::answer::{Answer, add_cookie, see_other};
use crate::builder::EntraOAuthProxyBuilder;
use crate::consent::{Answered, denied};
use crate::cookie::Cookies;
use crate::engine::{Engine, Lifetimes};
use crate::error::{Code, OAuthError};
use crate::grant::{
    CodeRecord, Fresh, Grant, RefreshToken, Upstream, arrival_key, claims_key, code_key, grant_key,
    new_grant_id,
};
use crate::keys::random_text;
use crate::layer::ProxyLayer;
use crate::page::{Obstacle, error_page};
use crate::sign_in::{Arrived, Returned, refused_tokens};
use crate::store::{Records, StoreError};
use crate::token::{By, CodeProof, RENEW_BEFORE, Requested, Rotation, invalid_grant};

/// An OAuth authorization server in front of Entra. See the [crate's page](crate) for an example.
///
/// A cheap handle: clones share everything.
#[derive(Clone)]
pub struct EntraOAuthProxy {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) engine: Engine,
    pub(crate) records: Records,
    pub(crate) entra: ConfidentialClient,
    pub(crate) auth: EntraAuth,
    pub(crate) required: RequireLayer,
    pub(crate) metadata: Bytes,
    pub(crate) resource_metadata: ResourceMetadata,
    pub(crate) clock: Arc<dyn Fn() -> SystemTime + Send + Sync>,
}

/// How long it is remembered that a browser came back from Entra, and that a code was used: longer
/// than either could be sent again.
const REMEMBERED: Duration = Duration::from_secs(2 * Lifetimes::SIGN_IN);

impl EntraOAuthProxy {
    /// Begins with no settings.
    pub fn builder() -> EntraOAuthProxyBuilder {
        EntraOAuthProxyBuilder::new()
    }

    /// The Layer that protects the resource: it accepts the tokens of this server and Entra's own, and
    /// requires the [required scopes](EntraOAuthProxyBuilder::required_scopes) of each.
    pub fn layer(&self) -> ProxyLayer {
        ProxyLayer::new(self.inner.auth.layer(), self.inner.required.clone())
    }

    /// What is behind the Layer: for requirements of routes, `proxy.auth().require(..)?`.
    #[must_use]
    pub fn auth(&self) -> &EntraAuth {
        &self.inner.auth
    }

    /// The issuer, which is also the URL under which the endpoints are.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.inner.engine.urls.public
    }

    /// The redirect URI to register at Entra, under the platform "Web".
    #[must_use]
    pub fn redirect_uri(&self) -> String {
        self.inner.engine.urls.callback()
    }
}

impl fmt::Debug for EntraOAuthProxy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("EntraOAuthProxy")
            .field("issuer", &self.issuer())
            .field("resource", &self.inner.engine.resource.url)
            .finish_non_exhaustive()
    }
}

impl Inner {
    /// Seconds since 1970.
    pub(crate) fn now(&self) -> u64 {
        let since = (self.clock)().duration_since(UNIX_EPOCH);
        since.unwrap_or_default().as_secs()
    }

    /// A person answered the consent page.
    pub(crate) async fn consent(&self, headers: &HeaderMap, form: &str) -> Answer {
        let now = self.now();
        let asked = match self.engine.answered(headers, form, now) {
            Ok(Answered::Approved(asked)) => asked,
            Ok(Answered::Denied(to)) => {
                tracing::info!("a sign-in was declined on the consent page");
                return see_other(&self.engine.with_error(&to, &denied()));
            }
            Err(obstacle) => return error_page(&obstacle),
        };
        let to = self.engine.return_of(&asked);
        let client = asked.client.clone();
        let claims = match self.records.take::<String>(&claims_key(&client)).await {
            Ok(claims) => Ok(claims),
            Err(error) => Err(down(&error)),
        };
        let cookies = Cookies::of(headers);
        let answer = claims.and_then(|claims| self.engine.to_entra(asked, claims, &cookies, now));
        match (answer, to) {
            (Ok(answer), _) => {
                tracing::debug!(client, "a sign-in goes to Entra");
                answer
            }
            (Err(error), Some(to)) => see_other(&self.engine.with_error(&to, &error)),
            (Err(_), None) => error_page(&Obstacle {
                status: StatusCode::BAD_REQUEST,
                title: "This sign-in cannot go on",
                what_to_do: "Go back to the application and connect it again.",
            }),
        }
    }

    /// A browser came back from Entra.
    pub(crate) async fn callback(&self, query: &str, cookies: &Cookies) -> Answer {
        let now = self.now();
        let arrived = match self.engine.arrived(query, cookies, now) {
            Ok(arrived) => arrived,
            Err(obstacle) => return error_page(&obstacle),
        };
        let outcome = match &arrived.outcome {
            Ok(returned) => self.redeem(&arrived, returned, now).await,
            Err(error) => Err(Failure::Told(error.clone())),
        };
        let to = &arrived.to;
        let mut answer = match outcome {
            Ok(code) => see_other(&self.engine.with_code(to, &code)),
            Err(Failure::Told(error)) => {
                let asked = &arrived.sign_in.asked;
                tracing::warn!(
                    client = asked.client,
                    scopes = asked.names.join(" "),
                    error = error.code.as_str(),
                    "a sign-in came to nothing"
                );
                see_other(&self.engine.with_error(to, &error))
            }
            Err(Failure::Repeated) => {
                return error_page(&Obstacle {
                    status: StatusCode::BAD_REQUEST,
                    title: "This sign-in is complete already",
                    what_to_do: "Close this page and go on in the application.",
                });
            }
        };
        add_cookie(&mut answer, &arrived.spent);
        answer
    }

    /// The code for the client, after everything that came from Entra was checked.
    async fn redeem(
        &self,
        arrived: &Arrived,
        returned: &Returned,
        now: u64,
    ) -> Result<String, Failure> {
        let sign_in = &arrived.sign_in;
        // First of all: a code that is sent twice to Entra ends what it gave.
        let arrival = arrival_key(&sign_in.nonce);
        let created = self.records.create(&arrival, &(), REMEMBERED).await;
        if !created.map_err(|error| down(&error))? {
            return Err(Failure::Repeated);
        }
        let callback = self.engine.urls.callback();
        let request = TokenRequest::authorization_code(
            AuthorizationCode {
                code: &returned.code,
                redirect_uri: &callback,
                code_verifier: &sign_in.verifier,
            },
            self.engine.scopes.to_redeem(&sign_in.asked.names),
        );
        let tokens = match self.entra.send(request).await {
            Ok(tokens) => tokens,
            Err(error) => {
                self.keep_claims(&sign_in.asked.client, &error).await;
                return Err(refused_tokens(&error).into());
            }
        };
        let caller = self.verified(tokens.access_token.expose()).await?;
        let id_token = tokens.id_token.as_ref().map(Secret::expose);
        let user = self
            .engine
            .signed_in(sign_in, returned, &caller, id_token)?;
        let fresh = Fresh {
            asked: sign_in.asked.clone(),
            upstream: Upstream {
                access_token: tokens.access_token.expose().to_owned(),
                expires_at: now.saturating_add(tokens.expires_in.as_secs()),
                refresh_token: tokens.refresh_token.map(|token| token.expose().to_owned()),
            },
            user,
        };
        tracing::info!(
            client = fresh.asked.client,
            tenant = fresh.user.tenant(),
            "a user signed in"
        );
        let code = random_text::<32>();
        let record = CodeRecord::Fresh(Box::new(fresh));
        let kept = self
            .records
            .put(&code_key(&code), &record, Lifetimes::CODE)
            .await;
        kept.map_err(|error| down(&error))?;
        Ok(code)
    }

    /// Whose access token it is, by the rules of the Layer.
    async fn verified(&self, access_token: &str) -> Result<Caller, OAuthError> {
        match self.auth.verify(access_token).await {
            Ok(caller) if caller.grant_id().is_none() => Ok(caller),
            Ok(_) => {
                tell_of_token("not_entra", "Entra sent a token of this server");
                Err(OAuthError::new(Code::ServerError, NOT_ACCEPTED))
            }
            Err(refusal) => {
                tell_of_token(refusal.code(), &refusal.remedy());
                Err(refused_user(&refusal))
            }
        }
    }

    /// Keeps what Entra demands of the next sign-in by this client.
    async fn keep_claims(&self, client: &str, error: &TokenError) {
        let Some(claims) = error.claims().map(str::to_owned) else {
            return;
        };
        let key = claims_key(client);
        let kept = self
            .records
            .put(&key, &claims, Duration::from_secs(Lifetimes::SIGN_IN))
            .await;
        if let Err(error) = kept {
            tracing::warn!(%error, "what Entra demands of the next sign-in is not kept");
        }
    }

    /// A client asks for tokens.
    pub(crate) async fn token(&self, headers: &HeaderMap, form: &str) -> Result<Value, OAuthError> {
        let requested = self.engine.requested(headers, form)?;
        match &requested.by {
            By::Code(proof) => self.by_code(&requested, proof).await,
            By::Refresh { token, scope } => {
                self.by_refresh(&requested, token, scope.as_deref()).await
            }
        }
    }

    async fn by_code(&self, requested: &Requested, proof: &CodeProof) -> Result<Value, OAuthError> {
        let now = self.now();
        let key = code_key(&proof.code);
        let unknown = || invalid_grant("the code is not known, or more than a minute old");
        let found = self.records.get::<CodeRecord>(&key).await;
        let found = found.map_err(|error| down(&error))?.ok_or_else(unknown)?;
        let fresh = match &found.value {
            CodeRecord::Fresh(fresh) => fresh,
            CodeRecord::Used { grant } => return Err(self.used_again(grant).await),
        };
        self.engine.check_code(fresh, proof, &requested.client)?;
        let grant = Grant::new(fresh, &self.engine, now);
        let id = new_grant_id();
        // The grant first: whoever uses the code again ends it, even before it is answered.
        self.write(&id, &grant, now).await?;
        let used = CodeRecord::Used { grant: id.clone() };
        let replaced = self.records.replace(&key, &found, &used, REMEMBERED).await;
        if !replaced.map_err(|error| down(&error))? {
            self.end(&id).await?;
            let other = self.records.get::<CodeRecord>(&key).await;
            return Err(
                match other
                    .map_err(|error| down(&error))?
                    .map(|found| found.value)
                {
                    Some(CodeRecord::Used { grant }) => self.used_again(&grant).await,
                    _ => unknown(),
                },
            );
        }
        let (scopes, shown) = self.engine.narrowed(&grant, None)?;
        tracing::info!(client = grant.client, grant = id, "a code was redeemed");
        self.engine
            .tokens(requested, &id, &grant, (&scopes, &shown), now)
    }

    /// A code was used twice: what it came to is in wrong hands, as like as not.
    async fn used_again(&self, grant: &str) -> OAuthError {
        tracing::warn!(
            grant,
            "a code was used twice; the sign-in that it came to is ended"
        );
        match self.end(grant).await {
            Ok(()) => invalid_grant("the code was used before"),
            Err(error) => error,
        }
    }

    async fn by_refresh(
        &self,
        requested: &Requested,
        token: &RefreshToken,
        scope: Option<&str>,
    ) -> Result<Value, OAuthError> {
        let id = &token.grant;
        let key = grant_key(id);
        loop {
            let now = self.now();
            let found = self.records.get::<Grant>(&key).await;
            let found = found.map_err(|error| down(&error))?;
            let found = found.ok_or_else(|| invalid_grant("the sign-in is over"))?;
            let mut grant = found.value.clone();
            let rotation = self
                .engine
                .rotation(&grant, token, &requested.client, now)?;
            if rotation == Rotation::Stolen {
                tracing::warn!(
                    grant = id,
                    "a refresh token was used that had been replaced; the sign-in is ended"
                );
                self.end(id).await?;
                return Err(invalid_grant("the refresh token was replaced before"));
            }
            if rotation == Rotation::Next {
                // Before anything is replaced: a scope that is refused costs the client nothing.
                self.engine.narrowed(&grant, scope)?;
                if grant.upstream.expires_at.saturating_sub(now) < RENEW_BEFORE {
                    self.renew(id, &mut grant, now).await?;
                }
                grant.generation = grant.generation.max(token.generation).saturating_add(1);
                grant.rotated_at = now;
                let ttl = Duration::from_secs(grant.time_to_live(&self.engine, now));
                let replaced = self.records.replace(&key, &found, &grant, ttl).await;
                if !replaced.map_err(|error| down(&error))? {
                    // Somebody was faster: what they made of it is what there is.
                    continue;
                }
            }
            let (scopes, shown) = self.engine.narrowed(&grant, scope)?;
            return self
                .engine
                .tokens(requested, id, &grant, (&scopes, &shown), now);
        }
    }

    /// New tokens from Entra, with the scopes said: without them Entra guesses, and refuses.
    async fn renew(&self, id: &str, grant: &mut Grant, now: u64) -> Result<(), OAuthError> {
        let over = || invalid_grant("Entra ended the sign-in");
        let Some(refresh_token) = grant.upstream.refresh_token.clone() else {
            self.end(id).await?;
            return Err(over());
        };
        let asked = self.engine.scopes.to_redeem(&grant.names);
        let tokens = match self
            .entra
            .send(TokenRequest::refresh_token(refresh_token, asked))
            .await
        {
            Ok(tokens) => tokens,
            Err(error) => {
                let told = refused_tokens(&error);
                if told.code != Code::AccessDenied {
                    // Trouble of Entra's or of ours: the client's token stays good.
                    return Err(told);
                }
                self.keep_claims(&grant.client, &error).await;
                self.end(id).await?;
                return Err(over());
            }
        };
        let user = match self.verified(tokens.access_token.expose()).await {
            Ok(caller) => self.engine.user(&grant.names, &caller),
            Err(error) => Err(error),
        };
        let user = match user {
            Ok(user) if user.is_same_person(&grant.user) => user,
            Ok(_) => {
                tracing::error!(
                    grant = id,
                    "Entra renewed the tokens of one user with those of another"
                );
                return Err(OAuthError::new(Code::ServerError, NOT_ACCEPTED));
            }
            Err(error) if error.code == Code::AccessDenied => {
                self.end(id).await?;
                return Err(over());
            }
            Err(error) => return Err(error),
        };
        grant.user = user;
        grant.upstream = Upstream {
            access_token: tokens.access_token.expose().to_owned(),
            expires_at: now.saturating_add(tokens.expires_in.as_secs()),
            refresh_token: tokens
                .refresh_token
                .map(|token| token.expose().to_owned())
                .or_else(|| grant.upstream.refresh_token.take()),
        };
        Ok(())
    }

    async fn write(&self, id: &str, grant: &Grant, now: u64) -> Result<(), OAuthError> {
        let ttl = Duration::from_secs(grant.time_to_live(&self.engine, now));
        let written = self.records.put(&grant_key(id), grant, ttl).await;
        written.map_err(|error| down(&error))
    }

    /// Ends a sign-in: its refresh token at once, its access tokens when the Layer asks next.
    async fn end(&self, id: &str) -> Result<(), OAuthError> {
        let taken = self.records.take::<Grant>(&grant_key(id)).await;
        taken.map(|_| ()).map_err(|error| down(&error))
    }
}

/// How a return from Entra fails.
enum Failure {
    /// The client is told.
    Told(OAuthError),
    /// The browser was here before: the client was answered then.
    Repeated,
}

impl From<OAuthError> for Failure {
    fn from(error: OAuthError) -> Self {
        Self::Told(error)
    }
}

const NOT_ACCEPTED: &str =
    "the token that Entra sent is not accepted here; the reason is in the server's log";

fn tell_of_token(code: &str, remedy: &str) {
    tracing::error!(code, remedy, "the access token that Entra sent is refused");
}

/// What a client is told of a user whose token the Layer refuses.
fn refused_user(refusal: &HandlerRefusal) -> OAuthError {
    if refusal.is_unavailable() {
        return OAuthError::unavailable(None);
    }
    match refusal.code() {
        "tenant_not_allowed" | "personal_account" | "guest_not_allowed" => {
            OAuthError::new(Code::AccessDenied, "this account is not allowed here")
        }
        _ => OAuthError::new(Code::ServerError, NOT_ACCEPTED),
    }
}

fn down(error: &StoreError) -> OAuthError {
    tracing::error!(%error, "nothing can be kept or found at the moment");
    OAuthError::unavailable(None)
}
