//! One layer of a chain, forwards and backwards.

use super::{Padding, Size, Window};
use crate::nn::matrix::{Matrix, add_product};

/// What a layer does to the sums that it makes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Activation {
    /// Nothing.
    None,
    /// Negative ones are multiplied by this, more than 0.
    Leaky(f32),
    /// Negative ones become 0.
    Relu,
}

impl Activation {
    fn apply(self, values: &mut [f32]) {
        let slope = match self {
            Activation::None => return,
            Activation::Leaky(slope) => slope,
            Activation::Relu => 0.0,
        };
        for value in values {
            // Not a product with 0: that would make a zero of two signs.
            *value = match *value > 0.0 {
                true => *value,
                false if slope == 0.0 => 0.0,
                false => slope * *value,
            };
        }
    }

    /// Turn derivatives by `values`, which the layer gave, into those by its sums. At 0 they are those of a negative sum.
    fn turn(self, derivatives: &mut [f32], values: &[f32]) {
        let slope = match self {
            Activation::None => return,
            Activation::Leaky(slope) => slope,
            Activation::Relu => 0.0,
        };
        for (derivative, value) in derivatives.iter_mut().zip(values) {
            *derivative *= if *value > 0.0 { 1.0 } else { slope };
        }
    }
}

/// How a layer's sums are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// From all numbers of an image.
    Dense,
    /// From those under a window.
    Convolution(Window),
    /// The same with one filter: what each pixel adds to each place of a window is worked out first, so that nothing is unrolled.
    OneFilter(Window),
    /// The transpose of it: each place adds to all that lies under its window.
    Transposed(Window),
}

/// A layer: weights, a bias for each channel of what it gives, an activation.
///
/// Numbers of an image are stored row by row, the channels of a pixel side by side. Weights are row-major: `[from, to]` of a
/// dense layer, `[side, side, from, to]` of a convolution, `[from, side, side, to]` of a transposed one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Layer {
    kind: Kind,
    activation: Activation,
    /// What it is given.
    pub input: Size,
    /// What it gives.
    pub output: Size,
}

impl Layer {
    /// Units that read all numbers of an image.
    pub fn dense(input: Size, output: Size, activation: Activation) -> Self {
        Self {
            kind: Kind::Dense,
            activation,
            input,
            output,
        }
    }

    /// A convolution with `filters` filters; `None` where no window fits.
    pub fn convolution(
        input: Size,
        filters: usize,
        (side, stride, padding): (usize, usize, Padding),
        activation: Activation,
    ) -> Option<Self> {
        let window = Window::over(input, side, stride, padding)?;
        Some(Self {
            kind: match filters {
                1 => Kind::OneFilter(window),
                _ => Kind::Convolution(window),
            },
            activation,
            input,
            output: Size {
                height: window.small[0],
                width: window.small[1],
                channels: filters,
            },
        })
    }

    /// A transposed convolution (deconvolution) whose output is `stride` times as high and wide as its input: the windows lie as
    /// those of a "same" convolution the other way, as Keras has them.
    pub fn transposed(
        input: Size,
        filters: usize,
        (side, stride): (usize, usize),
        activation: Activation,
    ) -> Option<Self> {
        let output = Size {
            height: stride * input.height,
            width: stride * input.width,
            channels: filters,
        };
        let window = Window::over(output, side, stride, Padding::Same)?;
        Some(Self {
            kind: Kind::Transposed(window),
            activation,
            input,
            output,
        })
    }

    /// Shape of the weights.
    pub fn shape(&self) -> Vec<usize> {
        let (from, to) = (self.input.channels, self.output.channels);
        match self.kind {
            Kind::Dense => vec![self.input.numbers(), self.output.numbers()],
            Kind::Convolution(window) | Kind::OneFilter(window) => {
                vec![window.side, window.side, from, to]
            }
            Kind::Transposed(window) => vec![from, window.side, window.side, to],
        }
    }

