//! Whether generated images are those that the model was trained on.

use sarm::data::{Dataset, SparseImages};
use sarm::evaluate::report::{Extras, Meta, MetricsFile, write_report};
use sarm::evaluate::{EvaluateError, Memorising, Memory, Nearest, evaluate, memorising};

use super::report::{quick, toy};
use crate::support::program::{Lab, write_images};

fn of(found: &Memorising, class: &str) -> Nearest {
    found.classes[class].unwrap()
}

/// Copies whose pixels are a little larger.
fn copies(data: &Dataset) -> Dataset {
    let (images, _) = data.images.clone().scaled(1.01, 0.0).unwrap();
    Dataset {
        images,
        ..data.clone()
    }
}

#[test]
fn copies_of_the_training_images_are_told_from_new_ones() {
    let (training, truth) = (toy(1500, 1, 1.0), toy(1200, 2, 1.0));
    let fresh = memorising(&training, &truth, &toy(1000, 3, 1.0), 0).unwrap();
    let copied = memorising(&training, &truth, &copies(&training), 0).unwrap();
    let seen = memorising(&training, &truth, &copies(&truth), 0).unwrap();
    for class in ["all", "signal", "background"] {
        let found = of(&fresh, class);
        assert!(
            (found.share - 0.5).abs() < 4.0 * found.error,
            "{class}: {found:?}"
        );
        assert!(found.error >= 0.5 / (found.generated as f64).sqrt());
        assert_eq!(found.references, if class == "all" { 1200 } else { 600 });
        // 1 200 of the 1 500 copies have their image among the references.
        let found = of(&copied, class);
        assert!(found.share > 0.85, "{class}: {found:?}");
        assert_eq!(found.memory(), Memory::Some);
        assert_eq!(of(&seen, class).memory(), Memory::Unlike);
    }
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let generated = toy(1000, 3, 1.0);
        let run = || memorising(&training, &truth, &generated, 0);
        pool.unwrap().install(run).unwrap()
    };
    assert_eq!((run(1), run(3)), (fresh.clone(), fresh));

    let one = [training, truth, toy(1000, 3, 1.0)].map(|mut data| {
        data.columns
            .insert("signal".to_string(), vec![1.0; data.images.len()]);
        data
    });
    let found = memorising(&one[0], &one[1], &one[2], 0).unwrap();
    assert_eq!(found.classes.keys().collect::<Vec<_>>(), ["all", "signal"]);
    assert_eq!(of(&found, "all"), of(&found, "signal"));
}

#[test]
fn what_cannot_be_told_says_why() {
    let (training, truth, generated) = (toy(150, 1, 1.0), toy(300, 2, 1.0), toy(300, 3, 1.0));
    let found = memorising(&training, &truth, &generated, 0).unwrap();
    assert!(found.classes["all"].is_some() && found.classes["signal"].is_none());
    let why = &found.reasons["signal"];
    assert_eq!(
        why,
        "wants 100 images of each (there are 75 training, 150 true and 150 generated ones)"
    );
    let mut weighted = truth.clone();
    weighted.weights = Some((0..300).map(|i| (i % 3) as f32).collect());
    let found = memorising(&training, &weighted, &generated, 0).unwrap();
    let all = of(&found, "all");
    // Images stay by the chance of their weight: two of three half of the time.
    assert!(all.references > 100 && all.references < 151, "{all:?}");
    weighted.weights.as_mut().unwrap()[7] = -1.0;
    let found = memorising(&training, &weighted, &generated, 0).unwrap();
    assert!(found.reasons["all"].contains("1 weight is below 0"));

    let few = memorising(&toy(99, 1, 1.0), &truth, &generated, 0).unwrap_err();
    assert_eq!(
        few.to_string(),
        "there are 99 training images (at least 100 are wanted); choose more rows"
    );
    let mut small = training.clone();
    small.images = SparseImages::new(5, 4).unwrap();
    let size = memorising(&small, &truth, &generated, 0).unwrap_err();
    assert!(
        matches!(size, EvaluateError::Unlike { size: [5, 4], .. }),
        "{size}"
    );
    let mut huge = training.clone();
    huge.images = SparseImages::new(25, 25).unwrap();
    (0..150).for_each(|_| huge.images.push([(3, f32::MAX), (4, f32::MAX)]));
    let found = memorising(&huge, &truth, &generated, 0).unwrap();
    assert!(found.reasons["all"].contains("too large"));
}

#[test]
fn the_report_has_a_verdict() {
    let (training, truth) = (toy(400, 1, 1.0), toy(400, 2, 1.0));
    let evaluation = evaluate(&truth, &training, &quick()).unwrap();
    let extras = Extras {
        meta: Meta::of(&evaluation),
        memorising: Some(memorising(&training, &truth, &training, 0).unwrap()),
        ..Extras::default()
    };
    let text = MetricsFile::new(&evaluation, &extras).to_json();
    let again: MetricsFile = serde_json::from_str(&text).unwrap();
    assert_eq!(again.memorising, extras.memorising);
    let home = tempfile::tempdir().unwrap();
    let place = home.path().join("report");
    write_report(&evaluation, &extras, &place, false).unwrap();
    let page = std::fs::read_to_string(place.join("index.html")).unwrap();
    assert!(
        page.contains("memorises its training images") && page.contains("href=\"#memorising\"")
    );
}

#[test]
fn files_of_training_images_are_read_like_the_truth() {
    let lab = Lab::empty();
    for (name, seed) in [("train.h5", 1), ("truth.h5", 2), ("new.h5", 3)] {
        write_images(&lab.path(name), 300, 7, seed, &[]);
    }
    write_images(&lab.path("small.h5"), 300, 5, 4, &[]);
    let evaluate = "evaluate --truth truth.h5 --generated new.h5 --bootstrap 5 --force --out report --training";
    let output = lab.ok(&format!("{evaluate} train.h5 --json"));
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(found["memorising"]["all"]["share"].is_number());
    assert_eq!(found["meta"]["training"]["files"], "train.h5");
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(
        told.contains("all  memorising       no sign of memorising: 0."),
        "{told}"
    );

    lab.refuses(
        &format!("{evaluate} small.h5"),
        &["small.h5", "5 x 5", "7 x 7"],
    );
    lab.refuses(&format!("{evaluate} gone.h5"), &["gone.h5"]);
    lab.refuses(
        &format!("{evaluate} train.h5 --select-training signal=7"),
        &["signal=7"],
    );
    lab.refuses(
        &format!("{evaluate} train.h5 --select-training row=0..49"),
        &["50 training images", "at least 100"],
    );
    let same = ["'truth.h5'", "seen the truth", "--select-training"];
    lab.refuses(&format!("{evaluate} truth.h5"), &same);
    let told = lab
        .ok(&format!("{evaluate} truth.h5 --allow-duplicates"))
        .stderr;
    assert!(String::from_utf8(told).unwrap().contains("seen the truth"));
    // Other rows of one file are other images.
    lab.ok(&format!(
        "{evaluate} truth.h5 --select row=0..149 --select-training row=150..299"
    ));
}
