//! A sum that follows from an energy: what is learnt of one given the other.

use std::collections::BTreeMap;

use sarm::conditions::ConditionConfig;
use sarm::prior::draw::draw;
use sarm::prior::learn::learn;

use crate::support::dice::Dice;

/// Energies of 10 to 100 GeV, as many in each octave, and sums that are 0.85 +- 0.053 of them.
fn showers(count: usize) -> [Vec<f32>; 2] {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let mut unit = || dice.roll(1 << 53) as f64 / (1u64 << 53) as f64;
    let energies: Vec<f32> = (0..count)
        .map(|_| 10f32.powf(1.0 + unit() as f32))
        .collect();
    let sums = energies.iter().map(|energy| {
        let normal = (0..12).map(|_| unit()).sum::<f64>() - 6.0;
        energy * (0.85 + 0.053 * normal) as f32
    });
    let sums = sums.collect();
    [energies, sums]
}

fn mean_and_width(values: &[f64]) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let square = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>();
    (mean, (square / count).sqrt())
}

/// A handful of sums that belong to the other end of the energies would make the response several times too wide.
#[test]
fn a_sum_keeps_to_its_energy_over_a_decade() {
    let [energy, sum] = showers(4000);
    let of_log: Vec<f64> = energy.iter().map(|e| f64::from(e.ln())).collect();
    let of_sum: Vec<f64> = sum.iter().map(|s| f64::from(*s)).collect();
    let (of_log, of_sum) = (mean_and_width(&of_log), mean_and_width(&of_sum));
    let conditions = ConditionConfig {
        names: vec!["energy".into(), "sum".into()],
        total: Some("sum".into()),
        log: vec!["energy".into()],
        mean: vec![of_log.0, of_sum.0],
        scale: vec![of_log.1, of_sum.1],
    };
    let rows: Vec<u32> = (0..4000).collect();
    let (train, held) = rows.split_at(3800);
    let prior = learn(&conditions, &[&energy, &sum], None, [train, held], 1).unwrap();
    let drawn = draw(&prior.unwrap(), &BTreeMap::new(), 3, 0..10_000).unwrap();
    let rows = || drawn["energy"].iter().zip(&drawn["sum"]);
    for (low, high) in [(10.0, 100.0), (10.0, 20.0), (20.0, 50.0), (50.0, 100.0)] {
        let ratios: Vec<f64> = rows()
            .filter(|(energy, _)| (low..=high).contains(*energy))
            .map(|(energy, sum)| f64::from(sum / energy))
            .collect();
        let (mean, width) = mean_and_width(&ratios);
        println!("{low} {high} GeV: {mean:.4} +- {width:.4}");
        assert!((mean - 0.85).abs() < 0.01, "{low} {high} GeV: {mean}");
        assert!(
            (0.8..1.4).contains(&(width / 0.053)),
            "{low} {high} GeV: {width}"
        );
    }
}
