//! D+C: a mixture of logistics, each truncated to the allowed range and renormalised.
//!
//! The 3K parameters of a pixel are K logits of the weights w, K means mu, K logarithms of the scales s,
//! the last two in the mixture's unit.

use super::{LEAST, Space, Support};
use crate::conditions::Budget;
use crate::numeric::Real;

/// Where ln s is held: outside, the density of a pixel would leave what f32 can tell apart.
pub(crate) const LOG_SCALE: (f64, f64) = (-9.0, 9.0);
/// The smallest pixel that is drawn, in units: a nonzero pixel stays one when it is written as f32.
pub(crate) const SMALLEST: f32 = 1e-6;

/// Means further below zero, in scales, leave an exponential tail alone.
pub(crate) const TAIL: f32 = -20.0;

/// ln of a weight of zero.
const NEVER: f64 = -1e30;

/// The most components a mixture may have.
pub const MOST_COMPONENTS: usize = 64;

/// What an image's total says of a pixel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rest {
    /// Nothing, or more is left than a pixel can be: all components are logistics.
    Free,
    /// The first component takes all that is left.
    Offered(Budget),
    /// Too little for two pixels is left: this one takes all of it.
    Certain(Budget),
}

/// One evaluation of the mixture at a pixel.
#[derive(Debug, Clone, Copy)]
pub struct Mixture {
    /// Components (K).
    pub components: usize,
    /// Allowed range and unit.
    pub support: Support,
    /// What the image's total says.
    pub rest: Rest,
}

struct Logistic<T> {
    log_density: T,
    by_mean: T,
    by_log_scale: T,
}

/// ln of a logistic density truncated to (0, upper) at `y`, with derivatives; all in units.
///
/// With z = (y - mu) / s the logistic is e^-z / (s (1 + e^-z)^2), and the mass between 0 and the
/// upper end, sigmoid(b) - sigmoid(a), is sigmoid(b) sigmoid(-a) (1 - e^-(b-a)): no cancellation.
#[inline(always)]
fn truncated_logistic<T: Real>(y: T, mean: T, log_scale: T, upper: T) -> Logistic<T> {
    let one = T::of(1.0);
    let (low, high) = (T::of(LOG_SCALE.0), T::of(LOG_SCALE.1));
    let held = log_scale.larger(low).smaller(high);
    let inverse = (-held).exp();
    let z = (y - mean) * inverse;
    // 1 - 2 sigmoid(-z): the slope of the untruncated logarithm, up to sign.
    let t = one - T::of(2.0) * (-z).sigmoid();
    let a = -mean * inverse;
    let mut log_density = -z - T::of(2.0) * (-z).softplus() - held + a.softplus();
    // Derivatives of -ln(mass): by a, and by b where there is an upper end.
    let by_a = a.sigmoid();
    let mut by_mean = t * inverse - by_a * inverse;
    let mut by_log_scale = z * t - one - by_a * a;
    if upper < T::of(f64::INFINITY) {
        let b = (upper - mean) * inverse;
        let width = upper * inverse;
        let missing = -((-width).exp_m1()); // 1 - e^-(b-a)
        let q = (one - missing) / missing;
        log_density += (-b).softplus() - missing.ln();
        let by_b = (-b).sigmoid();
        by_mean += by_b * inverse;
        by_log_scale += by_b * b + q * width;
    }
    if !(log_scale >= low && log_scale <= high) {
        by_log_scale = T::of(0.0);
    }
    Logistic {
        log_density,
        by_mean,
        by_log_scale,
    }
}

impl Mixture {
    /// -ln f(x) in nats for a density per GeV. `values` holds the pixel's 3K parameters.
    #[inline(always)]
    pub fn nll<T: Real>(&self, x: T, values: &[T]) -> T {
        self.evaluate(x, values, &mut [])
    }

    /// [`nll`](Self::nll), and its derivatives by `values` in `gradient`, which is as long.
    #[inline(always)]
    pub fn nll_and_gradient<T: Real>(&self, x: T, values: &[T], gradient: &mut [T]) -> T {
        self.evaluate(x, values, gradient)
    }

