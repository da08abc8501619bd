//! Requests that pass without a token: to paths that are open, and CORS preflights.

use std::sync::Arc;

use entra_jwt_core::Shown;
use http::header::{ACCESS_CONTROL_REQUEST_METHOD, AUTHORIZATION, ORIGIN};
use http::{Method, Request};

/// What a Layer lets pass unseen.
#[derive(Clone, Debug, Default)]
pub(super) struct OpenPaths {
    paths: Arc<[OpenPath]>,
    preflights: bool,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum OpenPath {
    Exactly(String),
    /// And everything below.
    Under(String),
    /// The methods of the gRPC service of this name: `/name/Method`.
    GrpcService(String),
}

/// The text is no path that can be open.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("\"{}\" cannot be open: {reason}", Shown(.path))]
pub struct InvalidPath {
    path: String,
    reason: &'static str,
}

impl OpenPaths {
    pub(super) fn path(self, path: &str) -> Result<Self, InvalidPath> {
        checked(path).map(|path| self.with(OpenPath::Exactly(path)))
    }

    pub(super) fn prefix(self, path: &str) -> Result<Self, InvalidPath> {
        let path = checked(path)?;
        match path.trim_end_matches('/') {
            "" => Err(InvalidPath {
                path,
                reason: "everything would be; leave out the Layer where nothing is protected",
            }),
            trimmed => Ok(self.with(OpenPath::Under(trimmed.to_owned()))),
        }
    }

    pub(super) fn grpc_service(self, name: &str) -> Result<Self, InvalidPath> {
        match name.split('.').all(is_grpc_name) {
            true => Ok(self.with(OpenPath::GrpcService(name.to_owned()))),
            false => Err(InvalidPath {
                path: name.to_owned(),
                reason: "the full name of a gRPC service is needed, such as grpc.health.v1.Health",
            }),
        }
    }

    pub(super) fn preflights(mut self) -> Self {
        self.preflights = true;
        self
    }

    fn with(mut self, path: OpenPath) -> Self {
        self.paths = self.paths.iter().cloned().chain([path]).collect();
        self
    }

    pub(super) fn lets_pass<B>(&self, request: &Request<B>) -> bool {
        let path = request.uri().path();
        self.paths.iter().any(|open| open.is(path)) || self.preflights && is_preflight(request)
    }
}

impl OpenPath {
    /// Only a path in its one normal spelling is compared: two readers may take another spelling
    /// for two different things, and then it is the protected one.
    fn is(&self, path: &str) -> bool {
        match self {
            Self::Exactly(open) => path == open,
            Self::Under(open) => {
                let below = path.strip_prefix(open.as_str());
                below.is_some_and(|below| below.is_empty() || below.starts_with('/'))
                    && abnormality(path).is_none()
            }
            Self::GrpcService(open) => {
                let method = path
                    .strip_prefix('/')
                    .and_then(|path| path.strip_prefix(open.as_str()))
                    .and_then(|path| path.strip_prefix('/'));
                method.is_some_and(is_grpc_name)
            }
        }
    }
}

/// One part of the name of a gRPC service, or the name of a method: an identifier of protobuf.
fn is_grpc_name(name: &str) -> bool {
    name.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && name
            .bytes()
            .next()
            .is_some_and(|byte| !byte.is_ascii_digit())
}

fn checked(path: &str) -> Result<String, InvalidPath> {
    match abnormality(path) {
        None => Ok(path.to_owned()),
        Some(reason) => Err(InvalidPath {
            path: path.to_owned(),
            reason,
        }),
    }
}

/// Why there may be another spelling of what the path names.
fn abnormality(path: &str) -> Option<&'static str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~!$&'()*+,=:@".contains(&byte);
    let Some(relative) = path.strip_prefix('/') else {
        return Some("a path begins with a slash, without scheme and host");
    };
    let segments: Vec<&str> = relative.split('/').collect();
    if !path.bytes().all(is_plain) {
        Some("a path without escapes, parameters, query and fragment is needed")
    } else if segments
        .iter()
        .any(|segment| matches!(*segment, "." | ".."))
    {
        Some("it has a segment of dots")
    } else if segments
        .split_last()
        .is_some_and(|(_, before)| before.contains(&""))
    {
        Some("it has two slashes in a row")
    } else {
        None
    }
}

