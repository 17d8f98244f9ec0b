//! What comes out for what was asked for, and events that count more or less than once.

use sarm::data::{Dataset, SparseImages};
use sarm::evaluate::report::{Extras, Meta, MetricsFile, write_report};
use sarm::evaluate::{
    EvaluateError, Evaluation, Given, Options, Resampling, Response, Verdict, evaluate,
};
use sarm::random::{Purpose, unit, words};

fn chance(seed: u64) -> impl FnMut() -> f64 {
    let mut next = 0;
    move || {
        next += 1;
        f64::from(unit(words(seed, Purpose::Synthetic, next, 0)[0]))
    }
}

/// About normal: 12 chances less 6.
fn normal(random: &mut impl FnMut() -> f64) -> f64 {
    (0..12).map(|_| random()).sum::<f64>() - 6.0
}

/// 16 x 16 images whose pixels add up to `sum`.
fn shower(images: &mut SparseImages, sum: f64, random: &mut impl FnMut() -> f64) {
    let mut dense = vec![0f32; 256];
    for _ in 0..12 {
        let (row, column) = (4.0 + 8.0 * random(), 4.0 + 8.0 * random());
        dense[row as usize * 16 + column as usize] += (sum / 12.0) as f32;
    }
    images.push_dense(&dense);
}

/// Images of energies from 20 to 100 GeV, whose sum is `mean` of it, with a width of `width`.
fn calorimeter(count: usize, seed: u64, mean: f64, width: f64) -> Dataset {
    let mut random = chance(seed);
    let mut images = SparseImages::new(16, 16).unwrap();
    let mut energies = Vec::new();
    for _ in 0..count {
        let energy = 20.0 + 80.0 * random();
        let part = (mean + width * normal(&mut random)).max(0.05);
        shower(&mut images, energy * part, &mut random);
        energies.push(energy as f32);
    }
    Dataset {
        images,
        columns: [("energy".to_string(), energies)].into(),
        rows: (0..count as u64).collect(),
        ..Dataset::default()
    }
}

fn quick() -> Options {
    Options {
        resampling: Resampling {
            bootstrap: 20,
            splits: 20,
            seed: 3,
        },
        conditions: vec!["energy".to_string()],
        ..Options::default()
    }
}

fn response(found: &Evaluation) -> &Response {
    let [response] = found.classes[0].responses.as_slice() else {
        panic!("one condition");
    };
    response
}

fn sum(found: &Evaluation) -> &Given {
    let given = &response(found).quantities;
    given.iter().find(|q| q.quantity == "intensity").unwrap()
}

fn verdict_of_all(found: &Evaluation) -> Verdict {
    let all = found.classes[0].observables.iter();
    let m = &all
        .clone()
        .find(|o| o.observable.name == "intensity")
        .unwrap()
        .metrics;
    Verdict::of(m.w1.unwrap(), m.w1_floor.unwrap(), m.w1_floor_std.unwrap())
}

#[test]
fn a_broad_response_is_far_whatever_the_sum_looks_like() {
    let truth = calorimeter(3000, 1, 0.850, 0.053);
    let broad = evaluate(&truth, &calorimeter(3000, 2, 0.889, 0.201), &quick()).unwrap();
    let given = sum(&broad);
    assert_eq!(given.verdict, Some(Verdict::Far));
    let ratio = given.ratio.as_ref().unwrap();
    // Errors of the width: 0.053 / sqrt(6000) = 0.0007 and 0.201 / sqrt(6000) = 0.0026; of the mean by root 2 more.
    let close = |got: f64, want: f64, error: f64| {
        assert!((got - want).abs() < 4.0 * error, "{got}, made {want}");
    };
    close(ratio.spread.truth.mean, 0.850, 0.001);
    close(ratio.spread.truth.std.unwrap(), 0.053, 0.0007);
    close(ratio.spread.generated.mean, 0.889, 0.0037);
    close(ratio.spread.generated.std.unwrap(), 0.201, 0.0026);
    assert_eq!(ratio.verdict, Some(Verdict::Far));
    assert!(given.correlation.unwrap() > 0.95);
    assert!(given.w1.unwrap() > 5.0 * given.w1_floor.unwrap());
    // Bins hold equal shares of the truth, and every image is in one.
    assert_eq!((given.bins.len(), response(&broad).edges.len()), (8, 9));
    assert!(given.bins.iter().all(|b| b.count.truth == 375));
    let outside = response(&broad).outside;
    let inside: usize = given.bins.iter().map(|b| b.count.generated).sum();
    assert_eq!((outside.truth, inside + outside.generated), (0, 3000));
    // In each the generated width is the larger one by far more than its error.
    for bin in &given.bins {
        let (t, g) = (bin.spread.truth.unwrap(), bin.spread.generated.unwrap());
        assert!(g.std.unwrap() > t.std.unwrap() + 5.0 * g.std_error.unwrap());
    }
    let suggestion = response(&broad).suggestion.as_ref().unwrap();
    assert!(
        suggestion.contains("total") && suggestion.contains("'energy'"),
        "{suggestion}"
    );

    let same = evaluate(&truth, &calorimeter(3000, 4, 0.850, 0.053), &quick()).unwrap();
    let given = sum(&same);
    assert!(given.verdict < Some(Verdict::Far), "{given:?}");
    assert!(given.w1.unwrap() < given.w1_floor.unwrap() + 4.0 * given.w1_floor_std.unwrap());
}

