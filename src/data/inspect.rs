//! A look at images before work on them starts: empty ones, full ones, ones that are there twice, pixels that are residue.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::Hasher;

use rayon::prelude::*;
use serde::Serialize;

use super::{Dataset, SparseImages, Twice, grouped};

/// Images that a thread looks at at once.
const BLOCK: usize = 1 << 12;
/// Bits of a pixel that its bin does not tell: bins are 1/128 of an octave wide.
const BIN: u32 = 16;
/// A pixel so far below the median is no measurement, where many are.
const RESIDUE: f32 = 1e-5;
/// Fewer of them are left unsaid.
const FEW_RESIDUE: f64 = 1e-3;
/// Ranges of rows in a sentence.
const SHOWN: usize = 5;

/// What was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Inspection {
    /// Images looked at.
    pub images: usize,
    /// Images without a nonzero pixel.
    pub empty: Rows,
    /// Images without a zero.
    pub full: Rows,
    /// Images, not empty, that are equal to one before them.
    pub repeated: Rows,
    /// Empty images of rows that were never written.
    pub unwritten: usize,
    /// The nonzero pixels, in the data's unit; none in empty images.
    pub pixels: Option<PixelRange>,
    /// Mean over the images of the sum of their pixels, in the data's unit.
    pub mean_sum: f64,
    /// Files that hold the same images.
    #[serde(skip)]
    pub twice: Vec<Twice>,
}

/// Images and where they are.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Rows {
    /// How many.
    pub count: usize,
    /// Runs of neighbours among the images that were read.
    pub ranges: Vec<RowRange>,
}

/// Neighbours among the images of one file.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RowRange {
    /// Place of the file among those that were read.
    pub file: usize,
    /// Row of the first image in its file.
    pub first: u64,
    /// Row of the last one.
    pub last: u64,
}

/// How large nonzero pixels are.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PixelRange {
    /// How many there are.
    pub count: u64,
    /// The smallest.
    pub smallest: f32,
    /// As many lie below as above, to half a percent.
    pub median: f32,
    /// The largest.
    pub largest: f32,
    /// Pixels that lie more than five orders of magnitude below the median.
    pub residue: u64,
}

/// What one thread finds in its images.
struct Part {
    bins: BTreeMap<u32, u64>,
    smallest: f32,
    largest: f32,
    sum: f64,
}

impl Part {
    /// All images, a block each.
    fn all(images: &SparseImages) -> Vec<Self> {
        let count = images.len();
        (0..count.div_ceil(BLOCK))
            .into_par_iter()
            .map(|b| Self::of(images, b * BLOCK..((b + 1) * BLOCK).min(count)))
            .collect()
    }

    fn of(images: &SparseImages, block: std::ops::Range<usize>) -> Self {
        let mut bins = vec![0u64; 1 << (31 - BIN)];
        let mut part = Part {
            bins: BTreeMap::new(),
            smallest: f32::INFINITY,
            largest: 0.0,
            sum: 0.0,
        };
        for i in block {
            for v in images.image(i).1 {
                // Positive floats are in the order of their bits.
                bins[(v.to_bits() >> BIN) as usize] += 1;
                part.smallest = part.smallest.min(*v);
                part.largest = part.largest.max(*v);
                part.sum += f64::from(*v);
            }
        }
        let filled = bins.into_iter().enumerate().filter(|(_, n)| *n > 0);
        part.bins = filled.map(|(bin, n)| (bin as u32, n)).collect();
        part
    }
}

impl PixelRange {
    /// Of all images; `None` where no pixel is nonzero.
    pub fn of(images: &SparseImages) -> Option<Self> {
        pixels(&Part::all(images))
    }
}

/// The number of an image's content; equal ones have equal numbers.
pub(super) fn digest((index, value): (&[u16], &[f32])) -> u64 {
    let mut hasher = DefaultHasher::new();
    for (i, v) in index.iter().zip(value) {
        hasher.write_u64(u64::from(*i) << 32 | u64::from(v.to_bits()));
    }
    hasher.finish()
}

