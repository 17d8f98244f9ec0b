//! Evaluation from the outside: data sets in, numbers and report out.

use std::collections::{BTreeMap, BTreeSet};

use sarm::data::{Dataset, SparseImages};
use sarm::evaluate::report::{
    Extras, Meta, MetricsFile, Nll, ReportError, TrainingCurve, sample_page, write_report,
};
use sarm::evaluate::{
    EvaluateError, Evaluation, OBSERVABLES, Options, Resampling, Sides, evaluate,
};
use sarm::random::{Purpose, unit, words};

/// Images that look a little like jets: a hot centre, a second spot, a soft halo.
pub(super) fn toy(count: usize, seed: u64, scale: f32) -> Dataset {
    let mut next = 0;
    let mut random = move || {
        next += 1;
        unit(words(seed, Purpose::Synthetic, next, 0)[0])
    };
    let mut images = SparseImages::new(25, 25).unwrap();
    let mut signal = Vec::new();
    for i in 0..count {
        let second = 14 + (random() * 6.0) as usize;
        let mut dense = vec![0f32; 625];
        dense[12 * 25 + 12] = scale * (150.0 + 60.0 * random());
        dense[second * 25 + 12] = scale * (60.0 + 50.0 * random());
        for _ in 0..20 {
            let (r, c) = (4.0 + 17.0 * random(), 4.0 + 17.0 * random());
            dense[r as usize * 25 + c as usize] += scale * (0.01 + 4.0 * random() * random());
        }
        images.push_dense(&dense);
        signal.push((i % 2) as f32);
    }
    Dataset {
        images,
        columns: [("signal".to_string(), signal)].into(),
        rows: (0..count as u64).collect(),
        ..Dataset::default()
    }
}

pub(super) fn quick() -> Options {
    Options {
        resampling: Resampling {
            bootstrap: 40,
            splits: 20,
            seed: 3,
        },
        ..Options::default()
    }
}

fn evaluation_names(evaluation: &Evaluation) -> Vec<String> {
    let mut names: Vec<_> = (evaluation.classes.iter().map(|c| c.name.to_string())).collect();
    names.sort();
    names
}

pub(super) fn json(evaluation: &Evaluation) -> serde_json::Value {
    let extras = Extras {
        meta: Meta::of(evaluation),
        ..Extras::default()
    };
    let text = MetricsFile::new(evaluation, &extras).to_json();
    assert!(!text.contains("NaN") && !text.contains("inf"));
    let again: MetricsFile = serde_json::from_str(&text).unwrap();
    assert!(again.classes.keys().eq(evaluation_names(evaluation).iter()));
    serde_json::from_str(&text).unwrap()
}

#[test]
fn identical_samples_are_at_zero() {
    let data = toy(200, 1, 1.0);
    let found = json(&evaluate(&data, &data, &quick()).unwrap());
    for class in ["all", "signal", "background"] {
        for observable in OBSERVABLES {
            let m = &found[class][observable.name];
            assert_eq!(m["w1"], 0.0, "{class} {}", observable.name);
            assert!(m["w1_floor"].as_f64().unwrap() >= 0.0);
            assert_eq!(m["separation"], 0.0);
            // Batches are drawn with replacement: never at zero.
            assert!(m["w1_jetnet"]["mean"].as_f64().unwrap() > 0.0);
            assert_eq!(
                m["halves"]["sizes"][0],
                if class == "all" { 100 } else { 50 }
            );
        }
        let images = &found["images"][class];
        for key in ["max_abs_difference", "mean_abs_difference", "mse"] {
            assert_eq!(images[format!("mean_image_{key}")], 0.0);
        }
        assert_eq!(images["mean_image_ssim"], 1.0);
        for key in ["zero_fraction_max_abs_difference", "zero_fraction_chi2"] {
            assert_eq!(images[key], 0.0);
        }
        assert_eq!(images["pixel_spectrum_separation"], 0.0);
        assert!(images["halves"]["mean_image_mse"].as_f64().unwrap() > 0.0);
    }
    assert_eq!(found["images"]["signal"]["count"]["truth"], 100);
}

