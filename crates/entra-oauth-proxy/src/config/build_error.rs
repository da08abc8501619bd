//! What is wrong with the settings: everything at once.

use std::fmt;

/// The settings cannot make a proxy. Lists every problem, each with a remedy or an example of a good
/// value.
///
/// `Debug` is the same text as `Display`, as that is what `fn main() -> Result<..>` prints.
#[derive(Clone, Eq, PartialEq)]
pub struct BuildError {
    problems: Vec<(String, String)>,
}

impl BuildError {
    pub(crate) fn new(problems: Vec<(String, String)>) -> Self {
        Self { problems }
    }

    /// The settings that are wrong, as [`EntraOAuthProxyBuilder`](crate::EntraOAuthProxyBuilder) names
    /// them, each with what is wrong.
    pub fn problems(&self) -> impl Iterator<Item = (&str, &str)> {
        let problems = self.problems.iter();
        problems.map(|(setting, text)| (&**setting, &**text))
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("cannot let clients sign in through Entra:")?;
        for (setting, text) in &self.problems {
            write!(formatter, "\n  - {setting}: {text}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for BuildError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl std::error::Error for BuildError {}
