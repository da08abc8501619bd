//! Tests of the plan for a request to Entra.

use serde_json::{from_value, json};

use super::*;

const NOW: u64 = 100_000;
const HOUR: Duration = Duration::from_secs(3_600);

fn expiring_at(time: u64) -> EntraTokens {
    from_value(json!({ "access_token": "", "expires_at": time, "refresh_token": null })).unwrap()
}

fn plan(left: u64, attempt: Option<(u64, bool, u64)>, is_demanded: bool) -> Plan {
    let attempt = attempt.map(|(ago, has_failed, wait)| Attempt {
        at: NOW - ago,
        has_failed,
        wait,
    });
    let situation = Situation {
        tokens: &expiring_at(NOW + left),
        attempt,
        is_demanded,
        lifetime: HOUR,
        skew: 300,
    };
    situation.plan(NOW)
}

fn refuse(seconds: u64) -> Plan {
    Plan::Refuse(Duration::from_secs(seconds))
}

#[test]
fn a_token_that_the_clients_would_outlive_is_renewed_ten_minutes_apart() {
    for (left, last, expected) in [
        (3_600, None, Plan::Hold),
        (3_599, None, Plan::Ask),
        (3_599, Some(599), Plan::Hold),
        (3_599, Some(600), Plan::Ask),
        (300, Some(599), Plan::Hold),
        (299, Some(0), Plan::Ask),
        (0, Some(0), Plan::Ask),
    ] {
        let last = last.map(|ago| (ago, false, 0));
        assert_eq!(plan(left, last, false), expected, "{left} {last:?}");
    }
    // A failure counts, too.
    assert_eq!(plan(3_599, Some((599, true, 0)), false), Plan::Hold);
    assert_eq!(plan(3_599, Some((600, true, 0)), false), Plan::Ask);
}

#[test]
fn after_a_failure_a_good_token_serves_for_two_minutes() {
    for (ago, wait, expected) in [
        (0, 0, Plan::Hold),
        (119, 0, Plan::Hold),
        (120, 0, Plan::Ask),
        (299, 300, Plan::Hold),
        (300, 300, Plan::Ask),
    ] {
        let found = plan(299, Some((ago, true, wait)), false);
        assert_eq!(found, expected, "{ago} {wait}");
    }
}

#[test]
fn while_clients_wait_entra_is_asked_every_ten_seconds_or_when_it_says() {
    for (left, is_demanded) in [(0, false), (0, true), (3_600, true)] {
        for (ago, wait, expected) in [
            (0, 0, refuse(10)),
            (9, 0, refuse(1)),
            (10, 0, Plan::Ask),
            (10, 60, refuse(50)),
            (299, 300, refuse(1)),
            (300, 300, Plan::Ask),
        ] {
            let found = plan(left, Some((ago, true, wait)), is_demanded);
            assert_eq!(found, expected, "{left} {is_demanded} {ago} {wait}");
        }
        // A success does not put off the next request.
        assert_eq!(plan(left, Some((0, false, 0)), is_demanded), Plan::Ask);
    }
}

#[test]
fn an_attempt_by_a_clock_that_is_ahead_counts_as_made_now_within_the_skew() {
    for (ahead, expected) in [(1, refuse(10)), (300, refuse(10)), (301, Plan::Ask)] {
        let situation = Situation {
            tokens: &expiring_at(NOW),
            attempt: Some(Attempt {
                at: NOW + ahead,
                has_failed: true,
                wait: 0,
            }),
            is_demanded: false,
            lifetime: HOUR,
            skew: 300,
        };
        assert_eq!(situation.plan(NOW), expected, "{ahead}");
    }
}

#[test]
fn a_token_that_is_said_to_last_for_ever_is_renewed() {
    assert_eq!(plan(5_700, None, false), Plan::Hold);
    assert_eq!(plan(5_701, None, false), Plan::Ask);
}
