//! What the images of a launch are told, on the device.

use std::borrow::Cow;
use std::sync::Arc;

use crate::conditions::Budget;
use crate::device::cuda::device::{Address, Device, Memory};
use crate::family::{EngineError, Told};

/// Conditions of the images of a launch, and what they may spend of a total.
pub struct Shown {
    /// f32 `[rows, width]`
    conditions: Memory<f32>,
    /// Of each row, where it says a total: GeV left at the start, and at the end.
    totals: Option<Memory<[f32; 2]>>,
    /// Image number `i` has row `i % rows`.
    rows: u64,
    /// Whether these are all rows that there are, whatever images are drawn.
    all: bool,
}

impl Shown {
    /// Room for what `images` images of a launch are told.
    ///
    /// # Errors
    /// As [`Memory::zeros`].
    pub(crate) fn new(
        told: &Told,
        device: &Arc<dyn Device>,
        images: usize,
    ) -> Result<Self, EngineError> {
        let rows = told.rows_of(images);
        Ok(Self {
            conditions: Memory::zeros(device, rows * told.width())?,
            totals: match told.has_total() {
                true => Some(Memory::zeros(device, rows)?),
                false => None,
            },
            rows: 0,
            all: false,
        })
    }

    /// Bytes that it takes of each image, at the most.
    pub(crate) fn bytes_each(told: &Told) -> u64 {
        let numbers = told.width() + if told.has_total() { 2 } else { 0 };
        4 * (told.rows_of(1) * numbers) as u64
    }

    /// Send what the images number `first .. first + images` are told; `first_of` of a budget is what they start with.
    ///
    /// # Errors
    /// As [`Drawing::show`](super::Drawing::show).
    pub(crate) fn send(
        &mut self,
        told: &Told,
        (first, images): (u64, usize),
        first_of: impl Fn(Option<Budget>) -> Option<Budget>,
    ) -> Result<(), EngineError> {
        if self.all || told.width() == 0 {
            return Ok(());
        }
        let told = told.of(first, images)?;
        let rows = told.rows().min(images);
        let all = rows == told.rows();
        // As many rows as images where there are more: row k is that of the image whose number leaves k.
        let image = |k: usize| match (all, k as u64, rows as u64) {
            (true, k, _) => k,
            (false, k, n) => first.wrapping_add((k + n - first % n) % n),
        };
        let values: Vec<f32> = (0..rows)
            .flat_map(|k| told.row(image(k)).iter().copied())
            .collect();
        self.conditions.write(0, &values)?;
        if let Some(totals) = &mut self.totals {
            let budgets: Vec<[f32; 2]> = (0..rows)
                .filter_map(|k| first_of(told.budget(image(k))))
                .map(|budget| [budget.remaining, budget.tolerance])
                .collect();
            totals.write(0, &budgets)?;
        }
        self.rows = rows as u64;
        self.all = all && matches!(told, Cow::Borrowed(_));
        Ok(())
    }

    /// f32 `[rows, conditions]`.
    pub fn conditions(&self) -> Address {
        self.conditions.address()
    }

    /// f32 `[rows, 2]`: GeV left at the start, and at the end; none where there is no total.
    pub fn totals(&self) -> Address {
        self.totals.as_ref().map_or(Address::NULL, Memory::address)
    }

    /// Image number `i` has row `i % rows`.
    pub fn rows(&self) -> u64 {
        self.rows
    }
}
