//! Blosc's format, version 1: blocks, split by the bytes of a number, packed by one of five programs.

use super::bitshuffle::unsort;
use super::lz4::{copy_back, exactly};
use super::{bytes_at, inflate, unlz4, unshuffle, unzstd};

/// Numbers above so many bytes are not split, nor are blocks with fewer than [`LEAST`] of them.
const MOST_SPLITS: usize = 16;
const LEAST: usize = 128;

/// Unpack `data`: at most `most` bytes.
pub(super) fn decode(data: &[u8], most: usize) -> Result<Vec<u8>, String> {
    let [_, _, flags, size] = bytes_at(data, 0)?;
    let field = |at| bytes_at(data, at).map(|b| u32::from_le_bytes(b) as usize);
    let (total, block) = (field(4)?, field(8)?);
    let size = usize::from(size).max(1);
    if total > most || (block == 0 && total > 0) {
        return Err("blosc: it holds more than it should".into());
    }
    if flags & 2 != 0 {
        let stored = data.get(16..).and_then(|d| d.get(..total));
        return stored
            .map(<[u8]>::to_vec)
            .ok_or("blosc: it ends too early".into());
    }
    let mut out = Vec::with_capacity(total);
    for (i, start) in (0..total).step_by(block.max(1)).enumerate() {
        let wanted = block.min(total - start);
        let splits = match flags & 0x10 == 0
            && size <= MOST_SPLITS
            && block / size >= LEAST
            && wanted == block
            && block.is_multiple_of(size)
        {
            true => size,
            false => 1,
        };
        let mut at = field(16 + 4 * i)?;
        let mut unpacked = Vec::with_capacity(wanted);
        for _ in 0..splits {
            let stored = field(at)?;
            let packed = (data.get(at + 4..))
                .and_then(|d| d.get(..stored))
                .ok_or("blosc: it ends too early")?;
            let part = wanted / splits;
            if stored == part {
                unpacked.extend_from_slice(packed);
            } else {
                unpacked.extend(exactly(unpack(flags >> 5, packed, part)?, part)?);
            }
            at += 4 + stored;
        }
        let numbers = wanted / size;
        if flags & 4 != 0 {
            // Blocks of another number of numbers are left as they are.
            if numbers.is_multiple_of(8) && numbers > 0 {
                let sorted = numbers * size;
                let from = out.len();
                out.extend_from_slice(&unpacked);
                unsort(&unpacked[..sorted], size, &mut out[from..from + sorted]);
            } else {
                out.extend(unpacked);
            }
        } else if flags & 1 != 0 {
            out.extend(unshuffle(&unpacked, size));
        } else {
            out.extend(unpacked);
        }
    }
    Ok(out)
}

fn unpack(program: u8, data: &[u8], most: usize) -> Result<Vec<u8>, String> {
    match program {
        0 => blosclz(data, most),
        1 => unlz4(data, most),
        2 => {
            let size = snap::raw::decompress_len(data).map_err(|e| format!("snappy: {e}"))?;
            if size > most {
                return Err("snappy: it holds more than it should".into());
            }
            let mut decoder = snap::raw::Decoder::new();
            decoder
                .decompress_vec(data)
                .map_err(|e| format!("snappy: {e}"))
        }
        3 => inflate(data, most),
        4 => unzstd(data, most),
        n => Err(format!("blosc: its program {n} is not known")),
    }
}

/// Blosc's own packer, FastLZ with longer distances.
fn blosclz(data: &[u8], most: usize) -> Result<Vec<u8>, String> {
    /// Distances above it take two more bytes.
    const FAR: usize = 8191;
    let fail = || "blosclz: it is damaged".to_string();
    let mut out = Vec::with_capacity(most);
    let mut bytes = data.iter().map(|b| usize::from(*b));
    let mut next = || bytes.next();
    let mut control = next().ok_or_else(fail)? & 31;
    loop {
        if control >= 32 {
            let mut length = (control >> 5) - 1;
            let high = (control & 31) << 8;
            if length == 6 {
                loop {
                    let more = next().ok_or_else(fail)?;
                    length += more;
                    if more != 255 {
                        break;
                    }
                }
            }
            let low = next().ok_or_else(fail)?;
            let distance = match (low, high) {
                (255, 0x1f00) => (next().ok_or_else(fail)? << 8) + next().ok_or_else(fail)? + FAR,
                _ => high + low,
            };
            if !copy_back(&mut out, distance + 1, length + 3, most) {
                return Err(fail());
            }
        } else {
            for _ in 0..=control {
                out.push(next().ok_or_else(fail)? as u8);
            }
            if out.len() > most {
                return Err(fail());
            }
        }
        match next() {
            Some(byte) => control = byte,
            None => return Ok(out),
        }
    }
}
