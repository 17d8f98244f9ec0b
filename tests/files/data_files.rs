//! Data files: round trips, what h5py writes and reads, and a clear error for every bad one.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::support::h5::{PIXELS, h5py, pixel, toy, toy_columns, write_toy};
use sarm::data::{
    DataError, ImageWriter, Layout, Provenance, ReadOptions, SparseImages, WriteOptions, describe,
    read, read_column, write_columns,
};

const LAYOUTS: [Layout; 2] = [Layout::Dense, Layout::Sparse];

fn select(selections: &[&str]) -> ReadOptions {
    ReadOptions {
        selections: selections.iter().map(|s| s.parse().unwrap()).collect(),
        ..Default::default()
    }
}

fn all(path: &Path) -> Result<sarm::data::Dataset, DataError> {
    read(path, &ReadOptions::default())
}

fn message(path: &Path, options: &ReadOptions) -> String {
    let message = read(path, options).unwrap_err().to_string();
    let name = path.file_name().unwrap().to_str().unwrap();
    assert!(message.contains(name), "the file is named: {message}");
    assert!(
        message.contains('(') && message.contains("); "),
        "problem (why); suggestion: {message}"
    );
    message
}

#[test]
fn round_trips() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5");
    for layout in LAYOUTS {
        for (count, height, width) in [(1, 1, 1), (7, 5, 3), (1500, 4, 5), (3, 256, 256)] {
            let (images, columns) = (toy(count, height, width), toy_columns(count));
            let options = WriteOptions {
                layout,
                height,
                width,
                force: true,
                ..Default::default()
            };
            let mut writer = ImageWriter::create(&path, &options).unwrap();
            // In uneven blocks, the first one empty.
            for range in [0..0, 0..count / 3, count / 3..count] {
                let block = images.gather(range.clone());
                let part = columns
                    .iter()
                    .map(|(n, v)| (n.clone(), v[range.clone()].to_vec()))
                    .collect();
                writer.append(&block, &part).unwrap();
            }
            writer.finish().unwrap();
            let options = ReadOptions {
                columns: vec!["jet_pt".into()],
                size: Some((height, width)),
                ..Default::default()
            };
            let found = read(&path, &options).unwrap();
            assert_eq!(found.images, images);
            assert_eq!(found.columns, columns);
            assert!(found.rows.iter().copied().eq(0..count as u64));
            let about = describe(&path).unwrap();
            assert_eq!(about.layout, Some(layout));
            assert_eq!((about.images, about.width), (Some(count), Some(width)));
            assert_eq!(about.attributes["units"].to_string(), "GeV");
        }
    }
}

#[test]
fn selections_limits_and_columns() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5");
    for layout in LAYOUTS {
        let count = 5000;
        fs::remove_file(&path).ok();
        write_toy(&path, layout, count, 4, 4);
        let options = select(&["signal=1", "jet_pt=300..400"]);
        let found = read(&path, &options).unwrap();
        let expected: Vec<u64> = (500..=1500).filter(|i| i % 2 == 1).collect();
        assert_eq!(found.rows, expected);
        assert_eq!(
            found.images,
            toy(count, 4, 4).gather(expected.iter().map(|r| *r as usize))
        );
        assert_eq!(found.columns["jet_pt"][0], 300.1);
        let mut options = select(&["signal=0"]);
        options.limit = Some(3);
        assert_eq!(read(&path, &options).unwrap().rows, [0, 2, 4]);

        let why = message(&path, &select(&["jet_pt=1000.."]));
        assert!(
            why.contains("jet_pt=1000..") && why.contains("runs from 250 to 749.9"),
            "{why}"
        );
        let why = message(&path, &select(&["jet_mas=80"]));
        assert!(
            why.contains("'jet_mas'") && why.contains("jet_pt, signal"),
            "{why}"
        );
        options.columns = vec!["tau_21".into()];
        assert!(message(&path, &options).contains("'tau_21'"));
        options = ReadOptions {
            size: Some((25, 25)),
            ..Default::default()
        };
        let why = message(&path, &options);
        assert!(why.contains("4 x 4") && why.contains("25 x 25"), "{why}");
        options = select(&[]);
        options.limit = Some(0);
        assert!(message(&path, &options).contains("limit of 0"));
        assert_eq!(read_column(&path, "jet_pt").unwrap().len(), count);
    }
}