    #[inline(always)]
    fn evaluate<T: Real>(&self, x: T, values: &[T], gradient: &mut [T]) -> T {
        let k = self.components;
        // Components that have no say have no derivatives.
        gradient.fill(T::of(0.0));
        let all = match self.rest {
            Rest::Certain(_) => return T::of(0.0),
            // Nothing is left: the pixel is too small to be told from rounding.
            Rest::Offered(budget) if budget.is_spent() => return T::of(0.0),
            Rest::Offered(budget) => budget.after(x.to_f64() as f32).is_spent(),
            Rest::Free => false,
        };
        let y = self.support.variable(x);
        let (upper, origin) = (self.support.end::<T>(), T::of(self.support.origin()));
        let (logits, rest) = values.split_at(k);
        let (means, log_scales) = rest.split_at(k);
        // ln(w_k TL_k) up to the weights' normalisation; K is at most MOST_COMPONENTS.
        let mut joint = [T::of(NEVER); MOST_COMPONENTS];
        let joint = &mut joint[..k];
        let logistics = match (all, self.rest) {
            (true, _) => k..k,
            (false, Rest::Free) => 0..k,
            (false, _) => 1..k,
        };
        if all {
            joint[0] = logits[0];
        }
        for i in logistics {
            let c = truncated_logistic(y, means[i] + origin, log_scales[i], upper);
            joint[i] = logits[i] + c.log_density;
            if !gradient.is_empty() {
                gradient[k + i] = c.by_mean;
                gradient[2 * k + i] = c.by_log_scale;
            }
        }
        let log_weights = log_sum_exp(logits);
        let log_joint = log_sum_exp(joint);
        if !gradient.is_empty() {
            for i in 0..k {
                let responsibility = (joint[i] - log_joint).exp();
                gradient[i] = (logits[i] - log_weights).exp() - responsibility;
                gradient[k + i] = -responsibility * gradient[k + i];
                gradient[2 * k + i] = -responsibility * gradient[2 * k + i];
            }
        }
        // All that is left has a probability, any other value a density.
        let per_gev = if all {
            T::of(0.0)
        } else {
            self.support.log_slope(x)
        };
        log_weights - log_joint + per_gev
    }

    /// Draw a pixel in GeV: `pick` chooses the component, `place` the quantile inside it, both in (0, 1).
    ///
    /// The inverse is taken through the survival function S(x) = sigmoid((mu - x) / s), which stays
    /// precise when the mean lies far below zero and only the upper tail is left.
    #[inline(always)]
    pub fn draw(&self, values: &[f32], pick: f32, place: f32) -> f32 {
        let k = self.components;
        if let Rest::Certain(budget) = self.rest {
            return budget.remaining;
        }
        let largest = values[..k].iter().fold(f32::NEG_INFINITY, |m, v| m.max(*v));
        let mut total = 0.0;
        for v in &values[..k] {
            total += crate::numeric::exp(*v - largest);
        }
        // Summed again in the same order, so that the last component that adds to the total reaches it.
        let (wanted, mut reached, mut chosen) = (pick * total, 0.0, 0);
        for (i, v) in values[..k].iter().enumerate() {
            let mass = crate::numeric::exp(*v - largest);
            if mass > LEAST {
                chosen = i;
            }
            reached += mass;
            if reached > wanted {
                break;
            }
        }
        if let (Rest::Offered(budget), 0) = (self.rest, chosen) {
            return budget.remaining;
        }
        let upper = match self.support.space {
            Space::Linear => self.support.upper as f32 / self.support.unit as f32,
            Space::Log { .. } => self.support.end(),
        };
        let mean = values[k + chosen] + self.support.origin() as f32;
        let (low, high) = (LOG_SCALE.0 as f32, LOG_SCALE.1 as f32);
        let scale = crate::numeric::exp(values[2 * k + chosen].max(low).min(high));
        // A mean past the middle of a finite range is drawn from the other end, where it is near zero.
        let mirrored = upper.is_finite() && mean > 0.5 * upper;
        let (mean, place) = if mirrored {
            (upper - mean, 1.0 - place)
        } else {
            (mean, place)
        };
        let y = quantile_from_above(mean, scale, upper, place);
        let y = if mirrored { upper - y } else { y };
        match self.support.space {
            Space::Linear => y.max(SMALLEST).min(upper) * self.support.unit as f32,
            Space::Log { lower, .. } => {
                let x = self.support.pixel(y.max(0.0));
                x.min(self.support.largest()).max(lower as f32)
            }
        }
    }
}

