//! What `kernels/common/device.cuh` promises: the emulation and a card must give the same.

use std::sync::Arc;

use bytemuck::{Pod, Zeroable};
use half::bf16;
use sarm::device::cuda::device::{Address, Device, Launch, Memory};

use crate::kernels::case::{Case, Demand, Output, Prepared, Size, poisoned};

/// Cases of `kernels/common/contract.cu`.
pub fn cases(size: Size) -> Vec<Case> {
    // Of no interest to a bench.
    if size == Size::Full {
        return Vec::new();
    }
    let case = |name: &str, prepare: fn(&Arc<dyn Device>) -> Prepared| Case {
        name: format!("contract/{name}"),
        prepare: Box::new(prepare),
    };
    vec![
        case("warp", warp),
        case("matrix", matrix),
        case("copy", copy),
        case("grid", grid),
    ]
}

/// Numbers in -1 .. 1 that look random and are bf16.
pub fn values(count: usize, salt: u32) -> Vec<f32> {
    let mut state = salt.wrapping_mul(2_654_435_761).wrapping_add(1);
    (0..count)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            bf16::from_f32(state as f32 / (1u64 << 31) as f32 - 1.0).to_f32()
        })
        .collect()
}

fn halves(values: &[f32]) -> Vec<bf16> {
    values.iter().map(|v| bf16::from_f32(*v)).collect()
}

