//! Files as people have them: names and groups, shapes, filters, links, virtual data sets, numpy's arrays, writers at work.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::h5::{PIXELS, h5py, pixel, python, toy, write_toy};
use sarm::data::{
    Dataset, FileOptions, ImageSize, Layout, ReadOptions, SparseImages, describe, describe_with,
    matching, read, read_all,
};

fn named(images: &str) -> ReadOptions {
    ReadOptions {
        file: FileOptions {
            images: Some(images.into()),
            ..Default::default()
        },
        ..Default::default()
    }
}

fn shaped(height: usize, width: usize) -> ReadOptions {
    ReadOptions {
        file: FileOptions {
            shape: Some(ImageSize { height, width }),
            ..Default::default()
        },
        ..Default::default()
    }
}

fn plain(path: &Path) -> SparseImages {
    let read = read(path, &ReadOptions::default());
    read.unwrap_or_else(|e| panic!("{}: {e}", path.display()))
        .images
}

fn message(path: &Path, options: &ReadOptions) -> String {
    let message = read(path, options).unwrap_err().to_string();
    assert!(
        message.contains(" (") && message.contains("); "),
        "problem (why); suggestion: {message}"
    );
    message
}

/// `v` holds the pixels of 20 images of 4 x 5.
fn file(dir: &Path, name: &str, body: &str) -> PathBuf {
    let path = dir.join(name);
    let body = body.trim().replace('\n', "\n    ");
    let script = format!(
        "{PIXELS}\nimport os\nos.chdir(os.path.dirname(path))\nv = pixels(20, 4, 5)\nwith h5py.File(path, 'w') as f:\n    {body}"
    );
    h5py(&path, &script);
    path
}

#[test]
fn images_are_found_in_groups_and_by_shape() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let images = toy(20, 4, 5);
    let group = file(
        dir,
        "group.h5",
        "f['train/image'] = v; f['train/signal'] = np.arange(20) % 2; f['train/jet_pt'] = np.arange(20.)
f['jet_pt'] = np.ones(3); f['jet_mass'] = np.arange(20.) + 80; f['valid/notes'] = np.zeros(7)",
    );
    // The only data set of that shape; columns beside it come first, then those of the root group.
    let mut options = ReadOptions {
        columns: vec!["jet_pt".into(), "jet_mass".into()],
        ..Default::default()
    };
    let check = |path: &Path, options: &ReadOptions| {
        let found = read(path, options).unwrap();
        assert_eq!(found.images, images);
        assert_eq!(found.columns["jet_pt"][19], 19.0);
        assert_eq!(found.columns["jet_mass"][19], 99.0);
        assert_eq!(found.columns["signal"][..3], [0.0, 1.0, 0.0]);
        assert_eq!(found.origins[0].path, group);
    };
    check(&group, &options);
    for name in ["train/image", "/train/image", "train", "/train/"] {
        options.file.images = Some(name.into());
        check(&group, &options);
    }
    options.file.images = None;
    for name in ["/train/image", "/train"] {
        check(Path::new(&format!("{}:{name}", group.display())), &options);
    }
    let about = describe(&group).unwrap();
    assert_eq!(about.found_in.as_deref(), Some("train/image"));
    let names: Vec<_> = about.datasets.iter().map(|d| d.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "jet_mass",
            "jet_pt",
            "train/image",
            "train/jet_pt",
            "train/signal",
            "valid/notes"
        ]
    );
    let why = message(&group, &named("train/imag"));
    assert!(why.contains("near to it are 'train/image'"), "{why}");
    options.columns = vec!["jet_mas".into()];
    let why = message(&group, &options);
    assert!(
        why.contains("no data set 'jet_mas'") && why.contains("near to it are 'jet_mass'"),
        "{why}"
    );

    let several = file(
        dir,
        "layers.h5",
        "f['layer_0'] = np.zeros((20, 3, 96)); f['layer_1'] = v; f['layer_2'] = np.zeros((20, 12, 6))
f['energy'] = np.ones((20, 1)); f['overflow'] = np.zeros((20, 3))",
    );
    let why = message(&several, &ReadOptions::default());
    for part in [
        "'layer_0' [20, 3, 96]",
        "'layer_1' [20, 4, 5]",
        "'layer_2' [20, 12, 6]",
        "--images layer_0",
    ] {
        assert!(why.contains(part), "{why}");
    }
    assert!(!why.contains("overflow"), "{why}");
    assert_eq!(read(&several, &named("layer_1")).unwrap().images, images);

    // The sparse layout in a group.
    let sparse = dir.join("sparse.h5");
    write_toy(&sparse, Layout::Sparse, 20, 4, 5);
    let script = "with h5py.File(path, 'a') as f:\n    for n in list(f): f.move(n, 'a/' + n)";
    h5py(&sparse, script);
    let found = read(&sparse, &named("a")).unwrap();
    assert_eq!((found.images, found.columns["signal"][1]), (images, 1.0));
    assert!(message(&sparse, &named("b")).contains("no data set 'b'"));
    let empty = file(dir, "empty.h5", "f['x/y'] = np.zeros(3)");
    assert!(message(&empty, &named("x")).contains("group without images"));
    assert!(message(&empty, &ReadOptions::default()).contains("no data set 'image'"));
}

