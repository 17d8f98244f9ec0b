//! Whatever h5py writes, and however it is asked for: what is read is what h5py reads, or an error. Never a part of it.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::support::h5::h5py;
use sarm::data::{FileOptions, ImageSize, ReadOptions, SparseImages, read};

/// A file and how it is read. Numbers are taken modulo what there is.
#[derive(Debug, Clone)]
struct Case {
    count: usize,
    height: usize,
    width: usize,
    /// Type of the pixels.
    kind: &'static str,
    /// Rows, rows and columns of pixels of a chunk; 0 for none, and for h5py's own.
    chunk: [usize; 3],
    packed: usize,
    /// Axes: as they are, one of length 1 before, between and after the image's, flat.
    axes: usize,
    /// Object: itself, a soft link, an external link, a virtual data set of two others, raw data outside.
    reached: usize,
    /// Rows that are written at all.
    written: usize,
    latest: bool,
    seed: u32,
    limit: usize,
    rows: [usize; 2],
}

const PACKED: [&str; 8] = [
    "",
    ", compression='gzip'",
    ", compression='gzip', shuffle=True",
    ", compression='lzf'",
    ", compression='lzf', shuffle=True, fletcher32=True",
    ", fletcher32=True",
    ", compression='gzip', fletcher32=True",
    ", shuffle=True",
];
const KINDS: [&str; 10] = [
    "<f4", ">f4", "<f8", ">f8", "<f2", "u1", "<i2", ">i4", "<u8", "?",
];

fn case() -> impl Strategy<Value = Case> {
    let size = (1..40usize, 1..7usize, 1..7usize);
    let stored = (
        0..KINDS.len(),
        [0..41usize, 1..8, 1..8],
        0..PACKED.len(),
        0..5usize,
        0..5usize,
    );
    let rest = (
        0..60usize,
        any::<bool>(),
        any::<u32>(),
        0..50usize,
        [0..40usize, 0..40],
    );
    (size, stored, rest).prop_map(|(size, stored, rest)| Case {
        count: size.0,
        // Among axes of length 1 it cannot be told which was the row of an image.
        height: size.1.max(if stored.3 > 0 { 2 } else { 1 }),
        width: size.2.max(if stored.3 > 0 { 2 } else { 1 }),
        kind: KINDS[stored.0],
        chunk: stored.1,
        packed: stored.2,
        axes: stored.3,
        reached: stored.4,
        written: rest.0,
        latest: rest.1,
        seed: rest.2,
        limit: rest.3,
        rows: rest.4,
    })
}

impl Case {
    fn shape(&self) -> Vec<usize> {
        let Case {
            count: n,
            height: h,
            width: w,
            ..
        } = *self;
        match self.axes {
            1 => vec![n, 1, h, w],
            2 => vec![n, h, 1, w],
            3 => vec![n, h, w, 1],
            4 => vec![n, h * w],
            _ => vec![n, h, w],
        }
    }

    /// Python that writes `NAME.h5` and what h5py reads from it, as float32, in `NAME.raw`.
    fn script(&self, name: &str) -> String {
        let shape = self.shape();
        let chunk = match (self.chunk, self.packed) {
            ([0, ..], 0) => "None".to_string(),
            ([0, ..], _) => "True".to_string(),
            ([n, h, w], _) => {
                let sides = match self.axes {
                    1 => vec![n, 1, h, w],
                    2 => vec![n, h, 1, w],
                    3 => vec![n, h, w, 1],
                    4 => vec![n, h * w],
                    _ => vec![n, h, w],
                };
                let sides: Vec<_> = sides.iter().zip(&shape).map(|(c, n)| c.min(n)).collect();
                format!("{sides:?}").replace('[', "(").replace(']', ",)")
            }
        };
        let written = self.written.min(self.count);
        let version = if self.latest { "latest" } else { "earliest" };
        let create = format!("chunks={chunk}{}", PACKED[self.packed]);
        let body = match self.reached {
            1 => format!("d = make(f, 'g/real', shape, {create}); f['image'] = h5py.SoftLink('/g/real')"),
            2 => format!(
                "o = h5py.File('{name}-2.h5', 'w'); d = make(o, 'real', shape, {create}); o.close(); f['image'] = h5py.ExternalLink('{name}-2.h5', 'real')"
            ),
            3 => format!(
                "cut = {written} // 2
    o = h5py.File('{name}-2.h5', 'w')
    make(o, 'real', shape, {create}); o.close()
    l = h5py.VirtualLayout(shape, kind)
    s = h5py.VirtualSource('{name}-2.h5', 'real', shape)
    if cut: l[:cut] = s[:cut]
    l[cut:] = s[cut:]
    f.create_virtual_dataset('image', l)"
            ),
            4 if self.kind != "?" => format!(
                "full = np.zeros(shape, kind); full[:{written}] = x[:{written}]; full.tofile('{name}.bin')
    f.create_dataset('image', shape, kind, external='{name}.bin')"
            ),
            _ => format!("make(f, 'image', shape, {create})"),
        };
        format!(
            "
kind = np.dtype('{kind}'); shape = tuple({shape:?})
g = np.random.default_rng({seed})
x = (g.integers(0, 3, shape) * g.integers(0, 100, shape)).astype(kind)
if kind.kind == 'f': x /= 8
def make(f, where, shape, **how):
    d = f.create_dataset(where, shape, kind, **how)
    d[:{written}] = x[:{written}]
    return d
with h5py.File('{name}.h5', 'w', libver='{version}') as f:
    {body}
with h5py.File('{name}.h5') as f: f['image'][:].astype('<f4').tofile('{name}.raw')
",
            kind = self.kind,
            seed = self.seed,
        )
    }