fn prepared(launch: Launch, outputs: Vec<Output>, memory: Vec<Box<dyn std::any::Any>>) -> Prepared {
    Prepared {
        launches: vec![launch],
        outputs,
        demand: Demand::default(),
        memory,
    }
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct WarpContract {
    values: Address,
    shuffled: Address,
    voted: Address,
}

fn warp(device: &Arc<dyn Device>) -> Prepared {
    let given = values(32, 1);
    let memory = Memory::from(device, &given).unwrap();
    let shuffled = Arc::new(poisoned::<f32>(device, 96));
    let voted = Arc::new(poisoned::<u32>(device, 32));
    let parameter = WarpContract {
        values: memory.address(),
        shuffled: shuffled.address(),
        voted: voted.address(),
    };
    let from = |lane: usize| f64::from(given[lane]);
    let mut exact: Vec<f64> = (0..32).map(|l| from((l + 5) % 32)).collect();
    exact.extend((0..32).map(|l| from(l ^ 9)));
    exact.extend((0..32).map(|l| from(if l + 4 < 32 { l + 4 } else { l })));
    let votes = (0..32).fold(0u32, |v, l| v | u32::from(given[l] >= 0.0) << l);
    prepared(
        Launch::new("contract_warp", 1, 32, &parameter),
        vec![
            Output::exactly("shuffled", &shuffled, exact),
            Output::exactly("voted", &voted, vec![f64::from(votes); 32]),
        ],
        vec![Box::new(memory)],
    )
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct MatrixContract {
    left: Address,
    left_transposed: Address,
    right: Address,
    right_transposed: Address,
    sums: Address,
    results: Address,
}

fn transposed(values: &[f32], rows: usize) -> Vec<f32> {
    let columns = values.len() / rows;
    (0..values.len())
        .map(|i| values[i % rows * columns + i / rows])
        .collect()
}

fn matrix(device: &Arc<dyn Device>) -> Prepared {
    let (left, right, sums) = (values(256, 2), values(128, 3), values(128, 4));
    let memory = [
        &left,
        &transposed(&left, 16),
        &right,
        &transposed(&right, 16),
    ]
    .map(|m| Memory::from(device, &halves(m)).unwrap());
    let start = Memory::from(device, &sums).unwrap();
    let results = Arc::new(poisoned::<f32>(device, 4 * 128));
    let parameter = MatrixContract {
        left: memory[0].address(),
        left_transposed: memory[1].address(),
        right: memory[2].address(),
        right_transposed: memory[3].address(),
        sums: start.address(),
        results: results.address(),
    };
    let product = |i: usize| {
        let (row, column) = (i / 8, i % 8);
        let terms = (0..16).map(|k| (left[row * 16 + k], right[k * 8 + column]));
        let exact = terms.clone().fold(f64::from(sums[i]), |s, (a, b)| {
            s + f64::from(a) * f64::from(b)
        });
        let naive = terms.fold(sums[i], |s, (a, b)| s + a * b);
        (exact, f64::from(naive))
    };
    let (exact, naive): (Vec<f64>, Vec<f64>) = (0..4 * 128).map(|i| product(i % 128)).unzip();
    let output = Output::of("results", &results, exact, naive);
    prepared(
        Launch::new("contract_matrix", 1, 32, &parameter).with_shared(2 * (2 * 256 + 2 * 128)),
        vec![output],
        vec![Box::new(memory), Box::new(start)],
    )
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct CopyContract {
    from: Address,
    copied: Address,
    values: Address,
    rounded: Address,
    widened: Address,
}

fn copy(device: &Arc<dyn Device>) -> Prepared {
    let rows = values(17 * 8, 5);
    let mut given: Vec<f32> = values(64, 6).iter().map(|v| v * 1.2345).collect();
    // Ties to even, both ways; the largest; zeros of both signs; below the normal numbers; overflow.
    let special = [
        0x3F80_8000,
        0x3F81_8000,
        0x7F7F_0000,
        0x0000_0000,
        0x8000_0000,
        0x0000_8001,
        0x3F80_8001,
        0x7F7F_FFFF,
    ];
    for (value, bits) in given.iter_mut().zip(special) {
        *value = f32::from_bits(bits);
    }
    let from = Memory::from(device, &halves(&rows)).unwrap();
    let to_round = Memory::from(device, &given).unwrap();
    let copied = Arc::new(poisoned::<u16>(device, 17 * 8));
    let rounded = Arc::new(poisoned::<u16>(device, 64));
    let widened = Arc::new(poisoned::<u32>(device, 64));
    let parameter = CopyContract {
        from: from.address(),
        copied: copied.address(),
        values: to_round.address(),
        rounded: rounded.address(),
        widened: widened.address(),
    };
    // By bytes, as row i has i of them.
    let cut = |i: usize| {
        let bytes = bf16::from_f32(rows[i]).to_bits().to_le_bytes();
        let at = 2 * (i % 8);
        let kept = |k: usize| if at + k < i / 8 { bytes[k] } else { 0 };
        f64::from(u16::from_le_bytes([kept(0), kept(1)]))
    };
    let bits = |v: &f32| f64::from(bf16::from_f32(*v).to_bits());
    let wide = |v: &f32| f64::from(u32::from(bf16::from_f32(*v).to_bits()) << 16);
    prepared(
        Launch::new("contract_copy", 1, 32, &parameter).with_shared(17 * 16),
        vec![
            Output::exactly("copied", &copied, (0..17 * 8).map(cut).collect()),
            Output::exactly("rounded", &rounded, given.iter().map(bits).collect()),
            Output::exactly("widened", &widened, given.iter().map(wide).collect()),
        ],
        vec![Box::new(from), Box::new(to_round)],
    )
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct GridContract {
    barrier: Address,
    counter: Address,
    seen: Address,
}

fn grid(device: &Arc<dyn Device>) -> Prepared {
    let barrier = Memory::<u32>::zeros(device, 2).unwrap();
    let counter = Memory::<u32>::zeros(device, 1).unwrap();
    let (blocks, threads) = (3, 64);
    let seen = Arc::new(poisoned::<u32>(device, 2 * blocks * threads));
    let parameter = GridContract {
        barrier: barrier.address(),
        counter: counter.address(),
        seen: seen.address(),
    };
    let all = blocks * threads;
    let exact = (0..2 * all).map(|i| (all * (1 + i / all)) as f64).collect();
    let mut launch = Launch::new("contract_grid", blocks as u32, threads as u32, &parameter);
    launch.cooperative = true;
    prepared(
        launch,
        vec![Output::exactly("seen", &seen, exact)],
        vec![Box::new(barrier), Box::new(counter)],
    )
}
