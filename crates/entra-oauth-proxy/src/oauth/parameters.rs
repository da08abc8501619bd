//! Parameters of a request.

use std::str::FromStr;

use url::form_urlencoded;

use super::{ErrorCode, OAuthError};

/// Parameters of a query or a form, in their order.
///
/// A parameter without a value counts as absent (RFC 6749 §3.1).
pub(crate) struct Parameters(Vec<(String, String)>);

/// Maximum number of parameters: more than any client sends.
const MAX_PARAMETERS: usize = 64;

impl FromStr for Parameters {
    type Err = OAuthError;

    /// Parses the text of a query or a form. The error means that there are too many parameters.
    fn from_str(text: &str) -> Result<Self, OAuthError> {
        let pairs: Vec<_> = form_urlencoded::parse(text.as_bytes())
            .filter(|(_, value)| !value.is_empty())
            .take(MAX_PARAMETERS + 1)
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
            .collect();
        match pairs.len() > MAX_PARAMETERS {
            true => Err(OAuthError::new(
                ErrorCode::InvalidRequest,
                "too many parameters",
            )),
            false => Ok(Self(pairs)),
        }
    }
}

impl Parameters {
    /// Returns the value of a parameter, or an error if the parameter occurs more than once.
    pub(crate) fn one(&self, name: &str) -> Result<Option<&str>, OAuthError> {
        let mut all = self.all(name);
        match (all.next(), all.next()) {
            (first, None) => Ok(first),
            _ => Err(OAuthError::new(
                ErrorCode::InvalidRequest,
                format!("the parameter {name} is repeated"),
            )),
        }
    }

    pub(crate) fn required(&self, name: &str) -> Result<&str, OAuthError> {
        self.one(name)?.ok_or_else(|| {
            OAuthError::new(
                ErrorCode::InvalidRequest,
                format!("the parameter {name} is missing"),
            )
        })
    }

    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        let of_name = self.0.iter().filter(move |(found, _)| found == name);
        of_name.map(|(_, value)| &**value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_stands_once_or_is_an_error_and_empty_ones_are_absent() {
        let params = "a=1&b=x+y%20z&a=2&c=&c=3&d=".parse::<Parameters>().unwrap();
        assert!(params.one("a").is_err());
        assert_eq!(params.one("b").unwrap(), Some("x y z"));
        assert_eq!(params.one("c").unwrap(), Some("3"));
        assert_eq!(params.one("d").unwrap(), None);
        assert!(params.required("d").is_err());
        assert_eq!(params.all("a").collect::<Vec<_>>(), ["1", "2"]);
    }

    #[test]
    fn there_is_a_limit() {
        let parse = |text: String| text.parse::<Parameters>();
        assert!(parse("a=1&".repeat(64)).is_ok());
        assert!(parse("a=1&".repeat(65)).is_err());
        assert!(parse("a=&".repeat(10_000)).is_ok());
    }
}
