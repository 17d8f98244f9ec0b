//! The kernels of `kernels/`, against float64.
//!
//! A new operation is a file of cases beside this one (`pub fn cases(size: Size) -> Vec<Case>`, see `case.rs`) and
//! one line in [`table`]. Its kernel is any `.cu` in `kernels/common/`, `kernels/sarm/` or `kernels/vae/`: the emulation compiles them all,
//! nvcc those that `build.rs` lists.
//!
//!     cargo test --test cuda kernels::                                 all of it, under emulation
//!     SARM_TEST_CASE=linear/forward cargo test --test cuda kernels::   cases whose names contain this
//!     SARM_EMULATION_SEED=7 cargo test --test cuda kernels::           other schedules of threads and blocks
//!     SARM_TEST_DEVICE=cuda cargo test --features cuda --test cuda kernels::    on the card
//!     cargo test --test cuda operations_pass_under_sanitizers          addresses; honours SARM_TEST_CASE
//!     cargo test --test cuda operations_have_no_races                  races; likewise
//!     SARM_EMULATION_FLAGS="-g -O0" ...                          more options for the C++ compiler (CXX)
//!
//! A failure names the case, the kernel, and the seed that brings it back.

pub mod broken;
pub mod case;
pub mod compact;
pub mod constants;
pub mod contract;
pub mod convolution;
pub mod convolution_weights;
pub mod deletions;
pub mod gather;
pub mod left;
pub mod levels;
pub mod likelihood;
pub mod linear;
pub mod mixture;
pub mod rates;
pub mod sample;
pub mod sanitizers;
pub mod step;
pub mod vae;
pub mod vae_loss;
pub mod vae_training;

use crate::devices::{card, emulated};
use crate::emulation;
use crate::emulation::build;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::emulation::Emulation;
use case::{Case, Prepared, Size};
use sarm::device::cuda::device::Device;

