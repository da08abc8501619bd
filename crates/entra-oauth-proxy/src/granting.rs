//! Tokens for clients: the engine's decisions about codes and refresh tokens, carried out.

use std::time::Duration;

use entra_confidential_client::{TokenError, TokenRequest};
use http::HeaderMap;
use serde_json::Value;

use crate::engine::Lifetimes;
use crate::error::{Code, OAuthError};
use crate::grant::{
    CodeRecord, Demanded, Grant, RefreshToken, Upstream, claims_key, code_key, grant_key,
    new_grant_id,
};
use crate::proxy::{Inner, down};
use crate::sign_in::refused_tokens;
use crate::signing_in::NOT_ACCEPTED;
use crate::token::{By, CodeProof, RENEW_BEFORE, Requested, Rotation, invalid_grant};
use crate::user::User;

/// How long it is remembered that a code was used: longer than anybody would send it again by
/// mistake.
const REMEMBERED: Duration = Duration::from_secs(2 * Lifetimes::SIGN_IN);

/// How often a refresh is begun anew because another was faster.
const MOST_ROUNDS: usize = 4;

/// Why Entra's tokens were not renewed.
enum NotRenewed {
    /// Entra or the Layer says that the sign-in is over.
    Over,
    /// Whatever else: the client's token stays good.
    Later(OAuthError),
}

fn over() -> OAuthError {
    invalid_grant("the sign-in is over")
}