#[test]
fn independent_truth_is_near_the_floor_and_a_scaled_one_is_not() {
    let (truth, same) = (toy(3000, 1, 1.0), toy(1500, 2, 1.0));
    let found = json(&evaluate(&truth, &same, &quick()).unwrap());
    let far = json(&evaluate(&truth, &toy(1500, 2, 1.05), &quick()).unwrap());
    let get = |v: &serde_json::Value, name: &str, key: &str| v["all"][name][key].as_f64().unwrap();
    for name in ["jet_pt", "jet_mass", "tau_21", "intensity"] {
        let limit = get(&found, name, "w1_floor") + 4.0 * get(&found, name, "w1_floor_std");
        assert!(get(&found, name, "w1") < limit, "{name}");
    }
    let limit = get(&far, "jet_pt", "w1_floor") + 10.0 * get(&far, "jet_pt", "w1_floor_std");
    assert!(get(&far, "jet_pt", "w1") > limit);
    let shift = 0.05 * get(&far, "jet_pt", "truth_mean");
    assert!((get(&far, "jet_pt", "w1") / shift - 1.0).abs() < 0.1);
}

#[test]
fn vectors_of_features_tell_truth_from_a_scaled_copy() {
    let (truth, same) = (toy(4000, 1, 1.0), toy(2000, 2, 1.0));
    let near = json(&evaluate(&truth, &same, &quick()).unwrap());
    let far = json(&evaluate(&truth, &toy(2000, 2, 1.1), &quick()).unwrap());
    let get = |v: &serde_json::Value, path: &str| {
        v.pointer(&format!("/features/all/{path}"))
            .and_then(|v| v.as_f64())
            .unwrap()
    };
    for key in ["fpd", "kpd"] {
        let halves = get(&near, &format!("halves/{key}/value"));
        let (value, error) = (
            get(&near, &format!("{key}/value")),
            get(&near, &format!("{key}/error")),
        );
        let shifted = get(&far, &format!("{key}/value"));
        assert!(
            shifted > value.max(halves) + 10.0 * error,
            "{key}: {value}, {shifted}"
        );
    }
    assert_eq!(near["features"]["all"]["fpd"]["sizes"][9], 2000);
    assert_eq!(near["features"]["all"]["neighbours"]["count"], 2000);
    for key in ["precision", "recall", "coverage"] {
        let truth = get(&near, &format!("halves/neighbours/{key}"));
        // 2 000 points each: a share of about 0.97 strays by 0.004.
        assert!(
            (get(&near, &format!("neighbours/{key}")) - truth).abs() < 0.03,
            "{key}"
        );
    }
    // Wider ones still reach the truth: recall stays.
    for key in ["precision", "coverage"] {
        let (near, far) = [&near, &far]
            .map(|v| get(v, &format!("neighbours/{key}")))
            .into();
        assert!(far < near - 0.05, "{key}: {near}, {far}");
    }
    assert!((get(&near, "neighbours/density") - 1.0).abs() < 0.05);
}

#[test]
fn distances_say_how_many_events_they_want() {
    let found = json(&evaluate(&toy(60, 1, 1.0), &toy(40, 2, 1.0), &quick()).unwrap());
    let features = &found["features"]["all"];
    for (side, count) in [(features, "60 and 40"), (&features["halves"], "30 and 30")] {
        for (key, wants) in [("fpd", "1000"), ("kpd", "100"), ("neighbours", "100")] {
            assert!(side[key].is_null());
            let reason = side["reasons"][key].as_str().unwrap();
            assert!(
                reason.contains(&format!("wants {wants} events")),
                "{reason}"
            );
            assert!(reason.contains(count), "{reason}");
        }
    }
}

#[test]
fn classes_need_labels_on_both_sides() {
    let (truth, mut generated) = (toy(60, 1, 1.0), toy(40, 2, 1.0));
    let names = |e: Evaluation| e.classes.iter().map(|c| c.name).collect::<Vec<_>>();
    let both = evaluate(&truth, &generated, &quick()).unwrap();
    assert_eq!(names(both), ["all", "signal", "background"]);
    generated
        .columns
        .insert("signal".to_string(), vec![1.0; 40]);
    let one = evaluate(&truth, &generated, &quick()).unwrap();
    assert_eq!(names(one), ["all", "signal"]);
    generated.columns.clear();
    let none = evaluate(&truth, &generated, &quick()).unwrap();
    assert_eq!(names(none), ["all"]);
}

