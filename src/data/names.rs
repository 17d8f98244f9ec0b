//! Names that are near to each other.

/// How many letters were changed, left out, put in or swapped to make `name` out of `other`, where a slip of the hand can
/// have done it.
pub(crate) fn slip(name: &str, other: &str) -> Option<usize> {
    let steps = strsim::damerau_levenshtein(name, other);
    (steps <= 1 + name.len() / 4).then_some(steps)
}
