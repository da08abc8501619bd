//! Shared parts of the benchmarks: tokens with the shape and size of Entra's, the services that
//! validate them, and the measurement.

#![expect(clippy::exhaustive_structs, reason = "not published")]

pub mod bare;
pub mod forged;
pub mod jwt;
pub mod layer;
pub mod measure;

use std::time::SystemTime;

use entra_dev_tenant::{DevTenant, TokenBuilder};
use http::HeaderValue;
use tokio::runtime::Runtime;
use tower_entra_auth::settings::TokenCache;
use tower_entra_auth::{EntraAuth, EntraAuthBuilder, layer::EntraService};

use crate::layer::{Inner, Protected};

/// The application id of the API that the tokens are for.
pub const API: &str = "6e74172b-be56-4843-9ff4-e66a39bb12e3";

/// A tenant and its tokens.
#[derive(Debug)]
pub struct Material {
    /// Runtime of the tenant and of key fetches.
    pub tokio: Runtime,
    tenant: DevTenant,
    /// The tenant's id.
    pub tenant_id: String,
    /// The JWKS document.
    pub jwks: String,
    /// Valid tokens of users, of about 1.4 KB.
    pub tokens: Vec<String>,
    /// Up to a thousand valid tokens with 200 groups each, of about 12 KB.
    pub long_tokens: Vec<String>,
}

impl Material {
    /// Starts a tenant and signs the given number of tokens, on two threads.
    ///
    /// # Panics
    /// If no loopback port is free.
    #[must_use]
    pub fn new(tokens: usize) -> Self {
        let tokio = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let tenant = tokio.block_on(DevTenant::start()).expect("a tenant");
        let short = |number: usize| user(&tenant, number).mint();
        let long = |number: usize| {
            let groups =
                (0..200).map(|group| format!("0a1b2c3d-4e5f-4a6b-{number:04}-{group:012}"));
            user(&tenant, number)
                .claim("groups", groups.collect::<Vec<_>>())
                .mint()
        };
        let (tokens, long_tokens) = (
            on_two_threads(tokens, &short),
            on_two_threads(tokens.min(1_000), &long),
        );
        Self {
            tenant_id: tenant.id().to_owned(),
            jwks: tenant.signing_keys().document(),
            tokens,
            long_tokens,
            tokio,
            tenant,
        }
    }

    /// Returns a time at which the tokens are valid.
    #[must_use]
    pub fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    /// Returns a service behind the Layer that has fetched its keys.
    ///
    /// # Panics
    /// If the settings are invalid or the keys cannot be fetched.
    pub fn protected(
        &self,
        set: impl FnOnce(EntraAuthBuilder) -> EntraAuthBuilder,
    ) -> Protected<EntraService<Inner>> {
        let settings = EntraAuth::builder()
            .tenant(self.tenant.id())
            .client_id(API)
            .metadata_endpoint(self.tenant.url());
        let auth = set(settings).build().expect("good settings");
        self.tokio.block_on(auth.ready()).expect("keys");
        Protected::new(auth)
    }

    /// Returns a service that has cached the first `tokens` tokens.
    #[must_use]
    pub fn remembering(&self, tokens: usize) -> Protected<EntraService<Inner>> {
        let bytes = (8 * 1024 * tokens).max(32 * 1024 * 1024);
        let mut service = self.protected(|settings| settings.token_cache(TokenCache::bytes(bytes)));
        service.remember(self.tokens[..tokens].iter());
        service
    }

    /// Returns a service that has cached the long tokens.
    #[must_use]
    pub fn remembering_long(&self) -> Protected<EntraService<Inner>> {
        let bytes = 64 * 1024 * 1024;
        let mut service = self.protected(|settings| settings.token_cache(TokenCache::bytes(bytes)));
        service.remember(self.long_tokens.iter());
        service
    }

    /// Returns the first `tokens` tokens in turn, in an order without a pattern.
    pub fn turns(&self, tokens: usize) -> Turns {
        Turns::new(&self.tokens[..tokens])
    }

    /// Returns the long tokens in turn.
    pub fn long_turns(&self) -> Turns {
        Turns::new(&self.long_tokens)
    }

    /// Signs a token with this payload with the tenant's key.
    #[must_use]
    pub fn signed(&self, payload: &str) -> String {
        let key_id = self.tenant.signing_keys().current_id();
        let header = format!(r#"{{"typ":"JWT","alg":"RS256","kid":"{key_id}"}}"#);
        self.tenant.sign(&header, payload)
    }

    /// Returns a token whose key is never published.
    #[must_use]
    pub fn unknown_key(&self) -> String {
        user(&self.tenant, 0).header("kid", "unknown").mint()
    }
}

/// Returns the token with a different signature.
#[must_use]
pub fn with_bad_signature(token: &str) -> String {
    let (message, signature) = token.rsplit_once('.').expect("a token");
    let first = if signature.starts_with('A') { 'B' } else { 'A' };
    format!("{message}.{first}{}", &signature[1..])
}

fn user(tenant: &DevTenant, number: usize) -> TokenBuilder<'_> {
    tenant
        .user(&format!("ada.lovelace.{number}"))
        .scope("Reports.Read")
        .scope("Reports.Write")
        .role("Reports.Administrator")
        .for_api(API)
        .claim("azpacr", "1")
        .claim("sid", "00a1b2c3-d4e5-4f60-8a7b-9c8d7e6f5a4b")
}

fn on_two_threads(count: usize, make: &(dyn Fn(usize) -> String + Sync)) -> Vec<String> {
    let half = count / 2;
    std::thread::scope(|scope| {
        let first = scope.spawn(|| (0..half).map(make).collect::<Vec<_>>());
        let second: Vec<_> = (half..count).map(make).collect();
        let mut tokens = first.join().expect("no panic");
        tokens.extend(second);
        tokens
    })
}

/// Tokens in turn, as headers with their own memory.
#[derive(Debug)]
pub struct Turns {
    headers: Vec<HeaderValue>,
    index: usize,
}

impl Turns {
    /// Step between two tokens, coprime to every count used here, so that each token has its turn.
    const STEP: usize = 7_919;

    fn new(tokens: &[String]) -> Self {
        Self {
            headers: tokens.iter().map(|token| bearer(token)).collect(),
            index: 0,
        }
    }

    /// Returns the header with the next token.
    pub fn next_header(&mut self) -> &HeaderValue {
        self.index = (self.index + Self::STEP) % self.headers.len();
        &self.headers[self.index]
    }
}

/// Returns the header value with the token.
///
/// # Panics
/// If the token is not valid in a header.
#[must_use]
pub fn bearer(token: &str) -> HeaderValue {
    HeaderValue::try_from(format!("Bearer {token}")).expect("a header")
}
