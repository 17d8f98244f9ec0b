//! Counter-based random numbers: Philox4x32-10 (Salmon, Moraes, Dror, Shaw, SC'11).
//!
//! A number is a pure function of a key and a counter, so nothing depends on who asks first: image 7
//! is the same image in any batch, shard or thread, and a resumed run needs no generator state.
//! The counter is `[low 32 bits of n, high 32 bits of n, item, purpose]`: for drawing, `n` is the
//! image number and `item` the pixel's place in the order.

/// What a stream of random numbers is for; the last word of the counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Purpose {
    /// Drawing pixels: `n` = image number, `item` = place in the pixel order.
    Draw = 0,
    /// Order of the training images: `n` = epoch, `item` = place.
    Shuffle = 1,
    /// Initial parameters: `n` = place in the tensor, `item` = number of the tensor.
    Init = 2,
    /// Which rows validate: `n` = row.
    Split = 3,
    /// A random pixel order: `n` = place.
    Order = 4,
    /// Resampling for errors: `n` = observable, use and place, `item` = repeat.
    Bootstrap = 5,
    /// Made-up images and weights of benches and tests.
    Synthetic = 6,
    /// Drawing conditions: `n` = row, `item` = use.
    Condition = 7,
    /// Classifier tests: `n` = place, `item` = use, training and detail.
    Classify = 8,
    /// Which way round an image is shown in training: seed = step, `n` = row.
    Mirror = 9,
    /// Refining a model: `n` = place, `item` = round.
    Refine = 10,
    /// Noise of the codes of a VAE in training: seed = step, `n` = row, `item` = pair of latents, 2^31: the scale of a total.
    Vae = 11,
    /// Order of the images that a VAE's classifier learns from: `n` = place, `item` = epoch; the last one says which are held out.
    Classifier = 12,
    /// What it leaves out: seed of the training and step, `n` = four numbers of a batch, `item` = layer.
    Dropout = 13,
    /// Codes that a VAE's bound is averaged over: `n` = image number, `item` = pairs of a code times code + pair, 2^31 + code: its scale.
    Bound = 14,
}

/// Multipliers of the two halves of a round.
pub(crate) const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
/// What the key grows by each round (golden ratio, sqrt(3) - 1).
pub(crate) const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
/// Rounds of Philox4x32-10.
pub(crate) const ROUNDS: usize = 10;

/// Four random words for a counter under a key.
#[inline(always)]
pub fn philox(mut key: [u32; 2], mut counter: [u32; 4]) -> [u32; 4] {
    for _ in 0..ROUNDS {
        let a = u64::from(MULTIPLIERS[0]) * u64::from(counter[0]);
        let b = u64::from(MULTIPLIERS[1]) * u64::from(counter[2]);
        counter = [
            (b >> 32) as u32 ^ counter[1] ^ key[0],
            b as u32,
            (a >> 32) as u32 ^ counter[3] ^ key[1],
            a as u32,
        ];
        key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
    }
    counter
}

/// Both halves of a seed.
pub fn key(seed: u64) -> [u32; 2] {
    [seed as u32, (seed >> 32) as u32]
}

/// Four random words for place (`n`, `item`) of a purpose.
#[inline]
pub fn words(seed: u64, purpose: Purpose, n: u64, item: u32) -> [u32; 4] {
    philox(
        key(seed),
        [n as u32, (n >> 32) as u32, item, purpose as u32],
    )
}

/// A word as a number strictly between 0 and 1, on the 2^23 midpoints that an f32 holds exactly.
pub fn unit(word: u32) -> f32 {
    // The top 23 bits and a half: the largest is 1 - 2^-24, which f32 still tells from 1.
    ((word >> 9) as f32 + 0.5) * (1.0 / (1 << 23) as f32)
}

/// Two words as a number strictly between 0 and 1 with 52 random bits.
pub fn unit_f64(high: u32, low: u32) -> f64 {
    let bits = (u64::from(high) << 32 | u64::from(low)) >> 12;
    (bits as f64 + 0.5) / (1u64 << 52) as f64
}

/// A pair of independent standard normal numbers from four words (Box and Muller).
pub fn normal(words: [u32; 4]) -> [f64; 2] {
    let radius = (-2.0 * unit_f64(words[0], words[1]).ln()).sqrt();
    let angle = std::f64::consts::TAU * unit_f64(words[2], words[3]);
    [radius * angle.cos(), radius * angle.sin()]
}

/// `count` standard normal numbers for place `n` of a purpose, two from each call.
pub fn normals(seed: u64, purpose: Purpose, n: u64, count: usize) -> impl Iterator<Item = f32> {
    (0..count.div_ceil(2) as u32)
        .flat_map(move |pair| normal(words(seed, purpose, n, pair)))
        .map(|v| v as f32)
        .take(count)
}

/// The numbers `0 .. n` in an order that depends on seed, purpose and `stream` alone.
pub fn permutation(seed: u64, purpose: Purpose, stream: u32, n: usize) -> Vec<u32> {
    let mut keyed: Vec<(u64, u32)> = (0..n as u32)
        .map(|i| {
            let w = words(seed, purpose, u64::from(i), stream);
            (u64::from(w[0]) << 32 | u64::from(w[1]), i)
        })
        .collect();
    keyed.sort_unstable();
    keyed.into_iter().map(|(_, i)| i).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    // Known answers of the authors' Random123 distribution (kat_vectors, philox4x32 10).
    #[test]
    fn known_answers() {
        assert_eq!(
            philox([0, 0], [0; 4]),
            [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]
        );
        assert_eq!(
            philox([u32::MAX; 2], [u32::MAX; 4]),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
        assert_eq!(
            philox(
                [0xa409_3822, 0x299f_31d0],
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344]
            ),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn unit_stays_inside() {
        assert!(unit(0) > 0.0 && unit(u32::MAX) < 1.0);
        assert!(unit_f64(0, 0) > 0.0 && unit_f64(u32::MAX, u32::MAX) < 1.0);
    }

    #[test]
    fn permutation_is_one() {
        let mut p = permutation(3, Purpose::Shuffle, 1, 1000);
        assert_ne!(p, permutation(3, Purpose::Shuffle, 2, 1000));
        p.sort_unstable();
        assert!(p.iter().enumerate().all(|(i, v)| i as u32 == *v));
    }
}
