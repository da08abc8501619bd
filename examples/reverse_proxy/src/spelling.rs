//! Names of headers that are one to some reader.
//!
//! CGI, and what follows it, makes a variable of each header and puts `_` for what a variable's
//! name cannot have: for `-`, in PHP for `.` as well, in lighttpd for every character but letters
//! and digits (`interop/header-folding` has real ones do it). A name is read here as its words, so
//! that it does not matter which of these characters stand between them, how many, or any at either
//! end.

use http::HeaderName;

/// Returns whether some reader takes the name for this one.
pub(crate) fn is_spelling_of(name: &HeaderName, known: &str) -> bool {
    words(name.as_str()).eq(words(known))
}

/// Returns whether some reader takes the name for this one, or for one that goes on after it.
pub(crate) fn begins_with(name: &HeaderName, known: &str) -> bool {
    let mut words_of_name = words(name.as_str());
    words(known).all(|word| words_of_name.next() == Some(word))
}

/// Returns the words of a name, in lower case as every [`HeaderName`] is.
fn words(name: &str) -> impl Iterator<Item = &str> {
    name.split(|character: char| !character.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
}
