//! Tests of `ETag`, conditional requests and `Cache-Control`.

use std::time::Duration;

use tokio::time::Instant;

use crate::raw::{Place, tenant};

const DOCUMENTS: [Place; 2] = [Place::Discovery, Place::Keys];

#[tokio::test]
async fn no_answer_has_an_etag_unless_it_is_asked_for() {
    let tenant = tenant().await;
    for place in DOCUMENTS {
        for (serves, expected) in [(None, false), (Some(true), true), (Some(false), false)] {
            if let Some(serves) = serves {
                place.endpoint(&tenant).serve_etags(serves);
            }
            let answer = place.answer_to(&tenant, "if-none-match: *\r\n").await;
            let found = (answer.status, answer.header("etag").is_some());
            let status = if expected { 304 } else { 200 };
            assert_eq!(found, (status, expected), "{place:?} {serves:?}");
        }
    }
}

#[tokio::test]
async fn a_client_that_names_the_etag_gets_304_until_the_document_changes() {
    let tenant = tenant().await;
    tenant.key_endpoint().serve_etags(true);
    let first = Place::Keys.answer(&tenant).await;
    let tag = first.header("etag").unwrap();
    assert!(tag.starts_with('"') && tag.ends_with('"'), "{tag}");
    let conditional = format!("if-none-match: \"other\", {tag}\r\n");

    let known = Place::Keys.answer_to(&tenant, &conditional).await;
    assert_eq!((known.status, known.body.len()), (304, 0));
    assert_eq!(known.header("etag"), Some(tag));
    assert_eq!(known.header("content-type"), None);
    assert_eq!(known.header("content-length"), None);
    let cache_control = known.header("cache-control");
    assert_eq!(cache_control, Some("max-age=86400, private"));

    let unknown = Place::Keys
        .answer_to(&tenant, "if-none-match: \"other\"\r\n")
        .await;
    assert_eq!((unknown.status, unknown.header("etag")), (200, Some(tag)));
    assert_eq!(unknown.body, first.body);

    tenant.signing_keys().rotate();
    let changed = Place::Keys.answer_to(&tenant, &conditional).await;
    assert_eq!(changed.status, 200);
    assert_ne!(changed.header("etag").unwrap(), tag);
}

#[tokio::test]
async fn no_answer_is_sniffed() {
    let tenant = tenant().await;
    for place in [Place::Discovery, Place::Keys, Place::Token] {
        let answer = place.answer(&tenant).await;
        assert_eq!(
            answer.header("x-content-type-options"),
            Some("nosniff"),
            "{place:?}"
        );
    }
}

#[tokio::test]
async fn tokens_have_no_etag() {
    let tenant = tenant().await;
    tenant.token_endpoint().serve_etags(true);
    let answer = Place::Token
        .answer_to(&tenant, "if-none-match: *\r\n")
        .await;
    assert_eq!((answer.status, answer.header("etag")), (200, None));
    assert!(Place::Token.is_right(&answer.body));
}

#[tokio::test(start_paused = true)]
async fn a_late_answer_may_be_that_nothing_has_changed() {
    let tenant = tenant().await;
    tenant.key_endpoint().serve_etags(true);
    tenant.key_endpoint().delay(Duration::from_secs(3));
    let start = Instant::now();
    let answer = Place::Keys.answer_to(&tenant, "if-none-match: *\r\n").await;
    assert_eq!((answer.status, start.elapsed().as_secs()), (304, 3));
}

#[tokio::test]
async fn a_broken_answer_is_sent_though_the_client_has_the_right_one() {
    let tenant = tenant().await;
    tenant.key_endpoint().serve_etags(true);
    tenant.key_endpoint().answer_invalid_json();
    let answer = Place::Keys.answer_to(&tenant, "if-none-match: *\r\n").await;
    assert_eq!(answer.status, 200);
    assert!(!answer.body.is_empty() && !Place::Keys.is_right(&answer.body));
}

#[tokio::test]
async fn cache_control_is_entras_or_what_it_is_set_to_or_absent() {
    let tenant = tenant().await;
    for (place, default) in [
        (Place::Discovery, "max-age=86400, private"),
        (Place::Keys, "max-age=86400, private"),
        (Place::Token, "no-store, no-cache"),
    ] {
        let found = place.answer(&tenant).await;
        assert_eq!(found.header("cache-control"), Some(default));
        for (value, expected) in [
            ("max-age=0", Some("max-age=0")),
            ("max-age=315360000", Some("max-age=315360000")),
            ("", None),
        ] {
            place.endpoint(&tenant).set_cache_control(value);
            let found = place.answer(&tenant).await;
            assert_eq!(found.header("cache-control"), expected, "{place:?}");
            assert!(place.is_right(&found.body));
        }
    }
}
