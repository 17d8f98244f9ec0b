//! Boosted trees on observables: what differs is found and what does not is not, what cannot be tested says why.

use sarm::classify::{BOOSTED, Boosting, ClassifyError, Judged, LEAST, Network, Options, boosted};
use sarm::data::{Dataset, SparseImages};
use sarm::evaluate::report::{
    Boosted, Classifiers, Conclusion, Extras, Headline, MetricsFile, Test, headlines, write_report,
};
use sarm::evaluate::{self, Evaluation, Resampling, evaluate};
use sarm::physics::{Geometry, observables};
use sarm::random::{Purpose, normal, unit, words};

const SIDE: usize = 15;

/// Images of a hot middle and a soft halo, multiplied by `1 + smear N(0, 1)`; `seed` tells samples apart.
fn images(count: usize, seed: u64, smear: f64) -> SparseImages {
    let mut images = SparseImages::new(SIDE, SIDE).unwrap();
    for i in 0..count as u64 {
        let random = |k: u32| words(seed, Purpose::Synthetic, i, k);
        let factor = (1.0 + smear * normal(random(1000))[0]).clamp(0.3, 2.0) as f32;
        images.push((0..SIDE * SIDE).filter_map(|p| {
            let w = random(p as u32);
            let hot = p == SIDE * SIDE / 2;
            let value = match hot {
                true => 200.0 + 10.0 * unit(w[1]),
                false => -1.5 * unit(w[1]).ln(),
            };
            (hot || unit(w[0]) < 0.06).then_some((p as u16, factor * value))
        }));
    }
    images
}

fn of(images: SparseImages) -> Dataset {
    Dataset {
        images,
        ..Dataset::default()
    }
}

fn labelled(images: SparseImages, signal: impl Fn(usize) -> f32) -> Dataset {
    let signal = (0..images.len()).map(signal).collect();
    Dataset {
        columns: [("signal".to_string(), signal)].into(),
        ..of(images)
    }
}

fn compared(truth: &Dataset, generated: &Dataset) -> Evaluation {
    let resampling = Resampling {
        bootstrap: 2,
        splits: 2,
        seed: 0,
    };
    let options = evaluate::Options {
        resampling,
        ..evaluate::Options::default()
    };
    evaluate(truth, generated, &options).unwrap()
}

fn judged(truth: &Dataset, generated: &Dataset) -> Boosted {
    Boosted::judge(truth, generated, &compared(truth, generated), 0)
}

fn test(
    truth: &SparseImages,
    generated: &SparseImages,
    seed: u64,
) -> Result<Boosting, ClassifyError> {
    let geometry = Geometry::new(SIDE, SIDE, 1.25).unwrap();
    let found = [truth, generated].map(|images| observables(images, &geometry).unwrap());
    let rows = [truth, generated].map(|images| (0..images.len()).collect::<Vec<usize>>());
    let side = |k: usize, images| Judged {
        images,
        observables: found[k].rows(),
        rows: &rows[k],
    };
    boosted(side(0, truth), side(1, generated), &geometry, seed)
}

fn headline(found: &Boosted, classifiers: Option<&Classifiers>, class: &str) -> Headline {
    headlines(Some(found), classifiers)[class].clone()
}

#[test]
fn equal_samples_are_not_told_apart() {
    let found = judged(&of(images(1500, 1, 0.0)), &of(images(1700, 2, 0.0)));
    let test = found.classes["all"].as_ref().unwrap();
    assert_eq!(
        [test.images.train, test.images.validation, test.images.test],
        [840, 210, 450]
    );
    assert!((test.auc - 0.5).abs() < 3.0 * test.auc_error, "{test:?}");
    // 450 of either side: 1 / sqrt(6 * 450) for scores without ties.
    assert!((0.015..0.023).contains(&test.auc_error), "{test:?}");
    assert_eq!(
        headline(&found, None, "all").conclusion,
        Conclusion::NotToldApart
    );
}

