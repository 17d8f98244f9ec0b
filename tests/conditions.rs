//! Conditions of the images that are drawn: by value, from the rows of a file, from the training images.

mod program;

use std::collections::BTreeMap;

use program::{Lab, column, conditioned};
use sarm::data::{Dataset, WriteOptions, write};
use sarm::model::checkpoint::Checkpoint;

#[test]
fn conditions_by_value_and_from_rows() {
    let lab = Lab::trained(&conditioned());
    let generate = "generate --quiet --model run/model.safetensors";
    lab.ok(&format!(
        "{generate} --count 60 --given signal=1,jet_pt=270 --out given.h5"
    ));
    let given = lab.read("given.h5");
    assert_eq!(given.columns["signal"], vec![1.0; 60]);
    assert_eq!(given.columns["given_jet_pt"], vec![270.0; 60]);
    assert!(given.columns["jet_pt"] != given.columns["given_jet_pt"]);
    lab.ok(&format!(
        "{generate} --given-from data.h5 --select signal=0 --out rows.h5"
    ));
    let rows = lab.read("rows.h5");
    assert_eq!(rows.images.len(), 150);
    assert_eq!(rows.columns["signal"], vec![0.0; 150]);
    let wanted: Vec<f32> = (0..150).map(|i| 250.0 + (2 * i % 50) as f32).collect();
    assert_eq!(rows.columns["given_jet_pt"], wanted);
    // A shard takes the rows of its own numbers, round and round.
    lab.ok(&format!(
        "{generate} --given-from data.h5 --select signal=0 --first 140 --count 20 --out shard.h5"
    ));
    let shard = lab.read("shard.h5");
    assert_eq!(shard.images.gather(0..10), rows.images.gather(140..150));
    assert_eq!(shard.columns["given_jet_pt"][10..], wanted[..10]);
    // Read again as conditions, the values given count and not those that came out.
    let scores = |file: &str| {
        lab.ok(&format!(
            "score --quiet --model run/model.safetensors --data {file}"
        ))
        .stdout
    };
    write(
        &lab.path("renamed.h5"),
        &given.images,
        &BTreeMap::from([
            ("signal".to_string(), vec![1.0; 60]),
            ("jet_pt".to_string(), vec![270.0; 60]),
        ]),
        &WriteOptions {
            height: 7,
            width: 7,
            ..WriteOptions::default()
        },
    )
    .unwrap();
    assert_eq!(scores("given.h5"), scores("renamed.h5"));
    lab.ok(&format!(
        "{generate} --given-from given.h5 --observables no --out again.h5"
    ));
    assert_eq!(
        lab.read("again.h5").columns["given_jet_pt"],
        vec![270.0; 60]
    );
    assert_eq!(lab.read("again.h5").images, given.images);
    lab.refuses(
        &format!("{generate} --count 5 --given signal=1,signal=0,jet_pt=270 --out no.h5"),
        &["--given names 'signal' twice"],
    );
    // A model that brings none.
    let mut bare = Checkpoint::read(&lab.path("run/model.safetensors")).unwrap();
    bare.model.population.clear();
    bare.model.save(&lab.path("bare"), &bare.record).unwrap();
    for (given, missing) in [("", "signal"), ("--given signal=1", "jet_pt")] {
        lab.refuses(
            &format!("generate --model bare {given} --count 5 --out no.h5"),
            &[
                "signal, jet_pt",
                &format!("--given {missing}=VALUE"),
                "--given-from",
            ],
        );
    }
    lab.refuses(
        &format!("{generate} --count 5 --given colour=1 --out no.h5"),
        &["no condition 'colour'", "signal, jet_pt"],
    );
    lab.refuses(
        &format!("{generate} --given signal=1,jet_pt=2 --out no.h5"),
        &["--count"],
    );
    lab.ok(
        "score --quiet --model run/model.safetensors --data data.h5 --select signal=1 --out s.h5",
    );
    let scored = column(&lab.path("s.h5"), "row");
    assert_eq!(scored[..3], [1.0, 3.0, 5.0]);
}

/// What is left out is that of training images which agree; those held out are not among them.
#[test]
fn conditions_that_are_left_out_are_those_of_training_images() {
    let lab = Lab::trained(&conditioned());
    let brought = Checkpoint::read(&lab.path("run/model.safetensors")).unwrap();
    let (model, record) = (brought.model, brought.record);
    let pairs = |a: &[f32], b: &[f32]| -> Vec<(u32, u32)> {
        let mut list: Vec<_> = (a.iter().zip(b))
            .map(|(a, b)| (a.to_bits(), b.to_bits()))
            .collect();
        list.sort_unstable();
        list
    };
    let data = lab.read("data.h5").columns;
    let mut all = pairs(&data["signal"], &data["jet_pt"]);
    let brought = |i| -> Vec<f32> {
        model
            .population
            .iter()
            .skip(i)
            .step_by(2)
            .copied()
            .collect()
    };
    let trained = pairs(&brought(0), &brought(1));
    assert_eq!(trained.len(), record.images[0]);
    for pair in &trained {
        let place = all.iter().position(|p| p == pair);
        all.remove(place.expect("one of the data's, as often as there"));
    }
    assert_eq!(all.len(), record.images[1]);
    let seen = |options: &str| {
        let said = lab.ok(&format!(
            "generate --model run/model.safetensors {options} --force --out seen.h5"
        ));
        (
            lab.read("seen.h5"),
            String::from_utf8_lossy(&said.stderr).into_owned(),
        )
    };
    let of = |found: &Dataset| pairs(&found.columns["signal"], &found.columns["given_jet_pt"]);
    let n = trained.len();
    let (once, said) = seen(&format!("--count {n}"));
    assert_eq!(of(&once), trained, "each of them");
    assert!(
        said.contains(&format!("those of {n} training images\n")),
        "{said}"
    );
    let (twice, said) = seen(&format!("--count {}", n + 20));
    assert!(said.contains(", each of them 1 or 2 times"), "{said}");
    let (shard, _) = seen(&format!("--first {} --count 40", n - 20));
    assert_eq!(shard.images, twice.images.gather(n - 20..n + 20));
    assert_eq!(once.images, twice.images.gather(0..n));
    let conditions = |found: &Dataset| found.columns["given_jet_pt"].clone();
    assert_eq!(conditions(&shard), conditions(&twice)[n - 20..]);
    assert_eq!(
        conditions(&twice)[n..],
        conditions(&twice)[..20],
        "round and round"
    );
    let (ones, _) = seen("--count 40 --given signal=1");
    assert_eq!(ones.columns["signal"], vec![1.0; 40]);
    assert!(of(&ones).iter().all(|pair| trained.contains(pair)));
    let (others, _) = seen("--count 40 --given signal=1 --seed 5");
    assert!(of(&others) != of(&ones));
    let (_, said) = seen("--count 5 --given signal=1,jet_pt=1000");
    assert!(said.contains("jet_pt = 1000 lies outside"), "{said}");
    let (_, said) = seen("--count 5 --given signal=0.5,jet_pt=270");
    assert!(said.contains("had signal = 0.5: there were"), "{said}");
    lab.refuses(
        "generate --model run/model.safetensors --count 5 --given signal=0.5 --out no.h5",
        &[
            "no image that the model was trained on had exactly signal=0.5",
            "'jet_pt'",
            "--given-from",
        ],
    );
}
