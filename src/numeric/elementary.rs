//! exp, ln and what is built from them, for one number or sixteen.

use super::Lanes;

/// ln 2 in two parts: the first has so few bits that its product with an exponent is exact.
const LN_2_HIGH: f32 = 355.0 / 512.0;
const LN_2_LOW: f32 = -2.121_944_4e-4;

/// Arguments beyond which e^x leaves the normal f32.
const EXP_LOW: f32 = -87.0;
const EXP_HIGH: f32 = 88.0;

/// e^x, relative error below 2e-7; x outside -87 ..= 88 is taken as the nearer end.
///
/// Cody and Waite reduction to |r| <= ln(2)/2, then the Taylor polynomial of degree 7 (its first
/// omitted term is 5e-9).
#[inline(always)]
pub fn exp<L: Lanes>(x: L) -> L {
    let x = x.max(L::splat(EXP_LOW)).min(L::splat(EXP_HIGH));
    let magic = L::splat(12_582_912.0);
    let shifted = x.fma(L::splat(std::f32::consts::LOG2_E), magic);
    let n = shifted - magic;
    let r = n.fma(L::splat(-LN_2_HIGH), x);
    let r = n.fma(L::splat(-LN_2_LOW), r);
    let mut p = L::splat(1.0 / 5040.0);
    for c in [
        1.0 / 720.0,
        1.0 / 120.0,
        1.0 / 24.0,
        1.0 / 6.0,
        0.5,
        1.0,
        1.0,
    ] {
        p = p.fma(r, L::splat(c));
    }
    p * shifted.exp2_of_shifted()
}

/// ln x for positive normal x, absolute error below 1e-7 relative to max(1, |ln x|).
///
/// x = m 2^e with m near 1, then ln m = 2 atanh((m - 1) / (m + 1)) as a series.
#[inline(always)]
pub fn ln<L: Lanes>(x: L) -> L {
    let (m, e) = x.mantissa_exponent();
    let one = L::splat(1.0);
    let t = (m - one) / (m + one);
    let t2 = t * t;
    let mut p = L::splat(2.0 / 11.0);
    for c in [2.0 / 9.0, 2.0 / 7.0, 2.0 / 5.0, 2.0 / 3.0] {
        p = p.fma(t2, L::splat(c));
    }
    // ln m = 2 t + t^3 p(t^2): the large part last, so that its rounding is the only one that shows.
    let small = e.fma(L::splat(LN_2_LOW), t * t2 * p);
    let small = (t + t) + small;
    e.fma(L::splat(LN_2_HIGH), small)
}

/// e^x - 1, accurate near zero.
#[inline(always)]
pub fn expm1(x: f32) -> f32 {
    if x.abs() > 0.35 {
        exp(x) - 1.0
    } else {
        let mut p = 1.0f32 / 40_320.0;
        for c in [
            1.0 / 5040.0,
            1.0 / 720.0,
            1.0 / 120.0,
            1.0 / 24.0,
            1.0 / 6.0,
            0.5,
            1.0,
        ] {
            p = p.mul_add(x, c);
        }
        p * x
    }
}

/// 1 / (1 + e^-x).
#[inline(always)]
pub fn sigmoid<L: Lanes>(x: L) -> L {
    let one = L::splat(1.0);
    one / (one + exp(-x))
}

/// ln(1 + e^x), without overflow.
#[inline(always)]
pub fn softplus<L: Lanes>(x: L) -> L {
    let zero = L::splat(0.0);
    let one = L::splat(1.0);
    x.max(zero) + ln(one + exp(-x.max(-x)))
}

const GELU_SCALE: f32 = 1.595_769; // 2 sqrt(2 / pi)
const GELU_CUBIC: f32 = 0.044_715;

