//! What the numbers of a file mean: classes however they are stored, weights, units, thresholds; rows never written.

use std::path::Path;

use crate::support::h5::{PIXELS, h5py};
use sarm::data::{Dataset, FileOptions, ImageSize, ReadOptions, read, read_all};

/// `name` in `dir`: 20 images of 4 x 5, and what `more` adds; `v` holds the pixels.
fn file(dir: &Path, name: &str, more: &str) -> std::path::PathBuf {
    let path = dir.join(name);
    let more = more.trim().replace('\n', "\n    ");
    h5py(
        &path,
        &format!(
            "{PIXELS}
v = pixels(20, 4, 5); k = np.arange(20)
with h5py.File(path, 'w') as f:
    f['image'] = v
    {more}"
        ),
    );
    path
}

fn with(file: FileOptions) -> ReadOptions {
    ReadOptions {
        file,
        ..Default::default()
    }
}

fn selected(selections: &[&str]) -> ReadOptions {
    ReadOptions {
        selections: selections.iter().map(|s| s.parse().unwrap()).collect(),
        ..Default::default()
    }
}

/// The error of reading, which names the file.
fn refused(path: &Path, options: &ReadOptions, words: &[&str]) {
    let error = read(path, options).unwrap_err().to_string();
    for word in words {
        assert!(error.contains(word), "no '{word}' in: {error}");
    }
}

fn said(data: &Dataset, words: &[&str]) {
    let about = &data.about;
    let all = [&about.remarks, &about.warnings, &about.unused_weights];
    let all = format!("{all:?}");
    for word in words {
        assert!(all.contains(word), "no '{word}' in: {all}");
    }
}

