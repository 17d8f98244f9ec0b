//! A condition that is the sum of an image's pixels: no pixel is larger than what is left of it, and the last takes all.

use crate::support::common;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::support::program::{Lab, column, write_images};
use sarm::conditions::Conditions;
use sarm::data::{WriteOptions, write};
use sarm::families::sarm::cpu::CpuEngine;
use sarm::families::sarm::reference;
use sarm::families::sarm::{Engine, Sarm, StageTensor};
use sarm::family::{End, SamplingPlan};

/// A model of 1 x 2 pixels that is told their sum, and the condition under which it is `total`.
fn pair(seed: u64, total: f32) -> (Sarm, [f32; 1]) {
    let toml = "stage = [{units_per_pixel = 3, layers = 1}]\n[likelihood]\nkind = 'dc'\ncomponents = 3\nunit = 2.0\n\
        [condition]\nnames = ['all']\ntotal = 'all'";
    let model = common::model(toml, 1, 2, seed, 0.6);
    let told = [model.standardise(0, total)];
    (model, told)
}

/// Midpoints of `n` even pieces of (0, `end`), and their width.
fn pieces(end: f64, n: usize) -> (impl Iterator<Item = f64>, f64) {
    let step = end / n as f64;
    ((0..n).map(move |i| (i as f64 + 0.5) * step), step)
}

#[test]
fn the_likelihood_of_images_of_a_total_adds_up_to_one() {
    for (seed, total) in [(1, 30.0f32), (2, 55.0), (3, 12.0)] {
        let (model, told) = pair(seed, total);
        let end = f64::from(total);
        // Row-major; the model may draw the second one first.
        let first = usize::from(model.order[0][0]);
        let p = |a: f64, b: f64| {
            let mut image = [0.0; 2];
            (image[first], image[1 - first]) = (a as f32, b as f32);
            (-reference::nll(&model, &image, &told).unwrap()).exp()
        };
        // Those that come to the total: the last pixel has a probability, the one before it a density.
        let mut met = p(end, 0.0) + p(0.0, end);
        // Those that fall short of it.
        let mut short = p(0.0, 0.0);
        let (seconds, step) = pieces(end, 4000);
        short += seconds.map(|b| p(0.0, b) * step).sum::<f64>();
        let (firsts, step) = pieces(end, 400);
        for a in firsts {
            met += p(a, end - a) * step;
            short += p(a, 0.0) * step;
            let (seconds, inner) = pieces(end - a, 200);
            short += seconds.map(|b| p(a, b) * inner * step).sum::<f64>();
        }
        let sum = met + short;
        assert!((sum - 1.0).abs() < 2e-3, "{seed}: {met} and {short}");
        assert!(met > 0.05 && short > 0.05, "{seed}: {met} and {short}");
    }
}

/// All images of a model, pixel by pixel in drawing order; what is left is in single precision, as it is everywhere.
struct Tree<'a> {
    model: &'a Sarm,
    condition: &'a [f32],
    /// Midpoints of each pixel's range in ln x.
    pieces: usize,
}

impl Tree<'_> {
    /// The probability of all images that begin with `drawn`, in drawing order: of those that come to the total, and of those
    /// that fall short of it.
    fn probability(&self, drawn: &mut Vec<f32>, remaining: f32) -> [f64; 2] {
        let order: Vec<usize> = (self.model.order.concat().iter())
            .map(|pixel| usize::from(*pixel))
            .collect();
        if drawn.len() == order.len() {
            let mut image = vec![0.0; order.len()];
            for (pixel, x) in order.iter().zip(drawn) {
                image[*pixel] = *x;
            }
            let p = (-reference::nll(self.model, &image, self.condition).unwrap()).exp();
            return if remaining == 0.0 { [p, 0.0] } else { [0.0, p] };
        }
        let mut sum = [0.0; 2];
        let mut add = |x: f32, weight: f64| {
            drawn.push(x);
            let of_rest = self.probability(drawn, remaining - x);
            drawn.pop();
            for (sum, p) in sum.iter_mut().zip(of_rest) {
                *sum += weight * p;
            }
        };
        add(0.0, 1.0);
        if remaining == 0.0 {
            return sum;
        }
        let values = self.model.values();
        let [lower, upper] = [End::Lower, End::Upper].map(|end| values.end(end));
        if f64::from(remaining) <= upper {
            add(remaining, 1.0);
        }
        let most = upper.min(f64::from(remaining) - lower);
        if most > lower {
            let step = (most / lower).ln() / self.pieces as f64;
            for i in 0..self.pieces {
                let x = lower * ((i as f64 + 0.5) * step).exp();
                add(x as f32, x * step);
            }
        }
        sum
    }
}