/// GELU, the tanh form: x sigmoid(2 sqrt(2/pi) (x + 0.044715 x^3)) (Hendrycks and Gimpel 2016).
#[inline(always)]
pub fn gelu<L: Lanes>(x: L) -> L {
    let inner = (x * x).fma(L::splat(GELU_SCALE * GELU_CUBIC), L::splat(GELU_SCALE)) * x;
    x * sigmoid(inner)
}

/// [`gelu`] and its derivative.
#[inline(always)]
pub fn gelu_and_slope<L: Lanes>(x: L) -> (L, L) {
    let one = L::splat(1.0);
    let x2 = x * x;
    let inner = x2.fma(L::splat(GELU_SCALE * GELU_CUBIC), L::splat(GELU_SCALE)) * x;
    let s = sigmoid(inner);
    let value = x * s;
    let inner_slope = x2.fma(
        L::splat(3.0 * GELU_SCALE * GELU_CUBIC),
        L::splat(GELU_SCALE),
    );
    (value, (value * (one - s)).fma(inner_slope, s))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numeric::{Isa, Kernel, LANES, Vector};

    fn close(what: &str, got: f32, want: f64, scale: f64, tolerance: f64) {
        let error = (f64::from(got) - want).abs() / scale;
        assert!(error < tolerance, "{what}: {got} for {want}, error {error}");
    }

    #[test]
    fn exp_and_ln_match_libm() {
        for i in 0..200_000 {
            let x = -86.0 + 173.0 * (i as f32 + 0.5) / 200_000.0;
            close("exp", exp(x), f64::from(x).exp(), f64::from(x).exp(), 2e-7);
            let y = exp(x * 0.99);
            let want = f64::from(y).ln();
            close("ln", ln(y), want, want.abs().max(1.0), 1.5e-7);
            let z = x * 0.1;
            let want = f64::from(z).exp_m1();
            close("expm1", expm1(z), want, want.abs().max(1e-3), 5e-6);
            let want = f64::from(x).exp().ln_1p();
            close("softplus", softplus(x), want, want.max(1.0), 3e-7);
        }
    }

    #[test]
    fn gelu_slope_is_the_derivative() {
        for i in -800..800 {
            let x = f64::from(i) * 0.01 + 0.005;
            let f =
                |x: f64| x / (1.0 + (-1.595_769_121_605_731 * (x + 0.044_715 * x.powi(3))).exp());
            let slope = (f(x + 1e-6) - f(x - 1e-6)) / 2e-6;
            let (value, got) = gelu_and_slope(x as f32);
            close("gelu", value, f(x), 1.0, 1e-6);
            close("slope", got, slope, 1.0, 2e-6);
            assert_eq!(value.to_bits(), gelu(x as f32).to_bits());
        }
    }

    struct Everything<'a>(&'a [f32]);
    impl Kernel for Everything<'_> {
        type Output = Vec<u32>;
        #[inline(always)]
        fn run<V: Vector>(self) -> Vec<u32> {
            let mut out = Vec::new();
            for chunk in self.0.chunks_exact(LANES) {
                // SAFETY: chunks_exact gives LANES numbers.
                let x = unsafe { V::load(chunk.as_ptr()) };
                let (g, s) = gelu_and_slope(x);
                for v in [exp(x), ln(exp(x)), sigmoid(x), softplus(x), gelu(x), g, s] {
                    out.extend(v.to_array().map(f32::to_bits));
                }
                out.push(x.sum().to_bits());
            }
            out
        }
    }

    #[test]
    fn every_instruction_set_gives_the_same_bits() {
        let x: Vec<f32> = (0..16_000)
            .map(|i| ((i * 7919) % 16_000) as f32 * 0.01 - 80.0)
            .collect();
        let want = Isa::Portable.dispatch(Everything(&x));
        for isa in Isa::available() {
            assert!(isa.dispatch(Everything(&x)) == want, "{isa:?}");
        }
        // A single number goes through the same steps as a lane.
        for (i, v) in x.iter().take(LANES).enumerate() {
            assert_eq!(want[i], exp(*v).to_bits());
        }
    }
}
