//! The decision about one request, in the order in which its token is judged.

use std::sync::Arc;

use entra_jwt_core::{AccessToken, Rejection, Unverified};
use http::{HeaderMap, Uri};
use serde_json::Value;
use tokio::time::Instant;

use super::bearer;
use super::{EntraAuth, TrustedIssuer};
use crate::caller::{Caller, Proof};
use crate::keys::{Missing, PendingKey, Search, TrustedKey};
use crate::respond::Refusal;
use crate::telemetry::{self, CacheLookup};

/// What is to happen to a request.
pub(crate) enum Decision {
    Accept(Caller),
    Refuse(Refusal),
    /// Something is to be waited for.
    Wait(PendingDecision),
}

/// The decision about a token of which something is not known yet.
pub(crate) struct PendingDecision {
    auth: EntraAuth,
    unknown: Unknown,
}

enum Unknown {
    /// The token could be valid, if its key turns up.
    Key {
        token: Arc<[u8]>,
        issuer: usize,
        key: PendingKey,
    },
    /// The token is valid; not every check after that has a yes.
    Checks(Caller),
}

impl EntraAuth {
    /// Decides about a request by its headers, without awaiting anything.
    pub(crate) fn decide(&self, headers: &HeaderMap, uri: &Uri) -> Decision {
        match self.try_decide(headers, uri) {
            Ok(decision) => decision,
            Err(refusal) => Decision::Refuse(refusal),
        }
    }

    fn try_decide(&self, headers: &HeaderMap, uri: &Uri) -> Result<Decision, Refusal> {
        self.decide_about(self.inner.parts.token_place.find(headers, uri)?)
    }

    /// Decides about a token, wherever it comes from.
    pub(super) fn decide_about(&self, sent: &[u8]) -> Result<Decision, Refusal> {
        let now = Instant::now();
        if let Some(caller) = self.remembered(sent, now) {
            return Ok(self.accepted(caller, true));
        }
        // What parses has the characters of a token; only what does not need be looked at twice.
        let unverified = match self.parse(sent) {
            Ok(unverified) => unverified,
            Err(fault) if sent.len() > self.inner.parts.max_token_length => return Err(fault),
            Err(fault) => return Err(bearer::check_characters(sent).err().unwrap_or(fault)),
        };
        let (index, issuer) = self.issuer_of(&unverified);

        if let Some(key) = issuer.keys.find(unverified.key_ref().key_id, now) {
            // A key that is held serves even where none could be fetched.
            let _ = issuer.keys.keep_running(now);
            let caller = self.finish(index, unverified, key, now)?;
            return Ok(self.accepted(caller, false));
        }
        // The reason is the token's own if it has a fault: then no key could help, and none is
        // fetched.
        issuer
            .validator
            .precheck(&unverified, self.inner.context.now())
            .map_err(|rejection| Refusal::Rejected {
                rejection,
                unsigned: true,
            })?;
        match issuer.keys.search(unverified.key_ref().key_id, now) {
            Search::Ended(found) => {
                let caller = self.finish_with(index, unverified, found, now)?;
                Ok(self.accepted(caller, false))
            }
            Search::Waits(key) => Ok(self.pending(Unknown::Key {
                token: sent.into(),
                issuer: index,
                key,
            })),
        }
    }

    /// Who was verified with exactly this token, if all that may change since still holds.
    fn remembered(&self, token: &[u8], now: Instant) -> Option<Caller> {
        let cache = self.inner.parts.token_cache.as_ref()?;
        let Some(caller) = cache.get(token, now) else {
            telemetry::count_cache_lookup(CacheLookup::Miss);
            return None;
        };
        let proof = caller.proof()?;
        let issuer = &self.inner.parts.issuers[proof.issuer];
        let _ = issuer.keys.keep_running(now);
        let still_holds = issuer.keys.trusts(&proof.key, now)
            && issuer
                .validator
                .check_lifetime(&caller, self.inner.context.now())
                .is_ok();
        if still_holds {
            telemetry::count_cache_lookup(CacheLookup::Hit);
            return Some(caller);
        }
        // The reason is for the checks to say, from the beginning.
        telemetry::count_cache_lookup(CacheLookup::Outdated);
        cache.forget(token);
        None
    }

