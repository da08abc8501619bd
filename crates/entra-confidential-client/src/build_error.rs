//! What is wrong with the settings: everything at once.

use std::fmt;

/// The settings cannot make a client. Lists every problem, each with a remedy or an example of a
/// good value.
///
/// `Debug` is the same text as `Display`, as that is what `fn main() -> Result<..>` prints.
#[derive(Clone, Eq, PartialEq)]
pub struct BuildError {
    problems: Vec<(&'static str, String)>,
}

impl BuildError {
    pub(crate) fn new(problems: Vec<(&'static str, String)>) -> Self {
        Self { problems }
    }

    /// The settings that are wrong, as
    /// [`ConfidentialClientBuilder`](crate::ConfidentialClientBuilder) names them, each with what
    /// is wrong.
    pub fn problems(&self) -> impl Iterator<Item = (&str, &str)> {
        self.problems
            .iter()
            .map(|(setting, text)| (*setting, &**text))
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("cannot get tokens from Entra:")?;
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
