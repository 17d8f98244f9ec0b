//! The sparse decoder: for each pixel a probability of zero and a mixture of logistics, in place of an image.
//!
//! Its last layer gives, for a pixel, the logit of its gate, then logits, means and logarithms of scales of K logistics, as the
//! parameters of [`likelihood`](crate::likelihood). -ln p(x | z) of an image is the sum over its pixels.

use super::Vae;
use super::network::Part;
use super::total::Shape;
use crate::data::SparseImages;
use crate::family::EngineError;
use crate::likelihood::{Mixture, Values, gate};
use crate::numeric::{Isa, Kernel, LANES, Vector, sigmoid};
use crate::random::{Purpose, unit, words};

/// Nonzero pixels that first means and scales are taken from.
const LOOKED_AT: usize = 1 << 16;

/// Items of [`Purpose::Draw`] from here on draw pixels.
const PIXELS: u32 = 1 << 20;

/// -ln p of an image, nats, from its `pixels` in units of `unit` GeV and what the decoder gives for each; where it is told a total, what a
/// bound takes in its place at a `part` of the scales that it is seen at. Where derivatives by the decoder's numbers are wanted, `slopes` holds
/// zeros for them.
pub(super) fn nll(
    mixture: &Mixture,
    (pixels, unit, part): (&[f32], f32, Option<f64>),
    outputs: &[f32],
    slopes: Option<&mut [f32]>,
) -> f64 {
    let shape = part.and_then(|part| Some((Shape::of(pixels, unit)?, part)));
    let (log_s, beside) = shape.map_or((0.0, 0.0), |(shape, part)| shape.at(part));
    let unit = unit * log_s.exp() as f32;
    let costs = Costs {
        mixture,
        pixels,
        unit,
        outputs,
        slopes,
    };
    Isa::best().dispatch(costs) - beside
}

/// -ln p of pixels in units of `unit` GeV. Scalars: the instruction set is there for its fused multiply-adds, which are calls without.
struct Costs<'a> {
    mixture: &'a Mixture,
    pixels: &'a [f32],
    unit: f32,
    outputs: &'a [f32],
    slopes: Option<&'a mut [f32]>,
}

impl Kernel for Costs<'_> {
    type Output = f64;

    #[inline(always)]
    fn run<V: Vector>(mut self) -> f64 {
        let (mixture, mut sum) = (self.mixture, 0.0);
        let numbers = 1 + 3 * mixture.components;
        for (pixel, (x, outputs)) in
            (self.pixels.iter().zip(self.outputs.chunks_exact(numbers))).enumerate()
        {
            let (x, there) = (x * self.unit, *x > 0.0);
            let (cost, slope) = gate(outputs[0], if there { 1.0 } else { -1.0 });
            // A gate that is no number must not cost one.
            sum += f64::from(cost + 0.0 * outputs[0]);
            if let Some(all) = self.slopes.as_deref_mut() {
                let slopes = &mut all[pixel * numbers..][..numbers];
                slopes[0] = slope;
                if there {
                    let slopes = &mut slopes[1..];
                    sum += f64::from(mixture.nll_and_gradient(x, &outputs[1..], slopes));
                }
            } else if there {
                sum += f64::from(mixture.nll(x, &outputs[1..]));
            }
        }
        sum
    }
}

/// The random numbers of an image's pixels: of the gate, the component, the place in it.
#[derive(Clone, Copy)]
pub(super) struct Chances {
    pub seed: u64,
    pub image: u64,
}

impl Chances {
    #[inline(always)]
    fn of(self, pixel: usize) -> [u32; 4] {
        words(self.seed, Purpose::Draw, self.image, PIXELS + pixel as u32)
    }

    /// The pixels whose gates are open, in order. A gate that is no number is open, so that it is found.
    pub fn open(self, gates: &[f32]) -> Vec<usize> {
        let chances = self;
        Isa::best().dispatch(Open { chances, gates })
    }

    /// The `open` pixels, GeV, from what the decoder gives for each of them.
    pub fn draw(self, mixture: &Mixture, open: &[usize], outputs: &[f32]) -> Vec<(u16, f32)> {
        Isa::best().dispatch(Drawn {
            chances: self,
            mixture,
            open,
            outputs,
        })
    }
}

struct Open<'a> {
    chances: Chances,
    gates: &'a [f32],
}

impl Kernel for Open<'_> {
    type Output = Vec<usize>;

    #[inline(always)]
    fn run<V: Vector>(self) -> Vec<usize> {
        let mut open = Vec::new();
        for (i, gates) in self.gates.chunks(LANES).enumerate() {
            let (mut shut, mut chances) = ([0.0; LANES], [0.0; LANES]);
            shut[..gates.len()].copy_from_slice(gates);
            // SAFETY: there are LANES numbers.
            shut = sigmoid(unsafe { V::load(shut.as_ptr()) }).to_array();
            for (lane, chance) in chances.iter_mut().enumerate() {
                *chance = unit(self.chances.of(i * LANES + lane)[0]);
            }
            for (lane, gate) in gates.iter().enumerate() {
                if gate.is_nan() || chances[lane] >= shut[lane] {
                    open.push(i * LANES + lane);
                }
            }
        }
        open
    }
}

