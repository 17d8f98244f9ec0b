//! Random numbers of resampling: pure functions of seed, stream, use and repeat.

use crate::random;
use crate::random::Purpose;

/// What random numbers are for; each has its own run of counters.
#[derive(Debug, Clone, Copy)]
pub(super) enum Use {
    Error = 0,
    Jetnet = 0x10,
    JetnetHalves = 0x11,
    Frechet = 0x20,
    FrechetHalves = 0x21,
    Kernel = 0x30,
    KernelHalves = 0x31,
    Unweight = 0x40,
    Floor = 0x80,
}

/// First of the streams that are not an observable's; one each class.
const CLASSES: u32 = 1 << 16;

/// The stream of a class as a whole.
pub(super) fn class_stream(class: u32) -> u32 {
    CLASSES + class
}

/// The random numbers of one repeat: words of [`crate::random`] one after another, so that every
/// repeat has its own whatever thread works on it.
pub(super) struct Random {
    seed: u64,
    /// Counter of the next four words; its top bits tell observables and uses apart.
    next: u64,
    repeat: u32,
    left: usize,
    words: [u32; 4],
}

impl Random {
    pub(super) fn new(seed: u64, stream: u32, usage: Use, repeat: usize) -> Self {
        Self {
            seed,
            next: u64::from(stream) << 32 | (usage as u64) << 24,
            repeat: repeat as u32,
            left: 0,
            words: [0; 4],
        }
    }

    /// A whole number below `n`, for `0 < n < 2^32`; its bias is below `n / 2^32`.
    #[inline]
    pub(super) fn below(&mut self, n: usize) -> usize {
        if self.left == 0 {
            self.words = random::words(self.seed, Purpose::Bootstrap, self.next, self.repeat);
            self.next += 1;
            self.left = self.words.len();
        }
        self.left -= 1;
        let word = self.words[self.left];
        ((u64::from(word) * n as u64) >> 32) as usize
    }

    /// A number from 0 to 1, both left out, in steps of `2^-32`.
    #[inline]
    pub(super) fn fraction(&mut self) -> f64 {
        const STEPS: f64 = (1u64 << 32) as f64;
        (self.below(u32::MAX as usize) as f64 + 0.5) / STEPS
    }
}

/// The numbers `0 .. n` in random order; not the numbers of any [`Random`].
///
/// `which` tells the orders of one stream apart.
pub(super) fn shuffled(seed: u64, stream: u32, which: u32, n: usize) -> Vec<u32> {
    // The repeats of a `Random` count up from 0.
    let item = u32::MAX - (stream - CLASSES) * 8 - which;
    random::permutation(seed, Purpose::Bootstrap, item, n)
}

/// Two random disjoint halves of `0 .. n`, each ascending; the first is the larger by at most one.
pub(super) fn halves(seed: u64, stream: u32, n: usize) -> [Vec<usize>; 2] {
    let order = shuffled(seed, stream, 0, n);
    let (first, second) = order.split_at(n - n / 2);
    [first, second].map(|half| {
        let mut half: Vec<usize> = half.iter().map(|i| *i as usize).collect();
        half.sort_unstable();
        half
    })
}

/// Mean and standard deviation (of a sample: divided by n - 1; 0 for one value).
pub(super) fn moments(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    (mean, (squares / (n - 1.0).max(1.0)).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_disjoint_and_hold_everything() {
        for n in [0, 1, 2, 7, 100] {
            let [a, b] = halves(3, class_stream(1), n);
            assert_eq!((a.len(), b.len()), (n - n / 2, n / 2));
            let mut all = [a, b].concat();
            all.sort_unstable();
            assert!(all.into_iter().eq(0..n));
        }
        assert_ne!(
            halves(3, class_stream(1), 50),
            halves(4, class_stream(1), 50)
        );
        assert_ne!(
            halves(3, class_stream(1), 50),
            halves(3, class_stream(2), 50)
        );
    }
}
