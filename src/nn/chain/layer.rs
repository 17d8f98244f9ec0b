//! One layer of a chain, forwards and backwards.

use super::gather::Gather;
use super::product::Panels;
use super::window::Phase;
use super::{Activation, Padding, Size, Window};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// From all numbers of an image: a window over one pixel, which has them as channels.
    Dense,
    /// From the large image to the small one.
    Convolution,
    /// From the small image to the large one.
    Transposed,
}

/// A layer: weights, a bias for each channel of what it gives, an activation.
///
/// Numbers of an image are stored row by row, the channels of a pixel side by side. Weights are row-major: `[from, to]` of a
/// dense layer, `[side, side, from, to]` of a convolution, `[from, side, side, to]` of a transposed one.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Layer {
    kind: Kind,
    /// Where the windows of the large image lie, one for each place of the small one.
    window: Window,
    /// Channels of the small image.
    small: usize,
    activation: Activation,
    /// What it is given.
    pub input: Size,
    /// What it gives.
    pub output: Size,
    forward: Gather,
    back: Gather,
}

/// What a layer adds up, or its derivatives.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LayerSums {
    /// Outputs that add up their inputs alike.
    pub phases: Vec<Phase>,
    /// Rows and columns of a window.
    pub side: usize,
    /// Whether every output reads all of an image.
    pub is_dense: bool,
    /// What negative sums are multiplied by.
    pub slope: f32,
}

/// A layer's parameters, ordered for its products.
#[derive(Debug, Clone)]
pub(crate) struct Ready {
    forward: Panels,
    /// Where derivatives go through the layer.
    back: Option<Panels>,
    bias: Vec<f32>,
}

impl Layer {
    fn new(kind: Kind, window: Window, activation: Activation, [input, output]: [Size; 2]) -> Self {
        let small = match kind {
            Kind::Dense => output.numbers(),
            Kind::Convolution => output.channels,
            Kind::Transposed => input.channels,
        };
        let (down, up) = (Gather::down(&window, small), Gather::up(&window, small));
        let (forward, back) = match kind {
            Kind::Transposed => (up, down),
            Kind::Dense | Kind::Convolution => (down, up),
        };
        Self {
            kind,
            window,
            small,
            activation,
            input,
            output,
            forward,
            back,
        }
    }

    /// Units that read all numbers of an image.
    pub fn dense(input: Size, output: Size, activation: Activation) -> Self {
        let window = Window {
            large: Size {
                height: 1,
                width: 1,
                channels: input.numbers(),
            },
            small: [1, 1],
            side: 1,
            stride: 1,
            before: [0; 2],
        };
        Self::new(Kind::Dense, window, activation, [input, output])
    }

    /// A convolution with `filters` filters; `None` where no window fits.
    pub fn convolution(
        input: Size,
        filters: usize,
        (side, stride, padding): (usize, usize, Padding),
        activation: Activation,
    ) -> Option<Self> {
        let window = Window::over(input, side, stride, padding)?;
        let output = Size {
            height: window.small[0],
            width: window.small[1],
            channels: filters,
        };
        Some(Self::new(
            Kind::Convolution,
            window,
            activation,
            [input, output],
        ))
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
        Some(Self::new(
            Kind::Transposed,
            window,
            activation,
            [input, output],
        ))
    }

    /// Shape of the weights.
    pub fn shape(&self) -> Vec<usize> {
        let side = self.window.side;
        let (from, to) = (self.input.channels, self.output.channels);
        match self.kind {
            Kind::Dense => vec![self.input.numbers(), self.output.numbers()],
            Kind::Convolution => vec![side, side, from, to],
            Kind::Transposed => vec![from, side, side, to],
        }
    }

    /// How many biases: one a channel, of a dense layer one a number.
    pub fn biases(&self) -> usize {
        match self.kind {
            Kind::Dense => self.output.numbers(),
            Kind::Convolution | Kind::Transposed => self.output.channels,
        }
    }

