//! Convolutions, transposed convolutions and dense layers, forward and, with something added and the sign of something else, backward.

use std::sync::Arc;

use half::bf16;
use sarm::device::cuda::device::{Address, Device, Memory};
use sarm::device::cuda::ops::convolution::{Convolution, ConvolutionPhase, Cut, Sums};
use sarm::random::{Purpose, unit, words};

use crate::kernels::case::{Case, Output, Prepared, Size, poisoned};

/// Which numbers of the input an output adds up.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// Windows of `side` rows and columns, `stride` apart, the first `before` above and left of the image.
    Convolution {
        side: usize,
        stride: usize,
        before: usize,
    },
    /// The other way: what is under the windows over the output, one for each place of the input.
    Transposed {
        side: usize,
        stride: usize,
        before: usize,
    },
}

#[derive(Debug, Clone, Copy)]
pub struct Shape {
    pub name: &'static str,
    pub kind: Kind,
    pub images: usize,
    /// Height, width, channels.
    pub from: [usize; 3],
    pub to: [usize; 3],
    slope: f32,
    /// As derivatives have it: without biases, with something added, by the sign of something else, as numbers too.
    back: bool,
}

/// Small and ragged ones.
pub fn small() -> Vec<Shape> {
    vec![
        dense("dense", 37, 16, 136),
        dense("dense-one", 1, 8, 8),
        convolution("same", 3, [3, 1, 1], [5, 7, 8], [5, 7, 40], 0.3),
        convolution("strided", 2, [3, 2, 1], [9, 6, 24], [5, 3, 72], 0.3),
        // Windows that reach over both edges of an image.
        convolution("wide", 5, [5, 1, 2], [2, 3, 16], [2, 3, 8], 0.0),
        convolution("valid", 2, [4, 1, 0], [8, 7, 32], [5, 4, 8], 0.0),
        transposed("transposed", 3, [4, 5, 16], 48, 0.3),
        transposed("transposed-one", 2, [1, 1, 8], 8, 1.0),
        transposed("transposed-wide", 1, [7, 7, 40], 136, 0.3),
        // A classifier's first layer, and derivatives by images of odd sides, whose phases are of different sizes.
        convolution("lonely", 2, [11, 2, 5], [9, 13, 8], [5, 7, 16], 0.3),
        turned(convolution(
            "turned-lonely",
            2,
            [11, 2, 5],
            [9, 13, 8],
            [5, 7, 16],
            0.3,
        )),
        turned(convolution(
            "turned",
            3,
            [3, 2, 1],
            [5, 9, 24],
            [3, 5, 40],
            0.0,
        )),
    ]
}

/// The layers of the jet VAE that learn, and its classifier's first, filled up to 8 channels.
pub fn jets_vae(images: usize) -> Vec<Shape> {
    vec![
        convolution(
            "jets-vae-encoder-0",
            images,
            [3, 1, 1],
            [25, 25, 8],
            [25, 25, 32],
            0.3,
        ),
        convolution(
            "jets-vae-encoder-1",
            images,
            [3, 2, 1],
            [25, 25, 32],
            [13, 13, 64],
            0.3,
        ),
        convolution(
            "jets-vae-encoder-2",
            images,
            [3, 2, 1],
            [13, 13, 64],
            [7, 7, 128],
            0.3,
        ),
        dense("jets-vae-encoder-3", images, 6272, 24),
        dense("jets-vae-dense", images, 16, 6272),
        transposed("jets-vae-second", images, [7, 7, 128], 64, 0.3),
        transposed("jets-vae-third", images, [14, 14, 64], 32, 0.3),
        convolution(
            "jets-vae-last",
            images,
            [4, 1, 0],
            [28, 28, 32],
            [25, 25, 8],
            0.0,
        ),
        convolution(
            "jets-vae-features-0",
            images,
            [11, 2, 5],
            [25, 25, 8],
            [13, 13, 32],
            0.3,
        ),
    ]
}

fn convolution(
    name: &'static str,
    images: usize,
    [side, stride, before]: [usize; 3],
    from: [usize; 3],
    to: [usize; 3],
    slope: f32,
) -> Shape {
    let kind = Kind::Convolution {
        side,
        stride,
        before,
    };
    Shape {
        name,
        kind,
        images,
        from,
        to,
        slope,
        back: false,
    }
}

