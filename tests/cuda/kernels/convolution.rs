//! Convolutions, transposed convolutions and dense layers, forward.

use std::sync::Arc;

use half::bf16;
use sarm::device::cuda::device::{Address, Device, Memory};
use sarm::device::cuda::ops::convolution::{Convolution, ConvolutionPhase, Cut, Sums};
use sarm::random::{Purpose, unit, words};

use crate::kernels::case::{Case, Output, Prepared, Size, poisoned};

/// Which numbers of the input an output adds up.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// Windows of `side` rows and columns, `stride` apart, the first `before` above and left of the image.
    Convolution {
        side: usize,
        stride: usize,
        before: usize,
    },
    /// Of 3 rows and columns, 2 apart: the output is twice as high and wide.
    Transposed,
}

#[derive(Debug, Clone, Copy)]
struct Shape {
    name: &'static str,
    kind: Kind,
    images: usize,
    /// Height, width, channels.
    from: [usize; 3],
    to: [usize; 3],
    slope: f32,
}

/// Cases of `kernels/common/convolution.cu`.
pub fn cases(size: Size) -> Vec<Case> {
    let convolution = |name, images, [side, stride, before]: [usize; 3], from, to, slope| Shape {
        name,
        kind: Kind::Convolution {
            side,
            stride,
            before,
        },
        images,
        from,
        to,
        slope,
    };
    let transposed = |name, images, from: [usize; 3], channels, slope| Shape {
        name,
        kind: Kind::Transposed,
        images,
        from,
        to: [2 * from[0], 2 * from[1], channels],
        slope,
    };
    let dense = |name, images, from, to| {
        convolution(name, images, [1, 1, 0], [1, 1, from], [1, 1, to], 1.0)
    };
    match size {
        Size::Small => {
            let shapes = [
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
            ];
            (shapes.iter())
                .flat_map(|shape| Cut::ALL.map(|cut| case(*shape, Some(cut))))
                .collect()
        }
        // The decoder of the jet VAE.
        Size::Full => [512, 4096]
            .into_iter()
            .flat_map(|images| {
                [
                    dense("jets-vae-dense", images, 16, 6272),
                    transposed("jets-vae-second", images, [7, 7, 128], 64, 0.3),
                    transposed("jets-vae-third", images, [14, 14, 64], 32, 0.3),
                ]
            })
            .map(|shape| case(shape, None))
            .collect(),
    }
}

fn case(shape: Shape, cut: Option<Cut>) -> Case {
    let of_cut = cut.map_or(String::new(), |cut| format!("/{cut:?}").to_lowercase());
    let name = format!("convolution/{}/{}{of_cut}", shape.name, shape.images);
    Case {
        name,
        prepare: Box::new(move |device| prepare(device, shape, cut)),
    }
}

/// A row or a column of outputs that add up alike: how many, the first input, the first output, places in the window.
type Along = (usize, i32, u32, Vec<usize>);

