//! Kernels with a defect (`kernels/emulation/broken/`): the harness must see each, and pass its sound twin.
//!
//! They are about the emulation, and are left out where the tests run on a card.

use std::sync::{Arc, OnceLock};

use bytemuck::{Pod, Zeroable};
use sarm::device::cuda::device::{Address, Device, Launch, Memory};

use super::{SCHEDULES, examine};
use crate::devices::emulated;
use crate::emulation::{Emulation, Kernels};
use crate::kernels::case::{Case, Demand, Output, Prepared, poisoned};
use crate::kernels::sanitizers::{self, Outcome};

/// How a defect shows.
enum Seen {
    /// In the results, or in an error of the launch: part of the message.
    Plainly(&'static str),
    /// By the sanitizers of addresses alone: part of what they print.
    BySanitizers(&'static str),
    /// By the one of races alone.
    ByRaces,
    /// By the end of the process: part of what it says first.
    ByFault(&'static str),
}
use Seen::{ByFault, ByRaces, BySanitizers, Plainly};

/// A kernel that is broken when it is told to be.
struct Defect {
    kernel: &'static str,
    blocks: u32,
    threads: u32,
    /// Bytes of shared memory that the sound kernel needs.
    shared: u32,
    cooperative: bool,
    /// Values given, and values in `out` (the first ones are looked at, the rest is room).
    sizes: (usize, usize),
    /// What must come out.
    expected: fn(&[f32]) -> Vec<f64>,
    seen: Seen,
}

/// Two blocks of 64 threads that pass values on.
fn defect(kernel: &'static str, expected: fn(&[f32]) -> Vec<f64>, seen: Seen) -> Defect {
    Defect {
        kernel,
        blocks: 2,
        threads: 64,
        shared: 64 * 4,
        cooperative: false,
        sizes: (128, 128),
        expected,
        seen,
    }
}

fn same(given: &[f32]) -> Vec<f64> {
    given.iter().map(|v| f64::from(*v)).collect()
}

/// Each value from `by` places on, around each run of `around`.
fn turned(given: &[f32], around: usize, by: usize) -> Vec<f64> {
    let from = |i: usize| f64::from(given[i / around * around + (i + by) % around]);
    (0..given.len()).map(from).collect()
}

fn sum(given: &[f32]) -> Vec<f64> {
    vec![given.iter().map(|v| f64::from(*v)).sum()]
}

fn product(given: &[f32]) -> Vec<f64> {
    let (left, right) = given.split_at(256);
    let term =
        |i: usize, k: usize| f64::from(left[i / 8 * 16 + k]) * f64::from(right[i % 8 * 16 + k]);
    (0..128)
        .map(|i| (0..16).map(|k| term(i, k)).sum())
        .collect()
}

fn defects() -> Vec<Defect> {
    let copies = |mut defect: Defect| {
        defect.shared = 64 * 16;
        defect.sizes = (512, 512);
        defect
    };
    vec![
        defect(
            "missing_barrier",
            |v| turned(v, 64, 32),
            Plainly("out: error"),
        ),
        defect(
            "missing_barrier_before_reuse",
            |v| turned(v, 64, 32),
            Plainly("out: error"),
        ),
        defect(
            "missing_warp_barrier",
            |v| turned(v, 32, 1),
            Plainly("out: error"),
        ),
        defect("shuffle_for_a_barrier", |v| turned(v, 32, 1), ByRaces),
        defect("vote_for_a_barrier", |v| turned(v, 32, 1), ByRaces),
        defect("matrix_before_its_barrier", same, ByRaces),
        Defect {
            sizes: (128, 129),
            ..defect("blocks_without_order", same, ByRaces)
        },
        copies(defect("source_written_under_way", same, ByRaces)),
        copies(defect(
            "missing_copy_wait",
            |v| turned(v, 256, 16),
            Plainly("out: error"),
        )),
        copies(defect(
            "waits_for_too_few_copies",
            |v| turned(v, 256, 16),
            Plainly("out: error"),
        )),
        copies(defect(
            "missing_barrier_after_copy",
            |v| turned(v, 256, 16),
            Plainly("out: error"),
        )),
        Defect {
            shared: 64 * 16,
            ..defect(
                "copy_in_flight_at_end",
                same,
                Plainly("while its asynchronous copy of synchronisation.cu:"),
            )
        },
        Defect {
            blocks: 4,
            threads: 32,
            cooperative: true,
            // The values on their way, and the barrier.
            sizes: (128, 2 * 128 + 2),
            ..defect(
                "missing_grid_barrier",
                |v| turned(v, 128, 32),
                Plainly("out: error"),
            )
        },
        defect(
            "barrier_in_divergent_code",
            same,
            Plainly("32 ended, 32 wait in block_barrier at synchronisation.cu:"),
        ),
        defect(
            "barriers_of_two_branches",
            same,
            Plainly("meet in different operations"),
        ),
        defect(
            "leaves_before_barrier",
            same,
            Plainly("24 ended, 40 wait in block_barrier at synchronisation.cu:"),
        ),
        defect(
            "shuffle_by_half_a_warp",
            same,
            Plainly("32 wait in shuffle_xor at synchronisation.cu:"),
        ),
        defect(
            "shuffle_meets_vote",
            same,
            Plainly("meet in different operations"),
        ),
        defect("read_past_end", same, BySanitizers("heap-buffer-overflow")),
        defect(
            "write_past_end",
            same,
            Plainly("writes past an allocation of 512 bytes"),
        ),
        defect(
            "write_before_start",
            same,
            Plainly("writes before an allocation of 512 bytes"),
        ),
        defect(
            "write_past_shared",
            same,
            Plainly("writes 4 bytes past its 256 bytes of shared memory"),
        ),
        defect("read_unwritten_shared", same, Plainly("out: error")),
        defect("read_nowhere", same, ByFault("kernel read_nowhere, block")),
        defect("large_frame", same, ByFault("kernel large_frame, block")),
        defect(
            "misaligned_vector",
            same,
            BySanitizers("misaligned address"),
        ),
        defect(
            "signed_overflow",
            same,
            BySanitizers("signed integer overflow"),
        ),
        defect(
            "misaligned_matrix_row",
            same,
            Plainly("is not aligned to 16 bytes"),
        ),
        Defect {
            blocks: 1,
            threads: 32,
            sizes: (384, 128),
            ..defect("wrong_fragment", product, Plainly("out: error"))
        },
        Defect {
            blocks: 100,
            threads: 32,
            sizes: (100, 1),
            ..defect(
                "sum_in_order_of_arrival",
                sum,
                Plainly("depends on the schedule"),
            )
        },
        Defect {
            blocks: 1,
            threads: 128,
            shared: 129 * 4,
            sizes: (128, 1),
            ..defect(
                "sum_in_order_of_threads",
                sum,
                Plainly("depends on the schedule"),
            )
        },
    ]
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Broken {
    input: Address,
    out: Address,
    count: u32,
    broken: u32,
}

/// The case that a test of the kernel would be.
fn case(defect: Defect, broken: bool) -> Case {
    Case {
        name: format!(
            "{}/{}",
            defect.kernel,
            if broken { "broken" } else { "sound" }
        ),
        prepare: Box::new(move |device| prepare(device, &defect, broken)),
    }
}

fn prepare(device: &Arc<dyn Device>, defect: &Defect, broken: bool) -> Prepared {
    let (count, room) = defect.sizes;
    let mut given = crate::kernels::contract::values(count, 9);
    if room == 1 {
        // With all the bits of float32, for otherwise sums would be exact; without signs, to be well-conditioned.
        given.iter_mut().for_each(|v| *v = (*v * 1.234_567).abs());
    }
    let expected = (defect.expected)(&given);
    let input = Memory::from(device, &given).unwrap();
    let out = poisoned::<f32>(device, room);
    if room != expected.len() || expected.len() == 1 {
        // A sum starts at 0, a grid barrier too.
        out.fill(0).unwrap();
    }
    let parameter = Broken {
        input: input.address(),
        out: out.address(),
        count: count as u32,
        broken: u32::from(broken),
    };
    let mut launch = Launch::new(defect.kernel, defect.blocks, defect.threads, &parameter)
        .with_shared(defect.shared);
    launch.cooperative = defect.cooperative;
    let looked_at = expected.len();
    Prepared {
        launches: vec![launch],
        outputs: vec![Output {
            name: "out",
            read: Box::new(move || {
                let values = out.to_vec().unwrap();
                values[..looked_at].iter().map(|v| f64::from(*v)).collect()
            }),
            naive: if looked_at == 1 {
                vec![f64::from(given.iter().sum::<f32>())]
            } else {
                expected.clone()
            },
            exact: expected,
            differences: Vec::new(),
        }],
        demand: Demand::default(),
        memory: vec![Box::new(input)],
    }
}

/// The broken kernels, apart from the project's.
fn kernels() -> Arc<Kernels> {
    static LOADED: OnceLock<Arc<Kernels>> = OnceLock::new();
    Arc::clone(LOADED.get_or_init(|| Kernels::load(&["emulation/broken"])))
}

/// What the harness says about the kernel.
fn verdict(defect: Defect, broken: bool) -> Result<(), String> {
    let device = |schedule: u64| Emulation::with(kernels(), 1 + schedule, 1 << 20).device();
    examine(&case(defect, broken), SCHEDULES, device)
}

#[test]
fn sound_twins_pass() {
    if !emulated() {
        return;
    }
    for defect in defects() {
        verdict(defect, false).unwrap();
    }
}

#[test]
fn sound_twins_pass_under_sanitizers() {
    if !emulated() {
        return;
    }
    let outcome = sanitizers::watched(
        "kernels::broken::sound_twins_pass",
        &["emulation/broken"],
        &[],
    );
    assert!(outcome.passed, "{}", outcome.output);
}

#[test]
fn defects_are_seen() {
    if !emulated() {
        return;
    }
    let mut missed = Vec::new();
    for defect in defects() {
        let kernel = defect.kernel;
        match defect.seen {
            Plainly(words) => match verdict(defect, true) {
                Err(problem) if problem.contains(words) => {}
                other => missed.push(format!("{kernel}: {other:?} instead of '{words}'")),
            },
            // Shown by the next tests; that nothing else shows it is why there are sanitizers.
            BySanitizers(_) | ByRaces => {
                if let Err(problem) = verdict(defect, true) {
                    missed.push(format!("{kernel}: no need of sanitizers: {problem}"));
                }
            }
            ByFault(words) => {
                let Outcome { passed, output } =
                    sanitizers::child("kernels::broken::one_defect", &[(DEFECT, kernel)]);
                if passed || !output.contains(words) {
                    missed.push(format!("{kernel}: no fault\n{output}"));
                }
            }
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

/// Which kernel [`one_defect`] runs.
const DEFECT: &str = "SARM_TEST_DEFECT";

/// Passes where the harness itself finds nothing.
#[test]
#[ignore = "a part of defects_are_seen and sanitizers_see_bad_addresses"]
fn one_defect() {
    let wanted = std::env::var(DEFECT).unwrap();
    let defect = defects().into_iter().find(|d| d.kernel == wanted).unwrap();
    verdict(defect, true).unwrap();
}

/// Passes whatever comes out: what looks for races has its own say.
#[test]
#[ignore = "a part of races_are_seen"]
fn one_defect_once() {
    let wanted = std::env::var(DEFECT).unwrap();
    let defect = defects().into_iter().find(|d| d.kernel == wanted).unwrap();
    let device = |schedule: u64| Emulation::with(kernels(), 1 + schedule, 1 << 20).device();
    let _ = examine(&case(defect, true), 0, device);
}

#[test]
fn sanitizers_see_bad_addresses() {
    if !emulated() {
        return;
    }
    // What guards around memory show without sanitizers is shown by these too, at the line of the kernel.
    let others = ["write_past_end", "write_before_start", "write_past_shared"];
    for defect in defects() {
        let words = match defect.seen {
            BySanitizers(words) => words,
            Plainly(_) if others.contains(&defect.kernel) => "heap-buffer-overflow",
            Plainly(_) | ByRaces | ByFault(_) => continue,
        };
        let Outcome { passed, output } = sanitizers::watched(
            "kernels::broken::one_defect",
            &["emulation/broken"],
            &[(DEFECT, defect.kernel)],
        );
        assert!(
            !passed && output.contains(words) && output.contains("memory.cu:"),
            "{} is not seen\n{output}",
            defect.kernel
        );
    }
}

/// The first thing that threads of a block or a grid do without the order that they need is a race, in any schedule.
#[test]
fn races_are_seen() {
    if !emulated() {
        return;
    }
    let others = [
        "missing_barrier",
        "missing_barrier_before_reuse",
        "missing_warp_barrier",
        "missing_copy_wait",
        "waits_for_too_few_copies",
        "missing_barrier_after_copy",
        "missing_grid_barrier",
    ];
    for defect in defects() {
        if !matches!(defect.seen, ByRaces) && !others.contains(&defect.kernel) {
            continue;
        }
        let Outcome { passed, output } = sanitizers::raced(
            "kernels::broken::one_defect_once",
            &["emulation/broken"],
            &[(DEFECT, defect.kernel)],
        );
        assert!(
            !passed && output.contains("data race") && output.contains("synchronisation.cu:"),
            "{} is not seen\n{output}",
            defect.kernel
        );
    }
}

#[test]
fn sound_twins_have_no_races() {
    if !emulated() {
        return;
    }
    let test = "kernels::broken::sound_twins_pass";
    let outcome = sanitizers::raced(test, &["emulation/broken"], &[]);
    assert!(outcome.passed, "{}", outcome.output);
}

/// A parameter of another size than the kernel's, blocks that are too large, no kernel: all refused.
#[test]
fn launches_that_do_not_fit_are_refused() {
    if !emulated() {
        return;
    }
    let device = Emulation::with(kernels(), 1, 1 << 20).device();
    let refused = |launch: Launch, words: &str| {
        // SAFETY: the kernel is never reached.
        let problem = unsafe { device.launch(&launch) }.unwrap_err().to_string();
        assert!(problem.contains(words), "{problem}");
    };
    let parameter = Broken::zeroed();
    refused(
        Launch::new("missing_barrier", 1, 32, &0u64),
        "8 bytes, the kernel's own 24",
    );
    refused(
        Launch::new("missing_barrier", 1, 160, &parameter),
        "160 threads a block",
    );
    refused(
        Launch::new("missing_barrier", 1, 33, &parameter),
        "33 threads a block",
    );
    refused(
        Launch::new("missing_barrier", 0, 32, &parameter),
        "no blocks",
    );
    refused(
        Launch::new("missing_kernel", 1, 32, &parameter),
        "no kernel of this name",
    );
    let large = Launch::new("missing_barrier", 1, 32, &parameter).with_shared(228 * 1024);
    refused(large, "bytes of shared memory");
}

/// Host copies that leave an allocation, and memory that there is not.
#[test]
fn host_errors_are_reported() {
    if !emulated() {
        return;
    }
    let device = Emulation::with(kernels(), 1, 1 << 10).device();
    let memory = Memory::<f32>::zeros(&device, 8).unwrap();
    let mut four = [0u8; 8];
    // SAFETY: the ranges do not lie in an allocation, which the emulation finds.
    let results = unsafe {
        [
            device.read(memory.at(7), &mut four),
            device.write(memory.at(7), &four),
            device.fill(Address(8), 0, 1),
        ]
    };
    for result in results {
        assert!(result.is_err());
    }
    assert!(Memory::<u8>::zeros(&device, 1025).is_err());
    assert_eq!(device.free_memory().unwrap(), 1024 - 32);
}
