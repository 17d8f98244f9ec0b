//! The line that SciPy's `curve_fit` finds with bounds of 0: JetNet's way to its Frechet physics distance.
//!
//! A line through points needs no search. JetNet searches for it, and the search ends early where distances are small: to say
//! what JetNet says, every step of it is taken here. It is SciPy 1.17's trust-region reflective algorithm
//! (`scipy.optimize._lsq.trf`; Branch, Coleman, Li, SIAM J. Sci. Comput. 21, 1 (1999)) for two parameters from 0 upwards, with
//! its defaults: start at 1 and 1, derivatives by differences, tolerances of 1e-8 for cost, step and gradient.

/// Two parameters, or what belongs to each: intercept and slope.
type Two = [f64; 2];

const TOLERANCE: f64 = 1e-8;
/// SciPy's limit for two parameters.
const MOST_EVALUATIONS: usize = 200;
/// Step of a derivative by differences, for parameters up to 1.
const STEP: f64 = 1.490_116_119_384_765_6e-8;

/// Where the search ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Line {
    pub(super) intercept: f64,
    pub(super) slope: f64,
    /// Of the intercept, by the derivatives there and the scatter about the line.
    pub(super) error: f64,
}

/// Intercept and slope, both at least 0, through `y` at `x`; `None` where the search does not end, or ends nowhere.
/// At least three points.
pub(super) fn line(x: &[f64], y: &[f64]) -> Option<Line> {
    let problem = Problem { x, y };
    let mut at = [1.0, 1.0];
    let mut residuals = problem.residuals(at);
    let mut derivatives = problem.derivatives(at, &residuals);
    let mut cost = 0.5 * dot(&residuals, &residuals);
    let mut gradient = gradient_of(&derivatives, &residuals);
    let (scaling, _) = room(at, gradient);
    let mut radius = norm([0, 1].map(|k| at[k] / scaling[k].sqrt()));
    if radius == 0.0 {
        radius = 1.0;
    }
    let (mut evaluations, mut damping) = (1, 0.0);
    loop {
        let (scaling, slopes) = room(at, gradient);
        let steepness = largest([0, 1].map(|k| (gradient[k] * scaling[k]).abs()));
        if steepness < TOLERANCE {
            break;
        }
        if evaluations >= MOST_EVALUATIONS || !steepness.is_finite() {
            return None;
        }
        let stretch = scaling.map(f64::sqrt);
        let quadratic = Quadratic {
            columns: [0, 1].map(|k| derivatives[k].iter().map(|v| v * stretch[k]).collect()),
            diagonal: [0, 1].map(|k| gradient[k] * slopes[k]),
            gradient: [0, 1].map(|k| stretch[k] * gradient[k]),
        };
        let decomposed = quadratic.decomposed(&residuals);
        let inside = f64::max(0.995, 1.0 - steepness);
        let mut ended = false;
        let mut better = None;
        while better.is_none() && evaluations < MOST_EVALUATIONS {
            let (step, used) = decomposed.step(x.len(), radius, damping);
            damping = used;
            let chosen = quadratic.choose(at, step, stretch, radius, inside);
            let next = [0, 1].map(|k| {
                let place = at[k] + chosen.step[k];
                // Just above the bound.
                if place <= 0.0 {
                    f64::from_bits(1)
                } else {
                    place
                }
            });
            let new_residuals = problem.residuals(next);
            evaluations += 1;
            let length = norm(chosen.stretched);
            if !new_residuals.iter().all(|r| r.is_finite()) {
                radius = 0.25 * length;
                continue;
            }
            let new_cost = 0.5 * dot(&new_residuals, &new_residuals);
            let gained = cost - new_cost;
            let ratio = match chosen.promised {
                promised if promised > 0.0 => gained / promised,
                promised if promised == 0.0 && gained == 0.0 => 1.0,
                _ => 0.0,
            };
            let new_radius = match ratio {
                ratio if ratio < 0.25 => 0.25 * length,
                ratio if ratio > 0.75 && length > 0.95 * radius => 2.0 * radius,
                _ => radius,
            };
            if gained > 0.0 {
                better = Some((next, new_residuals, new_cost));
            }
            let flat = gained < TOLERANCE * cost && ratio > 0.25;
            let short = norm(chosen.step) < TOLERANCE * (TOLERANCE + norm(at));
            if flat || short {
                ended = true;
                break;
            }
            damping *= radius / new_radius;
            radius = new_radius;
        }
        if let Some((next, new_residuals, new_cost)) = better {
            (at, residuals, cost) = (next, new_residuals, new_cost);
            derivatives = problem.derivatives(at, &residuals);
            gradient = gradient_of(&derivatives, &residuals);
        }
        if ended {
            break;
        }
    }
    let error = (2.0 * cost / (x.len() as f64 - 2.0) * inverse_of_first(&derivatives)).sqrt();
    let found = Line {
        intercept: at[0],
        slope: at[1],
        error,
    };
    (at[0].is_finite() && at[1].is_finite() && error.is_finite()).then_some(found)
}