    /// How many biases: one a channel, of a dense layer one a number.
    pub fn biases(&self) -> usize {
        match self.kind {
            Kind::Dense => self.output.numbers(),
            _ => self.output.channels,
        }
    }

    /// Numbers that one sum adds up, and sums that one number goes into: Glorot's fans.
    pub fn fans(&self) -> [usize; 2] {
        let (from, to) = (self.input.channels, self.output.channels);
        match self.kind {
            Kind::Dense => [self.input.numbers(), self.output.numbers()],
            Kind::Convolution(w) | Kind::OneFilter(w) | Kind::Transposed(w) => {
                [w.side * w.side * from, w.side * w.side * to]
            }
        }
    }

    /// Numbers under all windows of one image.
    pub fn unrolled(&self) -> usize {
        match self.kind {
            Kind::Dense | Kind::OneFilter(_) => 0,
            Kind::Convolution(window) | Kind::Transposed(window) => {
                window.places() * window.terms()
            }
        }
    }

    fn unroll_all(&self, window: &Window, images: &[f32], size: Size) -> Vec<f32> {
        let count = images.len() / size.numbers();
        let mut unrolled = vec![0.0; count * self.unrolled()];
        let each = images.chunks_exact(size.numbers());
        for (image, unrolled) in each.zip(unrolled.chunks_exact_mut(self.unrolled())) {
            window.unroll(image, unrolled);
        }
        unrolled
    }

    fn roll_all(&self, window: &Window, unrolled: &[f32], to: &mut [f32], size: Size) {
        let each = to.chunks_exact_mut(size.numbers());
        for (image, unrolled) in each.zip(unrolled.chunks_exact(self.unrolled())) {
            window.roll(unrolled, image);
        }
    }

    /// With one filter: what each pixel adds to the places of a window, `[pixels, side, side]`.
    fn added(&self, window: &Window, weights: &[f32], x: &[f32]) -> Vec<f32> {
        let (from, places) = (self.input.channels, window.side * window.side);
        let pixels = x.len() / from;
        let mut added = vec![0.0; pixels * places];
        let weights = Matrix::transposed(weights, from);
        add_product(
            &mut added,
            (pixels, from, places),
            Matrix::rows(x, from),
            weights,
        );
        added
    }

    /// What it gives for the images `x`.
    pub fn forward(&self, [weights, bias]: [&[f32]; 2], x: &[f32]) -> Vec<f32> {
        let images = x.len() / self.input.numbers();
        let mut y = vec![0.0; images * self.output.numbers()];
        y.chunks_exact_mut(bias.len())
            .for_each(|y| y.copy_from_slice(bias));
        let (from, to) = (self.input.channels, self.output.channels);
        match self.kind {
            Kind::Dense => {
                let (from, to) = (self.input.numbers(), self.output.numbers());
                let (x, weights) = (Matrix::rows(x, from), Matrix::rows(weights, to));
                add_product(&mut y, (images, from, to), x, weights);
            }
            Kind::Convolution(window) => {
                let unrolled = self.unroll_all(&window, x, self.input);
                let (places, terms) = (images * window.places(), window.terms());
                let (x, weights) = (Matrix::rows(&unrolled, terms), Matrix::rows(weights, to));
                add_product(&mut y, (places, terms, to), x, weights);
            }
            Kind::OneFilter(window) => {
                let added = self.added(&window, weights, x);
                let each = y.chunks_exact_mut(window.places());
                for (y, added) in each.zip(added.chunks_exact(added.len() / images)) {
                    let places = window.side * window.side;
                    window.pairs(|place, pixel, k| y[place] += added[pixel * places + k]);
                }
            }
            Kind::Transposed(window) => {
                let (places, terms) = (images * window.places(), window.terms());
                let mut unrolled = vec![0.0; places * terms];
                let (x, weights) = (Matrix::rows(x, from), Matrix::rows(weights, terms));
                add_product(&mut unrolled, (places, from, terms), x, weights);
                self.roll_all(&window, &unrolled, &mut y, self.output);
            }
        }
        self.activation.apply(&mut y);
        y
    }

