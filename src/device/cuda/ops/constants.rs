//! Numbers that `kernels/common/` and the host both know; `kernels/common/constants.cu` says them.

use bytemuck::{Pod, Zeroable};

use crate::device::cuda::device::{Address, Launch};

/// `CommonConstants` of `kernels/common/constants.cu`.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct CommonConstants {
    numbers: Address,
}

/// Writes what they are in the kernels. `numbers`: f64, as many as `tests/cuda/kernels/constants.rs` lists.
pub fn common_constants(numbers: Address) -> Launch {
    Launch::new("common_constants", 1, 32, &CommonConstants { numbers })
}
