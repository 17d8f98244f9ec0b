//! Launchers of the masked linear layers: forward, backward to the input, backward to the weights.
//!
//! Each takes several *problems* that do not depend on each other, the same level of every stage or all
//! layers at once, and does them in one launch, 16 to a launch. Which tile shape it takes follows from
//! the shapes and the card alone, and so do the bits of the result.

mod forward;
mod input;
mod weights;

pub use crate::device::cuda::ops::tile::Tile;
pub use forward::{ForwardProblem, ForwardResult, forward, forward_demand, forward_tiled};
pub use input::{
    InputProblem, Scratch, backward_input, backward_input_demand, backward_input_scratch,
    backward_input_tiled,
};
pub use weights::{
    ADAM_BYTES, AdamArenas, Update, WeightsProblem, backward_weights, backward_weights_demand,
    backward_weights_tiled,
};

use super::mask::Mask;
use crate::device::DeviceError;
use crate::device::cuda::device::Address;
use crate::device::cuda::ops::Demand;

/// How to cut an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tiling {
    /// The tile.
    pub tile: Tile,
    /// Slices of the sums, computed by different blocks and added up by a second kernel; 1 but for backward to the input.
    pub slices: u32,
}

/// Problems in one launch; PROBLEMS of `kernels/sarm/masked_linear.cuh`.
pub(super) const PROBLEMS: usize = 16;

/// Largest count of images, rows or columns: sums with a tile's size and byte counts of a row stay in 32 bits.
const MOST: u32 = 1 << 29;

/// Shape and mask of a weight matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layer {
    /// Numbers that it gives.
    pub rows: u32,
    /// Numbers that it reads.
    pub columns: u32,
    /// Elements from one row to the next, a multiple of 8; those past `columns` are 0 and stay 0.
    pub pitch: u32,
    /// Which columns a row reads.
    pub mask: Mask,
}

/// A row-major matrix on the device, a row an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Matrix {
    /// Its first element, at a multiple of 16 bytes.
    pub address: Address,
    /// Elements from one row to the next, a multiple of 8.
    pub pitch: u32,
}

impl Matrix {
    /// No matrix: not wanted.
    pub const NONE: Matrix = Matrix {
        address: Address::NULL,
        pitch: 0,
    };
}

impl Layer {
    fn unmasked(&self) -> f64 {
        self.mask.unmasked(self.rows, self.columns) as f64
    }

    fn check(&self) -> Result<(), DeviceError> {
        let mask = self.mask;
        need(
            self.rows > 0 && self.rows <= MOST,
            "a layer's rows",
            self.rows,
        )?;
        need(
            self.columns > 0 && self.columns <= MOST,
            "a layer's columns",
            self.columns,
        )?;
        pitch("a layer's weights", self.pitch, self.columns)?;
        need(mask.rows > 0, "rows that a mask reads alike", mask.rows)?;
        // The kernels compute what the last row of a tile reads in 32 bits, and that row may lie beyond the matrix.
        let last = u64::from((self.rows + Tile::LARGEST) / mask.rows) * u64::from(mask.columns);
        need(
            u64::from(mask.base) + last <= u64::from(u32::MAX),
            "columns that the last row of a mask reads",
            last,
        )
    }
}

fn need(holds: bool, what: &str, found: impl std::fmt::Display) -> Result<(), DeviceError> {
    match holds {
        true => Ok(()),
        false => Err(DeviceError::Unsupported(format!(
            "the masked linear kernels cannot run this network ({what}: {found} is out of their range)"
        ))),
    }
}

fn pitch(what: &str, found: u32, columns: u32) -> Result<(), DeviceError> {
    need(
        found >= columns && found.is_multiple_of(8) && found <= 2 * MOST,
        &format!("pitch of {what}, {columns} columns"),
        found,
    )
}

/// Check that an address is one, and fit for 16-byte accesses.
fn aligned(what: &str, address: Address) -> Result<(), DeviceError> {
    need(
        address != Address::NULL && address.0.is_multiple_of(16),
        &format!("address of {what}"),
        address.0,
    )
}

fn matrix(what: &str, matrix: Matrix, columns: u32) -> Result<(), DeviceError> {
    aligned(what, matrix.address)?;
    pitch(what, matrix.pitch, columns)
}