fn transposed(
    name: &'static str,
    images: usize,
    from: [usize; 3],
    channels: usize,
    slope: f32,
) -> Shape {
    Shape {
        name,
        kind: Kind::Transposed {
            side: 3,
            stride: 2,
            before: 0,
        },
        images,
        from,
        to: [2 * from[0], 2 * from[1], channels],
        slope,
        back: false,
    }
}

/// Derivatives by what a convolution is given.
fn turned(shape: Shape) -> Shape {
    let kind = match shape.kind {
        Kind::Convolution {
            side,
            stride,
            before,
        } => Kind::Transposed {
            side,
            stride,
            before,
        },
        other => other,
    };
    Shape {
        kind,
        from: shape.to,
        to: shape.from,
        ..shape
    }
}

fn dense(name: &'static str, images: usize, from: usize, to: usize) -> Shape {
    convolution(name, images, [1, 1, 0], [1, 1, from], [1, 1, to], 1.0)
}

/// Cases of `kernels/common/convolution.cu`.
pub fn cases(size: Size) -> Vec<Case> {
    match size {
        Size::Small => (small().into_iter())
            .flat_map(|shape| {
                [
                    shape,
                    Shape {
                        back: true,
                        ..shape
                    },
                ]
            })
            .flat_map(|shape| Cut::ALL.map(|cut| case(shape, Some(cut))))
            .collect(),
        Size::Full => [512, 4096]
            .into_iter()
            .flat_map(|images| {
                let layers = jets_vae(images);
                // The last layer and the classifier's first, either way: what takes longest in training.
                [
                    layers[4..].to_vec(),
                    layers[7..].iter().map(|l| turned(*l)).collect(),
                ]
                .concat()
            })
            .map(|shape| case(shape, None))
            .collect(),
    }
}

fn case(shape: Shape, cut: Option<Cut>) -> Case {
    let of_cut = cut.map_or(String::new(), |cut| format!("/{cut:?}").to_lowercase());
    let back = if shape.back { "/back" } else { "" };
    let turned = match shape.kind {
        Kind::Transposed { side, .. } if side != 3 => "/turned",
        Kind::Transposed { before, .. } if before > 0 => "/turned",
        _ => "",
    };
    let name = format!(
        "convolution/{}/{}{of_cut}{back}{turned}",
        shape.name, shape.images
    );
    Case {
        name,
        prepare: Box::new(move |device| prepare(device, shape, cut)),
    }
}

/// A row or a column of outputs that add up alike: how many, the first input, the first output, places in the window.
type Along = (usize, i32, u32, Vec<usize>);

/// Random bf16 numbers up to `width` either way.
pub fn number(item: u32, place: usize, width: f32) -> bf16 {
    let w = words(5, Purpose::Synthetic, place as u64, item);
    bf16::from_f32(width * (2.0 * unit(w[0]) - 1.0))
}

/// Numbers of an image.
pub fn numbers(size: [usize; 3]) -> usize {
    size.iter().product()
}

impl Shape {
    /// Rows of a window.
    pub fn side(&self) -> usize {
        match self.kind {
            Kind::Convolution { side, .. } | Kind::Transposed { side, .. } => side,
        }
    }

    /// From one output to the next, of the input and of the output.
    pub fn steps(&self) -> [u32; 2] {
        match self.kind {
            Kind::Convolution { stride, .. } => [stride as u32, 1],
            Kind::Transposed { stride, .. } => [1, stride as u32],
        }
    }

