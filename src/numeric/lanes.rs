//! Sixteen f32 side by side: one type per instruction set behind one trait.

use std::ops::{Add, Div, Mul, Neg, Sub};
use std::sync::OnceLock;

/// Images that walk through the network side by side.
pub const LANES: usize = 16;

/// f32 arithmetic on one number or on [`LANES`] of them.
pub trait Lanes:
    Copy
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
{
    /// The same number everywhere.
    fn splat(value: f32) -> Self;
    /// `self * b + c`, rounded once.
    fn fma(self, b: Self, c: Self) -> Self;
    /// The larger, lane by lane; operands are never NaN.
    fn max(self, other: Self) -> Self;
    /// The smaller, lane by lane; operands are never NaN.
    fn min(self, other: Self) -> Self;
    /// 2^n where `self` holds `1.5 * 2^23 + n`, n in -126 ..= 127.
    fn exp2_of_shifted(self) -> Self;
    /// `(m, e)` with `self = m * 2^e`, sqrt(1/2) <= m < sqrt(2); `self` is positive and normal.
    fn mantissa_exponent(self) -> (Self, Self);
}

/// [`LANES`] numbers that can be loaded and stored.
pub trait Vector: Lanes {
    /// Rows of a register tile: as many accumulators as the register file holds beside its operands.
    const TILE_ROWS: usize;

    /// The first [`LANES`] numbers at `from`.
    ///
    /// # Safety
    /// `from` is valid for reading [`LANES`] f32.
    unsafe fn load(from: *const f32) -> Self;

    /// Write all lanes to `to`.
    ///
    /// # Safety
    /// `to` is valid for writing [`LANES`] f32.
    unsafe fn store(self, to: *mut f32);

    /// The lanes as an array.
    fn to_array(self) -> [f32; LANES] {
        let mut out = [0.0; LANES];
        // SAFETY: `out` holds LANES numbers.
        unsafe { self.store(out.as_mut_ptr()) };
        out
    }

    /// Sum over the lanes, in one fixed tree: halves, quarters, pairs.
    fn sum(self) -> f32 {
        let v = self.to_array();
        let mut a = [0.0; 8];
        for i in 0..8 {
            a[i] = v[i] + v[i + 8];
        }
        let b = [a[0] + a[4], a[1] + a[5], a[2] + a[6], a[3] + a[7]];
        (b[0] + b[2]) + (b[1] + b[3])
    }
}

const EXPONENT_ONE: i32 = 0x3f80_0000;
/// Bits of sqrt(1/2): subtracting them puts the mantissa's cut there instead of at 1.
const SQRT_HALF: i32 = 0x3f35_04f3;
const MANTISSA: i32 = 0x007f_ffff;

impl Lanes for f32 {
    #[inline(always)]
    fn splat(value: f32) -> Self {
        value
    }
    #[inline(always)]
    fn fma(self, b: Self, c: Self) -> Self {
        self.mul_add(b, c)
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        if self > other { self } else { other }
    }
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        if self < other { self } else { other }
    }
    #[inline(always)]
    fn exp2_of_shifted(self) -> Self {
        f32::from_bits((self.to_bits() << 23).wrapping_add(EXPONENT_ONE as u32))
    }
    #[inline(always)]
    fn mantissa_exponent(self) -> (Self, Self) {
        let shifted = (self.to_bits() as i32).wrapping_sub(SQRT_HALF);
        let m = (shifted & MANTISSA).wrapping_add(SQRT_HALF);
        (f32::from_bits(m as u32), (shifted >> 23) as f32)
    }
}

/// Sixteen lanes in plain Rust; the compiler makes of them what the target has.
#[derive(Clone, Copy)]
pub struct Portable([f32; LANES]);

macro_rules! portable_operator {
    ($trait:ident, $name:ident, $op:tt) => {
        impl $trait for Portable {
            type Output = Self;
            #[inline(always)]
            fn $name(mut self, other: Self) -> Self {
                for i in 0..LANES {
                    self.0[i] $op other.0[i];
                }
                self
            }
        }
    };
}
portable_operator!(Add, add, +=);
portable_operator!(Sub, sub, -=);
portable_operator!(Mul, mul, *=);
portable_operator!(Div, div, /=);

impl Neg for Portable {
    type Output = Self;
    #[inline(always)]
    fn neg(self) -> Self {
        Portable(self.0.map(|v| -v))
    }
}