    /// Read all of it, its first images, and some rows.
    fn check(&self, dir: &Path, name: &str) -> Result<(), TestCaseError> {
        let raw = fs::read(dir.join(format!("{name}.raw"))).unwrap();
        let (numbers, _) = raw.as_chunks::<4>();
        let numbers: Vec<f32> = numbers.iter().map(|b| f32::from_le_bytes(*b)).collect();
        let mut images = SparseImages::new(self.height, self.width).unwrap();
        for image in numbers.chunks_exact(self.height * self.width) {
            images.push_dense(image);
        }
        prop_assert_eq!(images.len(), self.count);
        let path = dir.join(format!("{name}.h5"));
        let options = ReadOptions {
            file: FileOptions {
                shape: (self.axes == 4).then_some(ImageSize {
                    height: self.height,
                    width: self.width,
                }),
                ..Default::default()
            },
            ..Default::default()
        };
        let fail = |e| TestCaseError::fail(format!("{e}"));
        let all = read(&path, &options).map_err(fail)?;
        prop_assert_eq!(&all.images, &images);
        let limited = ReadOptions {
            limit: Some(self.limit.max(1)),
            ..options.clone()
        };
        let first = read(&path, &limited).map_err(fail)?;
        prop_assert_eq!(
            &first.images,
            &images.gather(0..self.limit.clamp(1, self.count))
        );
        let [a, b] = self.rows.map(|row| row % self.count);
        let (low, high) = (a.min(b), a.max(b));
        let some = ReadOptions {
            selections: vec![format!("row={low}..{high}").parse().unwrap()],
            ..options
        };
        let part = read(&path, &some).map_err(fail)?;
        prop_assert_eq!(&part.images, &images.gather(low..high + 1));
        Ok(())
    }
}

#[test]
fn what_is_read_is_what_h5py_reads() {
    let mut runner = TestRunner::new(Config {
        // Each with one Python and 30 files.
        cases: 4,
        failure_persistence: None,
        max_shrink_iters: 40,
        ..Config::default()
    });
    runner
        .run(&prop::collection::vec(case(), 30), |cases| {
            let dir = tempfile::tempdir().unwrap();
            let mut script = "import os\nos.chdir(path)\n".to_string();
            for (i, case) in cases.iter().enumerate() {
                script += &case.script(&format!("c{i}"));
            }
            h5py(dir.path(), &script);
            for (i, case) in cases.iter().enumerate() {
                case.check(dir.path(), &format!("c{i}"))
                    .map_err(|e| TestCaseError::fail(format!("{case:?}: {e}")))?;
            }
            Ok(())
        })
        .unwrap();
}

/// Chunks so tall that their images are sorted out of nonzero pixels, not out of blocks.
#[test]
fn chunks_of_parts_of_very_many_images_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tall.h5");
    // A band of 40 000 images of 24 x 24 has 92 MB.
    let script = "
g = np.random.default_rng(1)
with h5py.File(path, 'w') as f:
    d = f.create_dataset('image', (50000, 24, 24), 'f4', chunks=(40000, 5, 7), compression='gzip', shuffle=True)
    rows = np.sort(g.choice(50000, 300, replace=False))
    x = np.zeros((50000, 24, 24), 'f4')
    x[rows] = g.integers(0, 2, (300, 24, 24)) * g.integers(1, 99, (300, 24, 24))
    d[:] = x
x[rows].tofile(path + '.raw'); rows.astype('<u4').tofile(path + '.rows')";
    h5py(&path, script);
    let words = |name: &str| -> Vec<[u8; 4]> {
        let bytes = fs::read(format!("{}.{name}", path.display())).unwrap();
        bytes.as_chunks::<4>().0.to_vec()
    };
    let values: Vec<f32> = words("raw").into_iter().map(f32::from_le_bytes).collect();
    let rows: Vec<u32> = words("rows").into_iter().map(u32::from_le_bytes).collect();
    let all = read(&path, &ReadOptions::default()).unwrap().images;
    assert_eq!(all.len(), 50_000);
    let mut expected = SparseImages::new(24, 24).unwrap();
    for image in values.chunks_exact(576) {
        expected.push_dense(image);
    }
    assert_eq!(all.nonzeros(), expected.nonzeros());
    assert_eq!(all.gather(rows.iter().map(|r| *r as usize)), expected);
    let limited = ReadOptions {
        limit: Some(500),
        ..Default::default()
    };
    assert_eq!(read(&path, &limited).unwrap().images, all.gather(0..500));
    let some = ReadOptions {
        selections: vec!["row=39990..40010".parse().unwrap()],
        ..Default::default()
    };
    assert_eq!(
        read(&path, &some).unwrap().images,
        all.gather(39_990..40_011)
    );
}
