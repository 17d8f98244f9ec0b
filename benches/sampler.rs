//! Drawing images: the incremental sampler at several block sizes, and the naive one.

mod common;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use sarm::families::sarm::Engine;
use sarm::families::sarm::cpu::CpuEngine;
use sarm::family::SamplingPlan;

fn sampler(c: &mut Criterion) {
    let engine = CpuEngine::new(0).unwrap();
    for name in ["jets-dc", "jets-dd"] {
        let model = common::jets(name);
        let mut group = c.benchmark_group(format!("{name}, {}", engine.cpu().describe()));
        let mut bench = |label: BenchmarkId, naive, block, count: usize| {
            let plan = SamplingPlan {
                seed: 7,
                naive,
                block,
                ..SamplingPlan::default()
            };
            let mut sampler = engine.sampler(&model, &plan).unwrap();
            let mut first = 0;
            group.throughput(Throughput::Elements(count as u64));
            group.bench_function(label, |b| {
                b.iter(|| {
                    first += count as u64;
                    sampler.sample(first, count).unwrap()
                })
            });
        };
        for block in [8, 16, 24, 32, 48, 64] {
            let count = common::size(2048, 40);
            bench(
                BenchmarkId::new("incremental", block),
                false,
                Some(block),
                count,
            );
        }
        // Seconds for every lane of 16 images: as few as keep all threads busy.
        let count = common::size(16 * engine.cpu().threads(), 16);
        bench(BenchmarkId::from_parameter("naive"), true, None, count);
    }
}

criterion_group! { name = benches; config = common::criterion(); targets = sampler }
criterion_main!(benches);
