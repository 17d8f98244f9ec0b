//! Where many images stand, side by side: what is left of each one's total.

use crate::families::sarm::left::Place;
use crate::numeric::{LANES, Vector};

/// Where each of many images stands, as gates are shown it: share and logarithm, `[block][lane]`.
#[derive(Debug, Clone, Default)]
pub struct Places {
    share: Vec<f32>,
    logarithm: Vec<f32>,
}

impl Places {
    /// Of `count` images that have nothing.
    pub fn new(count: usize) -> Self {
        Self {
            share: vec![0.0; count],
            logarithm: vec![0.0; count],
        }
    }

    /// Put image (or cell) `i` where `at` says.
    #[inline(always)]
    pub fn set(&mut self, i: usize, at: Place<f32>) {
        self.share[i] = at.share;
        self.logarithm[i] = at.logarithm;
    }

    /// Those from `first` on, a vector of them.
    #[inline(always)]
    pub fn at<V: Vector>(&self, first: usize) -> Place<V> {
        // SAFETY: the slices hold LANES numbers.
        unsafe {
            Place {
                share: V::load(self.share[first..][..LANES].as_ptr()),
                logarithm: V::load(self.logarithm[first..][..LANES].as_ptr()),
            }
        }
    }
}
