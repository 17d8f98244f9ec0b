//! Every kernel at the paper's sizes, on a card: the cases of tests/cuda/kernels, random data, time by the card's
//! own clock, second-level cache overwritten before each run. Without a card, nothing is measured.

#[path = "common/mod.rs"]
mod criterion_mode;
#[path = "../tests/cuda/devices.rs"]
mod devices;
#[path = "../tests/cuda/emulation/mod.rs"]
mod emulation;
#[path = "../tests/cuda/kernels/mod.rs"]
#[allow(dead_code, unused_imports)]
mod kernels;
#[path = "../tests/support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use criterion::Criterion;
use kernels::case::Size;
use sarm::device::cuda::device::{Device, Memory};
use sarm::device::cuda::driver;

fn main() {
    let device = match driver::open(0) {
        Ok(device) => device,
        Err(why) => return eprintln!("kernels are not measured: {why}"),
    };
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(500))
        .configure_from_args();
    let size = match criterion_mode::testing() {
        true => Size::Small,
        false => Size::Full,
    };
    let mut work = BTreeMap::new();
    for case in kernels::table(size) {
        let prepared = (case.prepare)(&device);
        let needs = serde_json::json!({
            "matrix_operations": prepared.demand.matrix_operations,
            "bytes": prepared.demand.bytes,
        });
        work.insert(case.name.clone(), needs);
        write(&work);
        bench(&mut criterion, &device, &case.name, &prepared);
    }
    criterion.final_summary();
}

/// What each must do at the least, for reports that set times beside bounds (scripts/gpu-check). Before each
/// bench: a report on benches that were cut short has the bounds of those that ran.
fn write(work: &BTreeMap<String, serde_json::Value>) {
    if let Some(folder) = std::env::var_os("CRITERION_HOME") {
        let text = serde_json::to_string_pretty(work).unwrap();
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(std::path::Path::new(&folder).join("work.json"), text).unwrap();
    }
}

fn bench(
    criterion: &mut Criterion,
    device: &Arc<dyn Device>,
    name: &str,
    prepared: &kernels::case::Prepared,
) {
    let cache = device.properties().l2 as usize;
    let other: Memory<u8> = Memory::zeros(device, 2 * cache).unwrap();
    // SAFETY: the case made the parameters for its launches, and holds the memory that they name.
    let recording = unsafe { device.record(&prepared.launches) }.unwrap();
    criterion.bench_function(name, |b| {
        b.iter_custom(|times| {
            let seconds: f64 = (0..times)
                .map(|_| {
                    other.fill(1).unwrap();
                    device.time(recording.as_ref()).unwrap()
                })
                .sum();
            Duration::from_secs_f64(seconds)
        })
    });
}
