//! What a classifier is: layers, their parameters, how they start.

use candle_core::{DType, Device, Result, Tensor, Var};
use serde::{Deserialize, Serialize};

use super::Stream;
use super::input::Scale;
use crate::nn::Size;
use crate::nn::layers::{Convolution, Linear, Pool, WINDOW_PIXELS};
use crate::random::{Purpose, unit_f64, words};

/// Which classifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// The SARM paper's (arXiv 2009.14017, appendix 8.6): twice two 3 x 3 convolutions with ReLU (30 filters, the last
    /// one 1) and a 3 x 3 maximum of stride 1, no padding, then 100 units and 1, nothing between those two.
    Cnn,
    /// On all pixels at once: three layers of 512 units with ReLU, as CaloChallenge's low-level classifier
    /// (arXiv 2410.21611).
    Dense,
}

impl Network {
    /// What a number that is the same at all `pixels` is divided by: a unit of the dense network has a weight for each of
    /// them, and all of these weights move together.
    pub(super) fn repeats(self, pixels: usize) -> f64 {
        match self {
            Self::Cnn => 1.0,
            Self::Dense => (pixels as f64).sqrt(),
        }
    }
}

/// Filters of the convolutions but the last.
const FILTERS: usize = 30;
/// Units between the convolutions and the score.
const HIDDEN: usize = 100;
/// Units of a layer of the dense network, and how many layers.
const DENSE: [usize; 3] = [512; 3];

enum Layer {
    Convolution {
        input: Size,
        output: Size,
        inner: bool,
    },
    Pool {
        input: Size,
        output: Size,
    },
    Flatten {
        numbers: usize,
    },
    Linear {
        from: usize,
        to: usize,
        relu: bool,
        inner: bool,
    },
}

/// A classifier with its parameters.
pub(super) struct Classifier {
    layers: Vec<Layer>,
    /// Weights and bias of each layer that has some, in order.
    pub parameters: Vec<Var>,
    /// How it is shown images.
    pub scale: Scale,
}

impl Classifier {
    /// `network` on images of size `input`. `Ok(None)`: such images are too small for it.
    ///
    /// Weights are uniform with the variance `2 / terms` before a ReLU (He et al. 2015) and `1 / terms` elsewhere, biases
    /// 0: with smaller weights or random biases the last convolution, of one filter, is often off for every image.
    ///
    /// `run` and `attempt` keep the random numbers of several classifiers apart.
    pub fn new(
        network: Network,
        input: Size,
        seed: u64,
        run: u32,
        attempt: u32,
    ) -> Result<Option<Self>> {
        let layers = match network {
            Network::Cnn => cnn(input, FILTERS, HIDDEN),
            Network::Dense => Some(dense(input)),
        };
        layers
            .map(|layers| Self::initialised(layers, seed, run, attempt))
            .transpose()
    }

    fn initialised(layers: Vec<Layer>, seed: u64, run: u32, attempt: u32) -> Result<Self> {
        let mut classifier = Self {
            layers,
            parameters: Vec::new(),
            scale: Scale::default(),
        };
        let shapes: Vec<_> = classifier
            .layers
            .iter()
            .filter_map(Layer::weights)
            .collect();
        for (tensor, shape) in shapes.into_iter().enumerate() {
            let spread = (3.0 * shape.gain / shape.terms as f64).sqrt();
            let item = Stream::Init.item(run, attempt * 16 + tensor as u32);
            let draw = |n| {
                let w = words(seed, Purpose::Classify, n, item);
                ((2.0 * unit_f64(w[0], w[1]) - 1.0) * spread) as f32
            };
            let (rows, columns) = shape.matrix;
            let weights: Vec<f32> = (0..(rows * columns) as u64).map(draw).collect();
            classifier.parameters.extend([
                Var::from_vec(weights, shape.matrix, &Device::Cpu)?,
                Var::zeros(shape.units, DType::F32, &Device::Cpu)?,
            ]);
        }
        Ok(classifier)
    }

    /// Logits `[images]` of `x` `[images, channels, height, width]`: positive for the positive class.
    pub fn logits(&self, x: &Tensor) -> Result<Tensor> {
        let mut x = x.clone();
        let mut parameters = self.parameters.iter();
        let mut next = || match (parameters.next(), parameters.next()) {
            (Some(weights), Some(bias)) => Ok((weights, bias)),
            _ => candle_core::bail!("a layer has no parameters"),
        };
        for layer in &self.layers {
            x = match *layer {
                Layer::Convolution {
                    input,
                    output,
                    inner,
                } => {
                    let (weights, bias) = next()?;
                    x.apply_op3(
                        weights,
                        bias,
                        Convolution {
                            input,
                            output,
                            inner,
                        },
                    )?
                }
                Layer::Pool { input, output } => x.apply_op1(Pool { input, output })?,
                Layer::Flatten { numbers } => x.reshape(((), numbers))?,
                Layer::Linear {
                    from,
                    to,
                    relu,
                    inner,
                } => {
                    let (weights, bias) = next()?;
                    x.apply_op3(
                        weights,
                        bias,
                        Linear {
                            from,
                            to,
                            relu,
                            inner,
                        },
                    )?
                }
            };
        }
        x.squeeze(1)
    }
}

/// The parameters of a layer.
struct Weights {
    /// Terms of a unit's sum.
    terms: usize,
    /// Variance of a weight times `terms`.
    gain: f64,
    /// Rows and columns of the weights.
    matrix: (usize, usize),
    /// Numbers of the bias.
    units: usize,
}

