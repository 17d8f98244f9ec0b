//! Numbers that `kernels/sarm/` and the host both know; `kernels/sarm/constants.cu` says them.

use bytemuck::{Pod, Zeroable};

use super::linear::{PROBLEMS, Tile};
use super::sample::{MOST_LAYERS, WORKERS, input_kind};
use super::{MOST_STAGES, cells, gather};
use crate::device::cuda::device::{Address, Launch};
use crate::families::sarm::Left;
use crate::families::sarm::config::{MOST_CHANNELS, Transform};
use crate::likelihood::{LEAST, mixture, support};

/// `SarmConstants` of `kernels/sarm/constants.cu`.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct SarmConstants {
    numbers: Address,
}

/// What they are called, and what they are here.
pub fn constants() -> Vec<(&'static str, f64)> {
    let mut list = vec![
        ("MOST_STAGES", MOST_STAGES as f64),
        ("MOST_CHANNELS", MOST_CHANNELS as f64),
        ("MOST_COMPONENTS", mixture::MOST_COMPONENTS as f64),
        ("MOST_LAYERS", MOST_LAYERS as f64),
        ("WORKERS", WORKERS as f64),
        ("CELLS", cells::CELLS as f64),
        ("shared memory of a tile of cells", cells::SHARED.into()),
        ("CERTAIN", gather::CERTAIN.into()),
        ("lowest ln s", mixture::LOG_SCALE.0),
        ("highest ln s", mixture::LOG_SCALE.1),
        ("SMALLEST", mixture::SMALLEST.into()),
        ("NARROWEST", (support::NARROWEST as f32).into()),
        ("TAIL", mixture::TAIL.into()),
        ("LEAST", LEAST.into()),
        ("raw input", input_kind(Transform::Raw).into()),
        ("log1p input", input_kind(Transform::Log1p).into()),
        ("sqrt input", input_kind(Transform::Sqrt).into()),
        ("PROBLEMS", PROBLEMS as f64),
        ("functions of what is left", Left::MOST as f64),
        ("slope of its logarithm", (Left::SLOPE as f32).into()),
        ("its lowest logarithm", Left::RANGE.0),
        ("its highest logarithm", Left::RANGE.1),
    ];
    for tile in Tile::ALL {
        list.extend([
            ("side of a tile", tile.side().into()),
            ("terms of a tile's step", tile.depth().into()),
            ("threads of a tile", Tile::THREADS.into()),
            ("shared memory of a tile", tile.shared().into()),
        ]);
    }
    list
}

/// Writes what they are in the kernels. `numbers`: f64 `[constants().len()]`.
pub fn sarm_constants(numbers: Address) -> Launch {
    Launch::new("sarm_constants", 1, 32, &SarmConstants { numbers })
}
