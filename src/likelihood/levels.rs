//! D+D: a grid of positive levels and a softmax over them.
//!
//! The grid is even in t = x^(1/p): level k = 1 .. N lies at (k D)^p with D = maximum^(1/p) / N. A
//! positive pixel belongs to the level nearest in t, never to zero; level k's cell runs from
//! ((k - 1/2) D)^p, or from 0 for the first, to ((k + 1/2) D)^p.

use super::LEAST;
use crate::numeric::Real;

/// The positive levels of D+D.
#[derive(Debug, Clone, PartialEq)]
pub struct Grid {
    levels: usize,
    power: f64,
    step: f64,
}

impl Grid {
    /// `levels` levels up to `maximum` GeV, even in x^(1/power).
    pub fn new(levels: usize, power: f64, maximum: f64) -> Self {
        Self {
            levels,
            power,
            step: maximum.powf(1.0 / power) / levels as f64,
        }
    }

    /// Number of levels (N).
    pub fn len(&self) -> usize {
        self.levels
    }

    /// Whether there are no levels.
    pub fn is_empty(&self) -> bool {
        self.levels == 0
    }

    /// Upper end of the last cell in GeV: no pixel lies beyond.
    pub fn end(&self) -> f64 {
        ((self.levels as f64 + 0.5) * self.step).powf(self.power)
    }

    /// Level of a positive pixel, counted from 0; `None` beyond the grid's end.
    pub fn level(&self, x: f32) -> Option<usize> {
        let t = f64::from(x).powf(1.0 / self.power) / self.step;
        let k = (t + 0.5).floor().max(1.0);
        (k <= self.levels as f64).then(|| k as usize - 1)
    }

    /// GeV of a level counted from 0.
    pub fn value(&self, level: usize) -> f32 {
        ((level as f64 + 1.0) * self.step).powf(self.power) as f32
    }

    /// ln of the width in GeV of a level's cell: what turns its mass into a density.
    pub fn log_width(&self, level: usize) -> f64 {
        let k = level as f64 + 1.0;
        let low = if level == 0 {
            0.0
        } else {
            ((k - 0.5) * self.step).powf(self.power)
        };
        (((k + 0.5) * self.step).powf(self.power) - low).ln()
    }
}

/// Partial sums of the softmax: a fixed number, so that the sum's order is fixed and still vectorises.
const PARTIAL: usize = 16;

/// `-ln softmax(logits)[level]`; `logits` become the derivatives, `softmax - [level]`.
#[inline(always)]
pub fn softmax_nll<T: Real>(logits: &mut [T], level: usize) -> T {
    let mut largest = T::of(-1e30);
    for v in logits.iter() {
        largest = largest.larger(*v);
    }
    let chosen = logits[level] - largest;
    for v in logits.iter_mut() {
        *v = (*v - largest).exp();
    }
    let mut partial = [T::of(0.0); PARTIAL];
    for chunk in logits.chunks(PARTIAL) {
        for (p, v) in partial.iter_mut().zip(chunk) {
            *p += *v;
        }
    }
    let mut sum = T::of(0.0);
    for p in partial {
        sum += p;
    }
    let inverse = T::of(1.0) / sum;
    for v in logits.iter_mut() {
        *v = *v * inverse;
    }
    logits[level] = logits[level] - T::of(1.0);
    sum.ln() - chosen
}

/// Sum of up to [`PARTIAL`] terms; whole runs in a tree, which vectorises.
#[inline(always)]
fn sum(terms: &[f32]) -> f32 {
    let Ok(v) = <&[f32; PARTIAL]>::try_from(terms) else {
        return terms.iter().fold(0.0, |s, v| s + v);
    };
    let mut half = [0.0; PARTIAL / 2];
    for i in 0..PARTIAL / 2 {
        half[i] = v[i] + v[i + PARTIAL / 2];
    }
    let quarter = [0, 1, 2, 3].map(|i| half[i] + half[i + 4]);
    (quarter[0] + quarter[2]) + (quarter[1] + quarter[3])
}

