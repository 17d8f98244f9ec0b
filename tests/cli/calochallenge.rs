//! Files of the CaloChallenge: read, learnt from, written, compared. Calorimeter and showers are those of
//! tests/golden/calorimeter.py, made up.

use std::ops::ControlFlow;
use std::path::Path;

use crate::support::h5::h5py;
use crate::support::program::Lab;
use sarm::data::{Layout, Provenance};
use sarm::run::checkpoint::Checkpoint;
use sarm::run::generate::{Ending, Job, Output, Request};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");

/// A lab with `binning.xml` and, of a particle's showers, `truth.h5` and `other.h5` as the challenge's files are: no
/// attributes, gzip, chunks of part showers.
fn lab(case: usize) -> Lab {
    let lab = Lab::empty();
    std::fs::copy(format!("{GOLDEN}/calorimeter.xml"), lab.path("binning.xml")).unwrap();
    for (side, name) in ["truth.h5", "other.h5"].into_iter().enumerate() {
        let script = format!(
            "import json
case = json.load(open('{GOLDEN}/calorimeter.json'))[{case}]
showers = np.array(case['showers'][{side}], 'f4')
with h5py.File(path, 'w') as f:
    f.create_dataset('showers', data=showers, compression='gzip', chunks=(4, 5))
    f.create_dataset('incident_energies', data=np.array(case['incident_energies'][{side}], 'f4')[:, None])"
        );
        h5py(&lab.path(name), &script);
    }
    lab
}

fn golden(case: usize) -> serde_json::Value {
    let text = std::fs::read_to_string(format!("{GOLDEN}/calorimeter.json")).unwrap();
    serde_json::from_str::<serde_json::Value>(&text).unwrap()[case].clone()
}

fn mean(value: &serde_json::Value) -> f64 {
    let list: Vec<f64> = serde_json::from_value(value.clone()).unwrap();
    list.iter().sum::<f64>() / list.len() as f64
}

#[test]
fn evaluate_gives_the_challenges_numbers() {
    for (case, particle, size) in [(0, "photon", "1 x 31"), (1, "electron", "3 x 12")] {
        let (lab, golden) = (lab(case), golden(case));
        let both = format!(
            "evaluate --truth truth.h5 --generated other.h5 --binning binning.xml --particle {particle} --bootstrap 5"
        );
        lab.ok(&format!("{both} --out report"));
        let read = |report: &str| -> serde_json::Value {
            let text = std::fs::read(lab.path(report).join("metrics.json")).unwrap();
            serde_json::from_slice::<serde_json::Value>(&text).unwrap()["calorimeter"].clone()
        };
        let found = read("report");
        let close = |got: &serde_json::Value, want: f64, what: &str| {
            let got = got.as_f64().unwrap();
            assert!(
                (got - want).abs() < 1e-5 * want.abs().max(1e-3),
                "{particle}, {what}: {got}, golden {want}"
            );
        };
        let separation = &golden["separation"];
        for name in ["voxels", "energy_ratio"] {
            let want = separation[name].as_f64().unwrap();
            close(&found[name]["separation"], want, name);
        }
        // Without the challenge's cut, all voxels count.
        lab.ok(&format!("{both} --threshold 1e-30 --out uncut"));
        let uncut = read("uncut");
        let layers = |found: &serde_json::Value| found["layers"].as_array().unwrap().clone();
        assert_eq!(layers(&found).len(), 3);
        for (cut, uncut) in layers(&found).iter().zip(&layers(&uncut)) {
            let layer = cut["layer"].to_string();
            for (name, want) in separation[&layer].as_object().unwrap() {
                close(&cut[name]["separation"], want.as_f64().unwrap(), name);
            }
            for (name, want) in golden["features"][&layer].as_object().unwrap() {
                close(&uncut[name]["mean"]["truth"], mean(want), name);
            }
        }
        let page = std::fs::read_to_string(lab.path("report/index.html")).unwrap();
        for text in ["<h2>Calorimeter</h2>", "Separation in each layer", particle] {
            assert!(page.contains(text), "{text}");
        }
        let said = lab.ok("info truth.h5").stdout;
        let said = String::from_utf8_lossy(&said);
        assert!(said.contains("calochallenge layout"), "{said}");
        // Looked at in every way that says how they are cut.
        let seen = |arguments: &str| {
            let said = lab.ok(&format!("info {arguments}")).stdout;
            String::from_utf8_lossy(&said).into_owned()
        };
        let (voxels, shape) = (
            golden["showers"][0][0].as_array().unwrap().len(),
            size.replace(' ', ""),
        );
        assert!(seen("truth.h5").contains(&format!(" of 1 x {voxels},")));
        for how in [
            format!("--binning binning.xml --particle {particle}"),
            format!("--shape {shape}"),
        ] {
            let said = seen(&format!("truth.h5 {how}"));
            assert!(said.contains(&format!(" of {size},")), "{how}: {said}");
            assert!(said.contains("nonzero "), "{how}: {said}");
        }
        h5py(
            &lab.path("own.h5"),
            &format!(
                "source = path.replace('own.h5', 'truth.h5')
with h5py.File(source) as f, h5py.File(path, 'w') as g:
    f.copy('showers', g); f.copy('incident_energies', g)
    g.attrs['height'], g.attrs['width'] = {}",
                size.replace(" x ", ", ")
            ),
        );
        let said = seen("own.h5");
        assert!(said.contains(&format!(" of {size},")), "{said}");
        // The image that showers become.
        lab.file(
            "c.toml",
            "[[stage]]\nlayers = 0\n[train]\nepochs = 1\nvalidation = 0.0\n",
        );
        lab.ok(&format!(
            "train --quiet --data truth.h5 --binning binning.xml --particle {particle} --config c.toml --out run"
        ));
        let info = lab.ok("info run/model.safetensors").stdout;
        let info = String::from_utf8_lossy(&info);
        assert!(info.contains(&format!("images of {size}")), "{info}");
    }
}