#[test]
fn files_of_h5py_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let images = toy(300, 6, 5);
    for (name, how) in [
        ("f8 gzip", "dtype='f8', compression='gzip'"),
        ("f4 contiguous", "dtype='f4'"),
        ("f4 big-endian", "dtype='>f4'"),
        (
            "f8 big-endian",
            "dtype='>f8', chunks=(7, 2, 3), shuffle=True, compression='gzip'",
        ),
        ("f2", "dtype='f2', chunks=(299, 6, 5)"),
        (
            "f4 one chunk",
            "dtype='f4', chunks=(300, 6, 5), fletcher32=True",
        ),
        (
            "f4 resizable",
            "dtype='f4', maxshape=(None, 6, 5), compression='gzip'",
        ),
    ] {
        let path = dir.path().join(format!("{name}.h5"));
        let script = format!(
            "{PIXELS}
v = pixels(300, 6, 5)
with h5py.File(path, 'w') as f:
    f.create_dataset('image', data=v, {how})
    f['signal'] = np.arange(300) % 3 == 0
    f['jet_pt'] = np.arange(300, dtype='>i8')
    f['tau_21'] = (np.arange(300) / 10).astype('f4')
    f['label'] = np.array([b'jet'] * 300)
    f.attrs['note'] = 'made by h5py'
    f.attrs['cuts'] = [250, 300]"
        );
        h5py(&path, &script);
        let mut options = select(&["jet_pt=0..299"]);
        options.columns = vec!["tau_21".into()];
        let found = read(&path, &options).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(found.images, images, "{name}");
        assert_eq!(found.columns["signal"][..4], [1.0, 0.0, 0.0, 1.0]);
        assert_eq!(found.columns["jet_pt"][299], 299.0);
        assert_eq!(read(&path, &select(&["tau_21=0.1"])).unwrap().rows, [1]);
        let about = describe(&path).unwrap();
        assert_eq!(about.problem, None);
        assert_eq!(about.attributes["note"].to_string(), "made by h5py");
        assert_eq!(about.attributes["cuts"].to_string(), "250, 300");
        assert_eq!(about.classes.unwrap()["1"], 100);
        let image = about.datasets.iter().find(|d| d.name == "image").unwrap();
        assert!(image.kind.starts_with("float"), "{name}: {}", image.kind);
        let why = message(&path, &select(&["label=1"]));
        assert!(why.contains("label is one of jet"), "{why}");
    }
}

#[test]
fn h5py_reads_what_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let script = format!(
        "{PIXELS}
with h5py.File(path) as f:
    a = dict(f.attrs)
    assert (a['units'], a['height'], a['width'], a['format_version']) == ('GeV', 6, 5, 1), a
    if a['layout'] == 'dense':
        image = f['image'][:]
        assert image.dtype == np.float32
    else:
        n = len(f['indptr']) - 1
        image = np.zeros((n, a['height'] * a['width']), np.float32)
        row = np.repeat(np.arange(n), np.diff(f['indptr'][:].astype(int)))
        image[row, f['index'][:]] = f['value'][:]
        image = image.reshape(n, a['height'], a['width'])
        assert f['indptr'].dtype == np.uint64 and f['index'].dtype == np.uint16
    assert (image == pixels(40000, 6, 5).astype(np.float32)).all()
    assert (f['signal'][:] == np.arange(40000) % 2).all() and f['jet_pt'].dtype == np.float32
    print(a['layout'])"
    );
    for layout in LAYOUTS {
        let path = dir.path().join(format!("{layout}.h5"));
        write_toy(&path, layout, 40_000, 6, 5);
        assert_eq!(h5py(&path, &script).trim(), layout.to_string());
    }
    let path = dir.path().join("scores.h5");
    let columns = BTreeMap::from([("log_likelihood".to_string(), vec![-1.5, f64::NEG_INFINITY])]);
    let provenance = Provenance::new().with("model_sha256", "ab").with("n", 2u64);
    write_columns(&path, &columns, &provenance, false).unwrap();
    let script = "f = h5py.File(path); print(f['log_likelihood'][:], f.attrs['model_sha256'])";
    assert_eq!(h5py(&path, script).trim(), "[-1.5 -inf] ab");
    let about = describe(&path).unwrap();
    assert_eq!((about.layout, about.problem), (None, None));
    assert_eq!(about.datasets[0].shape, [2]);
}