fn prepare(device: &Arc<dyn Device>, shape: Shape, cut: Option<Cut>) -> Prepared {
    let Shape {
        kind,
        images,
        from,
        to,
        slope,
        ..
    } = shape;
    let checked = cut.is_some();
    let number = |item: u32, place: usize, width: f32| {
        let w = words(5, Purpose::Synthetic, place as u64, item);
        bf16::from_f32(width * (2.0 * unit(w[0]) - 1.0))
    };
    let side = match kind {
        Kind::Convolution { side, .. } => side,
        Kind::Transposed => 3,
    };
    let width = (3.0 / (side * side * from[2]) as f32).sqrt();
    let numbers = |size: [usize; 3]| size.iter().product::<usize>();
    let input: Vec<bf16> = (0..images * numbers(from))
        .map(|i| number(0, i, 1.0))
        .collect();
    let bias: Vec<f32> = (0..to[2]).map(|i| number(2, i, 0.5).to_f32()).collect();
    // [to, place in the window, from]
    let weight = |to: usize, place: usize, channel: usize| {
        number(1, (to * side * side + place) * from[2] + channel, width)
    };
    let along: Vec<Along> = match kind {
        Kind::Convolution { side, before, .. } => {
            vec![(0, -(before as i32), 0, (0..side).collect())]
        }
        // An even output is under the place 2 of the window before and 0 of its own, an odd one under 1.
        Kind::Transposed => vec![(0, -1, 0, vec![2, 0]), (0, 0, 1, vec![1])],
    };
    let along = |length: usize| -> Vec<Along> {
        let split = along.len();
        (along.iter().enumerate())
            .map(|(i, (_, from, to, places))| {
                ((length + split - 1 - i) / split, *from, *to, places.clone())
            })
            .collect()
    };
    let (mut phases, mut memory) = (Vec::new(), Vec::new());
    for down in along(to[0]) {
        for across in along(to[1]) {
            let places: Vec<usize> = (down.3.iter())
                .flat_map(|r| across.3.iter().map(move |c| r * side + c))
                .collect();
            let values: Vec<bf16> = (0..to[2])
                .flat_map(|to| places.iter().map(move |place| (to, *place)))
                .flat_map(|(to, place)| (0..from[2]).map(move |channel| (to, place, channel)))
                .map(|(to, place, channel)| weight(to, place, channel))
                .collect();
            let values = Memory::from(device, &values).unwrap();
            phases.push(ConvolutionPhase {
                weights: values.address(),
                count: [down.0 as u32, across.0 as u32],
                from: [down.1, across.1],
                to: [down.2, across.2],
                places: [down.3.len() as u32, across.3.len() as u32],
            });
            memory.push(values);
        }
    }
    let steps = match kind {
        Kind::Convolution { stride, .. } => [stride as u32, 1],
        Kind::Transposed => [1, 2],
    };
    let on_device = Memory::from(device, &input).unwrap();
    let biases = Memory::from(device, &bias).unwrap();
    let output = Arc::new(poisoned::<bf16>(device, images * numbers(to)));
    let size = |size: [usize; 3]| size.map(|n| n as u32);
    let convolution = Convolution {
        sums: Sums {
            from_size: size(from),
            to_size: size(to),
            steps,
            phases: &phases,
        },
        input: on_device.address(),
        bias: biases.address(),
        addend: Address::NULL,
        seen: Address::NULL,
        output: output.address(),
        numbers: Address::NULL,
        slope,
    };
    let count = images as u32;
    let cut = cut.unwrap_or_else(|| convolution.sums.cut(count));
    let launches = vec![convolution.launch(cut, count).unwrap()];
    let demand = convolution.demand(count);
    let outputs = match checked {
        false => vec![],
        true => {
            let (exact, naive) = reference(shape, side, &input, &bias, &weight);
            vec![Output::of("output", &output, exact, naive)]
        }
    };
    Prepared {
        launches,
        outputs,
        demand,
        memory: vec![Box::new((memory, on_device, biases, output))],
    }
}

/// In float64 and by float32 loops, from the definition: of a transposed convolution each input is added to the outputs under its window.
fn reference(
    shape: Shape,
    side: usize,
    input: &[bf16],
    bias: &[f32],
    weight: &dyn Fn(usize, usize, usize) -> bf16,
) -> (Vec<f64>, Vec<f64>) {
    let Shape { kind, from, to, .. } = shape;
    // Input pixel, output pixel, place in the window.
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
                        pairs.push((at[0], at[1], down * side + across));
                    }
                }
            }
        }
        Kind::Transposed => {
            for (r, c) in pixels(from) {
                for (down, across) in places() {
                    let (row, column) = (2 * r + down, 2 * c + across);
                    if row < to[0] && column < to[1] {
                        pairs.push((r * from[1] + c, row * to[1] + column, down * side + across));
                    }
                }
            }
        }
    }
    let per_image = to.iter().product::<usize>();
    let weights: Vec<f32> = (0..to[2])
        .flat_map(|to| (0..side * side).map(move |place| (to, place)))
        .flat_map(|(to, place)| (0..from[2]).map(move |channel| (to, place, channel)))
        .map(|(to, place, channel)| weight(to, place, channel).to_f32())
        .collect();
    let (mut exact, mut naive) = (Vec::new(), Vec::new());
    for x in input.chunks_exact(from.iter().product()) {
        let mut sums: Vec<(f64, f32)> = vec![(0.0, 0.0); per_image];
        for (pixel, output, place) in &pairs {
            let x = &x[pixel * from[2]..][..from[2]];
            for to in 0..shape.to[2] {
                let w = &weights[(to * side * side + place) * from[2]..][..from[2]];
                let sum = &mut sums[output * shape.to[2] + to];
                for (x, w) in x.iter().zip(w) {
                    sum.0 += f64::from(x.to_f32()) * f64::from(*w);
                    sum.1 += x.to_f32() * w;
                }
            }
        }
        for (i, (e, n)) in sums.into_iter().enumerate() {
            let (e, n) = (e + f64::from(bias[i % to[2]]), n + bias[i % to[2]]);
            let slope = f64::from(shape.slope);
            exact.push(if e < 0.0 { slope * e } else { e });
            let n = if n < 0.0 { shape.slope * n } else { n };
            naive.push(f64::from(bf16::from_f32(n).to_f32()));
        }
    }
    (exact, naive)
}
