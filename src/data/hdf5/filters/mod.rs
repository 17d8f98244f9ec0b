//! What HDF5 files do to their chunks before they store them, undone in memory-safe Rust.
//!
//! libhdf5's own decoders, and the plugins' for lzf and blosc, trust their input; here every size is checked before it is
//! allocated or written to.

mod bitshuffle;
mod blosc;
mod lz4;
mod lzf;

use flate2::{Decompress, FlushDecompress, Status};

pub(super) const DEFLATE: i32 = 1;
pub(super) const SHUFFLE: i32 = 2;
pub(super) const FLETCHER32: i32 = 3;
const LZF: i32 = 32000;
const BLOSC: i32 = 32001;
const LZ4: i32 = 32004;
const BITSHUFFLE: i32 = 32008;
pub(super) const ZSTD: i32 = 32015;

/// A filter of a data set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Filter {
    /// Its number in the HDF Group's register.
    pub id: i32,
    /// Its parameters.
    pub values: Vec<u32>,
}

impl Filter {
    /// Its name, for people.
    pub fn name(&self) -> String {
        match (self.id, self.values.first()) {
            (DEFLATE, Some(level)) => return format!("gzip {level}"),
            (BLOSC, _) => {
                let codec = match self.values.get(6) {
                    Some(1 | 2) => ", lz4",
                    Some(3) => ", snappy",
                    Some(4) => ", zlib",
                    Some(5) => ", zstd",
                    _ => "",
                };
                return format!("blosc{codec}");
            }
            _ => {}
        }
        let name = match self.id {
            DEFLATE => "gzip",
            SHUFFLE => "shuffle",
            FLETCHER32 => "fletcher32",
            4 => "szip",
            5 => "nbit",
            6 => "scaleoffset",
            305 => "lzo",
            307 => "bzip2",
            LZF => "lzf",
            32003 => "mafisc",
            LZ4 => "lz4",
            32006 => "fpzip",
            BITSHUFFLE => match self.values.get(4) {
                Some(2) => "bitshuffle, lz4",
                Some(3) => "bitshuffle, zstd",
                _ => "bitshuffle",
            },
            32013 => "zfp",
            ZSTD => "zstd",
            32017 => "sz",
            32018 => "fcidecomp",
            32019 => "jpeg",
            32024 => "sz3",
            32026 => "blosc2",
            32028 => "sperr",
            id => return format!("filter {id}"),
        };
        name.into()
    }

    /// Whether it can be undone here.
    pub fn is_known(&self) -> bool {
        match self.id {
            DEFLATE | SHUFFLE | FLETCHER32 | LZF | BLOSC | LZ4 | ZSTD => true,
            BITSHUFFLE => matches!(self.values.get(4), None | Some(0 | 2 | 3)),
            _ => false,
        }
    }

    /// Most bytes that one stored byte can become.
    pub fn most_expansion(&self) -> u64 {
        match self.id {
            // Four bytes for a block of 128 KiB of one value.
            ZSTD | BLOSC | BITSHUFFLE => 1 << 15,
            _ => 1100,
        }
    }
}

/// Undo `filters`, those that `mask` does not switch off, on a stored chunk: the `bytes` bytes that it holds.
///
/// `Err` says what is wrong with the chunk.
pub(super) fn decode(
    filters: &[Filter],
    mask: u32,
    stored: Vec<u8>,
    bytes: usize,
) -> Result<Vec<u8>, String> {
    // A checksum under a compressor adds its four bytes to what the compressor gives back.
    let most = bytes + 4 * filters.len();
    let mut data = stored;
    for (at, filter) in filters.iter().enumerate().rev() {
        if at < 32 && mask & (1 << at) != 0 {
            continue;
        }
        data = match filter.id {
            DEFLATE => inflate(&data, most)?,
            SHUFFLE => unshuffle(&data, filter.values.first().map_or(1, |n| *n as usize)),
            FLETCHER32 => check_fletcher32(data)?,
            LZF => lzf::decode(&data, most)?,
            BLOSC => blosc::decode(&data, most)?,
            LZ4 => lz4::decode(&data, most)?,
            BITSHUFFLE => bitshuffle::decode(&filter.values, &data, most)?,
            ZSTD => unzstd(&data, most)?,
            _ => return Err(format!("its filter {} is not known", filter.name())),
        };
    }
    match data.len() == bytes {
        true => Ok(data),
        false => Err(format!("it unpacks to {} bytes of {bytes}", data.len())),
    }
}

