//! The compiled kernels, as `build.rs` embeds them.

/// One compiled kernel file.
pub struct Image {
    pub name: &'static str,
    pub kernels: &'static [&'static str],
    pub bytes: &'static [u8],
}

/// The driver reads a fat binary's headers in place.
#[repr(C, align(64))]
struct Aligned<B: ?Sized>(B);

include!(concat!(env!("OUT_DIR"), "/kernels.rs"));
