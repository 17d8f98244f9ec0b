//! What a VAE's decoder is given, and what becomes of its last layer.

use std::sync::Arc;

use half::bf16;
use sarm::device::cuda::device::{Address, Device, Memory};
use sarm::families::vae::cuda::ops::codes::CodesOf;
use sarm::families::vae::cuda::ops::pixels::{Drawn, Output as Channel, Pixels, SIDE};
use sarm::family::cuda::{Rows, Slots};
use sarm::likelihood::{Mixture, Rest, Space, Support};
use sarm::numeric::sigmoid;
use sarm::random::{Purpose, unit, words};

use crate::kernels::case::{Case, Demand, Output, Prepared, Size, poisoned};

/// Above 2^32, and no multiple of anything.
const FIRST: u64 = (1 << 33) + 5;
const SEED: u64 = 11;
/// Items from here on draw pixels.
const PIXELS: u32 = 1 << 20;

/// Cases of `kernels/vae/codes.cu` and `pixels.cu`.
pub fn cases(size: Size) -> Vec<Case> {
    let mut cases = match size {
        Size::Small => vec![
            codes(3, 1, 0, true),
            codes(70, 12, 1, true),
            codes(5, 7, 4, true),
            codes(9, 5, 2, false),
        ],
        Size::Full => vec![codes(4096, 12, 1, true)],
    };
    cases.extend(match size {
        Size::Small => vec![
            pixels(9, [4, 5, 16], None, false),
            pixels(3, [9, 12, 32], None, false),
            pixels(2, [28, 28, 16], None, false),
            pixels(
                3,
                [9, 12, 32],
                Some((1, Space::Linear, f64::INFINITY)),
                false,
            ),
            pixels(
                2,
                [14, 14, 16],
                Some((5, Space::log(2.0, 1e-3), 40.0)),
                false,
            ),
            pixels(
                1,
                [28, 28, 16],
                Some((11, Space::log(2.0, 1e-3), f64::INFINITY)),
                false,
            ),
            pixels(
                5,
                [14, 14, 16],
                Some((5, Space::log(2.0, 1e-3), f64::INFINITY)),
                true,
            ),
            // Gates that are all closed are among these, and all that there are of the second: by several rounds of a block, and
            // at the least of 625 sums, many of which are equal.
            pixels(
                20,
                [4, 5, 16],
                Some((1, Space::Linear, f64::INFINITY)),
                true,
            ),
            closed(4, [28, 28, 16]),
        ],
        Size::Full => vec![
            pixels(512, [28, 28, 32], None, false),
            pixels(
                512,
                [28, 28, 32],
                Some((5, Space::log(2.0, 1e-3), f64::INFINITY)),
                false,
            ),
        ],
    });
    cases
}

/// Images whose gates are all closed, told what they add up to.
fn closed(images: usize, size: [usize; 3]) -> Case {
    let sparse = Some((1, Space::Linear, f64::INFINITY));
    Case {
        name: "vae/pixels/closed".into(),
        prepare: Box::new(move |device| prepare(device, images, size, sparse, Some(60.0))),
    }
}

fn codes(images: usize, latents: usize, width: usize, drawn: bool) -> Case {
    let what = if drawn { "drawn" } else { "given" };
    Case {
        name: format!("vae/codes/{what}/{images}x{latents}+{width}"),
        prepare: Box::new(move |device| {
            let pitch = (latents + width).next_multiple_of(16);
            let given: Vec<f32> = (0..images * latents).map(|i| 0.37 * i as f32).collect();
            let rows = 4;
            let told: Vec<f32> = (0..rows * width).map(|i| i as f32 - 3.3).collect();
            let (mut exact, mut naive) = (vec![], vec![]);
            for image in 0..images {
                let number = FIRST + image as u64;
                for place in 0..pitch {
                    let (e, n) = match place {
                        p if p < latents && !drawn => {
                            let given = given[image * latents + p];
                            (f64::from(given), given)
                        }
                        p if p < latents => {
                            let w = words(SEED, Purpose::Draw, number, p as u32 / 2);
                            let whole = |w: u32| (f64::from(w) + 0.5) / 4_294_967_296.0;
                            let radius = (-2.0 * whole(w[0]).ln()).sqrt();
                            let angle = std::f64::consts::TAU * whole(w[2]);
                            let [radius_32, angle_32] = [radius, angle].map(|v| v as f32);
                            match p % 2 {
                                0 => (radius * angle.cos(), radius_32 * angle_32.cos()),
                                _ => (radius * angle.sin(), radius_32 * angle_32.sin()),
                            }
                        }
                        p if p < latents + width => {
                            let row = (number % rows as u64) as usize;
                            let told = told[row * width + p - latents];
                            (f64::from(told), told)
                        }
                        _ => (0.0, 0.0),
                    };
                    exact.push(e);
                    naive.push(f64::from(bf16::from_f32(n).to_f32()));
                }
            }
            let given = Memory::from(device, &given).unwrap();
            let told = Memory::from(device, &told).unwrap();
            let output = Arc::new(poisoned::<bf16>(device, images * pitch));
            let of = CodesOf {
                codes: if drawn {
                    Address::NULL
                } else {
                    given.address()
                },
                conditions: told.address(),
                condition_rows: rows as u64,
                latents,
                width,
                output: output.address(),
                pitch,
                seed: SEED,
                first: FIRST,
                images,
            };
            Prepared {
                launches: vec![of.launch()],
                outputs: vec![Output::of("input", &output, exact, naive)],
                demand: Demand {
                    matrix_operations: 0.0,
                    bytes: (2 * images * pitch) as f64,
                },
                memory: vec![Box::new((given, told, output))],
            }
        }),
    }
}

