//! Body, future and responses that the services of all Layers share.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, X_CONTENT_TYPE_OPTIONS};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri, Version};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use pin_project_lite::pin_project;
use tower_service::Service;

/// The body of a response that the Layer or a hook makes.
///
/// The body is short, and complete from the start. It is made from bytes or text.
///
/// ```
/// use tower_entra_auth::layer::AnswerBody;
///
/// let body = AnswerBody::from("{}");
/// ```
#[derive(Clone, Default)]
pub struct AnswerBody(Full<Bytes>);

/// Shows only the length, because responses of an authorization server contain tokens.
impl fmt::Debug for AnswerBody {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let length = self.0.size_hint().exact().unwrap_or_default();
        write!(formatter, "AnswerBody({length} bytes)")
    }
}

impl AnswerBody {
    pub(crate) fn new(body: impl Into<Bytes>) -> Self {
        Self(Full::new(body.into()))
    }
}

impl From<Bytes> for AnswerBody {
    fn from(bytes: Bytes) -> Self {
        Self::new(bytes)
    }
}

impl From<Vec<u8>> for AnswerBody {
    fn from(bytes: Vec<u8>) -> Self {
        Self::new(bytes)
    }
}

impl From<String> for AnswerBody {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl From<&'static str> for AnswerBody {
    fn from(text: &'static str) -> Self {
        Self::new(text)
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Pin::new(&mut self.0).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

pin_project! {
    /// The unchanged body of the inner service, or the short text of a refusal.
    #[derive(Debug)]
    pub struct ResponseBody<B> {
        #[pin]
        either: Either<B>,
    }
}

pin_project! {
    #[derive(Debug)]
    #[project = EitherProjection]
    enum Either<B> {
        Inner { #[pin] body: B },
        Refusal { #[pin] body: AnswerBody },
    }
}

impl<B> ResponseBody<B> {
    pub(crate) fn inner(body: B) -> Self {
        Self {
            either: Either::Inner { body },
        }
    }

    pub(crate) fn refusal(body: AnswerBody) -> Self {
        Self {
            either: Either::Refusal { body },
        }
    }
}

impl<B: Body<Data = Bytes>> Body for ResponseBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match self.project().either.project() {
            EitherProjection::Inner { body } => body.poll_frame(context),
            EitherProjection::Refusal { body } => body
                .poll_frame(context)
                .map(|frame| frame.map(|frame| frame.map_err(|never| match never {}))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.either {
            Either::Inner { body } => body.is_end_stream(),
            Either::Refusal { body } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.either {
            Either::Inner { body } => body.size_hint(),
            Either::Refusal { body } => body.size_hint(),
        }
    }
}

pin_project! {
    /// The response future of a [`RequireService`](crate::require::RequireService) or a
    /// [`ResourceMetadataService`](crate::resource_metadata::ResourceMetadataService).
    ///
    /// It resolves to the inner service's response, or immediately to a response of the Layer.
    ///
    /// # Panics
    /// If it is polled after completion, as futures of std do.
    pub struct ResponseFuture<F> {
        #[pin]
        state: ResponseState<F>,
    }
}

pin_project! {
    #[project = ResponseStateProjection]
    enum ResponseState<F> {
        Inner { #[pin] future: F },
        Ready { response: Option<Response<AnswerBody>> },
    }
}

impl<F> ResponseFuture<F> {
    fn inner(future: F) -> Self {
        Self {
            state: ResponseState::Inner { future },
        }
    }

    fn ready(response: Response<AnswerBody>) -> Self {
        Self {
            state: ResponseState::Ready {
                response: Some(response),
            },
        }
    }
}

/// The head of a request that is refused.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'r> {
    pub(crate) method: &'r Method,
    pub(crate) uri: &'r Uri,
    pub(crate) headers: &'r HeaderMap,
}

impl<'r, B> From<&'r Request<B>> for Asked<'r> {
    fn from(request: &'r Request<B>) -> Self {
        Self {
            method: request.method(),
            uri: request.uri(),
            headers: request.headers(),
        }
    }
}

impl<'r> From<&'r Parts> for Asked<'r> {
    fn from(request: &'r Parts) -> Self {
        Self {
            method: &request.method,
            uri: &request.uri,
            headers: &request.headers,
        }
    }
}

/// Returns the given response, or calls the service if there is none.
pub(crate) fn respond_or_call<S, B>(
    response: Option<Response<AnswerBody>>,
    service: &mut S,
    request: Request<B>,
) -> ResponseFuture<S::Future>
where
    S: Service<Request<B>> + Clone,
{
    match response {
        None => ResponseFuture::inner(service.call(request)),
        Some(response) => {
            // Replaces the service that was polled ready with an unready clone: a request that does
            // not call it must not hold a slot in a concurrency limit.
            *service = service.clone();
            ResponseFuture::ready(response)
        }
    }
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<ResponseBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            ResponseStateProjection::Inner { future } => future
                .poll(context)
                .map_ok(|response| response.map(ResponseBody::inner)),
            ResponseStateProjection::Ready { response } => {
                let response = response.take().unwrap_or_else(|| polled_after_completion());
                Poll::Ready(Ok(response.map(ResponseBody::refusal)))
            }
        }
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ResponseFuture")
            .finish_non_exhaustive()
    }
}

/// Panics, as futures of std do when polled after completion. Waiting forever would hide the
/// mistake.
#[cold]
#[expect(
    clippy::panic,
    reason = "a bug of the caller that polls; std panics, too"
)]
pub(crate) fn polled_after_completion() -> ! {
    panic!("a future was polled after completion")
}

