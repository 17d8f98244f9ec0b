//! HDF5 files: the only folder that knows the library.

mod attributes;
mod chunks;
mod columns;
mod describe;
mod extent;
mod filters;
mod find;
mod growing;
mod heap;
mod links;
mod properties;
mod raw;
mod read;
mod rows;
mod shape;
mod showers;
mod source;
mod table;
mod types;
mod units;
mod values;
mod virtuals;
mod write;

pub use describe::{
    describe, describe_with, read_attributes, read_column, read_column_with, read_columns,
};
pub use read::read;
pub use write::{ImageWriter, packed_bytes, write, write_columns};

/// The reason inside an HDF5 error: the operating system's words where it has them, else those of the
/// innermost frame, where the cause is.
fn reason(error: &hdf5::Error) -> String {
    let Some(stack) = error.stack() else {
        return error.to_string();
    };
    for frame in stack.iter() {
        if let Some((_, rest)) = frame.desc().split_once("error message = '") {
            return rest.split('\'').next().unwrap_or(rest).to_string();
        }
    }
    match stack.last() {
        Some(frame) => String::from_utf8_lossy(frame.desc().as_bytes()).into_owned(),
        None => "HDF5 gives no reason".to_string(),
    }
}
