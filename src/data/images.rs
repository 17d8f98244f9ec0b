//! Sparse images in memory: one CSR block for any number of images.

use super::ImageSize;
use rayon::prelude::*;

/// Images of one size, only the nonzero pixels stored (compressed sparse rows, one row an image).
///
/// A pixel is addressed by its row-major index `row * width + column`; inside an image indices
/// ascend. Values are positive and finite, in GeV. An image takes 6 bytes
/// per nonzero pixel and 8 more.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SparseImages {
    height: usize,
    width: usize,
    indptr: Vec<u64>,
    index: Vec<u16>,
    value: Vec<f32>,
}

/// The most pixels an image may have: indices are stored in 16 bits.
pub const MAX_PIXELS: usize = 1 << 16;

impl SparseImages {
    /// No images yet, of `height x width` pixels.
    ///
    /// `None` when the size is zero or above [`MAX_PIXELS`].
    pub fn new(height: usize, width: usize) -> Option<Self> {
        let pixels = height.checked_mul(width)?;
        (1..=MAX_PIXELS).contains(&pixels).then(|| Self {
            height,
            width,
            indptr: vec![0],
            index: Vec::new(),
            value: Vec::new(),
        })
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.indptr.len().saturating_sub(1)
    }

    /// Whether there are no images.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Rows of pixels in an image.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Columns of pixels in an image.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Rows and columns.
    pub fn size(&self) -> ImageSize {
        ImageSize {
            height: self.height,
            width: self.width,
        }
    }

    /// Pixels in an image, zeros included.
    pub fn pixels(&self) -> usize {
        self.height * self.width
    }

    /// The largest pixel; 0 where there is none.
    pub fn largest(&self) -> f32 {
        self.csr().2.iter().fold(0.0, |m, v| v.max(m))
    }

    /// The smallest positive pixel; 1e-3 where there is none.
    pub fn smallest(&self) -> f32 {
        let least = (self.csr().2.iter()).fold(f32::INFINITY, |m, v| v.min(m));
        if least.is_finite() { least } else { 1e-3 }
    }

    /// Nonzero pixels in all images.
    pub fn nonzeros(&self) -> usize {
        self.index.len()
    }

    /// Nonzero pixels of image `i`: ascending row-major indices, and their values in GeV.
    ///
    /// # Panics
    /// Where there is no image `i`.
    pub fn image(&self, i: usize) -> (&[u16], &[f32]) {
        let range = self.indptr[i] as usize..self.indptr[i + 1] as usize;
        (&self.index[range.clone()], &self.value[range])
    }

    /// All images in turn, as [`image`](Self::image) gives them.
    pub fn iter(&self) -> impl Iterator<Item = (&[u16], &[f32])> {
        (0..self.len()).map(|i| self.image(i))
    }

    /// Sum of the pixels of each image, GeV.
    pub fn totals(&self) -> Vec<f32> {
        let sum = |(_, values): (&[u16], &[f32])| values.iter().map(|v| f64::from(*v)).sum::<f64>();
        self.iter().map(|image| sum(image) as f32).collect()
    }

    /// Append one image given its nonzero pixels, indices ascending.
    ///
    /// # Panics
    /// On an index beyond the image, and on a value that is not positive.
    pub fn push(&mut self, nonzero: impl IntoIterator<Item = (u16, f32)>) {
        for (index, value) in nonzero {
            assert!((index as usize) < self.pixels() && value > 0.0);
            self.index.push(index);
            self.value.push(value);
        }
        self.indptr.push(self.index.len() as u64);
    }

    /// Append one image given all its pixels, row-major.
    ///
    /// # Panics
    /// Where `pixels` are not as many as an image has.
    pub fn push_dense(&mut self, pixels: &[f32]) {
        assert_eq!(pixels.len(), self.pixels());
        self.push(
            pixels
                .iter()
                .enumerate()
                .filter(|(_, v)| **v > 0.0)
                .map(|(i, v)| (i as u16, *v)),
        );
    }

    /// The same images with pixels multiplied by `factor`, then those below `threshold` set to zero: how many these were.
    ///
    /// `None` when a pixel leaves the range of float32.
    pub fn scaled(mut self, factor: f64, threshold: f32) -> Option<(Self, usize)> {
        let (mut kept, mut start, mut below) = (0, 0, 0);
        for i in 0..self.len() {
            let end = self.indptr[i + 1] as usize;
            for at in start..end {
                let value = match factor == 1.0 {
                    true => self.value[at],
                    false => (f64::from(self.value[at]) * factor) as f32,
                };
                if !value.is_finite() {
                    return None;
                }
                if value < threshold {
                    below += 1;
                } else if value > 0.0 {
                    self.value[kept] = value;
                    self.index[kept] = self.index[at];
                    kept += 1;
                }
            }
            start = end;
            self.indptr[i + 1] = kept as u64;
        }
        self.value.truncate(kept);
        self.index.truncate(kept);
        self.shrink_to_fit();
        Some((self, below))
    }