#[test]
fn classes_are_read_however_they_are_stored() {
    let dir = tempfile::tempdir().unwrap();
    let thirds: Vec<f32> = (0..20).map(|i| (i % 3) as f32).collect();
    let halves: Vec<f32> = (0..20).map(|i| (i % 2) as f32).collect();
    for (i, (stored, wanted, remark)) in [
        ("(k % 2).astype('f4')", &halves, ""),
        ("(k % 2)[:, None]", &halves, ""),
        ("(k % 2)[:, None, None]", &halves, ""),
        ("(k % 2)[None, :]", &halves, ""),
        ("k % 2 == 1", &halves, ""),
        ("(k % 3).astype('>i8')", &thirds, ""),
        (
            "(2 * (k % 2) - 1).astype('i1')",
            &halves,
            "-1 is read as class 0",
        ),
        (
            "np.eye(2)[k % 2]",
            &halves,
            "one-hot of 2 is read as classes 0 to 1",
        ),
        ("np.eye(3, dtype=bool)[k % 3]", &thirds, "classes 0 to 2"),
        (
            "np.array(['QCD', 'W'], 'S3')[k % 2]",
            &halves,
            "'QCD' is read as 0, 'W' as 1",
        ),
        (
            "np.array(['a long name of a class', 'b'], 'S30')[k % 2]",
            &halves,
            "'b' as 1",
        ),
        (
            "np.array(['QCD', 'W'], object)[k % 2]",
            &halves,
            "'QCD' is read as 0, 'W' as 1",
        ),
        (
            "np.array(['QCD', 'W'], 'S8')[k % 2][:, None]",
            &halves,
            "'W' as 1",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let path = file(
            dir.path(),
            &format!("{i}.h5"),
            &format!("f['signal'] = {stored}"),
        );
        let found = read(&path, &ReadOptions::default()).unwrap();
        assert_eq!(&found.columns["signal"], wanted, "{stored}");
        assert!(
            found.about.warnings.is_empty(),
            "{stored}: {:?}",
            found.about
        );
        match remark {
            "" => assert!(
                found.about.remarks.is_empty(),
                "{stored}: {:?}",
                found.about
            ),
            _ => said(&found, &[remark, "'signal' of"]),
        }
        // Class 1 is selected alike in all of them.
        let one = read(&path, &selected(&["signal=1"])).unwrap();
        let rows = (0..20).filter(|i| wanted[*i as usize] == 1.0);
        assert!(one.rows.iter().copied().eq(rows), "{stored}");
        assert!(one.columns["signal"].iter().all(|s| *s == 1.0), "{stored}");
    }
}

#[test]
fn what_is_no_class_is_said() {
    let dir = tempfile::tempdir().unwrap();
    for (i, (stored, why)) in [
        (
            "np.full((20, 2), 0.5)",
            "row 0 is [0.5, 0.5], which is no one-hot class",
        ),
        ("np.eye(20)[:, :3]", "row 3 is [0.0, 0.0, 0.0]"),
        ("np.zeros((20, 2, 2))", "[20, 2, 2]"),
        ("np.zeros(19)", "[19]"),
        (
            "np.array([f'{n:05}' for n in range(20)], 'S300')",
            "300-byte values",
        ),
        ("np.zeros(20, 'c16')", "16-byte values"),
    ]
    .into_iter()
    .enumerate()
    {
        let path = file(
            dir.path(),
            &format!("{i}.h5"),
            &format!("f['signal'] = {stored}"),
        );
        // Not asked for: the images are read and the classes left out, aloud.
        let found = read(&path, &ReadOptions::default()).unwrap();
        assert!(found.columns.is_empty(), "{stored}");
        said(&found, &["classes are left out", why]);
        refused(
            &path,
            &selected(&["signal=1"]),
            &[&format!("{i}.h5"), "'signal'", why],
        );
        let class = with(FileOptions {
            class: Some("signal".into()),
            ..Default::default()
        });
        refused(&path, &class, &["'signal'", why]);
    }
    let many = file(
        dir.path(),
        "many.h5",
        "del f['image']; f['image'] = np.tile(v, (20, 1, 1)); f['signal'] = np.array([f'{n}' for n in range(400)], 'S8')",
    );
    said(
        &read(&many, &ReadOptions::default()).unwrap(),
        &["over 256 different texts"],
    );
    // Strings whose rows were never written are a class without a name, and no crash.
    let gap = "f.create_dataset('signal', (20,), h5py.string_dtype()); f['signal'][:5] = ['W'] * 5";
    let gap = read(&file(dir.path(), "gap.h5", gap), &ReadOptions::default()).unwrap();
    assert_eq!(gap.about.names["signal"], ["", "W"]);
    assert_eq!(gap.columns["signal"].iter().sum::<f32>(), 5.0);
}

#[test]
fn rows_are_selected_by_name_and_by_the_files_own_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let names = file(
        dir.path(),
        "names.h5",
        "f['signal'] = np.array(['QCD', 'W', 'top'], 'S3')[k % 3]; f['charge'] = 1 - 2 * (k % 2); f['energy'] = k[:, None] * 1.5",
    );
    let found = read(&names, &selected(&["signal=top"])).unwrap();
    assert_eq!(found.rows, [2, 5, 8, 11, 14, 17]);
    assert_eq!(found.columns["signal"], [2.0; 6]);
    refused(
        &names,
        &selected(&["signal=Z"]),
        &["no image", "signal=Z", "signal is one of QCD, W, top"],
    );
    refused(
        &names,
        &selected(&["energy=large"]),
        &["'energy'", "holds numbers and 'large' is none"],
    );
    // A sign that is no class stays one.
    let found = read(&names, &selected(&["charge=-1"])).unwrap();
    assert_eq!(found.columns["charge"], [-1.0; 10]);
    let one_each = read(&names, &selected(&["energy=3..6"])).unwrap();
    assert_eq!(one_each.rows, [2, 3, 4]);
    assert_eq!(one_each.columns["energy"], [3.0, 4.5, 6.0]);

    let signs = file(dir.path(), "signs.h5", "f['signal'] = 2 * (k % 2) - 1");
    for background in ["signal=-1", "signal=0", "signal=-1..0"] {
        let found = read(&signs, &selected(&[background])).unwrap();
        assert!(found.rows.iter().all(|r| r % 2 == 0) && found.rows.len() == 10);
    }
    // Whatever is selected, -1 is class 0: it depends on the file and not on the rows.
    let few = read(&signs, &selected(&["row=4"])).unwrap();
    assert_eq!(few.columns["signal"], [0.0]);
}

