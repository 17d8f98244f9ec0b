//! The LZ4 filter's frame: sizes, then blocks.

use super::{bytes_at, unlz4};

/// Unpack `data`: at most `most` bytes.
pub(super) fn decode(data: &[u8], most: usize) -> Result<Vec<u8>, String> {
    let total = u64::from_be_bytes(bytes_at(data, 0)?);
    let block = u32::from_be_bytes(bytes_at(data, 8)?) as usize;
    let total = (usize::try_from(total).ok())
        .filter(|n| *n <= most && (block > 0 || *n == 0))
        .ok_or("lz4: it holds more than it should")?;
    let mut out = Vec::with_capacity(total);
    let mut at = 12;
    while out.len() < total {
        let size = u32::from_be_bytes(bytes_at(data, at)?) as usize;
        let wanted = block.min(total - out.len());
        let stored = (data.get(at + 4..))
            .and_then(|d| d.get(..size))
            .ok_or("lz4: it ends too early")?;
        if size == wanted {
            out.extend_from_slice(stored);
        } else {
            out.extend(exactly(unlz4(stored, wanted)?, wanted)?);
        }
        at += 4 + size;
    }
    Ok(out)
}

/// `data`, if it is `size` bytes.
pub(super) fn exactly(data: Vec<u8>, size: usize) -> Result<Vec<u8>, String> {
    match data.len() == size {
        true => Ok(data),
        false => Err(format!("a block unpacks to {} of {size} bytes", data.len())),
    }
}

/// Append `length` bytes that stand `distance` bytes before the end, which may overlap with themselves; `false` where
/// there is no such place or more than `most` bytes would be there.
pub(super) fn copy_back(out: &mut Vec<u8>, distance: usize, length: usize, most: usize) -> bool {
    let Some(from) = out.len().checked_sub(distance) else {
        return false;
    };
    if out.len() + length > most {
        return false;
    }
    if distance >= length {
        out.extend_from_within(from..from + length);
    } else {
        for i in from..from + length {
            out.push(out[i]);
        }
    }
    true
}