    /// Give back the room that growing left beyond the last image: up to half of the block.
    pub fn shrink_to_fit(&mut self) {
        self.indptr.shrink_to_fit();
        self.index.shrink_to_fit();
        self.value.shrink_to_fit();
    }

    /// Append all images of `other`, which must have the same size.
    ///
    /// # Panics
    /// Where the sizes differ.
    pub fn extend(&mut self, other: &SparseImages) {
        assert_eq!((self.height, self.width), (other.height, other.width));
        let base = self.index.len() as u64;
        self.index.extend_from_slice(&other.index);
        self.value.extend_from_slice(&other.value);
        self.indptr
            .extend(other.indptr.iter().skip(1).map(|p| base + p));
    }

    /// Write image `i` into `out`, row-major, zeros included; `out` has [`pixels`](Self::pixels) places.
    ///
    /// # Panics
    /// Where there is no image `i`, or `out` has no place for one of its pixels.
    pub fn dense_into(&self, i: usize, out: &mut [f32]) {
        out.fill(0.0);
        let (index, value) = self.image(i);
        for (p, v) in index.iter().zip(value) {
            out[*p as usize] = *v;
        }
    }

    /// The images named by `rows`, in that order.
    ///
    /// # Panics
    /// Where there is no image of such a number.
    pub fn gather(&self, rows: impl IntoIterator<Item = usize>) -> SparseImages {
        let mut out = SparseImages {
            height: self.height,
            width: self.width,
            indptr: vec![0],
            index: Vec::new(),
            value: Vec::new(),
        };
        for row in rows {
            let (index, value) = self.image(row);
            out.index.extend_from_slice(index);
            out.value.extend_from_slice(value);
            out.indptr.push(out.index.len() as u64);
        }
        out
    }

    /// The raw CSR arrays: `indptr` (images + 1), `index` and `value` (nonzeros).
    pub fn csr(&self) -> (&[u64], &[u16], &[f32]) {
        (&self.indptr, &self.index, &self.value)
    }

    /// Images from raw CSR arrays.
    ///
    /// # Errors
    /// What does not hold, in words: a size as for [`new`](Self::new), an index for every value, pointers ascending
    /// from 0 to the number of nonzeros, indices ascending inside an image and below `height * width`, values
    /// positive and finite.
    pub fn from_csr(
        height: usize,
        width: usize,
        indptr: Vec<u64>,
        index: Vec<u16>,
        value: Vec<f32>,
    ) -> Result<Self, String> {
        let mut images =
            Self::new(height, width).ok_or_else(|| format!("image size {height} x {width}"))?;
        if index.len() != value.len() {
            return Err(format!(
                "{} indices but {} values",
                index.len(),
                value.len()
            ));
        }
        if indptr.first() != Some(&0) || indptr.last() != Some(&(index.len() as u64)) {
            return Err(format!(
                "indptr must run from 0 to the number of nonzeros, {}",
                index.len()
            ));
        }
        // In parallel: a card draws images faster than one thread looks at them.
        let pixels = images.pixels();
        let wrong = indptr
            .par_windows(2)
            .enumerate()
            .with_min_len(1024)
            .find_map_first(|(row, ends)| {
                let found = check_row(ends, pixels, &index, &value);
                found.err().map(|what| format!("row {row}: {what}"))
            });
        if let Some(what) = wrong {
            return Err(what);
        }
        images.indptr = indptr;
        images.index = index;
        images.value = value;
        Ok(images)
    }
}

/// Whether an image of `pixels` pixels, of which `ends` says where it begins and ends, is one.
fn check_row(ends: &[u64], pixels: usize, index: &[u16], value: &[f32]) -> Result<(), String> {
    if ends[0] > ends[1] || ends[1] > index.len() as u64 {
        return Err("its end lies before its beginning, or beyond the last nonzero".into());
    }
    let range = ends[0] as usize..ends[1] as usize;
    let mut previous = None;
    for (i, v) in index[range.clone()].iter().zip(&value[range]) {
        if usize::from(*i) >= pixels || previous.is_some_and(|p| p >= *i) {
            return Err(format!("pixel index {i} is out of range or out of order"));
        }
        if !(v.is_finite() && *v > 0.0) {
            return Err(format!("pixel {i} holds {v}"));
        }
        previous = Some(*i);
    }
    Ok(())
}