#[test]
fn another_data_set_may_hold_the_classes() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(
        dir.path(),
        "a.h5",
        "f['kind'] = np.array(['e', 'gamma'], 'S8')[k % 2]; f['signal'] = np.zeros(20)",
    );
    let mut options = with(FileOptions {
        class: Some("kind".into()),
        ..Default::default()
    });
    options.selections = vec!["signal=gamma".parse().unwrap()];
    let found = read(&path, &options).unwrap();
    assert_eq!(found.rows.len(), 10);
    assert_eq!(found.columns["signal"], [1.0; 10]);
    assert_eq!(found.about.names["signal"], ["e", "gamma"]);
    options.file.class = Some("colour".into());
    refused(&path, &options, &["no data set 'colour'"]);
    options.file.where_present = true;
    options.selections.clear();
    let found = read(&path, &options).unwrap();
    assert_eq!(found.columns["signal"], [0.0; 20]);
}

#[test]
fn names_stand_for_the_same_numbers_in_all_files() {
    let dir = tempfile::tempdir().unwrap();
    let names = |name: &str, list: &str| {
        let more = format!("f['signal'] = np.array({list}, 'S5')[k % 2]");
        file(dir.path(), name, &more)
    };
    let (a, b) = (names("a.h5", "['W', 'top']"), names("b.h5", "['QCD', 'W']"));
    let both = [a.clone(), b.clone()];
    let found = read_all(&both, &ReadOptions::default()).unwrap();
    assert_eq!(found.about.names["signal"], ["QCD", "W", "top"]);
    assert_eq!(found.columns["signal"][..2], [1.0, 2.0]);
    assert_eq!(found.columns["signal"][20..22], [0.0, 1.0]);
    said(
        &found,
        &["'signal' of all files: 'QCD' is read as 0, 'W' as 1, 'top' as 2"],
    );
    let named = read_all(&both, &selected(&["signal=W"])).unwrap();
    assert_eq!(named.columns["signal"], [1.0; 20]);
    assert_eq!(named.images.len(), 20);
    // A number would mean W in one file and QCD in the other.
    let error = read_all(&both, &selected(&["signal=0"])).unwrap_err();
    let error = error.to_string();
    assert!(
        error.contains("b.h5") && error.contains("select by name"),
        "{error}"
    );
    let numbers = file(dir.path(), "n.h5", "f['signal'] = k % 2");
    let error = read_all(&[a, numbers], &ReadOptions::default()).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("holds names in one file (W, top)"),
        "{error}"
    );
    // What a model knows by other numbers.
    let mut found = read(&b, &ReadOptions::default()).unwrap();
    let order = ["W", "QCD"].map(String::from);
    found.rename("signal", &order).unwrap();
    assert_eq!(found.columns["signal"][..2], [1.0, 0.0]);
    let error = found.rename("signal", &order[..1]).unwrap_err().to_string();
    assert!(error.contains("'QCD' is no name of 'signal'"), "{error}");
}