struct Problem<'a> {
    x: &'a [f64],
    y: &'a [f64],
}

impl Problem<'_> {
    fn residuals(&self, at: Two) -> Vec<f64> {
        (self.x.iter().zip(self.y))
            .map(|(x, y)| (at[0] + at[1] * x) - y)
            .collect()
    }

    /// By a step upwards in each parameter.
    fn derivatives(&self, at: Two, residuals: &[f64]) -> [Vec<f64>; 2] {
        [0, 1].map(|k| {
            let mut moved = at;
            moved[k] = at[k] + STEP * at[k].abs().max(1.0);
            let step = moved[k] - at[k];
            (self.residuals(moved).iter().zip(residuals))
                .map(|(a, b)| (a - b) / step)
                .collect()
        })
    }
}

/// Coleman and Li's scaling, and its derivative: the distance to the bound where the cost falls towards it, else 1.
fn room(at: Two, gradient: Two) -> (Two, Two) {
    let towards = gradient.map(|g| g > 0.0);
    (
        [0, 1].map(|k| if towards[k] { at[k] } else { 1.0 }),
        towards.map(|t| if t { 1.0 } else { 0.0 }),
    )
}

/// The cost near a place, in stretched parameters.
struct Quadratic {
    /// Derivatives of the residuals, by parameter.
    columns: [Vec<f64>; 2],
    /// What bounds add to the second derivatives.
    diagonal: Two,
    gradient: Two,
}

/// A step, and what is expected of it.
struct Chosen {
    step: Two,
    stretched: Two,
    promised: f64,
}

impl Quadratic {
    /// `J s`
    fn along(&self, s: Two) -> Vec<f64> {
        (self.columns[0].iter().zip(&self.columns[1]))
            .map(|(a, b)| a * s[0] + b * s[1])
            .collect()
    }

    /// Value at `s`.
    fn at(&self, s: Two) -> f64 {
        let along = self.along(s);
        0.5 * (dot(&along, &along) + self.bent(s, s)) + dot(&s, &self.gradient)
    }

    fn bent(&self, s: Two, t: Two) -> f64 {
        s[0] * self.diagonal[0] * t[0] + s[1] * self.diagonal[1] * t[1]
    }

    /// The smallest value on `from + t s` for t between two ends: t and the value.
    fn least(&self, from: Two, s: Two, ends: Two) -> (f64, f64) {
        let (v, u) = (self.along(s), self.along(from));
        let a = 0.5 * (dot(&v, &v) + self.bent(s, s));
        let b = dot(&self.gradient, &s) + dot(&u, &v) + self.bent(from, s);
        let c = 0.5 * dot(&u, &u) + dot(&self.gradient, &from) + 0.5 * self.bent(from, from);
        let value = |t: f64| t * (a * t + b) + c;
        let mut best = (ends[0], value(ends[0]));
        let bottom = -0.5 * b / a;
        let inner = (a != 0.0 && ends[0] < bottom && bottom < ends[1]).then_some(bottom);
        for t in [Some(ends[1]), inner].into_iter().flatten() {
            if value(t) < best.1 {
                best = (t, value(t));
            }
        }
        best
    }

