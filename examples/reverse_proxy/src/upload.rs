//! The body of a request, on its way from the client to the upstream.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming};
use tokio::sync::watch;

use crate::headers::clean_trailers;

/// The client's body with filtered trailers, which reports its progress.
pub(crate) struct Upload {
    body: Incoming,
    progress: watch::Sender<()>,
    sender: Arc<Sender>,
}

/// State of the client, as its body shows it.
///
/// A failure that the client caused says nothing about the upstream, and must not be logged as a
/// failure of the upstream.
#[derive(Default)]
pub(crate) struct Sender {
    is_awaited: AtomicBool,
    has_broken_off: AtomicBool,
}

impl Upload {
    /// Wraps `body` so that `progress` receives each piece that the upstream takes, and `sender`
    /// the state of the client.
    pub(crate) fn new(body: Incoming, progress: watch::Sender<()>, sender: Arc<Sender>) -> Self {
        Self {
            body,
            progress,
            sender,
        }
    }
}

impl Sender {
    /// Returns whether the upstream would take more than the client has sent.
    pub(crate) fn is_awaited(&self) -> bool {
        self.is_awaited.load(Ordering::Relaxed)
    }

    /// Returns whether the client has broken off its body.
    pub(crate) fn has_broken_off(&self) -> bool {
        self.has_broken_off.load(Ordering::Relaxed)
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        let is_awaited = polled.is_pending();
        self.sender.is_awaited.store(is_awaited, Ordering::Relaxed);
        match &polled {
            Poll::Ready(Some(Ok(_))) => self.progress.send_replace(()),
            Poll::Ready(Some(Err(_))) => self.sender.has_broken_off.store(true, Ordering::Relaxed),
            Poll::Ready(None) | Poll::Pending => {}
        }
        polled.map_ok(clean_trailers)
    }

    // `size_hint` is not forwarded: if the client sent a length, it is in the headers.
    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}
