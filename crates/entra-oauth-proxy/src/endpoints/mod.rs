//! The endpoints, and what they share.
//!
//! Each endpoint parses a request, decides, acts and responds.

mod authorize;
mod callback;
mod consent;
mod jar;
mod metadata;
mod register;
mod revoke;
mod service;
mod sign_in;
mod sign_out;
mod token;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tokio::sync::{OnceCell, Semaphore};
use tokio_util::either::Either;
use tokio_util::task::TaskTracker;
use tower_entra_auth::{EntraAuth, Tenancy, TenantId, resource_metadata::ResourceMetadata};
use tracing::Instrument as _;
use url::Url;

use self::jar::End;
pub use self::service::ProxyEndpoints;
pub(crate) use self::service::paths_of;
use crate::crypto::{hash, random_text};
use crate::entra::Entra;
use crate::http::{Cookies, Response};
use crate::keys::{Keyring, Versioned};
use crate::limits::RateLimiter;
use crate::oauth::{
    ClientRegistry, ErrorCode, GrantedScopes, OAuthError, RedirectTarget, ResourceId, Scopes,
};
use crate::pages::{Brand, ErrorPage, escaped};
use crate::store::Records;
use crate::telemetry::{Finding, ThrottledLog, throttled};
use crate::time::Clock;
use crate::tokens::{Grants, SignedIn};

/// The set of endpoints that a service serves, and the form of their paths.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Mount {
    /// All endpoints, by their full paths.
    All,
    /// The documents under `/.well-known/` at the root of the host.
    WellKnown,
    /// The other endpoints, by their paths below the path of the public URL.
    Nested,
}

/// State of the server: its checked settings and its components.
pub(crate) struct Server {
    pub(crate) urls: Urls,
    /// The only resource that tokens are for.
    resource: ResourceId,
    scopes: Arc<Scopes>,
    clients: ClientRegistry,
    keys: Arc<Keyring>,
    clock: Clock,
    entra: Arc<Entra>,
    /// HTML for users that says which accounts are accepted.
    accounts: String,
    brand: Brand,
    /// True if clients receive Entra's own access tokens.
    issues_entra_tokens: bool,
    auth: EntraAuth,
    records: Records,
    grants: Grants,
    rate_limiter: RateLimiter,
    work: Work,
    documents: Documents,
    resource_metadata: ResourceMetadata,
    arrivals: Arrivals,
    /// Throttled, so that unauthenticated clients cannot fill the log.
    log: ThrottledLog,
}

/// Documents about this server, in the form in which they are sent.
struct Documents {
    metadata: Bytes,
    openid: Bytes,
    /// `None` if this server signs no tokens.
    keys: Option<Bytes>,
}

/// Results of the sign-ins that returned from Entra, by the hash of their nonce.
///
/// A result is a code for the client, or the cause of its absence. It stays the same, however often
/// a browser asks. An attacker who returns very often can evict other results, but gains nothing,
/// because Entra accepts a code only once.
struct Arrivals(Cache<String, Arc<OnceCell<Result<String, NoCode>>>>);

impl Default for Arrivals {
    fn default() -> Self {
        let arrivals = Cache::builder()
            .eviction_policy(EvictionPolicy::lru())
            .max_capacity(10_000)
            .time_to_live(Duration::from_secs(SIGN_IN_LIFETIME));
        Self(arrivals.build())
    }
}

/// Cause of a return from Entra that does not result in a code.
#[derive(Clone)]
enum NoCode {
    /// The client receives this error.
    Told(OAuthError),
    /// Entra demands more of the user. The same browser goes to Entra once more, with this claims
    /// request.
    Demanded(String),
}

impl<E: Into<OAuthError>> From<E> for NoCode {
    fn from(error: E) -> Self {
        Self::Told(error.into())
    }
}

/// Page for data that a later version of this server made.
///
/// The later version ran here before, or runs beside this one.
const LATER_VERSION: ErrorPage = ErrorPage::new(
    StatusCode::SERVICE_UNAVAILABLE,
    "This server is being updated",
    "Your application or browser sent data of a newer version of this server than the one that \
     responded. Nothing was lost or changed. Load this page again in a minute. If that does not \
     help, tell the administrator of this server that an older version is still running.",
);

/// Page for a sign-in whose redirect URI or scopes are no longer offered.
const CHANGED: ErrorPage = ErrorPage::new(
    StatusCode::BAD_REQUEST,
    "This application can no longer connect",
    "The settings of this server have changed since the sign-in began. Go back to the application \
     and connect it again. If that does not help, ask the administrator of this server.",
);

/// Page for a user who opens an address that only this server's pages and Entra use.
const NOTHING_TO_SEE: ErrorPage = ErrorPage::new(
    StatusCode::BAD_REQUEST,
    "There is nothing to see at this address",
    "Only the pages of a sign-in lead here. If one is open in this browser, continue there. \
     Otherwise go to the application that you want to connect, and connect it there.",
);