#[test]
fn axes_of_one_and_flat_rows() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let images = toy(20, 4, 5);
    for (i, how) in ["v[..., None]", "v[:, None]", "v[:, None, :, None, :]"]
        .into_iter()
        .enumerate()
    {
        for (j, more) in ["", ", chunks=True, compression='gzip'"]
            .into_iter()
            .enumerate()
        {
            let path = file(
                dir,
                &format!("axis{i}{j}.h5"),
                &format!("f.create_dataset('image', data={how}{more})"),
            );
            assert_eq!(plain(&path), images, "{how}{more}");
        }
    }
    for (i, how) in [
        "v.reshape(20, 20)",
        "v.reshape(20, 1, 20, 1)",
        "v.reshape(20, 2, 2, 5)",
        "v",
    ]
    .into_iter()
    .enumerate()
    {
        let path = file(
            dir,
            &format!("flat{i}.h5"),
            &format!("f['showers'] = {how}; f['e'] = np.ones((20, 1))"),
        );
        assert_eq!(read(&path, &shaped(4, 5)).unwrap().images, images, "{how}");
        let why = message(&path, &shaped(4, 6));
        assert!(
            why.contains("rows of values") || why.contains("no data set") || why.contains("are 24"),
            "{why}"
        );
    }
    let flat = file(dir, "flat.h5", "f['image'] = v.reshape(20, 20)");
    let why = message(&flat, &ReadOptions::default());
    assert!(
        why.contains("flat rows of 20 values") && why.contains("--shape HEIGHTxWIDTH"),
        "{why}"
    );
    assert!(message(&flat, &shaped(4, 6)).contains("has 20 values, 4 x 6 are 24"));
    let showers = file(
        dir,
        "showers.h5",
        "f['showers'] = np.zeros((20, 368)); f['incident_energies'] = np.ones((20, 1))",
    );
    assert_eq!(read(&showers, &shaped(8, 46)).unwrap().images.len(), 20);
    let why = message(&showers, &ReadOptions::default());
    assert!(
        why.contains("'showers'") && why.contains("368 voxels") && why.contains("--binning"),
        "{why}"
    );
    let cut = file(dir, "cut.h5", "f['image'] = v");
    assert!(message(&cut, &shaped(5, 4)).contains("4 x 5 pixels already"));
}

