//! Tests of keys that rotate under load, on paused time, in memory.
//!
//! No valid token is refused that could be verified, and no key outlives its time.

use tokio::time::{Instant, sleep};

use crate::support::{ACCEPTED, HOUR, MINUTE, PENDING, SECOND, Scene, UNTRUSTED};
use tower_entra_auth::settings::TokenCache;

/// A model of the bucket, from the times of its fetches: two at first, then one every 30 s,
/// refilled continuously.
#[derive(Debug, Default)]
struct Allowance {
    spent: Vec<Instant>,
}

impl Allowance {
    /// Returns the number of fetches that are permitted now.
    fn left(&self, now: Instant) -> f64 {
        let mut left = 2.0;
        let mut before: Option<Instant> = None;
        for at in self.spent.iter().copied().chain([now]) {
            let gained = before.map_or(0.0, |before| (at - before).as_secs_f64() / 30.0);
            left = f64::min(2.0, left + gained) - 1.0;
            before = Some(at);
        }
        // No fetch takes place at this moment.
        left + 1.0
    }

    fn spend(&mut self, at: Instant) {
        assert!(self.left(at) >= 0.999, "a fetch that the bucket forbids");
        self.spent.push(at);
    }
}

/// Varies the documents after a rotation: each contains the newest key, and all, none or some of
/// the older ones.
fn flap(scene: &Scene, round: usize, older: &[String]) {
    let tenant = &scene.tenant;
    let everything = tenant.signing_keys().published();
    if round % 3 == 2 {
        tenant.signing_keys().withdraw_old();
    }
    let fewer = tenant.signing_keys().published();
    tenant.signing_keys().alternate(match round % 4 {
        0 => vec![everything, fewer],
        1 => vec![fewer.clone(), fewer, everything],
        2 => vec![fewer],
        _ => vec![everything],
    });
    for (index, kid) in older.iter().enumerate() {
        if (round + index) % 3 == 0 {
            tenant.signing_keys().omit(kid, 1 + (round * 7 + index) % 4);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn across_twenty_unannounced_rotations_no_valid_token_is_refused() {
    let scene = Scene::start().await;
    let start = Instant::now();
    let mut kids = vec![scene.tenant.signing_keys().current_id()];
    // Each key has one token that is sent again and again, and some that were never sent.
    let mut known = vec![scene.token()];
    let mut unseen: Vec<String> = scene.tokens::<20>().into();
    let mut answers = 0;
    for round in 0..20 {
        scene.tenant.signing_keys().rotate();
        flap(&scene, round, &kids);
        kids.push(scene.tenant.signing_keys().current_id());
        known.push(scene.token());
        unseen.extend(scene.tokens::<20>());

        // Several requests with the new key arrive at the same time, among requests with older
        // ones.
        let [one, other, third] = scene.tokens();
        let answered = tokio::join!(
            scene.answer(&one),
            scene.answer(&known[round]),
            scene.answer(&other),
            scene.answer(&known[0]),
            scene.answer(&third),
        );
        assert_eq!(
            answered,
            (
                ACCEPTED.into(),
                ACCEPTED.into(),
                ACCEPTED.into(),
                ACCEPTED.into(),
                ACCEPTED.into()
            ),
            "{round}"
        );
        // The next rotation follows after 30 s to 9 minutes.
        let pause = (30 + (round as u32 * 97) % 510) * SECOND;
        for part in 1..=3 {
            for token in &known {
                assert_eq!(scene.answer(token).await, ACCEPTED, "{round}.{part}");
            }
            for _ in 0..5 {
                let token = unseen.swap_remove((round * 31 + part * 17) % unseen.len());
                assert_eq!(scene.answer(&token).await, ACCEPTED, "{round}.{part}");
            }
            answers += known.len() + 5;
            sleep(pause / 3).await;
        }
    }
    assert!(answers > 900, "{answers}");

    // Each rotation costs one fetch, unless the schedule comes first. The schedule adds one fetch
    // every 57 to 60 minutes.
    let scheduled = start.elapsed().as_secs() / (57 * 60);
    assert!(scheduled >= 1, "{:?}", start.elapsed());
    let hits = scene.tenant.key_endpoint().hits();
    let most = 1 + 20 + usize::try_from(scheduled).unwrap() + 1;
    assert!((1 + 20 - 2..=most).contains(&hits), "{hits} of {most}");
    assert_eq!(scene.issuer().failures_in_a_row, 0);
}

#[tokio::test(start_paused = true)]
async fn where_the_first_answers_lag_only_those_who_asked_are_refused_and_the_others_are_pending() {
    let scene = Scene::start().await;
    let start = Instant::now();
    let mut allowance = Allowance::default();
    let mut known = vec![scene.token()];
    let mut pending = 0;
    for round in 0..20 {
        scene.tenant.signing_keys().rotate();
        scene.tenant.signing_keys().lag(1 + round % 2);
        let rotated = Instant::now();
        let mut has_been_accepted = false;
        // 20 times 40 s are less than the hour of the schedule, so all fetches are the bucket's.
        for _ in 0..40 {
            let before = scene.tenant.key_endpoint().hits();
            let answer = scene.answer(&scene.token()).await;
            let now = Instant::now();
            for _ in before..scene.tenant.key_endpoint().hits() {
                allowance.spend(now);
            }
            if answer == ACCEPTED {
                has_been_accepted = true;
            } else {
                let has_asked = scene.tenant.key_endpoint().hits() > before;
                assert_eq!(answer, if has_asked { UNTRUSTED } else { PENDING });
                assert!(!has_been_accepted, "{round}: accepted before");
                assert!(allowance.left(now) < 1.0, "{round}: {allowance:?}");
                pending += usize::from(!has_asked);
            }
            for token in &known {
                assert_eq!(scene.answer(token).await, ACCEPTED, "{round}");
            }
            sleep(SECOND).await;
        }
        // At most two fetches fail to bring the key, so the bucket permits another one within a
        // minute.
        while !has_been_accepted {
            assert!(rotated.elapsed() <= 91 * SECOND, "never accepted");
            let before = scene.tenant.key_endpoint().hits();
            has_been_accepted = scene.answer(&scene.token()).await == ACCEPTED;
            for _ in before..scene.tenant.key_endpoint().hits() {
                allowance.spend(Instant::now());
            }
            sleep(SECOND).await;
        }
        known.push(scene.token());
    }
    assert!(pending > 0, "the bucket was never empty");
    assert!(start.elapsed() < 57 * MINUTE);
    assert_eq!(
        scene.tenant.key_endpoint().hits(),
        1 + allowance.spent.len()
    );
}

#[tokio::test(start_paused = true)]
async fn a_withdrawn_keys_tokens_are_refused_once_it_was_absent_for_a_day_remembered_ones_too() {
    // Tokens are cached for the longest permitted time, so that the key's end is what ends their
    // acceptance.
    let scene =
        Scene::with(|settings| settings.token_cache(TokenCache::default().ttl(24 * HOUR))).await;
    let [remembered, unseen, other] = scene.tokens();
    assert_eq!(scene.answer(&remembered).await, ACCEPTED);
    sleep(30 * MINUTE).await;
    scene.tenant.signing_keys().rotate();
    scene.tenant.signing_keys().withdraw_old();
    assert_eq!(scene.answer(&scene.token()).await, ACCEPTED);

    let absent_since = Instant::now();
    for _ in 0..23 {
        sleep(HOUR).await;
        assert_eq!(scene.answer(&remembered).await, ACCEPTED);
    }
    sleep(HOUR - SECOND).await;
    assert_eq!(absent_since.elapsed(), 24 * HOUR - SECOND);
    assert_eq!(scene.answer(&remembered).await, ACCEPTED);
    assert_eq!(scene.answer(&unseen).await, ACCEPTED);
    sleep(SECOND).await;
    let before = scene.tenant.key_endpoint().hits();
    // The first token causes fetches, as any unknown key does. The others find the bucket empty.
    for (token, expected) in [
        (&remembered, UNTRUSTED),
        (&unseen, PENDING),
        (&other, PENDING),
    ] {
        assert_eq!(scene.answer(token).await, expected);
    }
    assert_eq!(scene.tenant.key_endpoint().hits(), before + 2);
    assert_eq!(scene.answer(&scene.token()).await, ACCEPTED);
}

#[tokio::test(start_paused = true)]
async fn only_documents_start_and_stop_the_day_of_a_key_that_is_withdrawn() {
    let scene = Scene::start().await;
    let old = scene.token();
    let with_both = {
        scene.tenant.signing_keys().rotate();
        let both = scene.tenant.signing_keys().published();
        scene.tenant.signing_keys().withdraw_old();
        both
    };
    assert_eq!(scene.answer(&scene.token()).await, ACCEPTED);

    // After 20 hours, a front end still has the key. The day starts again when the key is gone
    // again.
    sleep(20 * HOUR).await;
    let hits = scene.tenant.key_endpoint().hits();
    scene.tenant.signing_keys().alternate(vec![with_both]);
    sleep(61 * MINUTE).await;
    scene.tenant.signing_keys().stop_alternating();
    assert!(scene.tenant.key_endpoint().hits() > hits);
    assert_eq!(scene.issuer().keys.len(), 2);
    assert!(
        scene
            .issuer()
            .keys
            .iter()
            .all(|key| key.time_to_live.is_none())
    );
    sleep(61 * MINUTE).await;
    let left = scene.issuer().keys.iter().find_map(|key| key.time_to_live);
    assert!(left.unwrap() > 22 * HOUR, "{left:?}");

    // Failures neither prolong the day nor start another.
    scene.tenant.key_endpoint().fail_with(500);
    sleep(left.unwrap() - SECOND).await;
    assert_eq!(scene.answer(&old).await, ACCEPTED);
    sleep(SECOND).await;
    // The last refresh failed, so the service does not know whether the key is back.
    assert_eq!(scene.answer(&old).await, "503 keys_unavailable");
    scene.tenant.key_endpoint().recover();
    sleep(6 * MINUTE).await;
    assert_eq!(scene.answer(&old).await, UNTRUSTED);
    assert_eq!(scene.answer(&scene.token()).await, ACCEPTED);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_vanishes_from_some_documents_and_returns_is_never_missed() {
    let scene = Scene::start().await;
    let old = scene.tenant.signing_keys().current_id();
    let tokens = scene.tokens::<8>();
    scene.tenant.signing_keys().rotate();
    assert_eq!(scene.answer(&scene.token()).await, ACCEPTED);
    // The key is missing from 10 scheduled documents, is back in one or more, and is missing again.
    for token in &tokens {
        scene.tenant.signing_keys().omit(&old, 10);
        sleep(10 * HOUR).await;
        assert_eq!(scene.answer(token).await, ACCEPTED);
        sleep(2 * HOUR).await;
    }
    let fetches = scene.tenant.key_endpoint().hits();
    assert!(
        (97..=103).contains(&fetches),
        "hourly, and no more: {fetches}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_emergency_replacement_is_accepted_with_its_first_request_and_ends_the_old_in_a_day() {
    let scene = Scene::start().await;
    let [remembered, unseen, late] = scene.tokens();
    assert_eq!(scene.answer(&remembered).await, ACCEPTED);
    scene.tenant.signing_keys().replace_at_once();
    assert_eq!(scene.answer(&scene.token()).await, ACCEPTED);
    assert_eq!(scene.tenant.key_endpoint().hits(), 2);
    // The keys are merged, not replaced, so the old one is trusted for another day.
    assert_eq!(scene.answer(&remembered).await, ACCEPTED);
    assert_eq!(scene.answer(&unseen).await, ACCEPTED);
    let live: Vec<_> = scene
        .issuer()
        .keys
        .iter()
        .map(|key| key.time_to_live)
        .collect();
    assert_eq!(live.len(), 2);
    assert!(
        live.contains(&None) && live.contains(&Some(24 * HOUR)),
        "{live:?}"
    );

    sleep(24 * HOUR).await;
    for token in [&remembered, &unseen, &late] {
        assert_eq!(scene.answer(token).await, UNTRUSTED);
        // The bucket refills.
        sleep(MINUTE).await;
    }
    assert_eq!(scene.issuer().keys.len(), 1);
    assert_eq!(scene.answer(&scene.token()).await, ACCEPTED);
}
