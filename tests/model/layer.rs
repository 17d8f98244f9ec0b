//! One masked layer, forward and backward, against the plain float64 formulas.

use crate::support::common::model;
use sarm::families::sarm::StageTensor;
use sarm::families::sarm::cpu::MaskedLayer;
use sarm::numeric::Isa;
use sarm::random::{Purpose, normal, words};

fn number(image: usize, unit: usize, what: u32) -> f32 {
    let n = (image * 1000 + unit) as u64;
    normal(words(12, Purpose::Synthetic, n, what))[0] as f32
}

/// GELU in its sigmoid form, and its slope.
fn gelu(x: f64) -> (f64, f64) {
    let c = 2.0 * (2.0 / std::f64::consts::PI).sqrt();
    let s = 1.0 / (1.0 + (-c * (x + 0.044715 * x.powi(3))).exp());
    let inner = c * (1.0 + 3.0 * 0.044715 * x * x);
    (x * s, s + x * s * (1.0 - s) * inner)
}

#[test]
fn a_layer_is_its_formula() {
    let toml = "stage = [{square = 3, units_per_pixel = 2, layers = 2}, {units_per_pixel = 3, layers = 2}]";
    let model = model(toml, 5, 6, 3, 0.3);
    let images = 37;
    for (stage, layer) in [(0, 1), (1, 0)] {
        let (weight, bias) = (
            model.parameter(stage, StageTensor::HiddenWeight(layer)),
            model.parameter(stage, StageTensor::HiddenBias(layer)),
        );
        let spec = &model.tensors[model.index(stage, StageTensor::HiddenWeight(layer))];
        let units = spec.columns();
        for isa in Isa::available() {
            let mut run = MaskedLayer::new(isa, &model, stage, layer, images);
            assert_eq!(run.unmasked(), spec.unmasked());
            // Places beyond the last image hold nothing.
            run.set_inputs(|i, u| if i < images { number(i, u, 0) } else { 0.0 });
            run.forward();
            let outputs: Vec<_> = (0..images).map(|i| run.row(true, i)).collect();
            run.set_derivatives(|i, u| if i < images { number(i, u, 1) } else { 0.0 });
            let gradient = run.backward();
            let mut want = vec![0.0; units * units];
            for (image, outputs) in outputs.iter().enumerate() {
                let mut below = vec![0.0; units];
                for row in 0..units {
                    let read = spec.read(row);
                    let sum: f64 = (0..read)
                        .map(|k| {
                            f64::from(weight[row * units + k]) * f64::from(number(image, k, 0))
                        })
                        .sum();
                    let (value, slope) = gelu(sum + f64::from(bias[row]));
                    assert!(
                        (f64::from(outputs[row]) - value).abs() < 1e-5,
                        "{isa:?} {row}"
                    );
                    let delta = f64::from(number(image, row, 1)) * slope;
                    for k in 0..read {
                        below[k] += delta * f64::from(weight[row * units + k]);
                        want[row * units + k] += delta * f64::from(number(image, k, 0));
                    }
                }
                for (got, want) in run.row(false, image).iter().zip(&below) {
                    assert!(
                        (f64::from(*got) - want).abs() < 3e-5,
                        "{isa:?} {got} {want}"
                    );
                }
            }
            for (got, want) in gradient.iter().zip(&want) {
                assert!(
                    (f64::from(*got) - want).abs() < 3e-4,
                    "{isa:?} {got} {want}"
                );
            }
        }
    }
}
