//! Backward to the weights: gradients stored, and Adam's step.

use std::any::Any;
use std::sync::Arc;

use half::bf16;
use sarm::device::cuda::device::{Device, Memory};
use sarm::families::sarm::cuda::ops::linear::{
    AdamArenas, Tile, Update, WeightsProblem, backward_weights, backward_weights_demand,
    backward_weights_tiled,
};

use super::layers::{Host, matrix, stored, upload, values};
use super::{BATCHES, Spec, jets_hidden, jets_input, jets_output, ragged, tile_name};
use crate::kernels::case::{Case, Number, Output, Prepared};

pub fn small() -> Vec<Case> {
    let mut cases = Vec::new();
    for tile in Tile::ALL {
        for (shape, images, specs) in ragged() {
            for adam in [false, true] {
                let what = if adam { "adam" } else { "store" };
                let name = format!("linear/weights/{}/{what}/{shape}", tile_name(tile));
                cases.push(case(name, Some(tile), images, specs.clone(), adam, true));
            }
        }
    }
    cases
}

pub fn full() -> Vec<Case> {
    let mut all = jets_input();
    for _ in 0..5 {
        all.extend(jets_hidden());
    }
    all.extend(jets_output());
    BATCHES
        .into_iter()
        .map(|images| {
            let name = format!("linear/weights/jets/{images}");
            case(name, None, images, all.clone(), true, false)
        })
        .collect()
}

fn case(
    name: String,
    tile: Option<Tile>,
    images: u32,
    specs: Vec<Spec>,
    adam: bool,
    check: bool,
) -> Case {
    let prepare =
        move |device: &Arc<dyn Device>| prepare(device, tile, images, &specs, adam, check);
    Case {
        name,
        prepare: Box::new(prepare),
    }
}

/// Where every weight and bias of the layers lies in the arenas: element, and whether it is masked.
struct Places {
    /// Offsets of weights and biases of each layer.
    layers: Vec<(u64, u64)>,
    len: usize,
}

impl Places {
    fn new(hosts: &[Host]) -> Self {
        let (mut layers, mut end) = (Vec::new(), 8u64);
        for h in hosts {
            let bias = end + u64::from(h.layer.rows) * u64::from(h.layer.pitch);
            layers.push((end, bias));
            end = (bias + u64::from(h.layer.rows)).next_multiple_of(8) + 8;
        }
        Self {
            layers,
            len: end as usize,
        }
    }
}

/// The parameters' numbers of one kind in an arena: of unmasked weights and of biases as `f(layer, row, column)`,
/// where a bias has `None`, and 0 elsewhere.
fn arena<T: Copy>(
    hosts: &[Host],
    places: &Places,
    zero: T,
    mut f: impl FnMut(&Host, usize, Option<usize>) -> T,
) -> Vec<T> {
    let mut list = vec![zero; places.len];
    for (h, (weights, bias)) in hosts.iter().zip(&places.layers) {
        for row in 0..h.rows() {
            let at = *weights as usize + row * h.layer.pitch as usize;
            for column in 0..h.read(row) {
                list[at + column] = f(h, row, Some(column));
            }
            list[*bias as usize + row] = f(h, row, None);
        }
    }
    list
}

/// A gradient in float64 and by a plain loop in float32.
fn gradient(h: &Host, row: usize, column: Option<usize>) -> (f64, f32) {
    let (mut exact, mut naive) = (0.0f64, 0.0f32);
    let images = h.delta.len() / h.rows();
    for b in 0..images {
        let d = h.delta[b * h.rows() + row];
        let x = column.map_or(1.0, |c| h.input[b * h.columns() + c]);
        exact += f64::from(d) * f64::from(x);
        naive += d * x;
    }
    (exact, naive)
}

const STEP_SIZE: f32 = 3e-2;
const SECOND_SCALE: f32 = 1.75;
/// What decaying weights keep.
const KEEP: f32 = 0.8;

/// Whether a layer of the cases decays: wide ones do, tall ones do not.
fn decays(h: &Host) -> bool {
    h.columns() >= h.rows()
}

