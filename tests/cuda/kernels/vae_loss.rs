//! What the images of a VAE in training cost: Bernoulli term, perceptual term, mixtures.

use std::sync::Arc;

use half::bf16;
use sarm::device::cuda::device::{Address, Memory};
use sarm::families::vae::cuda::ops::features::Features;
use sarm::families::vae::cuda::ops::gather::LONELY;
use sarm::families::vae::cuda::ops::loss::{Bernoulli, BernoulliDelta, MixtureLoss};
use sarm::likelihood::{Mixture, Rest, Space, Support, gate};
use sarm::numeric::Real;
use sarm::random::{Purpose, unit_f64, words};

use crate::kernels::case::{Case, Output, Size, poisoned};
use crate::kernels::likelihood::Dice;
use crate::kernels::vae_training::{case, prepared, round, rows};

/// Cases of `kernels/vae/{loss,features}.cu`.
pub fn cases(size: Size) -> Vec<Case> {
    let logarithmic = Space::log(1.5, 0.2);
    match size {
        Size::Small => vec![
            bernoulli(3, 35, true),
            bernoulli(2, 625, false),
            features(3, 700, 0.3),
            features(5, 24, 1.0),
            mixture(3, 35, 1, (Space::Linear, f64::INFINITY), [true, false]),
            mixture(2, 625, 5, (Space::Linear, 500.0), [true, false]),
            mixture(4, 130, 5, (logarithmic, f64::INFINITY), [true, true]),
            mixture(3, 40, 11, (logarithmic, 500.0), [false, false]),
            mixture(3, 9, 2, (logarithmic, f64::INFINITY), [false, true]),
        ],
        Size::Full => vec![
            bernoulli(1024, 625, true),
            features(1024, 169 * 32, 0.3),
            mixture(1024, 625, 5, (logarithmic, f64::INFINITY), [true, true]),
        ],
    }
}