    /// The best of the step itself, of the step reflected at the bound, and of the way straight down.
    fn choose(&self, at: Two, stretched: Two, stretch: Two, radius: f64, inside: f64) -> Chosen {
        let back = |s: Two| [0, 1].map(|k| stretch[k] * s[k]);
        let mut step = back(stretched);
        if [0, 1].iter().all(|k| at[*k] + step[*k] >= 0.0) {
            return Chosen {
                step,
                stretched,
                promised: -self.at(stretched),
            };
        }
        let (reach, hit) = to_bound(at, step);
        let mut reflected = [0, 1].map(|k| if hit[k] { -stretched[k] } else { stretched[k] });
        let mut stretched = stretched.map(|s| s * reach);
        step = step.map(|s| s * reach);
        let on_bound = [0, 1].map(|k| at[k] + step[k]);
        let to_radius = to_radius(stretched, reflected, radius);
        let (bound, _) = to_bound(on_bound, back(reflected));
        let far = bound.min(to_radius);
        let ends = if far > 0.0 {
            let high = if far == bound {
                inside * bound
            } else {
                to_radius
            };
            [(1.0 - inside) * reach / far, high]
        } else {
            [0.0, -1.0]
        };
        let mut by_reflection = f64::INFINITY;
        if ends[0] <= ends[1] {
            let (t, value) = self.least(stretched, reflected, ends);
            reflected = [0, 1].map(|k| reflected[k] * t + stretched[k]);
            by_reflection = value;
        }
        step = step.map(|s| s * inside);
        stretched = stretched.map(|s| s * inside);
        let by_step = self.at(stretched);
        let down = self.gradient.map(|g| -g);
        let to_radius = radius / norm(down);
        let (bound, _) = to_bound(at, back(down));
        let far = if bound < to_radius {
            inside * bound
        } else {
            to_radius
        };
        let (t, by_descent) = self.least([0.0; 2], down, [0.0, far]);
        let down = down.map(|s| s * t);
        if by_step < by_reflection && by_step < by_descent {
            Chosen {
                step,
                stretched,
                promised: -by_step,
            }
        } else if by_reflection < by_step && by_reflection < by_descent {
            Chosen {
                step: back(reflected),
                stretched: reflected,
                promised: -by_reflection,
            }
        } else {
            Chosen {
                step: back(down),
                stretched: down,
                promised: -by_descent,
            }
        }
    }

    /// Singular values of the derivatives with the bounds' rows below them, and what solves for steps; the larger value
    /// first. One rotation makes two columns orthogonal (Jacobi).
    fn decomposed(&self, residuals: &[f64]) -> Decomposed {
        let mut columns = [0, 1].map(|k| {
            let mut column = self.columns[k].clone();
            column.extend([0, 1].map(|row| {
                if row == k {
                    self.diagonal[k].sqrt()
                } else {
                    0.0
                }
            }));
            column
        });
        let mut rotation = [[1.0, 0.0], [0.0, 1.0]];
        // The second and third turn what rounding left.
        for _ in 0..3 {
            let (a, b) = (dot(&columns[0], &columns[0]), dot(&columns[1], &columns[1]));
            let c = dot(&columns[0], &columns[1]);
            if c == 0.0 {
                break;
            }
            let zeta = (b - a) / (2.0 * c);
            let t = zeta.signum() / (zeta.abs() + zeta.hypot(1.0));
            let cos = 1.0 / t.hypot(1.0);
            let sin = cos * t;
            let [first, second] = &mut columns;
            for (x, y) in first.iter_mut().zip(second.iter_mut()) {
                (*x, *y) = (cos * *x - sin * *y, sin * *x + cos * *y);
            }
            for row in &mut rotation {
                *row = [cos * row[0] - sin * row[1], sin * row[0] + cos * row[1]];
            }
        }
        let mut values = [0, 1].map(|k| dot(&columns[k], &columns[k]).sqrt());
        // Both times the singular value.
        let mut projected = [0, 1].map(|k| dot(&columns[k][..residuals.len()], residuals));
        if values[1] > values[0] {
            values.swap(0, 1);
            projected.swap(0, 1);
            rotation = rotation.map(|row| [row[1], row[0]]);
        }
        Decomposed {
            values,
            projected,
            rotation,
        }
    }
}