impl Lanes for Portable {
    #[inline(always)]
    fn splat(value: f32) -> Self {
        Portable([value; LANES])
    }
    #[inline(always)]
    fn fma(mut self, b: Self, c: Self) -> Self {
        for i in 0..LANES {
            self.0[i] = self.0[i].mul_add(b.0[i], c.0[i]);
        }
        self
    }
    #[inline(always)]
    fn max(mut self, other: Self) -> Self {
        for i in 0..LANES {
            self.0[i] = Lanes::max(self.0[i], other.0[i]);
        }
        self
    }
    #[inline(always)]
    fn min(mut self, other: Self) -> Self {
        for i in 0..LANES {
            self.0[i] = Lanes::min(self.0[i], other.0[i]);
        }
        self
    }
    #[inline(always)]
    fn exp2_of_shifted(self) -> Self {
        Portable(self.0.map(Lanes::exp2_of_shifted))
    }
    #[inline(always)]
    fn mantissa_exponent(self) -> (Self, Self) {
        let parts = self.0.map(Lanes::mantissa_exponent);
        (Portable(parts.map(|p| p.0)), Portable(parts.map(|p| p.1)))
    }
}

impl Vector for Portable {
    const TILE_ROWS: usize = 4;
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller vouches for LANES readable numbers.
        Portable(unsafe { from.cast::<[f32; LANES]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller vouches for LANES writable numbers.
        unsafe { to.cast::<[f32; LANES]>().write_unaligned(self.0) }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::*;
    use std::arch::x86_64::*;

    // Values of these types are only made inside `Isa::dispatch`, after the processor was asked for
    // the features: that is what makes each intrinsic below sound.

    /// Sixteen lanes in two AVX2 registers.
    #[derive(Clone, Copy)]
    pub struct Avx2([__m256; 2]);
    /// Sixteen lanes in one AVX-512 register.
    #[derive(Clone, Copy)]
    pub struct Avx512(__m512);

    macro_rules! operator {
        ($trait:ident, $name:ident, $i256:ident, $i512:ident) => {
            impl $trait for Avx2 {
                type Output = Self;
                #[inline(always)]
                fn $name(self, o: Self) -> Self {
                    // SAFETY: an Avx2 value exists, so dispatch found AVX2 and FMA.
                    unsafe { Avx2([$i256(self.0[0], o.0[0]), $i256(self.0[1], o.0[1])]) }
                }
            }
            impl $trait for Avx512 {
                type Output = Self;
                #[inline(always)]
                fn $name(self, o: Self) -> Self {
                    // SAFETY: an Avx512 value exists, so dispatch found AVX-512F.
                    unsafe { Avx512($i512(self.0, o.0)) }
                }
            }
        };
    }
    operator!(Add, add, _mm256_add_ps, _mm512_add_ps);
    operator!(Sub, sub, _mm256_sub_ps, _mm512_sub_ps);
    operator!(Mul, mul, _mm256_mul_ps, _mm512_mul_ps);
    operator!(Div, div, _mm256_div_ps, _mm512_div_ps);

    impl Neg for Avx2 {
        type Output = Self;
        #[inline(always)]
        fn neg(self) -> Self {
            Self::splat(-0.0) - self
        }
    }
    impl Neg for Avx512 {
        type Output = Self;
        #[inline(always)]
        fn neg(self) -> Self {
            Self::splat(-0.0) - self
        }
    }

    impl Lanes for Avx2 {
        #[inline(always)]
        fn splat(value: f32) -> Self {
            // SAFETY: only reached inside dispatch, which found AVX2 and FMA.
            unsafe { Avx2([_mm256_set1_ps(value); 2]) }
        }
        #[inline(always)]
        fn fma(self, b: Self, c: Self) -> Self {
            // SAFETY: an Avx2 value exists, so dispatch found AVX2 and FMA.
            unsafe {
                Avx2([
                    _mm256_fmadd_ps(self.0[0], b.0[0], c.0[0]),
                    _mm256_fmadd_ps(self.0[1], b.0[1], c.0[1]),
                ])
            }
        }
        #[inline(always)]
        fn max(self, o: Self) -> Self {
            // SAFETY: an Avx2 value exists, so dispatch found AVX2 and FMA.
            unsafe {
                Avx2([
                    _mm256_max_ps(self.0[0], o.0[0]),
                    _mm256_max_ps(self.0[1], o.0[1]),
                ])
            }
        }
        #[inline(always)]
        fn min(self, o: Self) -> Self {
            // SAFETY: an Avx2 value exists, so dispatch found AVX2 and FMA.
            unsafe {
                Avx2([
                    _mm256_min_ps(self.0[0], o.0[0]),
                    _mm256_min_ps(self.0[1], o.0[1]),
                ])
            }
        }
        #[inline(always)]
        fn exp2_of_shifted(self) -> Self {
            // SAFETY: an Avx2 value exists, so dispatch found AVX2 and FMA.
            unsafe {
                let one = _mm256_set1_epi32(EXPONENT_ONE);
                Avx2(self.0.map(|v| {
                    let bits = _mm256_slli_epi32::<23>(_mm256_castps_si256(v));
                    _mm256_castsi256_ps(_mm256_add_epi32(bits, one))
                }))
            }
        }
        #[inline(always)]
        fn mantissa_exponent(self) -> (Self, Self) {
            // SAFETY: an Avx2 value exists, so dispatch found AVX2 and FMA.
            unsafe {
                let cut = _mm256_set1_epi32(SQRT_HALF);
                let mask = _mm256_set1_epi32(MANTISSA);
                let shifted = self
                    .0
                    .map(|v| _mm256_sub_epi32(_mm256_castps_si256(v), cut));
                (
                    Avx2(shifted.map(|s| {
                        _mm256_castsi256_ps(_mm256_add_epi32(_mm256_and_si256(s, mask), cut))
                    })),
                    Avx2(shifted.map(|s| _mm256_cvtepi32_ps(_mm256_srai_epi32::<23>(s)))),
                )
            }
        }
    }

    impl Vector for Avx2 {
        const TILE_ROWS: usize = 6;
        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            // SAFETY: the caller vouches for LANES readable numbers; dispatch found AVX2.
            unsafe { Avx2([_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))]) }
        }
        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            // SAFETY: the caller vouches for LANES writable numbers; dispatch found AVX2.
            unsafe {
                _mm256_storeu_ps(to, self.0[0]);
                _mm256_storeu_ps(to.add(8), self.0[1]);
            }
        }
    }

    impl Lanes for Avx512 {
        #[inline(always)]
        fn splat(value: f32) -> Self {
            // SAFETY: only reached inside dispatch, which found AVX-512F.
            unsafe { Avx512(_mm512_set1_ps(value)) }
        }
        #[inline(always)]
        fn fma(self, b: Self, c: Self) -> Self {
            // SAFETY: an Avx512 value exists, so dispatch found AVX-512F.
            unsafe { Avx512(_mm512_fmadd_ps(self.0, b.0, c.0)) }
        }
        #[inline(always)]
        fn max(self, o: Self) -> Self {
            // SAFETY: an Avx512 value exists, so dispatch found AVX-512F.
            unsafe { Avx512(_mm512_max_ps(self.0, o.0)) }
        }
        #[inline(always)]
        fn min(self, o: Self) -> Self {
            // SAFETY: an Avx512 value exists, so dispatch found AVX-512F.
            unsafe { Avx512(_mm512_min_ps(self.0, o.0)) }
        }
        #[inline(always)]
        fn exp2_of_shifted(self) -> Self {
            // SAFETY: an Avx512 value exists, so dispatch found AVX-512F.
            unsafe {
                let bits = _mm512_slli_epi32::<23>(_mm512_castps_si512(self.0));
                Avx512(_mm512_castsi512_ps(_mm512_add_epi32(
                    bits,
                    _mm512_set1_epi32(EXPONENT_ONE),
                )))
            }
        }
        #[inline(always)]
        fn mantissa_exponent(self) -> (Self, Self) {
            // SAFETY: an Avx512 value exists, so dispatch found AVX-512F.
            unsafe {
                let cut = _mm512_set1_epi32(SQRT_HALF);
                let shifted = _mm512_sub_epi32(_mm512_castps_si512(self.0), cut);
                let m = _mm512_and_si512(shifted, _mm512_set1_epi32(MANTISSA));
                (
                    Avx512(_mm512_castsi512_ps(_mm512_add_epi32(m, cut))),
                    Avx512(_mm512_cvtepi32_ps(_mm512_srai_epi32::<23>(shifted))),
                )
            }
        }
    }

    impl Vector for Avx512 {
        const TILE_ROWS: usize = 12;
        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            // SAFETY: the caller vouches for LANES readable numbers; dispatch found AVX-512F.
            unsafe { Avx512(_mm512_loadu_ps(from)) }
        }
        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            // SAFETY: the caller vouches for LANES writable numbers; dispatch found AVX-512F.
            unsafe { _mm512_storeu_ps(to, self.0) }
        }
    }

    #[target_feature(enable = "avx2,fma")]
    pub fn with_avx2<K: Kernel>(kernel: K) -> K::Output {
        kernel.run::<Avx2>()
    }

    #[target_feature(enable = "avx512f,avx2,fma")]
    pub fn with_avx512<K: Kernel>(kernel: K) -> K::Output {
        kernel.run::<Avx512>()
    }
}