/// A parameter and its moments after a step, in float64.
fn exact_adam([value, first, second]: [f32; 3], g: f64, keep: f32) -> [f64; 3] {
    let (b1, b2) = (f64::from(0.9f32), f64::from(0.999f32));
    let first = b1 * f64::from(first) + (1.0 - b1) * g;
    let second = b2 * f64::from(second) + (1.0 - b2) * g * g;
    let root = (second * f64::from(SECOND_SCALE)).sqrt() + 1e-8;
    let value = f64::from(keep) * f64::from(value) - f64::from(STEP_SIZE) * first / root;
    [value, first, second]
}

/// The same in float32, as the CPU engine has it.
fn naive_adam([value, first, second]: [f32; 3], g: f32, keep: f32) -> [f32; 3] {
    let first = 0.9 * first + (1.0 - 0.9) * g;
    let second = 0.999 * second + (1.0 - 0.999) * g * g;
    let value = keep * value - STEP_SIZE * first / ((second * SECOND_SCALE).sqrt() + 1e-8);
    [value, first, second]
}

fn prepare(
    device: &Arc<dyn Device>,
    tile: Option<Tile>,
    images: u32,
    specs: &[Spec],
    adam: bool,
    check: bool,
) -> Prepared {
    let hosts = Host::all(specs, images);
    let places = Places::new(&hosts);
    let mut memory: Vec<Box<dyn Any>> = Vec::new();
    let mut problems = Vec::new();
    for (h, (weights, bias)) in hosts.iter().zip(&places.layers) {
        let delta = upload(device, &h.delta, h.rows(), h.row_pitch);
        let input = upload(device, &h.input, h.columns(), h.column_pitch);
        problems.push(WeightsProblem {
            layer: h.layer,
            delta: matrix(&delta, h.row_pitch),
            input: matrix(&input, h.column_pitch),
            weights: *weights,
            bias: *bias,
            decays: decays(h),
        });
        memory.push(Box::new((delta, input)));
    }
    // Parameters and moments: a value in 0 .. 1 each, so that no square root meets a negative number.
    let mut salt = 1000;
    let mut state = || {
        salt += 1;
        let mut random = values(places.len, salt).into_iter();
        arena(&hosts, &places, 0.0f32, |_, _, _| {
            0.5 + 0.5 * random.next().unwrap_or(0.0)
        })
    };
    let start = [state(), state(), state()];
    let arenas = start
        .each_ref()
        .map(|a| Arc::new(Memory::from(device, a).unwrap()));
    let shadow = Arc::new(Memory::<bf16>::zeros(device, places.len).unwrap());
    let stored_gradient = Arc::new(Memory::<f32>::zeros(device, places.len).unwrap());
    // The rates of other steps must not matter.
    let nan = f32::NAN;
    let step = [STEP_SIZE, SECOND_SCALE, KEEP];
    let rates = Memory::from(device, &[[nan; 3], step, [nan; 3]].concat()).unwrap();
    let cursor = Memory::from(device, &[1u32]).unwrap();
    let update = match adam {
        false => Update::Store(stored_gradient.address()),
        true => Update::Adam(AdamArenas {
            value: arenas[0].address(),
            first: arenas[1].address(),
            second: arenas[2].address(),
            shadow: shadow.address(),
            rates: rates.address(),
            cursor: cursor.address(),
        }),
    };
    let launches = match tile {
        Some(tile) => backward_weights_tiled(tile, images, update, &problems),
        None => backward_weights(device.properties(), images, update, &problems),
    };
    let demand = backward_weights_demand(images, update, &problems);
    let mut outputs = Vec::new();
    if check {
        let exact = arena(&hosts, &places, 0.0, |h, r, c| gradient(h, r, c).0);
        let naive = arena(&hosts, &places, 0.0, |h, r, c| gradient(h, r, c).1);
        match adam {
            false => outputs.push(Output {
                differences: differences(&hosts, &places),
                ..whole("gradient", &stored_gradient, &exact, &naive)
            }),
            true => {
                let old = |i: usize| start.each_ref().map(|a| a[i]);
                let keep = arena(&hosts, &places, 1.0, |h, _, c| match c {
                    Some(_) if decays(h) => KEEP,
                    _ => 1.0,
                });
                // Padding and masked weights are 0 with moments 0, and a step leaves them there.
                let exact: Vec<[f64; 3]> = (0..places.len)
                    .map(|i| exact_adam(old(i), exact[i], keep[i]))
                    .collect();
                let naive: Vec<[f32; 3]> = (0..places.len)
                    .map(|i| naive_adam(old(i), naive[i], keep[i]))
                    .collect();
                for (k, name) in ["value", "first", "second"].into_iter().enumerate() {
                    let exact: Vec<f64> = exact.iter().map(|e| e[k]).collect();
                    let naive: Vec<f32> = naive.iter().map(|n| n[k]).collect();
                    outputs.push(whole(name, &arenas[k], &exact, &naive));
                }
                let is_weight = arena(&hosts, &places, false, |_, _, c| c.is_some());
                let of = |i: usize, v: f64| if is_weight[i] { v } else { 0.0 };
                let exact: Vec<f64> = (0..places.len).map(|i| of(i, exact[i][0])).collect();
                let naive: Vec<f64> = (0..places.len)
                    .map(|i| of(i, stored(naive[i][0])))
                    .collect();
                outputs.push(whole("shadow", &shadow, &exact, &naive));
            }
        }
        let kept: Vec<bool> = arena(&hosts, &places, false, |_, _, _| true);
        for memory in arenas.iter().chain([&stored_gradient]) {
            outputs.push(zero_elsewhere(memory, &kept));
        }
        outputs.push(zero_elsewhere(&shadow, &kept));
    }
    memory.push(Box::new((arenas, shadow, stored_gradient, rates, cursor)));
    Prepared {
        launches: launches.unwrap(),
        outputs,
        demand,
        memory,
    }
}

