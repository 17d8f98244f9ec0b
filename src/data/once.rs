//! Warnings that are given once, however often a file is opened.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// Warn, unless this very sentence was said before: a verb may look at a file before it reads it.
pub(super) fn warn(sentence: String) {
    static SAID: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    if first(&SAID, &sentence) {
        log::warn!("{sentence}");
    }
}

fn first(said: &Mutex<BTreeSet<String>>, sentence: &str) -> bool {
    let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
    said.insert(sentence.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_time_counts() {
        let said = Mutex::new(BTreeSet::new());
        let given = ["a", "b", "a", "b", "c"].map(|sentence| first(&said, sentence));
        assert_eq!(given, [true, true, false, false, true]);
    }
}
