//! Elementary functions and vector lanes, the same bits on every instruction set.
//!
//! Every operation here is either correctly rounded by IEEE 754 (add, multiply, divide, fused
//! multiply-add) or built from such in one fixed order, so AVX2, AVX-512 and plain Rust agree bit
//! for bit, and a D+C image drawn on one machine is the image drawn on another. (The levels of a D+D
//! grid are powers, taken once per model from the platform's `powf`: their last bit is the platform's.)

mod elementary;
mod lanes;
mod linear;
mod real;

pub use elementary::{exp, expm1, gelu, gelu_and_slope, ln, sigmoid, softplus};
pub use lanes::{Isa, Kernel, LANES, Lanes, UnknownIsa, Vector};
pub use linear::solve;
pub use real::{Elementary, Real};
