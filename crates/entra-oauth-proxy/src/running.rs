//! While it runs, and how it ends: work that goes on whoever still waits for it, readiness, and the
//! shutdown.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::{Response, StatusCode};
use http_body_util::Full;
use serde_json::json;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use crate::http::response::{json, set};
use crate::oauth::error::OAuthError;
use crate::proxy::{EntraOAuthProxy, Inner};
use crate::telemetry::log::{RefusalLog, throttled};

/// What is under way.
#[derive(Debug)]
pub(crate) struct Work {
    tasks: TaskTracker,
    is_ending: AtomicBool,
    of_browsers: Arc<Semaphore>,
    of_clients: Arc<Semaphore>,
    log: RefusalLog,
}

/// Whose work it is. Each has places of its own: browsers come from anybody, and take none from those
/// who are signed in.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Of {
    /// Those that came back from Entra.
    Browsers,
    /// Those who send codes and tokens.
    Clients,
}

/// Why work was not done to its end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum NotDone {
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

impl Default for Work {
    fn default() -> Self {
        Self {
            tasks: TaskTracker::default(),
            is_ending: AtomicBool::default(),
            of_browsers: Arc::new(Semaphore::new(Self::MOST)),
            of_clients: Arc::new(Semaphore::new(Self::MOST)),
            log: RefusalLog::default(),
        }
    }
}

impl Work {
    /// How much is under way at most for browsers, and as much for clients.
    ///
    /// It counts whether or not anybody waits for it, as a client that hangs up leaves its work here:
    /// while the store or Entra does not answer, for 10 s and some. While both do, it takes
    /// milliseconds, so that a thousand at once are far from it, and all who come back in one moment
    /// after an outage have a place. With a grant of 20 KB in each, it is less than 256 MB.
    const MOST: usize = 4_096;

    /// Returns the list of what is waited for at the end, for work that others begin.
    pub(crate) fn tracker(&self) -> TaskTracker {
        self.tasks.clone()
    }

    /// Does it to its end, even if whoever asked for it goes away: Entra gives for a code once, and a
    /// browser that is closed in that moment must not cost the sign-in.
    pub(crate) async fn to_its_end<T: Send + 'static>(
        &self,
        of: Of,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, NotDone> {
        let places = match of {
            Of::Browsers => &self.of_browsers,
            Of::Clients => &self.of_clients,
        };
        let place = Arc::clone(places).try_acquire_owned();
        let place = place.map_err(|_| self.full())?;
        let work = async move {
            let _place = place;
            work.await
        };
        match Handle::try_current() {
            Ok(runtime) => {
                let work = self.tasks.spawn_on(work.in_current_span(), &runtime);
                work.await.map_err(|_| NotDone::Panicked)
            }
            // Another runtime: as long as it is waited for.
            Err(_) => Ok(work.await),
        }
    }

    fn full(&self) -> NotDone {
        let what = "too much is under way: requests are told to come later";
        throttled!(warn, self.log, (what, ""), "{what}");
        NotDone::Full
    }
}

/// A future in a box.
pub(crate) type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What is asked for at the store to see whether it answers: nothing is there.
pub(crate) const PROBE: &str = "probe";

impl EntraOAuthProxy {
    /// Waits until nothing is under way here any more: sign-ins that came back from Entra, codes,
    /// refreshes, revocations, whether or not anybody still waits for their answer. From then on
    /// [readiness](Self::readiness) is 503. To be called when the server has stopped taking requests:
    ///
    /// ```no_run
    /// # async fn run(
    /// #     proxy: entra_oauth_proxy::EntraOAuthProxy,
    /// #     listener: tokio::net::TcpListener,
    /// #     app: axum::Router,
    /// #     terminated: impl Future<Output = ()> + Send + 'static,
    /// # ) -> std::io::Result<()> {
    /// # use axum::serve::ListenerExt as _;
    /// let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    /// axum::serve(listener, app).with_graceful_shutdown(terminated).await?;
    /// proxy.shutdown().await;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// It takes as long as Entra and the store may take to answer, 10 s each: put a limit of your own
    /// around it where that is too long. Whoever is at Entra at that moment, or between a page and the
    /// next, loses nothing either way: that is in the browser, and whoever runs next goes on with it, if it
    /// has the same keys.
    pub async fn shutdown(&self) {
        let work = &self.inner.work;
        work.is_ending.store(true, Ordering::Relaxed);
        work.tasks.close();
        work.tasks.wait().await;
    }

    /// An endpoint for a readiness probe: 200 while Entra's keys are held and the store can be read,
    /// else 503 with `Retry-After`. The store is asked each time; of the rest see [`EntraAuth::readiness`],
    /// whose JSON it is. `code` is `store_unavailable` or `shutting_down` beside that.
    ///
    /// ```no_run
    /// # #[cfg(feature = "axum")]
    /// # fn app(proxy: &entra_oauth_proxy::EntraOAuthProxy) -> axum::Router {
    /// use axum::{Router, routing::get};
    ///
    /// Router::new().route("/ready", get(proxy.readiness())) // outside the Layer
    /// # }
    /// ```
    ///
    /// [`EntraAuth::readiness`]: tower_entra_auth::EntraAuth::readiness
    pub fn readiness(
        &self,
    ) -> impl Fn() -> Boxed<Response<Full<Bytes>>> + Clone + Send + Sync + 'static + use<> {
        let proxy = self.clone();
        let of_auth = self.inner.auth.readiness();
        move || {
            let of_auth = of_auth();
            let inner = proxy.inner.clone();
            Box::pin(async move {
                match inner.obstacle().await {
                    Some(code) => {
                        let body = json!({ "ready": false, "code": code });
                        let mut answer = json(StatusCode::SERVICE_UNAVAILABLE, &body);
                        set(&mut answer, RETRY_AFTER, "5");
                        answer
                    }
                    None => of_auth.await,
                }
            })
        }
    }
}

impl Inner {
    /// Why nobody can sign in at this moment, whatever Entra does.
    async fn obstacle(&self) -> Option<&'static str> {
        if self.work.is_ending.load(Ordering::Relaxed) {
            return Some("shutting_down");
        }
        match self.records.answers(PROBE).await {
            Ok(()) => None,
            Err(error) => {
                throttled!(warn, self.engine.log, ("not ready", ""), %error, "not ready");
                Some("store_unavailable")
            }
        }
    }
}
