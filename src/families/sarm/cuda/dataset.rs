//! Images as they lie on the device: sparse, in drawing order, ready to be gathered into batches.

use std::ops::Range;
use std::sync::Arc;

use half::bf16;

use super::ops::gather::Resident;
use crate::conditions::ConditionedImages;
use crate::conditions::total::{is_spent, spend};
use crate::device::cuda::device::{Address, Device, Memory};
use crate::families::sarm::beyond;
use crate::families::sarm::{Sarm, Values};
use crate::family::EngineError;
use crate::family::cuda::check_rows;

/// Compressed sparse rows of images and their conditions, on the device.
pub struct ResidentImages {
    images: usize,
    condition_count: usize,
    channels: usize,
    places: usize,
    /// Entries of image i: `start[i] .. start[i + 1]`.
    start: Memory<u64>,
    /// Place of each entry in the drawing order, all stages one after another.
    place: Memory<u16>,
    /// What the network is shown of it, all channels.
    shown: Memory<bf16>,
    /// D+C: bits of the pixel in GeV (f32). D+D: its level, counted from 1.
    target: Memory<u32>,
    /// Of models that know totals.
    totals: Option<Totals>,
    /// Standardised conditions `[images, conditions]`.
    conditions: Memory<bf16>,
}

/// What follows from the images' totals.
struct Totals {
    /// What was left of its image's before each entry, as [`Mixture::limit`](crate::likelihood::Mixture::limit) tells it.
    limit: Memory<f32>,
    /// Place of each image from which on nothing is left.
    certain: Memory<u32>,
    /// GeV left at first, of models that show pixels what is left.
    first: Option<Memory<f32>>,
}

impl ResidentImages {
    /// Bytes on the device of `images` images of `model` with `nonzeros` positive pixels in all.
    pub fn bytes(model: &Sarm, images: usize, nonzeros: usize) -> u64 {
        let (conditions, channels) = (
            model.config.condition.names.len(),
            model.config.input.channels().len(),
        );
        Self::bytes_of(
            images,
            nonzeros,
            conditions,
            channels,
            [model.total().is_some(), model.left().is_some()],
        )
    }

    fn bytes_of(
        images: usize,
        nonzeros: usize,
        conditions: usize,
        channels: usize,
        [limited, shown]: [bool; 2],
    ) -> u64 {
        let more = if limited { 4 } else { 0 };
        let first = if shown { 4 } else { 0 };
        let of_pixel = 2 + 2 * channels + 4 + more;
        (8 * (images + 1) + of_pixel * nonzeros + (2 * conditions + more + first) * images) as u64
    }

    /// Copy the images `rows` of `data`, which are `model`'s, to the device.
    ///
    /// Fails on a pixel beyond the model's range.
    pub fn new(
        device: &Arc<dyn Device>,
        model: &Sarm,
        data: &ConditionedImages,
        rows: Range<usize>,
    ) -> Result<Self, EngineError> {
        let places: Vec<u16> = model
            .places()
            .iter()
            .map(|(stage, place)| (model.stages[usize::from(*stage)].earlier as u16) + place)
            .collect();
        let channels = model.config.input.channels();
        let shown_of = |x: f32| channels.iter().map(move |c| bf16::from_f32(c.apply(x)));
        let values = model.values();
        // What is shown of each level, worked out once for all pixels.
        let levels: Vec<bf16> = match &values {
            Values::Mixture(_) => Vec::new(),
            Values::Levels(grid) => (0..grid.len())
                .flat_map(|k| shown_of(grid.value(k)))
                .collect(),
        };
        let mut start = Vec::with_capacity(rows.len() + 1);
        start.push(0u64);
        let (mut place, mut shown, mut target) = (Vec::new(), Vec::new(), Vec::new());
        let mut conditions = Vec::new();
        let (mut limit, mut certain, mut at_first) = (Vec::new(), Vec::new(), Vec::new());
        for row in rows.clone() {
            let (pixels, numbers) = data.images.image(row);
            for (pixel, x) in pixels.iter().zip(numbers) {
                place.push(places[usize::from(*pixel)]);
                match &values {
                    Values::Mixture(_) => {
                        if values.excludes(*x).is_some() {
                            return Err(beyond(model, row, usize::from(*pixel), *x));
                        }
                        shown.extend(shown_of(*x));
                        target.push(x.to_bits());
                    }
                    Values::Levels(grid) => {
                        let level = grid
                            .level(*x)
                            .ok_or_else(|| beyond(model, row, usize::from(*pixel), *x))?;
                        shown.extend(&levels[level * channels.len()..][..channels.len()]);
                        target.push(level as u32 + 1);
                    }
                }
            }
            start.push(place.len() as u64);
            let mut budget = values.first(data.conditions.budget(row as u64));
            if let Some(before) = budget {
                at_first.push(before.remaining);
                let of_image = &place[place.len() - pixels.len()..];
                let mut drawn: Vec<usize> = (0..pixels.len()).collect();
                drawn.sort_unstable_by_key(|i| of_image[*i]);
                let first = limit.len();
                limit.resize(first + pixels.len(), 0.0);
                let mut end = if is_spent(budget) { 0 } else { model.pixels() };
                for i in drawn {
                    if let Values::Mixture(mixture) = &values {
                        limit[first + i] = mixture.limit(budget, numbers[i]);
                    }
                    spend(&mut budget, numbers[i]);
                    if is_spent(budget) {
                        end = end.min(usize::from(of_image[i]) + 1);
                    }
                }
                certain.push(end as u32);
            }
            let row = data.conditions.row(row as u64);
            conditions.extend(row.iter().map(|v| bf16::from_f32(*v)));
        }
        Ok(Self {
            images: rows.len(),
            condition_count: data.conditions.width(),
            channels: channels.len(),
            places: model.pixels(),
            start: Memory::from(device, &start)?,
            place: Memory::from(device, &place)?,
            shown: Memory::from(device, &shown)?,
            target: Memory::from(device, &target)?,
            totals: match model.total() {
                Some(_) => Some(Totals {
                    limit: Memory::from(device, &limit)?,
                    certain: Memory::from(device, &certain)?,
                    first: match model.left() {
                        Some(_) => Some(Memory::from(device, &at_first)?),
                        None => None,
                    },
                }),
                None => None,
            },
            conditions: Memory::from(device, &conditions)?,
        })
    }

    /// Bytes that they take.
    pub fn bytes_taken(&self) -> u64 {
        let nonzeros = self.place.len();
        Self::bytes_of(
            self.images,
            nonzeros,
            self.condition_count,
            self.channels,
            [
                self.totals.is_some(),
                self.totals.as_ref().is_some_and(|t| t.first.is_some()),
            ],
        )
    }

    /// Check that there is an image for each of `rows`.
    pub fn check_rows(&self, rows: &[u32]) -> Result<(), EngineError> {
        check_rows(rows, self.images)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.images
    }

    /// Where they lie, for the kernel that gathers batches.
    pub fn addresses(&self) -> Resident {
        Resident {
            start: self.start.address(),
            place: self.place.address(),
            shown: self.shown.address(),
            target: self.target.address(),
            limit: (self.totals.as_ref()).map_or(Address::NULL, |t| t.limit.address()),
            certain: (self.totals.as_ref()).map_or(Address::NULL, |t| t.certain.address()),
            total: (self.totals.as_ref())
                .and_then(|t| t.first.as_ref())
                .map_or(Address::NULL, Memory::address),
            conditions: match self.condition_count {
                0 => Address::NULL,
                _ => self.conditions.address(),
            },
            condition_count: self.condition_count,
            channels: self.channels,
            places: self.places,
        }
    }
}