#[test]
fn what_other_filters_packed_is_unpacked() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/filters");
    let images = toy(60, 6, 5);
    for kind in ["f4", "f8"] {
        let path = golden.join(format!("{kind}.h5"));
        let noise = read(&path, &named("noise")).unwrap().images;
        assert!(noise.nonzeros() > 290);
        let about = describe_with(&path, &named("lz4").file).unwrap();
        assert!(about.unreadable.is_empty(), "{:?}", about.unreadable);
        assert_eq!(about.datasets.len(), 2 * 23 + 1);
        for set in about.datasets {
            let found = read(&path, &named(&set.name)).unwrap().images;
            match set.name.starts_with("noise") {
                true => assert_eq!(found, noise, "{kind} {}", set.name),
                false => assert_eq!(found, images, "{kind} {}", set.name),
            }
            // Rows in the middle of chunks.
            let mut some = named(&set.name);
            some.selections = vec!["row=3..8".parse().unwrap()];
            let part = read(&path, &some).unwrap().images;
            assert_eq!(part, found.gather(3..9), "{kind} {}", set.name);
        }
    }
    let pytables = golden.join("pytables.h5");
    for name in ["zlib", "blosc", "blosc_bits"] {
        assert_eq!(
            read(&pytables, &named(name)).unwrap().images,
            images,
            "{name}"
        );
    }
    for name in ["blosc2", "zfp", "bzip2", "sz3", "szip", "scaleoffset"] {
        let why = message(&golden.join("refused.h5"), &named(name));
        assert!(
            why.contains(&format!("packed with {name}")) && why.contains("hdf5plugin"),
            "{why}"
        );
    }
}

#[test]
fn damage_to_packed_chunks_is_survived_and_never_silent_with_a_checksum() {
    use crate::support::dice::Dice;
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/filters");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5");
    let mut dice = Dice(0xf117e5);
    let bytes = fs::read(golden.join("f4.h5")).unwrap();
    let names: Vec<String> = (describe_with(&golden.join("f4.h5"), &named("lz4").file)
        .unwrap()
        .datasets
        .into_iter())
    .map(|d| d.name)
    .collect();
    for _ in 0..40 {
        let mut damaged = bytes.clone();
        for _ in 0..200 {
            // Behind the headers, where chunks are.
            let at = 2048 + dice.roll(damaged.len() - 2048);
            damaged[at] ^= 1 << dice.roll(8);
        }
        fs::write(&path, &damaged).unwrap();
        for name in &names {
            read(&path, &named(name)).ok();
        }
    }
    let whole = file(
        dir.path(),
        "sum.h5",
        "f.create_dataset('image', data=v, chunks=(20, 4, 5), compression='lzf', fletcher32=True)",
    );
    assert_eq!(plain(&whole), toy(20, 4, 5));
    let at: u64 = h5py(
        &whole,
        "print(h5py.File(path)['image'].id.get_chunk_info(0).byte_offset)",
    )
    .trim()
    .parse()
    .unwrap();
    let mut bytes = fs::read(&whole).unwrap();
    bytes[at as usize + 40] ^= 4;
    fs::write(&path, bytes).unwrap();
    let why = message(&path, &ReadOptions::default());
    assert!(why.contains("fletcher32") || why.contains("lzf"), "{why}");
}

#[test]
fn links_are_followed_and_missing_ends_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    fs::create_dir(dir.join("sub")).unwrap();
    let images = toy(20, 4, 5);
    file(
        dir,
        "sub/data.h5",
        "f['train/image'] = v; f['train/signal'] = np.arange(20) % 2; f['g/deeper'] = h5py.SoftLink('/train')",
    );
    let links = file(
        dir,
        "links.h5",
        "f['image'] = h5py.ExternalLink('sub/data.h5', '/g/deeper/image'); f['signal'] = h5py.ExternalLink('sub/data.h5', 'train/signal')
f['same'] = h5py.SoftLink('image'); f['all'] = h5py.ExternalLink('sub/data.h5', '/train')
f['gone'] = h5py.ExternalLink('sub/none.h5', '/x'); f['lost'] = h5py.SoftLink('/nowhere'); f['circle'] = h5py.SoftLink('/circle')",
    );
    for name in ["image", "same", "all/image"] {
        let found = read(&links, &named(name)).unwrap();
        assert_eq!(found.images, images, "{name}");
        assert_eq!(found.columns["signal"][1], 1.0, "{name}");
    }
    for (name, why) in [
        ("gone", "'sub/none.h5', which is not there"),
        ("lost", "link to '/nowhere', which is not there"),
        ("circle", "leads back to itself"),
    ] {
        let found = message(&links, &named(name));
        assert!(
            found.contains(why) && found.contains(&format!("'{name}'")),
            "{found}"
        );
    }
    let about = describe(&links).unwrap();
    assert_eq!(about.images, Some(20));
    let image = about.datasets.iter().find(|d| d.name == "image").unwrap();
    let from = image.from.as_deref().unwrap();
    assert!(
        from.contains("/g/deeper/image") && from.contains("data.h5"),
        "{from}"
    );
    assert!(
        about.unreadable["gone"].contains("none.h5"),
        "{:?}",
        about.unreadable
    );
    // The file behind a link passes the same checks, and is named.
    fs::write(dir.join("sub/none.h5"), "no HDF5").unwrap();
    assert!(message(&links, &named("gone")).contains("none.h5' (it has no HDF5 signature)"));
    // Files that lead to each other.
    let a = file(
        dir,
        "a.h5",
        "f['image'] = h5py.ExternalLink('b.h5', '/image')",
    );
    file(
        dir,
        "b.h5",
        "f['image'] = h5py.ExternalLink('a.h5', '/image')",
    );
    assert!(message(&a, &ReadOptions::default()).contains("without end"));
}