#[test]
fn a_smeared_scale_is_found_whatever_a_network_says() {
    // Sums alone tell these apart, by their distance from the median; a network that trains on 360 images may not.
    let (truth, generated) = (of(images(600, 1, 0.0)), of(images(600, 2, 0.25)));
    let found = judged(&truth, &generated);
    let test = found.classes["all"].clone().unwrap();
    assert!(test.auc > 0.85, "{test:?}");
    let single = &test.observable;
    assert!(single.auc > 0.85 && single.auc_error < 0.04, "{single:?}");
    let seldom = Options {
        epochs: 1,
        ..Options::of(Network::Dense)
    };
    let mut classifiers = Classifiers::judge(&truth, &generated, &seldom, &mut |_, _| {});
    let all = classifiers.two_sample.classes.get_mut("all").unwrap();
    // As a network ends that guesses.
    let network = &mut all.as_mut().unwrap().generated;
    (network.auc, network.auc_error, network.learnt.learnt) = (0.5, 0.03, false);
    let learnt = network.learnt;
    let headline = headline(&found, Some(&classifiers), "all");
    assert_eq!(headline.conclusion, Conclusion::ToldApart);
    assert!(headline.auc >= Some(test.auc) && headline.test != Some(Test::Network));
    let said = headline.remark(learnt).unwrap();
    assert!(
        said.starts_with("no test: ") && said.contains("others tell them apart (AUC 0."),
        "{said}"
    );

    let extras = Extras {
        boosting: Some(found.clone()),
        classifiers: Some(classifiers),
        ..Extras::default()
    };
    let home = tempfile::tempdir().unwrap();
    let report = home.path().join("report");
    let evaluation = compared(&truth, &generated);
    write_report(&evaluation, &extras, &report, false).unwrap();
    let page = std::fs::read_to_string(report.join("index.html")).unwrap();
    let top = page.split("<nav>").next().unwrap();
    assert!(
        top.contains("told apart") && !top.contains("not told apart</span>"),
        "{top}"
    );
    assert!(page.contains("no test: the classifier has learnt nothing"));
    let text = std::fs::read_to_string(report.join("metrics.json")).unwrap();
    let metrics: MetricsFile = serde_json::from_str(&text).unwrap();
    assert_eq!(metrics.headline["all"], headline);
    assert_eq!(metrics.boosting, Some(found));
    // Ten observables at most, with the histograms that the figures show.
    assert!((3..=10).contains(&test.features.len()));
    assert!(test.features.is_sorted_by(|a, b| a.gain >= b.gain));
    for feature in &test.features {
        let name = format!("figures/boosting-all-{}.svg", feature.name);
        assert!(
            report.join(&name).exists() && page.contains(&name),
            "{name}"
        );
        for (counts, outside) in [
            (&feature.counts.truth, feature.outside.truth),
            (&feature.counts.generated, feature.outside.generated),
        ] {
            assert_eq!(counts.len() + 1, feature.edges.len());
            assert_eq!(counts.iter().chain(&outside).sum::<u64>(), 600);
        }
    }
}

#[test]
fn a_network_learns_from_sums() {
    let (truth, generated) = (images(400, 3, 0.0), images(400, 4, 0.25));
    for network in [Network::Dense, Network::Cnn] {
        let options = Options {
            epochs: 8,
            batch: 64,
            ..Options::of(network)
        };
        let found = sarm::classify::two_sample(&truth, &generated, &options, &mut |_| {});
        let found = found.unwrap().generated;
        assert!(
            found.learnt.learnt && found.auc > 0.7,
            "{network:?}: {found:?}"
        );
    }
}

#[test]
fn classes_are_tested_apart() {
    let truth = labelled(images(600, 1, 0.0), |i| (i % 2) as f32);
    let generated = labelled(images(600, 2, 0.0), |i| (i % 2) as f32);
    let found = judged(&truth, &generated);
    let names: Vec<&String> = found.classes.keys().collect();
    assert_eq!(names, ["all", "background", "signal"]);
    assert!(found.classes.values().all(Option::is_some) && found.reasons.is_empty());
    // A class of one side alone; all of the other side's images are signal.
    let signal = labelled(images(600, 2, 0.0), |_| 1.0);
    let found = judged(&truth, &signal);
    assert_eq!(found.classes["background"], None);
    assert_eq!(
        found.reasons["background"],
        "no generated image is of this class"
    );
    assert!(found.classes["signal"].is_some() && found.classes["all"].is_some());
    assert_eq!(
        headline(&found, None, "background").conclusion,
        Conclusion::NoTest
    );
    // Where both sides are one class, it is all there is.
    let both = judged(&labelled(images(300, 1, 0.0), |_| 1.0), &signal);
    assert_eq!(both.classes.keys().collect::<Vec<_>>(), ["signal"]);
    // Unknown classes are no reason to say anything.
    let unknown = judged(&truth, &of(images(300, 2, 0.0)));
    assert_eq!(unknown.classes.keys().collect::<Vec<_>>(), ["all"]);
}

