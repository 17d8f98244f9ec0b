//! Arrays that numpy saved: `.npy`, and `.npz`, a ZIP archive of them.

use std::cell::{OnceCell, RefCell};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::rc::Rc;

use flate2::read::DeflateDecoder;
use zip::{CompressionMethod, ZipArchive};

use super::element::{Element, Kind};
use super::flat::{Bytes, Flat, Part, Piece, Stream, Sum};

/// The first bytes of an array.
const MAGIC: &[u8] = b"\x93NUMPY";
/// The first bytes of an archive, and of one without members.
const ARCHIVE: [&[u8]; 2] = [b"PK\x03\x04", b"PK\x05\x06"];
/// Longest header: numpy's own are below 64 KiB.
const MOST_HEADER: usize = 1 << 20;
/// Largest array that is unpacked into memory, because its order allows no reading row by row.
const MOST_MEMORY: u64 = 1 << 30;

/// The name of the array of an `.npy` file.
const SINGLE: &str = "image";

/// An array of a file.
pub(super) struct Array {
    /// The array, or why it cannot be read.
    pub flat: Result<Flat, Refused>,
    /// Whether it is compressed.
    pub deflated: bool,
    /// Bytes that it takes in the file.
    pub stored: u64,
}

/// Why an array cannot be read, and what to do.
#[derive(Debug, Clone)]
pub(super) struct Refused {
    pub why: String,
    pub suggestion: &'static str,
}

fn refused(why: impl Into<String>, suggestion: &'static str) -> Refused {
    Refused {
        why: why.into(),
        suggestion,
    }
}

const DAMAGED: &str = "check that the file is complete, with numpy.load for example";

/// Whether a file that begins with `start` is one of numpy's.
pub(super) fn is_numpy(start: &[u8], path: &Path) -> bool {
    let archive = ARCHIVE.iter().any(|magic| start.starts_with(magic));
    start.starts_with(MAGIC) || (archive && path.extension().is_some_and(|e| e == "npz"))
}

/// What an archive says of a member.
struct Entry {
    /// Its name, without `.npy`.
    name: String,
    method: CompressionMethod,
    /// Where it begins, unknown of what is damaged.
    start: Option<u64>,
    /// Packed and unpacked bytes.
    stored: u64,
    size: u64,
    crc: u32,
}

/// Names of the arrays of a file, of which none is looked at. That of an `.npy` file is called `image`.
pub(super) fn names(file: &Rc<File>) -> io::Result<Vec<String>> {
    if is_single(file)? {
        return Ok(vec![SINGLE.into()]);
    }
    Ok(entries(file)?.into_iter().map(|e| e.name).collect())
}

/// The array `name` of a file; `None` if there is none.
pub(super) fn open(file: &Rc<File>, name: &str) -> io::Result<Option<Array>> {
    let bytes = file.metadata()?.len();
    if is_single(file)? {
        let flat = || header(&mut Part::new(file.clone(), 0, bytes))?.in_pieces(file, 0, bytes);
        return Ok((name == SINGLE).then(|| Array {
            flat: flat(),
            deflated: false,
            stored: bytes,
        }));
    }
    let found = entries(file)?.into_iter().find(|e| e.name == name);
    Ok(found.map(|entry| Array {
        deflated: entry.method != CompressionMethod::Stored,
        stored: entry.stored,
        flat: entry.flat(file, bytes),
    }))
}

/// Whether a file is one array and no archive.
fn is_single(file: &Rc<File>) -> io::Result<bool> {
    let mut start = [0; MAGIC.len()];
    Part::new(file.clone(), 0, start.len() as u64).read_exact(&mut start)?;
    Ok(start == MAGIC)
}

/// The arrays of an archive.
fn entries(file: &Rc<File>) -> io::Result<Vec<Entry>> {
    let mut archive = ZipArchive::new(file.as_ref()).map_err(io::Error::other)?;
    let mut entries = Vec::new();
    for i in 0..archive.len() {
        let member = archive.by_index_raw(i).map_err(io::Error::other)?;
        let name = member.name().map_err(io::Error::other)?;
        let Some(name) = name.strip_suffix(".npy").map(str::to_string) else {
            continue;
        };
        entries.push(Entry {
            name,
            method: member.compression(),
            start: member.data_start(),
            stored: member.compressed_size(),
            size: member.size(),
            crc: member.crc32(),
        });
    }
    Ok(entries)
}

