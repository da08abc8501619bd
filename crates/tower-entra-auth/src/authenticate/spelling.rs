//! Header names that some reader takes for one another.
//!
//! CGI and its heirs make a variable of each header (RFC 3875 §4.1.18) and put `_` for what a
//! variable's name cannot have: `X-Token` and `X_Token` are one to them, and `X.Token` to PHP.

use http::{HeaderMap, HeaderName};

/// Removes the headers whose names differ from this one only in what stands between their words.
pub(crate) fn remove_other_spellings(headers: &mut HeaderMap, name: &HeaderName) {
    let is_another = |other: &&HeaderName| *other != name && words(other).eq(words(name));
    let others: Vec<HeaderName> = headers.keys().filter(is_another).cloned().collect();
    for other in others {
        headers.remove(other);
    }
}

fn words(name: &HeaderName) -> impl Iterator<Item = &[u8]> {
    let words = name.as_str().as_bytes();
    let words = words.split(|byte| !byte.is_ascii_alphanumeric());
    words.filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    /// Every character but letters and digits that a name may have (RFC 9110 §5.6.2).
    const SEPARATORS: &str = "-_.!#$%&'*+^`|~";

    #[test]
    fn every_other_spelling_goes_and_nothing_else() {
        let name = |text: &str| text.parse::<HeaderName>().unwrap();
        let kept = ["x-token", "xtoken", "x-tokens", "token", "x-to-ken", "x"];
        let mut headers = HeaderMap::new();
        for text in kept {
            headers.insert(name(text), HeaderValue::from_static("kept"));
        }
        for separator in SEPARATORS.chars() {
            for text in [
                format!("x{separator}{separator}token"),
                format!("{separator}x_token"),
                format!("X{separator}TOKEN{separator}"),
            ] {
                headers.insert(name(&text), HeaderValue::from_static("forged"));
            }
        }
        remove_other_spellings(&mut headers, &name("x-token"));
        let mut left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        let mut expected = kept;
        expected.sort_unstable();
        assert_eq!(left, expected);
    }
}
