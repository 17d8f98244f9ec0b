//! VAEs on a CUDA device: the images of the CPU but for rounding to bf16, the same whatever is asked for and when.

use std::sync::Arc;

use sarm::conditions::{ConditionedImages, Conditions};
use sarm::data::{ImageSize, SparseImages};
use sarm::device::cuda::device::Device;
use sarm::device::{Cpu, Devices};
use sarm::families::vae::{Config, Vae};
use sarm::family::{Codes, Latent, Model, Sampler, SamplingPlan};

use crate::devices::{devices, emulated, under_test};
use crate::emulation::{self, Emulation};

const SEED: u64 = 0x0123_4567_89ab_cdef;
/// Numbers on either side of a multiple of 2^32.
const FIRST: u64 = (3 << 32) - 30;
const COUNT: usize = 60;

/// A plain decoder, sparse ones in either space, one that is told totals.
const LIKELIHOODS: [&str; 4] = [
    "perceptual = 0.0\nlower = 0.01\n",
    "perceptual = 0.0\n[likelihood]\nkind = 'dc'\ncomponents = 3\nspace = 'log'\nunit = 2.0\nlower = 1e-3\n",
    "perceptual = 0.0\n[likelihood]\nkind = 'dc'\ncomponents = 1\nunit = 2.0\nupper = 50.0\n",
    "perceptual = 0.0\n[likelihood]\nkind = 'dc'\ncomponents = 3\nspace = 'log'\nunit = 2.0\nlower = 1e-3\n[condition]\nnames = ['signal', 'pt']\ntotal = 'pt'\n",
];

fn model(likelihood: &str) -> Vae {
    let told = match likelihood.contains("[condition]") {
        true => "",
        false => "[condition]\nnames = ['signal']\n",
    };
    let text = format!(
        "[model]\nfamily = 'vae'\n[network]\nlatents = 3\nfilters = [5, 20, 7]\n[loss]\nunit = 20.0\n{likelihood}{told}"
    );
    let size = ImageSize {
        height: 9,
        width: 13,
    };
    Vae::untrained(&Config::parse(&text).unwrap(), size, 3).unwrap()
}

fn plan(model: &Vae, codes: Codes) -> SamplingPlan {
    let conditions = match model.config.condition.total {
        None => Conditions::new(1, vec![1.0, -0.5, 0.3]),
        // The second image is nothing.
        Some(_) => Conditions::new(2, vec![1.0, 4.0, -0.5, 0.0, 0.3, 2.5])
            .with_total(model.config.condition.total_over(9 * 13)),
    };
    SamplingPlan {
        seed: SEED,
        conditions,
        codes,
        ..SamplingPlan::default()
    }
}

fn draw(sampler: &mut dyn Sampler, first: u64, count: usize) -> SparseImages {
    let images = sampler.sample(first, count).unwrap();
    assert_eq!(images.len(), count);
    images
}

fn sampler_on(device: Arc<dyn Device>, model: &Vae, plan: &SamplingPlan) -> Box<dyn Sampler> {
    model.sampler(&devices(device), plan).unwrap()
}

fn all_codes() -> [Codes; 4] {
    let bound = Latent {
        number: 1,
        low: 0.5,
        high: f64::INFINITY,
    };
    [
        Codes::default(),
        Codes::Drawn(vec![bound]),
        Codes::Line {
            ends: [vec![-1.0, 2.0, 0.0], vec![1.0, -2.0, 0.5]],
            images: FIRST..FIRST + COUNT as u64,
        },
        Codes::Rows(vec![0.1, -0.2, 0.3, 1.1, 1.2, -1.3].into()),
    ]
}