/// Logistics of ln x between the lower end and what is left above it, outputs that are shown what is left: over all images of
/// two and three pixels the likelihood integrates to one.
#[test]
fn with_a_lower_end_it_adds_up_to_one_too() {
    let toml = |more: &str| {
        format!(
            "order = {{kind = 'random', seed = 3}}\nstage = [{{units_per_pixel = 3, layers = 1}}]\n[likelihood]\nkind = 'dc'\n\
            components = 3\nspace = 'log'\nunit = 2.0\nlower = 0.5\n{more}\n[condition]\nnames = ['all']\ntotal = 'all'"
        )
    };
    let left = "[input]\nleft = 4";
    let limited = format!("upper = 20.0\n{left}");
    for (seed, width, total, pieces, more) in [
        (1, 2, 30.0f32, 300, ""),
        (2, 2, 30.0, 300, left),
        (3, 2, 30.0, 300, limited.as_str()),
        (4, 3, 30.0, 80, left),
        (5, 3, 30.0, 80, limited.as_str()),
        (9, 3, 30.0, 80, limited.as_str()),
        // Two pixels of the lower end, and not quite; the last pixels' range is narrow.
        (6, 3, 1.2, 80, left),
        (7, 3, 0.9, 80, left),
    ] {
        let model = common::model(&toml(more), 1, width, seed, 0.6);
        let condition = [model.standardise(0, total)];
        let budget = model.budget(&condition).unwrap();
        let tree = Tree {
            model: &model,
            condition: &condition,
            pieces,
        };
        let [met, short] = tree.probability(&mut Vec::new(), budget.remaining);
        println!("{met} come to {total} GeV and {short} fall short: {seed}");
        assert!(
            (met + short - 1.0).abs() < 1e-3,
            "{seed}: {met} and {short}"
        );
        assert!(met > 0.005 && short > 0.005, "{seed}: {met} and {short}");
    }
}

/// Rules for the last two pixels, by hand: what is left below two pixels of the lower end is taken with certainty.
#[test]
fn what_is_left_below_two_pixels_is_taken_with_certainty() {
    let toml = "stage = [{units_per_pixel = 3, layers = 1}]\n[likelihood]\nkind = 'dc'\ncomponents = 3\nspace = 'log'\n\
        unit = 2.0\nlower = 0.5\n[input]\nleft = 2\n[condition]\nnames = ['all']\ntotal = 'all'";
    let model = common::model(toml, 1, 2, 3, 0.6);
    let first = usize::from(model.order[0][0]);
    let sigmoid = |z: f64| 1.0 / (1.0 + (-z).exp());
    for total in [0.75f32, 0.99, 1.01, 30.0] {
        let condition = [model.standardise(0, total)];
        let budget = model.budget(&condition);
        let mut image = [0.0; 2];
        image[first] = budget.unwrap().remaining;
        let outputs = reference::forward(&model, &image, &condition).unwrap();
        // What is left is shown by hand, too: its share of the mean and its logarithm.
        let shown = |number: usize, output: f64| {
            let share = f64::from(budget.unwrap().remaining) / 40.0;
            let functions = [share, (1.0 + share.log2() * 2.0 / 19.0).clamp(-1.0, 1.25)];
            let left = model.parameter(0, StageTensor::LeftWeight);
            let weights = &left[2 * number..2 * number + 2];
            let terms = weights.iter().zip(functions);
            output + terms.map(|(w, f)| f64::from(*w) * f).sum::<f64>()
        };
        let logits = [0, 1, 2].map(|k| shown(1 + k, outputs[0].values[0][k]).exp());
        let share = match total < 1.0 {
            true => 1.0,
            false => logits[0] / logits.iter().sum::<f64>(),
        };
        let open = sigmoid(-shown(0, outputs[0].gates[0]));
        let nll = reference::nll(&model, &image, &condition).unwrap();
        assert!((nll + (open * share).ln()).abs() < 1e-6, "{total}: {nll}");
    }
}

