//! The endpoints, each of which parses a request, decides, does and answers; and what they share.

mod authorize;
mod callback;
mod consent;
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

pub use self::service::ProxyEndpoints;
pub(crate) use self::service::paths_of;
use crate::crypto::hash;
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

/// The endpoints that are served, and by which paths.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Mount {
    /// All, by their whole paths.
    All,
    /// The documents at the root of the host.
    WellKnown,
    /// The others, by what follows the public URL's path.
    Nested,
}

/// The server: the settings, checked, and what answers by them.
pub(crate) struct Server {
    pub(crate) urls: Urls,
    /// The one resource that tokens are for.
    resource: ResourceId,
    scopes: Arc<Scopes>,
    clients: ClientRegistry,
    keys: Arc<Keyring>,
    clock: Clock,
    entra: Arc<Entra>,
    /// The accounts that are accepted, in words for people: HTML.
    accounts: String,
    brand: Brand,
    /// True where clients get Entra's own access tokens.
    issues_entra_tokens: bool,
    auth: EntraAuth,
    records: Records,
    grants: Grants,
    rate_limiter: RateLimiter,
    work: Work,
    documents: Documents,
    resource_metadata: ResourceMetadata,
    arrivals: Arrivals,
    /// Keeps strangers from filling the log.
    log: ThrottledLog,
}

/// The documents about this server, as they are sent.
struct Documents {
    metadata: Bytes,
    openid: Bytes,
    /// `None` where no token is signed here.
    keys: Option<Bytes>,
}

/// The results of the sign-ins that came back from Entra, by the hash of their nonce: a code for
/// the client, or why there is none, whenever and how often a browser asks. A flood of strangers
/// pushes others out of it, and gains nothing: Entra takes a code once.
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

/// The reason for which a return from Entra does not come to a code.
#[derive(Clone)]
enum NoCode {
    /// The client is told.
    Told(OAuthError),
    /// Entra demands more, of whoever signed in: the same browser goes there once more, with this.
    Demanded(String),
}

impl<E: Into<OAuthError>> From<E> for NoCode {
    fn from(error: E) -> Self {
        Self::Told(error.into())
    }
}

/// The page for what a later version of this server made, which ran here before or runs beside this one.
const LATER_VERSION: ErrorPage = ErrorPage::new(
    StatusCode::SERVICE_UNAVAILABLE,
    "This server is being changed",
    "What your application or browser sent was made by a newer version of this server than the one \
     that answered. Nothing was lost or changed. Load this page again in a minute. If that does not \
     help, tell whoever runs this server that an older version of it answers.",
);

/// The work that is under way. Browsers and clients have permits of their own: browsers come from anybody,
/// and take none from those who are signed in.
#[derive(Debug)]
struct Work {
    tasks: TaskTracker,
    is_ending: AtomicBool,
    of_browsers: Arc<Semaphore>,
    of_clients: Arc<Semaphore>,
    log: ThrottledLog,
}

/// The reason for which work was not done to its end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum NotDone {
    /// It was not begun, as too much is under way.
    Full,
    /// It panicked.
    Panicked,
}

impl From<NotDone> for OAuthError {
    fn from(_: NotDone) -> Self {
        Self::unavailable(None)
    }
}

impl Work {
    /// The most that is under way for browsers, and as much for clients.
    ///
    /// It counts whether or not anybody waits for it, as a client that hangs up leaves its work here:
    /// while the store or Entra does not answer, for 10 s and some. While both do, it takes
    /// milliseconds, so that a thousand at once are far from it, and all who come back in one moment
    /// after an outage have a place. With a grant of 20 KB in each, it is less than 256 MB.
    const MAX: usize = 4_096;

    /// Waits for tasks at the end.
    fn new(tasks: TaskTracker) -> Self {
        Self {
            tasks,
            is_ending: AtomicBool::default(),
            of_browsers: Arc::new(Semaphore::new(Self::MAX)),
            of_clients: Arc::new(Semaphore::new(Self::MAX)),
            log: ThrottledLog::default(),
        }
    }

    /// Does work for a browser that came back from Entra to its end.
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

    /// Does work for a client that sent a code or a token to its end.
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