#[test]
fn weights_are_read_where_they_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let weights = "f['mc_weight'] = np.where(k % 5 == 0, -0.5, 2.0)[:, None]; f['bad'] = np.where(k == 7, np.nan, 1.0); f['minus'] = -np.ones(20); f['word'] = ['1.5', '2.5'] * 10; f['hot'] = np.eye(2)[k % 2]";
    let a = file(dir.path(), "a.h5", weights);
    let plain = read(&a, &ReadOptions::default()).unwrap();
    assert_eq!(plain.weights, None);
    said(
        &plain,
        &["every image counts once", "give --weights mc_weight"],
    );
    let named = |name: &str| {
        with(FileOptions {
            weights: Some(name.into()),
            ..Default::default()
        })
    };
    let found = read_all(std::slice::from_ref(&a), &named("mc_weight")).unwrap();
    assert_eq!(found.weights.as_ref().unwrap()[4..7], [2.0, -0.5, 2.0]);
    assert!(found.about.warnings.is_empty());
    refused(&a, &named("bad"), &["'bad', row 7: NaN"]);
    refused(&a, &named("none"), &["no data set 'none'"]);
    refused(
        &a,
        &named("word"),
        &["'word'", "unicode", "weights are one number an image"],
    );
    refused(
        &a,
        &named("hot"),
        &["'hot'", "its shape is [20, 2]", "weights are one number"],
    );
    let error = read_all(std::slice::from_ref(&a), &named("minus")).unwrap_err();
    assert!(error.to_string().contains("sum to -20"), "{error}");
    let mut some = named("mc_weight");
    some.selections = vec!["row=0..1".parse().unwrap()];
    let found = read_all(&[a.clone(), a], &some).unwrap();
    assert_eq!(found.weights.unwrap(), [-0.5, 2.0, -0.5, 2.0]);
}

#[test]
fn energies_become_gev_and_other_units_stay() {
    let dir = tempfile::tempdir().unwrap();
    let gev = read(
        &file(dir.path(), "g.h5", "f.attrs['units'] = 'GeV'"),
        &ReadOptions::default(),
    );
    let gev = gev.unwrap();
    assert!(gev.about.unit.is_gev() && gev.about.remarks.is_empty());
    let close = |found: &Dataset, factor: f32, what: &str| {
        assert_eq!(found.images.len(), 20, "{what}");
        for (a, b) in found.images.csr().2.iter().zip(gev.images.csr().2) {
            assert!((a / (b * factor) - 1.0).abs() < 1e-6, "{what}: {a} {b}");
        }
    };
    for (i, (more, factor, unit)) in [
        ("f.attrs['units'] = 'MeV'", 1e-3, "GeV"),
        ("f.attrs['unit'] = np.bytes_('keV')", 1e-6, "GeV"),
        (
            "f['image'].attrs['units'] = 'TeV'; f.attrs['units'] = 'MeV'",
            1e3,
            "GeV",
        ),
        ("f.attrs['units'] = 'ADC'", 1.0, "ADC"),
        ("f.attrs['units'] = 3.5", 1.0, "GeV"),
    ]
    .into_iter()
    .enumerate()
    {
        let path = file(dir.path(), &format!("{i}.h5"), more);
        let found = read(&path, &ReadOptions::default()).unwrap();
        close(&found, factor, more);
        assert_eq!(found.about.unit.as_str(), unit);
        assert_eq!(
            found.about.remarks.is_empty(),
            factor == 1.0 && unit == "GeV",
            "{more}"
        );
        // What is given wins.
        let scaled = with(FileOptions {
            scale: Some(0.25),
            ..Default::default()
        });
        let scaled = read(&path, &scaled).unwrap();
        close(&scaled, 0.25, more);
        assert!(scaled.about.unit.is_gev());
    }
    // The sum that is a condition is that of the pixels as they are read; a condition has a unit of its own.
    let energy = "f.attrs['units'] = 'MeV'; f['energy'] = 1e3 * k[:, None]; f['energy'].attrs['units'] = 'MeV'";
    let path = file(dir.path(), "e.h5", energy);
    let options = ReadOptions {
        columns: vec!["energy".into()],
        selections: vec!["energy=2..3".parse().unwrap()],
        total: Some("sum".into()),
        ..Default::default()
    };
    let found = read(&path, &options).unwrap();
    assert_eq!(found.rows, [2, 3]);
    assert_eq!(found.columns["energy"], [2.0, 3.0]);
    // A value is found as it is read: 0.1 is 100 MeV in float32.
    let tenths = "f['energy'] = (100 * k).astype('f4'); f['energy'].attrs['units'] = 'MeV'";
    let tenths = file(dir.path(), "t.h5", tenths);
    for (row, value) in ["0.1", "0.2", "0.3", "0.7", "1.1"].iter().enumerate() {
        let found = read(&tenths, &selected(&[&format!("energy={value}")])).unwrap();
        assert_eq!(found.rows, [[1, 2, 3, 7, 11][row]], "{value}");
    }
    assert!((found.columns["sum"][0] / gev.images.totals()[2] - 1e-3).abs() < 1e-8);
    let sentence = file(
        dir.path(),
        "s.h5",
        "f.attrs['units'] = 'transverse momentum of a cell in MeV'",
    );
    said(
        &read(&sentence, &ReadOptions::default()).unwrap(),
        &["names no unit", "--scale 1"],
    );
    let huge = with(FileOptions {
        scale: Some(1e38),
        ..Default::default()
    });
    refused(&sentence, &huge, &["above the range of float32", "--scale"]);
    let mixed = [dir.path().join("g.h5"), dir.path().join("3.h5")];
    let error = read_all(&mixed, &ReadOptions::default()).unwrap_err();
    assert!(error.to_string().contains("in ADC"), "{error}");
}

