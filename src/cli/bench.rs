//! `sarm bench`

use std::path::PathBuf;

use super::{Global, print_json};
use crate::bench::{CardReport, DrawingRate, Options, Report, run};

/// Measure images per second and compare with the papers' tables.
///
/// Models have random weights and the papers' sparsity; images stay in memory. The bound is the rate that this machine's
/// measured matrix rate allows for the multiply-adds that no exact sampler can avoid (naive sampler: for whole matrices
/// at every pixel). With a card, it also measures sampling there (1 to 1 000 000 images: on the card alone, into memory,
/// onto disk) and training at three batch sizes; with --device cuda, only those.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  sarm bench --json > bench.json")]
pub struct Bench {
    /// Configurations to measure: jets-dc, jets-dd, muons-dc, muons-dd, jets-vae, jets-sparse-vae [default: all].
    #[arg(long, value_name = "NAME,..", value_delimiter = ',')]
    config: Vec<String>,
    /// Seconds to spend on each measurement.
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 5.0,
        allow_negative_numbers = true
    )]
    seconds: f64,
    /// Skip the naive sampler (it takes minutes).
    #[arg(long)]
    skip_naive: bool,
    /// Directory for the images that a card writes to disk; they are deleted afterwards [default: the temporary
    /// directory].
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Small networks and batches, to see that everything runs: the figures say nothing.
    #[arg(long)]
    tiny: bool,
    /// Print JSON instead of tables.
    #[arg(long)]
    json: bool,
}

impl Bench {
    pub fn run(self, global: &Global) -> anyhow::Result<()> {
        if !(self.seconds > 0.0 && self.seconds <= 3600.0) {
            anyhow::bail!(
                "--seconds is {} (it must be above 0, at most 3600)",
                self.seconds
            );
        }
        let options = Options {
            threads: global.threads(),
            configs: self.config,
            seconds: self.seconds,
            skip_naive: self.skip_naive,
            device: global.device.clone(),
            dir: self.dir,
            tiny: self.tiny,
        };
        let report = run(&options, &|what| global.say(format!("measuring {what}")))?;
        if self.json {
            print_json(&report)
        } else {
            super::print(&table(&report))
        }
    }
}

/// A rate, with what was drawn where that is less than what was asked for.
fn drawing(rate: &DrawingRate) -> String {
    match rate.drawn < rate.images {
        true => format!("{:.0} ({} drawn)", rate.images_per_second, rate.drawn),
        false => format!("{:.0}", rate.images_per_second),
    }
}

fn card_sampling_table(card: &CardReport) -> String {
    let mut text = String::from(
        "| sampling, images at a time | on the card, images/s | into memory | onto disk |\n|---|--:|--:|--:|\n",
    );
    for s in &card.sampling {
        for ((on_card, memory), disk) in s.on_card.iter().zip(&s.into_memory).zip(&s.onto_disk) {
            text += &format!(
                "| {}, {} | {} | {} | {} |\n",
                s.config,
                on_card.images,
                drawing(on_card),
                drawing(memory),
                drawing(disk)
            );
        }
    }
    text += "\n| sampling | paper, 4 TITAN X | events per GPU-hour | images per joule | W | one image, ms | MB/s to disk | bound by weights | by products | by latency | of bound |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n";
    let known = |value: Option<f64>| value.map_or("-".into(), |v| format!("{v:.0}"));
    for s in &card.sampling {
        text += &format!(
            "| {} | {:.0} | {:.3e} | {} | {} | {:.2} | {:.0} | {:.3e} | {:.3e} | {:.3e} | {:.1} % |\n",
            s.config,
            s.paper_images_per_second,
            s.events_per_gpu_hour,
            known(s.images_per_joule),
            known(s.watts),
            s.one_image_milliseconds,
            s.disk_bytes_per_second / 1e6,
            s.bounds.weights,
            s.bounds.matrix,
            s.bounds.latency,
            100.0 * s.fraction_of_bound,
        );
    }
    text + "\n"
}

fn card_table(card: &CardReport) -> String {
    let mut text = format!(
        "{}\nbf16 mma.sync rate {:.0} TFLOP/s, copying {:.0} GB/s read and written, {:.0} GB/s out of the second-level cache\n\n",
        card.device, card.matrix_teraflops, card.copy_gigabytes, card.stream_gigabytes
    );
    text += &card_sampling_table(card);
    if let Some(why) = &card.without_energy {
        text += &format!("Energy was not measured: {why}.\n\n");
    }
    text += "| training, batch | images/s | us a step | on the card | TFLOP/s unmasked | bound | of bound |\n|---|--:|--:|--:|--:|--:|--:|\n";
    for t in &card.training {
        text += &format!(
            "| {}, {} | {:.0} | {:.1} | {:.1} | {:.1} | {:.0} | {:.1} % |\n",
            t.config,
            t.batch,
            t.images_per_second,
            t.step_microseconds,
            t.step_microseconds_on_card,
            t.teraflops,
            t.bound_images_per_second,
            100.0 * t.images_per_second / t.bound_images_per_second,
        );
    }
    text + "\n"
}

fn table(report: &Report) -> String {
    let m = &report.machine;
    let mut text = format!("{} ({}), sarm {}\n", m.processor, m.engine, report.version);
    if let Some(card) = &report.card {
        text += &card_table(card);
    }
    let Some(rate) = report.gemm_gflops else {
        return text;
    };
    text += &format!("f32 matrix rate {rate:.0} GFLOP/s\n\n");
    text += "| sampling | images/s | events per core-hour | bound | of bound | paper, 4 TITAN X | nonzero |\n|---|--:|--:|--:|--:|--:|--:|\n";
    for s in &report.sampling {
        text += &format!(
            "| {} {} | {:.1} | {:.3e} | {:.0} | {:.1} % | {:.0} | {:.1} % |\n",
            s.config,
            s.sampler,
            s.images_per_second,
            s.images_per_core_hour,
            s.bound_images_per_second,
            100.0 * s.images_per_second / s.bound_images_per_second,
            s.paper_images_per_second,
            100.0 * s.occupancy
        );
    }
    text += "\n| training, batch | images/s | bound | of bound | paper |\n|---|--:|--:|--:|--:|\n";
    for t in &report.training {
        text += &format!(
            "| {}, {} | {:.0} | {:.0} | {:.1} % | {} |\n",
            t.config,
            t.batch,
            t.images_per_second,
            t.bound_images_per_second,
            100.0 * t.images_per_second / t.bound_images_per_second,
            t.paper_images_per_second
                .map_or("-".into(), |rate| format!("{rate:.0}"))
        );
    }
    text
}
