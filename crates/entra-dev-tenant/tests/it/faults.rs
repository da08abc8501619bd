//! Tests of every fault at each endpoint, as it is on the wire.

use std::io::Read as _;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use tokio::time::Instant;

use crate::raw::{Answer, Place, tenant};

#[tokio::test]
async fn without_a_fault_each_endpoint_gives_the_right_answer() {
    let tenant = tenant().await;
    for place in Place::ALL {
        let answer = place.answer(&tenant).await;
        assert_eq!(answer.status, 200);
        assert!(place.is_right(&answer.body), "{place:?}");
        assert_eq!(answer.content_length(), answer.body.len());
    }
}

#[tokio::test(start_paused = true)]
async fn a_late_answer_is_the_right_one_so_much_later() {
    let tenant = tenant().await;
    for place in Place::ALL {
        place
            .endpoint(&tenant)
            .delay(Duration::from_secs(7))
            .for_next(1);
        for expected in [7, 0] {
            let start = Instant::now();
            let answer = place.answer(&tenant).await;
            assert!(place.is_right(&answer.body), "{place:?}");
            assert_eq!(start.elapsed().as_secs(), expected, "{place:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_late_answer_is_that_of_the_time_when_it_was_asked() {
    let tenant = tenant().await;
    tenant
        .key_endpoint()
        .delay(Duration::from_secs(7))
        .for_next(1);
    let mut late = Place::Keys.asks(&tenant, "connection: close\r\n").await;
    while tenant.key_endpoint().hits() < 1 {
        tokio::task::yield_now().await;
    }
    tenant.signing_keys().rotate();
    let current = Place::Keys.answer(&tenant).await;
    let mut answer = Answer::head_of(&mut late).await;
    late.read_to_end(&mut answer.body).await.unwrap();
    let count = |body: &[u8]| {
        let document: Value = serde_json::from_slice(body).unwrap();
        document["keys"].as_array().unwrap().len()
    };
    assert_eq!((count(&answer.body), count(&current.body)), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn a_trickling_answer_has_its_headers_at_once_and_then_one_byte_a_second() {
    let tenant = tenant().await;
    for place in Place::ALL {
        place.endpoint(&tenant).trickle().for_next(1);
        let start = Instant::now();
        let mut stream = place.asks(&tenant, "connection: close\r\n").await;
        let mut answer = Answer::head_of(&mut stream).await;
        assert_eq!((answer.status, start.elapsed().as_secs()), (200, 0));
        for second in 1..=3 {
            answer.body.push(stream.read_u8().await.unwrap());
            assert_eq!(start.elapsed().as_secs(), second);
        }
        stream.read_to_end(&mut answer.body).await.unwrap();
        assert!(place.is_right(&answer.body), "{place:?}");
        assert_eq!(answer.content_length(), answer.body.len());
        assert_eq!(start.elapsed().as_secs(), answer.body.len() as u64);

        place.answer(&tenant).await;
        assert_eq!(start.elapsed().as_secs(), answer.body.len() as u64);
    }
}

#[tokio::test]
async fn a_truncated_answer_promises_all_and_ends_after_half() {
    let tenant = tenant().await;
    for place in Place::ALL {
        place.endpoint(&tenant).truncate().for_next(1);
        // The connection is kept alive, so that only the fault closes it.
        let mut stream = place.asks(&tenant, "").await;
        let mut answer = Answer::head_of(&mut stream).await;
        stream.read_to_end(&mut answer.body).await.unwrap();
        assert_eq!(answer.status, 200);
        assert_eq!(answer.body.len(), answer.content_length() / 2, "{place:?}");
        let whole = place.answer(&tenant).await.body;
        assert!(place.is_right(&whole), "{place:?}");
        assert_eq!(whole.len(), answer.content_length());
        assert_eq!(answer.body[..16], whole[..16]);
    }
}

#[tokio::test]
async fn a_page_of_a_proxy_is_html_with_status_200() {
    let tenant = tenant().await;
    for place in Place::ALL {
        place.endpoint(&tenant).answer_html();
        let answer = place.answer(&tenant).await;
        assert_eq!(answer.status, 200);
        let kind = answer.header("content-type");
        assert_eq!(kind, Some("text/html; charset=utf-8"));
        assert!(answer.body.starts_with(b"<!DOCTYPE html>"));
    }
}

#[tokio::test]
async fn invalid_json_is_half_of_the_right_answer_as_if_that_were_all() {
    let tenant = tenant().await;
    for place in Place::ALL {
        place.endpoint(&tenant).answer_invalid_json().for_next(1);
        let answer = place.answer(&tenant).await;
        let whole = place.answer(&tenant).await.body;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.content_length(), answer.body.len());
        assert_eq!(answer.body.len(), whole.len() / 2, "{place:?}");
        assert_eq!(answer.body[..16], whole[..16]);
        assert!(serde_json::from_slice::<Value>(&answer.body).is_err());
    }
}

#[tokio::test]
async fn an_error_can_come_with_status_200() {
    let tenant = tenant().await;
    for place in Place::ALL {
        place.endpoint(&tenant).answer_error_json();
        let answer = place.answer(&tenant).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), Some("application/json"));
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(body, json!({ "error": "temporarily_unavailable" }));
    }
}

#[tokio::test]
async fn an_oversized_answer_is_right_but_for_its_length() {
    let tenant = tenant().await;
    for place in Place::ALL {
        place.endpoint(&tenant).answer_oversized(1 << 20);
        let answer = place.answer(&tenant).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.body.len(), 1 << 20);
        assert_eq!(answer.content_length(), 1 << 20);
        assert!(place.is_right(&answer.body), "{place:?}");
    }
}

#[tokio::test]
async fn a_gzip_bomb_is_the_right_answer_after_a_hundred_mebibytes() {
    let tenant = tenant().await;
    for place in Place::ALL {
        place.endpoint(&tenant).answer_gzip_bomb();
        let answer = place.answer(&tenant).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-encoding"), Some("gzip"));
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert!(answer.body.len() < 200 << 10, "{}", answer.body.len());
        assert!(answer.body.starts_with(&[0x1f, 0x8b]));
        if place != Place::Keys {
            // Inflating takes seconds, and the body differs only in its last bytes.
            continue;
        }
        let mut inflated = Vec::new();
        flate2::read::GzDecoder::new(&*answer.body)
            .read_to_end(&mut inflated)
            .unwrap();
        assert!(inflated.len() > 100 << 20, "{}", inflated.len());
        assert!(place.is_right(inflated.trim_ascii_start()), "{place:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_throttled_request_is_told_when_to_come_back_by_the_tenants_clock() {
    let tenant = tenant().await;
    for place in Place::ALL {
        let endpoint = place.endpoint(&tenant);
        endpoint.throttle(429, "120");
        let answer = place.answer(&tenant).await;
        assert_eq!(answer.status, 429);
        assert_eq!(answer.header("retry-after"), Some("120"));

        tenant.time().jump_forward(Duration::from_secs(86_400));
        let (now, later) = (
            tenant.time().http_date_in(Duration::ZERO),
            tenant.time().http_date_in(Duration::from_secs(90)),
        );
        assert_ne!(answer.header("date"), Some(&*now));
        endpoint.throttle(503, &later);
        let answer = place.answer(&tenant).await;
        assert_eq!(answer.status, 503);
        assert_eq!(answer.header("retry-after"), Some(&*later));
        assert_eq!(answer.header("date"), Some(&*now));
        assert!(answer.body.is_empty());
    }
}

#[tokio::test]
async fn a_bare_304_comes_whether_or_not_it_was_asked_for() {
    let tenant = tenant().await;
    for place in Place::ALL {
        place.endpoint(&tenant).answer_not_modified();
        for headers in ["", "if-none-match: \"mine\"\r\n"] {
            let answer = place.answer_to(&tenant, headers).await;
            assert_eq!((answer.status, answer.body.len()), (304, 0));
            assert_eq!(answer.header("etag"), None);
            assert_eq!(answer.header("content-length"), None);
        }
    }
}

#[tokio::test]
async fn a_redirect_leads_elsewhere_and_any_answer_can_be_given() {
    let tenant = tenant().await;
    for place in Place::ALL {
        let endpoint = place.endpoint(&tenant);
        endpoint.redirect_to("http://attacker.example/keys");
        let answer = place.answer(&tenant).await;
        assert_eq!(answer.status, 302);
        let location = answer.header("location");
        assert_eq!(location, Some("http://attacker.example/keys"));

        endpoint.answer_with(418, "text/plain", "a teapot");
        let answer = place.answer(&tenant).await;
        assert_eq!((answer.status, &*answer.body), (418, &b"a teapot"[..]));
        assert_eq!(answer.header("content-type"), Some("text/plain"));

        endpoint.recover();
        assert!(place.is_right(&place.answer(&tenant).await.body));
    }
}

#[tokio::test(start_paused = true)]
async fn a_fault_ends_with_its_requests_and_a_later_one_replaces_it() {
    let tenant = tenant().await;
    tenant.key_endpoint().hang();
    tenant.key_endpoint().fail_with(503).for_next(2);
    let mut found = Vec::new();
    for _ in 0..3 {
        found.push(Place::Keys.answer(&tenant).await.status);
    }
    assert_eq!(found, [503, 503, 200]);
    assert_eq!(Place::Discovery.answer(&tenant).await.status, 200);
}

#[tokio::test]
#[should_panic(expected = "a status code from 100 to 999")]
async fn a_number_that_is_no_status_is_refused_when_the_fault_is_set() {
    tenant().await.key_endpoint().fail_with(99);
}
