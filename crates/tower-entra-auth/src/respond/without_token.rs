//! Recognition of requests without a bearer token.
//!
//! Most of these requests are caused by a wrong setup of the Layer around a service. Without a log
//! line, the operator would not notice the mistake.

use http::header::{
    ACCEPT, ACCESS_CONTROL_REQUEST_METHOD, AUTHORIZATION, HeaderName, ORIGIN, USER_AGENT,
};
use http::{HeaderValue, Method, Uri};

use crate::service::Asked;

/// The kinds of requests without a bearer token that are recognised.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) enum Look {
    /// A request to an endpoint of the OAuth proxy, which should not have gone through the proxy's
    /// Layer.
    OwnEndpoint,
    /// A CORS preflight.
    Preflight,
    /// A health probe of a usual path, which the advice in the log can quote in code.
    Probe,
    /// A health probe of an unusual path, or of a path that the advice cannot quote in code.
    ProbeElsewhere,
    /// A call of the gRPC health service.
    GrpcProbe,
    /// A read of `/metrics`.
    Scrape,
    /// A request for the metadata document of the protected resource.
    Document,
    /// A token in the `Authorization` header without a scheme.
    TokenWithoutScheme,
    /// Credentials of a known scheme other than `Bearer`, with the scheme's name.
    Scheme(&'static str),
    /// Credentials of an unknown scheme.
    OtherScheme,
    /// A token in the query parameter `access_token`.
    TokenInQuery,
    /// A token in another header, with the header's name.
    TokenInHeader(&'static str),
    /// A page that a browser opens.
    Page,
}

/// Last segments of the paths that health probes usually request, in paths of at most two segments.
/// Sources: Kubernetes, its charts, Spring (`/actuator/health`), Envoy and Consul.
const PROBE_PATHS: [&str; 14] = [
    "health",
    "healthz",
    "healthcheck",
    "health-check",
    "healthy",
    "livez",
    "live",
    "liveness",
    "alive",
    "readyz",
    "ready",
    "readiness",
    "startupz",
    "ping",
];

/// Prefixes of the user agents of probes.
///
/// Sources: Kubernetes (`pkg/probe/http`), "Health probes" of Azure Front Door, "Monitor App
/// Service instances using Health check" and the setting Always On of App Service, and the
/// documents of the load balancers of AWS and Google, and of Envoy.
const PROBES: [&str; 9] = [
    "kube-probe/",
    "Prometheus/",
    "Edge Health Probe",
    "HealthCheck/",
    "ReadyForRequest/",
    "AlwaysOn",
    "ELB-HealthChecker/",
    "GoogleHC/",
    "Envoy/HC",
];

/// Names of schemes that clients send instead of `Bearer`.
const SCHEMES: [&str; 8] = [
    "Basic",
    "Digest",
    "DPoP",
    "PoP",
    "Negotiate",
    "NTLM",
    "Token",
    "JWT",
];

/// Headers in which gateways and other frameworks send a token: App Service's Easy Auth,
/// oauth2-proxy, the load balancer of AWS, and two conventions.
const TOKEN_HEADERS: [&str; 5] = [
    "x-ms-token-aad-access-token",
    "x-forwarded-access-token",
    "x-amzn-oidc-accesstoken",
    "x-access-token",
    "x-auth-token",
];

impl Look {
    /// Recognises a request without a bearer token.
    pub(super) fn of(asked: Asked<'_>, own_endpoints: &[String]) -> Option<Self> {
        let Asked {
            method,
            uri,
            headers,
        } = asked;
        let path = uri.path();
        if own_endpoints.iter().any(|own| own == path) {
            return Some(Self::OwnEndpoint);
        }
        if let Some(credentials) = headers.get(AUTHORIZATION) {
            return Some(Self::of_credentials(credentials));
        }
        let has = |name| headers.contains_key(name);
        if method == Method::OPTIONS && has(ORIGIN) && has(ACCESS_CONTROL_REQUEST_METHOD) {
            return Some(Self::Preflight);
        }
        if path.starts_with("/grpc.health.v1.Health/") {
            return Some(Self::GrpcProbe);
        }
        if path.starts_with("/.well-known/oauth-protected-resource") {
            return Some(Self::Document);
        }
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let user_agent = text(USER_AGENT).unwrap_or_default();
        let is_read = method == Method::GET || method == Method::HEAD;
        let is_asked_by =
            |agents: &[&str]| agents.iter().any(|agent| user_agent.starts_with(agent));
        // A path with more than two segments is the service's own, even if its last segment is a
        // probe's.
        let mut segments = path.trim_matches('/').split('/');
        let first_two = [segments.next(), segments.next()].into_iter().flatten();
        let last = first_two
            .last()
            .filter(|_| is_read && segments.next().is_none());
        let is_named = |names: &[&str]| last.is_some_and(|last| names.contains(&last));
        if is_read && is_named(&PROBE_PATHS) {
            let is_fit = is_fit_for_code(path);
            return Some(if is_fit {
                Self::Probe
            } else {
                Self::ProbeElsewhere
            });
        }
        if is_read && path == "/metrics" {
            return Some(Self::Scrape);
        }
        if is_read && is_asked_by(&PROBES) {
            return Some(Self::ProbeElsewhere);
        }
        let query = uri.query().unwrap_or_default();
        if query
            .split('&')
            .any(|pair| pair.starts_with("access_token="))
        {
            return Some(Self::TokenInQuery);
        }
        let mut names = TOKEN_HEADERS.into_iter();
        if let Some(name) = names.find(|name| has(HeaderName::from_static(name))) {
            return Some(Self::TokenInHeader(name));
        }
        let accepts = text(ACCEPT).unwrap_or_default();
        (is_read && accepts.contains("text/html")).then_some(Self::Page)
    }

    /// Recognises credentials of a scheme other than `Bearer`.
    fn of_credentials(credentials: &HeaderValue) -> Self {
        let credentials = credentials.as_bytes();
        let is_token = credentials.starts_with(b"eyJ");
        let scheme = credentials.split(|byte| *byte == b' ').next();
        let known = SCHEMES
            .into_iter()
            .find(|known| scheme.is_some_and(|it| it.eq_ignore_ascii_case(known.as_bytes())));
        match known {
            _ if is_token => Self::TokenWithoutScheme,
            Some(known) => Self::Scheme(known),
            None => Self::OtherScheme,
        }
    }

    /// Returns whether the setup must be corrected for each path separately.
    pub(super) fn is_about_a_path(self) -> bool {
        matches!(self, Self::Probe | Self::ProbeElsewhere | Self::Scrape)
    }

    /// Returns the description of the request, for the log.
    pub(super) fn name(self) -> String {
        match self {
            Self::OwnEndpoint => "an endpoint of the OAuth proxy itself",
            Self::Preflight => "a CORS preflight, which browsers send without a token",
            Self::Probe | Self::ProbeElsewhere | Self::GrpcProbe => "a health probe",
            Self::Scrape => "a scrape of metrics",
            Self::Document => {
                "a request for a metadata document, which clients read without a token"
            }
            Self::TokenWithoutScheme => "a token without the word Bearer",
            Self::Scheme(name) => return format!("credentials of the scheme {name}"),
            Self::OtherScheme => "credentials of a scheme other than Bearer",
            Self::TokenInQuery => "a token in the query",
            Self::TokenInHeader(name) => return format!("a token in the header {name}"),
            Self::Page => "a page opened in a browser, which sends no token by itself",
        }
        .to_owned()
    }

    /// Returns the remedy for a request to this path. `how_to_send` says where this service expects
    /// tokens.
    pub(super) fn remedy(self, path: &str, how_to_send: &str) -> String {
        match self {
            Self::OwnEndpoint => {
                "keep the proxy's routes outside of its own Layer: proxy.protect(routes) does, or \
                 .merge(proxy.routes()) after .layer(proxy.layer())"
            }
            Self::Preflight => {
                "put the CORS layer outside, so that refusals have its headers, too: .layer(cors) \
                 after .layer(auth.layer()), or around auth.protect(..).into_router(); it must \
                 allow the header authorization. For a CORS layer that must be inside there is \
                 auth.layer().open_preflights()"
            }
            Self::Probe | Self::Scrape => {
                return format!(
                    "put its route outside of the Layer: auth.protect(routes).open(Router::new() \
                     .route(\"{path}\", ..)); or let that one path pass: \
                     auth.layer().open_path(\"{path}\")?"
                );
            }
            Self::ProbeElsewhere => {
                "let the probe request its own path, outside of the Layer: \
                 auth.protect(routes).open(Router::new().route(\"/healthz\", ..))"
            }
            Self::GrpcProbe => {
                "let the probe pass with auth.layer().open_grpc_service(\"grpc.health.v1.Health\")?"
            }
            Self::Document => {
                "serve the document outside of the Layer: \
                 auth.protect(routes).open(auth.resource_metadata()?)"
            }
            Self::Page => {
                "put pages outside of the Layer, and have their scripts send the token: fetch(url, { \
                 headers: { Authorization: `Bearer ${token}` } })"
            }
            Self::TokenInHeader(_) => {
                return format!("{how_to_send}; or let token_source(..) read it there");
            }
            Self::TokenWithoutScheme => {
                "write the word Bearer and a space before the token: Authorization: Bearer <access token>"
            }
            Self::TokenInQuery | Self::Scheme(_) | Self::OtherScheme => how_to_send,
        }
        .to_owned()
    }
}

/// Returns the method for the log. A non-standard method is `other`, because its text could be
/// anything.
pub(super) fn method_shown(method: &Method) -> &str {
    match method.as_str() {
        known @ ("GET" | "HEAD" | "POST" | "PUT" | "DELETE" | "PATCH" | "OPTIONS" | "CONNECT"
        | "TRACE") => known,
        _ => "other",
    }
}

/// Returns whether the advice can quote the path in code. The sender chose the path, so it must be
/// short and have only characters that have no special meaning in a route or in a Rust string.
fn is_fit_for_code(path: &str) -> bool {
    const LONGEST: usize = 50;

    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.".contains(&byte);
    path.len() <= LONGEST && path.bytes().all(is_plain) && !path.contains("eyJ")
}

/// Returns the path for the log, without the query: escaped, and cut to 100 characters. A path that
/// may contain a token or an e-mail address is not shown.
pub(super) fn path_shown(uri: &Uri) -> String {
    const LONGEST: usize = 100;

    let path = uri.path();
    if ["eyJ", "@", "%40"].iter().any(|part| path.contains(part)) {
        return "(not shown: it may be private)".to_owned();
    }
    path.escape_debug().take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn look(method: &str, uri: &str, headers: &[(&str, &str)]) -> Option<Look> {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(()).unwrap();
        Look::of(Asked::from(&request), &[])
    }

    #[test]
    fn each_kind_is_known_by_what_it_looks_like() {
        let preflight = [
            ("origin", "https://a"),
            ("access-control-request-method", "GET"),
        ];
        for (method, uri, headers, expected) in [
            ("OPTIONS", "/me", &preflight[..], Look::Preflight),
            ("GET", "/healthz", &[], Look::Probe),
            ("HEAD", "/api/health/", &[], Look::Probe),
            ("GET", "/actuator/health", &[], Look::Probe),
            ("GET", "/health/live", &[], Look::Probe),
            (
                "GET",
                "/me",
                &[("user-agent", "kube-probe/1.33")],
                Look::ProbeElsewhere,
            ),
            (
                "HEAD",
                "/",
                &[("user-agent", "Edge Health Probe")],
                Look::ProbeElsewhere,
            ),
            ("POST", "/grpc.health.v1.Health/Check", &[], Look::GrpcProbe),
            ("GET", "/metrics", &[], Look::Scrape),
            (
                "GET",
                "/m",
                &[("user-agent", "Prometheus/3.1")],
                Look::ProbeElsewhere,
            ),
            (
                "GET",
                "/.well-known/oauth-protected-resource/mcp",
                &[],
                Look::Document,
            ),
            (
                "GET",
                "/me",
                &[("authorization", "eyJh.b.c")],
                Look::TokenWithoutScheme,
            ),
            (
                "GET",
                "/me",
                &[("authorization", "basic eA==")],
                Look::Scheme("Basic"),
            ),
            (
                "GET",
                "/me",
                &[("authorization", "Token eyJh.b.c")],
                Look::Scheme("Token"),
            ),
            (
                "GET",
                "/me",
                &[("authorization", "s3cr3t")],
                Look::OtherScheme,
            ),
            ("GET", "/me?x=1&access_token=a.b.c", &[], Look::TokenInQuery),
            (
                "GET",
                "/me",
                &[("x-access-token", "a.b.c")],
                Look::TokenInHeader("x-access-token"),
            ),
            (
                "GET",
                "/me",
                &[("accept", "text/html,*/*;q=0.8")],
                Look::Page,
            ),
        ] {
            assert_eq!(
                look(method, uri, headers),
                Some(expected),
                "{method} {uri} {headers:?}"
            );
        }
    }

    #[test]
    fn a_path_that_cannot_stand_in_code_is_not_advised() {
        let long = format!("/{}/health", "a".repeat(50));
        for path in [
            &*long,
            "/eyJh.b.c/health",
            "/ada@example.com/health",
            "/%7Bx%7D/health",
            "/:x/health",
            "/*x/health",
        ] {
            let look = look("GET", path, &[]);
            assert_eq!(look, Some(Look::ProbeElsewhere), "{path}");
            let remedy = look.unwrap().remedy(path, "");
            assert!(!remedy.contains(path), "{remedy}");
        }
        assert_eq!(look("GET", "/api-v1.2/my_x/health", &[]), None);
        assert_eq!(look("GET", "/api-v1.2/health", &[]), Some(Look::Probe));
    }

    #[test]
    fn endpoints_of_the_proxy_are_its_own_whatever_they_bring() {
        let own = ["/register", "/.well-known/oauth-protected-resource/mcp"].map(str::to_owned);
        for (method, uri, authorization) in [
            ("POST", "/register", None),
            ("POST", "/register", Some("Basic eA==")),
            ("OPTIONS", "/register", None),
            ("GET", "/.well-known/oauth-protected-resource/mcp", None),
        ] {
            let mut request = Request::builder().method(method).uri(uri);
            if let Some(credentials) = authorization {
                request = request.header("authorization", credentials);
            }
            let request = request.body(()).unwrap();
            assert_eq!(
                Look::of(Asked::from(&request), &own),
                Some(Look::OwnEndpoint)
            );
        }
    }

    #[test]
    fn a_request_that_is_like_any_other_is_none() {
        for (method, uri, headers) in [
            ("GET", "/me", &[][..]),
            (
                "POST",
                "/mcp",
                &[("accept", "application/json, text/event-stream")],
            ),
            ("POST", "/healthz", &[]),
            ("POST", "/orders/health", &[]),
            ("GET", "/registered", &[]),
            ("OPTIONS", "/me", &[("origin", "https://a")]),
            ("GET", "/healthz/report", &[]),
        ] {
            assert_eq!(look(method, uri, headers), None, "{method} {uri}");
        }
    }

    #[test]
    fn method_and_path_are_fit_for_the_log() {
        let uri = format!("/{}?token=s3cr3t", "a".repeat(300));
        let request = Request::builder().method("BREW").uri(uri).body(()).unwrap();
        assert_eq!(method_shown(request.method()), "other");
        let path = path_shown(request.uri());
        assert_eq!(path, format!("/{}", "a".repeat(99)));
        for private in [
            "/dl/eyJh.b.c",
            "/users/ada@example.com",
            "/users/ada%40example.com",
        ] {
            let shown = path_shown(&private.parse().unwrap());
            assert_eq!(shown, "(not shown: it may be private)");
        }
    }
}
