//! Convolutions, transposed convolutions and dense layers, backward to the weights, and what becomes of that.

use std::sync::Arc;

use half::bf16;
use sarm::device::cuda::device::{Address, Device, Memory};
use sarm::device::cuda::ops::convolution::ConvolutionPhase;
use sarm::device::cuda::ops::convolution_update::{self, NOWHERE, Update, UpdateLayer, update};
use sarm::device::cuda::ops::convolution_weights::{ConvolutionWeights, Pieces, Share};
use sarm::nn::adam::AdamRule;

use crate::kernels::case::{Case, Output, Prepared, Size, poisoned};
use crate::kernels::convolution::{Shape, jets_vae, number, numbers, small};

/// Cases of `kernels/common/convolution_weights.cu` and `convolution_update.cu`.
pub fn cases(size: Size) -> Vec<Case> {
    match size {
        Size::Small => {
            let shares = Pieces::ALL.into_iter().flat_map(|pieces| {
                // One slice, some, and more than there are terms for.
                [1, 3, 64].map(|slices| Share { pieces, slices })
            });
            let shares: Vec<Share> = shares.collect();
            let mut cases: Vec<Case> = (small().into_iter())
                .flat_map(|shape| shares.iter().map(move |share| case(shape, Some(*share))))
                .collect();
            cases.push(steps(vec![[64, 8], [8 * 200, 24]], [1, 5]));
            cases
        }
        Size::Full => {
            let layers = [128, 1024, 8192].into_iter().flat_map(jets_vae);
            let mut cases: Vec<Case> = layers.map(|shape| case(shape, None)).collect();
            // Encoder and decoder of the jet VAE, slices as at a batch of 128.
            cases.push(steps(vec![[300_000, 6272 + 400], [200_000, 400]], [1, 16]));
            cases
        }
    }
}

fn case(shape: Shape, share: Option<Share>) -> Case {
    let of_share = share.map_or(String::new(), |share| {
        format!("/{:?}/{}", share.pieces, share.slices).to_lowercase()
    });
    Case {
        name: format!(
            "convolution_weights/{}/{}{of_share}",
            shape.name, shape.images
        ),
        prepare: Box::new(move |device| prepare(device, shape, share)),
    }
}

fn prepare(device: &Arc<dyn Device>, shape: Shape, share: Option<Share>) -> Prepared {
    let checked = share.is_some();
    let Shape {
        images, from, to, ..
    } = shape;
    let values = |item: u32, size: [usize; 3]| -> Vec<bf16> {
        let count = images * numbers(size);
        (0..count).map(|i| number(item, i, 1.0)).collect()
    };
    let (input, delta) = (values(0, from), values(6, to));
    let (phases, places): (Vec<ConvolutionPhase>, Vec<Vec<usize>>) =
        shape.phases().into_iter().unzip();
    let sums = shape.sums(&phases);
    let count = images as u32;
    let share = share.unwrap_or_else(|| sums.share(count));
    let on_device = [&input, &delta].map(|values| Memory::from(device, values).unwrap());
    let slices = share.slices as usize * sums.slice() as usize;
    let partial = poisoned::<f32>(device, slices);
    let weights = sums.weights() as usize;
    let gradient = Arc::new(poisoned::<f32>(device, weights + to[2]));
    let product = ConvolutionWeights {
        sums,
        input: on_device[0].address(),
        delta: on_device[1].address(),
        partial: partial.address(),
    };
    let layer = UpdateLayer {
        partial: partial.address(),
        slices: share.slices,
        first: 0,
        weights: weights as u32,
        biases: to[2] as u32,
        phases: phases.len() as u32,
        turned_at: Address::NULL,
        turned: Address::NULL,
    };
    let mut launches = vec![product.launch(share, count).unwrap()];
    let mut outputs = vec![];
    if checked {
        launches.push(update(&[layer], Update::Store(gradient.address())).unwrap());
        let (exact, naive) = reference(shape, &places, &input, &delta);
        outputs.push(Output::of("gradient", &gradient, exact, naive));
    }
    Prepared {
        launches,
        outputs,
        demand: product.demand(share, count),
        memory: vec![Box::new((on_device, partial, gradient))],
    }
}

/// Derivatives in float64 and by float32 loops: weights as the phases have them, biases.
fn reference(
    shape: Shape,
    places: &[Vec<usize>],
    input: &[bf16],
    delta: &[bf16],
) -> (Vec<f64>, Vec<f64>) {
    let (from, to) = (shape.from, shape.to);
    let all = shape.side() * shape.side();
    // [to, place, from]
    let mut weights = vec![(0.0f64, 0.0f32); to[2] * all * from[2]];
    let mut biases = vec![(0.0f64, 0.0f32); to[2]];
    let add = |sum: &mut (f64, f32), a: f32, b: f32| {
        sum.0 += f64::from(a) * f64::from(b);
        sum.1 += a * b;
    };
    let pairs = shape.pairs();
    let images = input
        .chunks_exact(numbers(from))
        .zip(delta.chunks_exact(numbers(to)));
    for (x, delta) in images {
        for [pixel, output, place] in &pairs {
            for channel in 0..to[2] {
                let d = delta[output * to[2] + channel].to_f32();
                let sums = &mut weights[(channel * all + place) * from[2]..][..from[2]];
                let x = &x[pixel * from[2]..][..from[2]];
                sums.iter_mut()
                    .zip(x)
                    .for_each(|(sum, x)| add(sum, d, x.to_f32()));
            }
        }
        for (at, d) in delta.iter().enumerate() {
            add(&mut biases[at % to[2]], d.to_f32(), 1.0);
        }
    }
    let ordered = places.iter().flat_map(|places| {
        let of = |channel: usize, place: usize| (channel * all + place) * from[2];
        let weights = &weights;
        (0..to[2]).flat_map(move |channel| {
            places
                .iter()
                .flat_map(move |place| &weights[of(channel, *place)..][..from[2]])
        })
    });
    let ordered = ordered.chain(&biases).copied();
    ordered
        .map(|(exact, naive)| (exact, f64::from(naive)))
        .unzip()
}

