//! The CPU: both samplers, and training.

use std::sync::Arc;
use std::time::Instant;

use super::paper::MultiplyAdds;
use super::{
    BenchError, Options, Rate, Report, SamplingResult, TrainingResult, processors_time, rate, vae,
};
use crate::families::sarm::Engine;
use crate::families::sarm::cpu::CpuEngine;
use crate::family::SamplingPlan;
use crate::numeric::LANES;

/// The machine's f32 matrix rate in GFLOP/s on `threads` threads: the `gemm` crate on 1024 x 1024.
pub fn gemm_gflops(threads: usize, seconds: f64) -> f64 {
    const N: usize = 1024;
    let number = |i: usize, item: u32| {
        let w = crate::random::words(1, crate::random::Purpose::Synthetic, i as u64, item);
        crate::random::unit(w[0]) - 0.5
    };
    let a: Vec<f32> = (0..N * N).map(|i| number(i, 0)).collect();
    let b: Vec<f32> = (0..N * N).map(|i| number(i, 1)).collect();
    let mut c = vec![0.0f32; N * N];
    let n = N as isize;
    let parallelism = gemm::Parallelism::Rayon(threads);
    let mut times = Vec::new();
    let start = Instant::now();
    while times.len() < 5 || start.elapsed().as_secs_f64() < seconds {
        let one = Instant::now();
        // SAFETY: the three matrices hold N * N numbers each, row-major with stride N, and `c` is borrowed alone.
        unsafe {
            gemm::gemm(
                N,
                N,
                N,
                c.as_mut_ptr(),
                1,
                n,
                false,
                a.as_ptr(),
                1,
                n,
                b.as_ptr(),
                1,
                n,
                0.0f32,
                1.0f32,
                false,
                false,
                false,
                parallelism,
            );
        }
        times.push(one.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    2.0 * (N * N * N) as f64 / times[times.len() / 2] / 1e9
}

/// Measure; `progress` is called with the name of each measurement.
pub fn run(
    options: &Options,
    report: &mut Report,
    progress: &dyn Fn(&str),
) -> Result<(), BenchError> {
    let engine = CpuEngine::new(options.threads)?;
    let device = engine.cpu().describe();
    progress("matrix rate");
    let gemm_gflops = gemm_gflops(engine.cpu().threads(), options.seconds.min(2.0));
    report.gemm_gflops = Some(gemm_gflops);
    report.machine.threads = engine.cpu().threads();
    report.machine.engine = device.clone();
    for paper in options.chosen() {
        let model = paper.model()?;
        for naive in [false, true] {
            if naive && options.skip_naive {
                continue;
            }
            let sampler_name = if naive { "naive" } else { "incremental" };
            progress(&format!("{}: {sampler_name} sampler", paper.name));
            let plan = SamplingPlan {
                seed: 7,
                naive,
                ..SamplingPlan::default()
            };
            let mut sampler = engine.sampler(&model, &plan)?;
            let batch = sampler.preferred_count();
            let mut first = 0;
            let mut drawn;
            // The naive sampler takes most of a minute for one batch: once, and cold, is enough.
            let images = if naive {
                let (one, on_processors) = (Instant::now(), processors_time());
                drawn = sampler.sample(0, batch)?;
                Rate {
                    second: batch as f64 / one.elapsed().as_secs_f64(),
                    cpu_second: batch as f64 / (processors_time() - on_processors),
                }
            } else {
                drawn = sampler.sample(0, LANES)?;
                rate(options.seconds, batch, || {
                    first += batch as u64;
                    drawn = sampler.sample(first, batch)?;
                    Ok(())
                })?
            };
            let occupancy = drawn.nonzeros() as f64 / (drawn.len() * drawn.pixels()) as f64;
            let work = match naive {
                true => MultiplyAdds::naive(&model),
                false => MultiplyAdds::of(&model, occupancy).total(),
            };
            report.sampling.push(SamplingResult {
                config: paper.name.into(),
                sampler: sampler_name,
                device: device.clone(),
                batch,
                images_per_second: images.second,
                images_per_core_hour: images.second * 3600.0 / engine.cpu().threads() as f64,
                images_per_cpu_second: images.cpu_second,
                bound_images_per_second: gemm_gflops * 1e9 / (2.0 * work),
                paper_images_per_second: paper.paper_images_per_second,
                occupancy,
            });
        }
        progress(&format!("{}: training", paper.name));
        let batch = 128;
        let mut trainer = engine.trainer(&model, Arc::new(paper.images(8 * batch)?))?;
        let mut step = 0u32;
        let images = rate(options.seconds, batch, || {
            let start = step % 8 * batch as u32;
            step += 1;
            let rows: Vec<u32> = (start..start + batch as u32).collect();
            trainer.step(&rows, 1e-4.into()).map(drop)
        })?;
        let work = MultiplyAdds::of(&model, paper.occupancy);
        report.training.push(TrainingResult {
            config: paper.name.into(),
            device: device.clone(),
            batch,
            images_per_second: images.second,
            images_per_cpu_second: images.cpu_second,
            bound_images_per_second: gemm_gflops * 1e9 / (6.0 * work.total()),
            paper_images_per_second: None,
        });
    }
    for config in options.chosen_vaes() {
        vae::run(engine.cpu(), *config, options, report, progress)?;
    }
    Ok(())
}