/// The question that a browser asks before a request to another origin (Fetch Standard, CORS
/// protocol): never with credentials, and answered by a CORS layer.
fn is_preflight<B>(request: &Request<B>) -> bool {
    let headers = request.headers();
    request.method() == Method::OPTIONS
        && headers.contains_key(ORIGIN)
        && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
        && !headers.contains_key(AUTHORIZATION)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open() -> OpenPaths {
        OpenPaths::default()
            .path("/healthz")
            .and_then(|open| open.prefix("/assets"))
            .unwrap()
    }

    fn passes(open: &OpenPaths, method: &str, uri: &str, headers: &[&str]) -> bool {
        let mut request = Request::builder().method(method).uri(uri);
        for name in headers {
            request = request.header(*name, "https://app.example");
        }
        open.lets_pass(&request.body(()).unwrap())
    }

    #[test]
    fn an_open_path_is_that_one_whatever_the_query() {
        for uri in [
            "/healthz",
            "/healthz?x=/me",
            "http://host/healthz",
            "/assets",
            "/assets/",
            "/assets/a/b.css",
        ] {
            assert!(passes(&open(), "GET", uri, &[]), "{uri}");
        }
        for uri in [
            "/",
            "/me",
            "/me?/healthz",
            "/healthz/",
            "/healthz/x",
            "/Healthz",
            "/x/healthz",
            "/assetsx",
            "/asset",
        ] {
            assert!(!passes(&open(), "GET", uri, &[]), "{uri}");
        }
    }

    #[test]
    fn another_spelling_is_protected() {
        for uri in [
            "/healthz;x=1",
            "/health%7A",
            "//healthz",
            "/./healthz",
            "/me/../healthz",
            "/assets/../me",
            "/assets/..",
            "/assets/./a",
            "/assets//me",
            "/assets/%2e%2e/me",
            "/assets%2F..%2Fme",
            "/assets/a%2Fb",
            "/assets/a;x=1",
            "/assets/..;/me",
        ] {
            assert!(!passes(&open(), "GET", uri, &[]), "{uri}");
        }
    }

    #[test]
    fn what_has_several_spellings_cannot_be_opened() {
        for path in [
            "",
            "healthz",
            "/a/../b",
            "/a/.",
            "//a",
            "/a//b",
            "/a%2Fb",
            "/a;b",
            "/a?b",
            "/a#b",
            "/ä",
            "/a b",
            "/a\\b",
            "https://host/a",
        ] {
            assert!(OpenPaths::default().path(path).is_err(), "{path}");
            assert!(OpenPaths::default().prefix(path).is_err(), "{path}");
        }
        assert!(OpenPaths::default().prefix("/").is_err());
        assert!(OpenPaths::default().path("/").is_ok());
    }

    #[test]
    fn a_preflight_is_what_a_browser_sends_and_passes_if_asked_for() {
        let both = ["origin", "access-control-request-method"];
        let allowing = open().preflights();
        assert!(passes(&allowing, "OPTIONS", "/me", &both));
        assert!(!passes(&open(), "OPTIONS", "/me", &both));
        for (method, headers) in [
            ("OPTIONS", &[][..]),
            ("OPTIONS", &both[..1]),
            ("OPTIONS", &both[1..]),
            (
                "OPTIONS",
                &["origin", "access-control-request-method", "authorization"],
            ),
            ("GET", &both),
            ("POST", &both),
        ] {
            assert!(!passes(&allowing, method, "/me", headers), "{method}");
        }
    }
}
