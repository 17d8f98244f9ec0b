//! What the likelihoods ask of a number, so that they are written once for f32 and f64.

use std::ops::{Add, AddAssign, Div, Neg, Sub};

/// What the gate asks of a number, or of sixteen.
pub trait Elementary: Copy + std::ops::Mul<Output = Self> {
    /// ln(1 + e^x).
    fn softplus(self) -> Self;
    /// 1 / (1 + e^-x).
    fn sigmoid(self) -> Self;
}

impl<L: super::Lanes> Elementary for L {
    #[inline(always)]
    fn softplus(self) -> Self {
        super::softplus(self)
    }
    #[inline(always)]
    fn sigmoid(self) -> Self {
        super::sigmoid(self)
    }
}

impl Elementary for f64 {
    fn softplus(self) -> Self {
        self.max(0.0) + (-self.abs()).exp().ln_1p()
    }
    fn sigmoid(self) -> Self {
        1.0 / (1.0 + (-self).exp())
    }
}

/// A floating-point type: f32 through this crate's own functions, f64 through the standard library's.
pub trait Real:
    Elementary
    + PartialOrd
    + std::fmt::Debug
    + Add<Output = Self>
    + Sub<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
{
    /// The nearest value of this type.
    fn of(value: f64) -> Self;
    /// This value in double precision.
    fn to_f64(self) -> f64;
    /// e^x.
    fn exp(self) -> Self;
    /// e^x - 1.
    fn exp_m1(self) -> Self;
    /// Natural logarithm of a positive number.
    fn ln(self) -> Self;
    /// The larger of two.
    fn larger(self, other: Self) -> Self {
        if self > other { self } else { other }
    }
    /// The smaller of two.
    fn smaller(self, other: Self) -> Self {
        if self < other { self } else { other }
    }
}

impl Real for f32 {
    fn of(value: f64) -> Self {
        value as f32
    }
    fn to_f64(self) -> f64 {
        f64::from(self)
    }
    #[inline(always)]
    fn exp(self) -> Self {
        super::exp(self)
    }
    #[inline(always)]
    fn exp_m1(self) -> Self {
        super::expm1(self)
    }
    #[inline(always)]
    fn ln(self) -> Self {
        super::ln(self)
    }
}

impl Real for f64 {
    fn of(value: f64) -> Self {
        value
    }
    fn to_f64(self) -> f64 {
        self
    }
    fn exp(self) -> Self {
        f64::exp(self)
    }
    fn exp_m1(self) -> Self {
        f64::exp_m1(self)
    }
    fn ln(self) -> Self {
        f64::ln(self)
    }
}
