//! What `sarm evaluate` says of calorimeter showers.

use crate::evaluate::{LayerMetrics, ShowerEvaluation, ShowerMetrics};

/// The separation powers, a line a quantity; of layers the mean and the worst. Truth in brackets: one half of it against
/// the other.
pub(super) fn summary(found: &ShowerEvaluation) -> Vec<String> {
    let number = |v: Option<f64>| v.map_or("not available".to_string(), |v| format!("{v:.6}"));
    let one = |name: &str, m: &ShowerMetrics| {
        format!(
            "{name:<16} separation {} (truth: {})",
            number(m.separation),
            number(m.separation_halves)
        )
    };
    let mut lines = Vec::new();
    if let Some(ratio) = &found.energy_ratio {
        lines.push(one("energy ratio", ratio));
    }
    lines.push(one("voxel energies", &found.voxels));
    for (name, pick) in LayerMetrics::QUANTITIES {
        let of = |separation: fn(&ShowerMetrics) -> Option<f64>| {
            let layers = found.layers.iter();
            let all: Vec<f64> = layers.filter_map(pick).filter_map(separation).collect();
            let mean = all.iter().sum::<f64>() / all.len() as f64;
            (!all.is_empty()).then(|| (mean, all.into_iter().fold(0.0, f64::max)))
        };
        let Some((mean, worst)) = of(|m| m.separation) else {
            continue;
        };
        let halves = of(|m| m.separation_halves).map(|(mean, _)| mean);
        lines.push(format!(
            "{name:<16} separation {mean:.6} in a layer's mean, {worst:.6} at most (truth: {})",
            number(halves)
        ));
    }
    lines
}
