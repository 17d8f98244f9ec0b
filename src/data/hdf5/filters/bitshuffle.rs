//! Bitshuffle: the bits of numbers sorted by their place, in blocks, which LZ4 or Zstandard may have packed.

use super::lz4::exactly;
use super::{bytes_at, unlz4, unzstd};

/// Bytes of a block where the file does not say: so many fit into a processor's first cache.
const TARGET: usize = 8192;

/// Undo the filter with these parameters: at most `most` bytes.
pub(super) fn decode(values: &[u32], data: &[u8], most: usize) -> Result<Vec<u8>, String> {
    let value = |at: usize| values.get(at).copied().unwrap_or(0);
    let size = (value(2) as usize).max(1);
    let default = (TARGET / size / 8 * 8).max(128);
    match value(4) {
        0 => {
            let block = match value(3) as usize {
                0 => default,
                n => n,
            };
            let mut out = vec![0; data.len()];
            for (range, sorted) in blocks(data.len(), size, block)? {
                match sorted {
                    true => unsort(&data[range.clone()], size, &mut out[range]),
                    false => out[range.clone()].copy_from_slice(&data[range]),
                }
            }
            Ok(out)
        }
        packer => {
            let total =
                usize::try_from(u64::from_be_bytes(bytes_at(data, 0)?)).unwrap_or(usize::MAX);
            if total > most {
                return Err("bitshuffle: it holds more than it should".into());
            }
            let block = match u32::from_be_bytes(bytes_at(data, 8)?) as usize / size {
                0 => default,
                n => n,
            };
            let mut out = vec![0; total];
            let mut at = 12;
            for (range, sorted) in blocks(total, size, block)? {
                let wanted = range.len();
                if !sorted {
                    let stored = data.get(at..).and_then(|d| d.get(..wanted));
                    out[range].copy_from_slice(stored.ok_or("bitshuffle: it ends too early")?);
                    at += wanted;
                    continue;
                }
                let stored = u32::from_be_bytes(bytes_at(data, at)?) as usize;
                let packed = (data.get(at + 4..))
                    .and_then(|d| d.get(..stored))
                    .ok_or("bitshuffle: it ends too early")?;
                let block = match packer {
                    2 => unlz4(packed, wanted)?,
                    _ => unzstd(packed, wanted)?,
                };
                unsort(&exactly(block, wanted)?, size, &mut out[range]);
                at += 4 + stored;
            }
            Ok(out)
        }
    }
}

/// The blocks that `bytes` bytes are sorted in: bytes, and whether they are sorted. The last numbers, fewer than eight, are
/// not.
fn blocks(
    bytes: usize,
    size: usize,
    block: usize,
) -> Result<impl Iterator<Item = (std::ops::Range<usize>, bool)>, String> {
    let step = block
        .checked_mul(size)
        .filter(|_| block.is_multiple_of(8) && block > 0);
    let step = step.ok_or("bitshuffle: its blocks are no multiple of eight numbers")?;
    let sorted = bytes / size / 8 * 8 * size;
    let whole = (0..sorted)
        .step_by(step)
        .map(move |at| (at..(at + step).min(sorted), true));
    Ok(whole.chain((sorted < bytes).then_some((sorted..bytes, false))))
}

/// Put the bits of each number together again. Both hold the same multiple of eight numbers of `size` bytes.
///
/// Bit k of byte b of all numbers stands in one row of bits, row 8 b + k.
pub(super) fn unsort(data: &[u8], size: usize, out: &mut [u8]) {
    let row = data.len() / size / 8;
    for byte in 0..size {
        for i in 0..row {
            let mut rows = 0u64;
            for bit in 0..8 {
                rows |= u64::from(data[(8 * byte + bit) * row + i]) << (8 * bit);
            }
            let numbers = transpose(rows).to_le_bytes();
            for (j, number) in numbers.into_iter().enumerate() {
                out[(8 * i + j) * size + byte] = number;
            }
        }
    }
}

/// A matrix of 8 x 8 bits, a row a byte, with rows and columns exchanged (Hacker's Delight, 7-3).
fn transpose(mut x: u64) -> u64 {
    for (shift, mask) in [
        (7, 0x00aa_00aa_00aa_00aa),
        (14, 0x0000_cccc_0000_cccc),
        (28, 0x0000_0000_f0f0_f0f0),
    ] {
        let t = (x ^ (x >> shift)) & mask;
        x ^= t ^ (t << shift);
    }
    x
}

#[cfg(test)]
mod tests {
    #[test]
    fn bits_go_where_they_came_from() {
        for row in 0..8 {
            for column in 0..8 {
                assert_eq!(
                    super::transpose(1 << (8 * row + column)),
                    1 << (8 * column + row)
                );
            }
        }
    }
}
