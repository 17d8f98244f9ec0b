//! Arrays of numbers that lie in files without any structure: numpy's, and raw data that an HDF5 file points to.

use std::cell::{Cell, OnceCell, RefCell};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::rc::Rc;

use flate2::read::DeflateDecoder;

use super::element::{Element, Number};

/// An array of numbers; its first axis are the rows.
#[derive(Debug)]
pub(super) struct Flat {
    pub shape: Vec<usize>,
    pub element: Element,
    /// The first index runs fastest (Fortran's order) and not the last one (C's).
    pub fortran: bool,
    pub bytes: Bytes,
    /// What the bytes must sum to, where something says so.
    pub sum: Option<Sum>,
}

/// Where the bytes of an array are.
#[derive(Debug)]
pub(super) enum Bytes {
    /// One after another in pieces of files.
    Pieces(Vec<Piece>),
    /// In a deflated part of a file.
    Deflated(RefCell<Stream>),
    /// Unpacked into memory when they are first wanted, `size` of them.
    Memory {
        stream: RefCell<Stream>,
        size: u64,
        all: OnceCell<Vec<u8>>,
    },
}

/// The CRC-32 of a member of an archive, header and array, which is looked at once, before the first numbers are read.
#[derive(Debug)]
pub(super) struct Sum {
    part: RefCell<Option<Part>>,
    deflated: bool,
    crc: u32,
    fits: Cell<bool>,
}

/// Bytes of a file.
#[derive(Debug)]
pub(super) struct Piece {
    pub file: Rc<File>,
    pub start: u64,
    pub size: u64,
}

/// A deflated part of a file, unpacked from its start to where it is wanted.
#[derive(Debug)]
pub(super) struct Stream {
    file: Rc<File>,
    start: u64,
    size: u64,
    /// Bytes before the array: the header.
    head: u64,
    at: u64,
    decoder: DeflateDecoder<Part>,
}

/// A part of a file, read without the file's own place.
#[derive(Debug)]
pub(super) struct Part {
    file: Rc<File>,
    at: u64,
    end: u64,
}

impl Part {
    pub fn new(file: Rc<File>, start: u64, size: u64) -> Self {
        Self {
            file,
            at: start,
            end: start.saturating_add(size),
        }
    }
}

impl Read for Part {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let most = (self.end - self.at).min(out.len() as u64) as usize;
        let mut file = self.file.as_ref();
        file.seek(SeekFrom::Start(self.at))?;
        let n = file.read(&mut out[..most])?;
        self.at += n as u64;
        Ok(n)
    }
}

impl Sum {
    /// That of the member that is all of `part`.
    pub fn new(part: Part, deflated: bool, crc: u32) -> Self {
        Self {
            part: RefCell::new(Some(part)),
            deflated,
            crc,
            fits: Cell::new(false),
        }
    }

    fn check(&self) -> io::Result<()> {
        if let Some(mut part) = self.part.take() {
            let found = match self.deflated {
                true => crc(&mut DeflateDecoder::new(part)),
                false => crc(&mut part),
            };
            self.fits.set(found? == self.crc);
        }
        match self.fits.get() {
            true => Ok(()),
            false => Err(io::Error::other("its checksum does not fit")),
        }
    }
}

/// The CRC-32 of all that `from` gives.
fn crc(from: &mut impl Read) -> io::Result<u32> {
    let mut hasher = crc32fast::Hasher::new();
    let mut block = vec![0; 1 << 16];
    loop {
        match from.read(&mut block)? {
            0 => return Ok(hasher.finalize()),
            n => hasher.update(&block[..n]),
        }
    }
}

impl Stream {
    pub fn new(file: Rc<File>, start: u64, size: u64, head: u64) -> Self {
        let decoder = DeflateDecoder::new(Part::new(file.clone(), start, size));
        Self {
            file,
            start,
            size,
            head,
            at: 0,
            decoder,
        }
    }

    fn read(&mut self, start: u64, out: &mut [u8]) -> io::Result<()> {
        let start = self.head + start;
        if start < self.at {
            *self = Self::new(self.file.clone(), self.start, self.size, self.head);
        }
        let skip = start - self.at;
        let skipped = io::copy(&mut (&mut self.decoder).take(skip), &mut io::sink())?;
        if skipped < skip {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.decoder.read_exact(out)?;
        self.at = start + out.len() as u64;
        Ok(())
    }
}

impl Bytes {
    fn read(&self, start: u64, out: &mut [u8]) -> io::Result<()> {
        match self {
            Bytes::Memory { stream, size, all } => {
                let all = match all.get() {
                    Some(all) => all,
                    None => {
                        let mut unpacked = vec![0; *size as usize];
                        stream.borrow_mut().read(0, &mut unpacked)?;
                        all.get_or_init(|| unpacked)
                    }
                };
                let part = (all.get(start as usize..)).and_then(|a| a.get(..out.len()));
                out.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
                Ok(())
            }
            Bytes::Deflated(stream) => stream.borrow_mut().read(start, out),
            Bytes::Pieces(pieces) => {
                let (mut begin, mut done) = (0, 0);
                for piece in pieces {
                    let end = begin + piece.size;
                    let at = start + done as u64;
                    if done < out.len() && (begin..end).contains(&at) {
                        let n = (end - at).min((out.len() - done) as u64) as usize;
                        Part::new(piece.file.clone(), piece.start + (at - begin), n as u64)
                            .read_exact(&mut out[done..done + n])?;
                        done += n;
                    }
                    begin = end;
                }
                match done == out.len() {
                    true => Ok(()),
                    false => Err(io::ErrorKind::UnexpectedEof.into()),
                }
            }
        }
    }
}

impl Flat {
    /// The numbers of rows `start .. start + count`, row after row, each row in C's order.
    pub fn rows<T: Number>(&self, start: usize, count: usize) -> io::Result<Vec<T>> {
        if let Some(sum) = &self.sum {
            sum.check()?;
        }
        let size = self.element.bytes;
        let trailing = self.shape.get(1..).unwrap_or_default();
        let per_row: usize = trailing.iter().product();
        let mut out = vec![T::default(); count * per_row];
        if !self.fortran {
            let mut raw = vec![0; count * per_row * size];
            self.bytes.read((start * per_row * size) as u64, &mut raw)?;
            self.element.convert(&raw, &mut out);
            return Ok(out);
        }
        let all = self.shape.first().copied().unwrap_or(1);
        let mut raw = vec![0; count * size];
        let mut column = vec![T::default(); count];
        for j in 0..per_row {
            self.bytes
                .read(((j * all + start) * size) as u64, &mut raw)?;
            self.element.convert(&raw, &mut column);
            // Place j of a row in Fortran's order is place c in C's.
            let (mut rest, mut c) = (j, 0);
            let mut stride = per_row;
            for n in trailing {
                stride /= n;
                c += (rest % n) * stride;
                rest /= n;
            }
            for (row, v) in column.iter().enumerate() {
                out[row * per_row + c] = *v;
            }
        }
        Ok(out)
    }
}
