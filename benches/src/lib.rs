//! What the benchmarks share: tokens of the shape and size that Entra issues, the services that
//! judge them, and how they are measured.

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

/// A tenant, and tokens of it.
#[derive(Debug)]
pub struct Material {
    /// Where the tenant runs, and where keys are fetched.
    pub tokio: Runtime,
    tenant: DevTenant,
    /// The tenant's id.
    pub tenant_id: String,
    /// The key document.
    pub jwks: String,
    /// Valid tokens of users, of about 1.4 KB.
    pub tokens: Vec<String>,
    /// A thousand with 200 groups each, of about 12 KB.
    pub long_tokens: Vec<String>,
}

impl Material {
    /// Makes a tenant and so many tokens, on two threads.
    ///
    /// # Panics
    /// If no port of loopback is free.
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

    /// When the tokens are valid.
    #[must_use]
    pub fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    /// A service behind the Layer that has its keys.
    ///
    /// # Panics
    /// If it cannot have them.
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

    /// A service that remembers the first so many tokens.
    #[must_use]
    pub fn remembering(&self, tokens: usize) -> Protected<EntraService<Inner>> {
        let bytes = (8 * 1024 * tokens).max(32 * 1024 * 1024);
        let mut service = self.protected(|settings| settings.token_cache(TokenCache::bytes(bytes)));
        service.remember(self.tokens[..tokens].iter());
        service
    }

    /// A service that remembers the long tokens.
    #[must_use]
    pub fn remembering_long(&self) -> Protected<EntraService<Inner>> {
        let bytes = 64 * 1024 * 1024;
        let mut service = self.protected(|settings| settings.token_cache(TokenCache::bytes(bytes)));
        service.remember(self.long_tokens.iter());
        service
    }

    /// The first so many tokens in turn, in an order without a pattern.
    pub fn turns(&self, tokens: usize) -> Turns {
        Turns::new(&self.tokens[..tokens])
    }

    /// The long tokens in turn.
    pub fn long_turns(&self) -> Turns {
        Turns::new(&self.long_tokens)
    }

    /// Makes a token of this payload, signed by the tenant's key.
    #[must_use]
    pub fn signed(&self, payload: &str) -> String {
        let key_id = self.tenant.signing_keys().current_id();
        let header = format!(r#"{{"typ":"JWT","alg":"RS256","kid":"{key_id}"}}"#);
        self.tenant.sign(&header, payload)
    }

    /// A token whose key nobody publishes.
    #[must_use]
    pub fn unknown_key(&self) -> String {
        user(&self.tenant, 0).header("kid", "unknown").mint()
    }
}

/// The token with another signature.
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

/// Tokens in turn, as headers that nobody else has.
#[derive(Debug)]
pub struct Turns {
    headers: Vec<HeaderValue>,
    index: usize,
}

impl Turns {
    /// Coprime to every count here, so that each has its turn.
    const STEP: usize = 7_919;

    fn new(tokens: &[String]) -> Self {
        Self {
            headers: tokens.iter().map(|token| bearer(token)).collect(),
            index: 0,
        }
    }

    /// The header with the next token.
    pub fn next_header(&mut self) -> &HeaderValue {
        self.index = (self.index + Self::STEP) % self.headers.len();
        &self.headers[self.index]
    }
}

/// The header with the token.
///
/// # Panics
/// If it is no header.
#[must_use]
pub fn bearer(token: &str) -> HeaderValue {
    HeaderValue::try_from(format!("Bearer {token}")).expect("a header")
}
