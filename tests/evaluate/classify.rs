//! Classifier tests on made-up images: what is different is found, what is the same is not, bad input is refused.

use sarm::classify::{
    ClassifyError, Epoch, LEAST, Network, Options, Separation, transfer, two_sample,
};
use sarm::data::{Dataset, SparseImages};
use sarm::evaluate;
use sarm::evaluate::Resampling;
use sarm::evaluate::report::{Classifiers, Extras, write_report};
use sarm::random::{Purpose, unit, words};

const SIDE: usize = 17;

/// Images of `SIDE x SIDE` pixels, exponential around `scale` GeV, more of them nonzero for a larger
/// `scale` (a tenth for 3 GeV); `seed` tells samples apart.
fn images(count: usize, seed: u64, scale: f32) -> SparseImages {
    let mut images = SparseImages::new(SIDE, SIDE).unwrap();
    let occupancy = 0.1 * (scale / 3.0).sqrt();
    for i in 0..count as u64 {
        images.push((0..SIDE * SIDE).filter_map(|p| {
            let w = words(seed, Purpose::Synthetic, i, p as u32);
            (unit(w[0]) < occupancy).then(|| (p as u16, -scale * unit(w[1]).ln()))
        }));
    }
    images
}

fn options(network: Network, images: usize) -> Options {
    Options {
        epochs: 5,
        batch: 32,
        learning_rate: 1e-3,
        images,
        ..Options::of(network)
    }
}

fn quiet(_: &Epoch) {}

#[test]
fn what_is_different_is_told_apart() {
    for network in [Network::Dense, Network::Cnn] {
        let mut seen = Vec::new();
        let (truth, generated) = (images(300, 1, 3.0), images(300, 2, 30.0));
        let found = two_sample(&truth, &generated, &options(network, 300), &mut |e| {
            seen.push(*e)
        })
        .unwrap();
        assert!(found.generated.auc > 0.95, "{network:?}: {found:?}");
        let learnt = found.generated.learnt;
        assert!(learnt.learnt && learnt.remark().is_none(), "{learnt:?}");
        assert!(learnt.validation_loss.unwrap() < 0.5, "{learnt:?}");
        assert!(
            found.generated.jsd > 0.5 && found.generated.jsd <= 1.0,
            "{found:?}"
        );
        let sizes = found.generated.images;
        assert_eq!([sizes.train, sizes.validation, sizes.test], [180, 60, 60]);
        // Truth is worth two halves of 150.
        let floor = found.truth.unwrap();
        assert_eq!(
            [
                floor.images.train,
                floor.images.validation,
                floor.images.test
            ],
            [90, 30, 30]
        );
        assert!((floor.auc - 0.5).abs() < 4.0 * floor.auc_error, "{floor:?}");
        assert!(seen.iter().all(|e| e.loss.is_finite() && e.epochs == 5));
        assert!(seen.iter().any(|e| e.training == "truth against truth"));
    }
}

#[test]
fn the_same_distribution_is_not() {
    let found = two_sample(
        &images(1000, 1, 3.0),
        &images(1200, 2, 3.0),
        &options(Network::Dense, 1000),
        &mut quiet,
    )
    .unwrap();
    let got = found.generated;
    assert!((got.auc - 0.5).abs() < 3.0 * got.auc_error, "{got:?}");
    assert!(got.jsd < 3.0 * got.jsd_error, "{got:?}");
    assert!(got.auc_error > 0.01 && got.auc_error < 0.04, "{got:?}");
    // Nothing to be learnt and nothing learnt look the same: the AUC says neither.
    assert!(!got.learnt.learnt, "{got:?}");
    let said = got.learnt.remark().unwrap();
    assert!(said.contains("has learnt nothing (its loss is ln 2)") && said.contains("no evidence"));
    // A fraction of a nat below ln 2 is chance on 200 images.
    let loss = got.learnt.validation_loss.unwrap();
    assert!((0.67..1.0).contains(&loss), "{loss}");
    let json = serde_json::to_value(got).unwrap();
    assert_eq!(
        (&json["learnt"], json["validation_loss"].is_number()),
        (&false.into(), true)
    );
    // Reports of earlier programs do not say.
    let mut old = json.clone();
    old.as_object_mut()
        .unwrap()
        .retain(|key, _| key != "learnt" && key != "validation_loss");
    let old: Separation = serde_json::from_value(old).unwrap();
    assert_eq!(
        (old.learnt.learnt, old.learnt.validation_loss),
        (true, None)
    );
}