impl Entry {
    /// The array in a file of `bytes`.
    fn flat(&self, file: &Rc<File>, bytes: u64) -> Result<Flat, Refused> {
        let (stored, fits) = (self.stored, |start: &u64| {
            start
                .checked_add(self.stored)
                .is_some_and(|end| end <= bytes)
        });
        let Some(start) = self.start.filter(fits) else {
            return Err(refused("it ends after the end of the file", DAMAGED));
        };
        let mut flat = match self.method {
            CompressionMethod::Stored => {
                header(&mut Part::new(file.clone(), start, stored))?.in_pieces(file, start, stored)
            }
            CompressionMethod::DEFLATE => deflated(file, start, stored, self.size),
            other => Err(refused(
                format!("it is packed with {other}"),
                "save it with numpy.savez_compressed",
            )),
        }?;
        let part = Part::new(file.clone(), start, stored);
        let deflated = self.method == CompressionMethod::DEFLATE;
        flat.sum = Some(Sum::new(part, deflated, self.crc));
        Ok(flat)
    }
}

fn deflated(file: &Rc<File>, start: u64, stored: u64, size: u64) -> Result<Flat, Refused> {
    // Deflate reaches 1032.
    if size / 1100 > stored + 1 {
        return Err(refused(
            format!("it declares {size} bytes, more than {stored} can hold"),
            DAMAGED,
        ));
    }
    let header = header(&mut DeflateDecoder::new(Part::new(
        file.clone(),
        start,
        stored,
    )))?;
    let bytes = header.check(size)?;
    let stream = RefCell::new(Stream::new(file.clone(), start, stored, header.bytes));
    let bytes = if header.fortran && header.shape.len() > 1 {
        if bytes > MOST_MEMORY {
            return Err(refused(
                "it is compressed and in Fortran's order, so that its rows cannot be read one by one",
                "save numpy.ascontiguousarray of it",
            ));
        }
        Bytes::Memory {
            stream,
            size: bytes,
            all: OnceCell::new(),
        }
    } else {
        Bytes::Deflated(stream)
    };
    Ok(header.flat(bytes))
}

/// What stands before an array's numbers.
#[derive(Debug, PartialEq)]
struct Header {
    element: Element,
    fortran: bool,
    shape: Vec<usize>,
    /// Its own length.
    bytes: u64,
}

impl Header {
    /// Bytes of the array, which must be there among `all` bytes of header and array.
    fn check(&self, all: u64) -> Result<u64, Refused> {
        let wanted = (self.shape.iter())
            .try_fold(self.element.bytes as u64, |a, n| a.checked_mul(*n as u64));
        let there = all.saturating_sub(self.bytes);
        wanted.filter(|w| *w <= there).ok_or_else(|| {
            refused(
                format!(
                    "its shape is {:?} but only {there} bytes are there",
                    self.shape
                ),
                DAMAGED,
            )
        })
    }

    fn in_pieces(self, file: &Rc<File>, start: u64, all: u64) -> Result<Flat, Refused> {
        let size = self.check(all)?;
        let piece = Piece {
            file: file.clone(),
            start: start + self.bytes,
            size,
        };
        Ok(self.flat(Bytes::Pieces(vec![piece])))
    }

    fn flat(self, bytes: Bytes) -> Flat {
        Flat {
            shape: self.shape,
            element: self.element,
            fortran: self.fortran,
            bytes,
            sum: None,
        }
    }
}

/// Read an array's header, of version 1 to 3.
fn header(from: &mut impl Read) -> Result<Header, Refused> {
    let damaged = |e: io::Error| refused(e.to_string(), DAMAGED);
    let mut start = [0; 8];
    from.read_exact(&mut start).map_err(damaged)?;
    if !start.starts_with(MAGIC) {
        return Err(refused("it is no array of numpy's", DAMAGED));
    }
    let version = start[6];
    let (length, lead) = match version {
        1 => {
            let mut bytes = [0; 2];
            from.read_exact(&mut bytes).map_err(damaged)?;
            (u16::from_le_bytes(bytes) as usize, 10)
        }
        2 | 3 => {
            let mut bytes = [0; 4];
            from.read_exact(&mut bytes).map_err(damaged)?;
            (u32::from_le_bytes(bytes) as usize, 12)
        }
        n => {
            return Err(refused(
                format!("its format has version {n}"),
                "save it with numpy.save",
            ));
        }
    };
    if length > MOST_HEADER {
        return Err(refused(format!("its header has {length} bytes"), DAMAGED));
    }
    let mut text = vec![0; length];
    from.read_exact(&mut text).map_err(damaged)?;
    let text = String::from_utf8_lossy(&text);
    let (element, fortran, shape) = fields(&text)?;
    Ok(Header {
        element,
        fortran,
        shape,
        bytes: (lead + length) as u64,
    })
}

