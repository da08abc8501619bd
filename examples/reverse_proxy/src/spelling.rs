//! Comparison of header names that some reader takes for the same name.
//!
//! CGI, and servers modelled on it, turn each header into a variable and write `_` for characters
//! that a variable's name cannot contain: for `-`, in PHP also for `.`, in lighttpd for every
//! character except letters and digits (`interop/header-folding` checks real servers). This module
//! therefore compares names as lists of words. Which separators are between the words, how many,
//! and separators at either end make no difference.

use http::HeaderName;

/// Returns whether some reader could take `name` for `known`.
pub(crate) fn is_spelling_of(name: &HeaderName, known: &str) -> bool {
    words(name.as_str()).eq(words(known))
}

/// Returns whether some reader could take `name` for `known` or for a name that begins with
/// `known`.
pub(crate) fn begins_with(name: &HeaderName, known: &str) -> bool {
    let mut words_of_name = words(name.as_str());
    words(known).all(|word| words_of_name.next() == Some(word))
}

/// Returns the words of a name, which are in lower case as in every [`HeaderName`].
fn words(name: &str) -> impl Iterator<Item = &str> {
    name.split(|character: char| !character.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
}
