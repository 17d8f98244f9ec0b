//! Derivatives of a batch: those of its tiles, added in their order.

use rayon::prelude::*;

use crate::device::Cpu;

/// Tiles whose derivatives are there at once. It is no number of threads: sums would depend on it.
pub(super) const AT_ONCE: usize = 64;

/// What `work` finds of each of `tiles` tiles, and the sums of the derivatives that it adds to tensors like `like`. The same for any
/// number of threads.
pub(super) fn summed<T: Send>(
    cpu: &Cpu,
    tiles: usize,
    like: &[Vec<f32>],
    work: impl Fn(usize, &mut [Vec<f32>]) -> T + Sync,
) -> (Vec<T>, Vec<Vec<f32>>) {
    let zeros = || -> Vec<Vec<f32>> { like.iter().map(|tensor| vec![0.0; tensor.len()]).collect() };
    let mut sums = zeros();
    let mut found = Vec::with_capacity(tiles);
    for first in (0..tiles).step_by(AT_ONCE) {
        cpu.pool().install(|| {
            let (of_tiles, parts): (Vec<T>, Vec<Vec<Vec<f32>>>) = (first
                ..tiles.min(first + AT_ONCE))
                .into_par_iter()
                .map(|tile| {
                    let mut gradients = zeros();
                    (work(tile, &mut gradients), gradients)
                })
                .unzip();
            found.extend(of_tiles);
            sums.par_iter_mut().enumerate().for_each(|(tensor, sum)| {
                for part in &parts {
                    let each = sum.iter_mut().zip(&part[tensor]);
                    each.for_each(|(to, from)| *to += from);
                }
            });
        });
    }
    (found, sums)
}