#[test]
fn virtual_data_sets_are_read_from_their_sources_or_refused() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let images = toy(20, 4, 5);
    for (name, rows) in [("p0", "0:12"), ("p1", "12:20")] {
        file(
            dir,
            &format!("{name}.h5"),
            &format!(
                "f.create_dataset('image', data=v[{rows}].astype('f4'), chunks=(5, 4, 5), compression='lzf'); f['pt'] = np.arange(20.)[{rows}]"
            ),
        );
    }
    let layout = |parts: &str| {
        format!(
            "def source(name, n, rows, to, shape=(4, 5), key='image'):
    l[to] = h5py.VirtualSource(name, key, (n,) + shape)[rows]
l = h5py.VirtualLayout((20, 4, 5), 'f4')
{parts}
f.create_virtual_dataset('image', l)"
        )
    };
    let both = "source('p0.h5', 12, slice(0, 12), slice(0, 12)); source('p1.h5', 8, slice(0, 8), slice(12, 20))";
    let columns = "
l = h5py.VirtualLayout((20,), 'f8')
source('p0.h5', 12, slice(0, 12), slice(0, 12), (), 'pt'); source('p1.h5', 8, slice(0, 8), slice(12, 20), (), 'pt')
f.create_virtual_dataset('pt', l)";
    let good = file(dir, "good.h5", &(layout(both) + columns));
    let options = ReadOptions {
        columns: vec!["pt".into()],
        ..Default::default()
    };
    let found = read(&good, &options).unwrap();
    assert_eq!(found.images, images);
    assert_eq!(found.columns["pt"][19], 19.0);
    let some = ReadOptions {
        selections: vec!["pt=10..14".parse().unwrap()],
        ..Default::default()
    };
    assert_eq!(read(&good, &some).unwrap().images, images.gather(10..15));
    let about = describe(&good).unwrap();
    let from = about.datasets[0].from.as_deref().unwrap();
    assert!(from.contains("p0.h5") && from.contains("p1.h5"), "{from}");
    // Rows in another order, a source in two pieces, and each image in a data set of its own.
    let swapped = file(
        dir,
        "swapped.h5",
        &layout(
            "source('p0.h5', 12, slice(6, 12), slice(0, 6)); source('p0.h5', 12, slice(0, 6), slice(6, 12)); source('p1.h5', 8, slice(0, 8), slice(12, 20))",
        ),
    );
    assert_eq!(
        plain(&swapped),
        images.gather((6..12).chain(0..6).chain(12..20))
    );
    let single = file(
        dir,
        "single.h5",
        "for i in range(20): f[f'part/{i}'] = v[i].astype('f4')
l = h5py.VirtualLayout((20, 4, 5), 'f4')
for i in range(20): l[i] = h5py.VirtualSource('.', f'part/{i}', (4, 5))
f.create_virtual_dataset('image', l)",
    );
    assert_eq!(plain(&single), images);

    for (i, (parts, why)) in [
        ("source('p0.h5', 12, slice(0, 12), slice(0, 12))", "rows 12 to 19 have no source"),
        ("source('p1.h5', 8, slice(0, 8), slice(12, 20))", "rows 0 to 11 have no source"),
        ("source('p0.h5', 12, slice(0, 12), slice(0, 12)); source('p0.h5', 12, slice(0, 9), slice(11, 20))", "row 11 has two sources"),
        ("source('p0.h5', 12, slice(0, 12), slice(0, 12)); source('none.h5', 8, slice(0, 8), slice(12, 20))", "'none.h5' is not there"),
        ("source('p0.h5', 12, slice(0, 12), slice(0, 12)); source('p1.h5', 9, slice(1, 9), slice(12, 20))", "with the shape [8, 4, 5]"),
        ("l[:, :2] = h5py.VirtualSource('p0.h5', 'image', (20, 4, 5))[:, :2]", "not runs of whole rows"),
        ("source('p0.h5', 12, slice(0, 12), slice(0, 12)); source('p1.h5', 8, slice(0, 8), slice(12, 20), key='nothing')", "no data set 'nothing'"),
        ("l[0:20:2] = h5py.VirtualSource('p0.h5', 'image', (12, 4, 5))[0:10]; l[1:20:2] = h5py.VirtualSource('p0.h5', 'image', (12, 4, 5))[0:10]", "not runs of whole rows"),
        ("l = h5py.VirtualLayout((20, 4, 5), 'i4'); source('p0.h5', 12, slice(0, 12), slice(0, 12)); source('p1.h5', 8, slice(0, 8), slice(12, 20))", "it holds int32"),
        ("l[:] = h5py.VirtualSource('.', 'image', (20, 4, 5))", "its own source"),
        ("l[:] = h5py.VirtualSource('good.h5', 'image', (20, 4, 5))", "virtual as well"),
    ]
    .into_iter()
    .enumerate()
    {
        let path = file(dir, &format!("bad{i}.h5"), &layout(parts));
        let found = message(&path, &ReadOptions::default());
        assert!(found.contains(why), "{parts}\n{found}");
    }
    // A source that vanishes, or shrinks, after the virtual file was made.
    fs::remove_file(dir.join("p1.h5")).unwrap();
    assert!(message(&good, &ReadOptions::default()).contains("'p1.h5' is not there"));
    file(
        dir,
        "p1.h5",
        "f['image'] = v[:7].astype('f4'); f['pt'] = np.arange(7.)",
    );
    let why = message(&good, &ReadOptions::default());
    assert!(why.contains("not runs of whole rows"), "{why}");
}