/// Returns the page for a sign-in that is over already.
fn ended(end: End) -> ErrorPage {
    const DONE: ErrorPage = ErrorPage::new(
        StatusCode::FORBIDDEN,
        "This sign-in is already complete",
        "The application was sent its answer, and you can close this page. If the application does \
         not say that it is connected, connect it again there.",
    );
    const FAILED: ErrorPage = ErrorPage::new(
        StatusCode::FORBIDDEN,
        "This sign-in has already ended",
        "It did not succeed, and the application was told why. Go back to the application to read \
         the reason, or to connect it again.",
    );
    const DECLINED: ErrorPage = ErrorPage::new(
        StatusCode::FORBIDDEN,
        "You cancelled this sign-in",
        "The application was told so, and you can close this page. If you want to connect the \
         application after all, connect it again there.",
    );
    const PUSHED_OUT: ErrorPage = ErrorPage::new(
        StatusCode::FORBIDDEN,
        "Too many sign-ins were in progress in this browser",
        "This one was dropped, because newer ones took its place. Finish the others first. Then go \
         back to the application and connect it again.",
    );

    const SIGNED_OUT: ErrorPage = ErrorPage::new(
        StatusCode::FORBIDDEN,
        "You signed out during this sign-in",
        "Nothing was connected. To connect the application, go back to it and connect it again.",
    );

    match end {
        End::SignedOut => SIGNED_OUT,
        End::Done => DONE,
        End::Failed => FAILED,
        End::Declined => DECLINED,
        End::PushedOut => PUSHED_OUT,
    }
}

/// The work in progress. Browsers and clients have separate permits: any browser can send requests,
/// but must not take permits from clients of signed-in users.
#[derive(Debug)]
struct Work {
    tasks: TaskTracker,
    is_ending: AtomicBool,
    of_browsers: Arc<Semaphore>,
    of_clients: Arc<Semaphore>,
    log: ThrottledLog,
}

/// Cause of unfinished work.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum NotDone {
    /// Too much work is in progress, so this work was not started.
    Full,
    /// The work panicked.
    Panicked,
}

impl From<NotDone> for OAuthError {
    fn from(_: NotDone) -> Self {
        Self::unavailable(None)
    }
}

impl Work {
    /// Maximum number of work items in progress for browsers, and the same number for clients.
    ///
    /// A work item counts even if its client has disconnected, because the work continues. If the
    /// store or Entra does not respond, an item takes a little more than 10 s. If both respond, it
    /// takes milliseconds. So a thousand items at the same time are far below this limit, and all
    /// clients that return at the same moment after an outage get a permit. With a grant of 20 KB
    /// in each item, all items take less than 256 MB.
    const MAX: usize = 4_096;

    /// Creates an instance that runs its work on `tasks`, for which a shutdown waits.
    fn new(tasks: TaskTracker) -> Self {
        Self {
            tasks,
            is_ending: AtomicBool::default(),
            of_browsers: Arc::new(Semaphore::new(Self::MAX)),
            of_clients: Arc::new(Semaphore::new(Self::MAX)),
            log: ThrottledLog::default(),
        }
    }

    /// Completes work for a browser that returned from Entra, even if the browser disconnects.
    fn for_browsers<T, W>(
        &self,
        work: W,
    ) -> impl Future<Output = Result<T, NotDone>> + Send + use<T, W>
    where
        T: Send + 'static,
        W: Future<Output = T> + Send + 'static,
    {
        self.to_its_end(&self.of_browsers, work)
    }

    /// Completes work for a client that sent a code or a token, even if the client disconnects.
    fn for_clients<T, W>(
        &self,
        work: W,
    ) -> impl Future<Output = Result<T, NotDone>> + Send + use<T, W>
    where
        T: Send + 'static,
        W: Future<Output = T> + Send + 'static,
    {
        self.to_its_end(&self.of_clients, work)
    }

    /// Completes work, even if the client that requested it disconnects.
    ///
    /// Entra issues tokens for a code only once, and closing a browser at that moment must not cost
    /// the sign-in.
    ///
    /// The work starts immediately, and the returned future does not contain it. A future that
    /// contains another one is at least as large, at each level.
    fn to_its_end<T, W>(
        &self,
        permits: &Arc<Semaphore>,
        work: W,
    ) -> impl Future<Output = Result<T, NotDone>> + Send + use<T, W>
    where
        T: Send + 'static,
        W: Future<Output = T> + Send + 'static,
    {
        let begun = match Arc::clone(permits).try_acquire_owned() {
            Ok(permit) => {
                let work = async move {
                    let _permit = permit;
                    work.await
                };
                let work = work.in_current_span();
                Ok(match Handle::try_current() {
                    Ok(runtime) => Either::Left(self.tasks.spawn_on(work, &runtime)),
                    // On another runtime, the work runs only while the caller awaits it.
                    Err(_) => Either::Right(Box::pin(work)),
                })
            }
            Err(_) => {
                let what = "too many requests in progress; new ones are refused";
                throttled!(warn, self.log, (what, ""), "{what}");
                Err(NotDone::Full)
            }
        };
        async move {
            match begun? {
                Either::Left(task) => task.await.map_err(|_| NotDone::Panicked),
                Either::Right(work) => Ok(work.await),
            }
        }
    }
}