/// A total below the smallest pixel is nothing, but for rounding.
#[test]
fn a_total_below_the_lower_end_is_nothing() {
    let toml = "stage = [{units_per_pixel = 3, layers = 1}]\n[likelihood]\nkind = 'dc'\ncomponents = 2\nspace = 'log'\n\
        lower = 0.5\n[condition]\nnames = ['all']\ntotal = 'all'";
    let model = common::model(toml, 3, 3, 3, 0.9);
    let draw = |total: f32, naive: bool| {
        let conditions = Conditions::new(1, vec![model.standardise(0, total)]);
        let plan = SamplingPlan {
            conditions: conditions.with_total(model.total()),
            naive,
            ..SamplingPlan::default()
        };
        let engine = CpuEngine::new(1).unwrap();
        let mut sampler = engine.sampler(&model, &plan).unwrap();
        sampler.sample(0, 200).unwrap()
    };
    for naive in [false, true] {
        for total in [0.0f32, 0.1, 0.49, 0.4999] {
            assert_eq!(draw(total, naive).nonzeros(), 0, "{total}");
        }
        // Single precision cannot tell these from the lower end.
        for total in [0.49999, 0.5, 0.500_01, 0.9] {
            let images = draw(total, naive);
            assert!(images.nonzeros() > 100, "{total}");
            let (_, _, values) = images.csr();
            assert!(
                values
                    .iter()
                    .all(|x| *x >= 0.5 && (*x - total).abs() < 1e-4),
                "{total}"
            );
        }
    }
}

#[test]
fn zeros_behind_the_last_pixel_cost_nothing() {
    let (model, told) = pair(5, 30.0);
    let first = usize::from(model.order[0][0]);
    let mut image = [0.0; 2];
    image[first] = 30.0;
    let outputs = reference::forward(&model, &image, &told).unwrap();
    let logits = &outputs[0].values[0][..3];
    let share = logits[0].exp() / logits.iter().map(|l| l.exp()).sum::<f64>();
    let open = 1.0 / (1.0 + outputs[0].gates[0].exp());
    let nll = reference::nll(&model, &image, &told).unwrap();
    assert!((nll + (open * share).ln()).abs() < 1e-9, "{nll}");
}

