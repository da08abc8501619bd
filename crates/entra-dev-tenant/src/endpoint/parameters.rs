//! The parameters of a query or of a form.

use crate::entra_error::EntraError;

/// As they came, in their order.
#[derive(Clone, Default)]
pub(crate) struct Parameters(Vec<(String, String)>);

impl Parameters {
    pub(crate) fn parse(encoded: &[u8]) -> Self {
        Self(form_urlencoded::parse(encoded).into_owned().collect())
    }

    /// The value of the first one with this name, be it empty.
    pub(crate) fn raw(&self, name: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(found, _)| found == name)?;
        Some(value)
    }

    /// The value of the first one with this name; an empty one is as none.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.raw(name).filter(|value| !value.is_empty())
    }

    pub(crate) fn required(&self, name: &str) -> Result<&str, EntraError> {
        self.get(name).ok_or_else(|| {
            let message =
                format!("The request body must contain the following parameter: '{name}'.");
            EntraError::new("invalid_request", 900_144, message)
        })
    }

    /// RFC 6749 §3.1: no parameter is there twice.
    pub(crate) fn check_each_is_there_once(&self) -> Result<(), EntraError> {
        for (position, (name, _)) in self.0.iter().enumerate() {
            if self.0[..position]
                .iter()
                .any(|(earlier, _)| earlier == name)
            {
                let message = format!(
                    "The request is not properly formatted. The parameter '{name}' is duplicated."
                );
                return Err(EntraError::new("invalid_request", 9_000_411, message));
            }
        }
        Ok(())
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| &**name)
    }

    /// Takes the first one with this name out.
    pub(crate) fn take(&mut self, name: &str) -> Option<String> {
        let position = self.0.iter().position(|(found, _)| found == name)?;
        Some(self.0.remove(position).1)
    }

    pub(crate) fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    pub(crate) fn encoded(&self) -> String {
        form_urlencoded::Serializer::new(String::new())
            .extend_pairs(&self.0)
            .finish()
    }
}
