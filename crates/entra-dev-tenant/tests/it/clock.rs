//! Tests of the tenant's wall clock and of tokio's clock.

use std::time::{Duration, UNIX_EPOCH};

use entra_dev_tenant::DevTenant;
use serde_json::json;
use tokio::time::Instant;

use crate::raw::{Place, tenant};
use crate::support::{API, decoded};

const HOUR: Duration = Duration::from_secs(3_600);

#[tokio::test(start_paused = true)]
async fn the_wall_clock_follows_tokios() {
    let tenant = DevTenant::start().await.unwrap();
    let clock = tenant.clock();
    let before = clock();
    tokio::time::advance(HOUR).await;
    assert_eq!(clock().duration_since(before).unwrap().as_secs(), 3_600);
}

#[tokio::test(start_paused = true)]
async fn time_that_passes_moves_both_clocks() {
    let tenant = DevTenant::start().await.unwrap();
    let clock = tenant.clock();
    let (wall, monotonic) = (clock(), Instant::now());
    tenant.time().advance(HOUR).await;
    assert_eq!(clock().duration_since(wall).unwrap(), HOUR);
    assert_eq!(monotonic.elapsed(), HOUR);
}

#[tokio::test]
#[should_panic(expected = "not frozen")]
async fn time_passes_only_where_tokios_clock_is_paused() {
    DevTenant::start().await.unwrap().time().advance(HOUR).await;
}

#[tokio::test(start_paused = true)]
async fn a_jump_moves_every_wall_clock_that_was_handed_out_and_not_tokios() {
    let tenant = DevTenant::start().await.unwrap();
    let (clock, other) = (tenant.clock(), tenant.clock());
    let (wall, monotonic) = (clock(), Instant::now());

    tenant.time().jump_forward(HOUR);
    assert_eq!(clock(), wall + HOUR);
    assert_eq!(other(), wall + HOUR);

    tenant.time().jump_back(3 * HOUR);
    assert_eq!(clock(), wall - 2 * HOUR);
    assert_eq!(monotonic.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn after_a_jump_back_tokens_were_issued_before_those_of_before_it() {
    let tenant = DevTenant::start().await.unwrap();
    let issued_at = || decoded(&tenant.user("ada").for_api(API).mint(), 1)["iat"].as_i64();
    let before = issued_at().unwrap();
    tenant.time().jump_back(HOUR);
    assert_eq!(issued_at(), Some(before - 3_600));
}

#[tokio::test(start_paused = true)]
async fn before_1970_the_tenant_still_answers_and_signs() {
    let tenant = tenant().await;
    let since_1970 = tenant.clock()().duration_since(UNIX_EPOCH).unwrap();
    tenant.time().jump_back(since_1970 + HOUR);
    let date = "Wed, 31 Dec 1969 23:00:00 GMT";
    assert_eq!(tenant.time().http_date_in(Duration::ZERO), date);
    let answer = Place::Keys.answer(&tenant).await;
    assert_eq!((answer.status, answer.header("date")), (200, Some(date)));
    let claims = decoded(&tenant.user("ada").for_api(API).mint(), 1);
    assert_eq!(claims["iat"], json!(-3_600 - 300));
}
