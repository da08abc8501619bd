//! The types of claims on which nothing depends: read leniently, and only where somebody asks.

use crate::json;

/// A text on which nothing depends: a string, or a number or boolean in its JSON form; anything
/// else counts as absent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Informal(Option<Box<str>>);

impl Informal {
    /// Reads the JSON text of any value.
    pub(crate) fn read(value: &str) -> Self {
        Self(match value.as_bytes().first() {
            Some(b'"') => json::string(value).map(Into::into),
            Some(b't' | b'f') => Some(value.into()),
            // Not by serde_json's `Value`: how that holds a number depends on features of others.
            Some(b'-' | b'0'..=b'9') if is_whole(value) => Some(value.into()),
            Some(b'-' | b'0'..=b'9') => {
                let number: Option<f64> = serde_json::from_str(value).ok();
                number.map(|number| number.to_string().into())
            }
            _ => None,
        })
    }

    pub(crate) fn as_str(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

fn is_whole(number: &str) -> bool {
    number != "-0" && (number.parse::<i64>().is_ok() || number.parse::<u64>().is_ok())
}

/// Texts on which nothing depends: an array, of which what is no text or a blank one is left out, or
/// one text.
#[derive(Clone, Debug, Default)]
pub(crate) struct InformalList(Vec<Box<str>>);

impl InformalList {
    /// Reads the JSON text of any value.
    pub(crate) fn read(value: &str) -> Self {
        let texts = match json::elements(value) {
            Some(elements) => elements.flatten().filter_map(text).collect(),
            None => text(value).into_iter().collect(),
        };
        Self(texts)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(AsRef::as_ref)
    }
}

fn text(value: &str) -> Option<Box<str>> {
    let text = json::string(value)?;
    (!text.trim().is_empty()).then(|| text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blank_texts_in_a_list_are_none() {
        let list = InformalList::read(r#"["", "pwd", " "]"#);
        assert_eq!(list.iter().collect::<Vec<_>>(), ["pwd"]);
        assert_eq!(InformalList::read(r#""""#).iter().count(), 0);
    }
}