/// A computation written once for every instruction set.
///
/// `run` and all it calls must be `#[inline(always)]`, closures that touch lanes included (they cannot
/// be: make them functions), or every operation on lanes becomes a call.
pub trait Kernel {
    /// What it gives back.
    type Output;
    /// Do the work with vectors of type `V`.
    fn run<V: Vector>(self) -> Self::Output;
}

/// A name in `SARM_ISA` that stands for no instruction set of this processor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "cannot compute with SARM_ISA={name} (this processor has {}); choose one of them or leave SARM_ISA out",
    Isa::available().iter().map(|i| i.name()).collect::<Vec<_>>().join(", ")
)]
pub struct UnknownIsa {
    name: String,
}

/// Instruction sets with code of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isa {
    /// Plain Rust.
    Portable,
    /// x86-64 with AVX2 and FMA.
    Avx2,
    /// x86-64 with AVX-512F.
    Avx512,
}

impl Isa {
    /// Those that this processor has, slowest first.
    pub fn available() -> Vec<Isa> {
        #[allow(unused_mut)]
        let mut found = vec![Isa::Portable];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                found.push(Isa::Avx2);
                if is_x86_feature_detected!("avx512f") {
                    found.push(Isa::Avx512);
                }
            }
        }
        found
    }

    /// The one that `SARM_ISA` names, which is for tests; without it the fastest that this processor has.
    ///
    /// # Errors
    /// The processor lacks it, or nobody knows it: the program refuses to start. [`best`](Self::best) passes it over.
    pub fn chosen() -> Result<Isa, UnknownIsa> {
        static CHOSEN: OnceLock<Result<Isa, UnknownIsa>> = OnceLock::new();
        let choose = || match std::env::var_os("SARM_ISA") {
            None => Ok(Self::fastest()),
            Some(name) => Self::named(&name.to_string_lossy()),
        };
        CHOSEN.get_or_init(choose).clone()
    }

    /// The one to compute with: [`chosen`](Self::chosen), or the fastest that this processor has.
    pub fn best() -> Isa {
        Self::chosen().unwrap_or_else(|_| Self::fastest())
    }

    fn fastest() -> Isa {
        Self::available().last().copied().unwrap_or(Isa::Portable)
    }

    fn named(name: &str) -> Result<Isa, UnknownIsa> {
        let found = Self::available().into_iter().find(|i| i.name() == name);
        found.ok_or_else(|| UnknownIsa { name: name.into() })
    }

    /// Name for reports.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Portable => "portable",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
        }
    }

    /// Rows of this instruction set's register tile.
    pub fn tile_rows(self) -> usize {
        #[cfg(target_arch = "x86_64")]
        return match self {
            Isa::Portable => Portable::TILE_ROWS,
            Isa::Avx2 => x86::Avx2::TILE_ROWS,
            Isa::Avx512 => x86::Avx512::TILE_ROWS,
        };
        #[cfg(not(target_arch = "x86_64"))]
        Portable::TILE_ROWS
    }

    /// Run `kernel` with this instruction set, or plainly where the processor lacks it.
    #[inline]
    pub fn dispatch<K: Kernel>(self, kernel: K) -> K::Output {
        #[cfg(target_arch = "x86_64")]
        match self {
            Isa::Avx2 if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") => {
                // SAFETY: the guard asked this processor for exactly the features of `with_avx2`.
                return unsafe { x86::with_avx2(kernel) };
            }
            Isa::Avx512
                if is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx2")
                    && is_x86_feature_detected!("fma") =>
            {
                // SAFETY: the guard asked this processor for exactly the features of `with_avx512`.
                return unsafe { x86::with_avx512(kernel) };
            }
            _ => {}
        }
        kernel.run::<Portable>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instruction_sets_go_by_their_names() {
        for isa in Isa::available() {
            assert_eq!(Isa::named(isa.name()), Ok(isa));
        }
        for name in ["", "sse", "AVX2", "portable "] {
            let error = Isa::named(name).unwrap_err().to_string();
            assert!(
                error.contains(&format!("SARM_ISA={name} (this processor has portable")),
                "{error}"
            );
        }
    }
}