#[test]
fn raw_values_in_other_files_are_read_or_refused() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let path = file(
        dir,
        "raw.h5",
        "v.astype('>f4').tofile('all.raw'); half = v.astype('f4').tobytes()
open('a.raw', 'wb').write(b'x' * 7 + half[:801]); open('b.raw', 'wb').write(half[801:])
f.create_dataset('one', (20, 4, 5), '>f4', external='all.raw')
f.create_dataset('two', (20, 4, 5), 'f4', external=[('a.raw', 7, 801), ('b.raw', 0, h5py.h5f.UNLIMITED)])
f.create_dataset('none', (20, 4, 5), 'f4', external='none.raw')
f.create_dataset('short', (30, 4, 5), 'f4', external='all.raw')",
    );
    for name in ["one", "two"] {
        assert_eq!(
            read(&path, &named(name)).unwrap().images,
            toy(20, 4, 5),
            "{name}"
        );
    }
    assert!(message(&path, &named("none")).contains("'none.raw', which is not there"));
    assert!(message(&path, &named("short")).contains("ends after 1600 bytes of 2400"));
}

#[test]
fn arrays_of_numpy_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let images = toy(20, 4, 5);
    let make = |name: &str, body: &str| {
        let path = dir.join(name);
        h5py(
            &path,
            &format!("{PIXELS}\nv = pixels(20, 4, 5); s = np.arange(20) % 2\n{body}"),
        );
        path
    };
    let kinds = ["f4", ">f4", "f8", ">f8"];
    make(
        "x",
        "for kind in ('f4', '>f4', 'f8', '>f8'):
    for order in 'CF':
        a = np.array(v, kind, order=order)
        np.save(f'{path}{kind}{order}.npy', a)
        np.savez(f'{path}{kind}{order}savez.npz', image=a, signal=s.astype(bool), jet_pt=s + 250)
        np.savez_compressed(f'{path}{kind}{order}packed.npz', image=a, signal=s.astype(bool), jet_pt=s + 250)",
    );
    for (kind, order) in kinds.iter().flat_map(|k| [(k, "C"), (k, "F")]) {
        let path = dir.join(format!("x{kind}{order}.npy"));
        assert_eq!(plain(&path), images, "{kind} {order}");
        let mut some = ReadOptions {
            selections: vec!["row=7..11".parse().unwrap()],
            ..Default::default()
        };
        let part = images.gather(7..12);
        assert_eq!(read(&path, &some).unwrap().images, part, "{kind} {order}");
        for how in ["savez", "packed"] {
            let path = dir.join(format!("x{kind}{order}{how}.npz"));
            some.columns = vec!["jet_pt".into()];
            let found = read(&path, &some).unwrap();
            assert_eq!(found.images, part, "{how} {kind} {order}");
            assert_eq!(found.columns["signal"][..2], [1.0, 0.0]);
            assert_eq!(found.columns["jet_pt"][..2], [251.0, 250.0]);
        }
    }
    for kind in ["u1", "i2", "<u4", ">i8"] {
        let path = make(
            "whole.npy",
            &format!("np.save(path, np.round(v).astype('{kind}'))"),
        );
        let found = plain(&path);
        let expected = (0..20).map(|p| pixel(4, p).round_ties_even());
        let mut dense = vec![0.0; 20];
        found.dense_into(4, &mut dense);
        assert!(expected.eq(dense), "{kind}");
    }
    let old = make(
        "two.npy",
        "np.lib.format.write_array(open(path, 'wb'), v, version=(2, 0))",
    );
    assert_eq!(plain(&old), images);
    let flat = make("flat.npy", "np.save(path, v.reshape(20, 20))");
    assert_eq!(read(&flat, &shaped(4, 5)).unwrap().images, images);
    let other = make("other.npz", "np.savez(path, X=v, y=s)");
    assert_eq!(plain(&other), images);
    assert_eq!(describe(&other).unwrap().found_in.as_deref(), Some("X"));

    for (name, body, why) in [
        (
            "o.npy",
            "np.save(path, np.array([{}, v], object), allow_pickle=True)",
            "pickled",
        ),
        ("c.npy", "np.save(path, v.astype('c16'))", "'<c16'"),
        (
            "r.npy",
            "np.save(path, np.zeros(3, [('a', 'f4')]))",
            "records",
        ),
        (
            "cut.npy",
            "np.save(path, v); b = open(path, 'rb').read(); open(path, 'wb').write(b[:-1])",
            "3199 bytes are there",
        ),
        (
            "cut.npz",
            "np.savez_compressed(path, image=v); b = open(path, 'rb').read(); open(path, 'wb').write(b[:-40])",
            "cut.npz",
        ),
        // One bit of an array, and one of the checksum of a packed array in Fortran's order.
        (
            "bit.npz",
            "np.savez(path, image=v); b = bytearray(open(path, 'rb').read()); b[b.index(v.tobytes()) + 40] ^= 1; open(path, 'wb').write(b)",
            "its checksum does not fit",
        ),
        (
            "sum.npz",
            "import zipfile
np.savez_compressed(path, image=np.asfortranarray(v)); b = bytearray(open(path, 'rb').read())
crc = zipfile.ZipFile(path).infolist()[0].CRC.to_bytes(4, 'little')
at = b.rindex(crc); b[at] ^= 1; open(path, 'wb').write(b)",
            "its checksum does not fit",
        ),
    ] {
        let path = make(name, body);
        let why_not = message(&path, &ReadOptions::default());
        assert!(why_not.contains(why), "{name}: {why_not}");
    }
}

