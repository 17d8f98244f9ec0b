//! The journal of an unfinished generation: what was drawn, safe on disk before the output is complete.
//!
//! An append-only file beside the output. A kill at any moment tears at most its last block, which
//! checksums find; everything before it is replayed into a fresh output. Docs: docs/formats.md,
//! "Journal".

mod header;

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::identity::Identity;
use super::lock::lock;
use crate::data::{DataError, SparseImages};
use header::{Cursor, HEADER, MAGIC};

const BLOCK_MAGIC: &[u8; 4] = b"SBLK";
/// Bytes before a block's arrays, checksum included.
const BLOCK_HEADER: usize = 4 + 4 + 8 + 8 + 4;

/// Why a journal cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// An unfinished run is there and nobody said what to do with it.
    #[error(
        "'{path}' exists (an unfinished run left it); pass --resume to continue that run or --force to start over",
        path = path.display()
    )]
    Unfinished {
        /// The journal.
        path: PathBuf,
    },
    /// The journal belongs to another run.
    #[error(
        "'{path}' is of another run ({differences}); resume with that run's options, choose another output or pass \
         --force to start over",
        path = path.display()
    )]
    OtherRun {
        /// The journal.
        path: PathBuf,
        /// What differs: journal's value instead of the wanted one.
        differences: String,
    },
    /// Another process is at work on the same output.
    #[error("'{path}' is in use (another process writes the same output); wait for it or choose another output", path = path.display())]
    Busy {
        /// The journal.
        path: PathBuf,
    },
    /// The file is not a journal that can be read.
    #[error("cannot resume from '{path}' ({why}); pass --force to start over", path = path.display())]
    NotAJournal {
        /// The file.
        path: PathBuf,
        /// What does not hold.
        why: String,
    },
    /// Reading or writing failed.
    #[error(transparent)]
    Data(#[from] DataError),
}

/// What to do with a journal that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Refuse.
    Refuse,
    /// Continue it.
    Resume,
    /// Throw it away.
    Replace,
}

/// An open, locked journal.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    identity: Identity,
    /// Bytes known to be good; the file is cut here before anything is appended.
    end: u64,
    /// Number of the image that comes next.
    next: u64,
    /// Whether the file is known to be a journal and still there.
    ours: bool,
}

impl Drop for Journal {
    /// A journal without images would only be in the way of the next run.
    fn drop(&mut self) {
        let blank = self.file.metadata().is_ok_and(|m| m.len() <= HEADER as u64);
        if self.ours && blank {
            std::fs::remove_file(&self.path).ok();
        }
    }
}

impl Journal {
    /// Name of the journal of an output: `jets.h5.partial`.
    pub fn path_for(output: &Path) -> PathBuf {
        let mut name = output.as_os_str().to_owned();
        name.push(".partial");
        name.into()
    }

    /// Open or create the journal at `path` and lock it against other processes.
    ///
    /// # Errors
    ///
    /// [`JournalError::Busy`] when another process holds it; the rest depends on `existing`.
    pub fn open(
        path: &Path,
        identity: &Identity,
        existing: Existing,
    ) -> Result<Self, JournalError> {
        let file = lock(path)
            .map_err(|e| DataError::io("create", path, e))?
            .ok_or_else(|| JournalError::Busy { path: path.into() })?;
        let mut journal = Self {
            path: path.to_path_buf(),
            file,
            identity: identity.clone(),
            end: HEADER as u64,
            next: identity.first,
            ours: false,
        };
        let length = journal.file.metadata().map_err(|e| journal.io(e))?.len();
        let mut header = Vec::with_capacity(HEADER);
        (&journal.file)
            .take(HEADER as u64)
            .read_to_end(&mut header)
            .map_err(|e| journal.io(e))?;
        // A run killed before its first block leaves a header or a part of one: nothing to continue.
        let known = header.len().min(MAGIC.len());
        let blank = length <= HEADER as u64 && header[..known] == MAGIC[..known];
        if blank || existing == Existing::Replace {
            journal.ours = true;
            journal.start().map_err(|e| journal.io(e))?;
            return Ok(journal);
        }
        if existing == Existing::Refuse {
            return Err(JournalError::Unfinished { path: path.into() });
        }
        let found = Identity::decode(&header).map_err(|why| JournalError::NotAJournal {
            path: path.into(),
            why,
        })?;
        journal.ours = true;
        let differences = found.differences(identity);
        if !differences.is_empty() {
            return Err(JournalError::OtherRun {
                path: path.into(),
                differences: differences.join(", "),
            });
        }
        Ok(journal)
    }

    fn start(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(&self.identity.encode())?;
        self.file.sync_all()
    }

    /// Visit the intact blocks in order, then cut off what follows them.
    ///
    /// A block is intact when it continues the one before, its checksums hold and its images are
    /// sound; the first that is not ends the journal, and its images are to be drawn again.
    ///
    /// # Errors
    ///
    /// The visitor's own, or a failure to read.
    pub fn replay<E: From<DataError>>(
        &mut self,
        mut visitor: impl FnMut(u64, SparseImages) -> Result<(), E>,
    ) -> Result<(), E> {
        let length = self.file.metadata().map_err(|e| self.io(e))?.len();
        self.end = HEADER as u64;
        self.next = self.identity.first;
        let mut file = &self.file;
        file.seek(SeekFrom::Start(self.end))
            .map_err(|e| self.io(e))?;
        let mut reader = BufReader::with_capacity(1 << 20, file);
        loop {
            let left = length.saturating_sub(self.end);
            let block = read_block(&mut reader, left, &self.identity, self.next);
            let Some((images, bytes)) = block.map_err(|e| self.io(e))? else {
                break;
            };
            let (first, count) = (self.next, images.len() as u64);
            visitor(first, images)?;
            self.next += count;
            self.end += bytes;
        }
        let end = self.end;
        self.file
            .set_len(end)
            .and_then(|()| self.file.seek(SeekFrom::Start(end)))
            .map_err(|e| self.io(e))?;
        Ok(())
    }