/// Files that h5py makes wrong in one way each, and what the message must say.
#[test]
fn bad_files_get_one_clear_error() {
    let dir = tempfile::tempdir().unwrap();
    let dense = "f['image'] = v; f['signal'] = np.zeros(20)";
    let csr = "
f.attrs['height'] = 4; f.attrs['width'] = 5
n = (v > 0).reshape(20, 20).sum(1)
ptr, idx, val = np.r_[0, np.cumsum(n)], np.nonzero(v.reshape(20, 20))[1], v[v > 0]
";
    let end = "
f['indptr'] = ptr; f['index'] = idx; f['value'] = val";
    let sparse = |change: &str| format!("{csr}{change}{end}");
    let cases: Vec<(String, &[&str])> = vec![
        ("f['images'] = v".into(), &["no data set 'image'", "it holds images"]),
        ("pass".into(), &["no data set 'image'", "it holds none"]),
        ("f['image'] = v.reshape(20, 20)".into(), &["'image'", "[20, 20]", "2 dimensions"]),
        ("f['image'] = v[..., None]".into(), &["4 dimensions"]),
        ("f['image'] = v.astype('S4')".into(), &["'image'", "floats"]),
        ("f['image'] = v.astype('c16')".into(), &["'image'", "floats"]),
        ("f['image'] = h5py.Empty('f4')".into(), &["0 dimensions"]),
        ("f.create_group('image')".into(), &["'image'"]),
        ("v[7, 2, 3] = np.nan; f['image'] = v".into(), &["'image', image 7, row 2, column 3: NaN"]),
        ("v[7, 2, 3] = np.inf; f['image'] = v".into(), &["image 7, row 2, column 3: inf"]),
        ("v[7, 2, 3] = 1e200; f['image'] = v".into(), &["image 7, row 2, column 3: inf"]),
        ("v[19, 3, 4] = -0.5; f['image'] = v".into(), &["image 19, row 3, column 4: -0.5"]),
        ("f['image'] = v; f['jet_pt'] = np.zeros(19)".into(), &["'jet_pt'", "[19]", "20 images"]),
        ("f['image'] = v; f['jet_pt'] = np.zeros((20, 2))".into(), &["'jet_pt'", "[20, 2]"]),
        ("f['image'] = v; f['jet_pt'] = np.full(20, np.nan)".into(), &["'jet_pt', row 0: NaN"]),
        ("f['image'] = v[:0]; f['jet_pt'] = v[:0, 0, 0]".into(), &["holds no images"]),
        ("f['image'] = np.zeros((1, 257, 256))".into(), &["257 x 256", "65536"]),
        ("f['image'] = np.zeros((3, 0, 4))".into(), &["0 x 4"]),
        (
            "f.create_dataset('image', (10**12, 25, 25), 'f4', chunks=(1000, 25, 25))".into(),
            &["'image'", "1000000000000", "more than a file of"],
        ),
        (
            "f.create_dataset('image', (10**9, 25, 25), 'f4')".into(),
            &["'image'", "more than a file of"],
        ),
        (
            "f.create_dataset('image', (1000, 20, 20), 'f4', chunks=(1, 1, 1))".into(),
            &["too many chunks"],
        ),
        ("f['image'] = h5py.ExternalLink('other.h5', 'image')".into(), &["another file"]),
        (
            "f.create_dataset('image', (20, 4, 5), 'f4', external='other.raw')".into(),
            &["other files"],
        ),
        (
            "l = h5py.VirtualLayout((20, 4, 5), 'f4'); l[:] = h5py.VirtualSource('o.h5', 'image', (20, 4, 5))
f.create_virtual_dataset('image', l)".into(),
            &["other files"],
        ),
        (sparse("del f.attrs['height']"), &["'height' and 'width'"]),
        (sparse("f.attrs['width'] = 70000"), &["4 x 70000"]),
        (sparse("idx = idx[1:]"), &["'index'", "entries"]),
        (sparse("idx[1] = idx[0]"), &["'index'", "image 0", "out of order"]),
        (sparse("idx[n[0] - 1] = 20"), &["image 0: pixel 20"]),
        (sparse("ptr[5] = ptr[4] - 1"), &["'indptr'", "row 4"]),
        (sparse("ptr[-1] += 1"), &["'indptr'", "row 19"]),
        (sparse("ptr[-1] -= 1"), &["'indptr'", "run from 0"]),
        (sparse("ptr[0] = 1"), &["'indptr'", "run from 1"]),
        (sparse("ptr = ptr[:0]"), &["'indptr'", "empty"]),
        (sparse("ptr = np.array([0, len(idx)])"), &["row 0 runs from 0"]),
        (sparse("val[0] = np.nan"), &["'value', image 0", "NaN"]),
        (sparse("val[-1] = -2"), &["'value', image 19", "-2"]),
        (sparse("val = val[:, None]"), &["'value'", "one-dimensional"]),
    ];
    let mut script = format!("{PIXELS}\nimport os\n");
    for (i, (code, _)) in cases.iter().enumerate() {
        let body = code.trim().replace('\n', "\n    ");
        script += &format!(
            "v = pixels(20, 4, 5)\nwith h5py.File(os.path.join(path, 'case{i}.h5'), 'w') as f:\n    {body}\n"
        );
    }
    script += &format!(
        "with h5py.File(os.path.join(path, 'good.h5'), 'w') as f: v = pixels(20, 4, 5); {dense}\n"
    );
    h5py(dir.path(), &script);
    all(&dir.path().join("good.h5")).unwrap();
    for (i, (code, expected)) in cases.iter().enumerate() {
        let path = dir.path().join(format!("case{i}.h5"));
        let mut options = ReadOptions::default();
        if code.contains("jet_pt") {
            options.columns = vec!["jet_pt".into()];
        }
        let why = message(&path, &options);
        for part in *expected {
            assert!(why.contains(part), "{code}\ngave: {why}\nwithout: {part}");
        }
        // The summary of a bad file says what is wrong instead of failing.
        describe(&path).unwrap();
    }
}