#[test]
fn several_files_and_patterns_are_one_data_set() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    for (i, rows) in ["0:5", "5:12", "12:20"].into_iter().enumerate() {
        file(
            dir,
            &format!("part_{i}.h5"),
            &format!("f['x/image'] = v[{rows}]; f['x/signal'] = np.arange(20)[{rows}] % 2"),
        );
    }
    let all = matching(&[dir.join("part_*.h5")]).unwrap();
    assert_eq!(all.len(), 3);
    assert!(all.is_sorted());
    let data: Dataset = read_all(&all, &ReadOptions::default()).unwrap();
    assert_eq!(data.images, toy(20, 4, 5));
    assert_eq!(data.columns["signal"][19], 1.0);
    let (origin, row) = data.place(13).unwrap();
    assert_eq!((origin.path.as_path(), row), (all[2].as_path(), 1));
    let with_name =
        matching(&[format!("{}:/x/image", dir.join("part_[01].h5").display()).into()]).unwrap();
    assert_eq!(
        read_all(&with_name, &ReadOptions::default())
            .unwrap()
            .images,
        toy(12, 4, 5)
    );
    // A file of that very name is no pattern.
    file(dir, "odd[1].h5", "f['image'] = v");
    assert_eq!(
        matching(&[dir.join("odd[1].h5")]).unwrap(),
        [dir.join("odd[1].h5")]
    );
    let why = matching(&[dir.join("none_*.h5")]).unwrap_err().to_string();
    assert!(
        why.contains("none_*.h5") && why.contains("matches nothing"),
        "{why}"
    );
    // The file that is wrong is named.
    file(dir, "part_1.h5", "f['image'] = v[:, :3]");
    let why = read_all(&all, &ReadOptions::default())
        .unwrap_err()
        .to_string();
    assert!(why.contains("part_1.h5") && why.contains("3 x 5"), "{why}");
}