#[test]
fn showers_are_learnt_and_written_back() {
    let lab = lab(0);
    lab.file(
        "c.toml",
        "[order]\nkind = 'rows'\n[[stage]]\nlayers = 1\n[likelihood]\nkind = 'dd'\nlevels = 60\npower = 5.0\n[condition]\nnames = ['incident_energies']\nlog = ['incident_energies']\n[train]\nepochs = 2\nbatch = 8\nlearning_rate = 1e-3\nvalidation = 0.0\n",
    );
    let binning = "--binning binning.xml --particle photon";
    lab.ok(&format!(
        "train --quiet --data truth.h5 other.h5 {binning} --config c.toml --out run"
    ));
    // The model says how its images are cut: nobody needs to say it again.
    let generate = "generate --quiet --model run/model.safetensors --seed 3";
    lab.ok(&format!(
        "{generate} --count 200 --layout calochallenge --out new.h5"
    ));
    lab.ok(&format!("{generate} --count 200 --out dense.h5"));
    // What the challenge's evaluation asks of a file, and energies as they were in the training files.
    let said = h5py(
        &lab.path("new.h5"),
        "with h5py.File(path) as f:
    showers, energies = f['showers'][:], f['incident_energies'][:]
    assert showers.shape == (200, 31) and energies.shape == (200, 1), (showers.shape, energies.shape)
    assert showers.dtype == energies.dtype == np.float32
    assert set(energies.ravel()) <= {256, 512, 1024, 2048, 4096}, set(energies.ravel())
    assert f['showers'].attrs['units'] == f['incident_energies'].attrs['units'] == f.attrs['units'] == 'MeV'
    assert 10 < showers.sum(1).mean() < 1e5, showers.sum(1).mean()
    print(f.attrs['layout'], f.attrs['binning'], f.attrs['seed'], len(f.attrs['model_sha256']))",
    );
    assert_eq!(
        said.trim(),
        "calochallenge photon, layers 0, 1, 12 of 3, 20, 8 voxels 3 64"
    );
    // The same images as in GeV, but for a rounding.
    h5py(
        &lab.path("new.h5"),
        "with h5py.File(path) as f, h5py.File(path.replace('new', 'dense')) as g:
    assert np.allclose(f['showers'][:], 1000 * g['image'][:].reshape(200, -1), rtol=1e-6)
    assert np.allclose(f['incident_energies'][:].ravel(), 1000 * g['incident_energies'][:], rtol=1e-6)",
    );
    // Read back without a word about their shape, by row and by energy in GeV.
    for select in ["", "--select incident_energies=0.512 "] {
        let scores = |file: &str| -> Vec<f64> {
            let out = lab.ok(&format!(
                "score --quiet --model run/model.safetensors --data {file} {select}"
            ));
            let text = String::from_utf8(out.stdout).unwrap();
            text.lines().map(|l| l.parse().unwrap()).collect()
        };
        let (a, b) = (scores("new.h5"), scores("dense.h5"));
        assert!(
            a.len() == b.len() && a.len() >= 10,
            "{} {}",
            a.len(),
            b.len()
        );
        for (a, b) in a.iter().zip(b) {
            assert!((a - b).abs() < 1e-3 * b.abs().max(1.0), "{a} {b}");
        }
    }
    lab.ok(&format!(
        "evaluate --quiet --truth truth.h5 --generated new.h5 {binning} --bootstrap 5 --out report"
    ));
    // The energies of other showers, in their order.
    lab.ok(&format!(
        "{generate} --given-from other.h5 {binning} --layout calochallenge --out given.h5"
    ));
    h5py(
        &lab.path("given.h5"),
        "with h5py.File(path) as f, h5py.File(path.replace('given', 'other')) as g:
    assert np.array_equal(f['incident_energies'][:], g['incident_energies'][:])",
    );

    // Interrupted and continued, the file is the same.
    let checkpoint = Checkpoint::read(&lab.path("run/model.safetensors")).unwrap();
    let write = |name: &str, resume: bool, stop: bool| {
        let request = Request::new(20_000, 5);
        let mut job = Job::new(&checkpoint, &request).unwrap();
        let output = Output {
            path: lab.path(name),
            layout: Layout::CaloChallenge,
            binning: None,
            observables: None,
            range: 1.25,
            resume,
            force: false,
            max_disk: None,
            provenance: Provenance::new(),
        };
        job.write(&output, &mut |p| match stop && p.done > 0 {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        })
        .unwrap()
    };
    assert_eq!(write("a.h5", false, true).ending, Ending::Interrupted);
    let resumed = write("a.h5", true, false);
    assert!(resumed.replayed > 0 && resumed.drawn > 0, "{resumed:?}");
    assert_eq!(write("b.h5", false, false).ending, Ending::Complete);
    h5py(
        &lab.path("a.h5"),
        "with h5py.File(path) as f, h5py.File(path.replace('a.h5', 'b.h5')) as g:
    assert len(f['showers']) == 20000 and set(f) == set(g) == {'showers', 'incident_energies'}
    assert all(np.array_equal(f[name][:], g[name][:]) for name in f)",
    );

    // Models that have not what the layout holds.
    lab.file(
        "bare.toml",
        "[[stage]]\nlayers = 0\n[train]\nepochs = 1\nvalidation = 0.0\n",
    );
    lab.ok(&format!(
        "train --quiet --data truth.h5 {binning} --config bare.toml --out bare"
    ));
    lab.ok("train --quiet --data dense.h5 --config c.toml --out shapeless");
    for (line, why) in [
        (
            "--model bare/model.safetensors",
            "'incident_energies', which is no condition of the model",
        ),
        (
            "--model shapeless/model.safetensors",
            "name the binning file with --binning",
        ),
        (
            "--model run/model.safetensors --binning binning.xml --particle electron",
            "the binning has 36 voxels, the model's images have 31 pixels",
        ),
    ] {
        lab.refuses(
            &format!("generate --quiet {line} --count 5 --layout calochallenge --out no.h5"),
            &["cannot write the layout calochallenge", why],
        );
    }
    lab.ok(&format!(
        "generate --quiet --model shapeless/model.safetensors {binning} --count 5 --layout calochallenge --out yes.h5"
    ));
    assert!(Path::new(&lab.path("yes.h5")).exists());
}