    /// From `dy`, the derivatives by `y`, which it gave for `x`: those by the parameters are added to `gradients`, where they are
    /// wanted, those by `x` are returned, where they are.
    pub fn backward(
        &self,
        weights: &[f32],
        (x, y): (&[f32], &[f32]),
        mut dy: Vec<f32>,
        gradients: Option<[&mut [f32]; 2]>,
        wants_dx: bool,
    ) -> Vec<f32> {
        let images = x.len() / self.input.numbers();
        self.activation.turn(&mut dy, y);
        let (from, to) = (self.input.channels, self.output.channels);
        let wants_weights = gradients.is_some();
        let mut dx = vec![0.0; if wants_dx { x.len() } else { 0 }];
        let (mut none_weights, mut none_bias) = (Vec::new(), Vec::new());
        let [dweights, dbias] = gradients.unwrap_or([&mut none_weights, &mut none_bias]);
        if wants_weights {
            for dy in dy.chunks_exact(dbias.len()) {
                dbias.iter_mut().zip(dy).for_each(|(to, from)| *to += from);
            }
        }
        match self.kind {
            Kind::Dense => {
                let (from, to) = (self.input.numbers(), self.output.numbers());
                let dy = Matrix::rows(&dy, to);
                if wants_weights {
                    let x = Matrix::transposed(x, from);
                    add_product(dweights, (from, images, to), x, dy);
                }
                if wants_dx {
                    let weights = Matrix::transposed(weights, to);
                    add_product(&mut dx, (images, to, from), dy, weights);
                }
            }
            Kind::Convolution(window) => {
                let (places, terms) = (images * window.places(), window.terms());
                let dy = Matrix::rows(&dy, to);
                if wants_weights {
                    let unrolled = self.unroll_all(&window, x, self.input);
                    let x = Matrix::transposed(&unrolled, terms);
                    add_product(dweights, (terms, places, to), x, dy);
                }
                if wants_dx {
                    let mut unrolled = vec![0.0; places * terms];
                    let weights = Matrix::transposed(weights, to);
                    add_product(&mut unrolled, (places, to, terms), dy, weights);
                    self.roll_all(&window, &unrolled, &mut dx, self.input);
                }
            }
            Kind::OneFilter(window) => {
                let places = window.side * window.side;
                let pixels = x.len() / from;
                let mut by_added = vec![0.0; pixels * places];
                let each = by_added.chunks_exact_mut(pixels / images * places);
                for (by_added, dy) in each.zip(dy.chunks_exact(window.places())) {
                    window.pairs(|place, pixel, k| by_added[pixel * places + k] = dy[place]);
                }
                let by_added = Matrix::rows(&by_added, places);
                if wants_weights {
                    // [places, pixels] times [pixels, from]
                    let transposed = Matrix {
                        strides: (by_added.strides.1, by_added.strides.0),
                        ..by_added
                    };
                    add_product(
                        dweights,
                        (places, pixels, from),
                        transposed,
                        Matrix::rows(x, from),
                    );
                }
                if wants_dx {
                    let weights = Matrix::rows(weights, from);
                    add_product(&mut dx, (pixels, places, from), by_added, weights);
                }
            }
            Kind::Transposed(window) => {
                let (places, terms) = (images * window.places(), window.terms());
                let unrolled = self.unroll_all(&window, &dy, self.output);
                let dy = Matrix::rows(&unrolled, terms);
                if wants_weights {
                    let x = Matrix::transposed(x, from);
                    add_product(dweights, (from, places, terms), x, dy);
                }
                if wants_dx {
                    let weights = Matrix::transposed(weights, terms);
                    add_product(&mut dx, (places, terms, from), dy, weights);
                }
            }
        }
        dx
    }
}
