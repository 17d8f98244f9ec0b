//! Several samplers that share a range draw what one draws alone.

use std::collections::HashSet;
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

use super::idle::Idle;
use crate::support::common::{CONFIGS, conditions, data, model};
use proptest::prelude::*;
use sarm::data::SparseImages;
use sarm::device::cuda::device::Properties;
use sarm::device::{Card, Devices};
use sarm::families::sarm::Engine;
use sarm::families::sarm::Sarm;
use sarm::families::sarm::cpu::CpuEngine;
use sarm::family::EngineError;
use sarm::family::several::Several;
use sarm::family::{Model, Scorer};
use sarm::family::{Sampler, SamplingPlan};

/// A range of image numbers.
type Range = (u64, usize);

/// What a sampler was asked for.
#[derive(Default)]
struct Heard {
    announced: Vec<Range>,
    asked: Vec<Range>,
    threads: HashSet<std::thread::ThreadId>,
}

/// A sampler that says what keeps it busy and keeps what it hears.
struct Spy {
    sampler: Box<dyn Sampler>,
    preferred: usize,
    heard: Arc<Mutex<Heard>>,
    /// Waits for the others.
    together: Option<Arc<Barrier>>,
    /// How long an image takes besides.
    slow: Duration,
    fails: bool,
}

impl Spy {
    fn hear(&self, list: fn(&mut Heard) -> &mut Vec<Range>, range: Range) {
        let mut heard = self.heard.lock().unwrap();
        list(&mut heard).push(range);
        heard.threads.insert(std::thread::current().id());
        drop(heard);
        if let Some(together) = &self.together {
            together.wait();
        }
    }
}

impl Sampler for Spy {
    fn sample(&mut self, first: u64, count: usize) -> Result<SparseImages, EngineError> {
        self.hear(|h| &mut h.asked, (first, count));
        std::thread::sleep(self.slow * count as u32);
        match self.fails {
            true => Err(EngineError::Device("the spy was caught".into())),
            false => self.sampler.sample(first, count),
        }
    }

    fn announce(&mut self, first: u64, count: usize) -> Result<(), EngineError> {
        self.hear(|h| &mut h.announced, (first, count));
        match self.fails {
            true => Err(EngineError::Device("the spy was caught early".into())),
            false => self.sampler.announce(first, count),
        }
    }

    fn preferred_count(&self) -> usize {
        self.preferred
    }
}

fn plan(model: &Sarm) -> SamplingPlan {
    SamplingPlan {
        seed: 3,
        conditions: conditions(model, 5, 3),
        ..SamplingPlan::default()
    }
}

fn cpu(model: &Sarm) -> Box<dyn Sampler> {
    let engine = CpuEngine::new(1).unwrap();
    engine.sampler(model, &plan(model)).unwrap()
}

fn spies(model: &Sarm, preferred: &[usize]) -> Vec<Spy> {
    preferred
        .iter()
        .map(|preferred| Spy {
            sampler: cpu(model),
            preferred: *preferred,
            heard: Arc::default(),
            together: None,
            slow: Duration::ZERO,
            fails: false,
        })
        .collect()
}

