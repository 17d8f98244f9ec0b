//! Forward: hidden layers with their GELU, output layers.

use std::any::Any;
use std::sync::Arc;

use half::bf16;
use sarm::device::cuda::device::{Address, Device, Memory};
use sarm::families::sarm::cuda::ops::linear::{
    ForwardProblem, ForwardResult, Tile, forward, forward_demand, forward_tiled,
};

use super::layers::{Host, ResultMatrix, gelu, matrix, outputs, stored, upload};
use super::{BATCHES, Spec, jets_hidden, jets_input, jets_output, ragged, tile_name};
use crate::kernels::case::{Case, Prepared};

/// What becomes of the results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Training,
    Scoring,
    Numbers,
}

pub fn small() -> Vec<Case> {
    let mut cases = Vec::new();
    for tile in Tile::ALL {
        for (shape, images, specs) in ragged() {
            let kind = match shape {
                "output" | "one" | "unread" => Kind::Numbers,
                "context" => Kind::Scoring,
                _ => Kind::Training,
            };
            cases.push(case(
                format!("linear/forward/{}/{shape}", tile_name(tile)),
                Some(tile),
                images,
                specs,
                kind,
                true,
            ));
        }
    }
    cases
}

pub fn full() -> Vec<Case> {
    let mut cases = Vec::new();
    for images in BATCHES {
        let layers = [
            ("input", jets_input(), Kind::Training),
            ("hidden", jets_hidden(), Kind::Training),
            ("output", jets_output(), Kind::Numbers),
        ];
        for (name, specs, kind) in layers {
            let name = format!("linear/forward/jets-{name}/{images}");
            cases.push(case(name, None, images, specs, kind, false));
        }
    }
    cases
}

fn case(
    name: String,
    tile: Option<Tile>,
    images: u32,
    specs: Vec<Spec>,
    kind: Kind,
    check: bool,
) -> Case {
    let prepare =
        move |device: &Arc<dyn Device>| prepare(device, tile, images, &specs, kind, check);
    Case {
        name,
        prepare: Box::new(prepare),
    }
}

fn prepare(
    device: &Arc<dyn Device>,
    tile: Option<Tile>,
    images: u32,
    specs: &[Spec],
    kind: Kind,
    check: bool,
) -> Prepared {
    let hosts = Host::all(specs, images);
    let mut memory: Vec<Box<dyn Any>> = Vec::new();
    let (mut before, mut after, mut numbers) = (Vec::new(), Vec::new(), Vec::new());
    let mut problems = Vec::new();
    for h in &hosts {
        let weights = upload(device, &h.weights, h.columns(), h.layer.pitch);
        let bias = Memory::from(device, &h.bias).unwrap();
        let input = upload(device, &h.input, h.columns(), h.column_pitch);
        let hidden = || ResultMatrix::<bf16>::new(device, images, h.rows(), h.row_pitch);
        let result = match kind {
            Kind::Numbers => {
                numbers.push(ResultMatrix::<f32>::new(
                    device,
                    images,
                    h.rows(),
                    h.row_pitch,
                ));
                ForwardResult::Numbers(numbers[numbers.len() - 1].matrix())
            }
            Kind::Training | Kind::Scoring => {
                let mut before_address = Address::NULL;
                if kind == Kind::Training {
                    before.push(hidden());
                    before_address = before[before.len() - 1].memory.address();
                }
                after.push(hidden());
                ForwardResult::Hidden {
                    before: before_address,
                    after: after[after.len() - 1].memory.address(),
                    pitch: h.row_pitch,
                }
            }
        };
        problems.push(ForwardProblem {
            layer: h.layer,
            weights: weights.address(),
            bias: bias.address(),
            input: matrix(&input, h.column_pitch),
            result,
        });
        memory.push(Box::new((weights, bias, input)));
    }
    let launches = match tile {
        Some(tile) => forward_tiled(tile, images, &problems),
        None => forward(device.properties(), images, &problems),
    };
    let demand = forward_demand(images, &problems);
    let mut list = Vec::new();
    if check {
        let z: Vec<(f64, f32)> = hosts.iter().flat_map(pre_activations).collect();
        let of = |exact: fn(f64) -> f64, naive: fn(f32) -> f64| {
            let exact = z.iter().map(|(e, _)| exact(*e)).collect();
            (exact, z.iter().map(|(_, n)| naive(*n)).collect())
        };
        let z_stored = of(|e| e, stored);
        let activated = of(gelu, |n| stored(naive_gelu(n)));
        match kind {
            Kind::Numbers => {
                list.extend(outputs("numbers", &numbers, of(|e| e, f64::from), vec![]))
            }
            Kind::Training | Kind::Scoring => {
                if kind == Kind::Training {
                    list.extend(outputs("before", &before, z_stored, vec![]));
                }
                list.extend(outputs("after", &after, activated, vec![]));
            }
        }
    }
    memory.push(Box::new((before, after, numbers)));
    Prepared {
        launches: launches.unwrap(),
        outputs: list,
        demand,
        memory,
    }
}

fn naive_gelu(x: f32) -> f32 {
    x / (1.0 + (-1.595_769 * (x + 0.044_715 * x * x * x)).exp())
}

/// z of every image and row, in float64 and by a plain loop in float32.
fn pre_activations(h: &Host) -> Vec<(f64, f32)> {
    let mut list = Vec::new();
    for x in h.input.chunks_exact(h.columns()) {
        for row in 0..h.rows() {
            let (mut exact, mut naive) = (0.0f64, 0.0f32);
            for (c, x) in x[..h.read(row)].iter().enumerate() {
                let w = h.weight(row, c);
                exact += f64::from(w) * f64::from(*x);
                naive += w * x;
            }
            list.push((exact + f64::from(h.bias[row]), naive + h.bias[row]));
        }
    }
    list
}