#[test]
fn images_are_nearly_the_cpus() {
    let cpu = Devices::Cpu(Cpu::new(2).unwrap());
    for likelihood in LIKELIHOODS {
        let model = model(likelihood);
        for codes in all_codes() {
            let plan = plan(&model, codes);
            let found = draw(&mut *sampler_on(under_test(), &model, &plan), FIRST, COUNT);
            let want = draw(&mut *model.sampler(&cpu, &plan).unwrap(), FIRST, COUNT);
            let pixels = want.pixels();
            let mut dense = [(); 2].map(|()| vec![0.0f32; pixels]);
            let (mut near, mut nonzero) = (0, 0);
            for image in 0..COUNT {
                found.dense_into(image, &mut dense[0]);
                want.dense_into(image, &mut dense[1]);
                near += (dense[0].iter().zip(&dense[1]))
                    .filter(|(a, b)| (*a - *b).abs() <= 0.05 * a.max(**b) + 0.05)
                    .count();
                nonzero += dense[1].iter().filter(|x| **x > 0.0).count();
            }
            let near = near as f64 / (COUNT * pixels) as f64;
            let occupancy = nonzero as f64 / (COUNT * pixels) as f64;
            println!("{near:.4} of the pixels are near, {occupancy:.3} are not zero: {likelihood}");
            assert!((0.03..0.9).contains(&occupancy), "{occupancy}");
            // A decision that rounding tips is one in some hundreds; images of other codes or words differ in most nonzero pixels.
            assert!(near > 0.99, "{near}: {likelihood}{:?}", plan.codes);
        }
    }
}

#[test]
fn images_add_up_to_what_they_are_told() {
    let model = model(LIKELIHOODS[3]);
    let plan = plan(&model, Codes::default());
    for devices in [devices(under_test()), Devices::Cpu(Cpu::new(2).unwrap())] {
        let images = draw(&mut *model.sampler(&devices, &plan).unwrap(), FIRST, COUNT);
        for (number, sum) in (FIRST..).zip(images.totals()) {
            let want = plan.conditions.total(number).unwrap();
            assert!((sum - want).abs() <= 1e-5 * want, "{number}: {sum} {want}");
        }
        assert!(model.beyond(&images).is_empty());
    }
}

#[test]
fn images_are_the_same_whatever_is_asked_for_and_when() {
    for likelihood in LIKELIHOODS {
        let model = model(likelihood);
        for codes in all_codes() {
            let plan = plan(&model, codes);
            let whole = draw(&mut *sampler_on(under_test(), &model, &plan), FIRST, COUNT);
            let mut one = sampler_on(under_test(), &model, &plan);
            for (from, count) in [(31, 29), (30, 1), (0, 30), (3, 0), (5, 33)] {
                let found = draw(&mut *one, FIRST + from as u64, count);
                assert!(
                    found == whole.gather(from..from + count),
                    "{count} from {from}"
                );
            }
            one.announce(FIRST, 20).unwrap();
            one.announce(FIRST + 20, 40).unwrap();
            let mut parts = draw(&mut *one, FIRST, 20);
            parts.extend(&draw(&mut *one, FIRST + 20, 40));
            assert!(parts == whole, "announced: {likelihood}");
        }
    }
}

