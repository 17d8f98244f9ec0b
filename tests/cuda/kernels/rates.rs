//! The kernels that measure a card's rates: that they do what they count.

use std::sync::Arc;

use half::bf16;
use sarm::device::cuda::device::Memory;
use sarm::device::cuda::ops::rates::{
    OPERANDS, STREAM_STEP, copy_rate, matrix_operations, matrix_rate, matrix_sums, stream_rate,
    stream_sums,
};
use sarm::random::{Purpose, normal, words};

use crate::kernels::case::{Case, Demand, Output, Prepared, Size, poisoned};

fn number(i: usize, item: u32) -> f64 {
    normal(words(11, Purpose::Synthetic, i as u64, item))[0]
}

fn copying(words_to_copy: usize, checked: bool) -> Case {
    Case {
        name: format!("copy_rate/{words_to_copy} words"),
        prepare: Box::new(move |device| {
            // No two alike, and made in no time: the bench copies 2^28 of them.
            let values: Vec<u32> = (0..4 * words_to_copy as u32)
                .map(|i| i.wrapping_mul(0x9E37_79B9))
                .collect();
            let from = Memory::from(device, &values).unwrap();
            let to = Arc::new(poisoned::<u32>(device, values.len()));
            let bytes = 32.0 * words_to_copy as f64;
            let launch = copy_rate(
                device.properties(),
                from.address(),
                to.address(),
                words_to_copy as u64,
            );
            let output = || {
                let exact: Vec<f64> = values.iter().copied().map(f64::from).collect();
                Output::exactly("copy", &to, exact)
            };
            Prepared {
                launches: vec![launch],
                outputs: checked.then(output).into_iter().collect(),
                demand: Demand {
                    bytes,
                    ..Demand::default()
                },
                memory: vec![Box::new(from), Box::new(to)],
            }
        }),
    }
}

/// What thread `thread` of block `block` adds up in one round, modulo 2^32.
fn stream_sum(words: &[[u32; 4]], block: usize, blocks: usize, thread: usize) -> u32 {
    let start = block * words.len() / blocks;
    (thread..words.len())
        .step_by(STREAM_STEP as usize / 4)
        .map(|at| words[(start + at) % words.len()])
        .fold(0, |sum, w| sum.wrapping_add(w[0] ^ w[1] ^ w[2] ^ w[3]))
}

fn streaming(steps: u32, rounds: u32, checked: bool) -> Case {
    Case {
        name: format!("stream_rate/{steps} steps, {rounds} rounds"),
        prepare: Box::new(move |device| {
            let words = steps * STREAM_STEP;
            let hash = |i: u32| i.wrapping_mul(0x9E37_79B9) ^ i.rotate_left(7);
            let values: Vec<[u32; 4]> = (0..words)
                .map(|i| [0, 1, 2, 3].map(|j| hash(4 * i + j)))
                .collect();
            let from = Memory::from(device, &values).unwrap();
            let properties = device.properties().clone();
            let sums = Arc::new(poisoned::<u32>(device, stream_sums(&properties)));
            let launch = stream_rate(&properties, from.address(), sums.address(), words, rounds);
            let output = || {
                let blocks = properties.multiprocessors as usize;
                let threads = sums.len() / blocks;
                let sum = |i| stream_sum(&values, i / threads, blocks, i % threads);
                let exact = (0..sums.len())
                    .map(|i| f64::from(sum(i).wrapping_mul(rounds)))
                    .collect();
                Output::exactly("sums", &sums, exact)
            };
            Prepared {
                launches: vec![launch],
                outputs: checked.then(output).into_iter().collect(),
                // From device memory once; the rest comes out of the cache.
                demand: Demand {
                    bytes: 16.0 * f64::from(words),
                    ..Demand::default()
                },
                memory: vec![Box::new(from), Box::new(sums)],
            }
        }),
    }
}

/// Every lane's sum of its share of `rounds` products: fragments as PTX documents them for mma.m16n8k16.
fn lane_sums(operands: &[[bf16; 2]], rounds: f64) -> Vec<f64> {
    let element = |fragment: usize, lane: usize, half: usize| {
        f64::from(operands[fragment * 32 + lane][half].to_f32())
    };
    let left = |matrix: usize, row: usize, k: usize| {
        let register = row / 8 + 2 * (k / 8);
        element(4 * matrix + register, 4 * (row % 8) + k % 8 / 2, k % 2)
    };
    let right = |matrix: usize, k: usize, column: usize| {
        element(8 + 2 * matrix + k / 8, 4 * column + k % 8 / 2, k % 2)
    };
    (0..32)
        .map(|lane| {
            let mut total = 0.0;
            for i in 0..8 {
                for j in 0..4 {
                    let (row, column) = (lane / 4 + j / 2 * 8, 2 * (lane % 4) + j % 2);
                    let product = |k| left(i % 2, row, k) * right(i / 2 % 2, k, column);
                    total += (0..16).map(product).sum::<f64>();
                }
            }
            rounds * total
        })
        .collect()
}

fn multiplying(rounds: u32, checked: bool) -> Case {
    Case {
        name: format!("matrix_rate/{rounds} rounds"),
        prepare: Box::new(move |device| {
            let pair = |i| [0, 1].map(|half| bf16::from_f64(number(i, 1 + half)));
            let operands: Vec<[bf16; 2]> = (0..OPERANDS).map(pair).collect();
            let bits: Vec<u32> = operands
                .iter()
                .map(|[low, high]| u32::from(low.to_bits()) | u32::from(high.to_bits()) << 16)
                .collect();
            let from = Memory::from(device, &bits).unwrap();
            let properties = device.properties().clone();
            let sums = Arc::new(poisoned::<f32>(device, matrix_sums(&properties)));
            let launch = matrix_rate(&properties, from.address(), sums.address(), rounds);
            let lanes = lane_sums(&operands, f64::from(rounds));
            let exact: Vec<f64> = (0..sums.len()).map(|i| lanes[i % 32]).collect();
            let naive = exact.iter().map(|v| v * (1.0 + 1e-6)).collect();
            let output = Output::of("sums", &sums, exact, naive);
            Prepared {
                launches: vec![launch],
                outputs: if checked { vec![output] } else { Vec::new() },
                demand: Demand {
                    matrix_operations: matrix_operations(&properties, rounds),
                    bytes: 0.0,
                },
                memory: vec![Box::new(from), Box::new(sums)],
            }
        }),
    }
}

/// The cases of the table.
pub fn cases(size: Size) -> Vec<Case> {
    match size {
        Size::Small => vec![
            copying(1, true),
            copying(9001, true),
            streaming(3, 2, true),
            multiplying(3, true),
        ],
        // Copies that no cache holds; a fifth of a second of products at most.
        Size::Full => vec![
            copying(1 << 26, false),
            streaming(1 << 7, 16, false),
            multiplying(1 << 16, false),
        ],
    }
}
