//! Refreshing: the engine's decisions about refresh tokens, carried out; one at a time of each
//! sign-in.

use std::time::Duration;

use bytes::Bytes;
use entra_confidential_client::TokenRequest;
use serde_json::Value;

use crate::endpoints::callback::NOT_ACCEPTED;
use crate::endpoints::token::Narrowed;
use crate::endpoints::token::{Arrival, Requested, Rotation, begin_again, invalid_grant};
use crate::entra::sign_in::refused_tokens;
use crate::oauth::error::{Code, OAuthError};
use crate::proxy::{Inner, down};
use crate::store::Found;
use crate::telemetry::metrics::{self, Served};
use crate::telemetry::spans::{self, Reused};
use crate::tokens::ending::Stands;
use crate::tokens::grant::{Grant, RefreshToken, Upstream, grant_key};
use crate::tokens::refresh_lock::Trouble;
use crate::tokens::user::User;

/// How often a refresh is begun anew because another instance was faster.
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
    pub(crate) async fn by_refresh(
        &self,
        requested: &Requested,
        token: &RefreshToken,
        scope: Option<&str>,
    ) -> Result<Value, OAuthError> {
        let id = &token.grant;
        spans::grant(id);
        let (key, issuer) = (grant_key(id), self.engine.keys.issuer());
        // By when it came: what happens while it waits does not make it late.
        let came = self.now();
        let turn = self.refreshes.of(id);
        let place = turn.places.try_acquire();
        let _place = place.map_err(|_| OAuthError::unavailable(None))?;
        let (troubles, rotations) = (turn.troubles(), turn.rotations());
        let _turn = turn.taken.lock().await;
        if let Some(Trouble::Store(error)) = turn.trouble_since(troubles) {
            return Err(error);
        }
        for round in 0..MOST_ROUNDS {
            let client = &requested.client;
            let user = self.refreshes.user_of(id);
            let of = (&**id, &*client.hash);
            let stands = self.records.grant(issuer, of, user.as_deref(), self.now());
            let stands = stands.await.map_err(|error| turn.down(&error))?;
            let Stands {
                grant:
                    Found {
                        value: mut grant,
                        stored,
                    },
                user_key,
                standing,
            } = stands.ok_or_else(over)?;
            self.refreshes.is_of(id, &user_key);
            let arrival = Arrival {
                came,
                grace_until: self.refreshes.grace_until(id, &grant, token, came),
                was_overtaken: turn.rotations() != rotations,
            };
            let rotation = self.engine.rotation(&grant, token, client, &arrival)?;
            // Whoever stole a token is not told to wait.
            if round == 0 && rotation != Rotation::Stolen {
                self.gate.admit(&client.hash, Some(id))?;
            }
            let is_next = match rotation {
                Rotation::Next => true,
                Rotation::Again => false,
                // It was good when it came: others were faster, more than once.
                Rotation::Stolen if round > 0 => false,
                Rotation::Stolen => {
                    metrics::reused(Reused::RefreshToken);
                    tracing::warn!(
                        grant = id,
                        "a refresh token was used that had been replaced; the sign-in is ended"
                    );
                    self.end(id).await?;
                    return Err(invalid_grant("the refresh token was replaced before"));
                }
            };
            if standing.numbers != grant.numbers {
                // What an operator ended, and is still in the store.
                self.end(id).await?;
                return Err(over());
            }
            if !self.engine.has_required(&grant) {
                return Err(self.lacks_required(id, &grant).await);
            }
            // Before anything is asked or replaced: a scope that is refused costs nobody anything.
            let mut scopes = self.engine.narrowed(&grant, scope)?;
            let mut served = match is_next {
                true => Served::Held,
                false => Served::Again,
            };
            let demanded = self.demanded(&standing, &user_key, &grant.client);
            let is_due = grant.upstream.is_due(self.now(), self.engine.skew);
            if is_due || demanded.is_some() {
                let renewed = match turn.trouble_since(troubles) {
                    // Whoever was before asked meanwhile, in vain.
                    Some(Trouble::Entra(error) | Trouble::Store(error)) => {
                        Err(NotRenewed::Later(error))
                    }
                    None => {
                        let renewed = self.renew(id, &mut grant, demanded.as_deref()).await;
                        if let Err(NotRenewed::Later(error)) = &renewed {
                            turn.record(Trouble::Entra(error.clone()));
                        }
                        renewed
                    }
                };
                match renewed {
                    Ok(()) => {
                        served = Served::Renewed;
                        // As Entra may have taken one back.
                        scopes = self.engine.narrowed(&grant, scope)?;
                    }
                    Err(NotRenewed::Later(error)) if grant.upstream.expires_at <= self.now() => {
                        return Err(error);
                    }
                    // Entra's own token is good for a while: so is the user.
                    Err(NotRenewed::Later(_)) => served = Served::HeldInTrouble,
                    Err(NotRenewed::Over) => {
                        if self.is_as_found(&key, &stored).await? {
                            self.end(id).await?;
                            return Err(over());
                        }
                        continue;
                    }
                }
            }
            if !is_next && served != Served::Renewed {
                return self.refreshed(requested, id, &grant, &scopes, served);
            }
            if !grant.is_referred_to {
                grant.is_referred_to = self.adopt(id, &grant).await;
            }
            let now = self.now();
            let before = grant.generation;
            // A repeat has its successor, and its grace, already.
            if is_next {
                grant.generation = grant.generation.max(token.generation).saturating_add(1);
                grant.rotated_at = now;
                grant.rotated_by.clone_from(&self.engine.process);
            }
            let ttl = Duration::from_secs(grant.time_to_live(&self.engine, now));
            let replaced = self.records.swap(&key, Some(stored), &grant, ttl).await;
            let replaced = replaced.map_err(|error| {
                if is_next {
                    self.refreshes.mark_uncertain(id, before);
                }
                turn.down(&error)
            })?;
            if replaced {
                if served == Served::Renewed && demanded.is_some() {
                    self.forget_demand(&user_key, &grant.client, demanded.as_deref())
                        .await;
                }
                if is_next {
                    self.refreshes.mark_certain(id);
                    turn.has_rotated();
                }
                return self.refreshed(requested, id, &grant, &scopes, served);
            }
            // Somebody was faster: what they made of it is what there is.
        }
        Err(OAuthError::unavailable(None))
    }

    /// The answer with the tokens of a grant as it is.
    fn refreshed(
        &self,
        requested: &Requested,
        id: &str,
        grant: &Grant,
        scopes: &Narrowed,
        served: Served,
    ) -> Result<Value, OAuthError> {
        let now = self.now();
        let tokens = self.engine.tokens(requested, id, grant, scopes, now)?;
        metrics::refreshed(served);
        Ok(tokens)
    }

    /// Returns whether nobody has replaced the grant meanwhile.
    async fn is_as_found(&self, key: &str, stored: &Bytes) -> Result<bool, OAuthError> {
        let current = self.records.get::<Grant>(key).await;
        let current = current.map_err(|error| down(&error))?;
        Ok(current.is_some_and(|current| current.stored == stored))
    }

    /// Ends a sign-in that lacks a scope which is required today, and returns the error by which its client
    /// begins another: nobody has agreed to that scope.
    async fn lacks_required(&self, id: &str, grant: &Grant) -> OAuthError {
        tracing::info!(
            client = grant.client,
            grant = id,
            "a sign-in is ended, as its user was not asked for a scope that is required now"
        );
        match self.end(id).await {
            Ok(_) => begin_again(),
            Err(error) => error,
        }
    }

    /// Gets new tokens from Entra, with the scopes said: without them Entra guesses, and refuses. What is
    /// demanded of the user goes along.
    async fn renew(
        &self,
        id: &str,
        grant: &mut Grant,
        demanded: Option<&str>,
    ) -> Result<(), NotRenewed> {
        let refresh_token = grant
            .upstream
            .refresh_token
            .clone()
            .ok_or(NotRenewed::Over)?;
        let names = self.engine.scopes.known(&grant.names);
        let asked = self.engine.scopes.to_redeem(&names);
        let mut request = TokenRequest::refresh_token(refresh_token, asked);
        if let Some(demanded) = demanded {
            request = request.claims(demanded);
        }
        let renewed = self.gate.renewing.call(self.ask("refresh_token", request));
        let tokens = match renewed.await.map_err(NotRenewed::Later)? {
            Ok(tokens) => tokens,
            Err(error) => {
                let told = refused_tokens(&self.engine.log, &error);
                if told.code != Code::AccessDenied {
                    return Err(NotRenewed::Later(told));
                }
                // Until the next sign-in, which this begins.
                if let Some(claims) = error.claims().or(demanded) {
                    self.keep_demand(&self.user_key(&grant.user), &grant.client, claims)
                        .await;
                }
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
        grant.upstream = Upstream::of(&tokens, self.now());
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
}