#[test]
fn bad_paths() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5");
    assert!(message(&path, &ReadOptions::default()).contains("check the path"));
    fs::write(&path, "").unwrap();
    assert!(message(&path, &ReadOptions::default()).contains("no HDF5 signature"));
    fs::write(&path, "image,signal\n1,2\n").unwrap();
    assert!(message(&path, &ReadOptions::default()).contains("no HDF5 signature"));
    write_toy(&dir.path().join("b.h5"), Layout::Dense, 100, 5, 5);
    let bytes = fs::read(dir.path().join("b.h5")).unwrap();
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let why = message(&path, &ReadOptions::default());
    assert!(why.contains("truncated"), "{why}");
    assert!(read(dir.path(), &ReadOptions::default()).is_err());
}

#[test]
fn pixels_at_the_edges_of_float32_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5");
    let edge = [f32::MAX, f32::MIN_POSITIVE, f32::from_bits(1), 0.0];
    let mut images = SparseImages::new(2, 2).unwrap();
    images.push_dense(&edge);
    for layout in LAYOUTS {
        let options = WriteOptions {
            layout,
            height: 2,
            width: 2,
            force: true,
            ..Default::default()
        };
        sarm::data::write(&path, &images, &BTreeMap::new(), &options).unwrap();
        assert_eq!(all(&path).unwrap().images, images);
    }
    // Negative zeros and float64 values below float32 are zeros.
    let script =
        "f = h5py.File(path, 'w'); f['image'] = np.array([[[-0.0, 1e-300, -1e-300, 1.0]]])";
    h5py(&path, script);
    assert_eq!(
        all(&path).unwrap().images.image(0),
        (&[3u16][..], &[1.0f32][..])
    );
}

#[test]
fn writing_refuses_and_cleans_up() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5");
    let options = WriteOptions {
        height: 4,
        width: 4,
        ..Default::default()
    };
    let images = toy(10, 4, 4);
    let mut writer = ImageWriter::create(&path, &options).unwrap();
    let column = |name: &str, values: Vec<f32>| BTreeMap::from([(name.to_string(), values)]);
    for (columns, why) in [
        (column("m", vec![1.0; 9]), "9 values of 'm' for 10 images"),
        (
            column("m", [vec![1.0; 9], vec![f32::NAN]].concat()),
            "'m' is NaN in row 9",
        ),
        (column("image", vec![1.0; 10]), "'image' cannot name"),
        (column("a/b", vec![1.0; 10]), "'a/b' cannot name"),
    ] {
        let found = writer.append(&images, &columns).unwrap_err().to_string();
        assert!(found.contains(why), "{found}");
    }
    writer.append(&images, &column("m", vec![1.0; 10])).unwrap();
    assert!(writer.append(&images, &BTreeMap::new()).is_err());
    assert!(writer.append(&toy(1, 4, 5), &BTreeMap::new()).is_err());
    assert_eq!(writer.count(), 10);
    drop(writer);
    assert_eq!(
        fs::read_dir(dir.path()).unwrap().count(),
        0,
        "nothing is left"
    );

    // A file that appears meanwhile is not overwritten.
    let writer = ImageWriter::create(&path, &options).unwrap();
    fs::write(&path, "precious").unwrap();
    assert!(matches!(writer.finish(), Err(DataError::Exists { .. })));
    assert!(matches!(
        ImageWriter::create(&path, &options),
        Err(DataError::Exists { .. })
    ));
    assert_eq!(fs::read(&path).unwrap(), b"precious");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    let huge = WriteOptions {
        height: 257,
        width: 256,
        ..Default::default()
    };
    assert!(ImageWriter::create(&dir.path().join("h.h5"), &huge).is_err());
    assert_eq!(pixel(3, 0), 0.0);
}

#[test]
fn rows_can_be_selected_by_their_number() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.h5");
    let images = sarm::synthetic::images(4, 5, 10, 1, 0.3).unwrap();
    let options = WriteOptions {
        height: 4,
        width: 5,
        ..WriteOptions::default()
    };
    sarm::data::write(&path, &images, &BTreeMap::new(), &options).unwrap();
    let options = ReadOptions {
        selections: vec!["row=3..6".parse().unwrap()],
        ..ReadOptions::default()
    };
    let read = sarm::data::read(&path, &options).unwrap();
    assert_eq!(read.rows, [3, 4, 5, 6]);
    assert_eq!(read.images, images.gather(3..7));
    assert!(read.columns.is_empty());
}
