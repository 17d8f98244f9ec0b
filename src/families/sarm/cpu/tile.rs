//! The one matrix kernel: a register tile that sums in ascending order, and weights packed for it.
//!
//! Every number the network computes is one chain of fused multiply-adds, started from the bias and
//! taken in ascending order of the units read. A tile loads its sums from memory and stores them
//! back, so a chain may be cut anywhere (blocks, panels, pushes) and still gives the same bits.
//! That is why the incremental sampler equals the naive one exactly, and why no GEMM library, each
//! with an order of its own, can stand here.

use crate::numeric::{LANES, Vector};

/// Rows and columns are padded to whole vectors.
pub fn padded(n: usize) -> usize {
    n.next_multiple_of(LANES)
}

/// Where one tile reads and writes; all offsets in numbers.
#[derive(Clone, Copy)]
struct Operands<'a> {
    /// Left operand: element (row, k) of part p is `a[p * a_part + row * a_row + k * a_k]`.
    pub a: *const f32,
    pub a_part: usize,
    pub a_row: usize,
    pub a_k: usize,
    /// Right operand: vector k of part p starts at `b[p * b_part + k * b_k]`.
    pub b: *const f32,
    pub b_part: usize,
    pub b_k: usize,
    /// Sums: row r is the vector at `c[r * c_row]`.
    pub c: *mut f32,
    pub c_row: usize,
    /// The sum runs over `parts` runs of `depth`.
    pub parts: usize,
    pub depth: usize,
    /// If given, the terms of each run that are not 0, ascending; the others are left out.
    pub terms: Option<&'a [u32]>,
}

/// `sums[r] += a[r a_row] b`.
///
/// # Safety
/// A vector lies at `b`, and a number at each of the `R` places of `a`.
#[inline(always)]
unsafe fn term<V: Vector, const R: usize>(
    a: *const f32,
    a_row: usize,
    b: *const f32,
    sums: &mut [V; R],
) {
    // SAFETY: the caller vouches for every address formed here.
    unsafe {
        let right = V::load(b);
        for (r, sum) in sums.iter_mut().enumerate() {
            *sum = V::splat(*a.add(r * a_row)).fma(right, *sum);
        }
    }
}

/// `c[r] += sum_k a[r, k] b[k]` for `R` rows.
///
/// # Safety
/// Every element that [`Operands`]'s formulas name is inside its allocation, and no other thread touches `c`.
#[inline(always)]
unsafe fn rows<V: Vector, const R: usize>(t: Operands<'_>) {
    // SAFETY: the caller vouches for every address formed here.
    unsafe {
        let mut sums = [V::splat(0.0); R];
        for (r, sum) in sums.iter_mut().enumerate() {
            *sum = V::load(t.c.add(r * t.c_row));
        }
        for part in 0..t.parts {
            let (a, b) = (t.a.add(part * t.a_part), t.b.add(part * t.b_part));
            match t.terms {
                None => {
                    for k in 0..t.depth {
                        term(a.add(k * t.a_k), t.a_row, b.add(k * t.b_k), &mut sums);
                    }
                }
                Some(terms) => {
                    for k in terms {
                        let k = *k as usize;
                        term(a.add(k * t.a_k), t.a_row, b.add(k * t.b_k), &mut sums);
                    }
                }
            }
        }
        for (r, sum) in sums.iter().enumerate() {
            sum.store(t.c.add(r * t.c_row));
        }
    }
}

/// [`rows`] for a number of rows known at run time, at most `V::TILE_ROWS`.
///
/// # Safety
/// As for [`rows`].
#[inline(always)]
unsafe fn tile<V: Vector>(count: usize, t: Operands<'_>) {
    assert!(count <= V::TILE_ROWS, "planned for another instruction set");
    // SAFETY: passed on.
    unsafe {
        match count {
            1 => rows::<V, 1>(t),
            2 => rows::<V, 2>(t),
            3 => rows::<V, 3>(t),
            4 => rows::<V, 4>(t),
            5 if V::TILE_ROWS > 4 => rows::<V, 5>(t),
            6 if V::TILE_ROWS > 4 => rows::<V, 6>(t),
            7 if V::TILE_ROWS > 6 => rows::<V, 7>(t),
            8 if V::TILE_ROWS > 6 => rows::<V, 8>(t),
            9 if V::TILE_ROWS > 6 => rows::<V, 9>(t),
            10 if V::TILE_ROWS > 6 => rows::<V, 10>(t),
            11 if V::TILE_ROWS > 6 => rows::<V, 11>(t),
            12 if V::TILE_ROWS > 6 => rows::<V, 12>(t),
            _ => {}
        }
    }
}

/// A product to be tiled: `c[r, j] += sum_k a[r, k] b[k, j]`, the sum over `parts` runs of `depth`.
pub struct Product<'a> {
    /// Element (r, k) of part p is `a[p * a_part + r * a_row + k * a_k]`.
    pub a: &'a [f32],
    pub a_part: usize,
    pub a_row: usize,
    pub a_k: usize,
    /// Row k of part p starts at `b[p * b_part + k * b_k]`.
    pub b: &'a [f32],
    pub b_part: usize,
    pub b_k: usize,
    /// Row r starts at `c[r * c_row]`.
    pub c: &'a mut [f32],
    pub c_row: usize,
    pub parts: usize,
    pub depth: usize,
    /// Rows and columns of the sums; columns are whole vectors.
    pub rows: usize,
    pub columns: usize,
}