/// Of layers with so many weights and biases, whose slices are numbers that nobody worked out: a step of Adam. Every second weight of the last
/// layer has a place in the turned copy, at the other end of it.
fn steps(layers: Vec<[usize; 2]>, [phases, slices]: [usize; 2]) -> Case {
    Case {
        name: format!("convolution_update/{layers:?}/{slices}"),
        prepare: Box::new(move |device| prepare_steps(device, &layers, [phases, slices])),
    }
}

fn prepare_steps(
    device: &Arc<dyn Device>,
    layers: &[[usize; 2]],
    [phases, slices]: [usize; 2],
) -> Prepared {
    let size: usize = layers
        .iter()
        .map(|[weights, biases]| weights + biases)
        .sum();
    let random = |item: u32, count: usize, width: f32| -> Vec<f32> {
        (0..count)
            .map(|i| number(item, i, width).to_f32())
            .collect()
    };
    let value = random(20, size, 0.3);
    let first = random(21, size, 0.1);
    let second: Vec<f32> = random(22, size, 0.1).iter().map(|v| v * v).collect();
    let rule = AdamRule::new(2e-3.into(), 3);
    let rates = Memory::from(device, &[[9.0; 3], rule.constants()]).unwrap();
    let cursor = Memory::from(device, &[1u32]).unwrap();
    let arenas = [&value, &first, &second].map(|v| Arc::new(Memory::from(device, v).unwrap()));
    let last = layers.last().map_or(0, |[weights, _]| *weights);
    let turned_at: Vec<u32> = (0..last)
        .map(|i| {
            if i % 2 == 0 {
                (last - 1 - i) as u32
            } else {
                NOWHERE
            }
        })
        .collect();
    let places = Memory::from(device, &turned_at).unwrap();
    let shadow = Arc::new(Memory::from(device, &vec![bf16::ZERO; size]).unwrap());
    let turned = Arc::new(Memory::from(device, &vec![bf16::ONE; last]).unwrap());

    let (mut memory, mut all, mut gradient, mut at) = (vec![], vec![], vec![], 0);
    let mut copied = vec![0.0; size];
    for (i, [weights, biases]) in layers.iter().enumerate() {
        let pitch = weights + phases * biases;
        let partial = random(30 + i as u32, slices * pitch, 0.2);
        for place in 0..weights + biases {
            let of_slices = partial.chunks_exact(pitch).flat_map(|slice| {
                let phases = if place < *weights { 1 } else { phases };
                (0..phases).map(move |phase| slice[place + phase * biases])
            });
            gradient.push(of_slices.clone().sum::<f32>());
        }
        copied[at..at + weights].fill(1.0);
        let on_device = Memory::from(device, &partial).unwrap();
        let is_last = i + 1 == layers.len();
        let if_last = |address: Address| if is_last { address } else { Address::NULL };
        all.push(UpdateLayer {
            partial: on_device.address(),
            slices: slices as u32,
            first: at as u64,
            weights: *weights as u32,
            biases: *biases as u32,
            phases: phases as u32,
            turned_at: if_last(places.address()),
            turned: if_last(turned.address()),
        });
        memory.push(on_device);
        at += weights + biases;
    }
    let launch = update(
        &all,
        Update::Adam {
            value: arenas[0].address(),
            moments: [arenas[1].address(), arenas[2].address()],
            shadow: shadow.address(),
            rates: rates.address(),
            cursor: cursor.address(),
        },
    );
    let mut wanted = [value, first, second];
    let [value, first, second] = &mut wanted;
    rule.without_decay().step(value, first, second, &gradient);
    let copy = |v: f32| f64::from(bf16::from_f32(v).to_f32());
    let of_last = at
        - layers
            .last()
            .map_or(0, |[weights, biases]| weights + biases);
    let mut want_turned = vec![1.0; last];
    for (i, place) in turned_at
        .iter()
        .enumerate()
        .filter(|(_, place)| **place != NOWHERE)
    {
        want_turned[*place as usize] = copy(wanted[0][of_last + i]);
    }
    let want_shadow: Vec<f64> = (wanted[0].iter().zip(&copied))
        .map(|(v, copied)| copied * copy(*v))
        .collect();
    let names = ["value", "first", "second"];
    let mut outputs: Vec<Output> = (names.into_iter().zip(&arenas).zip(wanted))
        .map(|((name, arena), want)| {
            let want: Vec<f64> = want.into_iter().map(f64::from).collect();
            Output::of(name, arena, want.clone(), want)
        })
        .collect();
    // A rounding of the value may tip that of its copy.
    let tipped = |want: &[f64]| want.iter().map(|v| v * (1.0 + 1.0 / 256.0)).collect();
    outputs.push(Output::of(
        "shadow",
        &shadow,
        want_shadow.clone(),
        tipped(&want_shadow),
    ));
    outputs.push(Output::of(
        "turned",
        &turned,
        want_turned.clone(),
        tipped(&want_turned),
    ));
    Prepared {
        launches: vec![launch.unwrap()],
        outputs,
        demand: convolution_update::demand(&all),
        memory: vec![Box::new((
            memory,
            arenas,
            (rates, cursor, places, shadow, turned),
        ))],
    }
}
