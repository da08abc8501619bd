//! When to come again.

use std::time::Duration;

use http::HeaderMap;
use http::header::{DATE, HeaderName, RETRY_AFTER};

/// More than this nobody is told to wait.
const MOST: Duration = Duration::from_secs(5 * 60);

/// What `Retry-After` says (RFC 9110 §10.2.3). A date is taken against the response's own, so that
/// nobody's clock need be right.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = text(headers, &RETRY_AFTER)?;
    let is_number = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    let span = if is_number {
        value.parse().map_or(MOST, Duration::from_secs)
    } else {
        let at = httpdate::parse_http_date(value).ok()?;
        let date = httpdate::parse_http_date(text(headers, &DATE)?).ok()?;
        at.duration_since(date).unwrap_or_default()
    };
    Some(span.min(MOST))
}

fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(lines: &[(&'static str, &str)]) -> Option<u64> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.insert(*name, value.parse().unwrap());
        }
        retry_after(&headers).map(|span| span.as_secs())
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_and_at_most_five_minutes() {
        assert_eq!(after(&[("retry-after", "7")]), Some(7));
        assert_eq!(after(&[("retry-after", "86400")]), Some(300));
        assert_eq!(after(&[("retry-after", "99999999999999999999")]), Some(300));
        for rubbish in ["", "-1", "soon", "1.5"] {
            assert_eq!(after(&[("retry-after", rubbish)]), None, "{rubbish}");
        }
        let earlier = "Wed, 25 Nov 2026 10:00:00 GMT";
        let later = "Wed, 25 Nov 2026 10:01:30 GMT";
        let dates = |date, at| after(&[("date", date), ("retry-after", at)]);
        assert_eq!(dates(earlier, later), Some(90));
        assert_eq!(dates(later, earlier), Some(0));
        assert_eq!(after(&[("retry-after", later)]), None, "no date of its own");
    }
}