#[test]
fn showers_in_a_group_are_showers() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("g.h5");
    h5py(
        &path,
        "with h5py.File(path, 'w') as f:
    for group in ('train', 'test'):
        f[group + '/showers'] = np.full((4, 6), 500, 'f4'); f[group + '/incident_energies'] = np.full((4, 1), 4000, 'f4')",
    );
    for name in ["train/showers", "/test/showers", "train"] {
        let mut options = with(FileOptions {
            images: Some(name.into()),
            shape: Some(ImageSize {
                height: 2,
                width: 3,
            }),
            ..Default::default()
        });
        options.columns = vec!["incident_energies".into()];
        let found = read(&path, &options).unwrap();
        assert_eq!(found.images.totals(), [3.0; 4], "{name}");
        assert_eq!(found.columns["incident_energies"], [4.0; 4], "{name}");
        said(&found, &["pixels of", "are in MeV"]);
        // A factor of the pixels leaves the energies beside them.
        options.file.scale = Some(1.0);
        let found = read(&path, &options).unwrap();
        assert_eq!(found.images.totals(), [3000.0; 4], "{name}");
        assert_eq!(found.columns["incident_energies"], [4.0; 4], "{name}");
        said(&found, &["are taken as MeV", "multiplied by 0.001"]);
    }
}

#[test]
fn a_threshold_cuts_after_scaling() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), "a.h5", "f.attrs['units'] = 'MeV'");
    let plain = read(&path, &ReadOptions::default()).unwrap();
    let cut = with(FileOptions {
        threshold: Some(0.05),
        ..Default::default()
    });
    let found = read(&path, &cut).unwrap();
    let kept = |v: &&f32| **v >= 0.05;
    let wanted: Vec<f32> = plain.images.csr().2.iter().filter(kept).copied().collect();
    assert!(wanted.len() < plain.images.nonzeros() && !wanted.is_empty());
    assert_eq!(found.images.csr().2, wanted);
    assert_eq!(found.images.len(), 20);
    let below = plain.images.nonzeros() - wanted.len();
    let text = format!("{below} of {} nonzero pixels", plain.images.nonzeros());
    said(&found, &[&text, "lie below 0.05 GeV"]);
    // Rows without a pixel above it are empty images, not missing ones.
    for i in 0..20 {
        let above = plain.images.image(i).1.iter().filter(kept).count();
        assert_eq!(found.images.image(i).0.len(), above);
    }
}