impl Inner {
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
        // Before anything else: whoever has a code alone can neither use it nor end anything.
        self.engine
            .check_code(found.value.asked(), proof, &requested.client)?;
        let fresh = match &found.value {
            CodeRecord::Fresh(fresh) => fresh,
            CodeRecord::Used { grant, .. } => return Err(self.used_again(grant).await),
        };
        let grant = Grant::new(fresh, &self.engine, now);
        let id = new_grant_id();
        // The grant first: whoever uses the code again ends it, even before it is answered.
        let ttl = Duration::from_secs(grant.time_to_live(&self.engine, now));
        let written = self.records.put(&grant_key(&id), &grant, ttl).await;
        written.map_err(|error| down(&error))?;
        let used = CodeRecord::Used {
            grant: id.clone(),
            asked: Box::new(fresh.asked.clone()),
        };
        let replaced = self.records.replace(&key, &found, &used, REMEMBERED).await;
        if !replaced.map_err(|error| down(&error))? {
            self.end(&id).await?;
            let other = self.records.get::<CodeRecord>(&key).await;
            return Err(
                match other
                    .map_err(|error| down(&error))?
                    .map(|found| found.value)
                {
                    Some(CodeRecord::Used { grant, .. }) => self.used_again(&grant).await,
                    _ => unknown(),
                },
            );
        }
        let (scopes, shown) = self.engine.narrowed(&grant, None)?;
        tracing::info!(client = grant.client, grant = id, "a code was redeemed");
        self.engine
            .tokens(requested, &id, &grant, (&scopes, &shown), now)
    }

    /// A code was used twice by whoever can prove it: what it came to is in two hands.
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
        for _ in 0..MOST_ROUNDS {
            let now = self.now();
            let found = self.records.get::<Grant>(&key).await;
            let found = found.map_err(|error| down(&error))?.ok_or_else(over)?;
            let mut grant = found.value.clone();
            match self
                .engine
                .rotation(&grant, token, &requested.client, now)?
            {
                Rotation::Next => {}
                Rotation::Again => {
                    let (scopes, shown) = self.engine.narrowed(&grant, scope)?;
                    return self
                        .engine
                        .tokens(requested, id, &grant, (&scopes, &shown), now);
                }
                Rotation::Stolen => {
                    tracing::warn!(
                        grant = id,
                        "a refresh token was used that had been replaced; the sign-in is ended"
                    );
                    self.end(id).await?;
                    return Err(invalid_grant("the refresh token was replaced before"));
                }
            }
            if grant.upstream.expires_at.saturating_sub(now) < RENEW_BEFORE {
                match self.renew(id, &mut grant, now).await {
                    Ok(()) => {}
                    Err(NotRenewed::Later(error)) if grant.upstream.expires_at <= now => {
                        return Err(error);
                    }
                    // Entra's own token is good for a while: so is the user.
                    Err(NotRenewed::Later(_)) => {}
                    Err(NotRenewed::Over) => {
                        if self.is_as_found(&key, &found.value).await? {
                            self.end(id).await?;
                            return Err(over());
                        }
                        continue;
                    }
                }
            }
            // Before anything is replaced: a scope that is refused costs the client nothing.
            let (scopes, shown) = self.engine.narrowed(&grant, scope)?;
            grant.generation = grant.generation.max(token.generation).saturating_add(1);
            grant.rotated_at = now;
            let ttl = Duration::from_secs(grant.time_to_live(&self.engine, now));
            let replaced = self.records.replace(&key, &found, &grant, ttl).await;
            if replaced.map_err(|error| down(&error))? {
                return self
                    .engine
                    .tokens(requested, id, &grant, (&scopes, &shown), now);
            }
            // Somebody was faster: what they made of it is what there is.
        }
        Err(OAuthError::unavailable(None))
    }

    /// Whether nobody has replaced the grant meanwhile.
    async fn is_as_found(&self, key: &str, grant: &Grant) -> Result<bool, OAuthError> {
        let current = self.records.get::<Grant>(key).await;
        let current = current.map_err(|error| down(&error))?;
        Ok(current.is_some_and(|current| current.value.generation == grant.generation))
    }

    /// New tokens from Entra, with the scopes said: without them Entra guesses, and refuses.
    async fn renew(&self, id: &str, grant: &mut Grant, now: u64) -> Result<(), NotRenewed> {
        let refresh_token = grant
            .upstream
            .refresh_token
            .clone()
            .ok_or(NotRenewed::Over)?;
        let names = self.engine.scopes.known(&grant.names);
        let asked = self.engine.scopes.to_redeem(&names);
        let tokens = match self
            .entra
            .send(TokenRequest::refresh_token(refresh_token, asked))
            .await
        {
            Ok(tokens) => tokens,
            Err(error) => {
                let told = refused_tokens(&error);
                if told.code != Code::AccessDenied {
                    return Err(NotRenewed::Later(told));
                }
                self.keep_claims(grant, &error).await;
                return Err(NotRenewed::Over);
            }
        };
        let user = self
            .renewed_user(&names, tokens.access_token.expose())
            .await?;
        if !user.is_same_person(&grant.user) {
            tracing::error!(
                grant = id,
                "Entra renewed the tokens of one user with those of another"
            );
            let error = OAuthError::new(Code::ServerError, NOT_ACCEPTED);
            return Err(NotRenewed::Later(error));
        }
        let before = grant.upstream.refresh_token.take();
        grant.user = user;
        grant.upstream = Upstream::of(&tokens, now);
        grant.upstream.refresh_token = grant.upstream.refresh_token.take().or(before);
        Ok(())
    }

    async fn renewed_user(&self, names: &[String], access_token: &str) -> Result<User, NotRenewed> {
        let caller = self.verified(access_token).await;
        let user = caller.and_then(|caller| self.engine.user(names, &caller));
        user.map_err(|error| match error.code {
            Code::AccessDenied => NotRenewed::Over,
            _ => NotRenewed::Later(error),
        })
    }

    /// Keeps what Entra demands of the next sign-in by this client.
    async fn keep_claims(&self, grant: &Grant, error: &TokenError) {
        let Some(demanded) = Demanded::by(error, &grant.user) else {
            return;
        };
        let key = claims_key(&grant.client);
        let ttl = Duration::from_secs(Lifetimes::SIGN_IN);
        if let Err(error) = self.records.put(&key, &demanded, ttl).await {
            tracing::warn!(%error, "what Entra demands of the next sign-in is not kept");
        }
    }

    /// Ends a sign-in: its refresh token at once, its access tokens when the Layer asks next.
    async fn end(&self, id: &str) -> Result<(), OAuthError> {
        let taken = self.records.take::<Grant>(&grant_key(id)).await;
        taken.map(|_| ()).map_err(|error| down(&error))
    }
}