/// Every operation at every shape.
pub fn table(size: Size) -> Vec<Case> {
    [
        compact::cases(size),
        constants::cases(size),
        contract::cases(size),
        convolution::cases(size),
        convolution_weights::cases(size),
        gather::cases(size),
        mixture::cases(size),
        left::cases(size),
        levels::cases(size),
        linear::cases(size),
        rates::cases(size),
        sample::cases(size),
        step::cases(size),
        vae::cases(size),
        vae_loss::cases(size),
        vae_training::cases(size),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Schedules of threads and blocks that each case is run under.
const SCHEDULES: u64 = 4;

/// The device under test: the first card, or a fresh emulation with schedule number `schedule`.
fn device(schedule: u64) -> Arc<dyn Device> {
    match emulated() {
        true => Emulation::seeded(emulation::seed() + schedule).device(),
        false => card(),
    }
}

/// Values of each output, by its bits.
type Bits = Vec<Vec<u64>>;

fn bits(prepared: &Prepared) -> Bits {
    let bits = |values: Vec<f64>| values.into_iter().map(f64::to_bits).collect();
    prepared.outputs.iter().map(|o| bits((o.read)())).collect()
}

/// Launch all that a case asks for, one by one or as a recording.
fn run(device: &Arc<dyn Device>, prepared: &Prepared, recorded: bool) -> Result<(), String> {
    // SAFETY: the case made the parameters for its launches, and holds the memory that they name.
    let result = unsafe {
        if recorded {
            device
                .record(&prepared.launches)
                .and_then(|recording| recording.replay())
        } else {
            let mut launches = prepared.launches.iter();
            launches.try_for_each(|launch| device.launch(launch))
        }
    };
    result
        .and_then(|()| device.synchronise())
        .map_err(|e| e.to_string())
}

/// Run a case under `schedules` schedules and once more as a recording: each must be right, and all the same bits.
fn examine(
    case: &Case,
    schedules: u64,
    device: impl Fn(u64) -> Arc<dyn Device>,
) -> Result<(), String> {
    let mut first: Option<Bits> = None;
    for schedule in 0..=schedules {
        let recorded = schedule == schedules;
        let device = device(schedule);
        let prepared = (case.prepare)(&device);
        run(&device, &prepared, recorded).map_err(|e| format!("{}: {e}", case.name))?;
        let found = bits(&prepared);
        match &first {
            Some(first) if *first != found => {
                return Err(format!(
                    "{}: the result depends on the schedule of threads and blocks (the first, and number {schedule}{}, counted from SARM_EMULATION_SEED={})",
                    case.name,
                    if recorded { ", recorded" } else { "" },
                    emulation::seed()
                ));
            }
            Some(_) => {}
            // The same bits need no second look.
            None => prepared
                .outputs
                .iter()
                .try_for_each(|output| output.check(&case.name))?,
        }
        first.get_or_insert(found);
    }
    Ok(())
}

/// Cases that `SARM_TEST_CASE` asks for.
fn chosen() -> Vec<Case> {
    let wanted = std::env::var("SARM_TEST_CASE").unwrap_or_default();
    let mut cases = table(Size::Small);
    cases.retain(|case| case.name.contains(&wanted));
    cases
}

/// `test` of each of the chosen cases, on all processors; fails in the end with all that failed.
fn for_each(test: impl Fn(&Case) -> Result<(), String> + Sync) {
    let count = chosen().len();
    assert!(count > 0, "no case has a name that contains SARM_TEST_CASE");
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    let workers = match emulated() {
        // libtsan of gcc 12 has 8 128 threads: a block of 1 024 and their copies, for each worker.
        true if emulation::looks_for_races() => cores.min(3),
        true => cores,
        false => 1,
    };
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                let cases = chosen();
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let problem = match catch_unwind(AssertUnwindSafe(|| test(case))) {
                        Ok(Ok(())) => continue,
                        Ok(Err(problem)) => problem,
                        Err(_) => format!("{}: panicked, see above", case.name),
                    };
                    failures.lock().unwrap().push(problem);
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(
        failures.is_empty(),
        "{} of {count} cases failed\n{}",
        failures.len(),
        failures.join("\n")
    );
}

#[test]
fn operations_agree_with_float64_and_give_the_same_bits_under_any_schedule() {
    for_each(|case| examine(case, SCHEDULES, device));
}

/// No kernel is without a case, and no two cases have one name.
#[test]
fn every_kernel_has_a_case() {
    // The list is the emulation's.
    if !emulated() {
        return;
    }
    let device = Emulation::new().device();
    let mut without = emulation::Kernels::project().list();
    let mut names = BTreeSet::new();
    for case in table(Size::Small) {
        for launch in (case.prepare)(&device).launches {
            without.remove(launch.kernel);
        }
        assert!(names.insert(case.name.clone()), "two cases {}", case.name);
    }
    assert!(without.is_empty(), "no case launches {without:?}");
}

/// Every case once, for the sanitizers' child.
#[test]
#[ignore = "a part of operations_pass_under_sanitizers"]
fn operations_once() {
    for_each(|case| examine(case, 0, device));
}

#[test]
fn operations_pass_under_sanitizers() {
    if emulated() {
        let outcome = sanitizers::watched("kernels::operations_once", &build::PROJECT, &[]);
        assert!(outcome.passed, "{}", outcome.output);
    }
}

/// Of cases that launch the same kernels, how many races are looked for in.
const RACED: usize = 6;

/// The first cases of all kernels once, for the child that looks for races: a case takes it ten times as long and more.
#[test]
#[ignore = "a part of operations_have_no_races"]
fn first_operations_once() {
    let seen: Mutex<BTreeMap<Vec<&str>, usize>> = Mutex::default();
    for_each(|case| {
        let prepared = (case.prepare)(&device(0));
        let kernels = prepared.launches.iter().map(|launch| launch.kernel);
        let number = {
            let mut seen = seen.lock().unwrap();
            let number = seen.entry(kernels.collect()).or_default();
            *number += 1;
            *number
        };
        drop(prepared);
        match number <= RACED {
            true => examine(case, 0, device),
            false => Ok(()),
        }
    });
}

#[test]
fn operations_have_no_races() {
    if emulated() {
        let test = "kernels::first_operations_once";
        let outcome = sanitizers::raced(test, &build::PROJECT, &[]);
        assert!(outcome.passed, "{}", outcome.output);
    }
}