fn images_in_range(images: u32) -> Result<(), DeviceError> {
    need(images > 0 && images <= MOST, "images in a batch", images)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::cuda::device::{Launch, Properties};

    fn h100() -> Properties {
        Properties {
            name: "H100".into(),
            uuid: None,
            capability: (9, 0),
            multiprocessors: 132,
            shared_per_block: 227 << 10,
            shared_per_multiprocessor: 228 << 10,
            l2: 50 << 20,
            memory: 80 << 30,
        }
    }

    fn layer(rows: u32, columns: u32, mask: Mask) -> Layer {
        let pitch = columns.next_multiple_of(8);
        Layer {
            rows,
            columns,
            pitch,
            mask,
        }
    }

    fn of_pitch(columns: u32) -> Matrix {
        Matrix {
            address: Address(256),
            pitch: columns.next_multiple_of(8),
        }
    }

    fn backward(layer: Layer) -> InputProblem {
        InputProblem {
            layer,
            weights: Address(256),
            delta: of_pitch(layer.rows),
            before: of_pitch(layer.columns),
            below: Matrix {
                address: Address(512),
                ..of_pitch(layer.columns)
            },
        }
    }

    fn running(layer: Layer) -> ForwardProblem {
        ForwardProblem {
            layer,
            weights: Address(256),
            bias: Address(256),
            input: of_pitch(layer.columns),
            result: ForwardResult::Numbers(of_pitch(layer.rows)),
        }
    }

    fn kernels(launches: &[Launch]) -> Vec<&'static str> {
        launches.iter().map(|l| l.kernel).collect()
    }

    /// A small batch makes many small tiles and cuts the output layer's long sums, a large one makes large tiles.
    #[test]
    fn tiles_follow_the_batch() {
        let hidden = layer(616, 616, Mask::hidden(1));
        let output = layer(9856, 616, Mask::output(1, 16));
        let forward_of =
            |images, layer| kernels(&forward(&h100(), images, &[running(layer)]).unwrap());
        assert_eq!(forward_of(128, hidden), ["linear_forward_small"]);
        assert_eq!(forward_of(8192, hidden), ["linear_forward_large"]);
        assert_eq!(forward_of(8192, output), ["linear_forward_large"]);
        let input_of = |images, layer| {
            let problem = [backward(layer)];
            let scratch = Scratch {
                address: Address(1024),
                len: backward_input_scratch(&h100(), images, &problem),
            };
            kernels(&backward_input(&h100(), images, scratch, &problem).unwrap())
        };
        assert_eq!(input_of(128, hidden), ["linear_backward_input_small"]);
        assert_eq!(input_of(128, output).len(), 2, "slices are added up");
        assert_eq!(input_of(8192, output), ["linear_backward_input_large"]);
        let weights_of = |images| {
            let problem = |layer: Layer| WeightsProblem {
                layer,
                delta: of_pitch(layer.rows),
                input: of_pitch(layer.columns),
                weights: 0,
                bias: 0,
                decays: false,
            };
            let mut layers = vec![problem(hidden); 6];
            layers.push(problem(output));
            let update = Update::Store(Address(256));
            kernels(&backward_weights(&h100(), images, update, &layers).unwrap())
        };
        assert_eq!(weights_of(128), ["linear_backward_weights_medium"]);
        assert_eq!(weights_of(8192), ["linear_backward_weights_large"]);
    }

    #[test]
    fn what_the_kernels_do_not_take_is_refused() {
        let good = running(layer(40, 24, Mask::hidden(1)));
        forward(&h100(), 8, &[good]).unwrap();
        let refused = |images, problem: ForwardProblem| {
            let error = forward(&h100(), images, &[problem]).unwrap_err();
            assert!(matches!(error, DeviceError::Unsupported(_)), "{error}");
        };
        refused(0, good);
        refused(MOST + 1, good);
        let with = |change: fn(&mut ForwardProblem)| {
            let mut problem = good;
            change(&mut problem);
            problem
        };
        refused(8, with(|p| p.weights = Address::NULL));
        refused(8, with(|p| p.bias = Address(8)));
        refused(8, with(|p| p.input.pitch = 23));
        refused(8, with(|p| p.input.pitch = 20));
        refused(8, with(|p| p.layer.rows = 0));
        refused(8, with(|p| p.layer.columns = 25));
        refused(8, with(|p| p.layer.mask.rows = 0));
        refused(8, with(|p| p.layer.mask.columns = u32::MAX / 2));
        refused(8, with(|p| p.result = ForwardResult::Numbers(Matrix::NONE)));

        // Slices without room for their sums.
        let problem = [backward(layer(640, 40, Mask::output(1, 16)))];
        let tiling = Tiling {
            tile: Tile::Small,
            slices: 4,
        };
        let scratch = |len| Scratch {
            address: Address(1024),
            len,
        };
        backward_input_tiled(tiling, 8, scratch(4 * 8 * 40), &problem).unwrap();
        backward_input_tiled(tiling, 8, scratch(4 * 8 * 40 - 1), &problem).unwrap_err();
        backward_input_tiled(tiling, 8, Scratch::NONE, &problem).unwrap_err();
    }
}
