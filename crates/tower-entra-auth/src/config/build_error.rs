//! What is wrong with the settings: everything at once.

use std::fmt;

/// The settings cannot protect a service. Lists every problem, each with a remedy or an example
/// of a good value.
///
/// `Debug` is the same text as `Display`, as that is what `fn main() -> Result<..>` prints.
#[derive(Clone, Eq, PartialEq)]
pub struct BuildError {
    problems: Vec<Problem>,
}

/// One problem.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Problem {
    /// The builder's method, with the environment variable in brackets if it came from there.
    setting: String,
    text: String,
}

impl Problem {
    pub(super) fn new(setting: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            setting: setting.into(),
            text: text.into(),
        }
    }
}

impl BuildError {
    pub(super) fn new(problems: Vec<Problem>) -> Self {
        Self { problems }
    }

    /// The settings that are wrong, as [`EntraAuthBuilder`](crate::EntraAuthBuilder) names them,
    /// each with what is wrong.
    pub fn problems(&self) -> impl Iterator<Item = (&str, &str)> {
        self.problems
            .iter()
            .map(|problem| (&*problem.setting, &*problem.text))
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("cannot protect this service:")?;
        for Problem { setting, text } in &self.problems {
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
