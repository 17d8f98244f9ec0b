//! The distances against independent implementations: `tests/golden/metrics.py` made the numbers.

use serde_json::Value;

use super::features::Points;
use super::frechet::{Fpd, Gaussian, distance, fpd, line};
use super::histogram::Histogram;
use super::kernel::{kpd, kpd_unbiased, mmd, quantile};
use super::neighbours::neighbours;
use super::resample::{Use, class_stream};
use super::separation::separation;
use super::ssim::ssim;
use super::weights::Sample;
use super::{Unavailable, distance as w1};

fn golden() -> Value {
    serde_json::from_str(include_str!("../../tests/golden/metrics.json")).unwrap()
}

fn list(value: &Value) -> Vec<f64> {
    (value.as_array().unwrap().iter())
        .map(|v| v.as_f64().unwrap())
        .collect()
}

fn samples(golden: &Value) -> [Points; 2] {
    ["truth", "generated"].map(|side| Points::new(list(&golden[side]), 3).unwrap())
}

fn first(points: &Points) -> Vec<f32> {
    (0..points.len()).map(|i| points.row(i)[0] as f32).collect()
}

fn close(got: f64, want: &Value, tolerance: f64) {
    let want = want.as_f64().unwrap();
    assert!((got - want).abs() <= tolerance, "{got}, golden {want}");
}

#[test]
fn w1_in_batches_is_jetnets() {
    let golden = golden();
    let [a, b] = samples(&golden).map(|s| first(&s));
    let (mean, std) = (&golden["w1_jetnet"]["mean"], &golden["w1_jetnet"]["std"]);
    let std = std.as_f64().unwrap();
    let [a, b] = [&a, &b].map(|side| Sample::from(side.as_slice()));
    for seed in 0..4 {
        let got = w1::jetnet(a, b, seed, 0, Use::Jetnet).unwrap();
        // Five batches: their mean strays by std / sqrt(5); four of those are five sigma in a million.
        close(got.mean, mean, 4.5 * std / 5f64.sqrt());
        assert!(got.std > 0.1 * std && got.std < 3.0 * std, "{got:?}");
        assert_eq!((got.batches, got.batch), (5, 50_000));
    }
    let nothing = Sample::from([].as_slice());
    assert_eq!(w1::jetnet(a, nothing, 0, 0, Use::Jetnet), None);
}

#[test]
fn separation_is_numpys() {
    let golden = golden();
    let edges = list(&golden["separation"]["edges"]);
    let [a, b] = samples(&golden).map(|s| Histogram::new(&edges, first(&s), s.len()));
    let got = separation(&a, &b).unwrap();
    close(got, &golden["separation"]["value"], 1e-14);
}

#[test]
fn similarity_is_scikit_images() {
    for case in golden()["ssim"].as_array().unwrap() {
        let (a, b) = (list(&case["a"]), list(&case["b"]));
        let got = ssim(&a, &b, 11, 13).unwrap();
        close(got, &case["value"], 1e-12);
    }
    assert_eq!(ssim(&[1.0; 49], &[1.0; 49], 7, 7), Err(Unavailable::Flat));
    let small = ssim(&[1.0; 42], &[2.0; 42], 6, 7).unwrap_err();
    assert!(small.to_string().contains("7 x 7 window"));
}

#[test]
fn frechet_is_scipys() {
    let golden = golden();
    let samples = samples(&golden);
    let gaussian = |points: &Points, pick: &[usize]| {
        let rows: Vec<Vec<f64>> = (0..points.len())
            .map(|i| pick.iter().map(|k| points.row(i)[*k]).collect())
            .collect();
        Gaussian::of(rows.iter().map(Vec::as_slice))
    };
    let [a, b] = samples.each_ref().map(|s| gaussian(s, &[0, 1, 2]));
    close(distance(&a, &b), &golden["frechet"], 1e-10);
    assert!(distance(&a, &a).abs() < 1e-12);
    let [a, b] = samples.each_ref().map(|s| gaussian(s, &[0, 1]));
    close(distance(&a, &b), &golden["frechet_two"], 1e-10);
    // The same with a singular covariance: a third dimension that never changes.
    let flat = samples.each_ref().map(|s| {
        let rows: Vec<[f64; 3]> = (0..s.len())
            .map(|i| [s.row(i)[0], 7.0, s.row(i)[1]])
            .collect();
        Gaussian::of(rows.iter().map(|r| r.as_slice()))
    });
    close(distance(&flat[0], &flat[1]), &golden["frechet_two"], 1e-10);
}

#[test]
fn the_line_is_scipys() {
    for case in golden()["lines"].as_array().unwrap() {
        let (value, slope, error) = line(&list(&case["x"]), &list(&case["y"]));
        assert!(value >= 0.0 && slope >= 0.0);
        // SciPy's solver stops just inside its bounds.
        close(value, &case["value"], 1e-6);
        close(error, &case["error"], 1e-5);
    }
}

