//! Launchers of `kernels/common/rates.cu`: the copy, stream and matrix rates that bound every other kernel.

use bytemuck::{Pod, Zeroable};

use crate::device::cuda::device::{Address, Launch, Properties};

const THREADS: u32 = 256;
/// Threads of a block of [`stream_rate`].
const STREAM_THREADS: u32 = 1024;
/// What [`stream_rate`] reads is a multiple of so many words of 16 bytes.
pub const STREAM_STEP: u32 = 4 * STREAM_THREADS;
/// Fragments of two left and two right operands, u32 each, for 32 lanes.
pub const OPERANDS: usize = 12 * 32;
/// Multiply-adds of one warp in one round: eight products of 16 x 8 x 16.
const ROUND: u64 = 8 * 16 * 8 * 16;

/// `CopyRate` of `kernels/common/rates.cu`.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct CopyParameter {
    from: Address,
    to: Address,
    words: u64,
}

/// `StreamRate` of `kernels/common/rates.cu`.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct StreamParameter {
    from: Address,
    sums: Address,
    words: u32,
    rounds: u32,
}

/// `MatrixRate` of `kernels/common/rates.cu`.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct MatrixParameter {
    operands: Address,
    sums: Address,
    rounds: u32,
    unused: u32,
}

const _: () = assert!(size_of::<CopyParameter>() == 24 && size_of::<StreamParameter>() == 24);
const _: () = assert!(size_of::<MatrixParameter>() == 24);

/// Copies `words` words of 16 bytes from one place to another, both at multiples of 16 bytes.
pub fn copy_rate(properties: &Properties, from: Address, to: Address, words: u64) -> Launch {
    let parameter = CopyParameter { from, to, words };
    Launch::new(
        "copy_rate",
        8 * properties.multiprocessors,
        THREADS,
        &parameter,
    )
}

/// u32 values that [`stream_rate`] writes.
pub fn stream_sums(properties: &Properties) -> usize {
    (properties.multiprocessors * STREAM_THREADS) as usize
}

/// Reads the same `words` words of 16 bytes, at most 2^30 and a multiple of [`STREAM_STEP`], on every
/// multiprocessor `rounds` times. `sums`: u32 [[`stream_sums`]].
///
/// # Panics
/// On any other number of words.
pub fn stream_rate(
    properties: &Properties,
    from: Address,
    sums: Address,
    words: u32,
    rounds: u32,
) -> Launch {
    assert!(words.is_multiple_of(STREAM_STEP) && words <= 1 << 30);
    let parameter = StreamParameter {
        from,
        sums,
        words,
        rounds,
    };
    Launch::new(
        "stream_rate",
        properties.multiprocessors,
        STREAM_THREADS,
        &parameter,
    )
}

/// Blocks of [`matrix_rate`].
fn matrix_blocks(properties: &Properties) -> u32 {
    2 * properties.multiprocessors
}

/// f32 values that [`matrix_rate`] writes.
pub fn matrix_sums(properties: &Properties) -> usize {
    (matrix_blocks(properties) * THREADS) as usize
}

/// Floating-point operations of [`matrix_rate`], a multiply-add counting two.
pub fn matrix_operations(properties: &Properties, rounds: u32) -> f64 {
    let warps = u64::from(matrix_blocks(properties) * THREADS / 32);
    (2 * warps * ROUND * u64::from(rounds)) as f64
}

/// bf16 matrix products out of registers, on every multiprocessor. `operands`: u32 [[`OPERANDS`]], pairs of
/// bf16; `sums`: f32 [[`matrix_sums`]].
pub fn matrix_rate(
    properties: &Properties,
    operands: Address,
    sums: Address,
    rounds: u32,
) -> Launch {
    let parameter = MatrixParameter {
        operands,
        sums,
        rounds,
        unused: 0,
    };
    Launch::new(
        "matrix_rate",
        matrix_blocks(properties),
        THREADS,
        &parameter,
    )
}
