//! The conditions of each image, as inputs of a network.

use super::total::{Budget, Total};
use crate::data::SparseImages;

/// Standardised condition vectors of a run of images, and the total in GeV where one of them is a total.
///
/// Image number `i` uses row `i % rows`; a model without conditions has rows of width 0.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Conditions {
    width: usize,
    values: Vec<f32>,
    total: Option<Total>,
    /// Totals in GeV, one a row; empty where there is no total.
    totals: Vec<f32>,
}

impl Conditions {
    /// No conditions.
    pub fn none() -> Self {
        Self::default()
    }

    /// Rows of `width` standardised values, flattened; `values.len()` is a multiple of `width`. None of them is a total:
    /// see [`with_total`](Self::with_total).
    ///
    /// # Panics
    /// Where the values do not fill whole rows.
    pub fn new(width: usize, values: Vec<f32>) -> Self {
        assert!(width == 0 || values.len().is_multiple_of(width));
        Self {
            width,
            values,
            ..Self::default()
        }
    }

    /// Rows of `width` standardised values, flattened, of the images from number `first` on; of no other image.
    ///
    /// # Panics
    /// Where the values do not fill whole rows.
    pub fn of_images(first: u64, width: usize, mut values: Vec<f32>) -> Self {
        // Image i has row i % rows, whoever asks: the rows are turned until that is so.
        if let Some(rows @ 1..) = values.len().checked_div(width) {
            values.rotate_right((first % rows as u64) as usize * width);
        }
        Self::new(width, values)
    }

    /// The same, one of the conditions being `total`.
    ///
    /// The totals in GeV follow from the standardised values: images drawn under a seed and likelihoods depend on their
    /// last bit.
    ///
    /// # Panics
    /// Where the total is a condition beyond the rows' width.
    pub fn with_total(mut self, total: Option<Total>) -> Self {
        self.totals = match &total {
            Some(total) => (self.values.chunks_exact(self.width.max(1)))
                .map(|row| total.gev(row))
                .collect(),
            None => Vec::new(),
        };
        self.total = total;
        self
    }

    /// Numbers in a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Distinct rows (0 without conditions).
    pub fn rows(&self) -> usize {
        self.values.len().checked_div(self.width).unwrap_or(0)
    }

    /// The row that image number `image` uses.
    fn place(&self, image: u64) -> usize {
        (image % self.rows().max(1) as u64) as usize
    }

    /// The condition of image number `image`.
    pub fn row(&self, image: u64) -> &[f32] {
        match self.rows() {
            0 => &[],
            _ => &self.values[self.place(image) * self.width..][..self.width],
        }
    }

    /// Those of the images `rows`, in that order.
    pub fn gather(&self, rows: impl IntoIterator<Item = usize>) -> Self {
        let of_row = |row: usize| self.row(row as u64).iter().copied();
        let values = rows.into_iter().flat_map(of_row).collect();
        Self::new(self.width, values).with_total(self.total)
    }

    /// Which condition is a total, if one is.
    pub fn rule(&self) -> Option<&Total> {
        self.total.as_ref()
    }

    /// The total in GeV of image number `image`, if its conditions say one.
    pub fn total(&self, image: u64) -> Option<f32> {
        self.totals.get(self.place(image)).copied()
    }

    /// What image number `image` may spend on its pixels, if its conditions say a total.
    pub fn budget(&self, image: u64) -> Option<Budget> {
        Some(self.total.as_ref()?.budget(self.total(image)?))
    }
}

/// Images with the condition of each, ready to be learnt from or scored.
#[derive(Debug, Clone, Default)]
pub struct ConditionedImages {
    /// The images.
    pub images: SparseImages,
    /// Their conditions: as many rows as images, or none.
    pub conditions: Conditions,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_have_their_own_rows_wherever_they_start() {
        for first in [0, 1, 5, 7, (1 << 40) + 3, u64::MAX - 4] {
            let values: Vec<f32> = (0..10).map(|v| v as f32).collect();
            let conditions = Conditions::of_images(first, 2, values);
            for i in 0..5u64 {
                let row = [2.0 * i as f32, 2.0 * i as f32 + 1.0];
                assert_eq!(conditions.row(first + i), row, "{first} + {i}");
            }
        }
        assert_eq!(Conditions::of_images(3, 2, Vec::new()).rows(), 0);
        assert_eq!(Conditions::of_images(3, 0, Vec::new()), Conditions::none());
    }
}
