//! The same images in more than one file of a data set.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use super::inspect::digest;
use super::{Dataset, Origin, grouped};

/// Images with fewer nonzero pixels may be equal by chance.
const LEAST_PIXELS: usize = 5;
/// Fewer equal images are chance.
const LEAST_EQUAL: usize = 10;
/// One in so many of the smaller file's images: fewer are chance.
const PART: usize = 10;

/// Two files that hold the same images.
#[derive(Debug, Clone, PartialEq)]
pub struct Twice {
    /// The files, in the order that they were named.
    pub files: [PathBuf; 2],
    /// How many images both hold.
    pub images: usize,
    /// How that is known.
    pub how: Known,
}

/// How it is known that two files hold the same images.
#[derive(Debug, Clone, PartialEq)]
pub enum Known {
    /// One file was named twice.
    OneFile,
    /// Both say which images they hold: numbers of the first and the last that both do, and what else they follow from.
    Numbers([u64; 2], String),
    /// Their images are equal: rows of the first such pair.
    Equal([u64; 2]),
}

impl std::fmt::Display for Twice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [a, b] = self.files.each_ref().map(|p| p.display());
        let count = grouped(self.images as u64);
        match &self.how {
            Known::OneFile => write!(f, "'{a}' is named twice"),
            Known::Numbers([first, last], of) => write!(
                f,
                "'{a}' and '{b}' hold the same {count} images (numbers {first} to {last} of {})",
                short(of)
            ),
            Known::Equal([first, second]) => write!(
                f,
                "{count} images of '{b}' are equal to images of '{a}' (row {second} to row {first} for one)"
            ),
        }
    }
}

/// Digits of a hash that people are shown.
const DIGITS: usize = 12;

/// A text for people: of hashes only the start.
fn short(text: &str) -> String {
    let word = |word: &str| {
        let digits = word.trim_end_matches(',');
        let is_hash = digits.len() == 64 && digits.bytes().all(|b| b.is_ascii_hexdigit());
        match is_hash {
            true => format!("{}..{}", &digits[..DIGITS], &word[digits.len()..]),
            false => word.to_string(),
        }
    };
    text.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

impl Dataset {
    /// Pairs of files that hold the same images; `repeated` are the pairs of equal ones.
    pub(super) fn twice(&self, repeated: &[[usize; 2]]) -> Vec<Twice> {
        let mut start = 0;
        let files: Vec<Part> = (self.origins.iter())
            .map(|origin| {
                let part = Part {
                    origin,
                    start,
                    rows: self
                        .rows
                        .get(start..start + origin.images)
                        .unwrap_or_default(),
                };
                start += origin.images;
                part
            })
            .collect();
        if files.len() < 2 {
            return Vec::new();
        }
        let mut found = same_files(&files);
        // What is known of two files in several ways is said once.
        for same in (same_numbers(&files).into_iter()).chain(self.same_images(&files, repeated)) {
            if !found.iter().any(|known| known.files == same.files) {
                found.push(same);
            }
        }
        found
    }

    /// That images of `other` are images of this data set too, where they are so many that it is no chance.
    pub fn in_common(&self, other: &Dataset) -> Option<Twice> {
        let mut known: HashMap<u64, usize> = HashMap::with_capacity(self.images.len());
        for (i, image) in self.images.iter().enumerate() {
            if image.0.len() >= LEAST_PIXELS {
                known.entry(digest(image)).or_insert(i);
            }
        }
        let mut first = None;
        let mut images = 0;
        for (j, image) in other.images.iter().enumerate() {
            let same = known.get(&digest(image));
            // Numbers may be equal by chance.
            if let Some(i) = same.filter(|i| self.images.image(**i) == image) {
                first = first.or(Some([*i, j]));
                images += 1;
            }
        }
        let [i, j] = first?;
        let place = |data: &Dataset, image: usize| {
            let mut end = 0;
            let origin = data.origins.iter().find(|origin| {
                end += origin.images;
                image < end
            });
            let path = origin.map(|o| o.path.clone()).unwrap_or_default();
            (path, data.rows.get(image).copied().unwrap_or(image as u64))
        };
        let ((a, row_a), (b, row_b)) = (place(self, i), place(other, j));
        enough(images, [self.images.len(), other.images.len()]).then_some(Twice {
            files: [a, b],
            images,
            how: Known::Equal([row_a, row_b]),
        })
    }

    fn same_images(&self, files: &[Part], repeated: &[[usize; 2]]) -> Vec<Twice> {
        let file = |image: usize| files.partition_point(|f| f.start <= image) - 1;
        let mut pairs: BTreeMap<[usize; 2], Equal> = BTreeMap::new();
        for pair in repeated {
            let of = pair.map(file);
            if of[0] != of[1] {
                let equal = pairs.entry(of).or_insert_with(|| Equal {
                    first: *pair,
                    images: 0,
                    telling: 0,
                });
                equal.images += 1;
                equal.telling += usize::from(self.images.image(pair[0]).0.len() >= LEAST_PIXELS);
            }
        }
        let many = |of: &[usize; 2], count: usize| enough(count, of.map(|f| files[f].rows.len()));
        (pairs.into_iter())
            .filter(|(of, equal)| many(of, equal.telling))
            .map(|(of, equal)| Twice {
                files: of.map(|f| files[f].origin.path.clone()),
                images: equal.images,
                how: Known::Equal(equal.first.map(|i| self.rows[i])),
            })
            .collect()
    }
}

/// Whether so many equal images of samples of these sizes are no chance.
fn enough(equal: usize, sizes: [usize; 2]) -> bool {
    equal >= LEAST_EQUAL && equal * PART >= sizes[0].min(sizes[1])
}

/// Images of two files that are equal.
struct Equal {
    first: [usize; 2],
    images: usize,
    /// Those of them that are not equal by chance.
    telling: usize,
}

/// A file's images among all.
struct Part<'a> {
    origin: &'a Origin,
    start: usize,
    rows: &'a [u64],
}

