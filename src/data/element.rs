//! Numbers as files store them, turned into floats.

use half::f16;

/// How one number is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Element {
    pub kind: Kind,
    /// Bytes of one number: 1, 2, 4 or 8, and at least 2 of a float.
    pub bytes: usize,
    /// Most significant byte first.
    pub big: bool,
}

/// What the bits of a number mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Float,
    Signed,
    Unsigned,
}

/// What stored numbers become: the nearest float, infinite beyond the range of one. Of integers, which are places in a file,
/// what does not fit is the largest, negative numbers too: no file has that place, and the nearest end may be another's.
pub(super) trait Number: Copy + Default + hdf5::H5Type {
    /// Of a stored integer.
    fn of_i64(v: i64) -> Self;
    /// Of a stored integer.
    fn of_u64(v: u64) -> Self;
    /// Of a stored float.
    fn of_f64(v: f64) -> Self;
    /// Of a stored float.
    fn of_f32(v: f32) -> Self;
}

macro_rules! floats {
    ($($type:ty),*) => {$(
        impl Number for $type {
            fn of_i64(v: i64) -> Self {
                v as $type
            }
            fn of_u64(v: u64) -> Self {
                v as $type
            }
            fn of_f64(v: f64) -> Self {
                v as $type
            }
            fn of_f32(v: f32) -> Self {
                v as $type
            }
        }
    )*};
}
floats!(f32, f64);

macro_rules! integers {
    ($($type:ty),*) => {$(
        impl Number for $type {
            fn of_i64(v: i64) -> Self {
                Self::try_from(v).unwrap_or(Self::MAX)
            }
            fn of_u64(v: u64) -> Self {
                Self::try_from(v).unwrap_or(Self::MAX)
            }
            fn of_f64(v: f64) -> Self {
                if v >= 0.0 { v as $type } else { Self::MAX }
            }
            fn of_f32(v: f32) -> Self {
                Self::of_f64(f64::from(v))
            }
        }
    )*};
}
integers!(u8, u32, u64);

impl Element {
    /// A byte of a text.
    pub const BYTE: Self = Self {
        kind: Kind::Unsigned,
        bytes: 1,
        big: false,
    };

    /// `float32`, `uint8 big-endian` ..
    pub fn name(&self) -> String {
        let kind = match self.kind {
            Kind::Float => "float",
            Kind::Signed => "int",
            Kind::Unsigned => "uint",
        };
        let order = match self.big && self.bytes > 1 {
            true => " big-endian",
            false => "",
        };
        format!("{kind}{}{order}", 8 * self.bytes)
    }

    /// The numbers in `raw`, a whole number of them, into `out`, which is as long.
    pub fn convert<T: Number>(&self, raw: &[u8], out: &mut [T]) {
        macro_rules! each {
            ($type:ty, $of:expr) => {{
                const N: usize = size_of::<$type>();
                let (stored, _) = raw.as_chunks::<N>();
                for (out, bytes) in out.iter_mut().zip(stored) {
                    let number = match self.big {
                        true => <$type>::from_be_bytes(*bytes),
                        false => <$type>::from_le_bytes(*bytes),
                    };
                    *out = $of(number);
                }
            }};
        }
        use Kind::{Float, Signed, Unsigned};
        match (self.kind, self.bytes) {
            (Float, 2) => each!(f16, |v: f16| T::of_f32(v.to_f32())),
            (Float, 4) => each!(f32, T::of_f32),
            (Float, _) => each!(f64, T::of_f64),
            (Signed, 1) => each!(i8, |v| T::of_i64(i64::from(v))),
            (Signed, 2) => each!(i16, |v| T::of_i64(i64::from(v))),
            (Signed, 4) => each!(i32, |v| T::of_i64(i64::from(v))),
            (Signed, _) => each!(i64, T::of_i64),
            (Unsigned, 1) => each!(u8, |v| T::of_u64(u64::from(v))),
            (Unsigned, 2) => each!(u16, |v| T::of_u64(u64::from(v))),
            (Unsigned, 4) => each!(u32, |v| T::of_u64(u64::from(v))),
            (Unsigned, _) => each!(u64, T::of_u64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_either_order_become_floats() {
        let one = |kind, bytes, big, raw: &[u8]| {
            let mut out = [0.0f64];
            Element { kind, bytes, big }.convert(raw, &mut out);
            out[0]
        };
        assert_eq!(one(Kind::Float, 2, false, &[0x00, 0x3e]), 1.5);
        assert_eq!(one(Kind::Float, 4, true, &1.25f32.to_be_bytes()), 1.25);
        assert_eq!(one(Kind::Signed, 1, false, &[0xfe]), -2.0);
        assert_eq!(one(Kind::Unsigned, 8, false, &[0xff; 8]), u64::MAX as f64);
        assert_eq!(one(Kind::Signed, 2, true, &[0x01, 0x02]), 258.0);
        let long = |v: i64| {
            let mut out = [0u32];
            Element {
                kind: Kind::Signed,
                bytes: 8,
                big: false,
            }
            .convert(&v.to_le_bytes(), &mut out);
            out[0]
        };
        assert_eq!(
            [long((1 << 32) + 5), long(-3), long(7)],
            [u32::MAX, u32::MAX, 7]
        );
        let mut out = [0.0f32; 2];
        let raw = [1e300f64.to_le_bytes(), (-0.0f64).to_le_bytes()].concat();
        let double = Element {
            kind: Kind::Float,
            bytes: 8,
            big: false,
        };
        double.convert(&raw, &mut out);
        assert_eq!((out[0], out[1]), (f32::INFINITY, 0.0));
    }
}
