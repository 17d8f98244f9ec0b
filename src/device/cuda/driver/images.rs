//! The kernel files that were compiled in, as `build.rs` lists them.

/// One compiled kernel file.
pub struct Image {
    /// `sarm/mixture` of `kernels/sarm/mixture.cu`.
    pub name: &'static str,
    /// The kernels in it.
    pub kernels: &'static [&'static str],
    /// Machine code for several kinds of cards, and PTX.
    pub bytes: &'static [u8],
}

/// The driver reads a fat binary's headers in place.
#[repr(C, align(64))]
struct Aligned<B: ?Sized>(B);

include!(concat!(env!("OUT_DIR"), "/kernels.rs"));