fn bernoulli(images: usize, pixels: usize, compares: bool) -> Case {
    let what = if compares { "/compared" } else { "" };
    let name = format!("vae/bernoulli/{images}x{pixels}{what}");
    case(name, move |device| {
        const EDGE: f32 = 1e-7;
        let mut dice = Dice::new(5);
        let weight = 0.6f32;
        // Zeros, chances, and pixels beyond the unit, of either image.
        let mut pixel = |most: f32| match dice.unit() {
            u if u < 0.4 => 0.0,
            _ => most * dice.unit(),
        };
        let target: Vec<f32> = (0..images * pixels).map(|_| pixel(1.3)).collect();
        let made: Vec<f32> = (0..images * pixels).map(|_| pixel(1.1)).collect();
        let by: Vec<f32> = (0..images * pixels).map(|_| pixel(0.2) - 0.1).collect();
        let alone = |values: &[f32]| -> Vec<f32> {
            let lonely = values
                .iter()
                .flat_map(|v| [*v, 7.0, 7.0, 7.0, 7.0, 7.0, 7.0, 7.0]);
            lonely.collect()
        };
        let on_device =
            [&alone(&made), &target, &alone(&by)].map(|v| Memory::from(device, v).unwrap());
        let cost = Arc::new(poisoned::<f32>(device, images));
        let [picture, delta] =
            [(); 2].map(|()| Arc::new(poisoned::<bf16>(device, images * pixels * LONELY)));
        let term = Bernoulli {
            images,
            pixels,
            output: on_device[0].address(),
            target: on_device[1].address(),
            weight,
            cost: cost.address(),
            picture: picture.address(),
        };
        let back = BernoulliDelta {
            of: term,
            by_features: if compares {
                on_device[2].address()
            } else {
                Address::NULL
            },
            delta: delta.address(),
        };
        let (mut of_cost, mut naive_cost, mut of_delta) = (vec![], vec![], vec![]);
        for (made, target) in made.chunks(pixels).zip(target.chunks(pixels)) {
            let mut sums = (0.0f64, 0.0f32);
            for (p, x) in made.iter().zip(target) {
                let (q, t) = (p.clamp(EDGE, 1.0 - EDGE), x.min(1.0));
                let (a, b) = (f64::from(q), f64::from(t));
                sums.0 -= if t > 0.0 { b * a.ln() } else { 0.0 } + (1.0 - b) * (-a).ln_1p();
                sums.1 -= if t > 0.0 { t * q.ln() } else { 0.0 } + (1.0 - t) * (-q).ln_1p();
            }
            of_cost.push(f64::from(weight) * sums.0);
            naive_cost.push(f64::from(weight * sums.1));
        }
        let scale = f64::from(weight) / images as f64;
        for ((p, x), by) in made.iter().zip(&target).zip(&by) {
            let inside = (EDGE..=1.0 - EDGE).contains(p);
            let (p, x) = (f64::from(*p), f64::from(x.min(1.0)));
            let slope = if inside {
                scale * (p - x) / (p * (1.0 - p))
            } else {
                0.0
            };
            let by = if compares { f64::from(*by) } else { 0.0 };
            of_delta.push(if p > 0.0 { by + slope } else { 0.0 });
        }
        let spread = |values: Vec<f64>| -> Vec<f64> {
            let lonely = values
                .into_iter()
                .flat_map(|v| [v, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
            lonely.collect()
        };
        let rounded = spread(of_delta.iter().map(|v| round(*v)).collect());
        let pictures = spread(made.iter().map(|v| round(f64::from(*v))).collect());
        let outputs = vec![
            Output::of("cost", &cost, of_cost, naive_cost),
            Output::exactly("picture", &picture, pictures),
            Output::of("delta", &delta, spread(of_delta), rounded),
        ];
        let bytes = images * pixels * (2 * (4 + 4 + 2) * LONELY + 8);
        let memory = (on_device, (cost, picture, delta));
        prepared(vec![term.launch(), back.launch()], outputs, bytes, memory)
    })
}

fn features(images: usize, numbers: usize, slope: f32) -> Case {
    let name = format!("vae/features/{images}x{numbers}/{slope}");
    case(name, move |device| {
        let mut dice = Dice::new(6);
        let weight = 0.9f32;
        // A tenth is of channels that nobody has.
        let real = numbers - numbers / 10;
        let values = [(); 2].map(|()| -> Vec<f32> {
            (0..images * numbers)
                .map(|i| {
                    if i % numbers < real {
                        dice.normal()
                    } else {
                        0.0
                    }
                })
                .collect()
        });
        let [of_true, of_made] = &values;
        let on_device = [of_true, of_made].map(|v| Memory::from(device, v).unwrap());
        let cost = Arc::new(poisoned::<f32>(device, images));
        let delta = Arc::new(poisoned::<bf16>(device, images * numbers));
        let term = Features {
            images,
            numbers,
            real,
            of_true: on_device[0].address(),
            of_made: on_device[1].address(),
            weight,
            cost: cost.address(),
            delta: delta.address(),
            slope,
        };
        let differences = of_made
            .iter()
            .zip(of_true)
            .map(|(a, b)| f64::from(*a) - f64::from(*b));
        let differences: Vec<f64> = differences.collect();
        let half = f64::from(weight) / (2.0 * real as f64);
        let of_cost: Vec<f64> = (differences.chunks(numbers))
            .map(|image| half * image.iter().map(|d| d * d).sum::<f64>())
            .collect();
        let naive = (differences.chunks(numbers)).map(|image| {
            half * f64::from(image.iter().map(|d| *d as f32 * *d as f32).sum::<f32>())
        });
        let naive = naive.collect();
        let by = f64::from(weight) / (real * images) as f64;
        let of_delta: Vec<f64> = (differences.iter().zip(of_made))
            .map(|(d, made)| by * d * if *made > 0.0 { 1.0 } else { f64::from(slope) })
            .collect();
        let rounded = of_delta.iter().map(|v| round(*v)).collect();
        let outputs = vec![
            Output::of("cost", &cost, of_cost, naive),
            Output::of("delta", &delta, of_delta, rounded),
        ];
        let memory = (on_device, (cost, delta));
        prepared(vec![term.launch()], outputs, images * numbers * 10, memory)
    })
}

/// The bound's terms of an image and its derivatives, from the definitions.
fn nll<T: Real>(
    mixture: &Mixture,
    (x, told): (&[f32], Option<(f64, f64)>),
    row: &[T],
    pitch: usize,
    scale: T,
) -> (T, Vec<T>) {
    let (log_s, beside) = told.unwrap_or((0.0, 0.0));
    let numbers = 1 + 3 * mixture.components;
    let mut slopes = vec![T::of(0.0); row.len()];
    let mut sum = T::of(0.0);
    for (pixel, x) in x.iter().enumerate() {
        let row = &row[pixel * pitch..][..numbers];
        let slopes = &mut slopes[pixel * pitch..][..numbers];
        let (cost, slope) = gate(row[0], T::of(if *x > 0.0 { 1.0 } else { -1.0 }));
        sum += cost;
        slopes[0] = slope;
        if *x > 0.0 {
            let x = T::of(f64::from(*x)) * T::of(log_s.exp());
            sum += mixture.nll_and_gradient(x, &row[1..], &mut slopes[1..]);
        }
        slopes.iter_mut().for_each(|v| *v = *v * scale);
    }
    (sum - T::of(beside), slopes)
}

fn mixture(
    images: usize,
    pixels: usize,
    components: usize,
    (space, upper): (Space, f64),
    [trains, is_told]: [bool; 2],
) -> Case {
    let of_space = if matches!(space, Space::Linear) {
        "linear"
    } else {
        "log"
    };
    let told = if is_told { "/total" } else { "" };
    let what = if trains { "" } else { "/judged" };
    let name = format!("vae/mixture/{images}x{pixels}/{components}/{of_space}-{upper}{told}{what}");
    case(name, move |device| {
        let mut dice = Dice::new(8);
        let unit = 4.0f32;
        let mixture = Mixture {
            components,
            support: Support {
                unit: 1.5,
                upper,
                space,
            },
            rest: Rest::Free,
        };
        let numbers = 1 + 3 * components;
        let pitch = numbers.next_multiple_of(8);
        let target: Vec<f32> = (0..images * pixels)
            .map(|i| match dice.unit() {
                // Nothing at all is in the last image.
                u if u < 0.3 && i / pixels + 1 < images => 0.1 + 3.0 * dice.unit(),
                _ => 0.0,
            })
            .collect();
        let output: Vec<f32> = (0..images * pixels * pitch)
            .map(|i| match i % pitch {
                0 => 2.0 * dice.normal(),
                n if n < numbers => dice.normal(),
                // What nobody reads.
                _ => f32::NAN,
            })
            .collect();
        let rows = rows(device, images, trains);
        let on_device = [&output, &target].map(|v| Memory::from(device, v).unwrap());
        let cost = Arc::new(poisoned::<f32>(device, images));
        let delta = Arc::new(poisoned::<bf16>(device, images * pixels * pitch));
        let term = MixtureLoss {
            rows: rows.of,
            images,
            pixels,
            mixture,
            is_told,
            unit,
            output: on_device[0].address(),
            pitch,
            target: on_device[1].address(),
            cost: cost.address(),
            delta: if trains {
                delta.address()
            } else {
                Address::NULL
            },
        };
        let (mut of_cost, mut naive_cost, mut of_delta, mut naive_delta) =
            (vec![], vec![], vec![], vec![]);
        let each = output.chunks(pixels * pitch).zip(target.chunks(pixels));
        for (row, (output, x)) in rows.rows.iter().zip(each) {
            let gev: Vec<f32> = x.iter().map(|x| x * unit).collect();
            let count = gev.iter().filter(|x| **x > 0.0).count() as f64;
            let told = (is_told && count > 0.0).then(|| {
                let w = words(rows.stream, Purpose::Vae, u64::from(*row), 1 << 31);
                let most = (2.0 / count.sqrt()).min(0.5);
                let log_s = (2.0 * unit_f64(w[0], w[1]) - 1.0) * most;
                let sum: f64 = gev.iter().map(|x| f64::from(*x)).sum();
                (log_s, sum.ln() + count * log_s + (2.0 * most).ln())
            });
            let wide: Vec<f64> = output.iter().map(|v| f64::from(*v)).collect();
            let (exact, slopes) = nll(&mixture, (&gev, told), &wide, pitch, 1.0 / images as f64);
            of_cost.push(exact);
            of_delta.extend(slopes);
            let (naive, slopes) = nll(&mixture, (&gev, told), output, pitch, 1.0 / images as f32);
            naive_cost.push(f64::from(naive));
            naive_delta.extend(slopes.into_iter().map(|v| round(f64::from(v))));
        }
        let mut outputs = vec![Output::of("cost", &cost, of_cost, naive_cost)];
        if trains {
            outputs.push(Output::of("delta", &delta, of_delta, naive_delta));
        }
        let bytes = images * pixels * (6 * pitch + 4);
        let memory = (on_device, rows.memory, (cost, delta));
        prepared(vec![term.launch()], outputs, bytes, memory)
    })
}
