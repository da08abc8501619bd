//! A tenant, its tokens, and the requests that carry them.

use std::io;

use axum_core::body::Body;
use entra_dev_tenant::{DevTenant, Flaw, TokenBuilder};
use http::Request;
use http::header::{ACCEPT, AUTHORIZATION, HOST, USER_AGENT};
use tokio::runtime::Runtime;

/// The application id of the API that the tokens are for.
pub(crate) const API: &str = "6e74172b-be56-4843-9ff4-e66a39bb12e3";

/// The scope that every token has.
pub(crate) const SCOPE: &str = "Reports.Read";

/// Number of valid tokens, and of requests that a round sends in each case.
pub(crate) const TOKENS: usize = 1_000;

const ANOTHER_API: &str = "2b1f4a8c-3d5e-4f60-9a7b-8c9d0e1f2a3b";
const ANOTHER_TENANT: &str = "0a1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d";

/// A measured kind of request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Case {
    /// A single valid token in every request.
    OneToken,
    /// All valid tokens in turn.
    ManyTokens,
    /// A bearer token that is not a token.
    Garbage,
    /// No `Authorization` header.
    NoToken,
}

impl Case {
    pub(crate) const ALL: [Self; 4] = [
        Self::OneToken,
        Self::ManyTokens,
        Self::Garbage,
        Self::NoToken,
    ];

    /// Returns whether the request must reach the inner service.
    pub(crate) fn is_valid(self) -> bool {
        matches!(self, Self::OneToken | Self::ManyTokens)
    }
}

/// The tenant and its tokens.
pub(crate) struct Material {
    pub(crate) tenant: DevTenant,
    pub(crate) valid: Vec<String>,
    /// Tokens that every Layer must refuse, with their names; `None` is a request without a token.
    pub(crate) bad: Vec<(&'static str, Option<String>)>,
    /// Runs the tenant on its own thread, so that keys can be fetched at any time.
    _server: Runtime,
}

impl Material {
    pub(crate) fn new() -> io::Result<Self> {
        let server = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let tenant = server.block_on(DevTenant::start())?;
        let valid = (0..TOKENS)
            .map(|number| user(&tenant, number).mint())
            .collect();
        let bad = bad(&tenant);
        Ok(Self {
            tenant,
            valid,
            bad,
            _server: server,
        })
    }

    /// Returns request `number` of a case, out of [`TOKENS`], in its own memory.
    pub(crate) fn request(&self, case: Case, number: usize) -> Request<Body> {
        match case {
            Case::OneToken => request(Some(&self.valid[0])),
            Case::ManyTokens => request(Some(&self.valid[number])),
            Case::Garbage => request(Some("garbage")),
            Case::NoToken => request(None),
        }
    }

    pub(crate) fn token_length(&self) -> usize {
        self.valid.iter().map(String::len).sum::<usize>() / self.valid.len()
    }
}

/// Returns a request with the headers that an HTTP client sends.
pub(crate) fn request(token: Option<&str>) -> Request<Body> {
    let mut request = Request::get("/reports/7")
        .header(HOST, "api.example.com")
        .header(ACCEPT, "*/*")
        .header(USER_AGENT, "client/1.0");
    if let Some(token) = token {
        request = request.header(AUTHORIZATION, format!("Bearer {token}"));
    }
    request.body(Body::empty()).expect("a good request")
}

/// Returns the builder of a token with the shape and size of Entra's.
fn user(tenant: &DevTenant, number: usize) -> TokenBuilder<'_> {
    tenant
        .user(&format!("ada.lovelace.{number}"))
        .scope(SCOPE)
        .scope("Reports.Write")
        .role("Reports.Administrator")
        .for_api(API)
        .claim("azpacr", "1")
        .claim(
            "login_hint",
            "O.CiQ3MmY5ODhiZi04NmYxLTQxYWYtOTFhYi0yZDdjZDAxMWRiNDc",
        )
        .claim("sid", "00a1b2c3-d4e5-4f60-8a7b-9c8d7e6f5a4b")
        .claim(
            "xms_ftd",
            "Zm9yIGJlbmNobWFya3Mgb25seSwgbm90aGluZyB0byBzZWUgaGVyZQ",
        )
}

fn bad(tenant: &DevTenant) -> Vec<(&'static str, Option<String>)> {
    let good = || user(tenant, 0);
    let tokens = [
        ("an expired token", good().expired()),
        ("a token not yet valid", good().flaw(Flaw::NotYetValid)),
        ("a token without exp", good().without_claim("exp")),
        ("a token for another API", good().for_api(ANOTHER_API)),
        ("a token without aud", good().without_claim("aud")),
        (
            "a token of another tenant",
            good().of_tenant(ANOTHER_TENANT),
        ),
        ("a token without iss", good().without_claim("iss")),
        ("a bad signature", good().bad_signature()),
        ("alg none", good().header("alg", "none")),
        ("alg HS256", good().header("alg", "HS256")),
    ];
    let tokens = tokens.map(|(name, token)| (name, Some(token.mint())));
    let others = [("garbage", Some("garbage".to_owned())), ("no token", None)];
    tokens.into_iter().chain(others).collect()
}