#[test]
fn a_report_says_of_what_its_classifier_has_learnt_nothing() {
    let of = |seed| Dataset {
        images: images(300, seed, 3.0),
        ..Dataset::default()
    };
    let (truth, generated) = (of(1), of(2));
    let options = options(Network::Dense, 300);
    let found = Classifiers::judge(&truth, &generated, &options, &mut |_, _| {});
    assert!(
        !found.two_sample.classes["all"]
            .as_ref()
            .unwrap()
            .generated
            .learnt
            .learnt
    );
    let resampling = Resampling {
        bootstrap: 2,
        splits: 2,
        seed: 0,
    };
    let compared = evaluate::Options {
        resampling,
        ..evaluate::Options::default()
    };
    let evaluation = evaluate::evaluate(&truth, &generated, &compared).unwrap();
    let extras = Extras {
        classifiers: Some(found),
        ..Extras::default()
    };
    let home = tempfile::tempdir().unwrap();
    let report = home.path().join("report");
    write_report(&evaluation, &extras, &report, false).unwrap();
    let page = std::fs::read_to_string(report.join("index.html")).unwrap();
    assert!(
        page.contains("has learnt nothing (its loss is ln 2): its AUC is no evidence of agreement")
    );
    // Weights below 0 leave nothing to train on.
    let mut signed = generated;
    signed.weights = Some((0..300).map(|i| if i == 0 { -1.0 } else { 1.0 }).collect());
    let found = Classifiers::judge(&truth, &signed, &options, &mut |_, _| {});
    assert_eq!(found.two_sample.classes["all"], None);
    let why = &found.two_sample.reasons["all"];
    assert!(why.starts_with("1 weight is below 0"), "{why}");
}

#[test]
fn a_result_depends_on_the_seed_and_not_on_threads() {
    let (truth, generated) = (images(100, 1, 3.0), images(100, 2, 4.0));
    for network in [Network::Dense, Network::Cnn] {
        let run = |threads, seed| {
            let mut options = options(network, 100);
            options.epochs = 2;
            options.seed = seed;
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            pool.install(|| two_sample(&truth, &generated, &options, &mut quiet).unwrap())
        };
        let one = run(1, 5);
        assert_eq!(one, run(3, 5));
        assert_ne!(one.generated, run(3, 6).generated);
    }
}

#[test]
fn what_generated_images_teach_holds_on_truth() {
    let [ts, tb, gs, gb] =
        [(1, 3.0), (2, 12.0), (3, 3.0), (4, 12.0)].map(|(seed, scale)| images(300, seed, scale));
    let found = transfer(
        &ts,
        &tb,
        &gs,
        &gb,
        &options(Network::Dense, 300),
        &mut quiet,
    )
    .unwrap();
    for side in [&found.generated, &found.truth] {
        assert!(side.auc > 0.8, "{side:?}");
        assert_eq!(side.roc.len(), 201);
        assert_eq!((side.roc[0][0], side.roc[200][0]), (0.0, 1.0));
        assert!(side.roc.windows(2).all(|w| w[0][1] <= w[1][1]));
        assert_eq!(side.rejection.is_some(), side.reason.is_none());
    }
    assert!(
        (found.generated.auc - found.truth.auc).abs() < 0.1,
        "{found:?}"
    );
    // Generated classes swapped: what was learnt is wrong.
    let swapped = transfer(
        &ts,
        &tb,
        &gb,
        &gs,
        &options(Network::Dense, 300),
        &mut quiet,
    )
    .unwrap();
    assert!(swapped.generated.auc < 0.2, "{swapped:?}");
    let text = serde_json::to_string(&swapped).unwrap();
    assert_eq!(
        serde_json::from_str::<sarm::classify::Transfer>(&text).unwrap(),
        swapped
    );
}