/// Components, space and largest pixel of a mixture.
type Sparse = (usize, Space, f64);

/// GeV that images are told to add up to, one after the other, and what is nothing.
const TOTALS: [[f32; 2]; 4] = [[30.0, 1e-3], [1e-4, 1e-3], [250.0, 1e-3], [0.2, 1e-3]];

fn pixels(images: usize, size: [usize; 3], sparse: Option<Sparse>, told: bool) -> Case {
    let what = sparse.map_or("plain".into(), |(k, space, upper)| match space {
        Space::Linear => format!("linear-{k}-{upper}"),
        Space::Log { .. } => format!("log-{k}-{upper}"),
    });
    let [height, width, channels] = size;
    Case {
        name: format!(
            "vae/pixels/{what}{}/{images}x{height}x{width}x{channels}",
            if told { "-total" } else { "" }
        ),
        prepare: Box::new(move |device| prepare(device, images, size, sparse, told.then_some(2.0))),
    }
}

fn prepare(
    device: &Arc<dyn Device>,
    images: usize,
    size: [usize; 3],
    sparse: Option<Sparse>,
    closing: Option<f32>,
) -> Prepared {
    let told = closing.is_some();
    const UNIT: f32 = 2.0;
    const SMALLEST: f32 = 0.3;
    let [height, width, channels] = size;
    let places = SIDE * SIDE;
    let mixture = sparse.map(|(components, space, upper)| Mixture {
        components,
        support: Support {
            unit: f64::from(UNIT),
            upper,
            space,
        },
        rest: Rest::Free,
    });
    let output = match mixture {
        Some(mixture) => Channel::Gate {
            mixture,
            smallest: SMALLEST,
        },
        None => Channel::Pixel {
            unit: UNIT,
            smallest: SMALLEST,
        },
    };
    // Few bits: sums of them are exact, in whichever order, and so is every comparison.
    let number = |item: u32, place: usize| {
        let w = words(5, Purpose::Synthetic, place as u64, item);
        (w[0] % 9) as f32 / 8.0 - 0.5
    };
    let input: Vec<f32> = (0..images * height * width * channels)
        .map(|i| number(0, i))
        .collect();
    let numbers = 1 + mixture.map_or(0, |m| 3 * m.components);
    // [output, place, channel]
    let weights: Vec<f32> = (0..numbers * places * channels)
        .map(|i| number(1, i) / if i < places * channels { 1.0 } else { 8.0 })
        .collect();
    let mut bias: Vec<f32> = (0..numbers).map(|i| 2.0 * number(2, i) - 0.25).collect();
    // Of images that are told a total some, or all, are to have no open gate.
    bias[0] += closing.unwrap_or(0.0);

    let [down, across] = [height - 3, width - 3];
    let mut dense = vec![0.0f64; images * down * across];
    let (mut counts, mut opened, mut dropped) = (Vec::new(), 0, 0);
    let totals = told.then(|| Memory::from(device, &TOTALS).unwrap());
    for (image, x) in input.chunks_exact(height * width * channels).enumerate() {
        let mut count = 0;
        let [total, nothing] = TOTALS[((FIRST + image as u64) % TOTALS.len() as u64) as usize];
        let mut likeliest = (f32::INFINITY, 0);
        for pixel in 0..down * across {
            let sum = |to: usize| -> f32 {
                let terms = (0..places).flat_map(|place| {
                    let row = pixel / across + place / SIDE;
                    let column = pixel % across + place % SIDE;
                    let x = &x[(row * width + column) * channels..][..channels];
                    let w = &weights[(to * places + place) * channels..][..channels];
                    x.iter().zip(w).map(|(x, w)| x * w)
                });
                bias[to] + terms.sum::<f32>()
            };
            let first = sum(0);
            let value = match &mixture {
                None => Some(first.max(0.0) * UNIT).filter(|x| *x >= SMALLEST),
                Some(mixture) => {
                    let number = FIRST + image as u64;
                    let w = words(SEED, Purpose::Draw, number, PIXELS + pixel as u32);
                    let open = unit(w[0]) >= sigmoid(first);
                    if first < likeliest.0 {
                        likeliest = (first, pixel);
                    }
                    open.then(|| {
                        let values: Vec<f32> = (1..numbers).map(sum).collect();
                        mixture.draw(&values, unit(w[1]), unit(w[2]))
                    })
                }
            };
            if let Some(value) = value.filter(|_| !told || total > nothing) {
                dense[image * down * across + pixel] = f64::from(value);
                count += 1;
            }
        }
        if told && total > nothing {
            let dense = &mut dense[image * down * across..][..down * across];
            if count == 0 {
                dense[likeliest.1] = 1.0;
                count = 1;
                opened += 1;
            }
            let scale = |dense: &mut [f64]| {
                let factor = f64::from(total) / dense.iter().sum::<f64>();
                dense.iter_mut().for_each(|x| *x *= factor);
            };
            scale(dense);
            let largest = dense.iter().copied().fold(0.0, f64::max);
            for x in dense.iter_mut() {
                if *x > 0.0 && *x < f64::from(SMALLEST) && *x < largest {
                    (*x, dropped, count) = (0.0, dropped + 1, count - 1);
                }
            }
            scale(dense);
        }
        counts.push(f64::from(count));
    }
    // A card's own exponentials and logarithms are good to some 1e-6 each; a wrong decision is off by far more.
    let naive = dense.iter().map(|x| x * (1.0 + 1e-4)).collect();

    let stored =
        |values: &[f32]| -> Vec<bf16> { values.iter().map(|v| bf16::from_f32(*v)).collect() };
    let on_device = Memory::from(device, &stored(&input)).unwrap();
    let (first, others) = weights.split_at(places * channels);
    let mut others = others.to_vec();
    others.resize(output.numbers_up() * places * channels, 0.0);
    let first = Memory::from(device, &stored(first)).unwrap();
    let others = Memory::from(device, &stored(&others)).unwrap();
    let mut biases = bias.clone();
    biases.resize(1 + output.numbers_up(), 0.0);
    let biases = Memory::from(device, &biases).unwrap();
    let slots = Slots::new(device, images, down * across).unwrap();
    let rows = Arc::new(Rows::new(device, images, down * across).unwrap());
    let launch = Pixels {
        input: on_device.address(),
        size,
        first_weights: first.address(),
        weights: others.address(),
        bias: biases.address(),
        output,
        drawn: Drawn {
            seed: SEED,
            first: FIRST,
            images,
            slot_pixel: slots.pixel(0, images),
            slot_value: slots.value(0, images),
            counts: slots.counts(0, images),
            totals: totals.as_ref().map_or(Address::NULL, Memory::address),
            condition_rows: TOTALS.len() as u64,
        },
    };
    let shared = device.properties().shared_per_block;
    output.check(size, shared).unwrap();
    let mut launches = vec![launch.launch()];
    launches.extend(slots.compact(images, &rows));
    let found = Arc::clone(&rows);
    let read = move || {
        let starts = found.starts.to_vec().unwrap();
        let (pixels, values) = (
            found.pixels.to_vec().unwrap(),
            found.values.to_vec().unwrap(),
        );
        let mut dense = vec![0.0; images * down * across];
        for image in 0..images {
            for i in starts[image] as usize..starts[image + 1] as usize {
                dense[image * down * across + usize::from(pixels[i])] = f64::from(values[i]);
            }
        }
        dense
    };
    let starts = Arc::clone(&rows);
    let counted = move || {
        let starts = starts.starts.to_vec().unwrap();
        starts.windows(2).map(|w| f64::from(w[1] - w[0])).collect()
    };
    assert!(counts.iter().sum::<f64>() > 0.0);
    let few = down * across <= 2;
    assert!(dropped > 0 || !told || few || closing == Some(60.0));
    assert!(opened > 0 || !told || !few);
    let told_more = counts.iter().filter(|count| **count > 0.0).count();
    assert!(opened == told_more || closing != Some(60.0));
    Prepared {
        launches,
        outputs: vec![
            Output {
                name: "pixels",
                read: Box::new(read),
                exact: dense,
                naive,
                differences: vec![],
            },
            Output {
                name: "counts",
                read: Box::new(counted),
                exact: counts.clone(),
                naive: counts,
                differences: vec![],
            },
        ],
        demand: Demand {
            matrix_operations: 2.0 * (images * (height * width * places * channels)) as f64,
            bytes: 2.0 * (images * height * width * channels) as f64,
        },
        memory: vec![Box::new((
            (on_device, first, others, biases),
            (slots, rows, totals),
        ))],
    }
}