/// h5py has the file open until its standard input ends.
fn held(path: &Path, body: &str) -> std::process::Child {
    let script = format!(
        "import sys, h5py, numpy as np\npath = sys.argv[1]\n{body}\nprint('ready', flush=True)\nsys.stdin.read()\nimport os; os._exit(0)"
    );
    let mut child = Command::new(python())
        .args(["-c", &script])
        .arg(path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert_eq!(line.trim(), "ready");
    child
}

#[test]
fn a_file_that_is_being_written_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5");
    let write = "f = h5py.File(path, 'w'); d = f.create_dataset('image', (400, 4, 5), 'f4', chunks=(50, 4, 5)); d[:150] = 1; f.flush()";
    let swmr = "f = h5py.File(path, 'w', libver='latest'); d = f.create_dataset('image', (400, 4, 5), 'f4', maxshape=(None, 4, 5)); f.swmr_mode = True; d[:150] = 1; d.flush()";
    for (body, expected, after) in [
        (
            write,
            "another process is writing it); wait until it is closed",
            None,
        ),
        (
            swmr,
            "marked as open for writing",
            Some("marked as open for writing"),
        ),
    ] {
        let mut child = held(&path, body);
        let why = message(&path, &ReadOptions::default());
        assert!(why.contains(expected), "{why}");
        assert!(
            describe(&path)
                .unwrap_err()
                .to_string()
                .contains("'h5clear -s'")
                == after.is_some()
        );
        // It ends without closing the file, as a killed writer does.
        child.stdin.take().unwrap().flush().unwrap();
        child.wait().unwrap();
        match after {
            // Nothing marks files of the oldest format: the rows that were not written read as zeros.
            None => assert_eq!(plain(&path).len(), 400),
            Some(why) => assert!(message(&path, &ReadOptions::default()).contains(why)),
        }
        fs::remove_file(&path).unwrap();
    }
    // Readers do not keep each other out, and what is read can be read while it is read.
    write_toy(&path, Layout::Dense, 20, 4, 5);
    let mut reader = held(&path, "f = h5py.File(path)");
    assert_eq!(plain(&path), toy(20, 4, 5));
    drop(reader.stdin.take());
    reader.wait().unwrap();
}