/// Images, none of them empty, that equal one before them: the two, in the order of the second.
fn repeated(images: &SparseImages) -> Vec<[usize; 2]> {
    let filled = (0..images.len()).into_par_iter();
    let mut digests: Vec<(u64, usize)> = filled
        .filter(|i| !images.image(*i).0.is_empty())
        .map(|i| (digest(images.image(i)), i))
        .collect();
    digests.par_sort_unstable();
    let mut found: Vec<[usize; 2]> = (digests.chunk_by(|a, b| a.0 == b.0))
        .filter(|group| group.len() > 1)
        .flat_map(|group| {
            let first = group[0].1;
            // Numbers may be equal by chance.
            (group.iter().skip(1))
                .filter(move |(_, i)| images.image(*i) == images.image(first))
                .map(move |(_, i)| [first, *i])
        })
        .collect();
    found.sort_unstable_by_key(|[_, i]| *i);
    found
}

impl Dataset {
    /// Look at all images once.
    pub fn inspect(&self) -> Inspection {
        let images = &self.images;
        let count = images.len();
        let parts = Part::all(images);
        let lengths = || (0..count).map(|i| images.image(i).0.len());
        let places = |wanted: usize| {
            let found = lengths().enumerate().filter(move |(_, n)| *n == wanted);
            found.map(|(i, _)| i)
        };
        let repeated = repeated(images);
        Inspection {
            twice: self.twice(&repeated),
            images: count,
            empty: self.ranges(places(0)),
            full: self.ranges(places(images.pixels())),
            repeated: self.ranges(repeated.into_iter().map(|[_, i]| i)),
            unwritten: self.unwritten(),
            mean_sum: parts.iter().map(|p| p.sum).sum::<f64>() / count.max(1) as f64,
            pixels: pixels(&parts),
        }
    }

    /// Empty images of rows that were never written.
    fn unwritten(&self) -> usize {
        let (mut start, mut count) = (0, 0);
        for origin in &self.origins {
            let images = start..start + origin.images;
            start = images.end;
            let gaps = &origin.unwritten;
            if gaps.is_empty() {
                continue;
            }
            let missing = |i: &usize| {
                let row = self.rows.get(*i).copied().unwrap_or(u64::MAX);
                let gap = gaps.get(gaps.partition_point(|[_, last]| *last < row));
                self.images.image(*i).0.is_empty() && gap.is_some_and(|[first, _]| *first <= row)
            };
            count += images.filter(missing).count();
        }
        count
    }

    /// Images as runs of neighbours in their files; `places` ascend.
    fn ranges(&self, places: impl Iterator<Item = usize>) -> Rows {
        let mut rows = Rows::default();
        let mut previous = None;
        let (mut file, mut end) = (0, self.origins.first().map_or(usize::MAX, |o| o.images));
        for place in places {
            let before = file;
            while place >= end && file + 1 < self.origins.len() {
                file += 1;
                end += self.origins[file].images;
            }
            let row = self.rows.get(place).copied().unwrap_or(place as u64);
            match rows.ranges.last_mut() {
                Some(range) if previous == place.checked_sub(1) && file == before => {
                    range.last = row;
                }
                _ => rows.ranges.push(RowRange {
                    file,
                    first: row,
                    last: row,
                }),
            }
            rows.count += 1;
            previous = Some(place);
        }
        rows
    }

