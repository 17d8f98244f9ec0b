//! Data sets that are written chunk by chunk.

use std::mem::ManuallyDrop;

use ndarray::{ArrayView1, ArrayView2, ArrayView3};

/// Most images in a chunk of `image`.
const CHUNK_IMAGES: usize = 1024;
/// Most pixels in a chunk of `image` (4 MiB), unless one image has more.
const CHUNK_PIXELS: usize = 1 << 20;
/// Elements in a chunk of a one-dimensional data set.
const CHUNK_VALUES: usize = 1 << 15;
/// Effort of gzip: above this, time grows and size hardly falls.
const GZIP: u8 = 4;

/// A data set that grows in whole chunks.
///
/// Values wait until a chunk is full, so that each is packed once and the file comes out the same
/// however the values arrive.
pub(super) struct Growing<T> {
    /// Closed by [`close`](Self::close) alone: see `Output` in write.rs.
    set: ManuallyDrop<hdf5::Dataset>,
    waiting: Vec<T>,
    /// Values in an image, or 1.
    row: usize,
    /// Values in a chunk.
    chunk: usize,
    /// Rows written.
    rows: usize,
    /// Extent of a row: nothing for a vector, rows and columns of an image, voxels of a shower.
    extent: Vec<usize>,
}

impl<T: hdf5::H5Type + Copy + Default> Growing<T> {
    pub(super) fn vector(file: &hdf5::File, name: &str, packed: bool) -> hdf5::Result<Self> {
        let mut builder = file.new_dataset_builder();
        if packed {
            builder = builder.shuffle().deflate(GZIP);
        }
        let set = builder
            .chunk(CHUNK_VALUES)
            .empty::<T>()
            .shape(0..)
            .create(name)?;
        Ok(Self {
            set: ManuallyDrop::new(set),
            waiting: Vec::new(),
            row: 1,
            chunk: CHUNK_VALUES,
            rows: 0,
            extent: Vec::new(),
        })
    }

    pub(super) fn images(
        file: &hdf5::File,
        height: usize,
        width: usize,
        pixels: usize,
    ) -> hdf5::Result<Self> {
        let images = (CHUNK_PIXELS / pixels).clamp(1, CHUNK_IMAGES);
        let set = file
            .new_dataset_builder()
            .shuffle()
            .deflate(GZIP)
            .chunk((images, height, width))
            .empty::<T>()
            .shape((0.., height, width))
            .create("image")?;
        Ok(Self {
            set: ManuallyDrop::new(set),
            waiting: Vec::new(),
            row: pixels,
            chunk: images * pixels,
            rows: 0,
            extent: vec![height, width],
        })
    }

    /// Bytes that its chunks take in the file, after the file was flushed.
    pub(super) fn bytes(&self) -> u64 {
        self.set.storage_size()
    }

    /// A table of `width` values a row.
    pub(super) fn table(file: &hdf5::File, name: &str, width: usize) -> hdf5::Result<Self> {
        let rows = (CHUNK_PIXELS / width).clamp(1, CHUNK_VALUES);
        let set = file
            .new_dataset_builder()
            .shuffle()
            .deflate(GZIP)
            .chunk((rows, width))
            .empty::<T>()
            .shape((0.., width))
            .create(name)?;
        Ok(Self {
            set: ManuallyDrop::new(set),
            waiting: Vec::new(),
            row: width,
            chunk: rows * width,
            rows: 0,
            extent: vec![width],
        })
    }

    /// The data set, for its attributes.
    pub(super) fn set(&self) -> &hdf5::Dataset {
        &self.set
    }

    /// Close the data set, after the file was flushed.
    pub(super) fn close(self) {
        drop(ManuallyDrop::into_inner(self.set));
    }

    pub(super) fn append(&mut self, mut values: &[T]) -> hdf5::Result<()> {
        while !values.is_empty() {
            let (now, later) = values.split_at(values.len().min(self.chunk - self.waiting.len()));
            values = later;
            self.waiting.extend_from_slice(now);
            if self.waiting.len() == self.chunk {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Append one row that `fill` writes.
    pub(super) fn append_with(&mut self, fill: impl FnOnce(&mut [T])) -> hdf5::Result<()> {
        let start = self.waiting.len();
        self.waiting.resize(start + self.row, T::default());
        fill(&mut self.waiting[start..]);
        match self.waiting.len() == self.chunk {
            true => self.flush(),
            false => Ok(()),
        }
    }

    pub(super) fn flush(&mut self) -> hdf5::Result<()> {
        let rows = self.waiting.len() / self.row;
        if rows == 0 {
            return Ok(());
        }
        let range = self.rows..self.rows + rows;
        match self.extent[..] {
            [height, width] => {
                self.set.resize((range.end, height, width))?;
                let block = ArrayView3::from_shape((rows, height, width), &self.waiting)?;
                self.set
                    .write_slice(block, ndarray::s![range.clone(), .., ..])?;
            }
            [width] => {
                self.set.resize((range.end, width))?;
                let block = ArrayView2::from_shape((rows, width), &self.waiting)?;
                self.set
                    .write_slice(block, ndarray::s![range.clone(), ..])?;
            }
            _ => {
                self.set.resize(range.end)?;
                self.set
                    .write_slice(ArrayView1::from(&self.waiting), range.clone())?;
            }
        }
        self.rows = range.end;
        self.waiting.clear();
        Ok(())
    }
}