struct Decomposed {
    values: Two,
    /// Singular values times the projected residuals.
    projected: Two,
    /// Rows: parameters; columns: singular vectors.
    rotation: [Two; 2],
}

impl Decomposed {
    /// The best step within `radius`, and the damping that it takes (Moré, Lect. Notes Math. 630, 105 (1977)).
    fn step(&self, points: usize, radius: f64, damping: f64) -> (Two, f64) {
        let turned = |weights: Two| {
            [0, 1].map(|k| -(self.rotation[k][0] * weights[0] + self.rotation[k][1] * weights[1]))
        };
        let squares = self.values.map(|v| v * v);
        let damped = |alpha: f64| [0, 1].map(|k| self.projected[k] / (squares[k] + alpha));
        let phi = |alpha: f64| {
            let length = norm(damped(alpha));
            let slope: f64 = (0..2)
                .map(|k| self.projected[k].powi(2) / (squares[k] + alpha).powi(3))
                .sum();
            (length - radius, -slope / length)
        };
        let full = self.values[1] > f64::EPSILON * points as f64 * self.values[0];
        if full {
            let step = turned(damped(0.0));
            if norm(step) <= radius {
                return (step, 0.0);
            }
        }
        let mut upper = norm(self.projected) / radius;
        let mut lower = 0.0;
        if full {
            let (value, slope) = phi(0.0);
            lower = -value / slope;
        }
        let guess = |lower: f64, upper: f64| f64::max(0.001 * upper, (lower * upper).sqrt());
        let mut alpha = match !full && damping == 0.0 {
            true => guess(lower, upper),
            false => damping,
        };
        for _ in 0..10 {
            if alpha < lower || alpha > upper {
                alpha = guess(lower, upper);
            }
            let (value, slope) = phi(alpha);
            if value < 0.0 {
                upper = alpha;
            }
            let ratio = value / slope;
            lower = f64::max(lower, alpha - ratio);
            alpha -= (value + radius) * ratio / radius;
            if value.abs() < 0.01 * radius {
                break;
            }
        }
        let step = turned(damped(alpha));
        let factor = radius / norm(step);
        (step.map(|s| s * factor), alpha)
    }
}

/// How many steps `s` lead from `at` to the first bound, and which parameters meet it there.
fn to_bound(at: Two, s: Two) -> (f64, [bool; 2]) {
    let steps = [0, 1].map(|k| match s[k] {
        s if s < 0.0 => -at[k] / s,
        _ => f64::INFINITY,
    });
    let least = steps[0].min(steps[1]);
    (least, [0, 1].map(|k| s[k] != 0.0 && steps[k] == least))
}

/// How many steps `s` lead from inside the radius to it.
fn to_radius(from: Two, s: Two, radius: f64) -> f64 {
    let (a, b) = (dot(&s, &s), dot(&from, &s));
    let c = (dot(&from, &from) - radius * radius).min(0.0);
    let q = -(b + (b * b - a * c).sqrt().copysign(b));
    f64::max(q / a, c / q)
}

/// First diagonal element of `(J^T J)^-1`; infinite where both columns are one.
fn inverse_of_first(columns: &[Vec<f64>; 2]) -> f64 {
    let (b, c) = (dot(&columns[1], &columns[1]), dot(&columns[0], &columns[1]));
    // The part of the first column that the second one does not hold.
    let rest: Vec<f64> = (columns[0].iter().zip(&columns[1]))
        .map(|(x, y)| x - c / b * y)
        .collect();
    1.0 / dot(&rest, &rest)
}

fn gradient_of(columns: &[Vec<f64>; 2], residuals: &[f64]) -> Two {
    [0, 1].map(|k| dot(&columns[k], residuals))
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn norm(v: Two) -> f64 {
    dot(&v, &v).sqrt()
}

fn largest(v: Two) -> f64 {
    // NaN stays NaN: the search then ends without an answer.
    if v.iter().any(|x| x.is_nan()) {
        f64::NAN
    } else {
        v[0].max(v[1])
    }
}
