//! Changes a JSON document member by member, because changing bytes seldom leaves valid JSON.

use std::sync::LazyLock;

use libfuzzer_sys::fuzzer_mutate;
use serde_json::{Map, Value};

/// Names and values that the mutator inserts into documents.
#[derive(Debug)]
pub struct Words {
    names: Vec<String>,
    values: Vec<Value>,
}

/// Loads the words of a libFuzzer dictionary, such as `words!("claims")`.
#[macro_export]
macro_rules! words {
    ($target:literal) => {
        std::sync::LazyLock::new(|| {
            $crate::mutator::Words::of(include_str!(concat!("../dictionaries/", $target, ".dict")))
        })
    };
}

impl Words {
    /// Parses a dictionary: a word that ends in a colon is a name, and any other word is a value,
    /// either JSON or a plain string.
    #[must_use]
    pub fn of(dictionary: &str) -> Self {
        let mut words = Self {
            names: Vec::new(),
            values: Vec::new(),
        };
        let lines = dictionary.lines().filter(|line| line.starts_with('"'));
        for line in lines {
            let word: String = serde_json::from_str(line).expect("a quoted word");
            match word.strip_suffix(':').map(serde_json::from_str) {
                Some(Ok(name)) => words.names.push(name),
                _ => words
                    .values
                    .push(serde_json::from_str(&word).unwrap_or_else(|_| word.into())),
            }
        }
        words
    }
}

/// Changes one member of one object, or, half of the time, bytes with libFuzzer's own mutator.
pub fn mutate(
    data: &mut [u8],
    size: usize,
    most: usize,
    seed: u32,
    words: &LazyLock<Words>,
) -> usize {
    let mut choice = Choice(seed);
    let document = data.get(..size).filter(|_| choice.of(2) == 0);
    let changed = document.and_then(|document| changed(document, &mut choice, words));
    match changed.filter(|changed| changed.len() <= most) {
        Some(changed) => {
            data[..changed.len()].copy_from_slice(&changed);
            changed.len()
        }
        None => fuzzer_mutate(data, size, most),
    }
}

fn changed(document: &[u8], choice: &mut Choice, words: &Words) -> Option<Vec<u8>> {
    let mut document = serde_json::from_slice(document).ok()?;
    let mut nth = choice.of(objects(&document));
    let object = nth_object(&mut document, &mut nth)?;
    let own = object.keys().nth(choice.of(object.len())).cloned();
    let new = words.names[choice.of(words.names.len())].clone();
    let value = words.values[choice.of(words.values.len())].clone();
    match choice.of(4) {
        0 => object.remove(&own?),
        1 => object.insert(own?, value),
        2 => object.insert(new, value),
        // Renames the member.
        _ => {
            let value = object.remove(&own?)?;
            object.insert(new, value)
        }
    };
    serde_json::to_vec(&document).ok()
}

fn objects(value: &Value) -> usize {
    match value {
        Value::Object(members) => 1 + members.values().map(objects).sum::<usize>(),
        Value::Array(elements) => elements.iter().map(objects).sum(),
        _ => 0,
    }
}

fn nth_object<'a>(value: &'a mut Value, nth: &mut usize) -> Option<&'a mut Map<String, Value>> {
    match value {
        Value::Object(members) => {
            if *nth == 0 {
                return Some(members);
            }
            *nth -= 1;
            members
                .values_mut()
                .find_map(|value| nth_object(value, nth))
        }
        Value::Array(elements) => elements.iter_mut().find_map(|value| nth_object(value, nth)),
        _ => None,
    }
}

/// A generator of choices that depend only on libFuzzer's seed (splitmix32).
struct Choice(u32);

impl Choice {
    /// Returns a number below `count`.
    fn of(&mut self, count: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 16).wrapping_mul(0x21f0_aaad);
        mixed = (mixed ^ mixed >> 15).wrapping_mul(0x735a_2d97);
        (mixed ^ mixed >> 15) as usize % count.max(1)
    }
}