/// URLs of the endpoints. They come from the settings, never from a request.
#[derive(Clone, Debug)]
pub(crate) struct Urls {
    /// The issuer, without a trailing slash.
    public: String,
    origin: String,
    /// Prefix of each endpoint's path: empty, or for example `/oauth`.
    path: String,
    /// True if cookies can be `Secure` and named `__Host-…`.
    is_https: bool,
}

impl Urls {
    pub(crate) fn new(public: &Url) -> Self {
        Self {
            public: public.as_str().trim_end_matches('/').to_owned(),
            origin: public.origin().ascii_serialization(),
            path: public.path().trim_end_matches('/').to_owned(),
            is_https: public.scheme() == "https",
        }
    }

    pub(crate) fn issuer(&self) -> &str {
        &self.public
    }

    pub(crate) fn callback(&self) -> String {
        self.endpoint("/callback")
    }

    pub(crate) fn signed_out(&self) -> String {
        self.endpoint("/signed-out")
    }

    fn endpoint(&self, path: &str) -> String {
        format!("{}{path}", self.public)
    }
}

/// Maximum time of each half of a sign-in, in seconds: from the consent page to the decision, and
/// from there to the return from Entra. Setting up a second factor takes time.
const SIGN_IN_LIFETIME: u64 = 15 * 60;

/// Returns whether a page or a sign-in that began at `began_at` is expired.
fn is_over(began_at: u64, now: u64) -> bool {
    now.saturating_sub(began_at) > SIGN_IN_LIFETIME
}

/// A valid authorization request of a client.
///
/// Encrypted, it travels through the consent page's form, and then to Entra and back. The server
/// stores the request only when it issues the code.
#[derive(Clone, Deserialize, Serialize)]
struct AuthorizationRequest {
    /// Hash of the client's id.
    client: String,
    may_refresh: bool,
    redirect_uri: String,
    state: Option<String>,
    challenge: String,
    #[serde(flatten)]
    scopes: GrantedScopes,
    claims: Option<String>,
    /// Id of the sign-in that began with the request. This server logs it, and Entra logs it as the
    /// correlation id.
    id: String,
    /// Time of the request, in seconds since 1970.
    at: u64,
    /// Hash of the secret in the consent cookie, which is in the browser that showed the page.
    cookie: String,
}

impl Versioned for AuthorizationRequest {
    const NAME: &'static str = "consent form";
    const VERSION: u8 = 1;
}

/// A sign-in in progress at Entra.
///
/// It is encrypted in the `state` that Entra returns, or in a cookie if it is long, so the server
/// stores nothing. Only the browser in which the user agreed can finish it, because only there is
/// the secret of the consent page.
#[derive(Deserialize, Serialize)]
struct SignIn {
    asked: AuthorizationRequest,
    /// The `state` that Entra returns, if the sign-in is in a cookie.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    state: Option<String>,
    /// PKCE verifier of this server (RFC 7636), independent of the client's.
    verifier: String,
    nonce: String,
    claims: RequestedClaims,
    at: u64,
}

impl Versioned for SignIn {
    const NAME: &'static str = "sign-in";
    const VERSION: u8 = 2;
}

/// The claims request that this server sends to Entra, by origin.
#[derive(Deserialize, Eq, PartialEq, Serialize)]
enum RequestedClaims {
    None,
    /// The client's own claims request.
    // Before version 1 there was a third variant, for a demand that Entra had made of any user of
    // the client.
    #[serde(alias = "Kept")]
    Asked(String),
    /// Entra's demand merged with the client's own claims request. At this point, the user of this
    /// sign-in is known.
    Demanded(String),
}

impl RequestedClaims {
    fn text(&self) -> Option<&str> {
        match self {
            Self::None => None,
            Self::Asked(claims) | Self::Demanded(claims) => Some(claims),
        }
    }
}

/// Returns the value of a new consent cookie: a secret after the time, by which the oldest is found.
fn new_secret(now: u64) -> String {
    format!("{now}.{}", random_text::<18>())
}

/// Returns the part of a hash that distinguishes the cookies of one kind.
fn cookie_id(hash: &str) -> &str {
    hash.get(..10).unwrap_or(hash)
}