#[test]
fn right_sums_of_the_wrong_images_are_found() {
    // The images of a second truth, each under the energy of another one: the sums as a whole are perfect.
    let (truth, mut shuffled) = (
        calorimeter(2000, 1, 0.85, 0.05),
        calorimeter(2000, 2, 0.85, 0.05),
    );
    let energies = shuffled.columns.remove("energy").unwrap();
    // By the name that generated files use; a column of the plain name is not taken.
    let moved = energies
        .iter()
        .cycle()
        .skip(700)
        .take(2000)
        .copied()
        .collect();
    shuffled.columns.insert("given_energy".into(), moved);
    shuffled.columns.insert("energy".into(), energies);
    let found = evaluate(&truth, &shuffled, &quick()).unwrap();
    assert!(verdict_of_all(&found) < Verdict::Far);
    let given = &response(&found).quantities;
    for name in ["intensity", "jet_pt", "jet_mass"] {
        let given = given.iter().find(|q| q.quantity == name).unwrap();
        assert_eq!(given.verdict, Some(Verdict::Far), "{name}");
    }
    let home = tempfile::tempdir().unwrap();
    let extras = Extras {
        meta: Meta::of(&found),
        ..Extras::default()
    };
    let report = home.path().join("report");
    write_report(&found, &extras, &report, false).unwrap();
    let read = |name: &str| std::fs::read_to_string(report.join(name)).unwrap();
    let page = read("index.html");
    assert!(page.contains("far given energy") && page.contains("Given the conditions"));
    assert!(page.contains("figures/all-intensity_given_energy.svg"));
    assert!(read("figures/all-jet_mass_given_energy.svg").contains("given energy"));
    let metrics: MetricsFile = serde_json::from_str(&read("metrics.json")).unwrap();
    let kept = &metrics.response["all"]["energy"].quantities;
    assert_eq!((kept.len(), kept[0].verdict), (4, Some(Verdict::Far)));
    let json: serde_json::Value = serde_json::from_str(&read("metrics.json")).unwrap();
    assert_eq!(json["meta"]["format"], 3);
    let quantity = &json["response"]["all"]["energy"]["quantities"][0];
    assert_eq!(
        (&quantity["quantity"], &quantity["verdict"]),
        (&"intensity".into(), &"far".into())
    );
}

#[test]
fn conditions_may_be_few_values_absent_or_useless() {
    let mut truth = calorimeter(600, 1, 0.85, 0.05);
    let mut generated = calorimeter(600, 2, 0.85, 0.05);
    for data in [&mut truth, &mut generated] {
        for energy in data.columns.get_mut("energy").unwrap() {
            *energy = (*energy / 40.0).floor();
        }
    }
    let found = evaluate(&truth, &generated, &quick()).unwrap();
    assert_eq!(response(&found).edges, [-0.5, 0.5, 1.5, 2.5]);
    // A condition of 0 can divide nothing.
    assert_eq!(sum(&found).ratio, None);
    let energies = generated.columns.get_mut("energy").unwrap();
    energies[3] = f32::NAN;
    energies[4] = 900.0;
    let found = evaluate(&truth, &generated, &quick()).unwrap();
    assert_eq!(response(&found).outside.generated, 2);
    truth.columns.insert("energy".into(), vec![7.0; 600]);
    let found = evaluate(&truth, &generated, &quick()).unwrap();
    assert!(response(&found).quantities.is_empty());
    assert!(
        response(&found)
            .reason
            .as_ref()
            .unwrap()
            .contains("same for all")
    );
    truth.columns.clear();
    let error = evaluate(&truth, &generated, &quick()).unwrap_err();
    assert!(
        matches!(error, EvaluateError::Condition { side: "truth", .. }),
        "{error}"
    );
}

