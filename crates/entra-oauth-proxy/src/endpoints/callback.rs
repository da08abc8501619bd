//! Signing in: the engine's decisions about consent and the leg to Entra, carried out.

use std::sync::Arc;

use entra_confidential_client::{
    AuthorizationCode, Secret, TokenError, TokenRequest, TokenResponse,
};
use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};
use tokio::sync::OnceCell;
use tower_entra_auth::{Caller, HandlerRefusal};

use crate::endpoints::consent::{Answered, Asked, CHANGED, denied};
use crate::engine::{Lifetimes, Return};
use crate::entra::sign_in::{Arrived, Claims, Returned, SignIn, refused_tokens};
use crate::http::cookies::Cookies;
use crate::http::response::{Answer, add_cookie, set};
use crate::keys::keyring::{hash, random_text};
use crate::oauth::claims_request;
use crate::oauth::error::{Code, OAuthError};
use crate::pages::{Obstacle, error_page};
use crate::proxy::{Inner, down};
use crate::running::{NotDone, Of, PROBE};
use crate::store::StoreError;
use crate::telemetry::log::{RefusalLog, throttled};
use crate::tokens::grant::{CodeRecord, Fresh, Upstream, code_key};

/// What a browser that came back from Entra comes to, whenever and how often it asks: a code for its
/// client, or why there is none.
pub(crate) type Arrival = Arc<OnceCell<Result<String, Failure>>>;

/// How a return from Entra does not come to a code.
#[derive(Clone)]
pub(crate) enum Failure {
    /// The client is told.
    Told(OAuthError),
    /// Entra demands more, of whoever signed in: the same browser goes there once more, with this.
    Demanded(String),
}

impl From<OAuthError> for Failure {
    fn from(error: OAuthError) -> Self {
        Self::Told(error)
    }
}

impl Inner {
    /// A browser brings a client's request.
    pub(crate) fn authorize(&self, query: &str, cookies: &Cookies) -> Answer {
        match self.records.room() {
            Ok(()) => self.engine.authorize(query, cookies, self.now()),
            // Nobody reads, agrees, and signs in at Entra, in vain.
            Err(_) => full_page(),
        }
    }

    /// A person answered the consent page.
    pub(crate) async fn consent(&self, headers: &HeaderMap, form: &str) -> Answer {
        let now = self.now();
        let cookies = Cookies::of(&self.engine.urls, headers);
        let asked = match self.engine.answered(headers, &cookies, form, now) {
            Ok(Answered::Approved(asked)) => asked,
            Ok(Answered::Denied { to, spent }) => {
                let what = "a sign-in was declined on the consent page";
                throttled!(info, self.engine.log, (what, ""), "{what}");
                let mut answer = self.engine.told(&to, &denied());
                add_cookie(&mut answer, &spent);
                return answer;
            }
            Err(obstacle) => return error_page(&obstacle),
        };
        let Some(to) = self.engine.return_of(&asked) else {
            return error_page(&CHANGED);
        };
        if let Err(error) = self.can_sign_in().await {
            return self.engine.told(&to, &down(&error));
        }
        // Who comes, nobody knows yet.
        let claims = asked.claims.clone().map_or(Claims::None, Claims::Asked);
        self.to_entra(asked, claims, &to, &cookies, now)
    }

    /// Checks that a sign-in can be kept, as far as that can be known before Entra is asked.
    async fn can_sign_in(&self) -> Result<(), StoreError> {
        self.records.room()?;
        self.records.answers(PROBE).await
    }

    fn to_entra(
        &self,
        asked: Asked,
        claims: Claims,
        to: &Return,
        cookies: &Cookies,
        now: u64,
    ) -> Answer {
        match self.engine.to_entra(asked, claims, cookies, now) {
            Ok(answer) => answer,
            Err(error) => self.engine.told(to, &error),
        }
    }