#[test]
fn a_class_of_one_event_has_no_distance_but_a_reason() {
    let (truth, mut generated) = (toy(60, 1, 1.0), toy(40, 2, 1.0));
    let mut signal = vec![0.0; 40];
    signal[7] = 1.0;
    generated.columns.insert("signal".to_string(), signal);
    let found = json(&evaluate(&truth, &generated, &quick()).unwrap());
    let m = &found["signal"]["jet_mass"];
    assert!(m["w1"].is_null() && m["w1_error"].is_null() && m["w1_floor"].is_null());
    assert!(m["w1_jetnet"].is_null() && m["separation"].is_null());
    for key in ["w1", "w1_jetnet", "separation"] {
        let reason = m["reasons"][key].as_str().unwrap();
        assert!(reason.contains("wants 2 events"), "{reason}");
    }
    assert!(m["generated_mean"].is_number());
    assert!(found["background"]["jet_mass"]["w1"].is_number());
}

#[test]
fn degenerate_images_give_numbers_and_a_report() {
    let mut empty = SparseImages::new(25, 25).unwrap();
    let mut same = SparseImages::new(25, 25).unwrap();
    let mut huge = SparseImages::new(25, 25).unwrap();
    // Enough for every distance.
    for k in 0..2100u16 {
        empty.push([]);
        same.push([(312u16, 5.0f32)]);
        huge.push([(k % 625, f32::MAX)]);
    }
    let of = |images: &SparseImages| Dataset {
        images: images.clone(),
        columns: BTreeMap::new(),
        rows: (0..2100).collect(),
        ..Dataset::default()
    };
    let normal = toy(2100, 1, 1.0).images;
    let home = tempfile::tempdir().unwrap();
    let cases = [
        (&empty, &empty),
        (&empty, &same),
        (&same, &same),
        (&normal, &empty),
        (&empty, &normal),
        (&normal, &huge),
        (&huge, &normal),
    ];
    for (k, (a, b)) in cases.into_iter().enumerate() {
        let evaluation = evaluate(&of(a), &of(b), &quick()).unwrap();
        let found = json(&evaluation);
        let (images, features) = (&found["images"]["all"], &found["features"]["all"]);
        let why = |v: &serde_json::Value, key: &str| v["reasons"][key].as_str().map(str::to_string);
        if k < 3 {
            for key in ["fpd", "kpd", "neighbours"] {
                assert!(features[key].is_null());
                assert!(why(features, key).unwrap().contains("constant"));
            }
        }
        if k == 0 {
            assert!(why(images, "mean_image_ssim").unwrap().contains("constant"));
            let spectrum = why(images, "pixel_spectrum_separation").unwrap();
            assert!(spectrum.contains("no nonzero pixel"));
            assert!(why(images, "zero_fraction_chi2").is_some());
        }
        if k == 3 {
            assert_eq!(features["neighbours"]["coverage"], 0.0);
            assert!(features["fpd"]["value"].as_f64().unwrap() > 0.1);
        }
        let extras = Extras::default();
        let place = home.path().join(k.to_string());
        write_report(&evaluation, &extras, &place, false).unwrap();
        let page = std::fs::read_to_string(place.join("index.html")).unwrap();
        assert!(!page.contains("NaN") && !page.contains("inf "));
        // What has no number says why, and all that says why is on the page.
        let wholes = [images, &images["halves"], features, &features["halves"]];
        let observables = found["all"].as_object().unwrap().values();
        let missing: BTreeSet<&str> = (wholes.into_iter().chain(observables))
            .flat_map(reasons)
            .collect();
        match k {
            // SciPy's search doubles its radius from 1 on, and does not come to distances of 1e72 in 200 steps.
            5 => assert!(
                missing
                    .iter()
                    .all(|why| why.starts_with("the fit of JetNet")),
                "{missing:?}"
            ),
            // Halves of images that all have one pixel of one value.
            6 => assert!(
                missing
                    .iter()
                    .all(|why| why.starts_with("no bin of the spectrum")),
                "{missing:?}"
            ),
            _ => assert!(!missing.is_empty()),
        }
        for reason in missing {
            let words = format!("not available: {reason}");
            assert!(page.contains(&words), "{k}: no '{words}'");
        }
    }
}

/// Why numbers are missing.
fn reasons(found: &serde_json::Value) -> impl Iterator<Item = &str> {
    let reasons = found["reasons"].as_object().into_iter().flatten();
    reasons.map(|(_, why)| why.as_str().unwrap())
}

#[test]
fn images_smaller_than_the_window_have_no_ssim() {
    let small = |seed| {
        let mut data = toy(200, seed, 1.0);
        let mut images = SparseImages::new(6, 9).unwrap();
        for (index, value) in data.images.iter() {
            images.push((0u16..).zip(value[..index.len().min(54)].iter().copied()));
        }
        data.images = images;
        data
    };
    let found = json(&evaluate(&small(1), &small(2), &quick()).unwrap());
    let images = &found["images"]["all"];
    assert!(images["mean_image_ssim"].is_null() && images["mean_image_mse"].is_number());
    let reason = images["reasons"]["mean_image_ssim"].as_str().unwrap();
    assert_eq!(
        reason,
        "images of 6 x 9 pixels are smaller than the 7 x 7 window"
    );
}