    /// Number of the image that comes next.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Bytes of the file.
    pub fn len(&self) -> u64 {
        self.end
    }

    /// Whether it holds no image.
    pub fn is_empty(&self) -> bool {
        self.next == self.identity.first
    }

    /// Bytes that `images` take in a journal.
    pub fn bytes(images: &SparseImages) -> u64 {
        (BLOCK_HEADER + 4 * images.len() + 6 * images.nonzeros() + 4) as u64
    }

    /// Append the images that come next.
    ///
    /// # Errors
    ///
    /// A failure to write, a full disk for one; what was appended before stays good.
    pub fn append(&mut self, images: &SparseImages) -> Result<(), DataError> {
        let (ends, index, value) = images.csr();
        let (Ok(count), false) = (u32::try_from(images.len()), images.is_empty()) else {
            return Ok(());
        };
        let mut out = Vec::with_capacity(Self::bytes(images) as usize);
        out.extend_from_slice(BLOCK_MAGIC);
        out.extend_from_slice(&count.to_le_bytes());
        out.extend_from_slice(&self.next.to_le_bytes());
        out.extend_from_slice(&(index.len() as u64).to_le_bytes());
        out.extend_from_slice(&crc32fast::hash(&out).to_le_bytes());
        out.extend(
            ends.windows(2)
                .flat_map(|e| ((e[1] - e[0]) as u32).to_le_bytes()),
        );
        out.extend(index.iter().flat_map(|v| v.to_le_bytes()));
        out.extend(value.iter().flat_map(|v| v.to_le_bytes()));
        out.extend_from_slice(&crc32fast::hash(&out[BLOCK_HEADER..]).to_le_bytes());
        if let Err(error) = self.file.write_all(&out) {
            // Checksums find a torn block, but a journal without images goes only when it ends cleanly.
            let end = self.end;
            (self.file.set_len(end))
                .and_then(|()| self.file.seek(SeekFrom::Start(end)))
                .ok();
            return Err(DataError::io("write", &self.path, error));
        }
        self.end += out.len() as u64;
        self.next += u64::from(count);
        Ok(())
    }

    /// Make what was appended survive a power cut.
    ///
    /// # Errors
    ///
    /// The disk failed.
    pub fn sync(&self) -> Result<(), DataError> {
        self.file
            .sync_data()
            .map_err(|e| DataError::io("write", &self.path, e))
    }

    /// Delete the journal: the output is complete, or the run leaves nothing worth keeping.
    ///
    /// # Errors
    ///
    /// The file cannot be removed.
    pub fn remove(mut self) -> Result<(), DataError> {
        // Still locked while it goes, so that nobody continues a run that is complete.
        self.ours = false;
        std::fs::remove_file(&self.path).map_err(|e| DataError::io("remove", &self.path, e))
    }

    fn io(&self, error: io::Error) -> DataError {
        DataError::io("use", &self.path, error)
    }
}

/// The block at the reader, and its bytes; `None` when there is no intact one.
///
/// `left` bytes of file remain: nothing larger is allocated.
fn read_block(
    reader: &mut impl Read,
    left: u64,
    identity: &Identity,
    next: u64,
) -> io::Result<Option<(SparseImages, u64)>> {
    if left < BLOCK_HEADER as u64 {
        return Ok(None);
    }
    let mut header = [0; BLOCK_HEADER];
    reader.read_exact(&mut header)?;
    let mut at = Cursor(&header);
    let magic = at.take::<4>();
    let count = u32::from_le_bytes(at.take());
    let first = u64::from_le_bytes(at.take());
    let nonzeros = u64::from_le_bytes(at.take());
    let sum = u32::from_le_bytes(at.take());
    let last = identity.first.saturating_add(identity.count);
    let sound = magic == *BLOCK_MAGIC
        && sum == crc32fast::hash(&header[..BLOCK_HEADER - 4])
        && first == next
        && count > 0
        && u64::from(count) <= last.saturating_sub(next);
    let bytes = nonzeros
        .checked_mul(6)
        .and_then(|n| n.checked_add(4 * u64::from(count) + 4));
    let Some(bytes) = bytes.filter(|n| sound && *n <= left - BLOCK_HEADER as u64) else {
        return Ok(None);
    };
    let mut payload = vec![0; bytes as usize];
    reader.read_exact(&mut payload)?;
    let (arrays, sum) = payload.split_at(payload.len() - 4);
    if Cursor(sum).take() != crc32fast::hash(arrays).to_le_bytes() {
        return Ok(None);
    }
    let (lengths, rest) = arrays.split_at(4 * count as usize);
    let (index, value) = rest.split_at(2 * nonzeros as usize);
    let mut indptr = Vec::with_capacity(count as usize + 1);
    let mut end = 0u64;
    indptr.push(end);
    for length in lengths.chunks_exact(4) {
        end += u64::from(u32::from_le_bytes(Cursor(length).take()));
        indptr.push(end);
    }
    let index = index
        .chunks_exact(2)
        .map(|b| u16::from_le_bytes(Cursor(b).take()))
        .collect();
    let value = value
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes(Cursor(b).take()))
        .collect();
    let (height, width) = (identity.height as usize, identity.width as usize);
    Ok(SparseImages::from_csr(height, width, indptr, index, value)
        .ok()
        .map(|images| (images, BLOCK_HEADER as u64 + bytes)))
}
