//! How the shape of a data set becomes a number of images and their size.

use super::source::Source;
use super::table::Table;
use crate::data::{DataError, ImageSize, MAX_PIXELS};

/// Number of images and their size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shaped {
    pub count: usize,
    pub size: ImageSize,
}

/// Why a shape is not that of images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Misshapen {
    /// Rows of so many values, and no size was given.
    Flat(usize),
    /// Rows that the given size does not fit.
    Unfit(String),
    /// Something else.
    Other(String),
}

/// The images of a data set of this shape: rows of images, which may have axes of length 1, or, where `given` says how rows of
/// values are to be cut, flat rows.
///
/// The one place where the length of a row becomes the size of an image.
pub(super) fn shaped(shape: &[usize], given: Option<ImageSize>) -> Result<Shaped, Misshapen> {
    let Some((&count, axes)) = shape.split_first().filter(|(_, axes)| !axes.is_empty()) else {
        let plural = if shape.len() == 1 { "" } else { "s" };
        let why = format!("its shape {shape:?} has {} dimension{plural}", shape.len());
        return Err(Misshapen::Other(why));
    };
    let longer: Vec<usize> = axes.iter().copied().filter(|n| *n != 1).collect();
    let own = match (axes, longer.as_slice()) {
        (&[height, width], _) => Some((height, width)),
        (_, &[height, width]) if axes.len() > 2 => Some((height, width)),
        // An image of one row or column among several axes of length 1.
        (&[.., last], &[n]) if axes.len() > 2 => Some(if last == n { (1, n) } else { (n, 1) }),
        (_, []) if axes.len() > 2 => Some((1, 1)),
        _ => None,
    };
    if let Some(given) = given {
        let pixels = axes.iter().try_fold(1usize, |a, n| a.checked_mul(*n));
        if pixels != given.height.checked_mul(given.width) {
            return Err(Misshapen::Unfit(format!(
                "a row of its shape {shape:?} has {} values, {} x {} are {}",
                pixels.unwrap_or(usize::MAX),
                given.height,
                given.width,
                given.height.saturating_mul(given.width)
            )));
        }
        let other = own.filter(|(h, w)| *h > 1 && *w > 1);
        if let Some((height, width)) = other.filter(|o| *o != (given.height, given.width)) {
            return Err(Misshapen::Unfit(format!(
                "it holds images of {height} x {width} pixels already"
            )));
        }
        return Ok(Shaped { count, size: given });
    }
    match own {
        Some((height, width)) => Ok(Shaped {
            count,
            size: ImageSize { height, width },
        }),
        None if longer.len() <= 1 => Err(Misshapen::Flat(longer.first().copied().unwrap_or(1))),
        None => Err(Misshapen::Other(format!(
            "its shape {shape:?} has {} dimensions",
            shape.len()
        ))),
    }
}

/// The images of `table`.
///
/// # Errors
/// A shape or a size that images do not have.
pub(super) fn of(
    source: &Source,
    table: &Table,
    given: Option<ImageSize>,
) -> Result<Shaped, DataError> {
    let name = &table.name;
    match shaped(&table.shape, given) {
        Ok(found) => {
            check_size(source, name, found.size.height, found.size.width)?;
            Ok(found)
        }
        Err(Misshapen::Flat(n)) => Err(source.fail(
            name,
            format!("its shape {:?} is that of flat rows of {n} values", table.shape),
            "say which images they are with --shape HEIGHTxWIDTH",
        )),
        Err(Misshapen::Unfit(why)) => {
            Err(source.fail(name, why, "leave --shape out or give another one"))
        }
        Err(Misshapen::Other(why)) => Err(source.fail(
            name,
            why,
            "store images as (images, rows, columns), or say how a row is to be cut with --shape HEIGHTxWIDTH",
        )),
    }
}

/// Refuse images of no pixels and of too many.
pub(super) fn check_size(
    source: &Source,
    name: &str,
    height: usize,
    width: usize,
) -> Result<(), DataError> {
    match height.checked_mul(width) {
        Some(1..=MAX_PIXELS) => Ok(()),
        _ => Err(bad_size(source, name, height, width)),
    }
}

pub(super) fn bad_size(source: &Source, name: &str, height: usize, width: usize) -> DataError {
    source.fail(
        name,
        format!("images of {height} x {width} pixels"),
        "an image has between 1 and 65536 pixels",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(shape: &[usize], given: Option<[usize; 2]>) -> Option<[usize; 3]> {
        let given = given.map(|[height, width]| ImageSize { height, width });
        let found = shaped(shape, given).ok()?;
        Some([found.count, found.size.height, found.size.width])
    }

    #[test]
    fn axes_of_one_are_left_out() {
        for (shape, expected) in [
            (&[7, 4, 5][..], Some([7, 4, 5])),
            (&[7, 4, 5, 1], Some([7, 4, 5])),
            (&[7, 1, 4, 5], Some([7, 4, 5])),
            (&[7, 1, 4, 1, 5, 1], Some([7, 4, 5])),
            (&[7, 1, 5], Some([7, 1, 5])),
            (&[7, 5, 1], Some([7, 5, 1])),
            (&[7, 1, 1, 5], Some([7, 1, 5])),
            (&[7, 1, 5, 1], Some([7, 5, 1])),
            (&[7, 5, 1, 1], Some([7, 5, 1])),
            (&[7, 1, 1, 1], Some([7, 1, 1])),
            (&[1, 4, 5], Some([1, 4, 5])),
            (&[7, 3, 4, 5], None),
            (&[7, 20], None),
            (&[7], None),
            (&[], None),
        ] {
            assert_eq!(size(shape, None), expected, "{shape:?}");
        }
        assert_eq!(shaped(&[7, 20], None), Err(Misshapen::Flat(20)));
    }

    #[test]
    fn rows_are_cut_as_they_are_told() {
        assert_eq!(size(&[7, 20], Some([4, 5])), Some([7, 4, 5]));
        assert_eq!(size(&[7, 20, 1], Some([4, 5])), Some([7, 4, 5]));
        assert_eq!(size(&[7, 2, 2, 5], Some([4, 5])), Some([7, 4, 5]));
        assert_eq!(size(&[7, 4, 5], Some([4, 5])), Some([7, 4, 5]));
        assert_eq!(size(&[7, 20], Some([4, 6])), None);
        assert_eq!(size(&[7, 4, 5], Some([5, 4])), None);
        assert_eq!(size(&[7, 4, 5], Some([2, 10])), None);
    }
}