/// Truth whose weights are large for large sums, a tenth of them negative, and plain events.
fn weighted(count: usize) -> (Dataset, Dataset) {
    let (mut truth, generated) = (
        calorimeter(count, 5, 0.85, 0.05),
        calorimeter(count, 6, 0.85, 0.05),
    );
    let mut random = chance(9);
    let weight = |sum: f32| {
        let size = if sum > 50.0 { 3.0 } else { 0.2 };
        if random() < 0.1 { -size } else { size }
    };
    truth.weights = Some(truth.images.totals().into_iter().map(weight).collect());
    (truth, generated)
}

fn plain() -> Options {
    Options {
        conditions: Vec::new(),
        ..quick()
    }
}

#[test]
fn means_are_those_of_the_weighted_events() {
    let (truth, generated) = weighted(1500);
    let found = evaluate(&truth, &generated, &plain()).unwrap();
    let mut observables = found.classes[0].observables.iter();
    let m = &observables
        .find(|o| o.observable.name == "intensity")
        .unwrap()
        .metrics;
    let weights: Vec<f64> = (truth.weights.iter().flatten())
        .map(|w| f64::from(*w))
        .collect();
    let sums: Vec<f64> = truth
        .images
        .totals()
        .iter()
        .map(|s| f64::from(*s))
        .collect();
    // numpy's average(sums, weights=weights), written out.
    let total: f64 = weights.iter().sum();
    let mean = weights.iter().zip(&sums).map(|(w, s)| w * s).sum::<f64>() / total;
    let unweighted = sums.iter().sum::<f64>() / 1500.0;
    assert!((m.truth_mean - mean).abs() < 1e-4 * mean && (mean - unweighted).abs() > 5.0);
    let squares: f64 = weights.iter().map(|w| w * w).sum();
    let summary = found.classes[0].weights.unwrap();
    assert!((summary.truth.effective - total * total / squares).abs() < 1e-9 * total);
    assert_eq!(summary.generated.effective, 1500.0);
    assert!(summary.truth.negative > 100);
    // The average image adds up to the mean sum.
    let image: f64 = found.classes[0].images.mean.truth.iter().sum();
    assert!((image - mean).abs() < 1e-4 * mean);
    // What cannot take such weights says so, and nothing is unweighted in silence.
    let features = &found.classes[0].features;
    for key in ["fpd", "fpd_jetnet", "kpd", "neighbours"] {
        let why = &features.reasons[key];
        assert!(why.contains("below 0"), "{key}: {why}");
    }
    assert!(features.fpd.is_none() && features.kpd.is_none() && features.neighbours.is_none());
    assert!(features.kpd_unbiased.is_some());
    let extras = Extras {
        meta: Meta::of(&found),
        ..Extras::default()
    };
    let text = MetricsFile::new(&found, &extras).to_json();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        json["images"]["all"]["weights"]["truth"]["negative"],
        summary.truth.negative
    );
}

