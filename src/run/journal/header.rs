//! The header of a journal: the identity of its run, in bytes.

use crate::run::identity::Identity;

pub(super) const MAGIC: &[u8; 8] = b"SARMJRNL";
const VERSION: u32 = 2;
/// Bytes of the file header, checksum included.
pub(super) const HEADER: usize = 8 + 4 + 4 + 4 + 8 + 8 + 8 + 32 + 32 + ARITHMETIC + 4;
/// Bytes for the arithmetic.
const ARITHMETIC: usize = 32;

impl Identity {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&self.height.to_le_bytes());
        out.extend_from_slice(&self.width.to_le_bytes());
        for number in [self.seed, self.first, self.count] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&self.model);
        out.extend_from_slice(&self.condition);
        let name = self.arithmetic.bytes().chain(std::iter::repeat(0));
        out.extend(name.take(ARITHMETIC));
        out.extend_from_slice(&crc32fast::hash(&out).to_le_bytes());
        out
    }

    /// `Err` says why the bytes are no header of this version.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let mut at = Cursor(bytes);
        if at.take::<8>() != *MAGIC {
            return Err("it does not start as a journal does".into());
        }
        if bytes.len() != HEADER {
            return Err("it is too short".into());
        }
        let version = u32::from_le_bytes(at.take());
        if version != VERSION {
            return Err(format!(
                "its version is {version}, this program reads {VERSION}"
            ));
        }
        let identity = Identity {
            height: u32::from_le_bytes(at.take()),
            width: u32::from_le_bytes(at.take()),
            seed: u64::from_le_bytes(at.take()),
            first: u64::from_le_bytes(at.take()),
            count: u64::from_le_bytes(at.take()),
            model: at.take(),
            condition: at.take(),
            arithmetic: text(&at.take::<ARITHMETIC>()),
        };
        if u32::from_le_bytes(at.take()) != crc32fast::hash(&bytes[..HEADER - 4]) {
            return Err("its header is damaged".into());
        }
        Ok(identity)
    }
}

/// A name that zeros fill up.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end_matches('\0').into()
}

/// Fixed fields taken from the front of a buffer that is long enough.
pub(super) struct Cursor<'a>(pub &'a [u8]);

impl Cursor<'_> {
    pub fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        let (now, later) = self.0.split_at(N.min(self.0.len()));
        out[..now.len()].copy_from_slice(now);
        self.0 = later;
        out
    }
}