#[test]
fn rows_never_written_are_found() {
    let dir = tempfile::tempdir().unwrap();
    // Renamed and not deleted: a contiguous data set in the place of a deleted one shows what was there
    // (findings/unwritten-rows-hold-deleted-data.sh).
    let create = |more: &str| {
        format!(
            "f.move('image', 'old'); d = f.create_dataset('image', (20, 4, 5), 'f4', {more}); v[:8, 0, 0] = 1; d[:8] = v[:8]"
        )
    };
    for (i, (more, unwritten)) in [
        ("chunks=(4, 4, 5), compression='gzip'", vec![[8, 19]]),
        // Chunks of part images: a row is written when one of its chunks is.
        ("chunks=(3, 2, 5)", vec![[9, 19]]),
        ("chunks=(20, 4, 5)", vec![]),
        ("", vec![]),
    ]
    .into_iter()
    .enumerate()
    {
        let path = file(dir.path(), &format!("{i}.h5"), &create(more));
        let found = read(&path, &ReadOptions::default()).unwrap();
        assert_eq!(found.origins[0].unwritten, unwritten, "{more}");
        let inspected = found.inspect();
        assert_eq!(inspected.empty.count, 12, "{more}");
        let spans: u64 = unwritten.iter().map(|[a, b]| b - a + 1).sum();
        assert_eq!(inspected.unwritten as u64, spans);
        let text = found.remarks(&inspected).join("\n");
        assert!(
            text.contains("12 of 20 images are empty (rows 8 to 19)"),
            "{more}: {text}"
        );
        assert_eq!(text.contains("never written"), spans > 0, "{text}");
    }
    // Only what is selected is looked at.
    let path = dir.path().join("0.h5");
    let found = read(&path, &selected(&["row=6..9"])).unwrap();
    let text = found.remarks(&found.inspect()).join("\n");
    assert!(
        text.contains("2 of 4 images are empty (rows 8 to 9): these rows were never written; leave them out with --select row=0..7"),
        "{text}"
    );
}

#[test]
fn classes_units_and_gaps_are_found_wherever_the_values_are() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let halves: Vec<f32> = (0..20).map(|i| (i % 2) as f32).collect();
    // Texts in chunks that libhdf5 cannot unpack, of several kinds and sizes; a text of its own where none was written.
    let packed = "o = dict(chunks=(3,), compression='lzf', shuffle=True)
f.create_dataset('signal', data=np.array(['QCD', 'W'], 'S11')[k % 2], **o)
f.create_dataset('short', data=np.array(['QCD', 'W'], 'S3')[k % 2][:, None], chunks=(7, 1), compression='lzf')
t = h5py.h5t.C_S1.copy(); t.set_size(6); t.set_strpad(h5py.h5t.STR_SPACEPAD)
p = h5py.h5p.create(h5py.h5p.DATASET_CREATE); p.set_chunk((4,)); p.set_deflate(1)
h5py.h5d.create(f.id, b'spaces', t, h5py.h5s.create_simple((20,)), p).write(h5py.h5s.ALL, h5py.h5s.ALL, np.array([b'QCD   ', b'W     '])[k % 2], t)
g = f.create_dataset('gap', (20,), 'S5', fillvalue=b'none', **o)
g[:6] = np.array(['QCD', 'W'], 'S5')[k[:6] % 2]
f['long'] = np.array(['W', 'x' * 300], object)[k % 2]
f['image'].attrs['units'] = 'MeV'; f['energy'] = 1e3 * k; f['energy'].attrs['units'] = 'MeV'";
    let a = file(dir.path(), "a.h5", packed);
    for name in ["signal", "short", "spaces", "gap"] {
        let class = with(FileOptions {
            class: Some(name.into()),
            ..Default::default()
        });
        let found = read(&a, &class).unwrap();
        let names = &found.about.names["signal"];
        match name {
            "gap" => {
                assert_eq!(names, &["QCD", "W", "none"]);
                assert_eq!(found.columns["signal"][..6], halves[..6]);
                assert_eq!(found.columns["signal"][6..], [2.0; 14]);
            }
            _ => {
                assert_eq!(names, &["QCD", "W"], "{name}");
                assert_eq!(found.columns["signal"], halves, "{name}");
            }
        }
    }
    refused(&a, &selected(&["long=W"]), &["'long'", "300-byte texts"]);

    // Behind links and in virtual data sets: the unit is that of the values.
    let script = "with h5py.File(path, 'w') as f:
    for name in ('image', 'signal', 'energy'):
        f[name] = h5py.ExternalLink('a.h5', name)";
    h5py(&path("link.h5"), script);
    let script = "with h5py.File(path, 'w') as f:
    for name in ('image', 'signal', 'energy'):
        with h5py.File(path.replace('virtual', 'a')) as a:
            d = a[name]
            v = h5py.VirtualLayout(d.shape, d.dtype); v[:] = h5py.VirtualSource(d)
        f.create_virtual_dataset(name, v)";
    h5py(&path("virtual.h5"), script);
    let mut options = selected(&["energy=2..3"]);
    options.columns = vec!["energy".into()];
    let plain = read(&a, &options).unwrap();
    assert_eq!(plain.columns["energy"], [2.0, 3.0]);
    for name in ["link.h5", "virtual.h5"] {
        let found = read(&path(name), &options).unwrap();
        assert_eq!(found.images, plain.images, "{name}");
        assert_eq!(found.columns, plain.columns, "{name}");
        assert_eq!(found.about.names, plain.about.names, "{name}");
        said(&found, &["are in MeV", name]);
    }

    // Two sources of two units are no one unit; rows that no source wrote are told.
    let script = "n = 0