#[test]
fn what_a_file_of_showers_lacks_is_named() {
    let lab = lab(0);
    let train = "train --quiet --data truth.h5 --out no";
    lab.refuses(
        train,
        &[
            "'showers' of 'truth.h5'",
            "rows of 31 voxels",
            "name the CaloChallenge's binning file with --binning",
        ],
    );
    lab.refuses(
        &format!("{train} --binning binning.xml"),
        &[
            "'binning.xml' holds binnings of photon, electron",
            "choose one with --particle",
        ],
    );
    lab.refuses(
        &format!("{train} --binning binning.xml --particle electron"),
        &["31 voxels, the binning has 36 (electron, 3 layers of 12 voxels)"],
    );
    lab.refuses(
        &format!("{train} --binning no.xml"),
        &["cannot open 'no.xml'"],
    );
    lab.refuses(
        &format!("{train} --binning truth.h5"),
        &["'truth.h5' is no binning file"],
    );
    lab.refuses(
        &format!("{train} --shape 4x8"),
        &["31 voxels, which are not 4 x 8"],
    );
    // A shape by hand does without a binning file.
    lab.file(
        "c.toml",
        "[[stage]]\nlayers = 0\n[train]\nepochs = 1\nvalidation = 0.0\n",
    );
    lab.ok("train --quiet --data truth.h5 --shape 31x1 --config c.toml --out run");
    // A shower that no energy made is refused where its logarithm is wanted.
    lab.file(
        "log.toml",
        "[[stage]]\nlayers = 0\n[train]\nepochs = 1\nvalidation = 0.0\n[condition]\nnames = ['incident_energies']\nlog = ['incident_energies']\n",
    );
    h5py(
        &lab.path("truth.h5"),
        "with h5py.File(path, 'a') as f:\n    f['incident_energies'][4] = 0",
    );
    lab.refuses(
        "train --quiet --data truth.h5 --binning binning.xml --particle photon --config log.toml --out no",
        &["'truth.h5': data set 'incident_energies', row 4 holds 0", "logarithm"],
    );
}