/// What is left just above the largest pixel: a pixel that leaves nothing but rounding has a density, as it was drawn.
#[test]
fn all_that_is_left_counts_where_it_is_no_more_than_the_range() {
    let (model, data) = common::around_the_range();
    let scored = CpuEngine::new(1)
        .unwrap()
        .score(&model, Arc::clone(&data))
        .unwrap();
    let sigmoid = |z: f64| 1.0 / (1.0 + (-z).exp());
    for (row, scored) in scored.into_iter().enumerate() {
        let mut image = [0.0; 2];
        data.images.dense_into(row, &mut image);
        let told = data.conditions.row(row as u64);
        let outputs = reference::forward(&model, &image, told).unwrap();
        let ordered = model.order[0]
            .iter()
            .map(|pixel| f64::from(image[usize::from(*pixel)]));
        let ordered: Vec<f64> = ordered.collect();
        // Weights of the components of a place, and the whole mixture's density there, of a unit of 2 GeV up to 20.
        let weights = |place: usize| {
            let logits = &outputs[0].values[place][..3];
            let sum: f64 = logits.iter().map(|l| l.exp()).sum();
            [0, 1, 2].map(|k| logits[k].exp() / sum)
        };
        let density = |place: usize, x: f64| -> f64 {
            let v = &outputs[0].values[place];
            (0..3)
                .map(|k| {
                    let (mean, scale) = (v[3 + k], v[6 + k].exp());
                    let s = sigmoid((x / 2.0 - mean) / scale);
                    let mass = sigmoid((10.0 - mean) / scale) - sigmoid(-mean / scale);
                    weights(place)[k] * s * (1.0 - s) / scale / mass / 2.0
                })
                .sum()
        };
        let opens = |place: usize| sigmoid(-outputs[0].gates[place]);
        let first = ordered[0];
        let (expected, otherwise) = match row {
            // The second pixel is too small to be told from rounding.
            0 => (opens(0) * density(0, first), opens(0) * weights(0)[0]),
            1 => {
                let second = opens(1) * weights(1)[0];
                (opens(0) * density(0, first) * second, 1.0)
            }
            _ => (opens(0) * weights(0)[0], opens(0) * density(0, first)),
        };
        let (expected, otherwise) = (-expected.ln(), -otherwise.ln());
        assert!((expected - otherwise).abs() > 0.3, "{row}: no difference");
        let nll = reference::nll(&model, &image, told).unwrap();
        assert!(
            (nll - expected).abs() < 1e-6,
            "{row}: {nll}, not {expected}"
        );
        assert!(
            (scored + expected).abs() < 1e-4,
            "{row}: {scored}, not {}",
            -expected
        );
    }
}

const LIMITED: &str = "
stage = [{square = 3, units_per_pixel = 2, layers = 1}, {layers = 1}]
[likelihood]
kind = 'dc'
components = 3
upper = 90.0
[condition]
names = ['signal', 'all']
total = 'all'
[train]
epochs = 3
batch = 32
learning_rate = 1e-2
running_sums = 1.0
validation = 0.1
";