impl Part<'_> {
    fn twice(&self, other: &Part, images: usize, how: Known) -> Twice {
        Twice {
            files: [self, other].map(|f| f.origin.path.clone()),
            images,
            how,
        }
    }
}

fn same_files(files: &[Part]) -> Vec<Twice> {
    let mut seen: BTreeMap<PathBuf, &Part> = BTreeMap::new();
    let mut found = Vec::new();
    for file in files {
        let path = &file.origin.path;
        let path = path.canonicalize().unwrap_or_else(|_| path.clone());
        match seen.get(&path) {
            Some(before) => found.push(before.twice(file, file.rows.len(), Known::OneFile)),
            None => {
                seen.insert(path, file);
            }
        }
    }
    found
}

/// Files that say which images they hold, and hold some that others do.
fn same_numbers(files: &[Part]) -> Vec<Twice> {
    let mut runs: Vec<(&str, [u64; 2], &Part)> = (files.iter())
        .filter_map(|file| {
            let run = file.origin.run.as_ref()?;
            let ends = [file.rows.first()?, file.rows.last()?].map(|row| run.first + row);
            Some((run.of.as_str(), ends, file))
        })
        .collect();
    runs.sort_by_key(|(of, ends, file)| (*of, *ends, file.start));
    let mut found = Vec::new();
    for (i, (of, [_, end], a)) in runs.iter().enumerate() {
        // In the order of their first images: none behind the first that starts beyond the end overlaps.
        let later = runs.iter().skip(i + 1);
        for (_, _, b) in later.take_while(|(o, [first, _], _)| o == of && first <= end) {
            let common = common(a, b);
            if let (Some(first), Some(last)) = (common.first(), common.last()) {
                let how = Known::Numbers([*first, *last], (*of).to_string());
                let [a, b] = if a.start < b.start { [a, b] } else { [b, a] };
                found.push(a.twice(b, common.len(), how));
            }
        }
    }
    found
}

/// Numbers of images that both files hold, ascending.
fn common(a: &Part, b: &Part) -> Vec<u64> {
    let numbers = |part: &Part| -> Vec<u64> {
        let first = part.origin.run.as_ref().map_or(0, |r| r.first);
        part.rows.iter().map(|row| first + row).collect()
    };
    let b = numbers(b);
    let mut a = numbers(a);
    a.retain(|n| b.binary_search(n).is_ok());
    a
}