    /// Its phases, without weights, and the places of their windows.
    pub fn phases(&self) -> Vec<(ConvolutionPhase, Vec<usize>)> {
        let along: Vec<Along> = match self.kind {
            Kind::Convolution { side, before, .. } => {
                vec![(0, -(before as i32), 0, (0..side).collect())]
            }
            // Of stride 2 and side 3 an even output is under the place 2 of the window before and 0 of its own, an odd one under 1.
            Kind::Transposed {
                side,
                stride,
                before,
            } => (0..stride)
                .map(|first| {
                    let places: Vec<usize> = (first..side).step_by(stride).rev().collect();
                    let to = (first + stride - before % stride) % stride;
                    let from = ((to + before) / stride) as i32 + 1 - places.len() as i32;
                    (0, from, to as u32, places)
                })
                .collect(),
        };
        let along = |length: usize| -> Vec<Along> {
            let split = along.len();
            (along.iter())
                .map(|(_, from, to, places)| {
                    let count = (length - *to as usize).div_ceil(split);
                    (count, *from, *to, places.clone())
                })
                .collect()
        };
        let mut phases = Vec::new();
        for down in along(self.to[0]) {
            for across in along(self.to[1]) {
                let places: Vec<usize> = (down.3.iter())
                    .flat_map(|r| across.3.iter().map(move |c| r * self.side() + c))
                    .collect();
                let phase = ConvolutionPhase {
                    weights: Address::NULL,
                    count: [down.0 as u32, across.0 as u32],
                    from: [down.1, across.1],
                    to: [down.2, across.2],
                    places: [down.3.len() as u32, across.3.len() as u32],
                };
                phases.push((phase, places));
            }
        }
        phases
    }

    /// What its phases add up.
    pub fn sums<'a>(&self, phases: &'a [ConvolutionPhase]) -> Sums<'a> {
        let size = |size: [usize; 3]| size.map(|n| n as u32);
        Sums {
            from_size: size(self.from),
            to_size: size(self.to),
            steps: self.steps(),
            phases,
        }
    }
}

fn prepare(device: &Arc<dyn Device>, shape: Shape, cut: Option<Cut>) -> Prepared {
    let Shape {
        images, from, to, ..
    } = shape;
    let side = shape.side();
    let checked = cut.is_some();
    let width = (3.0 / (side * side * from[2]) as f32).sqrt();
    let input: Vec<bf16> = (0..images * numbers(from))
        .map(|i| number(0, i, 1.0))
        .collect();
    let bias: Vec<f32> = (0..to[2]).map(|i| number(2, i, 0.5).to_f32()).collect();
    let random = |item: u32| -> Vec<bf16> {
        (0..images * numbers(to))
            .map(|i| number(item, i, 0.5))
            .collect()
    };
    let [addend, seen] = [3, 4].map(random);
    // [to, place in the window, from]
    let weight = |to: usize, place: usize, channel: usize| {
        number(1, (to * side * side + place) * from[2] + channel, width)
    };
    let (mut phases, mut memory) = (Vec::new(), Vec::new());
    for (phase, places) in shape.phases() {
        let values: Vec<bf16> = (0..to[2])
            .flat_map(|to| places.iter().map(move |place| (to, *place)))
            .flat_map(|(to, place)| (0..from[2]).map(move |channel| (to, place, channel)))
            .map(|(to, place, channel)| weight(to, place, channel))
            .collect();
        let values = Memory::from(device, &values).unwrap();
        phases.push(ConvolutionPhase {
            weights: values.address(),
            ..phase
        });
        memory.push(values);
    }
    let on_device = Memory::from(device, &input).unwrap();
    let biases = Memory::from(device, &bias).unwrap();
    let others = [&addend, &seen].map(|values| Memory::from(device, values).unwrap());
    let output = Arc::new(poisoned::<bf16>(device, images * numbers(to)));
    let as_numbers = Arc::new(poisoned::<f32>(device, images * numbers(to)));
    let if_back = |address: Address| if shape.back { address } else { Address::NULL };
    let convolution = Convolution {
        sums: shape.sums(&phases),
        input: on_device.address(),
        bias: if shape.back {
            Address::NULL
        } else {
            biases.address()
        },
        addend: if_back(others[0].address()),
        seen: if_back(others[1].address()),
        output: output.address(),
        numbers: if_back(as_numbers.address()),
        slope: shape.slope,
    };
    let count = images as u32;
    let cut = cut.unwrap_or_else(|| convolution.sums.cut(count));
    let launches = vec![convolution.launch(cut, count).unwrap()];
    let demand = convolution.demand(count);
    let mut outputs = vec![];
    if checked {
        let sums = reference(shape, &input, &weight);
        let slope = |negative: bool| if negative { shape.slope } else { 1.0 };
        let of = |at: usize, (exact, naive): (f64, f32)| -> (f64, f32) {
            if shape.back {
                let more = addend[at].to_f32();
                let slope = slope(seen[at].to_f32() <= 0.0);
                return (
                    (exact + f64::from(more)) * f64::from(slope),
                    (naive + more) * slope,
                );
            }
            let bias = bias[at % to[2]];
            let (exact, naive) = (exact + f64::from(bias), naive + bias);
            (
                exact * f64::from(slope(exact < 0.0)),
                naive * slope(naive < 0.0),
            )
        };
        let (exact, naive): (Vec<f64>, Vec<f32>) = sums
            .into_iter()
            .enumerate()
            .map(|(at, sum)| of(at, sum))
            .unzip();
        let rounded = naive.iter().map(|v| f64::from(bf16::from_f32(*v).to_f32()));
        outputs.push(Output::of(
            "output",
            &output,
            exact.clone(),
            rounded.collect(),
        ));
        if shape.back {
            let naive = naive.into_iter().map(f64::from).collect();
            outputs.push(Output::of("numbers", &as_numbers, exact, naive));
        }
    }
    let held = (on_device, biases, others);
    Prepared {
        launches,
        outputs,
        demand,
        memory: vec![Box::new((memory, held, output, as_numbers))],
    }
}