fn several(spies: Vec<Spy>) -> Several {
    let named = |(i, spy)| (format!("spy:{i}"), Box::new(spy) as Box<dyn Sampler>);
    Several::new(spies.into_iter().enumerate().map(named).collect()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_shares_give_the_images_of_one(
        preferred in proptest::collection::vec(0usize..50, 1..5), first in 0u64..1000,
        counts in proptest::collection::vec(0usize..60, 1..4), config in 0usize..3,
    ) {
        let (toml, height, width) = CONFIGS[config];
        let model = model(toml, height, width, 1, 0.3);
        let spies = spies(&model, &preferred);
        let heard: Vec<_> = spies.iter().map(|s| Arc::clone(&s.heard)).collect();
        let mut several = several(spies);
        let busy: usize = preferred.iter().map(|p| *p.max(&1)).sum();
        prop_assert_eq!(several.preferred_count(), busy);
        let mut next = first;
        for (number, count) in counts.into_iter().enumerate() {
            several.announce(next, count).unwrap();
            let images = several.sample(next, count).unwrap();
            prop_assert_eq!((images.height(), images.width()), (height, width));
            prop_assert!(images == cpu(&model).sample(next, count).unwrap());
            // What was announced to each is what it was asked for, and the shares are the range in order.
            let mut end = next;
            for (heard, preferred) in heard.iter().zip(&preferred) {
                let mut heard = heard.lock().unwrap();
                let asked = std::mem::take(&mut heard.asked);
                let announced = std::mem::take(&mut heard.announced);
                if count > 0 {
                    prop_assert_eq!(&asked, &announced);
                }
                for (from, share) in asked.iter().filter(|a| a.1 > 0) {
                    prop_assert_eq!(*from, end);
                    end += *share as u64;
                    // At first as large as it is busy, but for rounding.
                    let fair = (count * preferred.max(&1)) as f64 / busy as f64;
                    let is_fair = (*share as f64 - fair).abs() < 1.0 + 1e-9;
                    prop_assert!(number > 0 || is_fair, "{} of {}", share, fair);
                }
            }
            prop_assert_eq!(end, next + count as u64);
            next += count as u64;
        }
    }
}

/// Each waits for the others: one after the other they would wait forever.
#[test]
fn shares_are_drawn_at_the_same_time() {
    let model = model(CONFIGS[0].0, CONFIGS[0].1, CONFIGS[0].2, 1, 0.3);
    let together = Arc::new(Barrier::new(3));
    let mut spies = spies(&model, &[10, 10, 10]);
    for spy in &mut spies {
        spy.together = Some(Arc::clone(&together));
    }
    let mut several = several(spies);
    several.announce(5, 30).unwrap();
    assert!(several.sample(5, 30).unwrap() == cpu(&model).sample(5, 30).unwrap());
}

/// Memory keeps both equally busy, but one is a fifth as fast.
#[test]
fn the_faster_one_draws_more() {
    let model = model(CONFIGS[0].0, CONFIGS[0].1, CONFIGS[0].2, 1, 0.3);
    let mut spies = spies(&model, &[30, 30]);
    // Far above what drawing itself takes.
    spies[0].slow = Duration::from_millis(10);
    spies[1].slow = Duration::from_millis(2);
    let heard: Vec<_> = spies.iter().map(|s| Arc::clone(&s.heard)).collect();
    let mut several = several(spies);
    // Two are announced before anything is known.
    several.announce(0, 60).unwrap();
    several.announce(60, 60).unwrap();
    for first in [0, 60, 120] {
        let drawn = several.sample(first, 60).unwrap();
        assert!(drawn == cpu(&model).sample(first, 60).unwrap());
    }
    let counts = |spy: usize| -> Vec<usize> {
        let heard = heard[spy].lock().unwrap();
        heard.asked.iter().map(|range| range.1).collect()
    };
    let slow = counts(0);
    assert_eq!(slow[..2], [30, 30]);
    assert!((5..20).contains(&slow[2]), "{slow:?} {:?}", counts(1));
}

/// A range for one sampler needs no thread.
#[test]
fn small_ranges_wake_nobody() {
    let model = model(CONFIGS[0].0, CONFIGS[0].1, CONFIGS[0].2, 1, 0.3);
    let spies = spies(&model, &[10, 10, 10]);
    let heard: Vec<_> = spies.iter().map(|s| Arc::clone(&s.heard)).collect();
    several(spies).sample(8, 1).unwrap();
    let here = HashSet::from([std::thread::current().id()]);
    let busy: Vec<_> = heard.iter().map(|h| h.lock().unwrap()).collect();
    let busy: Vec<_> = busy.iter().filter(|h| !h.asked.is_empty()).collect();
    assert_eq!(busy.len(), 1);
    assert_eq!(
        (&busy[0].asked[..], &busy[0].threads),
        (&[(8, 1)][..], &here)
    );
}

#[test]
fn an_error_of_one_comes_out_with_its_name() {
    let model = model(CONFIGS[0].0, CONFIGS[0].1, CONFIGS[0].2, 1, 0.3);
    for broken in 0..3 {
        let mut spies = spies(&model, &[10, 20, 5]);
        spies[broken].fails = true;
        let mut several = several(spies);
        let problems = [
            several.announce(0, 35).unwrap_err(),
            several.sample(0, 35).unwrap_err(),
        ];
        for (problem, words) in problems.iter().zip(["early", "the spy was caught"]) {
            let said = problem.to_string();
            assert!(said.contains(words), "{said}");
            assert!(said.starts_with(&format!("spy:{broken}: ")), "{said}");
        }
    }
    assert!(Several::new(Vec::new()).is_err());
}

/// A card of this capability that nothing runs on.
fn card(number: usize, capability: (u32, u32)) -> Card {
    Card {
        name: format!("cuda:{number}"),
        device: Arc::new(Idle(Properties {
            name: "none".into(),
            uuid: None,
            capability,
            multiprocessors: 3,
            shared_per_block: 1 << 16,
            shared_per_multiprocessor: 1 << 16,
            l2: 1 << 20,
            memory: 8 << 30,
        })),
    }
}

#[test]
fn devices_of_one_kind_work_together() {
    let cards = |list: &[(u32, u32)]| {
        let cards = list.iter().enumerate().map(|(i, c)| card(i, *c));
        Devices::cards(cards.collect())
    };
    let alike = cards(&[(9, 0), (9, 0)]).unwrap();
    assert_eq!(alike.describe(), "2 x cuda, none, 3 multiprocessors, 8 GiB");
    assert_eq!(
        (alike.arithmetic().as_str(), alike.card_count()),
        ("bf16, sm_90", 2)
    );
    // One device's work is refused, with what to do.
    let model = model(CONFIGS[2].0, CONFIGS[2].1, CONFIGS[2].2, 1, 0.3);
    let data = data(&model, 3, 1, 0.3);
    for refused in [
        model.score(&alike, Arc::clone(&data)).err(),
        Model::trainer(&model, &alike, data).err(),
    ] {
        assert!(refused.unwrap().to_string().contains("give one"));
    }
    let mixed = cards(&[(9, 0), (9, 0), (8, 0)]).err().unwrap().to_string();
    for words in ["cuda:1 and cuda:2", "different images", "one kind"] {
        assert!(mixed.contains(words), "{mixed}");
    }
    assert!(cards(&[]).is_err());
}

#[test]
fn the_cpu_takes_no_limit_of_device_memory() {
    let model = model(CONFIGS[0].0, CONFIGS[0].1, CONFIGS[0].2, 1, 0.3);
    let plan = SamplingPlan {
        max_memory: Some(1 << 30),
        ..plan(&model)
    };
    let engine = CpuEngine::new(1).unwrap();
    let said = engine.sampler(&model, &plan).err().unwrap().to_string();
    assert!(
        said.contains("--max-memory") && said.contains("--device cuda"),
        "{said}"
    );
}