    /// A browser came back from Entra.
    pub(crate) async fn callback(self: &Arc<Self>, query: &str, cookies: Cookies) -> Answer {
        let arrived = match self.engine.arrived(query, &cookies, self.now()) {
            Ok(arrived) => arrived,
            Err(obstacle) => return error_page(&obstacle),
        };
        let inner = Arc::clone(self);
        let work = async move { inner.answered(arrived, &cookies).await };
        let answer = self.work.to_its_end(Of::Browsers, work).await;
        answer.unwrap_or_else(|not_done| match not_done {
            NotDone::Full => busy_page(),
            NotDone::Panicked => error_page(&Obstacle {
                status: StatusCode::SERVICE_UNAVAILABLE,
                title: "This sign-in cannot go on",
                what_to_do: "Something failed here. Go back to the application and connect it again.",
            }),
        })
    }

    /// The answer to the browser, once Entra was asked.
    async fn answered(&self, arrived: Arrived, cookies: &Cookies) -> Answer {
        let now = self.now();
        // A code that comes to Entra twice ends what it gave; and a browser that did not get the answer
        // may ask again. It is not in the store, which nobody fills who has not signed in.
        let nonce = hash(&arrived.sign_in.nonce);
        let arrival = self.arrivals.get_with(nonce, Arrival::default);
        let outcome = arrival.get_or_init(|| async {
            match &arrived.outcome {
                Ok(returned) => self.redeem(&arrived, returned, now).await,
                Err(error) => Err(Failure::Told(error.clone())),
            }
        });
        let to = &arrived.to;
        let asked = &arrived.sign_in.asked;
        let mut answer = match outcome.await.clone() {
            Ok(code) => self.engine.with_code(to, &code),
            Err(Failure::Told(error)) => {
                throttled!(
                    warn,
                    self.engine.log,
                    ("a sign-in came to nothing", error.code.as_str()),
                    client = asked.client,
                    scopes = asked.names.join(" "),
                    error = error.code.as_str(),
                    "a sign-in came to nothing"
                );
                self.engine.told(to, &error)
            }
            Err(Failure::Demanded(claims)) => {
                let what = "Entra demands more of a sign-in";
                throttled!(
                    info,
                    self.engine.log,
                    (what, ""),
                    client = asked.client,
                    "{what}"
                );
                // What the client asks for is in there.
                let asked = Asked {
                    claims: None,
                    ..asked.clone()
                };
                self.to_entra(asked, Claims::Demanded(claims), to, cookies, now)
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
        self.records.room().map_err(|error| down(&error))?;
        let redeemed = self.gate.redeeming.call(self.tokens_of(sign_in, returned));
        let tokens = redeemed.await?.map_err(|error| {
            let demanded = error.claims().filter(|_| !sign_in.claims.is_demanded());
            match demanded {
                Some(claims) => Failure::Demanded(with_own(sign_in, claims)),
                None => Failure::Told(refused_tokens(&self.engine.log, &error)),
            }
        })?;
        let caller = self.verified(tokens.access_token.expose()).await?;
        let id_token = tokens.id_token.as_ref().map(Secret::expose);
        let user = self
            .engine
            .signed_in(sign_in, returned, &caller, id_token)?;
        let client = &sign_in.asked.client;
        let key = self.user_key(&user);
        self.gate.admit_user(&key)?;
        let standing = self.records.standing(&key, client, now).await;
        let standing = standing.map_err(|error| down(&error))?;
        let is_met = match self.demanded(&standing, &key, client) {
            None => false,
            Some(demanded) if claims_request::carries(sign_in.claims.text(), &demanded) => true,
            // Once: what Entra lets pass then, it lets pass.
            Some(_) if sign_in.claims.is_demanded() => false,
            Some(demanded) => return Err(Failure::Demanded(with_own(sign_in, &demanded))),
        };
        let fresh = Fresh {
            asked: sign_in.asked.clone(),
            upstream: Upstream::of(&tokens, now),
            user,
            numbers: standing.numbers,
        };
        tracing::info!(client, tenant = fresh.user.tenant(), "a user signed in");
        let code = random_text::<32>();
        let record = CodeRecord::Fresh(Box::new(fresh));
        let kept = self
            .records
            .put(&code_key(&code), &record, Lifetimes::CODE)
            .await;
        kept.map_err(|error| down(&error))?;
        if is_met {
            self.forget_demand(&key, client, sign_in.claims.text())
                .await;
        }
        Ok(code)
    }

    async fn tokens_of(
        &self,
        sign_in: &SignIn,
        returned: &Returned,
    ) -> Result<TokenResponse, TokenError> {
        let callback = self.engine.urls.callback();
        let code = AuthorizationCode {
            code: &returned.code,
            redirect_uri: &callback,
            code_verifier: &sign_in.verifier,
        };
        let scopes = self.engine.scopes.to_redeem(&sign_in.asked.names);
        let request = TokenRequest::authorization_code(code, scopes);
        let request = request.correlation_id(&sign_in.asked.id);
        self.ask("authorization_code", request).await
    }

    /// Whose access token it is, by the rules of the Layer.
    pub(crate) async fn verified(&self, access_token: &str) -> Result<Caller, OAuthError> {
        match self.auth.verify(access_token).await {
            Ok(caller) if caller.grant_id().is_none() => Ok(caller),
            Ok(_) => {
                tracing::error!("Entra sent a token of this server");
                Err(OAuthError::new(Code::ServerError, NOT_ACCEPTED))
            }
            Err(refusal) => Err(refused_user(&self.engine.log, &refusal)),
        }
    }
}

/// Merges the demand of Entra with the client's own claims request.
fn with_own(sign_in: &SignIn, demanded: &str) -> String {
    let own = sign_in.claims.text();
    let both = own.and_then(|own| claims_request::merged(own, demanded));
    both.unwrap_or_else(|| demanded.to_owned())
}

/// Makes the page for a browser that came back from Entra while too many do. Its cookie stays.
fn busy_page() -> Answer {
    let mut answer = error_page(&Obstacle {
        status: StatusCode::SERVICE_UNAVAILABLE,
        title: "This server is busy at the moment",
        what_to_do: "It cannot finish your sign-in just now. Load this page again in a few seconds: your \
            sign-in goes on from here.",
    });
    set(
        &mut answer,
        RETRY_AFTER,
        &OAuthError::RETRY_AFTER.as_secs().to_string(),
    );
    answer
}

/// Makes the page for those who come while there is no room for another sign-in.
fn full_page() -> Answer {
    let mut answer = error_page(&Obstacle {
        status: StatusCode::SERVICE_UNAVAILABLE,
        title: "Nobody new can be connected at the moment",
        what_to_do: "This server keeps as many sign-ins as it can. Applications that are connected stay \
            connected, and nothing was sent to anybody. Go back to the application in 5 minutes, and \
            connect it again; if that does not help, tell whoever runs this server.",
    });
    set(
        &mut answer,
        RETRY_AFTER,
        &OAuthError::FULL_FOR.as_secs().to_string(),
    );
    answer
}

pub(crate) const NOT_ACCEPTED: &str =
    "the token that Entra sent is not accepted here; the reason is in the server's log";

/// What a client is told of a user whose token the Layer refuses.
fn refused_user(log: &RefusalLog, refusal: &HandlerRefusal) -> OAuthError {
    let (code, remedy) = (refusal.code(), refusal.remedy());
    if refusal.is_unavailable() {
        throttled!(
            error,
            log,
            ("a token cannot be judged", code),
            code,
            remedy,
            "the token that Entra sent cannot be judged now"
        );
        return OAuthError::unavailable(None);
    }
    match code {
        "tenant_not_allowed" | "personal_account" | "guest_not_allowed" => {
            throttled!(
                warn,
                log,
                ("an account is not allowed", code),
                code,
                remedy,
                "an account is not allowed to sign in"
            );
            OAuthError::new(Code::AccessDenied, "this account is not allowed here")
        }
        _ => {
            throttled!(
                error,
                log,
                ("an access token is refused", code),
                code,
                remedy,
                "the access token that Entra sent is refused"
            );
            OAuthError::new(Code::ServerError, NOT_ACCEPTED)
        }
    }
}
