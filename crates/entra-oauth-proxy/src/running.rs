//! While it runs, and how it ends: work that goes on whoever still waits for it, readiness, and the
//! shutdown.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::{Response, StatusCode};
use http_body_util::Full;
use serde_json::json;
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use crate::answer::{json, set};
use crate::log::throttled;
use crate::proxy::{EntraOAuthProxy, Inner};

/// What is under way.
#[derive(Debug, Default)]
pub(crate) struct Work {
    tasks: TaskTracker,
    is_ending: AtomicBool,
}

impl Work {
    /// Does it to its end, even if whoever asked for it goes away: Entra gives for a code once, and a
    /// browser that is closed in that moment must not cost the sign-in.
    ///
    /// `None` if it panicked.
    pub(crate) async fn to_its_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        match Handle::try_current() {
            Ok(runtime) => {
                let work = work.in_current_span();
                self.tasks.spawn_on(work, &runtime).await.ok()
            }
            // Another runtime: as long as it is waited for.
            Err(_) => Some(work.await),
        }
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
