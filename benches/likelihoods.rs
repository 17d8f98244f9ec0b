//! The two likelihoods of one positive pixel, with gradients and drawing; elements are pixels.

mod common;

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use sarm::model::Values;
use sarm::model::likelihood::{self, levels};
use sarm::random::{Purpose, normal, unit, words};

const PIXELS: usize = 1000;

fn numbers(count: usize, scale: f64) -> Vec<f32> {
    (0..count as u64)
        .map(|i| (scale * normal(words(8, Purpose::Synthetic, i, 1))[0]) as f32)
        .collect()
}

fn gate(c: &mut Criterion) {
    let logits = numbers(PIXELS, 2.0);
    let mut group = c.benchmark_group("gate");
    group.throughput(Throughput::Elements(PIXELS as u64));
    group.bench_function("nll and gradient", |b| {
        b.iter(|| {
            let cost =
                |(i, g): (usize, &f32)| likelihood::gate(*g, if i % 10 == 0 { 1.0 } else { -1.0 });
            let all = logits.iter().enumerate().map(cost);
            all.fold((0.0, 0.0), |sum, c| (sum.0 + c.0, sum.1 + c.1))
        })
    });
}

fn mixture(c: &mut Criterion) {
    let Values::Mixture(mixture) = common::jets("jets-dc").values() else {
        unreachable!("jets-dc is D+C")
    };
    let p = 3 * mixture.components;
    let values = numbers(PIXELS * p, 1.0);
    let pixels: Vec<(f32, f32, f32)> = (0..PIXELS as u64)
        .map(|i| {
            let w = words(8, Purpose::Synthetic, i, 2);
            (-3.0 * unit(w[0]).ln(), unit(w[1]), unit(w[2]))
        })
        .collect();
    let mut gradient = vec![0.0f32; p];
    let mut group = c.benchmark_group("D+C, 5 components");
    group.throughput(Throughput::Elements(PIXELS as u64));
    group.bench_function("nll", |b| {
        b.iter(|| {
            let costs = pixels.iter().zip(values.chunks_exact(p));
            costs.map(|((x, _, _), v)| mixture.nll(*x, v)).sum::<f32>()
        })
    });
    group.bench_function("nll and gradient", |b| {
        b.iter(|| {
            for ((x, _, _), v) in pixels.iter().zip(values.chunks_exact(p)) {
                black_box(mixture.nll_and_gradient(*x, v, black_box(&mut gradient)));
            }
        })
    });
    group.bench_function("draw", |b| {
        b.iter(|| {
            let drawn = pixels.iter().zip(values.chunks_exact(p));
            drawn
                .map(|((_, a, b), v)| mixture.draw(v, *a, *b))
                .sum::<f32>()
        })
    });
}

fn softmax(c: &mut Criterion) {
    let Values::Levels(grid) = common::jets("jets-dd").values() else {
        unreachable!("jets-dd is D+D")
    };
    let n = grid.len();
    let logits = numbers(PIXELS * n, 1.5);
    let levels_of: Vec<usize> = (0..PIXELS as u64)
        .map(|i| words(8, Purpose::Synthetic, i, 3)[0] as usize % n)
        .collect();
    let mut group = c.benchmark_group(format!("D+D, {n} levels"));
    group.throughput(Throughput::Elements(PIXELS as u64));
    // The logits become the derivatives: a fresh copy for every run, made outside the clock.
    group.bench_function("nll and gradient", |b| {
        b.iter_batched_ref(
            || logits.clone(),
            |logits| {
                let costs = logits.chunks_exact_mut(n).zip(&levels_of);
                costs
                    .map(|(l, level)| levels::softmax_nll(l, *level))
                    .sum::<f32>()
            },
            BatchSize::LargeInput,
        )
    });
    group.bench_function("draw", |b| {
        b.iter_batched_ref(
            || logits.clone(),
            |logits| {
                let picks = logits.chunks_exact_mut(n).enumerate();
                picks
                    .map(|(i, l)| levels::draw(l, (i as f32 + 0.5) / PIXELS as f32))
                    .sum::<usize>()
            },
            BatchSize::LargeInput,
        )
    });
}

criterion_group! { name = benches; config = common::criterion(); targets = gate, mixture, softmax }
criterion_main!(benches);