/// Schedules of threads and blocks, a device that does nothing before it is waited for, little memory, two devices.
#[test]
fn images_are_the_same_under_any_schedule_in_emulated_memory() {
    if !emulated() {
        return;
    }
    for likelihood in LIKELIHOODS {
        let model = model(likelihood);
        let plan = plan(&model, all_codes()[1].clone());
        let whole = draw(&mut *sampler_on(under_test(), &model, &plan), FIRST, COUNT);
        for seed in 1..4 {
            let device = Emulation::seeded(emulation::seed() + seed).device();
            let found = draw(&mut *sampler_on(device, &model, &plan), FIRST, COUNT);
            assert!(found == whole, "schedule {seed}: {likelihood}");
        }
        let late = || Emulation::late().device();
        let mut one = sampler_on(late(), &model, &plan);
        one.announce(FIRST, 40).unwrap();
        one.announce(FIRST + 40, 20).unwrap();
        let mut parts = draw(&mut *one, FIRST, 40);
        parts.extend(&draw(&mut *one, FIRST + 40, 20));
        assert!(parts == whole, "late: {likelihood}");

        let mut counts = vec![];
        for bits in (10..26).rev() {
            let device = late();
            let before = device.free_memory().unwrap();
            let plan = SamplingPlan {
                max_memory: Some(1 << bits),
                ..plan.clone()
            };
            let mut one = match model.sampler(&devices(Arc::clone(&device)), &plan) {
                Ok(one) => one,
                Err(e) => {
                    let text = e.to_string();
                    assert!(text.contains("memory") && text.contains("iB"), "{text}");
                    break;
                }
            };
            counts.push(one.preferred_count());
            let found = draw(&mut *one, FIRST, COUNT);
            assert!(
                found == whole,
                "{} at a time: {likelihood}",
                one.preferred_count()
            );
            let taken = before - device.free_memory().unwrap();
            assert!(
                taken <= 1 << bits,
                "{taken} bytes taken, {} allowed",
                1 << bits
            );
        }
        println!("images at a time by memory: {counts:?}");
        assert!(
            counts.len() > 2 && counts[counts.len() - 1] < COUNT,
            "{counts:?}"
        );

        let cards = ["cuda:0", "cuda:1"].map(|name| sarm::device::Card {
            name: name.into(),
            device: Emulation::new().device(),
        });
        let both = Devices::cards(cards.into()).unwrap();
        let found = draw(&mut *model.sampler(&both, &plan).unwrap(), FIRST, COUNT);
        assert!(found == whole, "two devices: {likelihood}");
    }
}

/// A gate, a number of a mixture, a plain decoder's pixel that is none: an error on either device, not an image.
#[test]
fn numbers_that_are_none_are_found() {
    for (likelihood, place, value) in [
        (0, 0, f32::NAN),
        (1, 0, f32::NAN),
        (1, 0, f32::NEG_INFINITY),
        (1, 4, f32::NAN),
        (3, 0, f32::NAN),
    ] {
        let mut model = model(LIKELIHOODS[likelihood]);
        let last = model
            .tensors()
            .iter()
            .position(|t| t.name == "decoder.3.bias");
        let mut parameters = model.parameters().to_vec();
        parameters[last.unwrap()][place] = value;
        model.set_parameters(parameters);
        let plan = plan(&model, Codes::default());
        for devices in [devices(under_test()), Devices::Cpu(Cpu::new(1).unwrap())] {
            let drawn = model.sampler(&devices, &plan).unwrap().sample(FIRST, 9);
            assert!(drawn.is_err(), "{value} at {place} of {likelihood}");
        }
    }
}

#[test]
fn what_a_card_does_not_do_is_said() {
    let model = model(LIKELIHOODS[1]);
    let card = devices(under_test());
    let mut images = SparseImages::new(9, 13).unwrap();
    images.push([]);
    let data = ConditionedImages {
        images,
        conditions: Conditions::new(1, vec![1.0]),
    };
    let encoded = model.encoder().unwrap().encode(&card, &data).err();
    let bounds = model
        .bounded()
        .unwrap()
        .bounds(&card, (&data, &[]), 4)
        .err();
    for refused in [encoded, bounds] {
        let text = refused.unwrap().to_string();
        assert!(
            text.contains("trained and drawn there, and no more); give --device cpu"),
            "{text}"
        );
    }
    let both = ["cuda:0", "cuda:1"].map(|name| sarm::device::Card {
        name: name.into(),
        device: under_test(),
    });
    let both = Devices::cards(both.into()).unwrap();
    let error = model.trainer(&both, Arc::new(data)).err().unwrap();
    let text = error.to_string();
    assert!(text.contains("training runs on one device"), "{text}");
    // 132 x 132 products of 18 numbers, for which no block has room.
    let text =
        "[model]\nfamily = 'vae'\n[network]\nfilters = [2, 2, 2]\n[loss]\nperceptual = 0.0\n";
    let size = ImageSize {
        height: 129,
        width: 129,
    };
    let large = Vae::untrained(&Config::parse(text).unwrap(), size, 3).unwrap();
    let plan = SamplingPlan::default();
    let text = large.sampler(&card, &plan).err().unwrap().to_string();
    assert!(text.contains("129 x 129 pixels are too large"), "{text}");
}
