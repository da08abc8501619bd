//! Response headers about time: freshness and `Retry-After`.

use std::time::Duration;

use http::HeaderMap;
use http::header::{AGE, CACHE_CONTROL, DATE, HeaderName, HeaderValue, RETRY_AFTER};

/// Returns the remaining time for which the response is fresh (RFC 9111 §4.2), or `None` if the
/// response does not say.
///
/// The time is `max-age` minus `Age`. It is zero for `no-store` and `no-cache`. `s-maxage` is
/// ignored: it is for shared caches.
#[must_use]
pub fn fresh_for(headers: &HeaderMap) -> Option<Duration> {
    let mut max_age = None;
    for value in headers.get_all(CACHE_CONTROL) {
        for directive in value.to_str().unwrap_or_default().split(',') {
            let (name, argument) = directive.split_once('=').unwrap_or((directive, ""));
            let name = name.trim();
            if name.eq_ignore_ascii_case("no-store") || name.eq_ignore_ascii_case("no-cache") {
                return Some(Duration::ZERO);
            }
            if name.eq_ignore_ascii_case("max-age") && max_age.is_none() {
                // An unreadable `max-age` counts as stale (RFC 9111 §4.2.1).
                max_age = Some(seconds(argument.trim().trim_matches('"')).unwrap_or_default());
            }
        }
    }
    let age = text(headers, &AGE).and_then(seconds).unwrap_or_default();
    max_age.map(|max_age| max_age.saturating_sub(age))
}

/// Returns the time to wait before the next request (RFC 9110 §10.2.3), or `None` if the response
/// does not say.
///
/// A date in `Retry-After` is compared with the response's own `Date`, so that no clock has to be
/// right. Without a `Date` the result is `None`.
#[must_use]
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = text(headers, &RETRY_AFTER)?;
    seconds(value).or_else(|| {
        let at = httpdate::parse_http_date(value).ok()?;
        let date = httpdate::parse_http_date(text(headers, &DATE)?).ok()?;
        Some(at.duration_since(date).unwrap_or_default())
    })
}

/// Returns the value of a `Retry-After` header: whole seconds, rounded up, and at least one.
#[must_use]
pub fn retry_after_value(wait: Duration) -> HeaderValue {
    let seconds = wait
        .as_secs()
        .saturating_add(u64::from(wait.subsec_nanos() > 0));
    seconds.max(1).into()
}

/// Parses a number of seconds, which has digits only. Values above `u32::MAX` count as `u32::MAX`.
fn seconds(text: &str) -> Option<Duration> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let max = u64::from(u32::MAX);
    is_number
        .then(|| Duration::from_secs(text.parse().map_or(max, |seconds: u64| seconds.min(max))))
}

fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let lines = lines.iter();
        lines
            .map(|(name, value)| {
                let name: HeaderName = name.parse().unwrap();
                (name, value.parse().unwrap())
            })
            .collect()
    }

    fn fresh(cache_control: &str) -> Option<u64> {
        fresh_for(&headers(&[("cache-control", cache_control)])).map(|duration| duration.as_secs())
    }

    #[test]
    fn max_age_is_how_long_a_response_is_fresh() {
        assert_eq!(fresh("max-age=86400, private"), Some(86_400));
        assert_eq!(fresh("private , MAX-AGE=\"60\""), Some(60));
        assert_eq!(fresh("max-age=60, max-age=5"), Some(60));
        assert_eq!(fresh("max-age=60, no-cache"), Some(0));
        assert_eq!(fresh("No-Store"), Some(0));
        assert_eq!(fresh("s-maxage=60"), None);
        assert_eq!(fresh("private"), None);
        assert_eq!(fresh_for(&headers(&[])), None);
        let lines = [("cache-control", "private"), ("cache-control", "max-age=9")];
        assert_eq!(fresh_for(&headers(&lines)), Some(Duration::from_secs(9)));
    }

    #[test]
    fn rubbish_in_max_age_counts_as_stale_and_too_much_as_much() {
        for rubbish in [
            "max-age",
            "max-age=",
            "max-age=-1",
            "max-age=1.5",
            "max-age=x",
        ] {
            assert_eq!(fresh(rubbish), Some(0), "{rubbish}");
        }
        assert_eq!(
            fresh("max-age=99999999999999999999"),
            Some(u64::from(u32::MAX))
        );
    }

    #[test]
    fn the_age_is_taken_off() {
        let lines = |age| headers(&[("cache-control", "max-age=60"), ("age", age)]);
        assert_eq!(fresh_for(&lines("20")), Some(Duration::from_secs(40)));
        assert_eq!(fresh_for(&lines("90")), Some(Duration::ZERO));
        assert_eq!(fresh_for(&lines("x")), Some(Duration::from_secs(60)));
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_against_the_responses_own() {
        let after = |value| retry_after(&headers(&[("retry-after", value)]));
        assert_eq!(after("120"), Some(Duration::from_secs(120)));
        let most = Duration::from_secs(u32::MAX.into());
        assert_eq!(after("99999999999999999999"), Some(most));
        for rubbish in ["", "-1", "soon", "1.5"] {
            assert_eq!(after(rubbish), None, "{rubbish}");
        }
        let dates = |date, at| retry_after(&headers(&[("date", date), ("retry-after", at)]));
        let (earlier, later) = (
            "Wed, 25 Nov 2026 10:00:00 GMT",
            "Wed, 25 Nov 2026 10:01:30 GMT",
        );
        assert_eq!(dates(earlier, later), Some(Duration::from_secs(90)));
        assert_eq!(dates(later, earlier), Some(Duration::ZERO));
        assert_eq!(after(later), None, "without a date of its own");
    }

    #[test]
    fn a_wait_is_written_in_whole_seconds_rounded_up() {
        for (millis, seconds) in [
            (0, "1"),
            (900, "1"),
            (1_000, "1"),
            (1_001, "2"),
            (30_000, "30"),
        ] {
            assert_eq!(retry_after_value(Duration::from_millis(millis)), seconds);
        }
        assert_eq!(retry_after_value(Duration::MAX), u64::MAX.to_string());
    }
}
