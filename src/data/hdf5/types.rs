//! What elements of HDF5 data sets are: by name, and as the plain numbers that most of them are.

use hdf5::globals as g;
use hdf5::sync::sync;
use hdf5::types::TypeDescriptor;
use hdf5_metno_sys::h5i::hid_t;
use hdf5_metno_sys::h5t::{
    H5T_class_t, H5T_cset_t, H5T_norm_t, H5T_str_t, H5Tclose, H5Tequal, H5Tget_class, H5Tget_cset,
    H5Tget_ebias, H5Tget_fields, H5Tget_norm, H5Tget_precision, H5Tget_size, H5Tget_strpad,
    H5Tget_super, H5Tis_variable_str,
};

use super::table::{Text, Type};
use crate::data::element::{Element, Kind};

/// What the elements of a data set are.
pub(super) fn kind(dtype: &hdf5::Datatype) -> Type {
    use TypeDescriptor as T;
    let size = dtype.size();
    if let Some(element) = plain(dtype) {
        return Type::plain(element);
    }
    // Wider types are never described: the binding reads enumeration members into 8 bytes whatever their width, and no
    // number that is read here is wider.
    let described = match size <= 8 {
        true => dtype.to_descriptor().ok(),
        false => None,
    };
    let big = match dtype.byte_order() {
        hdf5::datatype::ByteOrder::BigEndian if size > 1 => " big-endian",
        _ => "",
    };
    let half = size == 2 && dtype.conv_to::<f64>().is_some();
    let name = match (&described, size) {
        (Some(d), _) => d.to_string(),
        (None, 2) if half => "float16".into(),
        (None, n) => format!("{n}-byte values"),
    };
    let numeric = match &described {
        Some(T::Integer(_) | T::Unsigned(_) | T::Float(_) | T::Boolean | T::Enum(_)) => true,
        Some(_) => false,
        // float16 has no descriptor in the binding, yet HDF5 converts it
        None => half,
    };
    let single = match &described {
        Some(T::Float(bytes)) => *bytes == hdf5::types::FloatSize::U4,
        Some(_) => false,
        None => size == 2,
    };
    Type {
        name: name + big,
        numeric,
        single,
        plain: None,
        text: text(dtype),
    }
}

/// How strings are stored; `None` for anything else.
fn text(dtype: &hdf5::Datatype) -> Option<Text> {
    let id = dtype.id();
    // SAFETY: the identifier is that of an open type, and the lock is held.
    sync(|| unsafe {
        if H5Tget_class(id) != H5T_class_t::H5T_STRING {
            return None;
        }
        Some(Text {
            variable: H5Tis_variable_str(id) != 0,
            unicode: H5Tget_cset(id) == H5T_cset_t::H5T_CSET_UTF8,
            spaces: H5Tget_strpad(id) == H5T_str_t::H5T_STR_SPACEPAD,
        })
    })
}

/// One of the usual types, bit for bit; of an enumeration, as h5py's truth values are, that of its numbers.
fn plain(dtype: &hdf5::Datatype) -> Option<Element> {
    let big = dtype.byte_order() == hdf5::datatype::ByteOrder::BigEndian;
    sync(|| {
        let id = dtype.id();
        // SAFETY: the identifier is that of an open type, and the lock is held.
        if unsafe { H5Tget_class(id) } != H5T_class_t::H5T_ENUM {
            return number(id, big);
        }
        // SAFETY: as above.
        let base = unsafe { H5Tget_super(id) };
        if base < 0 {
            return None;
        }
        let element = number(base, big);
        // SAFETY: it was opened above and is used no more.
        unsafe { H5Tclose(base) };
        element
    })
}

/// One of the usual types of numbers; `big` says in which order its bytes are. The caller holds the library's lock.
fn number(id: hid_t, big: bool) -> Option<Element> {
    // SAFETY: the caller passes an open type.
    let size = unsafe { H5Tget_size(id) };
    let known = match big {
        false => [
            (Kind::Float, 4, *g::H5T_IEEE_F32LE),
            (Kind::Float, 8, *g::H5T_IEEE_F64LE),
            (Kind::Signed, 1, *g::H5T_STD_I8LE),
            (Kind::Signed, 2, *g::H5T_STD_I16LE),
            (Kind::Signed, 4, *g::H5T_STD_I32LE),
            (Kind::Signed, 8, *g::H5T_STD_I64LE),
            (Kind::Unsigned, 1, *g::H5T_STD_U8LE),
            (Kind::Unsigned, 2, *g::H5T_STD_U16LE),
            (Kind::Unsigned, 4, *g::H5T_STD_U32LE),
            (Kind::Unsigned, 8, *g::H5T_STD_U64LE),
        ],
        true => [
            (Kind::Float, 4, *g::H5T_IEEE_F32BE),
            (Kind::Float, 8, *g::H5T_IEEE_F64BE),
            (Kind::Signed, 1, *g::H5T_STD_I8BE),
            (Kind::Signed, 2, *g::H5T_STD_I16BE),
            (Kind::Signed, 4, *g::H5T_STD_I32BE),
            (Kind::Signed, 8, *g::H5T_STD_I64BE),
            (Kind::Unsigned, 1, *g::H5T_STD_U8BE),
            (Kind::Unsigned, 2, *g::H5T_STD_U16BE),
            (Kind::Unsigned, 4, *g::H5T_STD_U32BE),
            (Kind::Unsigned, 8, *g::H5T_STD_U64BE),
        ],
    };
    let found = known.into_iter().find(|(_, bytes, other)| {
        // SAFETY: both are open types.
        *bytes == size && unsafe { H5Tequal(id, *other) } > 0
    });
    match found {
        Some((kind, bytes, _)) => Some(Element { kind, bytes, big }),
        None => is_half(id).then_some(Element {
            kind: Kind::Float,
            bytes: 2,
            big,
        }),
    }
}

/// Whether it is IEEE's float of 16 bits, for which the binding has no name. The caller holds the library's lock.
fn is_half(id: hid_t) -> bool {
    let mut f = [0usize; 5];
    let [sign, exponent, exponent_bits, mantissa, mantissa_bits] = &mut f;
    // SAFETY: the caller passes an open type; the five numbers live through the call.
    unsafe {
        H5Tget_class(id) == H5T_class_t::H5T_FLOAT
            && H5Tget_size(id) == 2
            && H5Tget_precision(id) == 16
            && H5Tget_fields(id, sign, exponent, exponent_bits, mantissa, mantissa_bits) >= 0
            && f == [15, 10, 5, 0, 10]
            && H5Tget_ebias(id) == 15
            && H5Tget_norm(id) == H5T_norm_t::H5T_NORM_IMPLIED
    }
}
