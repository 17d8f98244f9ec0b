//! `sarm encode`

use std::path::PathBuf;

use super::input::{FileArguments, Select};
use super::{Global, command_line, grouped, output, refuse_input};
use crate::data::{self, Provenance};
use crate::device::Task;
use crate::run::codes::{Request, encode};
use crate::run::conditions::Given;
use crate::run::pretrained;

/// Find the codes of images with a VAE.
///
/// A code is the mean and the log variance of some normal numbers, 12 by default.
/// `sarm generate --codes` draws images from them.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  sarm encode --model runs/vae/model.safetensors --data test.h5 --limit 1000 --out codes.h5\n  sarm generate --model vae.safetensors --codes codes.h5 --line 3..17 --count 9 --out line.h5"
)]
pub struct Encode {
    /// Checkpoint file of a model of the family vae.
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// HDF5 or numpy file of images; several are treated as one.
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    data: Vec<PathBuf>,
    #[command(flatten)]
    select: Select,
    #[command(flatten)]
    file: FileArguments,
    /// Conditions of all images, instead of the file's columns.
    #[arg(long, value_name = "NAME=VALUE,..", value_delimiter = ',')]
    given: Vec<Given>,
    /// Output file (HDF5): `mean_0`, `mean_1` .., `log_variance_0` .. of each image, its `row`, its conditions.
    ///
    /// `classifier` is the chance of the upper class by the classifier that the model has learnt from, where it has one.
    /// Directories that lead to it are made.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Use only the first N selected images.
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = super::whole::<0, usize>)]
    limit: Option<usize>,
    /// Overwrite the output.
    #[arg(long)]
    force: bool,
}

impl Encode {
    pub fn run(mut self, global: &Global) -> anyhow::Result<()> {
        self.data = data::matching(&self.data)?;
        refuse_input(&self.out, self.data.iter().chain([&self.model]))?;
        output::check(&self.out, self.force)?;
        let checkpoint = pretrained::open(&self.model)?;
        let devices = global.open(Task::Scoring)?.devices;
        let request = Request {
            data: self.data.clone(),
            select: self.select.select.clone(),
            given: self.given.clone(),
            limit: self.limit,
            file: self.file.options(),
        };
        let encoded = encode(&checkpoint, &devices, &request)?;
        for remark in &encoded.about.remarks {
            global.say(remark);
        }
        for warning in &encoded.about.warnings {
            log::warn!("{warning}");
        }
        let provenance = Provenance::new()
            .with("model_sha256", checkpoint.sha256.clone())
            .with("data", super::joined(&self.data))
            .with("command", command_line());
        output::make_parents(&self.out)?;
        let columns = encoded.columns.into_iter().collect();
        data::write_columns(&self.out, &columns, &provenance, self.force)?;
        let images = grouped(encoded.images as u64);
        global.say(format!("codes of {images} images: {}", self.out.display()));
        Ok(())
    }
}