/// All of an arena.
fn whole<T: Number, N: Copy + Into<f64>>(
    name: &'static str,
    memory: &Arc<Memory<T>>,
    exact: &[f64],
    naive: &[N],
) -> Output {
    let naive = naive.iter().map(|v| (*v).into()).collect();
    Output::of(name, memory, exact.to_vec(), naive)
}

/// That masked weights and padding are 0 to the last bit: how many are not.
fn zero_elsewhere<T: Number>(memory: &Arc<Memory<T>>, kept: &[bool]) -> Output {
    let (memory, kept) = (Arc::clone(memory), kept.to_vec());
    Output {
        name: "masked weights that are not 0",
        read: Box::new(move || {
            let values = memory.to_vec().unwrap();
            let wrong = |(v, kept): &(&T, &bool)| !**kept && v.number() != 0.0;
            vec![values.iter().zip(&kept).filter(wrong).count() as f64]
        }),
        exact: vec![0.0],
        naive: vec![0.0],
        differences: Vec::new(),
    }
}

/// Central differences of `sum_b delta_b (W x_b + bias)` by the first layer's last weight and last bias.
fn differences(hosts: &[Host], places: &Places) -> Vec<(usize, f64)> {
    let (h, (weights, bias)) = (&hosts[0], places.layers[0]);
    let row = h.rows() - 1;
    let loss = |column: Option<usize>, step: f64| -> f64 {
        let images = 0..h.delta.len() / h.rows();
        let z = |b: usize| {
            let x = &h.input[b * h.columns()..][..h.read(row)];
            let terms = x.iter().enumerate().map(|(c, x)| {
                let moved = if column == Some(c) { step } else { 0.0 };
                (f64::from(h.weight(row, c)) + moved) * f64::from(*x)
            });
            let moved = if column.is_none() { step } else { 0.0 };
            terms.sum::<f64>() + f64::from(h.bias[row]) + moved
        };
        images
            .map(|b| f64::from(h.delta[b * h.rows() + row]) * z(b))
            .sum()
    };
    let by = |column| (loss(column, 1e-3) - loss(column, -1e-3)) / 2e-3;
    let mut list = vec![(bias as usize + row, by(None))];
    if let Some(column) = h.read(row).checked_sub(1) {
        let at = weights as usize + row * h.layer.pitch as usize + column;
        list.push((at, by(Some(column))));
    }
    list
}
