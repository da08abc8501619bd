//! Settings of a Layer for requests that pass without a token.

use entra_jwt_core::integration::Escaped;

use super::{EntraLayer, OpenPath, OpenPaths, abnormality, is_grpc_name};

/// The error for a path or gRPC service that cannot be made open.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("\"{}\" cannot be open: {reason}", Escaped(.path))]
pub struct InvalidPath {
    path: String,
    reason: &'static str,
}

impl EntraLayer {
    /// Lets requests without a token pass as anonymous requests.
    ///
    /// Handlers take `Option<Caller>`. A request with an invalid token never passes, nor does one
    /// with a scheme other than `Bearer`. A [requirement of a route](crate::EntraAuth::require)
    /// refuses an anonymous request with 401.
    pub fn optional(mut self) -> Self {
        self.is_optional = true;
        self
    }

    /// Lets every request to this path pass as an anonymous request, without validating its token.
    ///
    /// If the router allows it, add the route after the Layer instead: the route is then outside of
    /// the Layer.
    ///
    /// The path is compared byte for byte, without the query, as the Layer sees it. Inside
    /// [`axum::Router::nest`] that is the path without the prefix. The Layer does not change
    /// headers that name another path, such as `X-Original-URL` and `X-Rewrite-URL`. An inner
    /// service that forwards requests to a server that reads these headers (IIS, Symfony) must
    /// remove them.
    ///
    /// # Errors
    /// If the path could have another spelling: if it has escapes, parameters (`;x`), segments of
    /// dots or empty segments.
    ///
    /// [`axum::Router::nest`]: https://docs.rs/axum/latest/axum/struct.Router.html#method.nest
    pub fn open_path(mut self, path: &str) -> Result<Self, InvalidPath> {
        self.open = self.open.path(path)?;
        Ok(self)
    }

    /// Lets every request to this path and to all paths below it pass; see
    /// [`open_path`](Self::open_path).
    ///
    /// A path below still needs a token if it has an escape (`%20`), a `;`, an empty segment or a
    /// segment of dots.
    ///
    /// # Errors
    /// As for [`open_path`](Self::open_path), and for `/`, which would open every path.
    pub fn open_prefix(mut self, path: &str) -> Result<Self, InvalidPath> {
        self.open = self.open.prefix(path)?;
        Ok(self)
    }

    /// Lets every method of the gRPC service with this full name pass, as
    /// [`open_path`](Self::open_path) does.
    ///
    /// Examples are `grpc.health.v1.Health`, which probes call without a token, and
    /// `grpc.reflection.v1.ServerReflection`.
    ///
    /// ```
    /// # fn layer(auth: &tower_entra_auth::EntraAuth) -> Result<tower_entra_auth::EntraLayer, tower_entra_auth::layer::InvalidPath> {
    /// auth.layer().open_grpc_service("grpc.health.v1.Health")
    /// # }
    /// ```
    ///
    /// # Errors
    /// If `name` is not a service name: parts of letters, digits and `_`, separated by dots.
    pub fn open_grpc_service(mut self, name: &str) -> Result<Self, InvalidPath> {
        self.open = self.open.grpc_service(name)?;
        Ok(self)
    }

    /// Lets CORS preflights pass, for a CORS layer that is inside of this Layer.
    ///
    /// A preflight is an `OPTIONS` request with `Origin` and `Access-Control-Request-Method` and
    /// without `Authorization`. Everything else inside that responds to `OPTIONS` is then open to
    /// such requests. It is better to put the CORS layer outside: refusals then have its headers
    /// too, and no preflight reaches this Layer.
    pub fn open_preflights(mut self) -> Self {
        self.open = self.open.preflights();
        self
    }
}

impl OpenPaths {
    fn path(self, path: &str) -> Result<Self, InvalidPath> {
        checked(path).map(|path| self.with(OpenPath::Exactly(path)))
    }

    fn prefix(self, path: &str) -> Result<Self, InvalidPath> {
        let path = checked(path)?;
        match path.trim_end_matches('/') {
            "" => Err(InvalidPath {
                path,
                reason: "it would open every path; where nothing is protected, remove the Layer",
            }),
            trimmed => Ok(self.with(OpenPath::Under(trimmed.to_owned()))),
        }
    }

    fn grpc_service(self, name: &str) -> Result<Self, InvalidPath> {
        match name.split('.').all(is_grpc_name) {
            true => Ok(self.with(OpenPath::GrpcService(name.to_owned()))),
            false => Err(InvalidPath {
                path: name.to_owned(),
                reason: "use the full name of a gRPC service, such as grpc.health.v1.Health",
            }),
        }
    }

    fn preflights(mut self) -> Self {
        self.preflights = true;
        self
    }

    fn with(mut self, path: OpenPath) -> Self {
        self.paths = self.paths.iter().cloned().chain([path]).collect();
        self
    }
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

#[cfg(test)]
mod tests {
    use http::Request;

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
