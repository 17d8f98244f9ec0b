//! Networks whose layers follow one another, and their derivatives, in the calling thread: who has many images shares them out.
//!
//! A convolution adds up what lies under its windows; a transposed one the other way round. An image has the same bits in whichever
//! company it goes through the layers, and whatever instruction set the processor has.

mod activation;
mod gather;
mod layer;
mod product;
mod window;

pub(crate) use activation::Activation;
pub(crate) use layer::{Layer, LayerSums, Ready};
pub(crate) use window::{Padding, Phase, Window};

use super::Size;
use crate::random::{self, Purpose, unit_f64};

/// Layers one after the other. Its parameters are two tensors a layer, weights and bias.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Chain(pub Vec<Layer>);

impl Chain {
    /// Shapes of its parameters.
    pub fn shapes(&self) -> Vec<Vec<usize>> {
        (self.0.iter())
            .flat_map(|layer| [layer.shape(), vec![layer.biases()]])
            .collect()
    }

    /// Multiply-adds of an image.
    pub fn multiply_adds(&self) -> usize {
        self.0.iter().map(Layer::multiply_adds).sum()
    }

    /// Weights that the variance of all numbers, forwards and backwards, survives (Glorot and Bengio 2010), uniform, as Keras
    /// starts; biases of 0. `first` is the number of the first tensor among all that have `seed`.
    pub fn initial(&self, seed: u64, first: usize) -> Vec<Vec<f32>> {
        let layers = self.0.iter().enumerate();
        let tensors = layers.flat_map(|(i, layer)| {
            let [from, to] = layer.fans();
            let bound = (6.0 / (from + to) as f64).sqrt();
            let number = |place: u64| {
                let w = random::words(seed, Purpose::Init, place, (first + 2 * i) as u32);
                ((2.0 * unit_f64(w[0], w[1]) - 1.0) * bound) as f32
            };
            let weights = layer.shape().iter().product::<usize>() as u64;
            [
                (0..weights).map(number).collect(),
                vec![0.0; layer.biases()],
            ]
        });
        tensors.collect()
    }

    /// Order the parameters for [`forward`](Self::forward), and for [`backward`](Self::backward) where it goes back to `first`: the
    /// first layer whose input's derivatives are wanted.
    pub fn ready(&self, parameters: &[Vec<f32>], first: usize) -> Vec<Ready> {
        let layers = self.0.iter().zip(parameters.as_chunks::<2>().0);
        layers
            .enumerate()
            .map(|(i, (layer, [weights, bias]))| layer.ready([weights, bias], i >= first))
            .collect()
    }

    /// What each layer gives for the images `x`, the last one last.
    pub fn forward(&self, ready: &[Ready], x: &[f32]) -> Vec<Vec<f32>> {
        let mut outputs: Vec<Vec<f32>> = Vec::with_capacity(self.0.len());
        for (layer, ready) in self.0.iter().zip(ready) {
            let x = outputs.last().map_or(x, Vec::as_slice);
            outputs.push(layer.forward(ready, x));
        }
        outputs
    }

