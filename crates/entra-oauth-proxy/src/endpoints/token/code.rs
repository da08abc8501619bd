//! Tokens for clients: the engine's decisions about codes and refresh tokens, carried out.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use serde_json::Value;

use crate::endpoints::revoke::{Revocation, Token, not_revocable};
use crate::endpoints::token::{By, CodeProof, Requested, begin_again, invalid_grant};
use crate::engine::Lifetimes;
use crate::oauth::error::OAuthError;
use crate::proxy::{Inner, down};
use crate::running::Of;
use crate::store::StoreError;
use crate::telemetry::metrics;
use crate::telemetry::spans::{self, Reused};
use crate::tokens::grant::{CodeRecord, Grant, code_key, grant_key, new_grant_id};

/// How long it is remembered that a code was used: longer than anybody would send it again by
/// mistake.
const REMEMBERED: Duration = Duration::from_secs(2 * Lifetimes::SIGN_IN);

impl Inner {
    /// A client asks for tokens.
    pub(crate) async fn token(
        self: &Arc<Self>,
        headers: &HeaderMap,
        form: &str,
    ) -> Result<Value, OAuthError> {
        let requested = self.engine.requested(headers, form)?;
        spans::client(&requested.client.hash);
        let inner = Arc::clone(self);
        let work = self.work.to_its_end(Of::Clients, async move {
            match &requested.by {
                By::Code(proof) => inner.by_code(&requested, proof).await,
                By::Refresh { token, scope } => {
                    inner.by_refresh(&requested, token, scope.as_deref()).await
                }
            }
        });
        work.await?
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
        spans::sign_in(&found.value.asked().id);
        let fresh = match &found.value {
            CodeRecord::Fresh(fresh) => fresh,
            CodeRecord::Used { grant, .. } => return Err(self.used_again(grant).await),
        };
        self.gate.admit(&requested.client.hash, None)?;
        let grant = Grant::new(fresh, &self.engine, now);
        if !self.engine.has_required(&grant) {
            return Err(begin_again());
        }
        let user_key = self.user_key(&grant.user);
        let standing = self.records.standing(&user_key, &grant.client, now).await;
        if standing.map_err(|error| down(&error))?.numbers != grant.numbers {
            return Err(invalid_grant("the sign-in was ended"));
        }
        let kept = self.keep_numbers(&user_key, &grant.client, grant.numbers);
        kept.await.map_err(|error| down(&error))?;
        let id = new_grant_id();
        spans::grant(&id);
        // Before the grant: none is there of which the user's record does not know.
        let referred = self.refer(&id, &grant).await;
        referred.map_err(|error| down(&error))?;
        // Before the code is used: whoever uses it again ends the grant, even before it is answered. For as
        // long as its first access token: one of which the store says nothing more may be nobody's.
        let ttl = Duration::from_secs(grant.first_time_to_live(&self.engine, now));
        let written = self.records.put(&grant_key(&id), &grant, ttl).await;
        let stored = match written {
            Ok(stored) => stored,
            Err(error) => return Err(self.given_up(&id, &grant, &error).await),
        };
        let used = CodeRecord::Used {
            grant: id.clone(),
            asked: Box::new(fresh.asked.clone()),
        };
        let before = Some(found.stored.clone());
        let replaced = self.records.swap(&key, before, &used, REMEMBERED).await;
        let replaced = match replaced {
            Ok(replaced) => replaced,
            Err(error) => return Err(self.given_up(&id, &grant, &error).await),
        };
        if !replaced {
            self.end(&id).await?;
            self.unrefer(&id, &grant).await;
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
        if !self.is_left(&id, &grant).await {
            self.end(&id).await?;
            return Err(invalid_grant(
                "the sign-in is over: its user has as many as may be, and later ones",
            ));
        }
        if grant.may_refresh && !self.is_lengthened(&id, &grant, stored, now).await {
            return Err(invalid_grant("the sign-in was ended"));
        }
        let scopes = self.engine.narrowed(&grant, None)?;
        tracing::info!(client = grant.client, grant = id, "a code was redeemed");
        self.engine.tokens(requested, &id, &grant, &scopes, now)
    }

    /// Keeps a grant whose client is about to be answered for its whole time, and returns whether it is there.
    async fn is_lengthened(&self, id: &str, grant: &Grant, stored: Bytes, now: u64) -> bool {
        let ttl = Duration::from_secs(grant.time_to_live(&self.engine, now));
        let key = grant_key(id);
        let swapped = self.records.swap(&key, Some(stored), grant, ttl).await;
        swapped.unwrap_or_else(|error| {
            tracing::debug!(%error, grant = id, "a sign-in has its whole time with its first refresh");
            true
        })
    }

    /// Ends a grant of which the store did not say that it was written, or that its code was used, and
    /// returns the error for its client.
    async fn given_up(&self, id: &str, grant: &Grant, error: &StoreError) -> OAuthError {
        // If it was not there, it may still be on its way to the store: it keeps its reference then, and
        // goes like any other that nobody uses.
        if let Ok(true) = self.records.remove(&grant_key(id)).await {
            self.unrefer(id, grant).await;
        }
        down(error)
    }

    /// Ends the longest unused grants of a user who has too many, and returns whether this one is left.
    async fn is_left(&self, id: &str, grant: &Grant) -> bool {
        let trimmed = self.trim(&self.user_key(&grant.user), id).await;
        trimmed.unwrap_or_else(|error| {
            tracing::warn!(%error, "a user has more sign-ins than may be until the next one");
            true
        })
    }

    /// A code was used twice by whoever can prove it: what it came to is in two hands.
    async fn used_again(&self, grant: &str) -> OAuthError {
        match self.end(grant).await {
            Ok(was_there) => {
                // Once, however often it is sent.
                if was_there {
                    metrics::reused(Reused::Code);
                    tracing::warn!(
                        grant,
                        "a code was used twice; the sign-in that it came to is ended"
                    );
                }
                invalid_grant("the code was used before")
            }
            Err(error) => error,
        }
    }

    /// A client wants a token to be ended.
    pub(crate) async fn revoke(
        self: &Arc<Self>,
        headers: &HeaderMap,
        form: &str,
    ) -> Result<(), OAuthError> {
        let revocation = self.engine.revocation(headers, form)?;
        spans::client(&revocation.client.hash);
        let inner = Arc::clone(self);
        let work = self
            .work
            .to_its_end(Of::Clients, async move { inner.revoked(revocation).await });
        work.await?
    }

    async fn revoked(&self, revocation: Revocation) -> Result<(), OAuthError> {
        let Revocation { client, token } = revocation;
        let id = match token {
            Token::Refresh(token) => token.grant,
            Token::Other(text) => match self.auth.verify(&text).await {
                Ok(caller) => caller.grant_id().ok_or_else(not_revocable)?.to_owned(),
                Err(refusal) if refusal.is_unavailable() => {
                    return Err(OAuthError::unavailable(None));
                }
                // It is good for nothing already (RFC 7009 §2.2).
                Err(_) => return Ok(()),
            },
        };
        let found = self.records.get::<Grant>(&grant_key(&id)).await;
        let Some(found) = found.map_err(|error| down(&error))? else {
            return Ok(());
        };
        self.engine.check_revocation(&found.value, &client)?;
        spans::grant(&id);
        tracing::info!(
            client = client.hash,
            grant = id,
            "a sign-in was ended by its client"
        );
        self.end(&id).await.map(|_| ())
    }

    /// Ends a sign-in: its refresh token at once, its access tokens when the Layer asks next. Returns
    /// whether there was one.
    pub(crate) async fn end(&self, id: &str) -> Result<bool, OAuthError> {
        let removed = self.records.remove(&grant_key(id)).await;
        removed.map_err(|error| down(&error))
    }
}
