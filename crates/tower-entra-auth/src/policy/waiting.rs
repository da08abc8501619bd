//! Bounded places for requests that wait.

use std::sync::atomic::{AtomicUsize, Ordering};

/// A place among those that wait, given back when it is dropped.
pub(crate) struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    /// A place, if fewer than `most` are taken.
    pub(crate) fn among(waiting: &'a AtomicUsize, most: usize) -> Option<Self> {
        if waiting.fetch_add(1, Ordering::Relaxed) < most {
            return Some(Self(waiting));
        }
        waiting.fetch_sub(1, Ordering::Relaxed);
        None
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_places_to_wait_are_bounded_and_given_back() {
        let waiting = AtomicUsize::new(0);
        let mut places: Vec<_> = (0..256)
            .map(|_| Place::among(&waiting, 256).unwrap())
            .collect();
        assert!(Place::among(&waiting, 256).is_none());
        places.pop();
        assert!(Place::among(&waiting, 256).is_some());
        drop(places);
        assert_eq!(waiting.load(Ordering::Relaxed), 0);
    }
}