#[test]
fn what_cannot_be_tested_says_why() {
    let good = of(images(200, 1, 0.0));
    let refused = |generated: Dataset, words: &str| {
        let found = judged(&good, &generated);
        assert_eq!(found.classes["all"], None);
        let why = &found.reasons["all"];
        assert!(why.contains(words), "{why}");
        let headline = headline(&found, None, "all");
        assert_eq!(
            (headline.conclusion, headline.auc),
            (Conclusion::NoTest, None)
        );
    };
    refused(
        of(images(LEAST - 1, 2, 0.0)),
        "generated: 99 images are too few",
    );
    let mut dark = SparseImages::new(SIDE, SIDE).unwrap();
    (0..200).for_each(|_| dark.push([]));
    refused(of(dark.clone()), "all 200 images looked at are empty");
    let mut signed = of(images(200, 2, 0.0));
    signed.weights = Some((0..200).map(|i| if i == 0 { -1.0 } else { 1.0 }).collect());
    refused(signed, "1 weight is below 0");

    let mut one = SparseImages::new(SIDE, SIDE).unwrap();
    (0..200).for_each(|_| one.push([(7, 2.0)]));
    let same = test(&one, &one, 0);
    assert!(
        matches!(same, Err(ClassifyError::Alike { count: 200 })),
        "{same:?}"
    );
    let other = SparseImages::new(SIDE, SIDE + 1).unwrap();
    let geometry = Geometry::new(SIDE, SIDE, 1.25).unwrap();
    let found = observables(&one, &geometry).unwrap();
    let rows: Vec<usize> = (0..200).collect();
    let [a, b] = [&one, &other].map(|images| Judged {
        images,
        observables: found.rows(),
        rows: &rows,
    });
    assert!(matches!(
        boosted(a, b, &geometry, 0),
        Err(ClassifyError::Size {
            class: "generated",
            width: 16,
            ..
        })
    ));
}

#[test]
fn images_that_are_constant_but_differ_are_told_apart() {
    let all = |value: f32| {
        let mut images = SparseImages::new(SIDE, SIDE).unwrap();
        (0..LEAST).for_each(|_| images.push([(7, value)]));
        images
    };
    let found = test(&all(2.0), &all(3.0), 0).unwrap();
    assert_eq!((found.auc.value, found.single.auc.value), (1.0, 1.0));
}

#[test]
fn a_test_depends_on_the_seed_and_not_on_threads() {
    let (truth, generated) = (images(300, 1, 0.0), images(300, 2, 0.1));
    let run = |threads, seed| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        pool.unwrap()
            .install(|| test(&truth, &generated, seed).unwrap())
    };
    let one = run(1, 5);
    assert_eq!(one, run(3, 5));
    assert_ne!(one.auc, run(3, 6).auc);
    const { assert!(BOOSTED >= 20_000) };
}

#[test]
fn weighted_images_are_chosen_by_their_weights() {
    // Smeared images that weigh nothing are not there.
    let mut mixed = images(400, 2, 0.0);
    mixed.extend(&images(400, 3, 0.25));
    let truth = of(images(400, 1, 0.0));
    let plain = judged(&truth, &of(mixed.clone()));
    let mut weighted = of(mixed);
    weighted.weights = Some((0..800).map(|i| f32::from(u8::from(i < 400))).collect());
    let weighted = judged(&truth, &weighted);
    let auc = |found: &Boosted| {
        let test = found.classes["all"].as_ref().unwrap();
        (test.auc, test.auc_error)
    };
    let ((auc_plain, error_plain), (auc_weighted, error)) = (auc(&plain), auc(&weighted));
    assert!(auc_plain - 3.0 * error_plain > 0.5, "{auc_plain}");
    assert!((auc_weighted - 0.5).abs() < 3.0 * error, "{auc_weighted}");
}

#[test]
fn the_largest_area_of_all_tests_is_the_headline() {
    // What neither trees nor networks could test has no number.
    let nothing = Boosted {
        classes: [("all".to_string(), None)].into(),
        ..Boosted::default()
    };
    let empty = headline(&nothing, None, "all");
    assert_eq!((empty.conclusion, empty.test), (Conclusion::NoTest, None));
    assert_eq!(empty.largest(), "");
    assert!(headlines(None, None).is_empty());
    let json = serde_json::to_value(&empty).unwrap();
    assert_eq!(json["conclusion"], "no_test");
    // A network that has learnt something counts, one that has not does not.
    let (truth, generated) = (of(images(200, 1, 0.0)), of(images(200, 2, 0.0)));
    let options = Options {
        epochs: 1,
        ..Options::of(Network::Dense)
    };
    let mut classifiers = Classifiers::judge(&truth, &generated, &options, &mut |_, _| {});
    let mut with = |auc, learnt| {
        let all = classifiers.two_sample.classes.get_mut("all").unwrap();
        let network = &mut all.as_mut().unwrap().generated;
        (network.auc, network.auc_error, network.learnt.learnt) = (auc, 0.01, learnt);
        headline(&nothing, Some(&classifiers), "all")
    };
    assert_eq!(with(0.51, false).conclusion, Conclusion::NoTest);
    assert_eq!(with(0.51, true).conclusion, Conclusion::NotToldApart);
    let apart = with(0.9, true);
    assert_eq!(
        (apart.conclusion, apart.test, apart.auc),
        (Conclusion::ToldApart, Some(Test::Network), Some(0.9))
    );
}
