//! Backward to the input.

use std::any::Any;
use std::sync::Arc;

use half::bf16;
use sarm::device::cuda::device::Device;
use sarm::families::sarm::cuda::ops::linear::{
    InputProblem, Scratch, Tile, Tiling, backward_input, backward_input_demand,
    backward_input_scratch, backward_input_tiled,
};
use sarm::families::sarm::cuda::ops::mask::Mask;

use super::layers::{Host, ResultMatrix, gelu, gelu_derivative, matrix, outputs, stored, upload};
use super::{BATCHES, Spec, jets_hidden, jets_output, ragged, spec, tile_name};
use crate::kernels::case::{Case, Prepared, poisoned};

pub fn small() -> Vec<Case> {
    let mut cases = Vec::new();
    for tile in Tile::ALL {
        let name = |shape: &str| format!("linear/input/{}/{shape}", tile_name(tile));
        for (shape, images, specs) in ragged() {
            let tiling = Tiling { tile, slices: 1 };
            cases.push(case(name(shape), Some(tiling), images, specs, true));
        }
        // Sums in slices: of a layer of which only some have something for the last columns, of columns that
        // nothing reads, and beside a layer that stays whole.
        let nobody = Mask {
            base: 0,
            rows: 3,
            columns: 1,
        };
        let layers = vec![
            spec(330, 70, Mask::output(3, 15)),
            spec(200, 150, nobody),
            spec(50, 60, Mask::hidden(2)),
        ];
        for slices in [2, 5] {
            let tiling = Tiling { tile, slices };
            let name = name(&format!("{slices}-slices"));
            cases.push(case(name, Some(tiling), 37, layers.clone(), true));
        }
    }
    cases
}

pub fn full() -> Vec<Case> {
    let mut cases = Vec::new();
    for images in BATCHES {
        for (name, specs) in [("hidden", jets_hidden()), ("output", jets_output())] {
            let name = format!("linear/input/jets-{name}/{images}");
            cases.push(case(name, None, images, specs, false));
        }
    }
    cases
}

fn case(name: String, tiling: Option<Tiling>, images: u32, specs: Vec<Spec>, check: bool) -> Case {
    let prepare = move |device: &Arc<dyn Device>| prepare(device, tiling, images, &specs, check);
    Case {
        name,
        prepare: Box::new(prepare),
    }
}

fn prepare(
    device: &Arc<dyn Device>,
    tiling: Option<Tiling>,
    images: u32,
    specs: &[Spec],
    check: bool,
) -> Prepared {
    let hosts = Host::all(specs, images);
    let mut memory: Vec<Box<dyn Any>> = Vec::new();
    let (mut problems, mut below) = (Vec::new(), Vec::new());
    for h in &hosts {
        let weights = upload(device, &h.weights, h.columns(), h.layer.pitch);
        let delta = upload(device, &h.delta, h.rows(), h.row_pitch);
        let before = upload(device, &h.before, h.columns(), h.column_pitch);
        let result = ResultMatrix::<bf16>::new(device, images, h.columns(), h.column_pitch);
        problems.push(InputProblem {
            layer: h.layer,
            weights: weights.address(),
            delta: matrix(&delta, h.row_pitch),
            before: matrix(&before, h.column_pitch),
            below: result.matrix(),
        });
        below.push(result);
        memory.push(Box::new((weights, delta, before)));
    }
    let wanted = match tiling {
        // Enough for any cut; how much is needed is for the launcher to say where it chooses the cut.
        Some(t) => hosts
            .iter()
            .map(|h| u64::from(t.slices * images) * h.columns().next_multiple_of(8) as u64)
            .sum(),
        None => backward_input_scratch(device.properties(), images, &problems),
    };
    let partial = poisoned::<f32>(device, wanted as usize);
    let scratch = Scratch {
        address: partial.address(),
        len: wanted,
    };
    let launches = match tiling {
        Some(tiling) => backward_input_tiled(tiling, images, scratch, &problems),
        None => backward_input(device.properties(), images, scratch, &problems),
    }
    .unwrap();
    if let Some(t) = tiling {
        let adding = launches.iter().any(|l| l.kernel.starts_with("linear_sum"));
        assert_eq!(adding, t.slices > 1, "slices are what this case is for");
    }
    let demand = backward_input_demand(images, &problems);
    let mut list = Vec::new();
    if check {
        let (mut exact, mut naive, mut differences) = (Vec::new(), Vec::new(), Vec::new());
        for h in &hosts {
            for i in [0, h.before.len() / 2, h.before.len() - 1] {
                differences.push((exact.len() + i, difference(h, i)));
            }
            for (e, n) in derivatives(h) {
                exact.push(e);
                naive.push(n);
            }
        }
        list = outputs("below", &below, (exact, naive), differences);
    }
    memory.push(Box::new((below, partial)));
    Prepared {
        launches,
        outputs: list,
        demand,
        memory,
    }
}

/// The derivative by every image's pre-activations, in float64 and by a plain loop in float32.
fn derivatives(h: &Host) -> Vec<(f64, f64)> {
    let mut list = Vec::new();
    for (delta, before) in h
        .delta
        .chunks_exact(h.rows())
        .zip(h.before.chunks_exact(h.columns()))
    {
        let mut exact = vec![0.0f64; h.columns()];
        let mut naive = vec![0.0f32; h.columns()];
        for (row, d) in delta.iter().enumerate() {
            for c in 0..h.read(row) {
                exact[c] += f64::from(*d) * f64::from(h.weight(row, c));
                naive[c] += d * h.weight(row, c);
            }
        }
        for (c, z) in before.iter().enumerate() {
            let slope = gelu_derivative(f64::from(*z));
            list.push((exact[c] * slope, stored(naive[c] * slope as f32)));
        }
    }
    list
}

/// Central difference of `sum_r delta_r (W gelu(z))_r` by pre-activation number `i` of all images.
fn difference(h: &Host, i: usize) -> f64 {
    let (image, column) = (i / h.columns(), i % h.columns());
    let value = |step: f64| -> f64 {
        let rows = 0..h.rows();
        let terms = rows.filter(|r| column < h.read(*r)).map(|r| {
            let activation = gelu(f64::from(h.before[i]) + step);
            f64::from(h.delta[image * h.rows() + r]) * f64::from(h.weight(r, column)) * activation
        });
        terms.sum()
    };
    (value(1e-4) - value(-1e-4)) / 2e-4
}