impl Shape {
    /// Input pixel, output pixel and place in the window of each pair that a sum has, from the definition: of a transposed convolution each
    /// input is added to the outputs under its window.
    pub fn pairs(&self) -> Vec<[usize; 3]> {
        let Shape { kind, from, to, .. } = *self;
        let side = self.side();
        let mut pairs = Vec::new();
        let places = || (0..side).flat_map(|r| (0..side).map(move |c| (r, c)));
        let pixels =
            |size: [usize; 3]| (0..size[0]).flat_map(move |r| (0..size[1]).map(move |c| (r, c)));
        match kind {
            Kind::Convolution { stride, before, .. } => {
                for (r, c) in pixels(to) {
                    for (down, across) in places() {
                        let row = (r * stride + down).wrapping_sub(before);
                        let column = (c * stride + across).wrapping_sub(before);
                        if row < from[0] && column < from[1] {
                            let at = [row * from[1] + column, r * to[1] + c];
                            pairs.push([at[0], at[1], down * side + across]);
                        }
                    }
                }
            }
            Kind::Transposed { stride, before, .. } => {
                for (r, c) in pixels(from) {
                    for (down, across) in places() {
                        let row = (stride * r + down).wrapping_sub(before);
                        let column = (stride * c + across).wrapping_sub(before);
                        if row < to[0] && column < to[1] {
                            pairs.push([
                                r * from[1] + c,
                                row * to[1] + column,
                                down * side + across,
                            ]);
                        }
                    }
                }
            }
        }
        pairs
    }
}

/// Sums in float64 and by float32 loops.
fn reference(
    shape: Shape,
    input: &[bf16],
    weight: &dyn Fn(usize, usize, usize) -> bf16,
) -> Vec<(f64, f32)> {
    let (from, to, places) = (shape.from, shape.to, shape.side() * shape.side());
    let pairs = shape.pairs();
    let weights: Vec<f32> = (0..to[2])
        .flat_map(|to| (0..places).map(move |place| (to, place)))
        .flat_map(|(to, place)| (0..from[2]).map(move |channel| (to, place, channel)))
        .map(|(to, place, channel)| weight(to, place, channel).to_f32())
        .collect();
    let mut all = Vec::new();
    for x in input.chunks_exact(numbers(from)) {
        let mut sums: Vec<(f64, f32)> = vec![(0.0, 0.0); numbers(to)];
        for [pixel, output, place] in &pairs {
            let x = &x[pixel * from[2]..][..from[2]];
            for channel in 0..to[2] {
                let w = &weights[(channel * places + place) * from[2]..][..from[2]];
                let sum = &mut sums[output * to[2] + channel];
                for (x, w) in x.iter().zip(w) {
                    sum.0 += f64::from(x.to_f32()) * f64::from(*w);
                    sum.1 += x.to_f32() * w;
                }
            }
        }
        all.extend(sums);
    }
    all
}
