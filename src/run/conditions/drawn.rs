//! Conditions that are drawn while images are: block by block, each kept until the images are written.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};

use crate::conditions::{ConditionConfig, Conditions, Total};
use crate::family::{DrawConditions, EngineError, Model};
use crate::prior::Prior;
use crate::prior::draw::{ConditionError, Drawing, way};

/// Ranges as large as the largest asked for that are kept: what the sampler is ahead of the writer, and two more.
const KEPT: usize = 10;
/// Rows by which it is seen whether what is given is rare.
const LOOK: u64 = 256;

/// The conditions of a run, some or all of them drawn.
#[derive(Debug)]
pub(super) struct DrawnConditions {
    config: ConditionConfig,
    total: Option<Total>,
    /// What was not given.
    pub names: Vec<String>,
    pub given: BTreeMap<String, f32>,
    seed: u64,
    drawing: Drawing,
    /// Place among the columns of the drawing of each condition.
    places: Vec<usize>,
    kept: Mutex<Kept>,
}

/// Blocks of conditions, the oldest first.
#[derive(Debug, Default)]
struct Kept {
    blocks: VecDeque<Block>,
    rows: usize,
    /// Images of the largest range that was asked for.
    largest: usize,
}

/// Conditions of images next to each other, one column a condition.
#[derive(Debug)]
struct Block {
    images: Range<u64>,
    columns: Vec<Vec<f32>>,
}

impl DrawnConditions {
    /// For images `images` of `model`, those of its conditions that are not in `given` drawn from `prior` under `seed`, on
    /// `threads` threads (0: one per core).
    ///
    /// # Errors
    /// As [`Drawing::new`] and [`Drawing::rows`].
    pub fn new(
        model: &dyn Model,
        prior: &Prior,
        given: BTreeMap<String, f32>,
        seed: u64,
        images: Range<u64>,
        threads: usize,
    ) -> Result<Self, ConditionError> {
        let config = model.conditions().clone();
        let drawing = Drawing::new(prior, &given, seed, threads)?;
        let some = images.start..images.end.min(images.start.saturating_add(LOOK));
        drawing.remark(&drawing.rows(some)?);
        // A prior is of the model's conditions: reading a checkpoint sees to that.
        let place = |name: &String| prior.names().position(|n| n == name).unwrap_or(0);
        let names = config.names.iter();
        Ok(Self {
            names: (names.clone().filter(|name| !given.contains_key(*name)))
                .cloned()
                .collect(),
            places: names.map(place).collect(),
            total: config.total_over(model.image().pixels()),
            config,
            given,
            seed,
            drawing,
            kept: Mutex::default(),
        })
    }

    /// SHA-256 of what they follow from, besides the model and the image's number, for images up to number `end`.
    pub fn hash(&self, end: u64) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(way(end));
        hash.update(self.seed.to_le_bytes());
        for (name, value) in &self.given {
            hash.update(name);
            hash.update(b"=");
            hash.update(value.to_le_bytes());
        }
        hash.finalize().into()
    }

    /// Of images `first .. first + count`, as they are in files: a column for each condition of the model.
    ///
    /// # Errors
    /// As [`Drawing::rows`]; image numbers that do not exist.
    pub fn columns(&self, first: u64, count: usize) -> Result<Vec<Vec<f32>>, EngineError> {
        let end = first.checked_add(count as u64).ok_or_else(|| {
            EngineError::Mismatch(format!(
                "cannot draw conditions of {count} images from {first} (numbers end at 2^64 - 1); choose a lower first number"
            ))
        })?;
        let mut columns = vec![Vec::with_capacity(count); self.places.len()];
        let mut next = first;
        while next < end {
            let missing = match self.kept().take(next..end, count, &mut columns) {
                Taken::UpTo(image) => {
                    next = image;
                    continue;
                }
                Taken::Missing(images) => images,
            };
            // Without the lock: others may look for what is there.
            let drawn = self.drawing.rows(missing.clone())?;
            let block = Block {
                columns: self
                    .places
                    .iter()
                    .map(|p| drawn.columns[*p].clone())
                    .collect(),
                images: missing,
            };
            next = block.append(next..end, &mut columns);
            self.kept().keep(block);
        }
        Ok(columns)
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        // Every block in it is whole: blocks are made before they are kept.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl DrawConditions for DrawnConditions {
    fn of(&self, first: u64, count: usize) -> Result<Conditions, EngineError> {
        let columns = self.columns(first, count)?;
        let values = standardised(&self.config, &columns, count);
        Ok(Conditions::of_images(first, columns.len(), values).with_total(self.total))
    }
}

/// Rows of `columns` as a network is shown them, flattened.
pub(super) fn standardised(
    config: &ConditionConfig,
    columns: &[Vec<f32>],
    rows: usize,
) -> Vec<f32> {
    let row = |row| (columns.iter().enumerate()).map(move |(i, c)| config.standardise(i, c[row]));
    (0..rows).flat_map(row).collect()
}

/// What came of looking for images.
enum Taken {
    /// Those before this one are there.
    UpTo(u64),
    /// These are not.
    Missing(Range<u64>),
}

impl Kept {
    /// Append the conditions of the first of `images` to `columns`, where they are kept; `count` images were asked for.
    fn take(&mut self, images: Range<u64>, count: usize, columns: &mut [Vec<f32>]) -> Taken {
        self.largest = self.largest.max(count);
        match self
            .blocks
            .iter()
            .find(|b| b.images.contains(&images.start))
        {
            Some(block) => Taken::UpTo(block.append(images, columns)),
            None => {
                let starts = self.blocks.iter().map(|b| b.images.start);
                let later = starts.filter(|start| *start > images.start).min();
                let end = later.map_or(images.end, |start| start.min(images.end));
                Taken::Missing(images.start..end)
            }
        }
    }

    fn keep(&mut self, block: Block) {
        self.rows += block.rows();
        self.blocks.push_back(block);
        while self.rows > KEPT * self.largest
            && let Some(oldest) = self.blocks.pop_front()
        {
            self.rows -= oldest.rows();
        }
    }
}

impl Block {
    fn rows(&self) -> usize {
        (self.images.end - self.images.start) as usize
    }

    /// Append the conditions of those of `images` that are here, from the first on, to `columns`: the number behind the last.
    fn append(&self, images: Range<u64>, columns: &mut [Vec<f32>]) -> u64 {
        let end = images.end.min(self.images.end);
        let place = |image: u64| (image - self.images.start) as usize;
        for (to, from) in columns.iter_mut().zip(&self.columns) {
            to.extend_from_slice(&from[place(images.start)..place(end)]);
        }
        end
    }
}
