//! A look at a file's global heaps before HDF5 sees them.
//!
//! Strings of variable length are kept in global heaps, and libhdf5 (2.2 and before) walks a damaged
//! heap for ever when its object 0 claims no bytes: `H5HG__cache_heap_deserialize` then takes steps
//! of length zero. So variable-length attributes are read only from files without such a heap.

use std::cell::OnceCell;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 4] = b"GCOL";
/// Headers of heaps and of their objects are padded to this.
const HEADER: u64 = 16;
/// Bytes looked through at once.
const BLOCK: usize = 1 << 20;

/// Whether no heap in the file makes HDF5 hang; `length_bytes` is the file's own size of a length.
///
/// Any four bytes that look like a heap's signature are taken for one: at worst a sound file's
/// attributes are not shown.
fn sound(path: &Path, length_bytes: usize) -> bool {
    matches!(length_bytes, 2 | 4 | 8) && scan(path, length_bytes).unwrap_or(false)
}

/// The heaps of an open file, looked at once and only where something needs them.
pub(super) struct Heaps {
    path: PathBuf,
    length_bytes: usize,
    sound: OnceCell<bool>,
}

impl Heaps {
    /// Those of `file`, opened from `path`.
    pub fn of(path: &Path, file: &hdf5::File) -> Self {
        Self {
            path: path.to_path_buf(),
            length_bytes: (file.create_plist()).map_or(0, |p| p.sizes().sizeof_size as usize),
            sound: OnceCell::new(),
        }
    }

    /// Those of a file without any.
    pub fn none() -> Self {
        Self {
            path: PathBuf::new(),
            length_bytes: 0,
            sound: OnceCell::from(false),
        }
    }

    /// Whether strings of variable length may be read.
    pub fn sound(&self) -> bool {
        *(self.sound).get_or_init(|| sound(&self.path, self.length_bytes))
    }
}

fn scan(path: &Path, length_bytes: usize) -> io::Result<bool> {
    let mut file = File::open(path)?;
    let mut heaps = Vec::new();
    let (mut offset, mut kept) = (0u64, 0usize);
    let mut buffer = vec![0; BLOCK];
    loop {
        let read = file.read(&mut buffer[kept..])?;
        let filled = kept + read;
        if read == 0 {
            break;
        }
        let found = buffer[..filled]
            .windows(MAGIC.len())
            .enumerate()
            .filter(|(_, w)| w == MAGIC);
        heaps.extend(found.map(|(at, _)| offset + at as u64));
        // The last bytes may begin a signature that the next block ends.
        kept = filled.min(MAGIC.len() - 1);
        buffer.copy_within(filled - kept..filled, 0);
        offset += (filled - kept) as u64;
    }
    // As many as fit beside each other: heaps that share objects would be walked over and over.
    let length = file.metadata()?.len();
    let mut steps = length / HEADER;
    for heap in heaps {
        if walk(&mut file, heap, length, length_bytes, &mut steps)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether walking the heap at `start` stands still, or takes more than `steps`, from which its own are taken.
fn walk(
    file: &mut File,
    start: u64,
    end_of_file: u64,
    length_bytes: usize,
    steps: &mut u64,
) -> io::Result<bool> {
    let Some(header) = fields(file, start, end_of_file)? else {
        return Ok(false);
    };
    let end = start
        .saturating_add(length(&header, length_bytes))
        .min(end_of_file);
    let mut at = start + HEADER;
    // The header is one.
    let Some(left) = steps.checked_sub(1) else {
        return Ok(true);
    };
    *steps = left;
    while at.saturating_add(HEADER) <= end {
        let Some(object) = fields(file, at, end_of_file)? else {
            return Ok(false);
        };
        let size = length(&object, length_bytes);
        let step = match u16::from_le_bytes([object[0], object[1]]) {
            0 => size,
            _ => HEADER.saturating_add(size.checked_next_multiple_of(8).unwrap_or(u64::MAX)),
        };
        if step == 0 || *steps == 0 {
            return Ok(true);
        }
        *steps -= 1;
        at = at.saturating_add(step);
    }
    Ok(false)
}

fn fields(file: &mut File, at: u64, end: u64) -> io::Result<Option<[u8; HEADER as usize]>> {
    if at.saturating_add(HEADER) > end {
        return Ok(None);
    }
    let mut bytes = [0; HEADER as usize];
    file.seek(SeekFrom::Start(at))?;
    file.read_exact(&mut bytes)?;
    Ok(Some(bytes))
}

/// The length at byte 8 of a header.
fn length(header: &[u8; HEADER as usize], length_bytes: usize) -> u64 {
    let field = header.iter().skip(8).take(length_bytes);
    field.rev().fold(0, |a, b| a << 8 | u64::from(*b))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OBJECTS: u64 = 100;

    /// A header of a heap, or of an object of it.
    fn header(start: &[u8], length: u64) -> Vec<u8> {
        let mut out = start.to_vec();
        out.resize(8, 0);
        out.extend(length.to_le_bytes());
        out
    }

    fn is_sound(bytes: &[u8]) -> bool {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("heaps");
        std::fs::write(&path, bytes).unwrap();
        sound(&path, 8)
    }

    #[test]
    fn heaps_that_share_their_objects_are_not_sound() {
        let empty = header(&[1, 0], 0);
        let objects = empty.repeat(OBJECTS as usize);
        // Each on its own.
        let heap = [header(MAGIC, HEADER * (OBJECTS + 1)), objects.clone()].concat();
        assert!(is_sound(&heap.repeat(5)));
        // The first object of each reaches to those that all share.
        let heaps = 100;
        let mut all = Vec::new();
        for left in (0..heaps).rev() {
            all.extend(header(MAGIC, 2 * HEADER * (left + 1) + HEADER * OBJECTS));
            all.extend(header(&[1, 0], 2 * HEADER * left));
        }
        all.extend(objects);
        assert!(!is_sound(&all));
    }
}