/// Run a [`Product`] in tiles.
#[inline(always)]
pub fn for_tiles<V: Vector>(p: Product) {
    if p.rows == 0 || p.columns == 0 || p.parts == 0 || p.depth == 0 {
        return;
    }
    let (part, k, row) = (p.parts - 1, p.depth - 1, p.rows - 1);
    assert!(p.columns.is_multiple_of(LANES));
    assert!(p.a.len() > part * p.a_part + row * p.a_row + k * p.a_k);
    assert!(p.b.len() >= part * p.b_part + k * p.b_k + p.columns);
    assert!(p.c.len() >= row * p.c_row + p.columns);
    for first in (0..p.rows).step_by(V::TILE_ROWS) {
        for column in (0..p.columns).step_by(LANES) {
            // SAFETY: the last element of each operand was checked above, strides are not negative, and
            // `c` is borrowed alone.
            unsafe {
                tile::<V>(
                    V::TILE_ROWS.min(p.rows - first),
                    Operands {
                        a: p.a.as_ptr().add(first * p.a_row),
                        a_part: p.a_part,
                        a_row: p.a_row,
                        a_k: p.a_k,
                        b: p.b.as_ptr().add(column),
                        b_part: p.b_part,
                        b_k: p.b_k,
                        c: p.c.as_mut_ptr().add(first * p.c_row + column),
                        c_row: p.c_row,
                        parts: p.parts,
                        depth: p.depth,
                        terms: None,
                    },
                );
            }
        }
    }
}

/// A few rows of a packed matrix: element (row, k) at `offset + k * rows + row`.
#[derive(Debug, Clone, Copy)]
pub struct Panel {
    /// First row of the matrix.
    pub first: usize,
    /// Rows in the panel.
    pub rows: usize,
    /// First column packed.
    pub start: usize,
    /// Columns packed, from `start` on.
    pub depth: usize,
    offset: usize,
}

/// A matrix cut into panels of at most a tile's rows, each as deep as its rows read.
#[derive(Debug, Clone, Default)]
pub struct Packed {
    panels: Vec<Panel>,
    data: Vec<f32>,
}

impl Packed {
    /// Plan panels over row ranges: `cuts` ascending, a panel never crosses one; `columns(first, last)`
    /// gives the columns that rows `first ..= last` read between them.
    pub fn plan(
        cuts: &[usize],
        tile_rows: usize,
        columns: impl Fn(usize, usize) -> std::ops::Range<usize>,
    ) -> Self {
        let mut panels = Vec::new();
        let mut offset = 0;
        for ends in cuts.windows(2) {
            let mut first = ends[0];
            while first < ends[1] {
                let rows = tile_rows.min(ends[1] - first);
                let range = columns(first, first + rows - 1);
                let depth = range.len();
                panels.push(Panel {
                    first,
                    rows,
                    start: range.start,
                    depth,
                    offset,
                });
                offset += rows * depth;
                first += rows;
            }
        }
        Self {
            panels,
            data: vec![0.0; offset],
        }
    }

    /// Fill the panels from a row-major matrix.
    pub fn fill(&mut self, matrix: &[f32], stride: usize) {
        for p in &self.panels {
            let out = &mut self.data[p.offset..p.offset + p.rows * p.depth];
            for r in 0..p.rows {
                let row = &matrix[(p.first + r) * stride + p.start..][..p.depth];
                for (o, v) in out.iter_mut().skip(r).step_by(p.rows).zip(row) {
                    *o = *v;
                }
            }
        }
    }

    /// Fill the panels from the transpose of a row-major matrix.
    pub fn fill_transposed(&mut self, matrix: &[f32], stride: usize) {
        for p in &self.panels {
            let out = &mut self.data[p.offset..p.offset + p.rows * p.depth];
            for (k, o) in out.chunks_exact_mut(p.rows).enumerate() {
                o.copy_from_slice(&matrix[(p.start + k) * stride + p.first..][..p.rows]);
            }
        }
    }

    /// The panels, by ascending first row.
    pub fn panels(&self) -> &[Panel] {
        &self.panels
    }

    /// `c[row] += sum_k w[row, k] b[k]` for the rows of one panel, on one block of lanes.
    ///
    /// `b` holds vectors from column 0 of the matrix on, `c` vectors from row 0 on. `terms`, if given, are the columns of the
    /// panel, ascending and counted from its first, whose vectors in `b` are not 0.
    #[inline(always)]
    pub fn multiply<V: Vector>(
        &self,
        panel: &Panel,
        b: &[f32],
        c: &mut [f32],
        terms: Option<&[u32]>,
    ) {
        assert!(terms.is_none_or(|t| t.iter().all(|k| (*k as usize) < panel.depth)));
        assert!(b.len() >= (panel.start + panel.depth) * LANES);
        assert!(c.len() >= (panel.first + panel.rows) * LANES);
        assert!(self.data.len() >= panel.offset + panel.rows * panel.depth);
        // SAFETY: the terms and the three lengths above cover what the tile reads and writes; `c` is borrowed alone.
        unsafe {
            tile::<V>(
                panel.rows,
                Operands {
                    a: self.data.as_ptr().add(panel.offset),
                    a_part: 0,
                    a_row: 1,
                    a_k: panel.rows,
                    b: b.as_ptr().add(panel.start * LANES),
                    b_part: 0,
                    b_k: LANES,
                    c: c.as_mut_ptr().add(panel.first * LANES),
                    c_row: LANES,
                    parts: 1,
                    depth: panel.depth,
                    terms,
                },
            );
        }
    }
}

/// Set the vectors of rows `first ..` of `c` to a bias each.
#[inline(always)]
pub fn start_from_bias(bias: &[f32], c: &mut [f32]) {
    for (b, out) in bias.iter().zip(c.chunks_exact_mut(LANES)) {
        out.fill(*b);
    }
}
