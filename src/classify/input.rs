//! What a classifier sees of an image.

use candle_core::{Device, Result, Tensor};

use crate::data::SparseImages;
use crate::nn::layers::Size;

/// Numbers per pixel: `ln(1 + I / GeV) / 5`, about 1 at the largest pixels, and 1 where a pixel is not zero.
///
/// The logarithm brings spectra over five decades to one scale, and no outlier of a bad generator can drown the rest; the
/// flag shows the tiny pixels that it hides beside zero.
pub const CHANNELS: usize = 2;

/// What the logarithm is divided by.
const LOGARITHM: f32 = 5.0;

/// Images of a negative and a positive class.
pub(super) struct Labelled<'a> {
    /// Negatives, then positives: the images and which of them.
    pub classes: [(&'a SparseImages, &'a [u32]); 2],
}

impl Labelled<'_> {
    pub fn len(&self) -> usize {
        self.classes.iter().map(|(_, rows)| rows.len()).sum()
    }

    /// Of image `place`: negatives come first.
    pub fn label(&self, place: usize) -> bool {
        place >= self.classes[0].1.len()
    }

    pub fn labels(&self) -> Vec<bool> {
        (0..self.len()).map(|place| self.label(place)).collect()
    }

    pub fn size(&self) -> Size {
        let images = self.classes[0].0;
        Size {
            channels: CHANNELS,
            height: images.height(),
            width: images.width(),
        }
    }

    /// Inputs `[places, channels, height, width]` and labels `[places]` of some images.
    pub fn batch(&self, places: &[u32]) -> Result<(Tensor, Tensor)> {
        let size = self.size();
        let pixels = size.height * size.width;
        let mut inputs = vec![0.0; places.len() * CHANNELS * pixels];
        let mut labels = Vec::with_capacity(places.len());
        for (place, input) in places
            .iter()
            .zip(inputs.chunks_exact_mut(CHANNELS * pixels))
        {
            let place = *place as usize;
            let positive = self.label(place);
            let (images, rows) = self.classes[usize::from(positive)];
            let row = rows[place - if positive { self.classes[0].1.len() } else { 0 }];
            let (intensity, nonzero) = input.split_at_mut(pixels);
            let (index, value) = images.image(row as usize);
            for (pixel, value) in index.iter().zip(value) {
                intensity[*pixel as usize] = value.ln_1p() / LOGARITHM;
                nonzero[*pixel as usize] = 1.0;
            }
            labels.push(f32::from(u8::from(positive)));
        }
        let shape = (places.len(), CHANNELS, size.height, size.width);
        Ok((
            Tensor::from_vec(inputs, shape, &Device::Cpu)?,
            Tensor::from_vec(labels, places.len(), &Device::Cpu)?,
        ))
    }
}