/// The level, counted from 0, that the quantile `pick` in (0, 1) falls on; `logits` are used up.
///
/// Found in two strides, run and level, so that no chain of sums is as long as the grid.
#[inline(always)]
pub fn draw(logits: &mut [f32], pick: f32) -> usize {
    let mut largest = f32::NEG_INFINITY;
    for v in logits.iter() {
        largest = largest.larger(*v);
    }
    for v in logits.iter_mut() {
        *v = crate::numeric::exp(*v - largest);
    }
    let mut total = 0.0;
    for run in logits.chunks(PARTIAL) {
        total += sum(run);
    }
    // Summed again in the same order, so that the last level that adds to the total reaches it:
    // a level is drawn only if it has mass, whatever the rounding.
    let wanted = pick * total;
    let mut reached = 0.0;
    // Where `pick` rounds up to the whole total: the last level with mass.
    let mut chosen = logits.iter().rposition(|v| *v > LEAST).unwrap_or(0);
    for (i, run) in logits.chunks(PARTIAL).enumerate() {
        let after = reached + sum(run);
        if after <= wanted {
            reached = after;
            continue;
        }
        for (level, v) in run.iter().enumerate() {
            if *v > LEAST {
                chosen = i * PARTIAL + level;
            }
            reached += *v;
            if reached > wanted {
                break;
            }
        }
        break;
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_sit_in_their_cells() {
        for (levels, power, maximum) in [(300, 1.0, 285.3), (80, 2.0, 120.0), (64, 3.0, 281.7)] {
            let g = Grid::new(levels, power, maximum);
            let mut end = 0.0;
            for k in 0..levels {
                assert_eq!(g.level(g.value(k)), Some(k));
                assert!(g.value(k) > 0.0);
                end += g.log_width(k).exp();
            }
            assert!((end - g.end()).abs() < 1e-9 * end, "cells tile the range");
            assert!((f64::from(g.value(levels - 1)) - maximum).abs() < 1e-4);
            assert_eq!(g.level(1e-30), Some(0));
            assert_eq!(g.level(g.end() as f32 * 1.001), None);
        }
    }

    #[test]
    fn levels_without_mass_are_never_drawn() {
        let largest_pick = 1.0 - f32::EPSILON / 2.0;
        for alive in [0, 5, 15, 16, 39] {
            for pick in [f32::EPSILON / 2.0, 0.5, largest_pick] {
                let mut logits = vec![-40.0f32; 40];
                logits[alive] = 0.0;
                assert_eq!(draw(&mut logits, pick), alive);
            }
        }
        let mut even = vec![0.0f32; 300];
        assert_eq!(draw(&mut even, largest_pick), 299);
    }

    #[test]
    fn softmax_sums_to_one_and_its_gradient_is_right() {
        let logits: Vec<f64> = (0..40).map(|i| (f64::from(i) * 1.7).sin() * 3.0).collect();
        let total: f64 = (0..40)
            .map(|k| (-softmax_nll(&mut logits.clone(), k)).exp())
            .sum();
        assert!((total - 1.0).abs() < 1e-12);
        // Chi-square of a million draws on 39 degrees of freedom: 72 is exceeded once in 1000 tries.
        let narrow: Vec<f32> = logits.iter().map(|v| *v as f32).collect();
        let mut count = [0usize; 40];
        for i in 0..1_000_000u64 {
            let w = crate::random::words(4, crate::random::Purpose::Synthetic, i, 0);
            count[draw(&mut narrow.clone(), crate::random::unit(w[1]))] += 1;
        }
        let chi2: f64 = (0..40)
            .map(|k| {
                let want = (-softmax_nll(&mut logits.clone(), k)).exp() * 1e6;
                (count[k] as f64 - want).powi(2) / want
            })
            .sum();
        assert!(chi2 < 72.0, "{chi2}");
        let mut gradient = logits.clone();
        softmax_nll(&mut gradient, 7);
        for i in 0..40 {
            let at = |d: f64| {
                let mut w = logits.clone();
                w[i] += d;
                softmax_nll(&mut w, 7)
            };
            let want = (at(1e-5) - at(-1e-5)) / 2e-5;
            assert!((gradient[i] - want).abs() < 1e-8);
        }
    }
}
