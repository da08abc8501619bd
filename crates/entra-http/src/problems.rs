//! The problems with a builder's settings, collected into one error.

use std::fmt;

/// A collection of problems with settings.
#[derive(Debug)]
pub struct Problems(BuildError);

/// The error of a builder whose settings are wrong.
///
/// Lists every problem, each with a remedy or an example of a good value.
///
/// `Debug` is the same text as `Display`, because `fn main() -> Result<..>` prints `Debug`.
#[derive(Clone, Eq, PartialEq)]
pub struct BuildError {
    purpose: &'static str,
    problems: Vec<Problem>,
}

/// A problem with one setting.
///
/// `Display` and `Debug` are the problem's line in the text of a [`BuildError`]: the setting, a
/// colon and the text.
#[derive(Clone, Eq, PartialEq)]
pub struct Problem {
    setting: String,
    text: String,
}

impl Problems {
    /// Creates a collection without problems.
    ///
    /// The purpose, such as `cannot protect this service`, becomes the error's first line.
    pub fn new(purpose: &'static str) -> Self {
        let problems = Vec::new();
        Self(BuildError { purpose, problems })
    }

    /// Adds a problem.
    pub fn add(&mut self, setting: impl Into<String>, text: impl fmt::Display) {
        self.0.problems.push(Problem {
            setting: setting.into(),
            text: text.to_string(),
        });
    }

    /// Returns the value of `result`, or adds its error as a problem with the setting and returns
    /// `None`.
    pub fn take<T>(
        &mut self,
        setting: impl Into<String>,
        result: Result<T, impl fmt::Display>,
    ) -> Option<T> {
        result.map_err(|error| self.add(setting, error)).ok()
    }

    /// Adds the problems of another builder, without changing the names of its settings.
    pub fn append(&mut self, error: BuildError) {
        self.0.problems.extend(error.problems);
    }

    /// Returns `true` if there is no problem.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.problems.is_empty()
    }

    /// Returns the number of problems.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.problems.len()
    }

    /// Converts the collection into the error.
    #[must_use]
    pub fn into_error(self) -> BuildError {
        self.0
    }

    /// Returns the error of these problems and one more, for a problem that ends a build
    /// immediately.
    pub fn error_with(&self, setting: impl Into<String>, text: impl fmt::Display) -> BuildError {
        let mut error = Self(self.0.clone());
        error.add(setting, text);
        error.into_error()
    }
}

impl BuildError {
    /// Returns the problems, in the order in which the text lists them.
    pub fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.problems.iter()
    }
}

impl Problem {
    /// Returns the name of the setting: the method of the builder, such as `tenant`.
    ///
    /// A field of the value that the method takes is named after a dot, such as `lifetimes.idle`.
    /// If the value came from an environment variable, the name of that variable follows in
    /// brackets.
    #[must_use]
    pub fn setting(&self) -> &str {
        &self.setting
    }

    /// Returns the problem's text, with a remedy or an example of a good value.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:", self.purpose)?;
        for problem in &self.problems {
            write!(formatter, "\n  - {problem}")?;
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

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.setting, self.text)
    }
}

impl fmt::Debug for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_is_a_line_below_the_purpose() {
        let mut problems = Problems::new("cannot do it");
        assert_eq!(problems.take("good", Ok::<_, String>(1)), Some(1));
        assert!(problems.is_empty());

        assert_eq!(problems.take("id", Err::<u8, _>("not set")), None);
        problems.add("url", format_args!("no {}", "host"));
        let mut of_another = Problems::new("cannot help");
        of_another.add("secret", "empty");
        problems.append(of_another.into_error());
        assert_eq!(problems.len(), 3);

        let error = problems.error_with("rules", "contradict each other");
        let expected = "cannot do it:\n  - id: not set\n  - url: no host\n  - secret: empty";
        assert_eq!(
            error.to_string(),
            format!("{expected}\n  - rules: contradict each other")
        );
        let error = problems.into_error();
        assert_eq!(error.to_string(), expected);
        assert_eq!(format!("{error:?}"), expected);
        let problem = error.problems().next().unwrap();
        assert_eq!((problem.setting(), problem.text()), ("id", "not set"));
        assert_eq!(format!("{problem} {problem:?}"), "id: not set id: not set");
    }
}