struct Drawn<'a> {
    chances: Chances,
    mixture: &'a Mixture,
    open: &'a [usize],
    outputs: &'a [f32],
}

impl Kernel for Drawn<'_> {
    type Output = Vec<(u16, f32)>;

    #[inline(always)]
    fn run<V: Vector>(self) -> Vec<(u16, f32)> {
        let numbers = 1 + 3 * self.mixture.components;
        let mut pixels = Vec::with_capacity(self.open.len());
        for (pixel, outputs) in self.open.iter().zip(self.outputs.chunks_exact(numbers)) {
            let w = self.chances.of(*pixel);
            let x = match outputs.iter().all(|v| v.is_finite()) {
                true => (self.mixture).draw(&outputs[1..], unit(w[1]), unit(w[2])),
                false => f32::NAN,
            };
            pixels.push((*pixel as u16, x));
        }
        pixels
    }
}

impl Vae {
    /// Let the last layer's biases start at the gate and the mixture of all training pixels.
    pub(super) fn start_from(&mut self, images: &SparseImages, rows: &[u32]) {
        let Some(mixture) = self.mixture else {
            return;
        };
        let pixels = (rows.len() * images.pixels()) as f64;
        let values = rows.iter().flat_map(|row| images.image(*row as usize).1);
        let nonzero = values.clone().count();
        let zeros = (pixels - nonzero as f64 + 0.5) / (pixels + 1.0);
        let origin = mixture.support.origin();
        let mut means: Vec<f64> = (values.step_by(nonzero.div_ceil(LOOKED_AT).max(1)))
            .map(|x| mixture.support.variable(f64::from(*x)) - origin)
            .collect();
        means.sort_by(f64::total_cmp);
        let k = mixture.components;
        let quantile = |part: f64| {
            let last = means.len().saturating_sub(1) as f64;
            means.get((part * last) as usize).copied().unwrap_or(0.0)
        };
        // Of a logistic the scale is 0.55 standard deviations; neighbours overlap.
        let width = (quantile(0.84) - quantile(0.16)) / 2.0;
        let scale = (0.55 * width / (k as f64).sqrt()).max(1e-3).ln();
        let mut bias = vec![(zeros / (1.0 - zeros)).ln() as f32];
        bias.resize(1 + k, 0.0);
        bias.extend((0..k).map(|i| quantile((i as f64 + 0.5) / k as f64) as f32));
        bias.resize(1 + 3 * k, scale as f32);
        let last = self.network.range(Part::Decoder).end - 1;
        self.parameters[last] = bias;
    }

    /// Refuse an image with a pixel that has no probability.
    pub(super) fn check_range(&self, images: &SparseImages) -> Result<(), EngineError> {
        let Some(values) = self.config.likelihood.as_ref().map(Values::new) else {
            return Ok(());
        };
        for (image, (pixels, energies)) in images.iter().enumerate() {
            for (pixel, value) in pixels.iter().zip(energies) {
                if let Some(side) = values.excludes(*value) {
                    let pixel = usize::from(*pixel);
                    let width = self.config.image.width;
                    return Err(EngineError::Beyond {
                        image,
                        row: pixel / width,
                        column: pixel % width,
                        value: *value,
                        side,
                        end: values.end(side),
                    });
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::likelihood::{Rest, Space, Support};

    /// Of two pixels, the density of the first, as the bound's terms averaged over the scale have it, adds up to one.
    #[test]
    fn a_shape_has_the_density_of_its_definition() {
        let mixture = Mixture {
            components: 1,
            support: Support {
                unit: 1.0,
                upper: f64::INFINITY,
                space: Space::Linear,
            },
            rest: Rest::Free,
        };
        // Narrow enough that no s beyond the spread matters: means 6 and 3, scales 0.1 and 0.1; gates all but open.
        let outputs = [-20.0, 0.0, 6.0, 0.1f32.ln(), -20.0, 0.0, 3.0, 0.1f32.ln()];
        let total = 10.0f32;
        let density = |first: f64| {
            let x = [first as f32, total - first as f32];
            let steps = 2000;
            let of_step = |i: usize| {
                let part = (i as f64 + 0.5) / steps as f64;
                (-nll(&mixture, (&x, 1.0, Some(part)), &outputs, None)).exp()
            };
            (0..steps).map(of_step).sum::<f64>() / steps as f64
        };
        // It adds up to one: the first pixel is about 6.67 of 10 GeV.
        let steps = 400;
        let (low, high) = (5.5, 7.8);
        let width = (high - low) / steps as f64;
        let all: f64 = (0..steps)
            .map(|i| width * density(low + (i as f64 + 0.5) * width))
            .sum();
        assert!((all - 1.0).abs() < 2e-3, "{all}");
        assert!(density(20.0 / 3.0) > 5.0 * density(6.0));
    }
}
