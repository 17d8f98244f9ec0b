//! What a classifier sees of an image.

use candle_core::{Device, Result, Tensor};

use crate::data::SparseImages;
use crate::nn::Size;

/// Numbers per pixel: `ln(1 + I / GeV) / 5`, about 1 at the largest pixels; 1 where a pixel is not zero; and, the same at
/// every pixel, the image's `ln(1 + sum / GeV)` and number of nonzero pixels, less their mean and over their width.
///
/// The logarithm brings spectra over five decades to one scale, and no outlier of a bad generator can drown the rest; the
/// flag shows the tiny pixels that it hides beside zero. A network of few images does not learn to add up its pixels.
pub const CHANNELS: usize = 4;

/// What the logarithm is divided by.
const LOGARITHM: f32 = 5.0;
/// The most widths that an image is shown to be away from the mean.
const WIDTHS: f32 = 10.0;

/// How the sum and the number of pixels of an image are shown: by those of the training images.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Scale {
    /// Mean of `ln(1 + sum / GeV)` and of the number of nonzero pixels.
    mean: [f32; 2],
    /// One over their width; 0 where all are the same.
    inverse: [f32; 2],
    /// The largest number shown: no image of a bad generator drowns the others.
    most: f32,
}

impl Scale {
    /// By the images of `train`; widths are shown as `1 / repeats`.
    pub fn of(train: &Labelled, repeats: f64) -> Self {
        let count = train.len().max(1) as f64;
        let all = || {
            (train.classes.iter())
                .flat_map(|(images, rows)| rows.iter().map(|row| whole(images, *row)))
        };
        let mut scale = Self {
            most: WIDTHS / repeats as f32,
            ..Self::default()
        };
        for k in 0..2 {
            let mean = all().map(|w| f64::from(w[k])).sum::<f64>() / count;
            let squares: f64 = all().map(|w| (f64::from(w[k]) - mean).powi(2)).sum();
            let width = (squares / count).sqrt();
            scale.mean[k] = mean as f32;
            // A rounded mean gives equal images a width that is none.
            if width > 1e-6 * mean.abs() {
                scale.inverse[k] = (1.0 / (width * repeats)) as f32;
            }
        }
        scale
    }

    /// As the network sees it.
    fn apply(&self, whole: [f32; 2]) -> [f32; 2] {
        [0, 1].map(|k| ((whole[k] - self.mean[k]) * self.inverse[k]).clamp(-self.most, self.most))
    }
}

/// `ln(1 + sum / GeV)` and number of nonzero pixels of an image.
fn whole(images: &SparseImages, row: u32) -> [f32; 2] {
    let (index, value) = images.image(row as usize);
    let sum: f64 = value.iter().map(|v| f64::from(*v)).sum();
    [sum.ln_1p() as f32, index.len() as f32]
}

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
    pub fn batch(&self, places: &[u32], scale: &Scale) -> Result<(Tensor, Tensor)> {
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
            let (intensity, rest) = input.split_at_mut(pixels);
            let (nonzero, rest) = rest.split_at_mut(pixels);
            let (sum, count) = rest.split_at_mut(pixels);
            let [of_sum, of_count] = scale.apply(whole(images, row));
            sum.fill(of_sum);
            count.fill(of_count);
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Inputs of all images, `[images][channels * pixels]`.
    fn shown(images: &SparseImages, repeats: f64) -> Vec<Vec<f32>> {
        let rows: Vec<u32> = (0..images.len() as u32).collect();
        let (negatives, positives) = rows.split_at(rows.len() / 2);
        let both = Labelled {
            classes: [(images, negatives), (images, positives)],
        };
        let scale = Scale::of(&both, repeats);
        let (inputs, _) = both.batch(&rows, &scale).unwrap();
        inputs.flatten_from(1).unwrap().to_vec2().unwrap()
    }

    #[test]
    fn sums_and_counts_are_shown_by_their_widths() {
        // ln(1 + sum) is 1 and 3, there are 1 and 2 pixels: both are one width away from their means.
        let mut images = SparseImages::new(1, 4).unwrap();
        let (low, high) = (1f32.exp() - 1.0, 3f32.exp() - 1.0);
        images.push([(0, low)]);
        images.push([(1, 0.25 * high), (3, 0.75 * high)]);
        for (repeats, width) in [(1.0, 1.0), (2.0, 0.5)] {
            let inputs = shown(&images, repeats);
            for (input, sign) in inputs.iter().zip([-1.0, 1.0]) {
                assert!(
                    input[8..].iter().all(|v| (v - sign * width).abs() < 1e-5),
                    "{input:?}"
                );
            }
            assert!((inputs[0][0] - 0.2).abs() < 1e-6 && inputs[0][1..4] == [0.0; 3]);
            assert_eq!(inputs[1][4..8], [0.0, 1.0, 0.0, 1.0]);
        }
    }

    #[test]
    fn equal_images_and_outliers_are_shown_as_small_numbers() {
        let mut images = SparseImages::new(1, 4).unwrap();
        (0..4).for_each(|_| images.push([(2, 7.3)]));
        assert!(
            shown(&images, 1.0)
                .iter()
                .all(|input| input[8..] == [0.0; 8])
        );
        // One of a thousand would be 30 widths away.
        (0..1000).for_each(|_| images.push([(2, 7.3)]));
        images.push([(0, f32::MAX), (1, f32::MAX), (2, f32::MAX)]);
        let most = shown(&images, 1.0)
            .into_iter()
            .flat_map(|input| input[8..].to_vec());
        assert_eq!(most.fold(0.0, f32::max), WIDTHS);
    }
}