/// Undo zlib: at most `most` bytes.
fn inflate(data: &[u8], most: usize) -> Result<Vec<u8>, String> {
    let mut out = vec![0; most];
    let mut state = Decompress::new(true);
    let mut read = 0;
    loop {
        let (before_in, before_out) = (state.total_in(), state.total_out());
        let rest = out.get_mut(before_out as usize..).unwrap_or_default();
        let status = state
            .decompress(
                data.get(read..).unwrap_or_default(),
                rest,
                FlushDecompress::Finish,
            )
            .map_err(|e| format!("gzip: {e}"))?;
        read = state.total_in() as usize;
        if status == Status::StreamEnd {
            out.truncate(state.total_out() as usize);
            return Ok(out);
        }
        if (before_in, before_out) == (state.total_in(), state.total_out()) {
            return Err("gzip: it ends too early or holds more than it should".into());
        }
    }
}

/// Undo Zstandard: at most `most` bytes.
fn unzstd(data: &[u8], most: usize) -> Result<Vec<u8>, String> {
    use std::io::Read;
    let fail = |e: &dyn std::fmt::Display| format!("zstd: {e}");
    let decoder = ruzstd::decoding::StreamingDecoder::new(data).map_err(|e| fail(&e))?;
    let mut out = Vec::with_capacity(most);
    decoder
        .take(most as u64 + 1)
        .read_to_end(&mut out)
        .map_err(|e| fail(&e))?;
    match out.len() <= most {
        true => Ok(out),
        false => Err("zstd: it holds more than it should".into()),
    }
}

/// Undo LZ4's block format: `most` bytes at the most.
fn unlz4(data: &[u8], most: usize) -> Result<Vec<u8>, String> {
    let mut out = vec![0; most];
    let n = lz4_flex::block::decompress_into(data, &mut out).map_err(|e| format!("lz4: {e}"))?;
    out.truncate(n);
    Ok(out)
}

/// Put the bytes of each number together again: all first bytes come first, then all second ones.
fn unshuffle(data: &[u8], size: usize) -> Vec<u8> {
    let count = data.len() / size.max(1);
    if size <= 1 || count == 0 {
        return data.to_vec();
    }
    let mut out = vec![0; data.len()];
    let (planes, rest) = data.split_at(count * size);
    for (j, plane) in planes.chunks_exact(count).enumerate() {
        for (number, byte) in out.chunks_exact_mut(size).zip(plane) {
            number[j] = *byte;
        }
    }
    out[count * size..].copy_from_slice(rest);
    out
}

/// Cut off the checksum, which must be that of what comes before it.
fn check_fletcher32(mut data: Vec<u8>) -> Result<Vec<u8>, String> {
    let Some((body, stored)) = data.split_last_chunk::<4>() else {
        return Err("it is shorter than its checksum".into());
    };
    let sum = fletcher32(body);
    let [a, b, c, d] = sum.to_le_bytes();
    // Libraries before 1.6.3 swapped the bytes of its halves.
    if *stored != [a, b, c, d] && *stored != [b, a, d, c] {
        return Err("its checksum (fletcher32) is wrong".into());
    }
    data.truncate(data.len() - 4);
    Ok(data)
}

/// HDF5's Fletcher checksum, over big-endian words of 16 bits.
fn fletcher32(data: &[u8]) -> u32 {
    let fold = |s: u32| (s & 0xffff) + (s >> 16);
    let (mut a, mut b) = (0u32, 0u32);
    let (words, odd) = data.as_chunks::<2>();
    // So many additions cannot overflow.
    for part in words.chunks(360) {
        for word in part {
            a += u32::from(u16::from_be_bytes(*word));
            b += a;
        }
        (a, b) = (fold(a), fold(b));
    }
    if let [last] = odd {
        a += u32::from(*last) << 8;
        b += a;
        (a, b) = (fold(a), fold(b));
    }
    fold(b) << 16 | fold(a)
}

/// The `N` bytes of `data` from `at` on.
fn bytes_at<const N: usize>(data: &[u8], at: usize) -> Result<[u8; N], String> {
    let part = data.get(at..).and_then(<[u8]>::first_chunk::<N>);
    part.copied().ok_or_else(|| "it ends too early".into())
}
