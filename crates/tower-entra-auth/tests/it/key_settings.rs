//! Tests of the settings of keys and of the token cache: their bounds and their combinations.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use tower::service_fn;
use tower_entra_auth::settings::{KeyOptions, TokenCache};
use tower_entra_auth::{
    EntraAuthBuilder,
    keys::{BoxError, FetchedKeys, KeySource},
};

use crate::settings::good;
use crate::support::{CLIENT, HOUR, MINUTE, SECOND};

fn problems(builder: EntraAuthBuilder) -> Vec<(String, String)> {
    let error = builder.build().unwrap_err();
    let problems = error.problems();
    problems
        .map(|problem| (problem.setting().to_owned(), problem.text().to_owned()))
        .collect()
}

#[test]
fn a_setting_out_of_bounds_is_refused_with_the_bound() {
    const KIB: usize = 1_024;
    const GIB: usize = 1_024 * 1_024 * KIB;
    let milli = Duration::from_millis(1);
    let nano = Duration::from_nanos(1);
    for (builder, setting, bound) in [
        (
            good().keys(KeyOptions::default().refresh_interval(5 * MINUTE - milli)),
            "keys.refresh_interval",
            "300 to 43200 s",
        ),
        (
            good().keys(KeyOptions::default().refresh_interval(12 * HOUR + milli)),
            "keys.refresh_interval",
            "300 to 43200 s",
        ),
        (
            good().keys(KeyOptions::default().refresh_interval(Duration::ZERO)),
            "keys.refresh_interval",
            "300 to 43200 s",
        ),
        (
            good().keys(KeyOptions::default().refresh_interval(Duration::MAX)),
            "keys.refresh_interval",
            "300 to 43200 s",
        ),
        (
            good().keys(KeyOptions::default().max_staleness(24 * HOUR + nano)),
            "keys.max_staleness",
            "at most 86400 s",
        ),
        (
            good().keys(KeyOptions::default().max_staleness(HOUR)),
            "keys.max_staleness",
            "more than refresh_interval (3600 s)",
        ),
        (
            good().keys(KeyOptions::default().max_staleness(Duration::ZERO)),
            "keys.max_staleness",
            "(3600 s)",
        ),
        (
            good().keys(KeyOptions::default().max_staleness(Duration::MAX)),
            "keys.max_staleness",
            "at most 86400 s",
        ),
        (
            good().keys(
                KeyOptions::default()
                    .refresh_interval(12 * HOUR)
                    .max_staleness(6 * HOUR),
            ),
            "keys.max_staleness",
            "more than refresh_interval (43200 s)",
        ),
        (
            good().token_cache(TokenCache::bytes(64 * KIB - 1)),
            "token_cache.bytes",
            "65536 to 4294967296",
        ),
        (
            good().token_cache(TokenCache::bytes(4 * GIB + 1)),
            "token_cache.bytes",
            "65536 to 4294967296",
        ),
        (
            good().token_cache(TokenCache::bytes(0)),
            "token_cache.bytes",
            "TokenCache::off()",
        ),
        (
            good().token_cache(TokenCache::default().ttl(SECOND - nano)),
            "token_cache.ttl",
            "1 to 86400 s",
        ),
        (
            good().token_cache(TokenCache::default().ttl(24 * HOUR + nano)),
            "token_cache.ttl",
            "1 to 86400 s",
        ),
        (
            good().token_cache(TokenCache::default().ttl(Duration::ZERO)),
            "token_cache.ttl",
            "TokenCache::off()",
        ),
    ] {
        let problems = problems(builder);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!(problems[0].0, setting, "{problems:?}");
        assert!(problems[0].1.contains(bound), "{bound} in {problems:?}");
    }
    for builder in [
        good().keys(KeyOptions::default().refresh_interval(5 * MINUTE)),
        good().keys(KeyOptions::default().refresh_interval(12 * HOUR)),
        good().keys(KeyOptions::default().max_staleness(24 * HOUR)),
        good().keys(KeyOptions::default().max_staleness(HOUR + nano)),
        good().keys(
            KeyOptions::default()
                .refresh_interval(5 * MINUTE)
                .max_staleness(5 * MINUTE + SECOND),
        ),
        good().token_cache(TokenCache::bytes(64 * KIB)),
        good().token_cache(TokenCache::bytes(4 * GIB)),
        good().token_cache(TokenCache::default().ttl(SECOND)),
        good().token_cache(TokenCache::default().ttl(24 * HOUR)),
        // The last setting counts.
        good()
            .token_cache(TokenCache::bytes(1))
            .token_cache(TokenCache::off()),
    ] {
        builder.build().unwrap();
    }
    let both = good()
        .keys(KeyOptions::default().refresh_interval(MINUTE))
        .token_cache(TokenCache::bytes(1).ttl(Duration::ZERO));
    assert_eq!(problems(both).len(), 3, "all at once");
}

#[test]
fn what_is_of_no_use_beside_a_key_source_is_a_problem() {
    struct Nowhere;

    impl KeySource for Nowhere {
        async fn fetch(&self) -> Result<FetchedKeys, BoxError> {
            Err("nowhere".into())
        }
    }

    let own = service_fn(async |_: Request<Bytes>| {
        Err::<Response<http_body_util::Full<Bytes>>, _>(std::io::Error::other("no network here"))
    });
    for (builder, setting) in [
        (good().http_client(own), "http_client"),
        (
            good().keys(KeyOptions::default().custom_signing_key()),
            "keys.custom_signing_key",
        ),
        (
            good().metadata_endpoint("https://login.microsoftonline.com"),
            "metadata_endpoint",
        ),
        (good().metadata_endpoint("nonsense"), "metadata_endpoint"),
    ] {
        let problems = problems(builder.key_source(Nowhere));
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!(problems[0].0, setting);
        assert!(problems[0].1.contains("key_source(..)"), "{problems:?}");
    }
    let all = good()
        .http_client(own)
        .keys(KeyOptions::default().custom_signing_key())
        .metadata_endpoint("https://login.microsoftonline.com")
        .key_source(Nowhere);
    assert_eq!(problems(all).len(), 3);

    // A variable may belong to a deployment that does not know the code.
    let environment = |name: &str| {
        let value = "https://login.microsoftonline.com";
        (name == "ENTRA_METADATA_ENDPOINT").then(|| value.to_owned())
    };
    good()
        .key_source(Nowhere)
        .variables(environment)
        .build()
        .unwrap();
    good()
        .key_source(Nowhere)
        .allowed_clients([CLIENT])
        .build()
        .unwrap();
}
