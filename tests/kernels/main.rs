//! The kernels of `kernels/`, against float64.
//!
//! A new operation is a file of cases beside this one (`pub fn cases(size: Size) -> Vec<Case>`, see `case.rs`) and
//! one line in [`table`]. Its kernel is any `.cu` in `kernels/`: the emulation compiles them all.
//!
//!     cargo test --test kernels                                  all of it, under emulation
//!     SARM_TEST_CASE=linear/forward cargo test --test kernels    cases whose names contain this
//!     SARM_EMULATION_SEED=7 cargo test --test kernels            other schedules of threads and blocks
//!     SARM_TEST_DEVICE=cuda cargo test --features cuda --test kernels    on the card
//!     SARM_EMULATION_FLAGS="-g -O0" ...                          more options for the C++ compiler (CXX)
//!
//! A failure names the case, the kernel, and the seed that brings it back.

mod case;
mod contract;
#[path = "../emulation/mod.rs"]
mod emulation;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use case::{Case, Prepared, Size};
use emulation::Emulation;
use sarm::engine::cuda::device::Device;

/// Every operation at every shape.
pub fn table(size: Size) -> Vec<Case> {
    [contract::cases(size)].into_iter().flatten().collect()
}

/// Cases that `SARM_TEST_CASE` asks for.
fn chosen() -> Vec<Case> {
    let wanted = std::env::var("SARM_TEST_CASE").unwrap_or_default();
    let mut cases = table(Size::Small);
    cases.retain(|case| case.name.contains(&wanted));
    assert!(
        !cases.is_empty(),
        "no case has a name that contains '{wanted}'"
    );
    cases
}

/// The device under test, a fresh one for every case.
fn device() -> Arc<dyn Device> {
    match std::env::var("SARM_TEST_DEVICE").as_deref() {
        Err(_) | Ok("emulation") => Emulation::new().device(),
        Ok("cuda") => sarm::engine::cuda::driver::open(0).unwrap_or_else(|e| panic!("{e}")),
        Ok(other) => panic!("SARM_TEST_DEVICE={other}: it must be 'emulation' or 'cuda'"),
    }
}

/// Launch all that a case asks for.
fn run(device: &Arc<dyn Device>, prepared: &Prepared) -> Result<(), String> {
    for launch in &prepared.launches {
        // SAFETY: the case made the parameters for its launches, and holds the memory that they name.
        unsafe { device.launch(launch) }.map_err(|e| e.to_string())?;
    }
    device.synchronise().map_err(|e| e.to_string())
}

/// Run `test` on each of the chosen cases; fail in the end with all that failed.
fn for_each(test: impl Fn(&Case) -> Result<(), String>) {
    let mut failures = Vec::new();
    let cases = chosen();
    for case in &cases {
        match catch_unwind(AssertUnwindSafe(|| test(case))) {
            Ok(Ok(())) => {}
            Ok(Err(problem)) => failures.push(format!("{}: {problem}", case.name)),
            Err(_) => failures.push(format!("{}: panicked, see above", case.name)),
        }
    }
    assert!(
        failures.is_empty(),
        "{} of {} cases failed\n{}",
        failures.len(),
        cases.len(),
        failures.join("\n")
    );
}

#[test]
fn every_operation_agrees_with_float64() {
    for_each(|case| {
        let device = device();
        let prepared = (case.prepare)(&device);
        run(&device, &prepared)?;
        prepared
            .outputs
            .iter()
            .try_for_each(|o| o.check(&case.name))
    });
}