for name, unit in (('b.h5', 'MeV'), ('c.h5', 'GeV')):
    with h5py.File(path.replace('mixed.h5', name), 'w') as f:
        d = f.create_dataset('image', (10, 4, 5), 'f4', chunks=(2, 4, 5)); d[:4] = 1; d.attrs['units'] = unit
def gather(path, names):
    with h5py.File(path, 'w') as f:
        v = h5py.VirtualLayout((20, 4, 5), 'f4')
        for i, name in enumerate(names):
            v[10 * i:10 * (i + 1)] = h5py.VirtualSource(name, 'image', (10, 4, 5))
        f.create_virtual_dataset('image', v)
gather(path, ['b.h5', 'c.h5']); gather(path.replace('mixed', 'one'), ['c.h5', 'c.h5'])";
    h5py(&path("mixed.h5"), script);
    refused(
        &path("mixed.h5"),
        &ReadOptions::default(),
        &["different units, MeV and GeV"],
    );
    let one = read(&path("one.h5"), &ReadOptions::default()).unwrap();
    assert_eq!(one.origins[0].unwritten, [[4, 9], [14, 19]]);
    assert_eq!(one.inspect().unwritten, 12);

    // Arrays of numpy.
    let script = "import os
with h5py.File(os.path.join(os.path.dirname(path), 'a.h5')) as f:
    k = np.arange(20)
    np.savez_compressed(path, image=f['image'][:], signal=np.eye(2)[k % 2], weight=np.where(k == 3, -1.0, 2.0)[:, None])";
    h5py(&path("n.npz"), script);
    let found = read(
        &path("n.npz"),
        &with(FileOptions {
            weights: Some("weight".into()),
            scale: Some(1e-3),
            ..Default::default()
        }),
    );
    let found = found.unwrap();
    assert_eq!(found.columns["signal"], halves);
    assert_eq!(found.weights.unwrap()[2..5], [2.0, -1.0, 2.0]);
    assert_eq!(
        found.images,
        read(&a, &ReadOptions::default()).unwrap().images
    );
}

/// Residue of a rotation has both signs: the threshold sets it to zero, but a negative pixel beyond it stays a mistake.
#[test]
fn a_threshold_cuts_residue_of_both_signs() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), "r.h5", "f['image'][3, 1, 2] = -5e-4");
    let options = |threshold: Option<f32>| ReadOptions {
        file: FileOptions {
            threshold,
            ..FileOptions::default()
        },
        ..ReadOptions::default()
    };
    let error = read(&path, &options(None)).unwrap_err().to_string();
    assert!(error.contains("-0.0005"), "{error}");
    assert!(read(&path, &options(Some(1e-4))).is_err());
    let cut = read(&path, &options(Some(1e-3))).unwrap().images;
    assert!(!cut.image(3).0.contains(&7));
    assert_eq!(cut.len(), 20);
}