    /// Numbers that one sum adds up, and sums that one number goes into: Glorot's fans.
    pub fn fans(&self) -> [usize; 2] {
        let taps = self.window.side * self.window.side;
        match self.kind {
            Kind::Dense => [self.input.numbers(), self.output.numbers()],
            Kind::Convolution | Kind::Transposed => {
                [taps * self.input.channels, taps * self.output.channels]
            }
        }
    }

    /// Multiply-adds of an image, those by zeros beyond its edges among them.
    pub fn multiply_adds(&self) -> usize {
        let pairs = self.window.large.channels * self.small;
        self.window.places() * self.window.side * self.window.side * pairs
    }

    /// Numbers of one image that its products read and make, beside the layer's input and output.
    pub fn between(&self) -> usize {
        self.forward.between().max(self.back.between())
    }

    /// What it adds up, for whoever does so elsewhere.
    pub fn sums(&self) -> LayerSums {
        LayerSums {
            phases: match self.kind {
                Kind::Transposed => self.window.up(),
                Kind::Dense | Kind::Convolution => vec![self.window.down()],
            },
            side: self.window.side,
            is_dense: self.kind == Kind::Dense,
            slope: self.activation.slope(),
        }
    }

    /// What derivatives by its input add up of those by its sums.
    pub fn sums_back(&self) -> LayerSums {
        LayerSums {
            phases: match self.kind {
                Kind::Convolution => self.window.up(),
                Kind::Dense | Kind::Transposed => vec![self.window.down()],
            },
            slope: 1.0,
            ..self.sums()
        }
    }

    /// Where the weight of a place in a window lies, for a channel of the input and one of the output.
    pub fn weight(&self, [tap, from, to]: [usize; 3]) -> usize {
        let taps = self.window.side * self.window.side;
        match self.kind {
            Kind::Transposed => (from * taps + tap) * self.output.channels + to,
            Kind::Dense | Kind::Convolution => {
                (tap * self.window.large.channels + from) * self.biases() + to
            }
        }
    }

    /// Order the parameters for [`forward`](Self::forward), and for derivatives by the input where they are wanted.
    pub fn ready(&self, [weights, bias]: [&[f32]; 2], wants_dx: bool) -> Ready {
        Ready {
            forward: self.forward.panels(|at| weights[self.weight(at)]),
            back: wants_dx.then(|| {
                let turned = |[tap, from, to]: [usize; 3]| weights[self.weight([tap, to, from])];
                self.back.panels(turned)
            }),
            bias: bias.to_vec(),
        }
    }

    /// What it gives for the images `x`.
    pub fn forward(&self, ready: &Ready, x: &[f32]) -> Vec<f32> {
        (self.forward).forward(&ready.forward, &ready.bias, x, self.activation)
    }

    /// The sums of the places `pixels` of a convolution with many filters, of one image: `[pixels, filters]`.
    pub fn forward_at(&self, ready: &Ready, x: &[f32], pixels: &[usize]) -> Vec<f32> {
        (self.forward).forward_at(&ready.forward, &ready.bias, x, pixels)
    }

    /// From `dy`, the derivatives by `y`, which it gave for `x`: those by the parameters are written to `gradients`, where they are
    /// wanted, those by `x` are returned, where [`ready`](Self::ready) was told that they are wanted.
    pub fn backward(
        &self,
        ready: &Ready,
        (x, y): (&[f32], &[f32]),
        mut dy: Vec<f32>,
        gradients: Option<[&mut [f32]; 2]>,
    ) -> Option<Vec<f32>> {
        self.activation.turn(&mut dy, y);
        if let Some([weights, bias]) = gradients {
            bias.fill(0.0);
            for dy in dy.chunks_exact(bias.len()) {
                bias.iter_mut().zip(dy).for_each(|(to, from)| *to += from);
            }
            (self.forward).gradients(x, &dy, weights, |place| self.weight(place));
        }
        let back = ready.back.as_ref()?;
        let none = vec![0.0; self.back.channels()];
        Some(self.back.forward(back, &none, &dy, Activation::None))
    }
}