#[test]
fn images_come_to_the_total_that_is_given() {
    let lab = Lab::trained(LIMITED);
    let generate = "generate --quiet --model run/model.safetensors";
    lab.ok(&format!(
        "{generate} --count 500 --given all=40 --out 40.h5"
    ));
    let drawn = lab.read("40.h5");
    assert_eq!(drawn.columns["given_all"], vec![40.0; 500]);
    let totals = drawn.images.totals();
    assert!(totals.iter().all(|t| *t <= 40.0 * 1.00001));
    let met = |t: &&f32| (**t - 40.0).abs() < 1e-3;
    assert!(totals.iter().filter(met).count() > 400, "{totals:?}");
    // No pixel is beyond the range, however much is left.
    lab.ok(&format!(
        "{generate} --count 300 --given signal=1,all=500 --out 500.h5"
    ));
    let drawn = lab.read("500.h5").images;
    assert!(
        drawn
            .iter()
            .all(|(_, values)| values.iter().all(|x| *x <= 90.0))
    );
    // Nothing comes of nothing, and less is an error.
    lab.ok(&format!(
        "{generate} --count 20 --given signal=1,all=0 --out 0.h5"
    ));
    assert_eq!(lab.read("0.h5").images.nonzeros(), 0);
    lab.refuses(
        &format!("{generate} --count 20 --given signal=1,all=-5 --out no.h5"),
        &["'all'", "is -5,", "must not be negative"],
    );
    // Untold, the totals are those of the training images.
    lab.ok(&format!("{generate} --count 2000 --out drawn.h5"));
    let drawn = lab.read("drawn.h5");
    let mean = |totals: &[f32]| totals.iter().sum::<f32>() / totals.len() as f32;
    let (found, wanted) = (
        mean(&drawn.images.totals()),
        mean(&lab.read("data.h5").images.totals()),
    );
    assert!(
        (found - wanted).abs() < 0.1 * wanted,
        "{found}, not {wanted}"
    );
    // Rows of a file have the totals of its images.
    lab.ok(&format!("{generate} --given-from data.h5 --out rows.h5"));
    let data = lab.read("data.h5").images.totals();
    assert_eq!(lab.read("rows.h5").columns["given_all"], data);
    // What a file says of it is not asked.
    let images = lab.read("data.h5");
    let mut columns: BTreeMap<String, Vec<f32>> =
        BTreeMap::from([("signal".into(), images.columns["signal"].clone())]);
    columns.insert("all".into(), vec![1.0; images.images.len()]);
    let options = WriteOptions {
        height: 7,
        width: 7,
        ..WriteOptions::default()
    };
    write(&lab.path("wrong.h5"), &images.images, &columns, &options).unwrap();
    let score = |file: &str| {
        lab.ok(&format!(
            "score --quiet --model run/model.safetensors --data {file} --out s.h5 --force"
        ));
        column(&lab.path("s.h5"), "log_likelihood")
    };
    assert_eq!(score("wrong.h5"), score("data.h5"));
    // The same images whatever the shard, with a packed model as with any.
    lab.ok("pack --model run/model.safetensors --out packed.safetensors");
    let packed = "generate --quiet --model packed.safetensors";
    lab.ok(&format!("{packed} --count 60 --out p.h5"));
    lab.ok(&format!("{packed} --first 20 --count 30 --out q.h5"));
    let (p, q) = (lab.read("p.h5"), lab.read("q.h5"));
    assert_eq!(p.images.gather(20..50), q.images);
    assert_eq!(p.columns["given_all"][20..50], q.columns["given_all"]);
    // An image that was drawn has a likelihood, given what it came to.
    assert!(score("drawn.h5").iter().all(|l| l.is_finite()));
    lab.refuses(
        "score --model run/model.safetensors --data data.h5 --given all=40 --out no.h5",
        &["'all' is the sum of each image's pixels", "--given"],
    );
}

const FROM_A_LOWER_END: &str = "
stage = [{square = 3, units_per_pixel = 2, layers = 1}, {layers = 1}]
[likelihood]
kind = 'dc'
components = 3
space = 'log'
unit = 3.0
[input]
unit = 30.0
left = 4
[condition]
names = ['signal', 'all']
total = 'all'
[train]
epochs = 6
batch = 32
learning_rate = 1e-2
validation = 0.1
";

