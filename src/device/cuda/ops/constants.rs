//! Numbers that `kernels/common/` and the host both know; `kernels/common/constants.cu` says them.

use bytemuck::{Pod, Zeroable};

use crate::device::cuda::device::{Address, Launch};
use crate::nn::adam::{BETA_1, BETA_2, EPSILON};
use crate::random::{Purpose, unit, words};

/// `CommonConstants` of `kernels/common/constants.cu`.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct CommonConstants {
    numbers: Address,
}

/// What they are called, and what they are here.
pub fn constants() -> Vec<(&'static str, f64)> {
    let random = words(1 | 2 << 32, Purpose::Draw, 3 << 32 | 4, 5);
    vec![
        ("BETA_1", BETA_1.into()),
        ("BETA_2", BETA_2.into()),
        ("EPSILON", EPSILON.into()),
        ("Purpose::Draw", Purpose::Draw as u32 as f64),
        ("unit of the largest word", unit(u32::MAX).into()),
        ("unit of the smallest word", unit(0).into()),
        ("first random word", random[0].into()),
        ("second random word", random[1].into()),
        ("third random word", random[2].into()),
    ]
}

/// Writes what they are in the kernels. `numbers`: f64 `[constants().len()]`.
pub fn common_constants(numbers: Address) -> Launch {
    Launch::new("common_constants", 1, 32, &CommonConstants { numbers })
}