/// Points as `tests/golden/fpd.py` made them, and what SciPy's bounded fit gives.
#[test]
fn jetnets_fit_is_followed_to_where_it_ends() {
    let text = include_str!("../../tests/golden/fpd.json");
    let cases: Vec<Value> = serde_json::from_str(text).unwrap();
    let mut flat = 0;
    for case in &cases {
        let number = |key: &str| case[key].as_f64().unwrap();
        let sizes: Vec<usize> = list(&case["sizes"]).iter().map(|n| *n as usize).collect();
        let distances = list(&case["distances"]);
        let inverse: Vec<f64> = sizes.iter().map(|n| 1.0 / *n as f64).collect();
        let (value, slope, error) = line(&inverse, &distances);
        let found = Fpd {
            value,
            error,
            slope,
            sizes,
            distances: distances.clone(),
            batches: 20,
        };
        let got = found.jetnet().unwrap();
        // The same steps; sums are rounded in another order, and derivatives by differences keep 7 digits.
        for (got, key) in [(got.value, "value"), (got.error, "error")] {
            let want = number(key);
            assert!((got / want - 1.0).abs() < 1e-5, "{key} {got} in {case}");
        }
        assert!((got.slope - number("fitted_slope")).abs() < 1e-4 * number("slope").abs().max(1.0));
        // Where the fit stops early the two numbers have two meanings: of the same points.
        let mean = distances.iter().sum::<f64>() / distances.len() as f64;
        if number("intercept") == 5e-5 && number("slope") == 3.0 {
            flat += 1;
            assert!((value / 5e-5 - 1.0).abs() < 0.1, "the line gives {value}");
            assert!(
                (got.value / mean - 1.0).abs() < 0.02,
                "{} is not {mean}",
                got.value
            );
            assert!(got.slope < 1e-3);
        }
        if number("intercept") > 0.05 {
            assert!(
                (got.value / value - 1.0).abs() < 2e-3,
                "{} {value}",
                got.value
            );
        }
    }
    assert_eq!((cases.len(), flat), (15, 2));
}

#[test]
fn kpd_without_replacement_is_zero_on_average_for_truth() {
    let golden = golden();
    let [a, b] = samples(&golden);
    // As the median of batches of all points would be if none were drawn twice.
    let [x, y] = a.rescaled(&b, &a.jetnet_scale().unwrap());
    let got = kpd_unbiased(&a, &b, 1, class_stream(0), 1).unwrap();
    assert!((got.value - mmd(&x, &y)).abs() < 1e-12, "{got:?}");
    // Halves of one sample, forty times: the distance expected is 0, with replacement it is that of events found twice.
    let (mut without, mut with, mut pulls) = (Vec::new(), Vec::new(), Vec::new());
    for seed in 0..40 {
        let order = super::resample::shuffled(seed, class_stream(0), 0, a.len());
        let half = |from: usize| a.gather(order[from..from + 600].iter().map(|i| *i as usize));
        let (first, second) = (half(0), half(600));
        let found = kpd_unbiased(&first, &second, seed, class_stream(0), 1).unwrap();
        without.push(found.value);
        pulls.push(found.value / found.error);
        let found = kpd(&first, &second, seed, class_stream(0), Use::Kernel).unwrap();
        with.push(found.value);
    }
    let significance = |values: &[f64]| {
        let (mean, std) = super::resample::moments(values);
        mean / (std / (values.len() as f64).sqrt())
    };
    let above = |values: &[f64]| values.iter().filter(|v| **v > 0.0).count();
    let (free, drawn) = (significance(&without), significance(&with));
    assert!(free.abs() < 2.5, "{free} errors from 0");
    assert!(
        (6..=34).contains(&above(&without)),
        "{} of 40",
        above(&without)
    );
    assert!(
        drawn > 3.5 && above(&with) > above(&without),
        "{drawn} errors from 0"
    );
    let spread = (pulls.iter().map(|p| p * p).sum::<f64>() / 40.0).sqrt();
    // The distribution about 0 is skewed; the size of the jackknife's error is right.
    assert!((0.4..2.5).contains(&spread), "{spread}");
}