/// Type, order and shape from `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`.
fn fields(text: &str) -> Result<(Element, bool, Vec<usize>), Refused> {
    let bad = || refused("its header makes no sense", DAMAGED);
    let after = |key: &str| {
        let at = text.find(&format!("'{key}'"))?;
        Some(
            text[at + key.len() + 2..]
                .trim_start()
                .strip_prefix(':')?
                .trim_start(),
        )
    };
    let descr = after("descr").ok_or_else(bad)?;
    let kind = match descr.strip_prefix('\'').and_then(|d| d.split_once('\'')) {
        Some((kind, _)) => kind,
        None => {
            return Err(refused(
                "it holds records of several values",
                "save each of its fields as an array",
            ));
        }
    };
    let element = element(kind)?;
    let fortran = match after("fortran_order").ok_or_else(bad)? {
        t if t.starts_with("True") => true,
        t if t.starts_with("False") => false,
        _ => return Err(bad()),
    };
    let shape = after("shape").ok_or_else(bad)?;
    let (shape, _) = (shape.strip_prefix('('))
        .and_then(|s| s.split_once(')'))
        .ok_or_else(bad)?;
    let shape = (shape.split(',').map(str::trim))
        .filter(|n| !n.is_empty())
        .map(|n| n.trim_end_matches('L').parse())
        .collect::<Result<_, _>>()
        .map_err(|_| bad())?;
    Ok((element, fortran, shape))
}

/// The numbers of numpy's type `kind`, as `<f4`.
fn element(kind: &str) -> Result<Element, Refused> {
    let numbers = "save it as integers or as floats of up to 64 bits";
    let other = || refused(format!("it holds values of numpy's type '{kind}'"), numbers);
    let (order, rest) = kind.split_at_checked(1).ok_or_else(other)?;
    let big = order == ">";
    let (letter, size) = rest.split_at_checked(1).ok_or_else(other)?;
    let (kind, sizes): (Kind, &[usize]) = match letter {
        "O" => {
            return Err(refused(
                "it holds pickled Python objects, which may run any code when they are read",
                numbers,
            ));
        }
        "f" => (Kind::Float, &[2, 4, 8]),
        "i" => (Kind::Signed, &[1, 2, 4, 8]),
        "u" => (Kind::Unsigned, &[1, 2, 4, 8]),
        "b" => (Kind::Unsigned, &[1]),
        _ => return Err(other()),
    };
    let bytes = (size.parse().ok()).filter(|n| sizes.contains(n));
    Ok(Element {
        kind,
        bytes: bytes.ok_or_else(other)?,
        big,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_understood() {
        let (element, fortran, shape) =
            fields("{'descr': '>i8', 'fortran_order': True, 'shape': (3, 4), }  \n").unwrap();
        assert_eq!(element.name(), "int64 big-endian");
        assert!(fortran);
        assert_eq!(shape, [3, 4]);
        let one = fields("{'descr': '|b1', 'fortran_order': False, 'shape': (7,), }").unwrap();
        assert_eq!((one.0.name().as_str(), one.2), ("uint8", vec![7]));
        for (descr, why) in [
            ("'|O'", "pickled"),
            ("'<c16'", "'<c16'"),
            ("'<f16'", "'<f16'"),
            ("[('a', '<f4')]", "records"),
            ("'<'", "'<'"),
        ] {
            let text = format!("{{'descr': {descr}, 'fortran_order': False, 'shape': (7,), }}");
            let refused = fields(&text).unwrap_err();
            assert!(refused.why.contains(why), "{descr}: {}", refused.why);
        }
        for text in [
            "",
            "{}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (x,)}",
        ] {
            assert!(fields(text).is_err(), "{text}");
        }
    }
}