    /// Does work to its end, even if whoever asked for it goes away: Entra gives for a code once, and a
    /// browser that is closed in that moment must not cost the sign-in.
    ///
    /// It begins at once, and what is returned does not have it: futures that hold another are as large as
    /// all of it, at each step.
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
                    // Another runtime: as long as it is waited for.
                    Err(_) => Either::Right(Box::pin(work)),
                })
            }
            Err(_) => {
                let what = "too much is under way: requests are told to come later";
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

/// The addresses of the endpoints: configured, never taken from a request.
#[derive(Clone, Debug)]
pub(crate) struct Urls {
    /// The issuer, without a slash at its end.
    public: String,
    origin: String,
    /// The prefix of each endpoint's path: empty, or such as `/oauth`.
    path: String,
    /// True if cookies can be `Secure` and `__Host-`.
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

/// The time from the consent page to the return from Entra, in seconds: setting up a second factor takes its
/// time.
const SIGN_IN_LIFETIME: u64 = 15 * 60;

/// Returns whether a page or a sign-in that began then is over.
fn is_over(began_at: u64, now: u64) -> bool {
    now.saturating_sub(began_at) > SIGN_IN_LIFETIME
}

/// A client's request that is valid: it goes through the consent page's form and then through a cookie,
/// encrypted, and is stored nowhere before its code.
#[derive(Clone, Deserialize, Serialize)]
struct AuthorizationRequest {
    /// The hash of the client's id.
    client: String,
    may_refresh: bool,
    redirect_uri: String,
    state: Option<String>,
    challenge: String,
    #[serde(flatten)]
    scopes: GrantedScopes,
    claims: Option<String>,
    /// The id of the sign-in that began with it: in the log here, and in Entra's as its correlation
    /// id.
    id: String,
    /// The time of the request, in seconds since 1970.
    at: u64,
    /// The cookie of the browser to which the page was shown.
    cookie: String,
}

impl Versioned for AuthorizationRequest {
    const NAME: &'static str = "consent form";
    const VERSION: u8 = 1;
}

/// A sign-in that is under way at Entra. It is kept in the cookie of the browser in which the person
/// agreed, encrypted: so nobody else can end it, and nothing is stored.
#[derive(Deserialize, Serialize)]
struct SignIn {
    asked: AuthorizationRequest,
    /// The `state` that Entra brings back.
    state: String,
    /// Our own (RFC 7636), independent of the client's.
    verifier: String,
    nonce: String,
    claims: RequestedClaims,
    at: u64,
}

impl Versioned for SignIn {
    const NAME: &'static str = "sign-in cookie";
    const VERSION: u8 = 1;
}

/// The claims request that goes along, and whose it is.
#[derive(Deserialize, Serialize)]
enum RequestedClaims {
    None,
    /// The client's own.
    // Until version 1 there was a third, of whichever user of the client Entra had demanded it.
    #[serde(alias = "Kept")]
    Asked(String),
    /// Entra's demand with the client's own claims, once it is known in this sign-in who signs in.
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

/// Returns the part of a hash that tells cookies apart.
fn cookie_id(hash: &str) -> &str {
    hash.get(..10).unwrap_or(hash)
}

/// An authorization code, as it is stored, by its hash.
#[derive(Deserialize, Serialize)]
enum CodeRecord {
    /// It has not been used.
    Fresh(Box<PendingGrant>),
    /// It came to this grant.
    Used {
        grant: String,
        asked: Box<AuthorizationRequest>,
    },
}

impl Versioned for CodeRecord {
    const NAME: &'static str = "code";
    const VERSION: u8 = 2;
}

impl CodeRecord {
    /// Returns the key of a code: whoever reads the store learns no code.
    fn key(code: &str) -> String {
        format!("code/{}", hash(code))
    }

    /// Returns to whom the code was given, and what proves it.
    fn asked(&self) -> &AuthorizationRequest {
        match self {
            Self::Fresh(pending) => &pending.asked,
            Self::Used { asked, .. } => asked,
        }
    }
}

/// A grant that is made when its code is used.
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

    /// Checks that people can sign in at this moment, as far as it is not for Entra to say.
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

    /// Waits until nothing is under way here any more.
    pub(crate) async fn shutdown(&self) {
        self.work.is_ending.store(true, Ordering::Relaxed);
        self.work.tasks.close();
        self.work.tasks.wait().await;
    }

    fn cookies(&self, headers: &http::HeaderMap) -> Cookies {
        Cookies::of(headers, self.urls.is_https)
    }

    /// Returns where to answer a request, if that is still allowed.
    fn target_of(&self, request: &AuthorizationRequest) -> Option<RedirectTarget> {
        let state = request.state.as_deref();
        self.clients.target_again(&request.redirect_uri, state)
    }

    /// Tells a client that its request is refused, and writes it into the log.
    fn refuse(&self, what: &'static str, error: &OAuthError) -> Response {
        error.log(&self.log, what);
        error.response()
    }
}

fn invalid_request(finding: impl Into<Finding>) -> OAuthError {
    OAuthError::new(ErrorCode::InvalidRequest, finding)
}

/// Says whose accounts are accepted, for people: HTML.
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
