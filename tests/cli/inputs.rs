//! Data files as they are named on the command line: patterns, data sets in groups, flat rows, numpy's arrays.

use crate::support::h5::h5py;
use crate::support::program::{Lab, assert_same, conditioned};

#[test]
fn images_come_from_however_they_are_stored() {
    let lab = Lab::trained(&conditioned());
    let script = "
import os
os.chdir(path)
with h5py.File('data.h5') as f: d = {n: f[n][:] for n in f}
for name, rows in (('part_0', slice(0, 100)), ('part_1', slice(100, 300)), ('all', slice(0, 300))):
    with h5py.File(name + '.h5', 'w') as f:
        for n in d: f.create_dataset('x/' + n, data=d[n][rows], compression='lzf')
with h5py.File('flat.h5', 'w') as f:
    for n in d: f['showers' if n == 'image' else n] = d[n].reshape(300, -1) if n == 'image' else d[n]
np.savez_compressed('data.npz', **d)";
    h5py(&lab.path("."), script);
    let score = |data: &str| {
        lab.ok(&format!(
            "score --quiet --model run/model.safetensors --data {data}"
        ))
    };
    let expected = score("data.h5").stdout;
    assert_eq!(expected.iter().filter(|b| **b == b'\n').count(), 300);
    for data in [
        "part_*.h5",
        "part_0.h5 part_1.h5",
        "part_0.h5 --data part_1.h5 --images x/image",
        "part_?.h5:/x",
        "all.h5:/x/image",
        "flat.h5 --images showers --shape 7x7",
        "data.npz",
    ] {
        assert_eq!(score(data).stdout, expected, "{data}");
    }
    lab.ok("evaluate --quiet --truth part_*.h5 --generated all.h5:/x --out report --bootstrap 5");
    lab.ok("train --quiet --data part_*.h5 --config config.toml --epochs 1 --out again");
    for (from, out) in [
        ("data.h5", "a.h5"),
        ("all.h5:/x", "b.h5"),
        ("flat.h5 --images showers --shape 7x7", "c.h5"),
    ] {
        lab.ok(&format!("generate --quiet --model run/model.safetensors --given-from {from} --count 20 --out {out}"));
        assert_same(&lab.read(out), &lab.read("a.h5"), from);
    }
    let about = lab.json("info --json all.h5");
    assert_eq!(about["found_in"], "x/image");
    let text = String::from_utf8(lab.ok("info --quiet all.h5:/x").stdout).unwrap();
    assert!(
        text.contains("data set 'x/image'") && text.contains("lzf"),
        "{text}"
    );

    lab.refuses(
        "score --model run/model.safetensors --data none_*.h5",
        &["none_*.h5", "matches nothing"],
    );
    lab.refuses(
        "score --model run/model.safetensors --data all.h5:/x/image --out all.h5 --force",
        &["'all.h5' is an input"],
    );
    lab.refuses(
        "score --model run/model.safetensors --data flat.h5",
        &["flat.h5", "'showers' [300, 49]", "--images showers --shape"],
    );
    lab.refuses(
        "train --data all.h5:/y/image --out new",
        &["all.h5", "no data set 'y/image'"],
    );
}

#[test]
fn groups_behind_links_are_looked_into() {
    let lab = Lab::trained(&conditioned());
    let script = "
import os
os.chdir(path)
with h5py.File('data.h5') as f: d = {n: f[n][:] for n in f}
with h5py.File('inside.h5', 'w') as f:
    for n in d: f['deep/train/' + n] = d[n]
with h5py.File('sets.h5', 'w') as f:
    for n in d: f[n] = h5py.ExternalLink('inside.h5', '/deep/train/' + n)
with h5py.File('group.h5', 'w') as f: f['jets'] = h5py.ExternalLink('inside.h5', '/deep/train')
with h5py.File('twice.h5', 'w') as f: f['jets'] = h5py.ExternalLink('inside.h5', '/deep'); f['again'] = h5py.SoftLink('/jets')
with h5py.File('nowhere.h5', 'w') as f: f['jets'] = h5py.ExternalLink('gone.h5', '/deep/train')
with h5py.File('nothing.h5', 'w') as f: f['jets'] = h5py.ExternalLink('inside.h5', '/other')";
    h5py(&lab.path("."), script);
    let score = |data: &str| {
        lab.ok(&format!(
            "score --quiet --model run/model.safetensors --data {data}"
        ))
    };
    let expected = score("data.h5").stdout;
    for data in [
        "sets.h5",
        "group.h5",
        "group.h5:/jets",
        "group.h5 --images jets/image",
        "twice.h5 --images jets/train",
        "twice.h5:/again/train/image",
    ] {
        assert_eq!(score(data).stdout, expected, "{data}");
    }
    // What does not stand in the linked group is not there.
    lab.ok("evaluate --quiet --truth group.h5 --generated sets.h5 --allow-duplicates --out report --bootstrap 5");
    lab.refuses(
        "train --data group.h5:/jets --weights none --out new",
        &["group.h5", "no data set 'none'"],
    );
    lab.refuses(
        "score --model run/model.safetensors --data nowhere.h5",
        &["link to '/deep/train' of 'gone.h5', which is not there"],
    );
    lab.refuses(
        "score --model run/model.safetensors --data nothing.h5",
        &["inside.h5' has no data set '/other'"],
    );
}

#[test]
fn a_named_data_set_is_that_of_the_truth_and_a_found_one_is_said_once() {
    let lab = Lab::trained(&conditioned());
    let script = "
import os
os.chdir(path)
with h5py.File('data.h5') as f: d = {n: f[n][:] for n in f}
with h5py.File('two.h5', 'w') as f:
    for g in ('train', 'test'):
        for n in d: f[g + '/' + n] = d[n]
with h5py.File('jets.h5', 'w') as f:
    for n in d: f['jetImage' if n == 'image' else n] = d[n]";
    h5py(&lab.path("."), script);
    lab.ok("generate --quiet --model run/model.safetensors --count 300 --out made.h5");
    let evaluate = "evaluate --force --bootstrap 5 --out report --generated made.h5";
    lab.ok(&format!(
        "{evaluate} --truth two.h5 --images test/image --quiet"
    ));
    lab.refuses(
        &format!("{evaluate} --truth two.h5 --images text/image"),
        &["'two.h5' has no data set 'text/image'"],
    );
    let jets = format!("{evaluate} --truth jets.h5");
    for line in [
        "info jets.h5",
        "train --data jets.h5 --config config.toml --epochs 1 --out new",
        "score --model run/model.safetensors --data jets.h5",
        &jets,
    ] {
        let said = String::from_utf8(lab.ok(line).stderr).unwrap();
        let count = said.matches("are taken from data set 'jetImage'").count();
        assert_eq!(count, 1, "{line}: {said}");
    }
}