    /// What is to happen to a request whose token is valid.
    fn accepted(&self, caller: Caller, is_remembered: bool) -> Decision {
        if !self.checks().have_every_yes(caller.subject()) {
            return self.pending(Unknown::Checks(caller));
        }
        if !is_remembered {
            self.remember(&caller);
        }
        Decision::Accept(caller)
    }

    fn remember(&self, caller: &Caller) {
        if let Some(cache) = &self.inner.parts.token_cache {
            cache.remember(caller);
        }
    }

    fn pending(&self, unknown: Unknown) -> Decision {
        Decision::Wait(PendingDecision {
            auth: self.clone(),
            unknown,
        })
    }

    pub(super) fn parse<'t>(&self, token: &'t [u8]) -> Result<Unverified<'t>, Refusal> {
        Ok(Unverified::parse_bytes(
            token,
            self.inner.parts.max_token_length,
        )?)
    }

    /// The issuer that the token claims to be of, else the first, whose rules name the reason.
    pub(super) fn issuer_of(&self, token: &Unverified<'_>) -> (usize, &TrustedIssuer) {
        let issuers = &self.inner.parts.issuers;
        let claimed = match issuers.len() {
            1 => 0,
            _ => issuers
                .iter()
                .position(|issuer| issuer.validator.claims_to_be_ours(token))
                .unwrap_or(0),
        };
        (claimed, &issuers[claimed])
    }

    fn finish(
        &self,
        issuer: usize,
        token: Unverified<'_>,
        key: Arc<TrustedKey>,
        now: Instant,
    ) -> Result<Caller, Refusal> {
        let TrustedIssuer {
            validator,
            has_grants,
            ..
        } = &self.inner.parts.issuers[issuer];
        let token = validator.finish(token, Some(key.key()), self.inner.context.now())?;
        validator.default_permission(&token)?;
        let proof = Proof {
            issuer,
            key,
            verified_at: now,
            grant: match *has_grants {
                true => Some(grant_of(&token)?),
                false => None,
            },
        };
        Ok(Caller::new(token, &self.inner.context, proof))
    }
}

/// The grant that a reissued token is of.
fn grant_of(token: &AccessToken) -> Result<Arc<str>, Rejection> {
    match token.claim("gid") {
        Some(Value::String(grant)) if !grant.is_empty() => Ok(grant.into()),
        _ => Err(Rejection::MissingClaim { claim: "gid" }),
    }
}

impl PendingDecision {
    /// Waits within the bounds, then decides.
    pub(crate) async fn decide(self) -> Result<Caller, Refusal> {
        let caller = match self.unknown {
            Unknown::Key { token, issuer, key } => {
                let found = key.wait().await;
                // Parsed again rather than kept: what was parsed borrows from the request.
                let token = self.auth.parse(&token)?;
                self.auth
                    .finish_with(issuer, token, found, Instant::now())?
            }
            Unknown::Checks(caller) => caller,
        };
        self.auth.checks().ask(caller.subject()).await?;
        self.auth.remember(&caller);
        Ok(caller)
    }
}

impl EntraAuth {
    /// Judges a token whose key was missing by what became of it.
    fn finish_with(
        &self,
        index: usize,
        token: Unverified<'_>,
        found: Result<Arc<TrustedKey>, Missing>,
        now: Instant,
    ) -> Result<Caller, Refusal> {
        let issuer = &self.inner.parts.issuers[index];
        let source = issuer.keys.source_name();
        match found {
            Ok(key) => {
                telemetry::count_missing_key(source, "found");
                self.finish(index, token, key, now)
            }
            Err(Missing::Unknown) => {
                telemetry::count_missing_key(source, "unknown");
                Err(issuer.validator.unknown_key(token).into())
            }
            Err(Missing::Unavailable(cause)) => {
                let refusal = issuer.keys.refusal(cause);
                telemetry::count_missing_key(source, refusal.decided().outcome);
                Err(refusal)
            }
        }
    }
}
