//! Products of matrices.

/// A matrix of `rows x columns` values, element (r, c) at `r * strides.0 + c * strides.1`.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    pub data: &'a [f32],
    pub strides: (usize, usize),
}

/// `to += a b`, `to` row-major `[m, n]`, the sum over `k`; in the calling thread.
///
/// # Panics
/// Where a size is 0, `to` is not `[m, n]`, or an element lies outside its slice.
pub(crate) fn add_product(
    to: &mut [f32],
    (m, k, n): (usize, usize, usize),
    a: Matrix<'_>,
    b: Matrix<'_>,
) {
    let last =
        |rows: usize, columns: usize, (r, c): (usize, usize)| (rows - 1) * r + (columns - 1) * c;
    assert!(m > 0 && k > 0 && n > 0 && to.len() == m * n);
    assert!(last(m, k, a.strides) < a.data.len() && last(k, n, b.strides) < b.data.len());
    let stride = |s: usize| s as isize;
    // SAFETY: the assertions above say that every element of the three matrices lies in its slice; `to` is borrowed
    // for writing, so it overlaps neither.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            to.as_mut_ptr(),
            1,
            stride(n),
            true,
            a.data.as_ptr(),
            stride(a.strides.1),
            stride(a.strides.0),
            b.data.as_ptr(),
            stride(b.strides.1),
            stride(b.strides.0),
            1.0f32,
            1.0f32,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}