/// Makes a response with `X-Content-Type-Options: nosniff`, so that browsers do not guess another
/// type for the body than its content type. Responses in gRPC are not made here.
pub(crate) fn new_response(body: impl Into<Bytes>) -> Response<AnswerBody> {
    let mut response = Response::new(AnswerBody::new(body));
    let no_sniff = HeaderValue::from_static("nosniff");
    response
        .headers_mut()
        .insert(X_CONTENT_TYPE_OPTIONS, no_sniff);
    response
}

/// Removes the body of a response to HEAD (RFC 9110 §9.3.2), and sets `Content-Length` to the
/// length of that body. Over HTTP/2, hyper would send the body, which clients treat as a protocol
/// error.
pub(crate) fn for_method(
    method: &Method,
    mut response: Response<AnswerBody>,
) -> Response<AnswerBody> {
    if *method != Method::HEAD {
        return response;
    }
    let length = response.body().size_hint().exact();
    if let Some(length) = length.filter(|length| *length > 0) {
        response.headers_mut().insert(CONTENT_LENGTH, length.into());
    }
    response.map(|_| AnswerBody::default())
}

/// Adds `Connection: close` if the request has a body. The body is never read, so that an HTTP/1.1
/// server may close the connection. Without the header, the client would send its next request on
/// that connection (RFC 9112 §9.6).
pub(crate) fn for_body<B>(
    request: &Request<B>,
    mut response: Response<AnswerBody>,
) -> Response<AnswerBody> {
    let headers = request.headers();
    let length = headers.get(CONTENT_LENGTH);
    let has_body =
        headers.contains_key(TRANSFER_ENCODING) || length.is_some_and(|length| length != "0");
    if has_body && request.version() <= Version::HTTP_11 {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(CONNECTION, close);
    }
    response
}

/// Defines access to the inner service of a Layer's service, with the method names of tower's own
/// services.
macro_rules! inner_service_accessors {
    () => {
        /// Returns the inner service.
        pub fn get_ref(&self) -> &S {
            &self.inner
        }

        /// Returns the inner service.
        pub fn get_mut(&mut self) -> &mut S {
            &mut self.inner
        }

        /// Returns the inner service.
        pub fn into_inner(self) -> S {
            self.inner
        }
    };
}

pub(crate) use inner_service_accessors;