/// The value that a logistic truncated to (0, upper) exceeds with probability `place`.
///
/// The survival function sigmoid((mu - x) / s) at the value is S = S(upper) + place (S(0) - S(upper)),
/// and x = mu + s ln((1 - S) / S). With the mean far below zero S is too small for its logarithm to be
/// taken: there S(x) = e^((mu - x) / s), the logistic's tail is an exponential of scale s, and so
/// x = -s ln(r + place (1 - r)) with r = e^(-upper / s).
#[inline(always)]
fn quantile_from_above(mean: f32, scale: f32, upper: f32, place: f32) -> f32 {
    use crate::numeric::{exp, ln, sigmoid};
    if mean < TAIL * scale {
        let rest = if upper.is_finite() {
            exp(-upper / scale)
        } else {
            0.0
        };
        return -scale * ln(rest + place * (1.0 - rest));
    }
    let at_zero = sigmoid(mean / scale);
    let at_upper = if upper.is_finite() {
        sigmoid((mean - upper) / scale)
    } else {
        0.0
    };
    let survival = at_upper + place * (at_zero - at_upper);
    let odds = ((1.0 - survival) / survival).max(1e-37);
    mean + scale * ln(odds)
}

#[inline(always)]
fn log_sum_exp<T: Real>(terms: &[T]) -> T {
    let mut largest = T::of(NEVER);
    for t in terms {
        largest = largest.larger(*t);
    }
    let mut sum = T::of(0.0);
    for t in terms {
        sum += (*t - largest).exp();
    }
    largest + sum.ln()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, unit, words};

    fn cases() -> Vec<(Mixture, Vec<f64>)> {
        let ordinary = vec![
            0.3, -0.8, 1.1, // logits
            -4.0, 2.0, 11.0, // means
            0.4, -1.2, 1.3, // log scales
        ];
        // Means far outside the range, where only a tail of the logistic is left.
        let tails = vec![0.3, -0.8, 1.1, -300.0, 2.0, 130.0, 0.6, -1.2, 0.9];
        // Scales far above the range: nearly flat.
        let flat = vec![0.3, -0.8, 1.1, -300.0, 2.0, 130.0, 5.0, 6.0, 4.0];
        let mixture = |upper, unit| Mixture {
            components: 3,
            support: Support {
                unit,
                upper,
                space: Space::Linear,
            },
            rest: Rest::Free,
        };
        let mut cases = vec![(mixture(f64::INFINITY, 1.0), ordinary.clone())];
        cases.push((mixture(f64::INFINITY, 2.5), ordinary.clone()));
        cases.push((mixture(f64::INFINITY, 1.0), tails.clone()));
        for values in [ordinary, tails, flat] {
            cases.push((mixture(30.0, 1.0), values.clone()));
            cases.push((mixture(30.0, 2.5), values));
        }
        cases.extend(logarithmic());
        cases
    }

    /// In logarithmic space: means within the range and far outside it, narrow and nearly flat.
    fn logarithmic() -> Vec<(Mixture, Vec<f64>)> {
        let ordinary = vec![0.3, -0.8, 1.1, -1.0, 0.7, -3.0, 0.1, -0.6, 0.2];
        let tails = vec![0.3, -0.8, 1.1, -60.0, 0.7, 40.0, 0.6, -1.2, 0.9];
        let mut cases = Vec::new();
        // Logarithmic all over, at the soft end alone, and in between.
        for (upper, unit) in [
            (f64::INFINITY, 1.0),
            (f64::INFINITY, 1e4),
            (30.0, 0.5),
            (30.0, 2.5),
            (30.0, 1e3),
        ] {
            let m = Mixture {
                components: 3,
                support: Support {
                    unit,
                    upper,
                    space: Space::log(unit, 2e-3),
                },
                rest: Rest::Free,
            };
            cases.push((m, ordinary.clone()));
            if upper.is_finite() {
                cases.push((m, tails.clone()));
            }
        }
        cases
    }

    /// The smallest pixel, GeV.
    fn lower(m: &Mixture) -> f64 {
        match m.support.space {
            Space::Linear => 1e-9,
            Space::Log { lower, .. } => lower,
        }
    }

    /// The probability of pixels between the smallest and `end` GeV, by the midpoint rule in ln x.
    fn integral(m: &Mixture, v: &[f64], end: f64) -> f64 {
        let n = 200_000;
        let start = lower(m).ln();
        let step = (end.ln() - start) / f64::from(n);
        let density = |i: i32| {
            let x = (start + (f64::from(i) + 0.5) * step).exp();
            (-m.nll(x, v)).exp() * x * step
        };
        (0..n).map(density).sum()
    }

    #[test]
    fn integrates_to_one() {
        for (m, v) in cases() {
            let end = m.support.upper.min(match m.support.space {
                Space::Linear => 400.0,
                Space::Log { .. } => 1e9,
            });
            let sum = integral(&m, &v, end);
            assert!((sum - 1.0).abs() < 1e-6, "{m:?}: {sum}");
        }
    }

    #[test]
    fn all_that_is_left_has_the_weight_of_the_first_component() {
        for (m, v) in cases() {
            let left = 20.0f32;
            let out_of = m.within(Some(Budget {
                remaining: left,
                tolerance: 1e-4,
            }));
            let all = (-out_of.nll(f64::from(left), &v)).exp();
            let share = v[0].exp() / v[..3].iter().map(|l| l.exp()).sum::<f64>();
            assert!((all - share).abs() < 1e-9, "{m:?}: {all}, not {share}");
            let less = integral(&out_of, &v, out_of.support.upper - 1.5e-4);
            // What lies within the tolerance of all is lost.
            assert!((all + less - 1.0).abs() < 1e-3, "{m:?}: {all} + {less}");
            let narrow: Vec<f32> = v.iter().map(|x| *x as f32).collect();
            let draws = 100_000;
            let takes_all = (0..draws).filter(|i| {
                let w = words(12, Purpose::Synthetic, *i, 0);
                let x = out_of.draw(&narrow, unit(w[1]), unit(w[2]));
                assert!(x > 0.0 && x <= left);
                x == left
            });
            let found = takes_all.count() as f64 / draws as f64;
            assert!((found - share).abs() < 0.01, "{m:?}: {found}, not {share}");
        }
    }

    /// Nothing is drawn below the lower end, and nothing is left below it but what is nothing.
    #[test]
    fn no_crumbs_in_logarithmic_space() {
        for (m, v) in logarithmic() {
            let narrow: Vec<f32> = v.iter().map(|x| *x as f32).collect();
            let lower = lower(&m) as f32;
            for i in 0..20_000u64 {
                let w = words(13, Purpose::Synthetic, i, 0);
                // From one pixel of the lower end to a thousand of them, and beyond the range.
                let remaining =
                    lower * (1.0 + unit(w[0]) * [1.2, 30.0, 1000.0, 3e4][i as usize % 4]);
                let budget = Budget {
                    remaining,
                    tolerance: 0.5 * lower,
                };
                let within = m.within(Some(budget));
                let x = within.draw(&narrow, unit(w[1]), unit(w[2]));
                let left = remaining - x;
                assert!(
                    x >= lower && (left == 0.0 || left >= lower),
                    "{m:?}: {x} of {remaining}"
                );
                let cost: f64 = within.nll(f64::from(x), &v);
                assert!(cost.is_finite());
                match within.rest {
                    Rest::Certain(_) => assert!(x == remaining && cost == 0.0),
                    Rest::Offered(_) => assert!(remaining >= 2.0 * lower),
                    Rest::Free => assert!(remaining > m.support.largest() && left > 0.0),
                }
            }
        }
    }

    /// A mean that ran away is drawn as a number, and scored as one.
    #[test]
    fn draws_of_a_logarithm_are_finite() {
        let (mut m, v) = logarithmic().swap_remove(0);
        assert_eq!(m.support.upper, f64::INFINITY);
        let mut narrow: Vec<f32> = v.iter().map(|x| *x as f32).collect();
        for (lower, mean) in [(2e-3, 300.0), (5.0, 88.0), (5.0, 1e6), (1e-15, -1e6)] {
            m.support.space = Space::log(m.support.unit, lower);
            narrow[3..6].fill(mean);
            for place in [1e-6, 0.5, 1.0 - 1e-6] {
                let x = m.draw(&narrow, 0.4, place);
                assert!(x.is_finite() && x >= lower as f32, "{lower} {mean}: {x}");
                assert!(m.nll(x, &narrow).is_finite(), "{lower} {mean}: {x}");
            }
        }
    }

    #[test]
    fn gradient_is_the_derivative() {
        let out_of = |(m, v): (Mixture, Vec<f64>)| {
            [5.0, 30.0].map(|left| {
                (
                    m.within(Some(Budget {
                        remaining: left,
                        tolerance: 1e-4,
                    })),
                    v.clone(),
                )
            })
        };
        for (m, v) in cases()
            .into_iter()
            .chain(cases().into_iter().flat_map(out_of))
        {
            let inside = |x: &f64| (lower(&m)..=m.support.upper).contains(x);
            for x in [1e-3, 0.7, 5.0, 29.5].into_iter().filter(inside) {
                let mut g = vec![0.0; v.len()];
                m.nll_and_gradient(x, &v, &mut g);
                for i in 0..v.len() {
                    let at = |d: f64| {
                        let mut w = v.clone();
                        w[i] += d;
                        m.nll(x, &w)
                    };
                    let want = (at(1e-5) - at(-1e-5)) / 2e-5;
                    assert!(
                        (g[i] - want).abs() < 1e-7 * (1.0 + want.abs()),
                        "{m:?} {x} {i}"
                    );
                }
            }
        }
    }

    #[test]
    fn single_precision_follows_double() {
        for (m, v) in cases() {
            let narrow: Vec<f32> = v.iter().map(|x| *x as f32).collect();
            for x in [3e-3f32, 0.7, 5.0, 29.5] {
                let wide: f64 = m.nll(f64::from(x), &v);
                let mut g = vec![0.0; v.len()];
                let mut want = vec![0.0; v.len()];
                let nll = m.nll_and_gradient(x, &narrow, &mut g);
                m.nll_and_gradient(f64::from(x), &v, &mut want);
                assert!((f64::from(nll) - wide).abs() < 2e-5 * (1.0 + wide.abs()));
                for (g, want) in g.iter().zip(&want) {
                    assert!(
                        (f64::from(*g) - want).abs() < 1e-4 * (1.0 + want.abs()),
                        "{m:?} {x}"
                    );
                }
            }
        }
    }

    /// Kolmogorov-Smirnov at a million draws: its statistic exceeds 1.95 / sqrt(n) once in 1000 tries.
    #[test]
    fn draws_follow_the_density() {
        for (m, v) in cases() {
            let narrow: Vec<f32> = v.iter().map(|x| *x as f32).collect();
            let n = 1_000_000;
            let mut drawn: Vec<f32> = (0..n)
                .map(|i| {
                    let w = words(11, Purpose::Synthetic, i as u64, 0);
                    m.draw(&narrow, unit(w[1]), unit(w[2]))
                })
                .collect();
            drawn.sort_unstable_by(f32::total_cmp);
            assert!(drawn[0] > 0.0 && f64::from(drawn[n - 1]) <= m.support.upper);
            // The distribution function by Simpson's rule between successive thousandths of the sample.
            let (mut cdf, mut at, mut worst) = (0.0, 0.0, 0.0f64);
            if let Space::Log { lower, .. } = m.support.space {
                at = lower;
            }
            for q in (0..n).step_by(1000) {
                let x = f64::from(drawn[q]);
                let pieces = 50;
                let step = (x - at) / f64::from(pieces);
                for p in 0..pieces {
                    let a = at + f64::from(p) * step;
                    let f = |x: f64| (-m.nll(x.max(1e-12), &v)).exp();
                    cdf += step / 6.0 * (f(a) + 4.0 * f(a + step / 2.0) + f(a + step));
                }
                at = x;
                worst = worst.max((cdf - q as f64 / n as f64).abs());
            }
            assert!(worst < 1.95 / (n as f64).sqrt(), "{m:?}: {worst}");
        }
    }
}
