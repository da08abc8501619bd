//! The media type that a request gives its body.

use http::HeaderMap;
use http::header::CONTENT_TYPE;

/// The media type of a body (RFC 9110 §8.3.1), in lower case and without its parameters.
pub(crate) enum MediaType {
    /// Nothing is said of it.
    None,
    Of(String),
    /// There are two, or one that is no text.
    Unreadable,
}

impl MediaType {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut values = headers.get_all(CONTENT_TYPE).iter();
        match (values.next(), values.next()) {
            (None, _) => Self::None,
            (Some(value), None) => value.to_str().map_or(Self::Unreadable, |text| {
                let essence = text.split(';').next().unwrap_or_default();
                Self::Of(essence.trim().to_ascii_lowercase())
            }),
            (Some(_), Some(_)) => Self::Unreadable,
        }
    }

    pub(crate) fn is(&self, expected: &str) -> bool {
        matches!(self, Self::Of(essence) if essence == expected)
    }

    /// Returns whether it is JSON (RFC 8259 §11), something in the form of it (`+json`, RFC 6839
    /// §3.1), or nothing is said.
    pub(crate) fn may_be_json(&self) -> bool {
        match self {
            Self::None => true,
            Self::Of(essence) => {
                let suffixed = essence.strip_suffix("+json");
                let is_of_json = |name: &str| {
                    name.split_once('/').is_some_and(|(of, name)| {
                        !of.is_empty() && !name.is_empty() && !name.contains([',', '/', ' '])
                    })
                };
                essence == "application/json" || suffixed.is_some_and(is_of_json)
            }
            Self::Unreadable => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn of(values: &[&str]) -> MediaType {
        let mut headers = HeaderMap::new();
        for value in values {
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            headers.append(CONTENT_TYPE, value);
        }
        MediaType::of(&headers)
    }

    #[test]
    fn json_is_json_with_parameters_by_suffix_or_unsaid() {
        for values in [
            &[][..],
            &["application/json"],
            &["Application/JSON"],
            &["application/json; charset=utf-8"],
            &["application/json;charset=\"UTF-8\""],
            &[" application/json "],
            &["application/scim+json"],
            &["application/x+json;charset=utf-8"],
        ] {
            assert!(of(values).may_be_json(), "{values:?}");
        }
        for values in [
            &[""][..],
            &["text/plain"],
            &["text/plain;application/json"],
            &["text/plain; charset=application/json"],
            &["text/plain;+json"],
            &["text/json"],
            &["application/jsonp"],
            &["application/jsonl"],
            &["application/json, text/plain"],
            &["text/plain, application/x+json"],
            &["+json"],
            &["/+json"],
            &["x/+json"],
            &["json"],
            &["*/*"],
            &["application/x-www-form-urlencoded"],
            &["multipart/form-data; boundary=x"],
            &["application/octet-stream"],
            &["application/json", "application/json"],
            &["application/json", "text/plain"],
            &["application/json\u{e9}"],
        ] {
            assert!(!of(values).may_be_json(), "{values:?}");
        }
    }

    #[test]
    fn a_form_is_said_to_be_one() {
        let form = "application/x-www-form-urlencoded";
        assert!(of(&[form]).is(form));
        assert!(of(&["Application/X-WWW-Form-Urlencoded; charset=utf-8"]).is(form));
        for values in [&[][..], &["text/plain"], &[form, form], &["a, b"]] {
            assert!(!of(values).is(form), "{values:?}");
        }
    }
}
