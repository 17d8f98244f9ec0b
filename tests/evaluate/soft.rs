//! Soft pixels: what pT, mass and multiplicity do not see.

use sarm::data::{Dataset, SparseImages, Unit};
use sarm::evaluate::{Evaluation, evaluate};

use super::report::{json, quick, toy};

/// The same images with what is below 1 GeV at a power of it.
fn softer(data: &Dataset, power: f32) -> Dataset {
    let mut images = SparseImages::new(25, 25).unwrap();
    for (index, value) in data.images.iter() {
        let softer = value
            .iter()
            .map(|v| if *v < 1.0 { v.powf(power) } else { *v });
        images.push(index.iter().copied().zip(softer));
    }
    Dataset {
        images,
        ..data.clone()
    }
}

fn floors(found: &serde_json::Value, name: &str) -> f64 {
    let m = &found["all"][name];
    m["w1"].as_f64().unwrap() / m["w1_floor"].as_f64().unwrap()
}

const SOFT: [&str; 3] = ["ln_pixel_intensity", "count_below_0.1", "count_below_0.3"];

#[test]
fn softer_pixels_are_seen_by_their_counts_and_logarithms_alone() {
    let (truth, same) = (toy(3000, 1, 1.0), toy(3000, 2, 1.0));
    let near = json(&evaluate(&truth, &same, &quick()).unwrap());
    let far = json(&evaluate(&truth, &softer(&same, 1.3), &quick()).unwrap());
    for name in ["jet_pt", "multiplicity"] {
        assert!(floors(&far, name) < 3.0, "{name}: {}", floors(&far, name));
    }
    for name in SOFT {
        let m = &near["all"][name];
        let [w1, floor, spread] =
            ["w1", "w1_floor", "w1_floor_std"].map(|k| m[k].as_f64().unwrap());
        assert!(
            w1 < floor + 5.0 * spread,
            "{name}: {w1}, {floor} +- {spread}"
        );
        assert!(floors(&far, name) > 5.0, "{name}: {}", floors(&far, name));
        let separation = |v: &serde_json::Value| v["all"][name]["separation"].as_f64().unwrap();
        assert!(separation(&far) > 3.0 * separation(&near), "{name}");
    }
    let chi2 = |v: &serde_json::Value| v["pixel_spectrum_log_chi2"].as_f64().unwrap();
    let (near, far) = (&near["images"]["all"], &far["images"]["all"]);
    // Some 50 bins: 1 +- 0.2, and pixels of one image hang together.
    assert!((chi2(near) - 1.0).abs() < 1.0 && (chi2(&near["halves"]) - 1.0).abs() < 1.0);
    assert!(chi2(far) > 10.0, "{}", chi2(far));
}

fn names(found: &Evaluation) -> Vec<&str> {
    let observables = found.classes[0].observables.iter();
    observables
        .map(|o| o.observable.name.as_str())
        .skip(7)
        .collect()
}

#[test]
fn pixels_in_another_unit_have_thresholds_of_their_own() {
    let (truth, generated) = (toy(200, 1, 1.0), toy(200, 2, 1.0));
    let jets = ["0.01", "0.1", "0.3", "1"].map(|t| format!("count_below_{t}"));
    let found = evaluate(&truth, &generated, &quick()).unwrap();
    assert_eq!(names(&found)[0], "ln_pixel_intensity");
    assert_eq!(names(&found)[1..], jets);
    let of = |data: &Dataset| {
        let mut data = data.clone();
        data.about.unit = Unit::parse("ADC").unwrap().0;
        data
    };
    let found = evaluate(&of(&truth), &of(&generated), &quick()).unwrap();
    assert_eq!(names(&found).len(), 5);
    assert_ne!(names(&found)[1..], jets);
    let title = &found.classes[0]
        .observables
        .last()
        .unwrap()
        .observable
        .title;
    assert!(title.ends_with(" ADC"), "{title}");
}
