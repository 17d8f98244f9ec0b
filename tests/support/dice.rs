//! Chance for the tests that damage files: seeded, so that a failure can be had again.

/// Deterministic pseudorandom numbers (xorshift64); the seed is not 0.
pub struct Dice(pub u64);

impl Dice {
    /// A number below `sides`; 0 when there are none.
    pub fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides.max(1) as u64) as usize
    }
}