/// An authorization code, as it is stored under its hash.
#[derive(Deserialize, Serialize)]
enum CodeRecord {
    /// The code is unused.
    Fresh(Box<PendingGrant>),
    /// The code was used, and this grant was created.
    Used {
        grant: String,
        asked: Box<AuthorizationRequest>,
        /// Time of the use, in seconds since 1970, and the random name of the process that handled
        /// it. Since version 3: before, the time is 0.
        #[serde(default)]
        used_at: u64,
        #[serde(default)]
        used_by: String,
    },
}

impl Versioned for CodeRecord {
    const NAME: &'static str = "code";
    const VERSION: u8 = 3;
}

impl CodeRecord {
    /// Returns the store key of a code. It is a hash, so a reader of the store learns no codes.
    fn key(code: &str) -> String {
        format!("code/{}", hash(code))
    }

    /// Returns the authorization request that the code was issued for.
    fn asked(&self) -> &AuthorizationRequest {
        match self {
            Self::Fresh(pending) => &pending.asked,
            Self::Used { asked, .. } => asked,
        }
    }
}

/// A grant that is created when its code is used.
#[derive(Deserialize, Serialize)]
struct PendingGrant {
    asked: AuthorizationRequest,
    #[serde(flatten)]
    signed_in: SignedIn,
}

impl Server {
    pub(crate) fn new(
        (urls, brand): (Urls, Brand),
        (resource, scopes, clients): (ResourceId, Arc<Scopes>, ClientRegistry),
        (keys, records, clock): (Arc<Keyring>, Records, Clock),
        (auth, entra, resource_metadata): (EntraAuth, Arc<Entra>, ResourceMetadata),
        grants: Grants,
        (rate_limiter, tasks): (RateLimiter, TaskTracker),
        issues_entra_tokens: bool,
    ) -> Self {
        let rules = auth.validators().next();
        let accounts = rules.map(|rules| in_words(rules.authority().tenancy(), &brand));
        let signing = Some(&*keys).filter(|_| !issues_entra_tokens);
        Self {
            documents: metadata::documents(&urls, &scopes, &clients, signing),
            accounts: accounts.unwrap_or_default(),
            brand,
            urls,
            resource,
            scopes,
            clients,
            keys,
            clock,
            entra,
            issues_entra_tokens,
            auth,
            records,
            grants,
            rate_limiter,
            work: Work::new(tasks),
            resource_metadata,
            arrivals: Arrivals::default(),
            log: ThrottledLog::default(),
        }
    }

    /// Checks that users can sign in now, apart from Entra's own availability.
    pub(crate) async fn check_ready(&self) -> Result<(), &'static str> {
        if self.work.is_ending.load(Ordering::Relaxed) {
            return Err("shutting_down");
        }
        self.records.probe().await.map_err(|error| {
            throttled!(
                warn,
                self.log,
                ("not ready", ""),
                error = error.to_string(),
                "not ready"
            );
            "store_unavailable"
        })
    }

    /// Waits until no work is in progress. From the call on, the server is not ready.
    pub(crate) async fn shutdown(&self) {
        self.work.is_ending.store(true, Ordering::Relaxed);
        self.work.tasks.close();
        self.work.tasks.wait().await;
    }

    fn cookies(&self, headers: &http::HeaderMap) -> Cookies {
        Cookies::of(headers, self.urls.is_https)
    }

    /// Returns the target of the response to a request, if its redirect URI is still allowed.
    fn target_of(&self, request: &AuthorizationRequest) -> Option<RedirectTarget> {
        let state = request.state.as_deref();
        self.clients.target_again(&request.redirect_uri, state)
    }

    /// Logs the error, and returns the response that refuses the client's request.
    fn refuse(&self, what: &'static str, error: &OAuthError) -> Response {
        error.log(&self.log, what);
        error.response()
    }
}

fn invalid_request(finding: impl Into<Finding>) -> OAuthError {
    OAuthError::new(ErrorCode::InvalidRequest, finding)
}

/// Returns HTML for users that says which accounts are accepted.
fn in_words(tenancy: &Tenancy, brand: &Brand) -> String {
    let accounts = match (tenancy.single(), &*tenancy.path_segment()) {
        (Some(TenantId::CONSUMERS), _) => "A personal Microsoft account",
        (Some(tenant), _) => {
            return match &brand.name {
                Some(name) => format!(
                    "<dd>Your Microsoft account of <bdi>{}</bdi></dd>\n",
                    escaped(name)
                ),
                None => format!(
                    "<dd>Your organization's Microsoft account</dd>\n\
                     <dd class=\"note\">Tenant <code>{tenant}</code></dd>\n"
                ),
            };
        }
        (None, "common") => "A work, school or personal Microsoft account",
        (None, _) => "A work or school Microsoft account",
    };
    format!("<dd>{accounts}</dd>\n")
}
