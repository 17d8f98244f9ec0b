//! Derivatives of a batch: those of its tiles, added in their order.

use rayon::prelude::*;

use crate::device::Cpu;

/// Tiles whose derivatives are there at once, for each thread: few, so that they are still in a cache when they are added, and more than
/// one, so that threads seldom wait for each other.
pub(super) const AT_ONCE: usize = 2;

/// What `work` finds of each of `tiles` tiles, and the sums of the derivatives that it writes to tensors like `like`. The same for any
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
    let at_once = tiles.min(AT_ONCE * cpu.threads());
    let mut parts: Vec<Vec<Vec<f32>>> = (0..at_once).map(|_| zeros()).collect();
    for first in (0..tiles).step_by(at_once.max(1)) {
        let parts = &mut parts[..at_once.min(tiles - first)];
        cpu.pool().install(|| {
            let of_tiles = (parts.par_iter_mut().enumerate())
                .map(|(i, gradients)| work(first + i, gradients))
                .collect::<Vec<T>>();
            found.extend(of_tiles);
            sums.par_iter_mut().enumerate().for_each(|(tensor, sum)| {
                for part in parts.iter() {
                    let each = sum.iter_mut().zip(&part[tensor]);
                    each.for_each(|(to, from)| *to += from);
                }
            });
        });
    }
    (found, sums)
}