    /// What a user should know of these images before they are learnt from or compared, a sentence each.
    pub fn remarks(&self, found: &Inspection) -> Vec<String> {
        let grouped = |n: usize| grouped(n as u64);
        let all = grouped(found.images);
        let are = |count: usize| if count == 1 { "is" } else { "are" };
        let mut remarks = Vec::new();
        if found.empty.count > 0 {
            let unwritten = match found.unwritten {
                0 => "all of their pixels are zero".to_string(),
                n if n == found.empty.count => "these rows were never written".to_string(),
                n => format!("the rows of {} were never written", grouped(n)),
            };
            remarks.push(format!(
                "{} of {all} images {} empty ({}): {unwritten}{}",
                grouped(found.empty.count),
                are(found.empty.count),
                self.shown(&found.empty),
                self.without(&found.empty)
            ));
        }
        if found.full.count > 0 {
            remarks.push(format!(
                "{} of {all} images {} without a zero, and the model is made for images that are mostly zeros ({}); pass --threshold if noise fills them",
                grouped(found.full.count),
                are(found.full.count),
                self.shown(&found.full)
            ));
        }
        if found.repeated.count > 0 {
            remarks.push(format!(
                "{} of {all} images {} equal to one before them ({})",
                grouped(found.repeated.count),
                are(found.repeated.count),
                self.shown(&found.repeated)
            ));
        }
        if let Some(p) = &found.pixels
            && p.residue as f64 > FEW_RESIDUE * p.count as f64
        {
            // Two orders below the median: 1e-3 GeV for jets, where the authors of the published ones cut.
            let cut = 10f64.powf((f64::from(p.median).log10() - 2.0).floor());
            remarks.push(format!(
                "{} of {} nonzero pixels lie five orders of magnitude and more below the median of {:.2e} {unit}, the smallest at {:.1e} {unit} (rotating an image leaves such residue); pass --threshold {cut:e} to set them to zero",
                grouped(p.residue as usize),
                grouped(p.count as usize),
                p.median,
                p.smallest,
                unit = self.about.unit
            ));
        }
        remarks
    }

    /// The selection that leaves `rows` out, where they are the first or the last ones of the only file.
    fn without(&self, rows: &Rows) -> String {
        let ([range], 1) = (rows.ranges.as_slice(), self.origins.len()) else {
            return String::new();
        };
        let others = match self.rows.len().checked_sub(rows.count + 1) {
            Some(before) if self.rows.last() == Some(&range.last) => {
                Some([Some(&0), self.rows.get(before)])
            }
            Some(_) if self.rows.first() == Some(&range.first) => {
                Some([self.rows.get(rows.count), self.rows.last()])
            }
            _ => None,
        };
        match others {
            Some([Some(first), Some(last)]) => {
                format!("; leave them out with --select row={first}..{last}")
            }
            _ => String::new(),
        }
    }

    /// `rows 3, 200 to 399`, with the files where there are several.
    fn shown(&self, rows: &Rows) -> String {
        let mut text = String::from(if rows.count == 1 { "row" } else { "rows" });
        let mut file = None;
        for (i, range) in rows.ranges.iter().take(SHOWN).enumerate() {
            text += if i > 0 { ", " } else { " " };
            let of = self.origins.get(range.file);
            let named = of.filter(|_| self.origins.len() > 1 && file != Some(range.file));
            if let Some(origin) = named {
                text += &format!("of '{}': ", origin.path.display());
            }
            text += &match (range.first, range.last) {
                (first, last) if first == last => format!("{first}"),
                (first, last) => format!("{first} to {last}"),
            };
            file = Some(range.file);
        }
        match rows.ranges.len().saturating_sub(SHOWN) {
            0 => text,
            n => format!("{text} and {} more ranges", grouped(n as u64)),
        }
    }
}

fn pixels(parts: &[Part]) -> Option<PixelRange> {
    let mut bins: BTreeMap<u32, u64> = BTreeMap::new();
    for (bin, n) in parts.iter().flat_map(|p| &p.bins) {
        *bins.entry(*bin).or_default() += n;
    }
    let count: u64 = bins.values().sum();
    let middle = |bin: u32| f32::from_bits(bin << BIN | 1 << (BIN - 1));
    let mut below = 0;
    let median = bins.iter().find_map(|(bin, n)| {
        below += n;
        (2 * below >= count).then(|| middle(*bin))
    })?;
    let [smallest, largest] = [
        parts
            .iter()
            .map(|p| p.smallest)
            .fold(f32::INFINITY, f32::min),
        parts.iter().map(|p| p.largest).fold(0.0, f32::max),
    ];
    let far = bins
        .iter()
        .filter(|(bin, _)| middle(**bin) < RESIDUE * median);
    Some(PixelRange {
        count,
        smallest,
        median: median.clamp(smallest, largest),
        largest,
        residue: far.map(|(_, n)| n).sum(),
    })
}