    /// From derivatives by what each layer gave, `None` where nothing but the next layer reads it: those by the parameters are written
    /// to `gradients`, where they are wanted, those by `x` are returned, where [`ready`](Self::ready) was told that they are.
    pub fn backward(
        &self,
        ready: &[Ready],
        (x, outputs): (&[f32], &[Vec<f32>]),
        mut derivatives: Vec<Option<Vec<f32>>>,
        mut gradients: Option<&mut [Vec<f32>]>,
    ) -> Option<Vec<f32>> {
        let mut from_above: Option<Vec<f32>> = None;
        for (i, (layer, ready)) in self.0.iter().zip(ready).enumerate().rev() {
            let mut wanted = (gradients.as_deref_mut()).map(|all| {
                let (weights, bias) = all[2 * i..2 * i + 2].split_at_mut(1);
                [weights[0].as_mut_slice(), bias[0].as_mut_slice()]
            });
            let here = derivatives.get_mut(i).and_then(Option::take);
            let dy = match (from_above.take(), here) {
                (Some(mut above), Some(here)) => {
                    let each = above.iter_mut().zip(&here);
                    each.for_each(|(to, from)| *to += from);
                    above
                }
                (Some(dy), None) | (None, Some(dy)) => dy,
                // Nothing reads it.
                (None, None) => {
                    (wanted.iter_mut().flatten()).for_each(|gradients| gradients.fill(0.0));
                    continue;
                }
            };
            let x = match i.checked_sub(1) {
                Some(before) => &outputs[before],
                None => x,
            };
            from_above = layer.backward(ready, (x, &outputs[i]), dy, wanted);
        }
        from_above
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers of both signs.
    fn numbers(count: usize, salt: usize) -> Vec<f32> {
        (0..count)
            .map(|i| (((i * 7919 + salt * 104_729) % 23) as f32 - 11.0) / 8.0 + 0.013)
            .collect()
    }

    fn chain(filters: [usize; 2]) -> Chain {
        let input = Size {
            height: 5,
            width: 6,
            channels: 2,
        };
        let leaky = Activation::Leaky(0.3);
        let first = Layer::convolution(input, filters[0], (3, 2, Padding::Same), leaky).unwrap();
        let second = Layer::transposed(first.output, filters[1], (3, 2), leaky).unwrap();
        let third =
            Layer::convolution(second.output, 1, (4, 1, Padding::Valid), Activation::None).unwrap();
        let units = Size {
            height: 1,
            width: 1,
            channels: 5,
        };
        let last = Layer::dense(third.output, units, leaky);
        Chain(vec![first, second, third, last])
    }

    /// In double precision, straight from the definitions.
    fn loss(chain: &Chain, parameters: &[Vec<f64>], x: &[f64], wanted: &[Vec<f64>]) -> f64 {
        let mut x = x.to_vec();
        let mut loss = 0.0;
        for (i, layer) in chain.0.iter().enumerate() {
            let (weights, bias) = (&parameters[2 * i], &parameters[2 * i + 1]);
            let (input, output) = (layer.input, layer.output);
            let mut y = vec![0.0; output.numbers()];
            for (place, y) in y.iter_mut().enumerate() {
                *y = bias[place % bias.len()];
            }
            let shape = layer.shape();
            // (place in the input, place in the output, weight)
            let mut connect = |from: usize, to: usize, w: f64| y[to] += x[from] * w;
            match i {
                3 => {
                    for from in 0..input.numbers() {
                        for to in 0..output.numbers() {
                            connect(from, to, weights[from * output.numbers() + to]);
                        }
                    }
                }
                _ => {
                    let transposed = i == 1;
                    let (large, small) = match transposed {
                        true => (output, input),
                        false => (input, output),
                    };
                    let side = if transposed { shape[1] } else { shape[0] };
                    let (stride, before) = match i {
                        // 5 rows, 3 windows of 3: 7 rows needed, one above. 6 columns: 7, none before.
                        0 => (2, [1, 0]),
                        // 6 rows, 3 windows: none above.
                        1 => (2, [0, 0]),
                        _ => (1, [0, 0]),
                    };
                    for r in 0..small.height {
                        for c in 0..small.width {
                            for (dr, dc) in (0..side * side).map(|k| (k / side, k % side)) {
                                let row = (r * stride + dr).wrapping_sub(before[0]);
                                let column = (c * stride + dc).wrapping_sub(before[1]);
                                if row >= large.height || column >= large.width {
                                    continue;
                                }
                                for a in 0..input.channels {
                                    for b in 0..output.channels {
                                        let here = |s: Size, r: usize, c: usize| {
                                            (r * s.width + c) * s.channels
                                        };
                                        let (from, to) = match transposed {
                                            true => (here(small, r, c), here(large, row, column)),
                                            false => (here(large, row, column), here(small, r, c)),
                                        };
                                        let w = match transposed {
                                            true => {
                                                ((a * side + dr) * side + dc) * output.channels + b
                                            }
                                            false => {
                                                ((dr * side + dc) * input.channels + a)
                                                    * output.channels
                                                    + b
                                            }
                                        };
                                        connect(from + a, to + b, weights[w]);
                                    }
                                }
                            }
                        }
                    }
                }
            }
            if i != 2 {
                y.iter_mut()
                    .for_each(|y| *y = if *y > 0.0 { *y } else { 0.3 * *y });
            }
            loss += y.iter().zip(&wanted[i]).map(|(y, w)| y * w).sum::<f64>();
            x = y;
        }
        loss
    }

    #[test]
    fn layers_and_their_derivatives_are_those_of_the_definitions() {
        derivatives_agree(&chain([3, 2]), 1);
        // More channels than a vector has, and not a multiple of it.
        derivatives_agree(&chain([17, 35]), 97);
    }

    /// Of every so many parameters.
    fn derivatives_agree(chain: &Chain, step: usize) {
        let parameters: Vec<Vec<f32>> = (chain.shapes().iter().enumerate())
            .map(|(i, shape)| numbers(shape.iter().product(), i))
            .collect();
        let images = 3;
        let inputs = chain.0[0].input.numbers();
        let x = numbers(images * inputs, 50);
        // A loss that reads the second and the last layer.
        let wanted: Vec<Vec<f32>> = (chain.0.iter().enumerate())
            .map(|(i, layer)| match i {
                1 | 3 => numbers(layer.output.numbers(), 70 + i),
                _ => vec![0.0; layer.output.numbers()],
            })
            .collect();
        let ready = chain.ready(&parameters, 0);
        let outputs = chain.forward(&ready, &x);
        let dot = |a: &[f32], b: &[f32]| -> f64 {
            a.iter()
                .zip(b)
                .map(|(a, b)| f64::from(*a) * f64::from(*b))
                .sum()
        };
        let found: f64 = (outputs.iter().zip(&wanted))
            .flat_map(|(y, w)| y.chunks_exact(w.len()).map(|y| dot(y, w)))
            .sum();
        let wide = |of: &[f32]| -> Vec<f64> { of.iter().map(|v| f64::from(*v)).collect() };
        let (parameters_64, wanted_64): (Vec<_>, Vec<_>) = (
            parameters.iter().map(|p| wide(p)).collect(),
            wanted.iter().map(|w| wide(w)).collect(),
        );
        let exact = |parameters: &[Vec<f64>], x: &[f64]| -> f64 {
            x.chunks_exact(inputs)
                .map(|x| loss(chain, parameters, x, &wanted_64))
                .sum()
        };
        let x_64 = wide(&x);
        let want = exact(&parameters_64, &x_64);
        assert!((found - want).abs() < 1e-3 * want.abs(), "{found} {want}");

        let derivatives = wanted
            .iter()
            .enumerate()
            .map(|(i, w)| matches!(i, 1 | 3).then(|| w.repeat(images)));
        let mut gradients = parameters.clone();
        let through = (&x[..], &outputs[..]);
        let dx = chain.backward(
            &ready,
            through,
            derivatives.clone().collect(),
            Some(&mut gradients),
        );
        let dx = dx.unwrap();
        const H: f64 = 1e-5;
        let close = |found: f32, up: f64, down: f64, what: String| {
            let want = (up - down) / (2.0 * H);
            let error = (f64::from(found) - want).abs();
            assert!(error < 2e-3 * (1.0 + want.abs()), "{what}: {found} {want}");
        };
        for (tensor, gradient) in gradients.iter().enumerate() {
            for place in (0..gradient.len()).step_by(step) {
                let at = |h: f64| {
                    let mut moved = parameters_64.clone();
                    moved[tensor][place] += h;
                    exact(&moved, &x_64)
                };
                close(
                    gradient[place],
                    at(H),
                    at(-H),
                    format!("tensor {tensor}, {place}"),
                );
            }
        }
        for place in (0..x.len()).step_by(step.min(7)) {
            let at = |h: f64| {
                let mut moved = x_64.clone();
                moved[place] += h;
                exact(&parameters_64, &moved)
            };
            close(dx[place], at(H), at(-H), format!("x, {place}"));
        }
        // Layers that nothing reads have derivatives of 0, whatever was there before.
        let mut of_second = parameters.clone();
        let second = derivatives
            .clone()
            .map(|of| of.filter(|of| of.len() == images * chain.0[1].output.numbers()));
        chain.backward(&ready, through, second.collect(), Some(&mut of_second));
        assert!(of_second[4..].iter().flatten().all(|g| *g == 0.0));
        assert!(of_second[..4].iter().all(|of| of.iter().any(|g| *g != 0.0)));
        // Without the parameters' derivatives, those by x are the same.
        let alone = chain.backward(&ready, through, derivatives.collect(), None);
        assert_eq!(alone, Some(dx));
    }

    #[test]
    fn deconvolutions_lie_as_in_keras() {
        let input = Size {
            height: 2,
            width: 2,
            channels: 1,
        };
        let layer = Layer::transposed(input, 1, (3, 2), Activation::None).unwrap();
        let weights: Vec<f32> = (1..=9u8).map(f32::from).collect();
        let found = layer.forward(
            &layer.ready([&weights, &[0.0]], false),
            &[1.0, 2.0, 3.0, 4.0],
        );
        // Conv2DTranspose(1, 3, strides=2, padding="same") of Keras 3.13.2, kernel 1 to 9.
        let keras = [
            [1.0, 2.0, 5.0, 4.0],
            [4.0, 5.0, 14.0, 10.0],
            [10.0, 14.0, 36.0, 24.0],
            [12.0, 15.0, 34.0, 20.0],
        ];
        assert_eq!(found, keras.concat());
    }

    #[test]
    fn weights_start_as_glorot_has_them() {
        let chain = chain([3, 2]);
        let initial = chain.initial(3, 10);
        let sizes = initial.iter().map(Vec::len);
        assert!(sizes.eq(chain.shapes().iter().map(|s| s.iter().product::<usize>())));
        let bound = (6.0f32 / (9.0 * 2.0 + 9.0 * 3.0)).sqrt();
        let largest = initial[0].iter().fold(0.0f32, |a, b| a.max(b.abs()));
        assert!(
            largest < bound && largest > 0.8 * bound,
            "{largest} {bound}"
        );
        assert!(initial[1].iter().all(|b| *b == 0.0));
        assert_ne!(initial[0][..9], initial[2][..9]);
    }
}