/// Thousands of images of a trained model: no pixel below the smallest of the data, and what does not come to its total fell short
/// of it by no less than that.
#[test]
fn no_pixel_is_below_the_lower_end_and_totals_are_kept() {
    let lab = Lab::empty();
    write_images(&lab.path("data.h5"), 1000, 7, 1, &[]);
    lab.file("config.toml", FROM_A_LOWER_END);
    lab.ok("train --quiet --data data.h5 --config config.toml --out run --set input.left=5 --threads 2");
    let smallest = |name: &str| {
        let images = lab.read(name).images;
        images.csr().2.iter().fold(f32::INFINITY, |m, x| m.min(*x))
    };
    // The lower end is filled in from the data.
    let info = lab.json("info --json run/model.safetensors");
    let likelihood = &info["config"]["likelihood"];
    let lower = likelihood["lower"].as_f64().unwrap() as f32;
    assert_eq!(lower, smallest("data.h5"));
    assert_eq!(likelihood["space"], "log");
    assert_eq!(info["config"]["input"]["left"], 5);
    let tensors = info["tensors"].as_array().unwrap();
    let shown: Vec<_> = (tensors.iter())
        .filter(|t| t["name"].as_str().unwrap().ends_with("left.weight"))
        .map(|t| t["shape"].clone())
        .collect();
    assert_eq!(
        shown,
        [
            serde_json::json!([9, 10, 5]),
            serde_json::json!([40, 10, 5])
        ]
    );

    let generate = "generate --quiet --model run/model.safetensors";
    lab.ok(&format!("{generate} --count 6000 --out drawn.h5"));
    let drawn = lab.read("drawn.h5");
    assert!(smallest("drawn.h5") >= lower);
    let (mut met, mut short) = (0, 0);
    for (sum, told) in drawn
        .images
        .totals()
        .iter()
        .zip(&drawn.columns["given_all"])
    {
        match (told - sum).abs() < 1e-5 * told {
            true => met += 1,
            false => {
                assert!(*sum < told - 0.99 * lower, "{sum} of {told}");
                short += 1;
            }
        }
    }
    println!("{met} of {} come to their totals", met + short);
    assert!(met > 20 * short, "{met} and {short}");
    // An image that was drawn has a likelihood; so have those that it learnt from.
    for file in ["drawn.h5", "data.h5"] {
        lab.ok(&format!(
            "score --quiet --model run/model.safetensors --data {file} --out s.h5 --force"
        ));
        let scores = column(&lab.path("s.h5"), "log_likelihood");
        assert!(scores.iter().all(|score| score.is_finite()), "{file}");
    }
    // Two shards and any number of threads are the whole.
    lab.ok(&format!(
        "{generate} --first 100 --count 50 --threads 1 --out shard.h5"
    ));
    assert_eq!(lab.read("shard.h5").images, drawn.images.gather(100..150));
    // Packed and unpacked it is what it was, but for what packing rounds.
    lab.ok("pack --model run/model.safetensors --out packed.safetensors");
    lab.ok("unpack --model packed.safetensors --out unpacked.safetensors");
    for file in ["packed", "unpacked"] {
        lab.ok(&format!(
            "generate --quiet --model {file}.safetensors --count 200 --out {file}.h5"
        ));
    }
    assert_eq!(lab.read("packed.h5").images, lab.read("unpacked.h5").images);
    assert!(smallest("packed.h5") >= lower);
    // Killed after two epochs and resumed it is the same model.
    let train = "train --quiet --data data.h5 --config config.toml --set input.left=5";
    lab.ok(&format!("{train} --epochs 2 --out again --threads 1"));
    lab.ok(&format!("{train} --epochs 6 --out again --resume"));
    let model = |run: &str| common::read_model(&lab.path(&format!("{run}/model.safetensors")));
    assert_eq!(model("again").parameters, model("run").parameters);
}

#[test]
fn totals_that_make_no_sense_are_refused() {
    let lab = Lab::new();
    for (toml, words) in [
        (
            "[condition]\nnames = ['signal']\ntotal = 'all'",
            ["condition.total", "one of condition.names"],
        ),
        (
            "[likelihood]\nkind = 'dd'\n[condition]\nnames = ['all']\ntotal = 'all'",
            ["condition.total", "2 components or more"],
        ),
        (
            "[likelihood]\nkind = 'dc'\ncomponents = 1\n[condition]\nnames = ['all']\ntotal = 'all'",
            ["condition.total", "2 components or more"],
        ),
        (
            "[input]\nleft = 2\n[condition]\nnames = ['signal']",
            ["input.left", "wants condition.total"],
        ),
        (
            "[input]\nleft = 9\n[condition]\nnames = ['all']\ntotal = 'all'",
            ["input.left", "8"],
        ),
        (
            "[input]\nleft = 1\n[condition]\nnames = ['all']\ntotal = 'all'\nmean = [0.0]\nscale = [1.0]",
            ["condition.mean", "must be positive"],
        ),
    ] {
        lab.file("bad.toml", toml);
        lab.refuses("train --data data.h5 --config bad.toml --out no", &words);
    }
}