#[test]
fn equal_images_score_a_half() {
    let mut one = SparseImages::new(SIDE, SIDE).unwrap();
    (0..LEAST).for_each(|_| one.push([(7, 2.0)]));
    for network in [Network::Dense, Network::Cnn] {
        let found = two_sample(&one, &one, &options(network, 1000), &mut quiet).unwrap();
        assert_eq!((found.generated.auc, found.generated.auc_error), (0.5, 0.0));
        // Half true, half generated: calibration says one half.
        assert!(found.generated.jsd.abs() < 1e-9, "{found:?}");
        assert_eq!(found.truth, None);
        assert!(found.truth_reason.unwrap().contains("100 true images"));
    }
}

#[test]
fn bad_input_is_refused() {
    let good = images(LEAST, 1, 3.0);
    let refuse = |truth: &SparseImages, generated: &SparseImages, options: Options| {
        two_sample(truth, generated, &options, &mut quiet).unwrap_err()
    };
    let dense = options(Network::Dense, 1000);
    let none = SparseImages::new(SIDE, SIDE).unwrap();
    let message = refuse(&none, &good, dense).to_string();
    assert!(
        message.contains("truth: 0 images") && message.contains("at least 100"),
        "{message}"
    );
    let few = images(LEAST - 1, 1, 3.0);
    assert!(matches!(
        refuse(&good, &few, dense),
        ClassifyError::TooFew {
            class: "generated",
            count: 99,
            ..
        }
    ));
    let mut dark = SparseImages::new(SIDE, SIDE).unwrap();
    (0..LEAST).for_each(|_| dark.push([]));
    assert!(matches!(
        refuse(&good, &dark, dense),
        ClassifyError::Empty {
            class: "generated",
            count: 100
        }
    ));
    let mut wide = SparseImages::new(SIDE, SIDE + 1).unwrap();
    (0..LEAST).for_each(|_| wide.push([(0, 1.0)]));
    assert!(matches!(
        refuse(&good, &wide, dense),
        ClassifyError::Size { width: 18, .. }
    ));
    let mut small = SparseImages::new(12, SIDE).unwrap();
    (0..LEAST).for_each(|i| small.push([(i as u16, 1.0)]));
    assert!(matches!(
        refuse(&small, &small, options(Network::Cnn, 1000)),
        ClassifyError::TooSmall { .. }
    ));
    for broken in [
        Options { epochs: 0, ..dense },
        Options { batch: 0, ..dense },
        Options { images: 0, ..dense },
        Options {
            images: LEAST - 1,
            ..dense
        },
        Options {
            learning_rate: 0.0,
            ..dense
        },
        Options {
            learning_rate: f64::NAN,
            ..dense
        },
    ] {
        refuse(&good, &good, broken);
    }
    // Steps without bound end in an error or in numbers.
    let wild = Options {
        learning_rate: 1e30,
        ..dense
    };
    match two_sample(&good, &images(LEAST, 2, 3.0), &wild, &mut quiet) {
        Ok(found) => assert!(found.generated.auc.is_finite() && found.generated.jsd.is_finite()),
        Err(e) => {
            let known = matches!(
                e,
                ClassifyError::Diverged { .. } | ClassifyError::Silent { .. }
            );
            assert!(known, "{e}");
        }
    }
    let failed = transfer(&good, &good, &few, &none, &dense, &mut quiet).unwrap_err();
    assert!(
        matches!(
            failed,
            ClassifyError::TooFew {
                class: "generated signal",
                ..
            }
        ),
        "{failed}"
    );
}