#[test]
fn what_cannot_be_compared_is_an_error() {
    let data = toy(10, 1, 1.0);
    let mut small = Dataset {
        images: SparseImages::new(5, 5).unwrap(),
        ..Dataset::default()
    };
    let wrong = evaluate(&data, &small, &quick());
    assert!(matches!(wrong, Err(EvaluateError::Size { .. })));
    small.images = SparseImages::new(25, 25).unwrap();
    let few = evaluate(&data, &small, &quick()).unwrap_err();
    assert_eq!(
        few.to_string(),
        "generated has too few images (there are 0, and either side needs at least 2)"
    );
    let mut odd = toy(10, 1, 1.0);
    odd.columns.insert("signal".to_string(), vec![1.0; 9]);
    let labels = evaluate(&odd, &data, &quick());
    assert!(matches!(labels, Err(EvaluateError::Labels { .. })));
    let range = Options {
        range: f64::NAN,
        ..quick()
    };
    let nan = evaluate(&data, &data, &range);
    assert!(matches!(nan, Err(EvaluateError::Geometry(_))));
}

#[test]
fn numbers_depend_on_the_seed_alone() {
    // Enough for every distance that draws.
    let (truth, generated) = (toy(2400, 1, 1.0), toy(1200, 2, 1.0));
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        json(
            &pool
                .unwrap()
                .install(|| evaluate(&truth, &generated, &quick()).unwrap()),
        )
    };
    assert_eq!(run(1), run(3));
}

#[test]
fn a_report_is_whole_and_needs_nothing_else() {
    let evaluation = evaluate(&toy(100, 1, 1.0), &toy(80, 2, 1.0), &quick()).unwrap();
    let extras = Extras {
        meta: Meta {
            files: Sides {
                truth: "test <1>.h5".to_string(),
                generated: "new.h5".to_string(),
            },
            ..Meta::of(&evaluation)
        },
        nll: Some(Nll {
            train: 151.5,
            validation: Some(152.25),
        }),
        training: Some(TrainingCurve {
            title: "NLL per image [nats]".into(),
            epoch: vec![1.0, 2.0, 3.0],
            train: vec![160.0, 155.0, f64::NAN],
            validation: vec![161.0, 156.0, 154.0],
        }),
        boosting: None,
        classifiers: None,
        ..Extras::default()
    };
    let home = tempfile::tempdir().unwrap();
    let place = home.path().join("report");
    write_report(&evaluation, &extras, &place, false).unwrap();
    let again = write_report(&evaluation, &extras, &place, false);
    assert!(matches!(again, Err(ReportError::Exists(_))));
    write_report(&evaluation, &extras, &place, true).unwrap();

    let page = std::fs::read_to_string(place.join("index.html")).unwrap();
    assert!(page.contains("test &lt;1&gt;.h5") && page.contains("151.500"));
    assert!(!page.contains("<script") && !page.contains("src=\"http"));
    assert!(!page.contains("NaN"));
    for class in ["all", "signal", "background"] {
        for observable in OBSERVABLES {
            let name = format!("figures/{class}-{}.svg", observable.name);
            let svg = std::fs::read_to_string(place.join(&name)).unwrap();
            assert!(
                svg.starts_with("<svg viewBox=") && !svg.contains("NaN"),
                "{name}"
            );
            assert!(page.contains(&name));
        }
    }
    let png = std::fs::read(place.join("figures/all-samples.png")).unwrap();
    assert_eq!(png[1..4], *b"PNG");
    let text = std::fs::read_to_string(place.join("metrics.json")).unwrap();
    let metrics: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(metrics["nll"]["validation"], 152.25);
    assert_eq!(metrics["meta"]["images"]["generated"], 80);
}

#[test]
fn a_sample_page_of_anything_can_be_drawn() {
    let empty = SparseImages::new(32, 20).unwrap();
    let few = toy(3, 1, 1.0).images;
    for (a, b) in [(&empty, &empty), (&few, &empty), (&few, &few)] {
        let figure = sample_page(a, b);
        assert!(!figure.svg().contains("NaN"));
        assert!(figure.png(1.0).is_ok());
    }
}