#[test]
fn weights_count_as_so_many_events() {
    let golden = golden();
    let [a, b] = samples(&golden);
    let [x, y] = a.rescaled(&b, &a.jetnet_scale().unwrap());
    let counts: Vec<usize> = (0..a.len()).map(|i| [0, 1, 1, 2][i % 4]).collect();
    let repeated = x.gather((0..a.len()).flat_map(|i| vec![i; counts[i]]));
    let weights = counts.iter().map(|c| *c as f32).collect();
    // Pairs of one event with itself are no pairs; the repeated sample has them, so its kernels differ by those.
    let weighted = kpd_unbiased(&a.clone().with_weights(weights), &b, 1, class_stream(0), 1);
    let weighted = weighted.unwrap().value;
    assert!((weighted - mmd(&repeated, &y)).abs() < 2e-3 && weighted != mmd(&x, &y));
    let negative = a.clone().with_weights(
        (0..a.len())
            .map(|i| if i == 7 { -1.0 } else { 1.0 })
            .collect(),
    );
    assert!(kpd_unbiased(&negative, &b, 1, class_stream(0), 1).is_ok());
    let stream = class_stream(0);
    for refused in [
        fpd(&negative, &b, 1, stream, Use::Frechet).err(),
        kpd(&negative, &b, 1, stream, Use::Kernel).err(),
    ] {
        assert_eq!(refused, Some(Unavailable::Negative { negative: 1 }));
    }
}

#[test]
fn fpd_is_jetnets() {
    let golden = golden();
    let want = &golden["fpd"];
    let [a, b] = samples(&golden);
    let got = fpd(&a, &b, 1, class_stream(0), Use::Frechet).unwrap();
    let sizes: Vec<f64> = got.sizes.iter().map(|n| *n as f64).collect();
    assert_eq!(sizes, list(&want["sizes"]));
    // The golden spreads are those of single runs, this is one: 4.5 sigma.
    let (means, stds) = (list(&want["distances"]), list(&want["distances_std"]));
    for ((got, mean), std) in got.distances.iter().zip(means).zip(stds) {
        assert!(
            (got - mean).abs() < 4.5 * std,
            "{got}, golden {mean} +- {std}"
        );
    }
    close(
        got.value,
        &want["value"],
        4.5 * want["value_std"].as_f64().unwrap(),
    );
    assert!(got.error < 4.0 * want["error"].as_f64().unwrap());
    let few = fpd(&a.gather(0..400), &b, 1, class_stream(0), Use::Frechet).unwrap_err();
    assert!(few.to_string().contains("wants 1000 events"), "{few}");
}

#[test]
fn kernels_are_scikit_learns() {
    let golden = golden();
    let [a, b] = samples(&golden);
    let [x, y] = a.rescaled(&b, &a.jetnet_scale().unwrap());
    close(
        mmd(&x.gather(0..300), &y.gather(0..250)),
        &golden["mmd"],
        1e-12,
    );
    let quantiles = &golden["quantiles"];
    let values = list(&quantiles["values"]);
    for (q, want) in list(&quantiles["of"]).iter().zip(list(&quantiles["are"])) {
        assert!((quantile(&values, q / 100.0) - want).abs() < 1e-12);
    }
    let want = &golden["kpd"];
    let got = kpd(&a, &b, 1, class_stream(0), Use::Kernel).unwrap();
    close(
        got.value,
        &want["value"],
        4.5 * want["value_std"].as_f64().unwrap(),
    );
    close(
        got.error,
        &want["error"],
        4.5 * want["error_std"].as_f64().unwrap(),
    );
    assert_eq!(got.batch, 1200);
}

#[test]
fn neighbours_are_those_of_the_published_formulas() {
    let golden = golden();
    let want = &golden["neighbours"];
    let [a, b] = samples(&golden);
    let got = neighbours(&a.gather(0..400), &b.gather(0..300)).unwrap();
    // Counts: no distance of these points is so near a radius that f32 would tell otherwise.
    close(got.precision, &want["precision"], 1e-12);
    close(got.recall, &want["recall"], 1e-12);
    close(got.density, &want["density"], 1e-12);
    close(got.coverage, &want["coverage"], 1e-12);
}

#[test]
fn points_that_are_all_equal_have_no_scale() {
    let flat = Points::new(vec![3.0; 3600], 3).unwrap();
    let [a, _] = samples(&golden());
    let stream = class_stream(0);
    assert_eq!(neighbours(&flat, &a), Err(Unavailable::Constant));
    assert_eq!(
        fpd(&flat, &a, 0, stream, Use::Frechet),
        Err(Unavailable::Constant)
    );
    assert_eq!(
        kpd(&flat, &a, 0, stream, Use::Kernel),
        Err(Unavailable::Constant)
    );
    // A truth that varies, and generated points that do not, are just far apart.
    assert!(fpd(&a, &flat, 0, stream, Use::Frechet).unwrap().value > 1e-2);
    let got = neighbours(&a, &flat).unwrap();
    assert_eq!((got.recall, got.coverage), (0.0, 0.0));
    // Numbers whose eighth powers leave f64.
    let far = Points::new(vec![1e300; 3600], 3).unwrap();
    assert_eq!(
        kpd(&a, &far, 0, stream, Use::Kernel),
        Err(Unavailable::Beyond)
    );
    assert_eq!(
        fpd(&a, &far, 0, stream, Use::Frechet),
        Err(Unavailable::Beyond)
    );
    assert_eq!(neighbours(&a, &far).unwrap().precision, 0.0);
}
