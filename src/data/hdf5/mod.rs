//! HDF5 files: the only folder that knows the library.

mod attributes;
mod columns;
mod describe;
mod growing;
mod heap;
mod read;
mod showers;
mod source;
mod values;
mod write;

pub use describe::{describe, read_attributes, read_column};
pub use read::read;
pub use write::{ImageWriter, write, write_columns};

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