impl Layer {
    fn weights(&self) -> Option<Weights> {
        let (terms, gain, matrix, units) = match *self {
            Self::Convolution { input, output, .. } => {
                let terms = input.channels * WINDOW_PIXELS;
                (terms, 2.0, (output.channels, terms), output.channels)
            }
            Self::Linear { from, to, relu, .. } => {
                (from, if relu { 2.0 } else { 1.0 }, (from, to), to)
            }
            Self::Pool { .. } | Self::Flatten { .. } => return None,
        };
        Some(Weights {
            terms,
            gain,
            matrix,
            units,
        })
    }
}

fn cnn(input: Size, filters: usize, hidden: usize) -> Option<Vec<Layer>> {
    let mut layers = Vec::new();
    let mut size = input;
    for (block, filters) in [[filters, filters], [filters, 1]].into_iter().enumerate() {
        for (place, filters) in filters.into_iter().enumerate() {
            let output = size.after_window(filters)?;
            layers.push(Layer::Convolution {
                input: size,
                output,
                inner: (block, place) != (0, 0),
            });
            size = output;
        }
        let output = size.after_window(size.channels)?;
        layers.push(Layer::Pool {
            input: size,
            output,
        });
        size = output;
    }
    layers.push(Layer::Flatten {
        numbers: size.numbers(),
    });
    for (from, to) in [(size.numbers(), hidden), (hidden, 1)] {
        layers.push(Layer::Linear {
            from,
            to,
            relu: false,
            inner: true,
        });
    }
    Some(layers)
}

fn dense(input: Size) -> Vec<Layer> {
    let mut layers = vec![Layer::Flatten {
        numbers: input.numbers(),
    }];
    let mut from = input.numbers();
    for to in DENSE {
        layers.push(Layer::Linear {
            from,
            to,
            relu: true,
            inner: layers.len() > 1,
        });
        from = to;
    }
    layers.push(Layer::Linear {
        from,
        to: 1,
        relu: false,
        inner: true,
    });
    layers
}

#[cfg(test)]
mod tests {
    use super::super::fit::loss;
    use super::*;

    #[derive(serde::Deserialize)]
    struct Case {
        filters: usize,
        hidden: usize,
        height: usize,
        width: usize,
        parameters: Vec<Vec<f32>>,
        inputs: Vec<f32>,
        labels: Vec<f32>,
        logits: Vec<f32>,
        loss: f32,
        gradients: Vec<Vec<f32>>,
    }

    #[derive(serde::Deserialize)]
    struct Golden {
        network: Case,
    }

    /// Scores and derivatives of the 2-block CNN against NumPy in float64, derivatives by differences.
    #[test]
    fn the_cnn_and_its_derivatives_equal_numpy() {
        let Golden { network: case } =
            serde_json::from_str(include_str!("../../tests/golden/classify.json")).unwrap();
        let size = Size {
            channels: 1,
            height: case.height,
            width: case.width,
        };
        let layers = cnn(size, case.filters, case.hidden).unwrap();
        let classifier = Classifier::initialised(layers, 0, 0, 0).unwrap();
        assert_eq!(classifier.parameters.len(), case.parameters.len());
        for (var, numbers) in classifier.parameters.iter().zip(&case.parameters) {
            var.set(&Tensor::from_slice(numbers, var.shape(), &Device::Cpu).unwrap())
                .unwrap();
        }
        let shape = (case.labels.len(), 1, case.height, case.width);
        let x = Tensor::from_slice(&case.inputs, shape, &Device::Cpu).unwrap();
        let labels = Tensor::from_slice(&case.labels, case.labels.len(), &Device::Cpu).unwrap();
        let logits = classifier.logits(&x).unwrap();
        // float32 rounds sums of some hundred terms of order 1.
        for (got, expected) in logits.to_vec1::<f32>().unwrap().iter().zip(&case.logits) {
            assert!((got - expected).abs() < 1e-4, "{got}, NumPy {expected}");
        }
        let loss = loss(&logits, &labels).unwrap();
        assert!((loss.to_scalar::<f32>().unwrap() - case.loss).abs() < 1e-5);
        let gradients = loss.backward().unwrap();
        for (k, (var, expected)) in classifier
            .parameters
            .iter()
            .zip(&case.gradients)
            .enumerate()
        {
            let got = gradients
                .get(var)
                .unwrap()
                .flatten_all()
                .unwrap()
                .to_vec1::<f32>()
                .unwrap();
            let scale = expected.iter().fold(0f32, |a, b| a.max(b.abs()));
            assert!(scale > 1e-3, "tensor {k} is not tested");
            for (got, expected) in got.iter().zip(expected) {
                assert!(
                    (got - expected).abs() < 1e-4 * scale.max(1.0),
                    "tensor {k}: {got}, NumPy {expected}"
                );
            }
        }
    }

    #[test]
    fn sizes_that_do_not_fit_are_refused() {
        let size = |height, width| Size {
            channels: 2,
            height,
            width,
        };
        let new = |network, size| Classifier::new(network, size, 0, 0, 0).unwrap();
        assert!(new(Network::Cnn, size(12, 25)).is_none());
        assert!(new(Network::Cnn, size(1, 1)).is_none());
        assert!(new(Network::Dense, size(1, 1)).is_some());
        for (height, width) in [(13, 13), (25, 25), (32, 32), (13, 40)] {
            let x = Tensor::zeros((3, 2, height, width), DType::F32, &Device::Cpu).unwrap();
            let logits = new(Network::Cnn, size(height, width))
                .unwrap()
                .logits(&x)
                .unwrap();
            assert_eq!(logits.dims(), [3]);
        }
    }
}