#[test]
fn an_event_of_weight_two_is_two_events() {
    let (mut truth, generated) = (
        calorimeter(800, 5, 0.85, 0.05),
        calorimeter(700, 6, 0.85, 0.05),
    );
    let mut twice = truth.clone();
    let again = truth.images.gather((0..800).step_by(2));
    twice.images.extend(&again);
    twice.rows = (0..1200).collect();
    twice.columns.clear();
    truth.weights = Some(
        (0..800)
            .map(|i| if i % 2 == 0 { 2.0 } else { 1.0 })
            .collect(),
    );
    let weighted = evaluate(&truth, &generated, &plain()).unwrap();
    let repeated = evaluate(&twice, &generated, &plain()).unwrap();
    let (a, b) = (&weighted.classes[0], &repeated.classes[0]);
    let close = |x: f64, y: f64, name: &str| {
        assert!(
            (x - y).abs() < 1e-9 * (1.0 + y.abs()),
            "{name}: {x}, repeated {y}"
        );
    };
    for (x, y) in a.observables.iter().zip(&b.observables) {
        let name = &x.observable.name;
        let (x, y) = (&x.metrics, &y.metrics);
        close(x.w1.unwrap(), y.w1.unwrap(), name);
        close(x.truth_mean, y.truth_mean, name);
        close(x.truth_std.unwrap(), y.truth_std.unwrap(), name);
    }
    let (x, y) = (&a.images.distances, &b.images.distances);
    close(x.mean_image_mse, y.mean_image_mse, "mse");
    close(
        x.zero_fraction_max_abs_difference,
        y.zero_fraction_max_abs_difference,
        "zeros",
    );
    close(
        x.pixel_spectrum_separation.unwrap(),
        y.pixel_spectrum_separation.unwrap(),
        "spectrum",
    );
    // Positive weights can be drawn by.
    assert!(a.features.kpd.is_some() && a.features.neighbours.is_some());
    // Equal weights are none.
    truth.weights = Some(vec![0.25; 800]);
    let quarter = evaluate(&truth, &generated, &plain()).unwrap();
    truth.weights = None;
    let none = evaluate(&truth, &generated, &plain()).unwrap();
    assert_eq!(
        quarter.classes[0].observables[0].metrics,
        none.classes[0].observables[0].metrics
    );
}

#[test]
fn weights_that_cancel_are_refused() {
    let (mut truth, generated) = weighted(200);
    truth.weights = Some(
        (0..200)
            .map(|i| if i % 2 == 0 { 1.0 } else { -1.5 })
            .collect(),
    );
    let error = evaluate(&truth, &generated, &plain()).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("truth: the weights add up to -50"),
        "{error}"
    );
    truth.weights = Some(vec![1.0; 3]);
    let error = evaluate(&truth, &generated, &plain()).unwrap_err();
    assert!(
        error.to_string().contains("3 weights, but 200 images"),
        "{error}"
    );
}

#[test]
fn reports_of_earlier_programs_are_read() {
    let (truth, generated) = (
        calorimeter(120, 5, 0.85, 0.05),
        calorimeter(120, 6, 0.85, 0.05),
    );
    let found = evaluate(&truth, &generated, &quick()).unwrap();
    let extras = Extras {
        meta: Meta::of(&found),
        ..Extras::default()
    };
    let text = MetricsFile::new(&found, &extras).to_json();
    let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let part = |json: &mut serde_json::Value, pointer: &str, key: &str| {
        let found = json.pointer_mut(pointer).and_then(|v| v.as_object_mut());
        assert!(found.unwrap().remove(key).is_some(), "{pointer} {key}");
    };
    part(&mut json, "", "response");
    part(&mut json, "/meta", "format");
    for key in ["fpd_jetnet", "kpd_unbiased"] {
        part(&mut json, "/features/all", key);
        part(&mut json, "/features/all/halves", key);
    }
    let old: MetricsFile = serde_json::from_value(json).unwrap();
    assert_eq!((old.meta.format, old.response.len()), (1, 0));
    assert_eq!(old.features["all"].distances.kpd_unbiased, None);
}

/// A generator that never draws the upper half of the energies does not agree there.
#[test]
fn bins_that_stay_empty_are_no_agreement() {
    let truth = calorimeter(2000, 1, 0.85, 0.05);
    let mut generated = calorimeter(4000, 2, 0.85, 0.05);
    let low: Vec<usize> = (0..4000)
        .filter(|i| generated.columns["energy"][*i] < 60.0)
        .collect();
    let energies = low.iter().map(|i| generated.columns["energy"][*i]);
    let energies: Vec<f32> = energies.collect();
    generated.images = generated.images.gather(low.iter().copied());
    generated.rows.truncate(low.len());
    generated.columns.insert("energy".into(), energies);
    let found = evaluate(&truth, &generated, &quick()).unwrap();
    for of in &found.classes[0].responses[0].quantities {
        assert_eq!(of.verdict, Some(Verdict::Far), "{}", of.quantity);
    }
}
