//! Reads the bearer token from the `Authorization` header (RFC 9110 §11.6.2, RFC 6750 §2.1).

use http::HeaderMap;
use http::header::AUTHORIZATION;

use crate::respond::Refusal;

/// What follows `Bearer` in the one `Authorization` header. Whether it has the characters of a
/// token is not looked at: what equals a token that was verified needs no such look.
///
/// The scheme may be written in any case and is followed by one or more spaces (RFC 9110), never
/// by a tab.
pub(crate) fn sent(headers: &HeaderMap) -> Result<&[u8], Refusal> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(Refusal::NoCredentials)?.as_bytes();
    if values.next().is_some() {
        return Err(Refusal::SeveralAuthorizations);
    }

    let end_of_scheme = value
        .iter()
        .position(|byte| !is_scheme_character(*byte))
        .unwrap_or(value.len());
    let (scheme, rest) = value.split_at(end_of_scheme);
    if !scheme.eq_ignore_ascii_case(b"Bearer") {
        return Err(Refusal::OtherScheme);
    }
    let token = match rest {
        [b' ', rest @ ..] => rest.trim_ascii_start(),
        _ => return Err(Refusal::MalformedAuthorization),
    };
    // A tab among the spaces is none of the grammar's.
    let separator = &rest[..rest.len() - token.len()];
    if separator.contains(&b'\t') || token.is_empty() {
        return Err(Refusal::MalformedAuthorization);
    }
    Ok(token)
}

/// Whether it has only the characters of `token68`.
pub(crate) fn check_characters(token: &[u8]) -> Result<(), Refusal> {
    if is_token68(token) {
        Ok(())
    } else {
        Err(Refusal::MalformedAuthorization)
    }
}

/// `tchar` of RFC 9110 §5.6.2, as far as the names of schemes have them.
fn is_scheme_character(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// `1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="`
fn is_token68(token: &[u8]) -> bool {
    let end = token
        .iter()
        .rposition(|byte| *byte != b'=')
        .map_or(0, |last| last + 1);
    end > 0
        && token[..end]
            .iter()
            .all(|byte| IS_TOKEN68[usize::from(*byte)])
}

/// Looked up rather than compared: a token has thousands of characters.
static IS_TOKEN68: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    loop {
        table[byte as usize] =
            byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/');
        if byte == u8::MAX {
            break;
        }
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn read(values: &[&[u8]]) -> Result<String, &'static str> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_bytes(value).unwrap());
        }
        sent(&headers)
            .and_then(|token| check_characters(token).map(|()| token))
            .map(|token| String::from_utf8(token.to_vec()).unwrap())
            .map_err(|refusal| refusal.code())
    }

    #[test]
    fn the_scheme_is_bearer_in_any_case_and_spaces_follow() {
        for value in [
            &b"Bearer a.b-c"[..],
            b"bearer a.b-c",
            b"BEARER a.b-c",
            b"Bearer    a.b-c",
        ] {
            assert_eq!(read(&[value]), Ok("a.b-c".to_owned()));
        }
        assert_eq!(read(&[b"Bearer a+b/c~_=="]), Ok("a+b/c~_==".to_owned()));
    }

    #[test]
    fn no_header_and_another_scheme_are_told_apart() {
        assert_eq!(read(&[]), Err("no_credentials"));
        for value in [
            &b""[..],
            b"Basic dXNlcjpwYXNz",
            b"DPoP a.b.c",
            b"Bearers a",
            b"a.b.c",
            b"\xc3\xa9",
        ] {
            assert_eq!(read(&[value]), Err("other_scheme"), "{value:?}");
        }
    }

    #[test]
    fn a_malformed_bearer_header_is_refused() {
        for value in [
            &b"Bearer"[..],
            b"Bearer ",
            b"Bearer   ",
            b"Bearer\ta.b.c",
            b"Bearer \ta.b.c",
            b"Bearer a b",
            b"Bearer a.b.c, Bearer d.e.f",
            b"Bearer Bearer a.b.c",
            b"Bearer \"a.b.c\"",
            b"Bearer a.b.\xff",
            b"Bearer \xc3\xa9",
            b"Bearer ==",
            b"Bearer a=b",
            b"Bearer=a.b.c",
            b"Bearer,a.b.c",
            b"Bearer:a.b.c",
        ] {
            assert_eq!(read(&[value]), Err("malformed_authorization"), "{value:?}");
        }
    }

    #[test]
    fn two_headers_are_refused_even_if_they_agree() {
        for second in [&b"Bearer a"[..], b"Basic x", b""] {
            assert_eq!(read(&[b"Bearer a", second]), Err("several_authorizations"));
        }
    }
}
